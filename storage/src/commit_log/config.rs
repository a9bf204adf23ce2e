//! Where the log lies: one folder or several, and how large its files are.
//!
//! Over several folders the log's files are dealt out in turn, as the Java broker deals them
//! (store.md 1): of the folders in the order of their names, the file number *n* goes to number *n*
//! modulo their count, those left out that are too full. If all are, it goes where it would go if none
//! were: the disk then says itself whether there is room. Where a file lies is not written down
//! anywhere; each folder is looked into.
//!
//! Folders that are only read hold files that were written when they were not: such a folder is
//! drained as its files reach their age, as in the Java broker, which deletes from it as well.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{disk::Disk, offset::PhysicalOffset};

/// A folder that is fuller than this gets no new file, unless configured otherwise
/// (`diskSpaceCleanForciblyRatio`).
const FULL_PERCENT: u8 = 85;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The folders that files are made in, sorted, each once; at least one.
    pub dirs: Vec<PathBuf>,
    /// Folders whose files belong to the log, but which get no new ones.
    pub read_only_dirs: Vec<PathBuf>,
    /// Bytes of a file.
    pub segment_bytes: u64,
    /// A folder whose disk is used to more percent than this gets no new file, if another is not.
    pub full_percent: u8,
}

impl LogConfig {
    /// A log in one folder.
    pub fn new(dir: PathBuf, segment_bytes: u64) -> Self {
        Self {
            dirs: vec![dir],
            read_only_dirs: Vec::new(),
            segment_bytes,
            full_percent: FULL_PERCENT,
        }
    }

    /// A log over the folders `dirs`, which may name some that are only read as well.
    pub fn over(dirs: &[PathBuf], read_only_dirs: &[PathBuf], segment_bytes: u64) -> Self {
        let mut config = Self {
            dirs: dirs.iter().filter(|dir| !read_only_dirs.contains(dir)).cloned().collect(),
            read_only_dirs: read_only_dirs.to_vec(),
            segment_bytes,
            full_percent: FULL_PERCENT,
        };
        for dirs in [&mut config.dirs, &mut config.read_only_dirs] {
            dirs.sort_unstable();
            dirs.dedup();
        }
        config
    }

    /// Every folder that may hold files of the log.
    pub fn all_dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().chain(&self.read_only_dirs).map(PathBuf::as_path)
    }

    /// The file that starts at `start`, if it is in one of `dirs`.
    pub(crate) fn find<'a>(
        disk: &dyn Disk,
        dirs: impl Iterator<Item = &'a Path>,
        start: PhysicalOffset,
    ) -> io::Result<Option<PathBuf>> {
        for path in dirs.map(|dir| segment_path(dir, start.0)) {
            match disk.modified_ms(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                found => return found.map(|_| Some(path)),
            }
        }
        Ok(None)
    }

    /// Where the new file that starts at `start` goes.
    pub(crate) fn path_of_new(&self, disk: &dyn Disk, start: PhysicalOffset) -> PathBuf {
        let has_room = |dir: &&PathBuf| match disk.space(dir) {
            Ok(space) => space.used_percent().is_none_or(|percent| percent <= self.full_percent),
            // What cannot be asked may still be written to.
            Err(_) => true,
        };
        let mut dirs: Vec<&PathBuf> = self.dirs.iter().collect();
        if dirs.len() > 1 {
            dirs.retain(has_room);
        }
        if dirs.is_empty() {
            dirs.extend(&self.dirs);
        }
        let number = start.0 / self.segment_bytes;
        let turn = number.checked_rem(dirs.len() as u64).unwrap_or(0);
        let dir = dirs.get(turn as usize).map_or(Path::new(""), |dir| dir.as_path());
        segment_path(dir, start.0)
    }

    /// Where the file of `offset` starts.
    pub(crate) fn segment_start(&self, offset: PhysicalOffset) -> PhysicalOffset {
        PhysicalOffset(offset.0 - offset.0 % self.segment_bytes)
    }
}

/// The file in `dir` that starts at byte `start` of its log or queue.
pub(crate) fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, Space};

    fn config(dirs: &[&str], read_only: &[&str]) -> LogConfig {
        let paths = |dirs: &[&str]| dirs.iter().map(PathBuf::from).collect::<Vec<_>>();
        LogConfig::over(&paths(dirs), &paths(read_only), 100)
    }

    fn fill(disk: &MemDisk, dir: &str, percent: u64) {
        let free = 100 - percent;
        disk.set_space(Path::new(dir), Some(Space { total: 100, free, available: free }));
    }

    fn dirs_of_new(config: &LogConfig, disk: &MemDisk) -> Vec<String> {
        let path = |n: u64| config.path_of_new(disk, PhysicalOffset(n * 100));
        let dir = |path: PathBuf| path.parent().unwrap().display().to_string();
        (0..4).map(|n| dir(path(n))).collect()
    }

    #[test]
    fn files_are_dealt_out_in_the_order_of_names() {
        let disk = MemDisk::new();
        let config = config(&["/c", "/a", "/b", "/a", "/r"], &["/r"]);
        assert_eq!(config.dirs, ["/a", "/b", "/c"].map(PathBuf::from));
        assert_eq!(dirs_of_new(&config, &disk), ["/a", "/b", "/c", "/a"]);
        assert_eq!(config.all_dirs().count(), 4);
    }

    #[test]
    fn a_folder_that_is_too_full_is_left_out() {
        let disk = MemDisk::new();
        let config = config(&["/a", "/b", "/c"], &[]);
        fill(&disk, "/b", 86);
        fill(&disk, "/c", 85);
        assert_eq!(dirs_of_new(&config, &disk), ["/a", "/c", "/a", "/c"]);
        fill(&disk, "/a", 99);
        fill(&disk, "/c", 99);
        assert_eq!(dirs_of_new(&config, &disk), ["/a", "/b", "/c", "/a"], "all are");
    }

    #[test]
    fn a_single_folder_takes_all_however_full() {
        let disk = MemDisk::new();
        fill(&disk, "/a", 100);
        assert_eq!(dirs_of_new(&config(&["/a"], &[]), &disk), ["/a"; 4]);
    }

    #[test]
    fn files_are_found_where_they_are() {
        let disk = MemDisk::new();
        let config = config(&["/a", "/b"], &["/r"]);
        disk.write_atomic(Path::new("/r/00000000000000000100"), b"").unwrap();
        let find = |start| LogConfig::find(&disk, config.all_dirs(), PhysicalOffset(start));
        assert_eq!(find(100).unwrap(), Some(PathBuf::from("/r/00000000000000000100")));
        assert_eq!(find(200).unwrap(), None);
    }
}
