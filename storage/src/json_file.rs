//! A JSON file of metadata that a crash cannot tear (store.md 2.9).
//!
//! Saved aside, synced, renamed over the old one; the old content stays as `.bak`. Read from the file,
//! or from `.bak` if it is missing, empty or unreadable; the dialect that Java writes (bare integer
//! keys) is understood, what is written is standard JSON, which Java reads too.

use std::{
    io,
    path::{Path, PathBuf},
};

use gantry_codec::fastjson;
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use thiserror::Error;

use crate::disk::Disk;

/// Why a file could not be read or written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JsonFileError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: String,
    },
    /// Neither the file nor its backup can be read; nothing is overwritten until somebody decides.
    #[error("{path} cannot be read ({error}), and neither can its backup")]
    Broken {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: String,
    },
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct JsonFile {
    path: PathBuf,
}

impl JsonFile {
    /// The file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn backup(&self) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".bak");
        path.into()
    }

    /// Its content; `None` if there is neither the file nor a backup, or nothing in either.
    ///
    /// # Errors
    /// If the system refuses, or if there is something that cannot be read and no backup that can.
    pub fn load<T: DeserializeOwned>(&self, disk: &dyn Disk) -> Result<Option<T>, JsonFileError> {
        let content = read(disk, &self.path)?;
        let error = match parse(content.as_deref()) {
            Ok(Some(value)) => return Ok(Some(value)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let backup = read(disk, &self.backup())?;
        match (parse(backup.as_deref()), error) {
            (Ok(Some(value)), _) => Ok(Some(value)),
            (Ok(None), None) => Ok(None),
            (_, error) => Err(JsonFileError::Broken {
                path: self.path.display().to_string(),
                error: error.unwrap_or_else(|| "it is missing or empty".into()),
            }),
        }
    }

    /// Replaces its content; what was there before becomes the backup.
    ///
    /// # Errors
    /// If the system refuses. The file then holds what it held before.
    pub fn save<T: Serialize>(&self, disk: &dyn Disk, value: &T) -> Result<(), JsonFileError> {
        let io = |error: io::Error| io_error(&self.path, &error);
        let text = serde_json::to_vec_pretty(value).map_err(|e| io(e.into()))?;
        let old = read(disk, &self.path)?;
        // Only content that can be read is worth the backup's place.
        if let (Some(old), Ok(Some(IgnoredAny))) = (&old, parse(old.as_deref())) {
            disk.write_atomic(&self.backup(), old).map_err(io)?;
        }
        disk.write_atomic(&self.path, &text).map_err(io)
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, JsonFileError> {
    disk.read(path).map_err(|e| io_error(path, &e))
}

fn io_error(path: &Path, error: &io::Error) -> JsonFileError {
    JsonFileError::Io { path: path.display().to_string(), error: error.to_string() }
}

fn parse<T: DeserializeOwned>(content: Option<&[u8]>) -> Result<Option<T>, String> {
    match content {
        Some(content) if !content.trim_ascii().is_empty() => {
            fastjson::from_slice(content).map(Some).map_err(|e| e.to_string())
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::disk::MemDisk;

    type Table = BTreeMap<String, u64>;

    fn file() -> JsonFile {
        JsonFile::new("/store/config/x.json".into())
    }

    fn table(value: u64) -> Table {
        Table::from([("a".to_owned(), value)])
    }

    fn load(disk: &MemDisk) -> Result<Option<Table>, JsonFileError> {
        file().load(disk)
    }

    #[test]
    fn it_is_read_as_it_was_saved_and_the_last_but_one_is_kept() {
        let disk = MemDisk::new();
        assert_eq!(load(&disk), Ok(None));
        file().save(&disk, &table(1)).unwrap();
        file().save(&disk, &table(2)).unwrap();
        assert_eq!(load(&disk), Ok(Some(table(2))));
        let backup = JsonFile::new("/store/config/x.json.bak".into());
        assert_eq!(backup.load(&disk), Ok(Some(table(1))));
    }

    #[test]
    fn the_backup_serves_when_the_file_is_missing_empty_or_broken() {
        for broken in [None, Some(""), Some(" \n"), Some("{\"a\":"), Some("[1]"), Some("\0\0")] {
            let disk = MemDisk::new();
            file().save(&disk, &table(1)).unwrap();
            file().save(&disk, &table(2)).unwrap();
            disk.remove(file().path()).unwrap();
            if let Some(text) = broken {
                disk.write_atomic(file().path(), text.as_bytes()).unwrap();
            }
            assert_eq!(load(&disk), Ok(Some(table(1))), "{broken:?}");
            file().save(&disk, &table(3)).unwrap();
            disk.remove(file().path()).unwrap();
            let expected = if broken == Some("[1]") { None } else { Some(table(1)) };
            assert_eq!(load(&disk).unwrap_or(None), expected, "{broken:?} took the backup's place");
        }
    }

    #[test]
    fn nothing_is_overwritten_that_nobody_can_read() {
        let disk = MemDisk::new();
        disk.write_atomic(file().path(), b"{").unwrap();
        assert!(matches!(load(&disk), Err(JsonFileError::Broken { .. })));
        disk.write_atomic(&file().backup(), b"{").unwrap();
        disk.remove(file().path()).unwrap();
        assert!(matches!(load(&disk), Err(JsonFileError::Broken { .. })));
    }

    #[test]
    fn javas_dialect_is_read_and_kept_as_the_backup() {
        let disk = MemDisk::new();
        let java = b"{\n\t\"offsetTable\":{\n\t\t\"t@g\":{0:12,1:345\n\t\t}\n\t}\n}";
        disk.write_atomic(file().path(), java).unwrap();
        type Offsets = BTreeMap<String, BTreeMap<String, BTreeMap<u32, u64>>>;
        let offsets: Offsets = file().load(&disk).unwrap().unwrap();
        assert_eq!(offsets["offsetTable"]["t@g"], BTreeMap::from([(0, 12), (1, 345)]));
        file().save(&disk, &offsets).unwrap();
        assert_eq!(disk.read(&file().backup()).unwrap().unwrap(), java);
        assert_eq!(file().load(&disk), Ok(Some(offsets)));
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_content() {
        let disk = MemDisk::new();
        file().save(&disk, &table(1)).unwrap();
        for free in [0, 20] {
            disk.set_free_bytes(Some(free));
            assert!(matches!(file().save(&disk, &table(2)), Err(JsonFileError::Io { .. })));
            assert_eq!(load(&disk.crash()), Ok(Some(table(1))));
        }
        disk.set_free_bytes(None);
        disk.fail_syncs(true);
        assert!(file().save(&disk, &table(2)).is_err());
        assert_eq!(load(&disk), Ok(Some(table(1))));
    }
}
