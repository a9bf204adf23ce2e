//! The seam to the disk: every file of the store is made, found, read and removed through a [`Disk`].
//!
//! [`RealDisk`] is the operating system's. [`MemDisk`](crate::MemDisk) keeps files in memory and can
//! fail on demand. Segments of both are plain memory, so the seam costs nothing where messages are
//! written and read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FallocateFlags, FlockOperation};

use crate::segment::Segment;

/// See the module's text. Errors are those of the operation; callers add which file it was.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file of `len` bytes with all its blocks reserved, and maps it. A full disk is an
    /// error here, and no file is left behind.
    fn create_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>>;
    /// Makes a file of `len` bytes without blocks, and maps it; reserve before writing.
    fn create_sparse_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>>;
    /// Maps an existing file of exactly `len` bytes.
    fn open_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>>;
    /// Names in a folder with their lengths, sorted; a folder that is not there is empty.
    /// Folders have no length.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, Option<u64>)>>;
    /// Reads part of a file; fewer bytes at its end.
    fn read_at(&self, path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Reads a whole file; `None` if there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Replaces a file so that a crash leaves the old or the new content, never a part.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Renames a file within its folder and makes that durable.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; one that is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it; one that is not there is no error.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a folder and those above it.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock of a store: a record lock on byte 0, as the Java broker takes it.
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

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    fn create(path: &Path, len: u64) -> io::Result<File> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(len)?;
        Ok(file)
    }
}

impl Disk for RealDisk {
    fn create_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>> {
        let file = Self::create(path, len)?;
        let reserved = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len)
            .map_err(io::Error::from)
            .and_then(|()| Segment::map(file, start, len));
        if reserved.is_err() {
            let _ = fs::remove_file(path);
        }
        reserved
    }

    fn create_sparse_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>> {
        Segment::map(Self::create(path, len)?, start, len)
    }

    fn open_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>> {
        Segment::map(OpenOptions::new().read(true).write(true).open(path)?, start, len)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, Option<u64>)>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let meta = entry.metadata()?;
            let len = (!meta.is_dir()).then(|| meta.len());
            names.push((entry.file_name().to_string_lossy().into_owned(), len));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read_at(&self, path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let file = File::open(path)?;
        let have = file.metadata()?.len().saturating_sub(at);
        let mut bytes = vec![0; len.min(have as usize)];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some),
        }
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(".tmp");
        let aside = PathBuf::from(aside);
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.rename(&aside, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        match to.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_dir_all(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<StoreLock> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(b"lock")?;
        file.sync_all()?;
        Ok(StoreLock::new(file))
    }
}

fn missing_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
