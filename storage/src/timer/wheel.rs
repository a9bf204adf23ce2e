//! The timer wheel: which slots hold timers, and where the units of each begin and end.
//!
//! A slot is as long as the precision; the file has slots for twice seven days (at 1 s), one behind the
//! other, and says of each for which time it stands (store.md 2.7):
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | its time, in multiples of the precision |
//! | 8 | 8 | position of its first unit in the timer log |
//! | 16 | 8 | position of its last unit |
//! | 24 | 4 | how many there are, cancelled ones taken off |
//! | 28 | 4 | unused |
//!
//! Here the slots that hold something are kept in memory by their time; the file is written from a copy
//! of what has changed, by whoever may wait for a disk ([`WheelFile`]), and never before the units that
//! it names are on the disk. It is made with the first timer, at its full length, as a Java broker does
//! not start over one of another length.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::unit::TimerUnit;
use crate::{disk::Disk, segment::Words};

/// Slots of the Java broker's file: twice seven days of seconds.
const JAVA_SLOTS: u32 = 2 * 7 * 86_400;
/// Bytes of a slot.
const SLOT_BYTES: u64 = 32;
/// Bytes of the file that are read at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// Blocks are reserved in pieces of this size.
const RESERVE_BYTES: u64 = 64 * 1024;

/// The units of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Position of the first one.
    pub first: u64,
    /// Position of the last one, from which the others are found.
    pub last: u64,
    /// How many there are, cancelled ones taken off.
    pub count: i32,
}

/// How time is cut, and how many slots the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WheelLayout {
    /// Length of a slot, ms.
    pub precision_ms: i64,
    /// Slots of the file. A Java broker knows one number only; tests take fewer.
    pub slots: u32,
}

impl WheelLayout {
    /// As the Java broker has it.
    pub fn new(precision_ms: i64) -> Self {
        Self { precision_ms: precision_ms.max(1), slots: JAVA_SLOTS }
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        u64::from(self.slots) * SLOT_BYTES
    }
}

/// See the module's text. Times are in ms, those of slots whole multiples of the precision.
pub(super) struct Wheel {
    layout: WheelLayout,
    slots: BTreeMap<i64, Slot>,
    /// Slots that differ from the file's.
    changed: BTreeSet<i64>,
}

