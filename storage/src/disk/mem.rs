//! Files in memory, for tests and simulation: a disk that fails when it is told to.
//!
//! A file has two contents: what programs see, and what is on the disk, which syncing brings up to
//! date. Names likewise. [`MemDisk::crash`] gives the disk as a machine that lost its power finds it
//! afterwards; going on with the same [`MemDisk`] is what the death of a process leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, Space, StoreLock};
use crate::segment::{Memory, Segment};

/// The unit in which the system writes pages back by itself.
const PAGE_BYTES: u64 = 4096;
/// Room of a disk of which nothing else was said.
const TOTAL_BYTES: u64 = 1 << 40;

/// See the module's text. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: Names,
    synced_names: Names,
    dirs: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    free_bytes: Option<u64>,
    /// What is told of the room below a folder, if not the truth.
    spaces: BTreeMap<PathBuf, Space>,
    modified: BTreeMap<PathBuf, i64>,
    fails_to_sync: bool,
}

type Names = BTreeMap<PathBuf, Arc<Node>>;

/// A file, whatever its name.
enum Node {
    /// Written at once and never changed.
    Whole(Vec<u8>),
    /// Mapped.
    Segment {
        memory: Arc<Memory>,
        /// What a loss of power leaves.
        synced: Mutex<Vec<u8>>,
    },
}

