//! Which expired messages of a queue a group has passed over: each counts once, and becomes one dead
//! letter, however often the group comes by.
//!
//! Kept by offset, as ranges, since a group may meet them in any order: one that goes back finds
//! messages expired between others that it had been given. Bounded: with more than [`RANGES_MAX`] gaps the
//! lowest range is forgotten, and what is in it counts once more. Begins empty with the process.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::Expired;
use crate::topic::QueueSlot;

/// Ranges that are kept of one queue.
const RANGES_MAX: usize = 1024;

/// See the module's text.
#[derive(Default)]
pub struct Account {
    passed: Mutex<Passed>,
    count: AtomicU64,
}

#[derive(Default)]
struct Passed {
    /// The queue that the offsets are of: a topic that is made anew begins anew.
    slot: Weak<QueueSlot>,
    ranges: Ranges,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} expired", self.count())
    }
}

impl Account {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// These have been passed over; how many for the first time.
    pub fn note(&self, slot: &std::sync::Arc<QueueSlot>, expired: &[Expired]) -> u64 {
        let mut passed = self.of(slot);
        let fresh = expired.iter().filter(|one| passed.ranges.insert(one.offset)).count() as u64;
        self.count.fetch_add(fresh, Relaxed);
        fresh
    }

    /// Those of them that have not been passed over before.
    pub fn fresh(&self, slot: &std::sync::Arc<QueueSlot>, expired: &[Expired]) -> Vec<Expired> {
        let passed = self.of(slot);
        expired.iter().filter(|one| !passed.ranges.contains(one.offset)).copied().collect()
    }

    fn of(&self, slot: &std::sync::Arc<QueueSlot>) -> MutexGuard<'_, Passed> {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(passed.slot.as_ptr(), std::sync::Arc::as_ptr(slot)) {
            *passed = Passed { slot: std::sync::Arc::downgrade(slot), ranges: Ranges::default() };
        }
        passed
    }
}

/// Offsets as ranges: the first of each, and one past its last.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn contains(&self, offset: u64) -> bool {
        self.0.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }

    /// Takes it in; whether it was not there.
    fn insert(&mut self, offset: u64) -> bool {
        let before = self.0.range(..=offset).next_back().map(|(start, end)| (*start, *end));
        if before.is_some_and(|(_, end)| offset < end) {
            return false;
        }
        let start = before.filter(|(_, end)| *end == offset).map_or(offset, |(start, _)| start);
        let end = self.0.remove(&(offset + 1)).unwrap_or(offset + 1);
        self.0.insert(start, end);
        if self.0.len() > RANGES_MAX {
            self.0.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(offsets in proptest::collection::vec(0..60_u64, 0..100)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for offset in offsets {
                prop_assert_eq!(ranges.insert(offset), set.insert(offset));
            }
            for offset in 0..60 {
                prop_assert_eq!(ranges.contains(offset), set.contains(&offset));
            }
            let gaps = set.iter().filter(|offset| !set.contains(&(*offset + 1))).count();
            prop_assert_eq!(ranges.0.len(), gaps);
        }
    }

    #[test]
    fn with_too_many_gaps_the_lowest_are_forgotten() {
        let mut ranges = Ranges::default();
        for place in 0..=RANGES_MAX as u64 {
            ranges.insert(place * 2);
        }
        assert_eq!(ranges.0.len(), RANGES_MAX);
        assert!(!ranges.contains(0) && ranges.contains(2));
    }
}
