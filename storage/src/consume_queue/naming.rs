//! Entries and the units of the extension that they name: the code of an entry, wherever it is, and the
//! units of new entries. See [`super::ext`].

use super::{
    ConsumeQueue, ConsumeQueueConfig, ConsumeQueueView, IndexEntry, QueueError,
    entry::Slot,
    ext::{self, ExtWriter},
};
use crate::{commit_log::CommitLog, offset::QueueOffset};

/// So many entries at the end are looked at for one that names a unit.
const SEARCHED_MAX: u64 = 4096;

impl IndexEntry {
    /// Whether its code is only the address of what has the code.
    #[inline]
    pub fn names_a_unit(&self) -> bool {
        self.tags_code <= ext::ADDRESS_MAX
    }
}

impl ConsumeQueueView {
    /// The hash of the entry's tag, or what its topic puts in that place; `None` if it names a unit that
    /// is missing or damaged.
    #[inline]
    pub fn tags_code(&self, entry: &IndexEntry) -> Option<i64> {
        match ext::position(entry.tags_code) {
            None => Some(entry.tags_code),
            Some(at) => self.0.ext.tags_code(at),
        }
    }

    /// The entry with the code that it stands for, if that is known.
    pub(super) fn with_code(&self, entry: IndexEntry) -> IndexEntry {
        let tags_code = self.tags_code(&entry).unwrap_or(entry.tags_code);
        IndexEntry { tags_code, ..entry }
    }

    /// True once in the life of the queue's views: a unit that cannot be read is told of once.
    pub(crate) fn tells_unknown_tag(&self) -> bool {
        self.0.ext.tells()
    }

    /// Where the unit is that the first entry names.
    pub(super) fn first_unit(&self) -> Option<u64> {
        let mut first = None;
        self.each(self.min_offset(), 1, |_, entry| {
            first = ext::position(entry.tags_code);
            true
        });
        first
    }

    /// Where the last unit is that an entry names.
    fn last_unit(&self) -> Option<u64> {
        let (begin, end) = (self.min_offset().0, self.max_offset().0);
        (begin.max(end.saturating_sub(SEARCHED_MAX))..end).rev().find_map(|at| {
            let mut slot = Slot::Unused;
            self.with_slots(QueueOffset(at), 1, |bytes| slot = Slot::decode(bytes));
            ext::position(slot.entry()?.tags_code)
        })
    }
}

impl ConsumeQueue {
    /// As `config` has it, gives new entries units; `log` has the times of storing.
    pub(crate) fn with_ext(mut self, config: &ConsumeQueueConfig, log: &CommitLog) -> Self {
        let writer = || ExtWriter::new(self.shared.ext.clone(), &config.ext, log.clone());
        self.ext = config.ext.is_on.then(writer);
        self
    }

    /// Why entries began to get no units when they should have; told once. They have their codes themselves.
    pub fn ext_failure(&mut self) -> Option<QueueError> {
        self.ext_failure.take()
    }

    /// The entries with the addresses of new units; `None` if they keep their codes.
    pub(super) fn name_units(&mut self, entries: &[IndexEntry]) -> Option<Vec<IndexEntry>> {
        let ext = self.ext.as_mut()?;
        let view = ConsumeQueueView(self.shared.clone());
        let mut named = entries.to_vec();
        match ext.name_units(&mut named, || view.last_unit()) {
            Ok(()) => {
                self.is_ext_failing = false;
                Some(named)
            }
            Err(e) => {
                if !std::mem::replace(&mut self.is_ext_failing, true) {
                    self.ext_failure = Some(e);
                }
                None
            }
        }
    }
}
