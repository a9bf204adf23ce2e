//! The seam to the disk: every file of the store is made, found, read and removed through a [`Disk`].
//!
//! [`RealDisk`] is the operating system's. [`MemDisk`] keeps files in memory, for tests and simulation:
//! it can lose what was not synced, run full, refuse to sync, and flip bits. Segments of both are plain
//! memory, so the seam costs nothing where messages are written and read.
//!
//! Durability, which recovery relies on: what [`Segment::sync`] and [`Disk::write_atomic`] return from
//! is on the disk; so are the names made by [`Disk::create_segment`], [`Disk::write_atomic`] and
//! [`Disk::create_dir`]. Other names are once [`Disk::sync_dir`] returns.

mod mem;
mod real;
mod space;

use std::{io, path::Path, sync::Arc};

pub use mem::MemDisk;
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
    /// Reserves blocks for a stretch of a file, so that writing there cannot fail for want of room.
    fn reserve(&self, path: &Path, at: u64, len: u64) -> io::Result<()>;
    /// Makes everything from `at` on zero and gives its blocks back; the length stays.
    fn clear_from(&self, path: &Path, at: u64) -> io::Result<()>;
    /// Names in a folder with their lengths, sorted; a folder that is not there is empty.
    /// Folders have no length.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, Option<u64>)>>;
    /// Reads part of a file; fewer bytes at its end.
    fn read_at(&self, path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Reads a whole file; `None` if there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Replaces a file so that a crash leaves the old or the new content, never a part.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file; one that is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it; one that is not there is no error.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a folder and those above it, and makes that durable.
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
}

/// A lock that lasts until it is dropped.
pub struct StoreLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl StoreLock {
    /// A lock that is given back by dropping `held`.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self(Box::new(held))
    }
}
