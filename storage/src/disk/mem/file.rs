//! One file: the bytes that programs see, and those on the disk.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{PAGE_BYTES, SECTOR_BYTES, faults::Dice, lock};
use crate::segment::Memory;

/// See the module's text.
pub(super) struct MemFile(Mutex<State>);

struct State {
    seen: Seen,
    durable: Vec<u8>,
    /// Whether `seen` was written anew since the last sync, and not changed in place.
    is_replaced: bool,
    /// Pages that a failed sync did not bring to the disk, as they were: while they stay so, they count
    /// as clean.
    given_up: BTreeMap<u64, Vec<u8>>,
    /// Bytes taken from the disk's room.
    room: u64,
}

/// What programs see.
enum Seen {
    Whole(Vec<u8>),
    Mapped(Arc<Memory>),
}

impl MemFile {
    /// A file of these bytes, of which `durable` are on the disk.
    pub(super) fn new(bytes: Vec<u8>, durable: Vec<u8>) -> Arc<Self> {
        let (seen, is_replaced) = (Seen::Whole(bytes), false);
        let given_up = BTreeMap::new();
        Arc::new(Self(Mutex::new(State { seen, durable, is_replaced, given_up, room: 0 })))
    }

    /// Another file of the same bytes, seen and on the disk.
    pub(super) fn copy(&self) -> Arc<Self> {
        let state = self.state();
        Arc::new(Self(Mutex::new(State {
            seen: Seen::Whole(state.seen.read(0, state.seen.len() as usize)),
            durable: state.durable.clone(),
            is_replaced: state.is_replaced,
            given_up: state.given_up.clone(),
            room: state.room,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Its length.
    pub(super) fn len(&self) -> u64 {
        self.state().seen.len()
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let state = self.state();
        state.seen.read(0, state.seen.len() as usize)
    }

    /// Some of its bytes; fewer at its end.
    pub(super) fn read(&self, at: u64, len: usize) -> Vec<u8> {
        self.state().seen.read(at, len)
    }

    /// Its bytes as shared memory.
    pub(super) fn mapped(&self) -> io::Result<Arc<Memory>> {
        let mut state = self.state();
        let memory = match &state.seen {
            Seen::Mapped(memory) => return Ok(memory.clone()),
            Seen::Whole(bytes) => {
                let memory = Memory::zeroed(bytes.len() as u64)?;
                memory.copy_in(0, bytes);
                memory
            }
        };
        state.seen = Seen::Mapped(memory.clone());
        Ok(memory)
    }

    /// Empties it and writes `bytes`.
    pub(super) fn replace(&self, bytes: Vec<u8>) {
        let mut state = self.state();
        (state.seen, state.is_replaced) = (Seen::Whole(bytes), true);
        state.given_up.clear();
    }

    /// Changes some of its bytes.
    pub(super) fn change(&self, at: u64, bytes: &[u8]) {
        match &mut self.state().seen {
            Seen::Whole(whole) => copy(whole, at, bytes),
            Seen::Mapped(memory) => memory.copy_in(at, bytes),
        }
        self.dirty(at, bytes.len() as u64);
    }

    /// Has the pages of a part count as changed, though they may be as they were.
    pub(super) fn dirty(&self, at: u64, len: u64) {
        let mut state = self.state();
        for (page, _, _) in pages(at, at + len) {
            if let Some(clean) = state.given_up.get_mut(&page) {
                // What no page is like.
                clean.clear();
            }
        }
    }

    /// Changes some of its bytes on the disk.
    pub(super) fn change_durable(&self, at: u64, bytes: &[u8]) {
        copy(&mut self.state().durable, at, bytes);
    }

    /// Changes how much room it takes, by what `f` makes of it; what it took before and takes now.
    pub(super) fn take_room(&self, f: impl FnOnce(u64) -> u64) -> (u64, u64) {
        let mut state = self.state();
        let before = state.room;
        state.room = f(before);
        (before, state.room)
    }

    /// Brings a part to the disk, and the length.
    pub(super) fn sync(&self, at: u64, len: u64) {
        let mut state = self.state();
        state.sync_len();
        for (page, from, to) in pages(at, at + len) {
            state.sync_page(page, from, to);
        }
    }

    /// Fails to bring a part to the disk: only some of its pages get there. What of the others was not
    /// there already counts as clean.
    pub(super) fn sync_some(&self, at: u64, len: u64, dice: &mut Dice) {
        let mut state = self.state();
        if state.is_replaced && dice.coin() {
            state.sync_len();
        }
        for (page, from, to) in pages(at, at + len) {
            if !state.is_replaced && dice.coin() {
                state.sync_page(page, from, to);
            } else {
                let bytes = state.seen.read(page, PAGE_BYTES as usize);
                state.given_up.insert(page, bytes);
            }
        }
    }

    /// Its bytes after a loss of power. What was not synced is left in those sectors for which `kept`,
    /// given the first byte, says so. Of a file that was written anew, it is asked first (as for 0)
    /// whether the old content is gone, then for as many sectors (as from 512 on) as there are of the
    /// new one in a row.
    pub(super) fn after_loss(&self, kept: impl FnMut(u64) -> bool) -> Vec<u8> {
        let state = self.state();
        if state.is_replaced {
            state.replaced_after_loss(kept)
        } else {
            state.changed_after_loss(kept)
        }
    }
}

impl State {
    fn sync_len(&mut self) {
        if self.is_replaced {
            (self.durable, self.is_replaced) = (Vec::new(), false);
        }
        self.durable.resize(self.seen.len() as usize, 0);
    }

    fn sync_page(&mut self, page: u64, from: u64, to: u64) {
        let bytes = self.seen.read(from, (to - from) as usize);
        match self.given_up.get(&page) {
            Some(clean) if *clean == self.seen.read(page, PAGE_BYTES as usize) => {}
            Some(_) => {
                // It is dirty again, and pages are written as a whole.
                self.given_up.remove(&page);
                let bytes = self.seen.read(page, PAGE_BYTES as usize);
                copy(&mut self.durable, page, &bytes);
            }
            None => copy(&mut self.durable, from, &bytes),
        }
    }

    fn replaced_after_loss(&self, mut kept: impl FnMut(u64) -> bool) -> Vec<u8> {
        if !kept(0) {
            return self.durable.clone();
        }
        let sectors = self.seen.len().div_ceil(SECTOR_BYTES);
        let kept = (1..=sectors).take_while(|sector| kept(sector * SECTOR_BYTES)).count();
        self.seen.read(0, kept * SECTOR_BYTES as usize)
    }

    fn changed_after_loss(&self, mut kept: impl FnMut(u64) -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mut at = 0;
        while at < self.seen.len() {
            if kept(at) {
                let sector = self.seen.read(at, SECTOR_BYTES as usize);
                if bytes.len() < at as usize + sector.len() {
                    // The length is known with the first byte that lies behind the old one.
                    bytes.resize(self.seen.len() as usize, 0);
                }
                copy(&mut bytes, at, &sector);
            }
            at += SECTOR_BYTES;
        }
        bytes
    }
}

impl Seen {
    fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Mapped(memory) => memory.len(),
        }
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let len = self.len().saturating_sub(at).min(len as u64) as usize;
        match self {
            Self::Whole(bytes) => bytes
                .get(at as usize..)
                .and_then(|b| b.get(..len))
                .map(Vec::from)
                .unwrap_or_default(),
            Self::Mapped(memory) => {
                let mut bytes = vec![0; len];
                if len > 0 {
                    memory.copy_out(at, &mut bytes);
                }
                bytes
            }
        }
    }
}

/// Start of every page of a range, with the part of the range that lies on it.
fn pages(from: u64, to: u64) -> impl Iterator<Item = (u64, u64, u64)> {
    let first = from - from % PAGE_BYTES;
    let starts = (first..to).step_by(PAGE_BYTES as usize);
    starts.map(move |page| (page, from.max(page), to.min(page + PAGE_BYTES)))
}

/// Copies as much as fits.
fn copy(to: &mut [u8], at: u64, from: &[u8]) {
    let place = to.get_mut(at as usize..).unwrap_or_default();
    let len = place.len().min(from.len());
    if let (Some(place), Some(from)) = (place.get_mut(..len), from.get(..len)) {
        place.copy_from_slice(from);
    }
}
