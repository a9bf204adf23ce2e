//! What is due next, in memory and by the millisecond.
//!
//! Slots of the wheel are read ahead of their time, and their timers ordered by when exactly they are
//! due. The agenda knows of each slot that it has begun to read how much of its chain is still to be
//! read, and how many of its timers have not been delivered.
//!
//! Invariant: it never holds more than [`ITEMS_MAX`] timers, however many are due; those that do not fit
//! stay in their chain and are read when others have gone.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

/// Timers in memory at most.
pub const ITEMS_MAX: usize = 1 << 20;

/// A timer that is due at some time. Ordered by that, then by place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// When, ms.
    pub due_ms: i64,
    /// Where its message lies.
    pub offset: u64,
    /// Where its unit lies.
    pub position: u64,
    /// Its slot.
    pub slot_ms: i64,
    /// Bytes of the message.
    pub size: u32,
    /// Whether it waits another round.
    pub rolls: bool,
}

/// A stretch of a slot's chain that has not been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The next unit to read; the chain leads to earlier ones.
    pub at: u64,
    /// The last unit that has been read before, and is not to be read again.
    pub until: Option<u64>,
}

/// A slot that has begun to be read.
#[derive(Debug, Default)]
pub struct SlotState {
    walks: Vec<Walk>,
    /// The last unit that is read or among the walks.
    pub top: Option<u64>,
    /// Timers that were read and have not been delivered.
    pub open: usize,
    /// Whether some have been.
    pub is_begun: bool,
}

impl SlotState {
    /// Whether all of its timers that were read have been delivered, and nothing is left to be read.
    pub fn is_done(&self) -> bool {
        self.walks.is_empty() && self.open == 0
    }

    /// Whether a unit has not been read.
    pub fn is_unread(&self, position: u64) -> bool {
        let is_in =
            |walk: &Walk| position <= walk.at && walk.until.is_none_or(|until| position > until);
        self.top.is_none_or(|top| position > top) || self.walks.iter().any(is_in)
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Agenda {
    items: BinaryHeap<Reverse<Item>>,
    slots: BTreeMap<i64, SlotState>,
    /// Those with something to be read.
    unread: BTreeSet<i64>,
    /// Slots before this have begun to be read, or are over.
    read_until_ms: i64,
}

impl Agenda {
    /// When the next timer is due.
    pub fn next_due(&self) -> Option<i64> {
        self.items.peek().map(|Reverse(item)| item.due_ms)
    }

    /// Takes the next timer that is due by `now_ms` out, to be delivered.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<Item> {
        let is_due = self.items.peek().is_some_and(|Reverse(item)| item.due_ms <= now_ms);
        is_due.then(|| self.items.pop()).flatten().map(|Reverse(item)| item)
    }

    /// Takes a timer in that was read.
    pub fn add(&mut self, item: Item) {
        self.slots.entry(item.slot_ms).or_default().open += 1;
        self.items.push(Reverse(item));
    }

    /// Takes one back that could not be delivered.
    pub fn put_back(&mut self, item: Item) {
        self.items.push(Reverse(item));
    }

    /// A timer that was taken out is done.
    pub fn done(&mut self, item: &Item) {
        if let Some(slot) = self.slots.get_mut(&item.slot_ms) {
            slot.open = slot.open.saturating_sub(1);
            slot.is_begun = true;
        }
    }

    /// Timers in memory.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether another timer of this slot may be taken in: those of the future leave room for those
    /// of now.
    pub fn has_room(&self, slot_ms: i64, now_ms: i64) -> bool {
        self.items.len() < if slot_ms > now_ms { ITEMS_MAX / 2 } else { ITEMS_MAX }
    }

    /// The timers that are in memory.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().map(|Reverse(item)| item)
    }

    /// Slots before this have begun to be read, or are over.
    pub fn read_until_ms(&self) -> i64 {
        self.read_until_ms
    }

    /// Moves that on.
    pub fn read_until(&mut self, until_ms: i64) {
        self.read_until_ms = self.read_until_ms.max(until_ms);
    }

    /// A slot that has begun to be read.
    pub fn slot(&self, slot_ms: i64) -> Option<&SlotState> {
        self.slots.get(&slot_ms)
    }

    /// The same, to be changed; it begins to be read with this.
    pub fn slot_mut(&mut self, slot_ms: i64) -> &mut SlotState {
        self.slots.entry(slot_ms).or_default()
    }

    /// All slots that have begun to be read and are not over.
    pub fn slots(&self) -> impl Iterator<Item = (i64, &SlotState)> {
        self.slots.iter().map(|(time, slot)| (*time, slot))
    }

    /// The first slot at `from_ms` or later that has begun to be read and is not over.
    pub fn next_slot(&self, from_ms: i64) -> Option<i64> {
        self.slots.range(from_ms..).next().map(|(time, _)| *time)
    }

    /// The first slot of which something is to be read.
    pub fn unread_slot(&self) -> Option<i64> {
        self.unread.first().copied()
    }

    /// Has a stretch of a slot's chain be read.
    pub fn read_later(&mut self, slot_ms: i64, walk: Walk) {
        self.slots.entry(slot_ms).or_default().walks.push(walk);
        self.unread.insert(slot_ms);
    }

    /// Takes the next stretch of a slot's chain out, to be read.
    pub fn pop_walk(&mut self, slot_ms: i64) -> Option<Walk> {
        let slot = self.slots.get_mut(&slot_ms)?;
        let walk = slot.walks.pop();
        if slot.walks.is_empty() {
            self.unread.remove(&slot_ms);
        }
        walk
    }

    /// A slot is over.
    pub fn forget(&mut self, slot_ms: i64) {
        self.slots.remove(&slot_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(due_ms: i64, offset: u64) -> Item {
        let slot_ms = (due_ms - 1) / 1000 * 1000;
        Item { due_ms, offset, position: offset, slot_ms, size: 100, rolls: false }
    }

    #[test]
    fn timers_come_out_by_time_and_then_in_their_order() {
        let mut agenda = Agenda::default();
        for (due, offset) in [(1700, 3), (1001, 4), (1700, 1), (2000, 2)] {
            agenda.add(item(due, offset));
        }
        assert_eq!(agenda.next_due(), Some(1001));
        let popped = std::iter::from_fn(|| agenda.pop_due(1700)).map(|item| item.offset);
        assert_eq!(popped.collect::<Vec<_>>(), [4, 1, 3]);
        assert_eq!((agenda.len(), agenda.next_due()), (1, Some(2000)));
        assert_eq!(agenda.slot(1000).map(|slot| slot.open), Some(4), "none is done");
        agenda.done(&item(1700, 1));
        assert!(agenda.slot(1000).is_some_and(|slot| slot.open == 3 && slot.is_begun));
    }

    #[test]
    fn a_slot_knows_what_of_its_chain_is_unread() {
        let walk = Walk { at: 300, until: Some(100) };
        let slot = SlotState { walks: vec![walk], top: Some(400), ..SlotState::default() };
        let unread = [50, 100, 101, 300, 301, 400, 401].map(|at| slot.is_unread(at));
        assert_eq!(unread, [false, false, true, true, false, false, true]);
    }
}
