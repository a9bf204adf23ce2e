//! The seam to the disk: every file of the store is made, found, read and removed through a [`Disk`].
//!
//! [`RealDisk`] is the operating system's. [`MemDisk`] keeps files in memory, for tests and simulation:
//! it can lose what was not synced, run full, fail in the middle of any operation, and flip bits.
//! Segments of both are plain memory, so the seam costs nothing where messages are written and read.
//!
//! Durability, which recovery relies on. A file's bytes and length are on the disk once
//! [`Segment::sync`] or [`Disk::sync_file`] returns, its name once [`Disk::sync_dir`] of its folder
//! does; until then a loss of power takes any part of them and leaves any other, in whatever order they
//! were made. That holds for new names, for removed and changed ones, and for bytes that
//! [`Disk::clear_from`] made zero. Three operations see to it themselves: what
//! [`Disk::create_segment`], [`Disk::create_dir`] and [`Disk::write_atomic`] have done is on the disk
//! when they return. Of an operation that fails, any part may have been done.

mod mem;
mod real;
mod space;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use mem::{DiskFault, DiskOp, FaultPlan, MemDisk};
pub use real::RealDisk;
pub use space::Space;

use crate::segment::Segment;

/// See the module's text. Errors are those of the operation; callers add which file it was.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file of `len` zero bytes with all its blocks reserved, and maps it. A full disk is an
    /// error here, and then no file is left behind.
    fn create_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>>;
    /// Makes a file of `len` zero bytes without blocks, and maps it; [`reserve`](Self::reserve) before
    /// writing.
    fn create_sparse_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>>;
    /// Maps an existing file of exactly `len` bytes, of which the first `readable` hold something.
    fn open_segment(
        &self,
        path: &Path,
        start: u64,
        len: u64,
        readable: u64,
    ) -> io::Result<Arc<Segment>>;
    /// As [`open_segment`](Self::open_segment), for one that is going to be written by
    /// [`SegmentWriter::write`](crate::SegmentWriter::write), as those of
    /// [`create_segment`](Self::create_segment) are: its file stays open until it is full.
    fn open_segment_to_write(
        &self,
        path: &Path,
        start: u64,
        len: u64,
        readable: u64,
    ) -> io::Result<Arc<Segment>> {
        self.open_segment(path, start, len, readable)
    }
    /// Reserves blocks for a stretch of a file, so that writing there cannot fail for want of room.
    fn reserve(&self, path: &Path, at: u64, len: u64) -> io::Result<()>;
    /// Writes zeros over a stretch of a file that has its blocks. Nobody may be writing there.
    fn write_zeros(&self, path: &Path, at: u64, len: u64) -> io::Result<()>;
    /// Makes everything from `at` on zero and gives its blocks back; the length stays. What was there
    /// may come back with a loss of power until the file is synced.
    fn clear_from(&self, path: &Path, at: u64) -> io::Result<()>;
    /// Writes a part of a file over itself. After a failed sync the kernel counts pages as clean that
    /// are in memory only; this way the next sync takes them along. Nobody may be writing there.
    fn rewrite(&self, path: &Path, at: u64, len: u64) -> io::Result<()>;
    /// Names in a folder with their lengths, sorted; a folder that is not there is empty.
    /// Folders have no length.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, Option<u64>)>>;
    /// Reads part of a file; fewer bytes at its end.
    fn read_at(&self, path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Reads a whole file; `None` if there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Makes a file, or empties the one that is there, and writes `bytes` into it. A crash may leave any
    /// part of it. Not for a file that is mapped.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Brings a file's bytes and its length to the disk. What an earlier sync failed to bring there may
    /// be lost although this one succeeds.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in the same folder, taking that name from the file that had it. A crash
    /// leaves the one or the other file with the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; one that is not there is no error. It may be back after a loss of power.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it; one that is not there is no error.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a folder and those above it, and makes that durable. One that is there is taken as it is;
    /// one that cannot be made durable is removed again.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Brings the names in a folder to the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The room of the file system that holds `dir`, or would hold it: a folder that is not there is
    /// looked for further up.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// When a file was last changed, in ms since 1970. With [`io::ErrorKind::NotFound`] it tells, at
    /// little cost, that there is none.
    fn modified_ms(&self, path: &Path) -> io::Result<i64>;
    /// Takes the lock of a store: a record lock on the file, as the Java broker takes it. An error of
    /// kind `WouldBlock` says that somebody has it.
    fn lock(&self, path: &Path) -> io::Result<StoreLock>;

    /// Replaces a file, made with its folders if need be, so that a crash leaves the old or the new
    /// content, never a part: written aside, synced, renamed, and the folder synced. After an error the
    /// file has its old content, but for an error of the last step: then it has the new one, which a
    /// crash may undo.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (dir, aside) = (folder(path), aside(path));
        self.create_dir(dir)?;
        let written = self
            .write(&aside, bytes)
            .and_then(|()| self.sync_file(&aside))
            .and_then(|()| self.rename(&aside, path));
        if written.is_err() {
            // On a full disk its room is wanted; the error that is told is the one of writing it.
            let _ = self.remove(&aside);
        }
        written?;
        self.sync_dir(dir)
    }
}

/// How many files the system maps for a process (`vm.max_map_count`), if it says. Each queue in use takes
/// at least one.
pub fn mappings_max() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Where a file is written before it takes the place of the one at `path`. What a crash left there is
/// overwritten by the next try.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    aside.into()
}

/// The folder of `path`.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A lock that lasts until it is dropped.
pub struct StoreLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl StoreLock {
    /// A lock that is given back by dropping `held`.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self(Box::new(held))
    }
}
