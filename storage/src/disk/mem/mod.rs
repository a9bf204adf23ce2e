//! Files in memory, for tests and simulation: a disk that fails when it is told to.
//!
//! It has the semantics of a page cache. A file has two contents: what programs see, and what is on the
//! disk, which syncing brings up to date ([`mod@file`]); names likewise ([`names`]). [`MemDisk::crash`]
//! gives the disk as a machine that lost its power finds it afterwards, [`MemDisk::kill`] as the death
//! of a process leaves it. A [`FaultPlan`] has operations fail or the power go in the middle of them
//! ([`faults`]).
//!
//! Appending to a mapped file is no operation, as it is none of a real disk. A test that wants the
//! power to go between two appends says where it is with [`MemDisk::step`].

mod faults;
mod file;
mod names;
mod state;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use faults::{DiskFault, DiskOp, FaultPlan};

use self::{
    faults::{Dice, Faults, drawn_names},
    file::MemFile,
    names::{Entry, Names},
    state::State,
};
use super::{Disk, Space, StoreLock, folder};
use crate::{clock::ManualClock, segment::Segment};

/// The unit in which the system writes mapped files back.
const PAGE_BYTES: u64 = 4096;
/// The unit that a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Room of a disk of which nothing else was said.
const TOTAL_BYTES: u64 = 1 << 40;

