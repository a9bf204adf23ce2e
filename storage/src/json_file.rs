//! A JSON file of metadata that a crash cannot tear (store.md 2.9).
//!
//! Saved aside, synced, renamed over the old one; the old content stays as `.bak`. Read from the file,
//! or from `.bak` if it is missing, empty or unreadable; the dialect that Java writes (bare integer
//! keys) is understood, what is written is standard JSON, which Java reads too.

use std::path::{Path, PathBuf};

use gantry_codec::fastjson;
use serde::{Serialize, de::DeserializeOwned};
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

    /// Its content; `None` if there is neither the file nor a backup.
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

    /// Replaces its content.
    pub fn save<T: Serialize>(&self, disk: &dyn Disk, value: &T) -> Result<(), JsonFileError> {
        let io = |error: std::io::Error| JsonFileError::Io {
            path: self.path.display().to_string(),
            error: error.to_string(),
        };
        let text = serde_json::to_vec_pretty(value).map_err(|e| io(e.into()))?;
        // Only content that can be read is worth keeping as the backup.
        if let Ok(Some(old)) = disk.read(&self.path)
            && serde_json::from_slice::<serde::de::IgnoredAny>(&old).is_ok()
        {
            disk.write_atomic(&self.backup(), &old).map_err(io)?;
        }
        disk.write_atomic(&self.path, &text).map_err(io)
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, JsonFileError> {
    disk.read(path)
        .map_err(|e| JsonFileError::Io { path: path.display().to_string(), error: e.to_string() })
}

fn parse<T: DeserializeOwned>(content: Option<&[u8]>) -> Result<Option<T>, String> {
    match content {
        Some(content) if !content.trim_ascii().is_empty() => {
            fastjson::from_slice(content).map(Some).map_err(|e| e.to_string())
        }
        _ => Ok(None),
    }
}
