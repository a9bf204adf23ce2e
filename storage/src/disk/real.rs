//! The operating system's files.
//!
//! A mapped segment keeps no file descriptor, but for the one file of the log that is written, so that a
//! store with very many queues does not need very many of them. Where the file system cannot reserve or free blocks, what is there or zeros are written instead.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, fcntl_lock, statvfs},
    io::Errno,
};

use super::{Disk, Space, StoreLock, folder};
use crate::segment::Segment;

/// Large parts of files are written in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>> {
        self.create_dir(folder(path))?;
        let file = create(path)?;
        let reserved = reserve(&file, 0, len)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.sync_dir(folder(path)))
            .and_then(|()| Segment::map_to_write(file, start, len, 0));
        remove_on_error(path, reserved)
    }

    fn create_sparse_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>> {
        let file = create(path)?;
        let made = file.set_len(len).and_then(|()| Segment::map(&file, start, len, 0));
        remove_on_error(path, made)
    }

    fn open_segment(
        &self,
        path: &Path,
        start: u64,
        len: u64,
        readable: u64,
    ) -> io::Result<Arc<Segment>> {
        Segment::map(&open(path)?, start, len, readable)
    }

    fn open_segment_to_write(
        &self,
        path: &Path,
        start: u64,
        len: u64,
        readable: u64,
    ) -> io::Result<Arc<Segment>> {
        Segment::map_to_write(open(path)?, start, len, readable)
    }

    fn reserve(&self, path: &Path, at: u64, len: u64) -> io::Result<()> {
        reserve(&open(path)?, at, len)
    }

    fn write_zeros(&self, path: &Path, at: u64, len: u64) -> io::Result<()> {
        write_zeros(&open(path)?, at, len)
    }

    fn clear_from(&self, path: &Path, at: u64) -> io::Result<()> {
        let file = open(path)?;
        let len = file.metadata()?.len().saturating_sub(at);
        if len == 0 {
            return Ok(());
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&file, punch, at, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&file, at, len),
            cleared => Ok(cleared?),
        }
    }

    fn rewrite(&self, path: &Path, at: u64, len: u64) -> io::Result<()> {
        let (file, end) = (open(path)?, at + len);
        let mut bytes = vec![0; len.min(PIECE_BYTES) as usize];
        let mut at = at;
        while at < end {
            bytes.truncate((end - at) as usize);
            file.read_exact_at(&mut bytes, at)?;
            file.write_all_at(&bytes, at)?;
            at += bytes.len() as u64;
        }
        Ok(())
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
            let len = (!meta.is_dir()).then_some(meta.len());
            names.push((entry.file_name().to_string_lossy().into_owned(), len));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read_at(&self, path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let have = file.metadata()?.len().saturating_sub(at);
        let mut bytes = vec![0; len.min(usize::try_from(have).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::create(path)?.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        // Another descriptor than the writer's does: the kernel keeps dirty pages, and a failure to
        // write them that nobody was told of, with the file.
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_dir_all(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        self.create_dir(folder(dir))?;
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        // One that is there counts as durable the next time.
        self.sync_dir(folder(dir)).inspect_err(|_| drop(fs::remove_dir(dir)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let mut found = statvfs(dir);
        for above in dir.ancestors().skip(1) {
            if !matches!(found, Err(Errno::NOENT)) {
                break;
            }
            let is_here = above.as_os_str().is_empty();
            found = statvfs(if is_here { Path::new(".") } else { above });
        }
        let found = found?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space {
            total: bytes(found.f_blocks),
            free: bytes(found.f_bfree),
            available: bytes(found.f_bavail),
        })
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        let modified = fs::metadata(path)?.modified()?;
        Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
    }

    fn lock(&self, path: &Path) -> io::Result<StoreLock> {
        let place = LockedHere::take(path)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            // POSIX leaves open which of the two it is.
            Err(Errno::ACCESS | Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
            locked => locked?,
        }
        file.write_all(b"lock")?;
        file.sync_all()?;
        // The file before the place: whoever takes the place next must find the record lock free.
        Ok(StoreLock::new((file, place)))
    }
}

/// Paths of the locks that this process holds. A record lock does not keep its own process out, and
/// closing any descriptor of the file gives it back, so the file is not even opened twice.
static LOCKED_HERE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

struct LockedHere(PathBuf);

impl LockedHere {
    fn take(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = folder(path).canonicalize()?.join(name);
        let mut held = LOCKED_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        if held.insert(path.clone()) {
            Ok(Self(path))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

impl Drop for LockedHere {
    fn drop(&mut self) {
        LOCKED_HERE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

fn create(path: &Path) -> io::Result<File> {
    fs::create_dir_all(folder(path))?;
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn reserve(file: &File, at: u64, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), at, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => rewrite(file, at, len),
        reserved => Ok(reserved?),
    }
}

/// Writes what is there once more, and zeros where nothing is: then it has its blocks.
fn rewrite(file: &File, at: u64, len: u64) -> io::Result<()> {
    let mut piece = vec![0; 1 << 20];
    let mut done = 0;
    while done < len {
        piece.truncate((len - done).min(1 << 20) as usize);
        let mut have = 0;
        while let Some(rest) = piece.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, at + done + have as u64)? {
                0 => break,
                read => have += read,
            }
        }
        piece.iter_mut().skip(have).for_each(|byte| *byte = 0);
        file.write_all_at(&piece, at + done)?;
        done += piece.len() as u64;
    }
    Ok(())
}

/// In pieces: the file system lets nobody else write to the file during one.
fn write_zeros(file: &File, at: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(ZEROS.len() as u64);
        file.write_all_at(ZEROS.get(..piece as usize).unwrap_or_default(), at + done)?;
        done += piece;
    }
    Ok(())
}

fn remove_on_error<T>(path: &Path, made: io::Result<T>) -> io::Result<T> {
    if made.is_err() {
        // The error that is told is the one of making it.
        let _ = fs::remove_file(path);
    }
    made
}

fn missing_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_full_segment_has_its_blocks_and_a_sparse_one_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let (full, sparse) = (dir.path().join("full"), dir.path().join("deep/er/sparse"));
        RealDisk.create_segment(&full, 0, 1 << 20).unwrap();
        RealDisk.create_dir(&dir.path().join("a/b/c")).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        RealDisk.create_sparse_segment(&sparse, 0, 1 << 20).unwrap();
        let blocks = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
        assert!(blocks(&full) >= 1 << 20);
        assert_eq!(blocks(&sparse), 0);
        RealDisk.reserve(&sparse, 65536, 65536).unwrap();
        assert!(blocks(&sparse) >= 65536);
        RealDisk.clear_from(&sparse, 0).unwrap();
        assert_eq!(fs::metadata(&sparse).unwrap().len(), 1 << 20);
        assert!(RealDisk.create_segment(&full, 0, 1 << 20).is_err(), "it is there");
    }

    #[test]
    fn a_file_that_is_written_once_more_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = create(&path).unwrap();
        file.write_all_at(b"one", 100).unwrap();
        file.write_all_at(b"two", (1 << 20) + 5).unwrap();
        let before = fs::read(&path).unwrap();
        rewrite(&file, 101, (1 << 20) + 4096).unwrap();
        let after = fs::read(&path).unwrap();
        assert_eq!(after.len(), 101 + (1 << 20) + 4096);
        assert!(after.starts_with(&before) && after[before.len()..].iter().all(|b| *b == 0));
        assert!(fs::metadata(&path).unwrap().blocks() * 512 > 1 << 20);
    }

    #[test]
    fn clearing_is_seen_through_the_mapping() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let segment = RealDisk.create_segment(&path, 0, 16384).unwrap();
        let mut writer = segment.writer().unwrap();
        writer.bytes(0, 16384).unwrap().fill(1);
        drop(writer);
        RealDisk.clear_from(&path, 5000).unwrap();
        let bytes = RealDisk.read(&path).unwrap().unwrap();
        assert!(bytes.iter().enumerate().all(|(at, b)| *b == u8::from(at < 5000)));
        assert_eq!(RealDisk.read_at(&path, 4998, 4).unwrap(), [1, 1, 0, 0]);
        assert_eq!(RealDisk.read_at(&path, 16383, 4).unwrap(), [0]);
        assert_eq!(RealDisk.read_at(&path, 20000, 4).unwrap(), [0; 0]);
    }

    #[test]
    fn what_is_written_over_itself_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        RealDisk.rewrite(&path, 100, 2_999_000).unwrap();
        RealDisk.rewrite(&path, 3_000_000, 0).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        assert!(RealDisk.rewrite(&path, 2_999_999, 2).is_err(), "beyond the end");
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/file");
        assert_eq!(RealDisk.read(&path).unwrap(), None);
        RealDisk.write_atomic(&path, b"one").unwrap();
        RealDisk.write_atomic(&path, b"two").unwrap();
        assert_eq!(RealDisk.read(&path).unwrap().unwrap(), b"two");
        let config = dir.path().join("config");
        assert_eq!(RealDisk.list(&config).unwrap(), [("file".to_owned(), Some(3))]);
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [("config".to_owned(), None)]);
        RealDisk.remove(&path).unwrap();
        RealDisk.remove(&path).unwrap();
        RealDisk.remove_dir(&config).unwrap();
        RealDisk.remove_dir(&config).unwrap();
        assert_eq!(RealDisk.list(&config).unwrap(), []);
    }

    #[test]
    fn room_and_time_are_those_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let space = RealDisk.space(dir.path()).unwrap();
        assert!(space.total > 0 && space.available <= space.free && space.free <= space.total);
        let deeper = RealDisk.space(&dir.path().join("not/there")).unwrap();
        assert_eq!(deeper.total, space.total, "that of the folder above");
        let path = dir.path().join("file");
        let missing = RealDisk.modified_ms(&path).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let file = File::create(&path).unwrap();
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_millis(86_400_001)).unwrap();
        assert_eq!(RealDisk.modified_ms(&path).unwrap(), 86_400_001);
    }

    #[test]
    fn a_lock_keeps_this_process_out_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = RealDisk.lock(&path).unwrap();
        let second = RealDisk.lock(&dir.path().join(".").join("lock"));
        assert_eq!(second.err().unwrap().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(fs::read(&path).unwrap(), b"lock");
        drop(lock);
        assert!(RealDisk.lock(&path).is_ok());
    }
}