/// See the module's text. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

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

    /// Has every sync take this long by that clock.
    pub fn slow_syncs(&self, clock: Arc<ManualClock>, ms: i64) {
        self.state().slow = Some((clock, ms));
    }

    /// Has a loss of power leave changes of names, and the lengths of new files, in the order in which
    /// they were made, as a file system with a journal does. Else it leaves any.
    pub fn keep_order_of_names(&self, keeps_order: bool) {
        self.state().keeps_order = keeps_order;
    }

    /// Follows a plan from now on, instead of the one before.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.state().faults = Faults::new(plan);
    }

    /// Operations and steps since the plan was given.
    pub fn operations(&self) -> u64 {
        self.state().faults.count()
    }

    /// The plan's faults so far: the operations that met them, and what happened to each.
    pub fn faults_met(&self) -> Vec<(DiskOp, DiskFault)> {
        self.state().faults.met.clone()
    }

    /// A point between two operations at which the plan may have the power go; an error if it is gone.
    pub fn step(&self) -> io::Result<()> {
        self.run(DiskOp::Step, |_| Ok(()), |_, _| ())
    }

    /// Whether the power was lost.
    pub fn is_off(&self) -> bool {
        self.state().lost.is_some()
    }

    /// Inverts one byte of a file, as a bad disk would. Only while nobody reads or writes there.
    pub fn corrupt(&self, path: &Path, at: u64) -> io::Result<()> {
        let mut byte = self.file(path)?.read(at, 1);
        byte.iter_mut().for_each(|b| *b = !*b);
        self.overwrite(path, at, &byte)
    }

    /// Changes a file past all owners, with immediate effect on the disk. Only while nobody reads or
    /// writes there.
    pub fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(path)?;
        file.change(at, bytes);
        file.change_durable(at, bytes);
        Ok(())
    }

    /// Cuts a file to `len` bytes, or lengthens it by zeros; as an interrupted program leaves it.
    pub fn resize(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut bytes = self.file(path)?.bytes();
        bytes.resize(len as usize, 0);
        let mut state = self.state();
        state.names.set(path, Entry::File(MemFile::new(bytes.clone(), bytes)));
        state.names.sync(folder(path), |changed| changed == path);
        Ok(())
    }

    /// The disk after a loss of power: the one that the plan brought about, or else one now, which
    /// leaves what was synced and nothing else.
    pub fn crash(&self) -> Self {
        let state = self.state();
        if let Some(lost) = &state.lost {
            return Self::of(lost.clone(), state.keeps_order);
        }
        drop(state);
        self.crash_keeping(|_, _| false)
    }

    /// As [`crash`](Self::crash), but the system had written something back by itself: those sectors
    /// for which `kept`, given the file and the sector's first byte, says so.
    pub fn crash_keeping(&self, kept: impl FnMut(&Path, u64) -> bool) -> Self {
        let state = self.state();
        Self::of(state.after_loss(|_| false, kept), state.keeps_order)
    }

    /// As [`crash`](Self::crash), with names, pages and parts of pages kept or not as `seed` has it.
    pub fn crash_seeded(&self, seed: u64) -> Self {
        let state = self.state();
        Self::of(state.after_drawn_loss(&mut Dice::new(seed)), state.keeps_order)
    }

    /// The disk as another process finds it when this one is killed: with all that was seen, and all
    /// that was on the disk. What the old handles do, such as tidying up when they are dropped, does not
    /// reach it.
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        let names = state.names.copy();
        let (free_bytes, keeps_order) = (state.free_bytes, state.keeps_order);
        let (lost, faults) = (state.lost.clone(), std::mem::take(&mut state.faults));
        let after = State { names, free_bytes, keeps_order, lost, faults, ..State::default() };
        Self(Arc::new(Mutex::new(after)))
    }

    fn of(names: BTreeMap<PathBuf, Entry>, keeps_order: bool) -> Self {
        let state = State { names: Names::durable(names), keeps_order, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    fn file(&self, path: &Path) -> io::Result<Arc<MemFile>> {
        self.state().file(path)
    }

    /// Does an operation as a whole, or only in part if the plan has it fail.
    fn run<T>(
        &self,
        op: DiskOp,
        whole: impl FnOnce(&mut State) -> io::Result<T>,
        part: impl FnOnce(&mut State, DiskFault),
    ) -> io::Result<T> {
        let mut state = self.state();
        if state.lost.is_some() {
            return Err(faults::error(DiskFault::PowerLoss));
        }
        let Some(fault) = state.faults.next(op) else { return whole(&mut state) };
        if op != DiskOp::Step || fault == DiskFault::PowerLoss {
            part(&mut state, fault);
        }
        if fault == DiskFault::PowerLoss {
            let mut dice = state.faults.dice.clone();
            state.lost = Some(state.after_drawn_loss(&mut dice));
        }
        Err(faults::error(fault))
    }

    fn sync(&self, file: &MemFile, at: u64, len: u64) -> io::Result<()> {
        let whole = |state: &mut State| state.begin_sync().map(|()| file.sync(at, len));
        self.run(DiskOp::Sync, whole, |state, _| file.sync_some(at, len, &mut state.faults.dice))
    }

    fn segment(&self, file: Arc<MemFile>, start: u64, readable: u64) -> io::Result<Arc<Segment>> {
        let (disk, memory) = (self.clone(), file.mapped()?);
        Ok(Segment::simulated(start, memory, readable, move |at, bytes| {
            disk.sync(&file, at, bytes.len() as u64)
        }))
    }

    fn create(&self, path: &Path, start: u64, len: u64, is_full: bool) -> io::Result<Arc<Segment>> {
        let whole = |state: &mut State| {
            if state.names.get(path).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let zeros = vec![0; len as usize];
            let has_len = is_full || state.keeps_order;
            let file = MemFile::new(zeros.clone(), if has_len { zeros } else { Vec::new() });
            if is_full {
                state.begin_sync()?;
                state.take_room(&file, len)?;
            }
            state.names.set(path, Entry::File(file.clone()));
            if is_full {
                state.names.sync(folder(path), |changed| changed == path);
            }
            Ok(file)
        };
        let part = |state: &mut State, fault| {
            // Whoever lives on removes it.
            if fault == DiskFault::PowerLoss {
                state.create_in_part(path, len, is_full);
            }
        };
        if is_full {
            self.create_dir(folder(path))?;
        }
        self.segment(self.run(DiskOp::Create, whole, part)?, start, 0)
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
        let file = self.run(DiskOp::Map, |state| state.file(path), |_, _| ())?;
        if file.len() != len {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.segment(file, start, readable)
    }

    fn reserve(&self, path: &Path, _at: u64, len: u64) -> io::Result<()> {
        let whole = |state: &mut State| state.take_room(&*state.file(path)?, len);
        self.run(DiskOp::Reserve, whole, |_, _| ())
    }

    fn write_zeros(&self, path: &Path, at: u64, len: u64) -> io::Result<()> {
        let whole = |state: &mut State| {
            state.file(path)?.change(at, &vec![0; len as usize]);
            Ok(())
        };
        self.run(DiskOp::Write, whole, |_, _| ())
    }

    fn clear_from(&self, path: &Path, at: u64) -> io::Result<()> {
        let whole = |state: &mut State| {
            let file = state.file(path)?;
            let len = file.len().saturating_sub(at);
            file.change(at, &vec![0; len as usize]);
            state.give_back(&file, len);
            Ok(())
        };
        self.run(DiskOp::Clear, whole, |_, _| ())
    }

    fn rewrite(&self, path: &Path, at: u64, len: u64) -> io::Result<()> {
        let whole = |state: &mut State| {
            state.file(path)?.dirty(at, len);
            Ok(())
        };
        self.run(DiskOp::Write, whole, |_, _| ())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, Option<u64>)>> {
        let entry = |(path, entry): (&PathBuf, &Entry)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match entry {
                Entry::Dir => (name, None),
                Entry::File(file) => (name, Some(file.len())),
            }
        };
        let whole = |state: &mut State| Ok(state.names.children(dir).map(entry).collect());
        let mut names: Vec<_> = self.run(DiskOp::List, whole, |_, _| ())?;
        names.sort_unstable();
        Ok(names)
    }

    fn read_at(&self, path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>> {
        self.run(DiskOp::Read, |state| Ok(state.file(path)?.read(at, len)), |_, _| ())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let whole = |state: &mut State| match state.file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(|file| Some(file.bytes())),
        };
        self.run(DiskOp::Read, whole, |_, _| ())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = |state: &mut State, _| {
            let written = state.faults.dice.torn(bytes.len());
            // What is told is the planned fault.
            let _ = state.write(path, bytes.get(..written).unwrap_or(bytes));
        };
        self.run(DiskOp::Write, |state| state.write(path, bytes), part)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let file = self.file(path)?;
        self.sync(&file, 0, file.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(DiskOp::Rename, |state| state.rename(from, to), |_, _| ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let whole = |state: &mut State| {
            state.remove(path);
            Ok(())
        };
        self.run(DiskOp::Remove, whole, |_, _| ())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let whole = |state: &mut State| {
            state.names.below(dir).iter().for_each(|path| state.remove(path));
            Ok(())
        };
        let part = |state: &mut State, _| {
            let paths = state.names.below(dir);
            let removed = state.faults.dice.below(paths.len() as u64 + 1);
            paths.iter().take(removed as usize).for_each(|path| state.remove(path));
        };
        self.run(DiskOp::Remove, whole, part)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if matches!(self.state().names.get(dir), Some(Entry::Dir)) || dir.parent().is_none() {
            return Ok(());
        }
        let whole = |state: &mut State| {
            for made in state.names.add_dirs(Some(dir)) {
                state.names.sync(folder(&made), |changed| changed == made);
            }
            Ok(())
        };
        let part = |state: &mut State, fault| {
            if fault == DiskFault::PowerLoss {
                state.names.add_dirs(Some(dir));
            }
        };
        self.run(DiskOp::CreateDir, whole, part)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let whole =
            |state: &mut State| state.begin_sync().map(|()| state.names.sync(dir, |_| true));
        let part = |state: &mut State, _| {
            let State { names, faults, keeps_order, .. } = state;
            names.sync(dir, drawn_names(&mut faults.dice, *keeps_order));
        };
        self.run(DiskOp::SyncDir, whole, part)
    }

    // These two change nothing, so that no plan counts them.

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
        state.file(path)?;
        Ok(state.modified.get(path).copied().unwrap_or(0))
    }

    fn lock(&self, path: &Path) -> io::Result<StoreLock> {
        let whole = |state: &mut State| {
            state.locked.insert(path.to_owned()).then_some(()).ok_or(io::ErrorKind::WouldBlock)?;
            Ok(StoreLock::new(Unlock { disk: self.clone(), path: path.to_owned() }))
        };
        self.run(DiskOp::Lock, whole, |_, _| ())
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

#[cfg(test)]
mod tests;