impl Wheel {
    pub(super) fn new(layout: WheelLayout) -> Self {
        Self { layout, slots: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// Reads the slots from `from_ms` on; `None` if the file is missing or not as long as it must be.
    pub(super) fn read(
        disk: &dyn Disk,
        path: &Path,
        layout: WheelLayout,
        from_ms: i64,
    ) -> io::Result<Option<Self>> {
        let (mut wheel, file_bytes) = (Self::new(layout), layout.file_bytes());
        match disk.modified_ms(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let mut at = 0;
        while at < file_bytes {
            let piece = disk.read_at(path, at, PIECE_BYTES as usize)?;
            let want = PIECE_BYTES.min(file_bytes - at);
            if piece.len() as u64 != want {
                return Ok(None);
            }
            for (number, slot) in piece.chunks(SLOT_BYTES as usize).enumerate() {
                let index = (at / SLOT_BYTES) as i64 + number as i64;
                if let Some((time, slot)) = wheel.decode(index, slot)
                    && time >= from_ms
                {
                    wheel.slots.insert(time, slot);
                }
            }
            at += want;
        }
        let has_more = !disk.read_at(path, file_bytes, 1)?.is_empty();
        Ok((!has_more).then_some(wheel))
    }

    fn decode(&self, index: i64, bytes: &[u8]) -> Option<(i64, Slot)> {
        let number = |at: usize| Some(i64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let time =
            number(0).filter(|time| *time > 0 && time % i64::from(self.layout.slots) == index)?;
        let first = u64::try_from(number(8)?).ok()?;
        let last = u64::try_from(number(16)?).ok()?;
        let count = i32::from_be_bytes(*bytes.get(24..)?.first_chunk()?);
        Some((time.checked_mul(self.layout.precision_ms)?, Slot { first, last, count }))
    }

    /// The slot of a time.
    pub(super) fn slot_of(&self, time_ms: i64) -> i64 {
        time_ms - time_ms.rem_euclid(self.layout.precision_ms)
    }

    pub(super) fn get(&self, slot_ms: i64) -> Option<Slot> {
        self.slots.get(&slot_ms).copied()
    }

    /// The first slot at `from_ms` or later.
    pub(super) fn next(&self, from_ms: i64) -> Option<(i64, Slot)> {
        self.slots.range(from_ms..).next().map(|(time, slot)| (*time, *slot))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, Slot)> {
        self.slots.iter().map(|(time, slot)| (*time, *slot))
    }

    /// Timers in all slots from `from_ms` on.
    pub(super) fn count(&self, from_ms: i64) -> i64 {
        self.slots.range(from_ms..).map(|(_, slot)| i64::from(slot.count)).sum()
    }

    /// Takes in that a unit lies at `position`, behind all others of its slot.
    pub(super) fn add(&mut self, slot_ms: i64, position: u64, weight: i32) {
        let new = Slot { first: position, last: position, count: 0 };
        let slot = self.slots.entry(slot_ms).or_insert(new);
        slot.last = position;
        slot.count = slot.count.saturating_add(weight);
        self.changed.insert(slot_ms);
    }

    /// As [`add`](Self::add) for a unit that is found in the timer log, and that the slot may know. One
    /// that follows no other begins its slot anew. `is_new`: it has not been counted.
    pub(super) fn revise(&mut self, slot_ms: i64, position: u64, unit: &TimerUnit, is_new: bool) {
        if self.slots.get(&slot_ms).is_some_and(|slot| slot.last >= position) {
            return;
        }
        if unit.previous.is_none() {
            self.clear(slot_ms);
        }
        self.add(slot_ms, position, if is_new { unit.weight() } else { 0 });
    }

    /// Has a slot be as it was.
    pub(super) fn restore(&mut self, slot_ms: i64, slot: Option<Slot>) {
        match slot {
            Some(slot) => _ = self.slots.insert(slot_ms, slot),
            None => self.clear(slot_ms),
        }
    }

    /// Has a slot hold nothing, to be filled anew.
    pub(super) fn clear(&mut self, slot_ms: i64) {
        self.slots.remove(&slot_ms);
    }

    /// Forgets the slots before `before_ms`; in the file they stand for times that are over.
    pub(super) fn forget_before(&mut self, before_ms: i64) {
        while let Some(entry) = self.slots.first_entry()
            && *entry.key() < before_ms
        {
            self.changed.remove(entry.key());
            entry.remove();
        }
    }

    /// What has changed, to be written.
    pub(super) fn take_changes(&mut self) -> Vec<(i64, Slot)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|time| Some((time, self.get(time)?))).collect()
    }

    /// Has everything be written again.
    pub(super) fn touch_all(&mut self) {
        self.changed.extend(self.slots.keys().copied());
    }

    /// Whether there is something to be written.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Slots strictly between two times, for whoever looks what lies ahead.
    pub(super) fn slots_after(&self, after_ms: i64) -> Option<(i64, Slot)> {
        let bounds = (Bound::Excluded(after_ms), Bound::Unbounded);
        self.slots.range(bounds).next().map(|(time, slot)| (*time, *slot))
    }
}

/// The file, to be written.
pub(super) struct WheelFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    layout: WheelLayout,
    words: Option<Words>,
    /// Pieces whose blocks are reserved.
    reserved: BTreeSet<u64>,
}

impl WheelFile {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf, layout: WheelLayout) -> Self {
        Self { disk, path, layout, words: None, reserved: BTreeSet::new() }
    }

