//! What the operations do to names, files and room, once it is settled that they succeed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    faults::{self, Dice, DiskFault, Faults, drawn_names, drawn_sectors},
    file::MemFile,
    names::{Entry, Names},
};
use crate::{
    clock::ManualClock,
    disk::{Space, folder},
};

/// The disk in memory.
#[derive(Default)]
pub(super) struct State {
    pub(super) names: Names,
    pub(super) locked: BTreeSet<PathBuf>,
    pub(super) free_bytes: Option<u64>,
    /// What is told of the room below a folder, if not the truth.
    pub(super) spaces: BTreeMap<PathBuf, Space>,
    /// When files were last changed, as far as anybody said.
    pub(super) modified: BTreeMap<PathBuf, i64>,
    pub(super) fails_to_sync: bool,
    pub(super) keeps_order: bool,
    /// Is moved on by every sync.
    pub(super) slow: Option<(Arc<ManualClock>, i64)>,
    pub(super) faults: Faults,
    /// Once the power is lost, the names and bytes that are found afterwards.
    pub(super) lost: Option<BTreeMap<PathBuf, Entry>>,
}

impl State {
    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<MemFile>> {
        match self.names.get(path) {
            Some(Entry::File(file)) => Ok(file.clone()),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A file of some length, of which nothing is on the disk yet.
    pub(super) fn create_in_part(&mut self, path: &Path, len: u64, is_full: bool) {
        if self.faults.dice.coin() && self.names.get(path).is_none() {
            // Where blocks cannot be reserved, zeros are written; else a length is there or not.
            let len = if is_full { self.faults.dice.torn(len as usize) } else { 0 };
            self.names.set(path, Entry::File(MemFile::new(vec![0; len], Vec::new())));
        }
    }

    pub(super) fn take_room(&mut self, file: &MemFile, bytes: u64) -> io::Result<()> {
        if let Some(free) = &mut self.free_bytes {
            *free = free.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
            file.take_room(|room| room + bytes);
        }
        Ok(())
    }

    /// Takes up to `bytes` from a file's room back.
    pub(super) fn give_back(&mut self, file: &MemFile, bytes: u64) {
        let (before, after) = file.take_room(|room| room.saturating_sub(bytes));
        if let Some(free) = &mut self.free_bytes {
            *free += before - after;
        }
    }

    pub(super) fn begin_sync(&mut self) -> io::Result<()> {
        if let Some((clock, ms)) = &self.slow {
            clock.advance(*ms);
        }
        if self.fails_to_sync { Err(faults::error(DiskFault::Io)) } else { Ok(()) }
    }

    /// Puts as much of `bytes` into a file as there is room for.
    pub(super) fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let file = MemFile::new(Vec::new(), Vec::new());
                self.names.set(path, Entry::File(file.clone()));
                file
            }
            file => file?,
        };
        self.give_back(&file, u64::MAX);
        let fits = self.free_bytes.map_or(bytes.len(), |free| bytes.len().min(free as usize));
        let written = bytes.get(..fits).unwrap_or_default();
        self.take_room(&file, fits as u64)?;
        file.replace(written.to_vec());
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn remove(&mut self, path: &Path) {
        if let Ok(file) = self.file(path) {
            self.give_back(&file, u64::MAX);
        }
        self.names.remove(path);
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if folder(from) != folder(to) {
            let text = "a file is renamed within its folder only";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let file = self.file(from)?;
        if let Ok(replaced) = self.file(to) {
            self.give_back(&replaced, u64::MAX);
        }
        self.names.rename(from, to, Entry::File(file));
        Ok(())
    }

    pub(super) fn after_drawn_loss(&self, dice: &mut Dice) -> BTreeMap<PathBuf, Entry> {
        let mut others = Dice::new(dice.below(u64::MAX));
        self.after_loss(drawn_names(dice, self.keeps_order), drawn_sectors(&mut others))
    }

    /// Names and files as they are found after a loss of power.
    pub(super) fn after_loss(
        &self,
        name_kept: impl FnMut(&Path) -> bool,
        mut sector_kept: impl FnMut(&Path, u64) -> bool,
    ) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.names.after_loss(name_kept);
        for (path, entry) in &mut names {
            if let Entry::File(file) = entry {
                let bytes = file.after_loss(|at| sector_kept(path, at));
                *entry = Entry::File(MemFile::new(bytes.clone(), bytes));
            }
        }
        names
    }
}
