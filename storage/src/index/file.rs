//! One index file in memory: written by one owner, read by everybody at the same time.
//!
//! The slots and entries are the mapped words themselves. The header's numbers are kept beside them and
//! written into the file when it is synced, so that the header of a file that was not left in order says
//! what was on disk then.
//!
//! Readers find whole chains: an entry is written before the slot that points to it, and the count
//! before the slot too. What an entry and a slot say never changes while it is within the count, but
//! that a slot goes on to a newer entry.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
};

use super::layout::{
    ENTRY_BYTES, FIRST_ENTRY, HEADER_BYTES, IndexHeader, IndexLayout, KeyEntry, file_name_of,
};
use crate::{
    disk::Disk,
    offset::PhysicalOffset,
    segment::{Segment, Words},
};

/// See the module's text.
pub(super) struct IndexFile {
    number: u64,
    path: PathBuf,
    layout: IndexLayout,
    words: Words,
    begin_timestamp: AtomicI64,
    end_timestamp: AtomicI64,
    begin_offset: AtomicU64,
    end_offset: AtomicU64,
    hash_slot_count: AtomicU32,
    next_entry: AtomicU32,
}

impl IndexFile {
    /// Makes the file, without blocks but those of header and slots and on disk by name. It begins with
    /// what `before` ends with, until its first entry.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        layout: IndexLayout,
        before: Option<&Self>,
    ) -> io::Result<Self> {
        let path = dir.join(file_name_of(number));
        disk.create_dir(dir)?;
        let segment = disk.create_sparse_segment(&path, 0, layout.file_bytes())?;
        let reserved = disk.reserve(&path, 0, layout.entry_at(0)).and_then(|()| disk.sync_dir(dir));
        if let Err(e) = reserved {
            // The error that is told is the one of making it.
            let _ = disk.remove(&path);
            return Err(e);
        }
        let header = before.map_or_else(IndexHeader::default, |before| IndexHeader {
            begin_timestamp: before.header().end_timestamp,
            end_timestamp: before.header().end_timestamp,
            begin_offset: before.header().end_offset,
            end_offset: before.header().end_offset,
            ..IndexHeader::default()
        });
        let file = Self::of(number, path, layout, into_words(segment)?, header);
        file.write_header();
        Ok(file)
    }

    /// Opens a file that is there.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        layout: IndexLayout,
    ) -> io::Result<Self> {
        let path = dir.join(file_name_of(number));
        let words = into_words(disk.open_segment(&path, 0, layout.file_bytes(), 0)?)?;
        let header = (0..HEADER_BYTES).step_by(4).filter_map(|at| words.load(at));
        let header: Vec<u8> = header.flat_map(u32::to_be_bytes).collect();
        let header = IndexHeader::decode(&header).unwrap_or_default();
        Ok(Self::of(number, path, layout, words, header))
    }

    fn of(
        number: u64,
        path: PathBuf,
        layout: IndexLayout,
        words: Words,
        header: IndexHeader,
    ) -> Self {
        Self {
            number,
            path,
            layout,
            words,
            begin_timestamp: AtomicI64::new(header.begin_timestamp),
            end_timestamp: AtomicI64::new(header.end_timestamp),
            begin_offset: AtomicU64::new(header.begin_offset.0),
            end_offset: AtomicU64::new(header.end_offset.0),
            hash_slot_count: AtomicU32::new(header.hash_slot_count),
            next_entry: AtomicU32::new(header.next_entry.min(layout.entries)),
        }
    }

    /// The number that its name is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its place in the file system.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub(super) fn len(&self) -> u64 {
        self.words.len()
    }

    /// What its header would say now.
    pub(super) fn header(&self) -> IndexHeader {
        IndexHeader {
            begin_timestamp: self.begin_timestamp.load(Ordering::Acquire),
            end_timestamp: self.end_timestamp.load(Ordering::Acquire),
            begin_offset: PhysicalOffset(self.begin_offset.load(Ordering::Acquire)),
            end_offset: PhysicalOffset(self.end_offset.load(Ordering::Acquire)),
            hash_slot_count: self.hash_slot_count.load(Ordering::Acquire),
            next_entry: self.next_entry(),
        }
    }

    /// Number of the next entry.
    pub(super) fn next_entry(&self) -> u32 {
        self.next_entry.load(Ordering::Acquire)
    }

    /// Whether it has no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.next_entry() <= FIRST_ENTRY
    }

    /// Whether it takes no more entries.
    pub(super) fn is_full(&self) -> bool {
        self.next_entry() >= self.layout.entries
    }

    /// Where the next entry ends in the file, which has to have its blocks up to there.
    pub(super) fn next_entry_end(&self) -> u64 {
        self.layout.entry_at(self.next_entry()) + ENTRY_BYTES
    }

    /// The entry of this number.
    pub(super) fn entry(&self, number: u32) -> Option<KeyEntry> {
        let at = self.layout.entry_at(number);
        let word = |index: u64| self.words.load(at + index * 4);
        let words = [word(0)?, word(1)?, word(2)?, word(3)?, word(4)?];
        (number < self.layout.entries).then(|| KeyEntry::from_words(words))
    }

    /// Adds an entry behind the last one. For the owner, who has seen to it that there is room.
    pub(super) fn put(&self, hash: u32, offset: PhysicalOffset, timestamp: i64) {
        let (number, slot_at) = (self.next_entry(), self.layout.slot_at(self.layout.slot_of(hash)));
        assert!(number < self.layout.entries, "an index file has no room for another entry");
        if number == FIRST_ENTRY {
            // Before the seconds: those of the first entry are 0, whereas Java counts them from the end
            // of the file before.
            self.begin_timestamp.store(timestamp, Ordering::Release);
            self.begin_offset.store(offset.0, Ordering::Release);
        }
        let in_slot = self.words.load(slot_at).unwrap_or(0);
        let previous = if self.layout.is_entry(in_slot, number) { in_slot } else { 0 };
        let seconds = self.header().seconds_to(timestamp);
        self.write_entry(number, &KeyEntry { hash, offset, seconds, previous });
        if previous == 0 {
            self.hash_slot_count.fetch_add(1, Ordering::AcqRel);
        }
        self.end_timestamp.store(timestamp, Ordering::Release);
        self.end_offset.store(offset.0, Ordering::Release);
        self.next_entry.store(number + 1, Ordering::Release);
        self.words.store(slot_at, number);
    }

    fn write_entry(&self, number: u32, entry: &KeyEntry) {
        let at = self.layout.entry_at(number);
        for (index, word) in (0..).zip(entry.to_words()) {
            self.words.store(at + index * 4, word);
        }
    }

    /// Goes through the entries with this hash from the newest to the oldest: `f` is given the record's
    /// place and time, which is right to a second, and says whether to go on. Ends at an entry older
    /// than `oldest`. A link that does not lead to an older entry ends it too.
    pub(super) fn walk(
        &self,
        hash: u32,
        oldest: i64,
        mut f: impl FnMut(PhysicalOffset, i64) -> bool,
    ) -> bool {
        let slot_at = self.layout.slot_at(self.layout.slot_of(hash));
        let (mut next, begin) =
            (self.words.load(slot_at).unwrap_or(0), self.begin_timestamp.load(Ordering::Acquire));
        let mut limit = self.next_entry();
        while self.layout.is_entry(next, limit) {
            let Some(entry) = self.entry(next) else { break };
            // The first entry's time is the file's, whatever Java wrote.
            let seconds = if next == FIRST_ENTRY { 0 } else { i64::from(entry.seconds) };
            let time = begin.saturating_add(seconds.saturating_mul(1000));
            if entry.hash == hash && !f(entry.offset, time) {
                return false;
            }
            if time < oldest {
                break;
            }
            (limit, next) = (next, entry.previous);
        }
        true
    }

    /// How many of the last entries are of the record at `offset`.
    pub(super) fn trailing(&self, offset: PhysicalOffset) -> usize {
        let numbers = (FIRST_ENTRY..self.next_entry()).rev();
        numbers.map_while(|number| self.entry(number).filter(|e| e.offset == offset)).count()
    }

    /// Number of the first entry of a record at `limit` or behind, or of the next entry if there is none.
    pub(super) fn first_at(&self, limit: PhysicalOffset) -> u32 {
        let (mut low, mut high) = (FIRST_ENTRY, self.next_entry());
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before = self.entry(middle).is_some_and(|entry| entry.offset < limit);
            if is_before { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Cuts it back to the entries before `next`, and makes slots and links from them anew. Entries that
    /// cannot follow those before them, which no writer leaves, end it earlier. `time_of` gives the
    /// store time of a record, if it is known.
    pub(super) fn cut(&self, next: u32, time_of: impl FnOnce(PhysicalOffset) -> Option<i64>) {
        for slot in 0..self.layout.hash_slots {
            self.words.store(self.layout.slot_at(slot), 0);
        }
        let (mut used, mut number, mut last) = (0, FIRST_ENTRY, None::<KeyEntry>);
        while number < next
            && let Some(entry) = self.entry(number)
            && entry.hash <= i32::MAX as u32
            && last.is_none_or(|last| last.offset <= entry.offset)
        {
            let slot_at = self.layout.slot_at(self.layout.slot_of(entry.hash));
            let previous = self.words.load(slot_at).unwrap_or(0);
            used += u32::from(previous == 0);
            if entry.previous != previous {
                self.write_entry(number, &KeyEntry { previous, ..entry });
            }
            self.words.store(slot_at, number);
            last = Some(entry);
            number += 1;
        }
        self.hash_slot_count.store(used, Ordering::Release);
        self.next_entry.store(number, Ordering::Release);
        self.end_with(last, time_of);
    }

    fn end_with(
        &self,
        last: Option<KeyEntry>,
        time_of: impl FnOnce(PhysicalOffset) -> Option<i64>,
    ) {
        let begin = self.begin_timestamp.load(Ordering::Acquire);
        let (offset, timestamp) = match last {
            Some(last) => {
                let about = begin.saturating_add(i64::from(last.seconds) * 1000);
                (last.offset.0, time_of(last.offset).unwrap_or(about))
            }
            None => (self.begin_offset.load(Ordering::Acquire), begin),
        };
        self.end_offset.store(offset, Ordering::Release);
        self.end_timestamp.store(timestamp, Ordering::Release);
    }

    /// Writes the header into the file, where it says something else: a file that nobody has put
    /// anything into need not have its blocks.
    pub(super) fn write_header(&self) {
        for (at, word) in (0..HEADER_BYTES).step_by(4).zip(self.header().encode().chunks_exact(4)) {
            let word = word.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
            if self.words.load(at) != Some(word) {
                self.words.store(at, word);
            }
        }
    }

    /// Brings the entries from number `from` on to the disk, and a header that knows them.
    pub(super) fn sync_entries(&self, from: u32) -> io::Result<()> {
        let to = self.next_entry();
        self.words.sync(self.layout.entry_at(from.min(to)), self.layout.entry_at(to))?;
        self.write_header();
        self.words.sync(0, HEADER_BYTES)
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.write_header();
        self.words.sync(0, self.words.len())
    }
}

fn into_words(segment: std::sync::Arc<Segment>) -> io::Result<Words> {
    segment.into_words().ok_or_else(|| io::Error::other("the file is in use as something else"))
}

#[cfg(test)]
mod tests;