    /// Writes slots and brings them to the disk.
    pub(super) fn write(&mut self, slots: &[(i64, Slot)]) -> io::Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let words = self.words()?;
        for (time, slot) in slots {
            self.put(&words, time / self.layout.precision_ms, slot)?;
        }
        words.sync(0, self.layout.file_bytes())
    }

    fn words(&mut self) -> io::Result<Words> {
        if let Some(words) = &self.words {
            return Ok(words.clone());
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let segment = match self.disk.modified_ms(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.disk.create_dir(dir)?;
                self.disk.create_sparse_segment(&self.path, 0, self.layout.file_bytes())?
            }
            found => {
                found?;
                self.disk.open_segment(&self.path, 0, self.layout.file_bytes(), 0)?
            }
        };
        // Also of one that a predecessor made, which may have been killed before it came to this.
        self.disk.sync_file(&self.path)?;
        self.disk.sync_dir(dir)?;
        let in_use = || io::Error::other("the timer wheel is in use");
        let words = segment.into_words().ok_or_else(in_use)?;
        self.words = Some(words.clone());
        Ok(words)
    }

    fn put(&mut self, words: &Words, time: i64, slot: &Slot) -> io::Result<()> {
        let at = time.rem_euclid(self.layout.slots.into()) as u64 * SLOT_BYTES;
        let piece = at - at % RESERVE_BYTES;
        if !self.reserved.contains(&piece) {
            let len = RESERVE_BYTES.min(self.layout.file_bytes() - piece);
            self.disk.reserve(&self.path, piece, len)?;
            self.reserved.insert(piece);
        }
        let numbers = [time as u64, slot.first, slot.last];
        for (number, at) in numbers.into_iter().zip((at..).step_by(8)) {
            words.store(at, (number >> 32) as u32);
            words.store(at + 4, number as u32);
        }
        words.store(at + 24, slot.count as u32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::unit::flags, *};
    use crate::{disk::MemDisk, offset::PhysicalOffset};

    const PATH: &str = "/store/timerwheel";
    const LAYOUT: WheelLayout = WheelLayout { precision_ms: 1000, slots: 4096 };

    fn written(slots: &[(i64, Slot)]) -> MemDisk {
        let disk = MemDisk::new();
        let mut file = WheelFile::new(Arc::new(disk.clone()), PATH.into(), LAYOUT);
        file.write(slots).unwrap();
        disk
    }

    fn read(disk: &MemDisk, from_ms: i64) -> Vec<(i64, Slot)> {
        let wheel = Wheel::read(disk, Path::new(PATH), LAYOUT, from_ms).unwrap().unwrap();
        wheel.iter().collect()
    }

    const SLOT: Slot = Slot { first: 52, last: 1 << 33, count: 3 };

    #[test]
    fn bytes_are_javas() {
        let disk = written(&[(1_700_000_005_000, SLOT)]);
        let at = 1_700_000_005 % 4096 * 32;
        let bytes = disk.read_at(Path::new(PATH), at, 32).unwrap();
        assert_eq!(bytes[..8], 1_700_000_005_i64.to_be_bytes());
        assert_eq!(bytes[8..16], 52_u64.to_be_bytes());
        assert_eq!(bytes[16..24], (1_u64 << 33).to_be_bytes());
        assert_eq!(bytes[24..], [0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(disk.read(Path::new(PATH)).unwrap().unwrap().len() as u64, LAYOUT.file_bytes());
        assert_eq!(WheelLayout::new(1000).file_bytes(), 38_707_200, "as long as Java's");
    }

    #[test]
    fn slots_are_read_back_from_a_time_on() {
        let later = (1_700_000_009_000, Slot { count: -1, ..SLOT });
        let disk = written(&[(1_700_000_005_000, SLOT), later]);
        assert_eq!(read(&disk, 0), [(1_700_000_005_000, SLOT), later]);
        assert_eq!(read(&disk, 1_700_000_005_001), [later]);
    }

    #[test]
    fn a_file_of_another_length_is_not_taken() {
        for len in [0, 1, LAYOUT.file_bytes() - 32, LAYOUT.file_bytes() + 1] {
            let disk = written(&[(1_700_000_005_000, SLOT)]);
            disk.resize(Path::new(PATH), len).unwrap();
            let wheel = Wheel::read(&disk, Path::new(PATH), LAYOUT, 0).unwrap();
            assert!(wheel.is_none(), "{len} bytes");
        }
        let none = Wheel::read(&MemDisk::new(), Path::new(PATH), LAYOUT, 0).unwrap();
        assert!(none.is_none());
    }

    #[test]
    fn a_slot_that_is_not_in_its_place_is_not_taken() {
        let disk = written(&[(1_700_000_005_000, SLOT)]);
        let at = 1_700_000_005 % 4096 * 32;
        let moved = disk.read_at(Path::new(PATH), at, 32).unwrap();
        disk.overwrite(Path::new(PATH), at + 32, &moved).unwrap();
        assert_eq!(read(&disk, 0).len(), 1);
        // Java's mark for no unit.
        disk.overwrite(Path::new(PATH), at + 8, &[0xFF; 8]).unwrap();
        assert!(read(&disk, 0).is_empty());
    }

    #[test]
    fn units_are_counted_once() {
        let mut wheel = Wheel::new(LAYOUT);
        wheel.add(5000, 0, 1);
        wheel.add(5000, 104, 1);
        let unit = TimerUnit {
            previous: Some(104),
            flags: flags::PLAIN,
            written_ms: 0,
            time_ms: 5000,
            offset: PhysicalOffset(0),
            size: 100,
            topic_hash: 0,
        };
        wheel.revise(5000, 104, &unit, true);
        let cancels = TimerUnit { flags: flags::PLAIN | flags::CANCEL, ..unit };
        wheel.revise(5000, 156, &cancels, true);
        assert_eq!(wheel.get(5000), Some(Slot { first: 0, last: 156, count: 1 }));
        wheel.revise(7000, 208, &unit, true);
        assert_eq!((wheel.count(0), wheel.count(6000)), (2, 1));
        assert_eq!(wheel.take_changes().len(), 2);
        wheel.revise(5000, 260, &TimerUnit { previous: None, ..unit }, true);
        assert_eq!(wheel.get(5000), Some(Slot { first: 260, last: 260, count: 1 }), "begun anew");
        wheel.forget_before(7000);
        assert_eq!(wheel.next(0).map(|(time, _)| time), Some(7000));
        assert!(!wheel.has_changes());
    }
}