impl MemDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the disk this much room from now on; what needs more fails.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.state().free_bytes = free;
    }

    /// What [`Disk::space`] tells of `dir` and all below it from now on; a folder within may be told of
    /// apart. `None` tells what [`set_free_bytes`](Self::set_free_bytes) left of 1 TiB again.
    pub fn set_space(&self, dir: &Path, space: Option<Space>) {
        let spaces = &mut self.state().spaces;
        match space {
            Some(space) => spaces.insert(dir.to_owned(), space),
            None => spaces.remove(dir),
        };
    }

    /// What [`Disk::modified_ms`] tells of a file from now on; it is 0 until then.
    pub fn set_modified_ms(&self, path: &Path, ms: i64) {
        self.state().modified.insert(path.to_owned(), ms);
    }

    /// Makes every sync fail, or work again.
    pub fn fail_syncs(&self, fails: bool) {
        self.state().fails_to_sync = fails;
    }

    /// Inverts one byte of a file, as a bad disk would. Only while nobody reads or writes there.
    pub fn corrupt(&self, path: &Path, at: u64) -> io::Result<()> {
        let mut byte = self.read_at(path, at, 1)?;
        byte.iter_mut().for_each(|b| *b = !*b);
        self.overwrite(path, at, &byte)
    }

    /// Changes a file past all owners, with immediate effect on the disk. Only while nobody reads or
    /// writes there.
    pub fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let node = match &*state.node(path)? {
            Node::Whole(content) => {
                let mut content = content.clone();
                copy(&mut content, at, bytes);
                Node::Whole(content)
            }
            Node::Segment { memory, synced } => {
                memory.copy_in(at, bytes);
                copy(&mut lock(synced), at, bytes);
                return Ok(());
            }
        };
        state.name(path, Arc::new(node), true);
        Ok(())
    }

    /// Cuts a file to `len` bytes, or lengthens it by zeros; as an interrupted program leaves it.
    pub fn resize(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut content = self.read(path)?.ok_or(io::ErrorKind::NotFound)?;
        content.resize(len as usize, 0);
        self.state().name(path, Arc::new(Node::Whole(content)), true);
        Ok(())
    }

    /// The disk after a loss of power: with what was synced, and nothing else.
    pub fn crash(&self) -> Self {
        self.crash_keeping(|_, _| false)
    }

    /// As [`crash`](Self::crash), but the system had written some pages back by itself: those for which
    /// `kept`, given the file and the page's first byte, says so.
    pub fn crash_keeping(&self, mut kept: impl FnMut(&Path, u64) -> bool) -> Self {
        let state = self.state();
        let mut names = Names::new();
        for (path, node) in &state.synced_names {
            let content = node.synced_content(|at| kept(path, at));
            names.insert(path.clone(), Arc::new(Node::Whole(content)));
        }
        let (synced_names, dirs) = (names.clone(), state.dirs.clone());
        Self(Arc::new(Mutex::new(State { names, synced_names, dirs, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    fn segment(&self, node: &Arc<Node>, start: u64, readable: u64) -> io::Result<Arc<Segment>> {
        let Node::Segment { memory, .. } = &**node else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (disk, synced) = (self.clone(), node.clone());
        Ok(Segment::simulated(start, memory.clone(), readable, move |at, bytes| {
            disk.state().check_sync()?;
            if let Node::Segment { synced, .. } = &*synced {
                copy(&mut lock(synced), at, bytes);
            }
            Ok(())
        }))
    }

    fn create(&self, path: &Path, start: u64, len: u64, full: bool) -> io::Result<Arc<Segment>> {
        let synced = Mutex::new(vec![0; len as usize]);
        let node = Arc::new(Node::Segment { memory: Memory::zeroed(len)?, synced });
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if full {
            state.check_sync()?;
            state.take_room(len)?;
        }
        state.name(path, node.clone(), full);
        drop(state);
        self.segment(&node, start, 0)
    }
}

impl State {
    fn node(&self, path: &Path) -> io::Result<Arc<Node>> {
        self.names.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, path: &Path, node: Arc<Node>, is_synced: bool) {
        self.add_dir(path.parent());
        if is_synced {
            self.synced_names.insert(path.to_owned(), node.clone());
        }
        self.names.insert(path.to_owned(), node);
    }

    fn add_dir(&mut self, dir: Option<&Path>) {
        self.dirs.extend(dir.into_iter().flat_map(Path::ancestors).map(Path::to_owned));
    }

    fn take_room(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(free) = &mut self.free_bytes {
            *free = free.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        Ok(())
    }

    fn check_sync(&self) -> io::Result<()> {
        if self.fails_to_sync { Err(io::Error::other("the disk fails on demand")) } else { Ok(()) }
    }
}

impl Node {
    fn len(&self) -> u64 {
        match self {
            Self::Whole(content) => content.len() as u64,
            Self::Segment { memory, .. } => memory.len(),
        }
    }

    fn content(&self) -> Vec<u8> {
        match self {
            Self::Whole(content) => content.clone(),
            Self::Segment { memory, .. } => {
                let mut content = vec![0; memory.len() as usize];
                memory.copy_out(0, &mut content);
                content
            }
        }
    }

    fn synced_content(&self, mut kept: impl FnMut(u64) -> bool) -> Vec<u8> {
        let Self::Segment { memory, synced } = self else { return self.content() };
        let mut content = lock(synced).clone();
        for (page, at) in content.chunks_mut(PAGE_BYTES as usize).zip((0..).step_by(4096)) {
            if kept(at) {
                memory.copy_out(at, page);
            }
        }
        content
    }
}

impl Disk for MemDisk {
    fn create_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>> {
        self.create(path, start, len, true)
    }

    fn create_sparse_segment(&self, path: &Path, start: u64, len: u64) -> io::Result<Arc<Segment>> {
        self.create(path, start, len, false)
    }

    fn open_segment(
        &self,
        path: &Path,
        start: u64,
        len: u64,
        readable: u64,
    ) -> io::Result<Arc<Segment>> {
        let mut state = self.state();
        let mut node = state.node(path)?;
        if node.len() != len {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Node::Whole(content) = &*node {
            let memory = Memory::zeroed(len)?;
            memory.copy_in(0, content);
            node = Arc::new(Node::Segment { memory, synced: Mutex::new(content.clone()) });
            let is_synced = state.synced_names.contains_key(path);
            state.name(path, node.clone(), is_synced);
        }
        drop(state);
        self.segment(&node, start, readable)
    }

    fn reserve(&self, path: &Path, _at: u64, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.node(path)?;
        state.take_room(len)
    }

    fn clear_from(&self, path: &Path, at: u64) -> io::Result<()> {
        let len = self.state().node(path)?.len();
        self.overwrite(path, at, &vec![0; len.saturating_sub(at) as usize])
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, Option<u64>)>> {
        let state = self.state();
        let is_child = |path: &&PathBuf| path.parent() == Some(dir);
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dirs = state.dirs.iter().filter(is_child).map(|path| (name(path), None));
        let files = state.names.iter().filter(|(path, _)| is_child(path));
        let files = files.map(|(path, node)| (name(path), Some(node.len())));
        let mut names: Vec<_> = dirs.chain(files).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn read_at(&self, path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let node = self.state().node(path)?;
        let len = node.len().saturating_sub(at).min(len as u64) as usize;
        match &*node {
            Node::Whole(content) => {
                Ok(content.iter().skip(at as usize).take(len).copied().collect())
            }
            Node::Segment { memory, .. } => {
                let mut bytes = vec![0; len];
                if len > 0 {
                    memory.copy_out(at, &mut bytes);
                }
                Ok(bytes)
            }
        }
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().names.get(path).map(|node| node.content()))
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.check_sync()?;
        state.take_room(bytes.len() as u64)?;
        state.name(path, Arc::new(Node::Whole(bytes.to_vec())), true);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().names.remove(path);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.names.retain(|path, _| !path.starts_with(dir));
        state.dirs.retain(|path| !path.starts_with(dir));
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.state().add_dir(Some(dir));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_sync()?;
        state.synced_names.retain(|path, _| path.parent() != Some(dir));
        let here = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let here: Vec<_> = here.map(|(path, node)| (path.clone(), node.clone())).collect();
        state.synced_names.extend(here);
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let state = self.state();
        if let Some(told) = dir.ancestors().find_map(|dir| state.spaces.get(dir)) {
            return Ok(*told);
        }
        let free = state.free_bytes.unwrap_or(TOTAL_BYTES).min(TOTAL_BYTES);
        Ok(Space { total: TOTAL_BYTES, free, available: free })
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        let state = self.state();
        state.node(path)?;
        Ok(state.modified.get(path).copied().unwrap_or(0))
    }

    fn lock(&self, path: &Path) -> io::Result<StoreLock> {
        if !self.state().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(StoreLock::new(Unlock { disk: self.clone(), path: path.to_owned() }))
    }
}

struct Unlock {
    disk: MemDisk,
    path: PathBuf,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies as much as fits.
fn copy(content: &mut [u8], at: u64, bytes: &[u8]) {
    let place = content.iter_mut().skip(at as usize);
    place.zip(bytes).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(segment: &Arc<Segment>, at: u64, text: &[u8]) {
        let mut writer = segment.writer().unwrap();
        writer.bytes(at, text.len() as u64).unwrap().copy_from_slice(text);
        writer.publish(at + text.len() as u64);
    }

    #[test]
    fn a_crash_leaves_what_was_synced() {
        let disk = MemDisk::new();
        let path = Path::new("/log/0");
        let segment = disk.create_segment(path, 0, 8192).unwrap();
        write(&segment, 0, b"one");
        segment.sync(0, 3).unwrap();
        write(&segment, 3, b"two");
        assert_eq!(disk.read_at(path, 0, 7).unwrap(), b"onetwo\0", "what programs see");
        assert_eq!(disk.crash().read_at(path, 0, 7).unwrap(), b"one\0\0\0\0");
        let kept = disk.crash_keeping(|_, at| at == 0);
        assert_eq!(kept.read_at(path, 0, 7).unwrap(), b"onetwo\0");
    }

    #[test]
    fn names_need_a_sync_of_their_folder() {
        let disk = MemDisk::new();
        let (dir, path) = (Path::new("/q"), Path::new("/q/0"));
        disk.create_sparse_segment(path, 0, 20).unwrap();
        assert_eq!(disk.crash().list(dir).unwrap(), []);
        disk.sync_dir(dir).unwrap();
        disk.remove(path).unwrap();
        assert_eq!(disk.crash().list(dir).unwrap(), [("0".to_owned(), Some(20))]);
        disk.sync_dir(dir).unwrap();
        assert_eq!(disk.crash().list(dir).unwrap(), []);
    }

    #[test]
    fn a_disk_can_be_full_and_can_fail_to_sync() {
        let disk = MemDisk::new();
        disk.set_free_bytes(Some(100));
        let full = disk.create_segment(Path::new("/a"), 0, 101).err().unwrap();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(disk.list(Path::new("/")).unwrap().is_empty());
        let segment = disk.create_segment(Path::new("/a"), 0, 60).unwrap();
        assert!(disk.write_atomic(Path::new("/b"), &[0; 41]).is_err());
        disk.fail_syncs(true);
        write(&segment, 0, b"x");
        assert!(segment.sync(0, 1).is_err());
        assert!(disk.write_atomic(Path::new("/b"), &[]).is_err());
    }

    #[test]
    fn segments_of_a_file_share_its_bytes() {
        let disk = MemDisk::new();
        let path = Path::new("/log/0");
        write(&disk.create_segment(path, 0, 4096).unwrap(), 0, b"one");
        let again = disk.open_segment(path, 0, 4096, 3).unwrap();
        assert_eq!(again.read_from(0).unwrap(), b"one");
        drop(again);
        disk.corrupt(path, 1).unwrap();
        disk.clear_from(path, 2).unwrap();
        let after = disk.crash().open_segment(path, 0, 4096, 4096).unwrap();
        assert_eq!(after.read(0, 4).unwrap(), [0, !b'n', 0, 0], "the rest was not synced");
        assert!(disk.open_segment(path, 0, 4095, 0).is_err());
    }

    #[test]
    fn room_and_times_are_as_told() {
        let disk = MemDisk::new();
        let space = |dir: &str| disk.space(Path::new(dir)).unwrap();
        assert_eq!(space("/a").used_percent(), Some(0));
        disk.set_free_bytes(Some(TOTAL_BYTES / 4));
        assert_eq!(space("/a").used_percent(), Some(75));
        let full = Space { total: 10, free: 0, available: 0 };
        disk.set_space(Path::new("/a"), Some(full));
        assert_eq!((space("/a/b"), space("/c").used_percent()), (full, Some(75)));
        disk.set_space(Path::new("/a"), None);
        assert_eq!(space("/a/b").used_percent(), Some(75));
        let path = Path::new("/a/file");
        assert_eq!(disk.modified_ms(path).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.write_atomic(path, b"x").unwrap();
        disk.set_modified_ms(path, 7);
        assert_eq!(disk.modified_ms(path).unwrap(), 7);
    }

    #[test]
    fn a_lock_is_given_back() {
        let disk = MemDisk::new();
        let path = Path::new("/lock");
        let lock = disk.lock(path).unwrap();
        assert!(disk.lock(path).is_err());
        drop(lock);
        assert!(disk.lock(path).is_ok());
    }
}
