//! Which messages of one queue a group has taken and not yet acknowledged: the state machine of pops.
//!
//! A plain value, owned by the group's [`super::group::PopGroup`]. Below `next` every offset is in one of
//! four states, above it all are fresh; only what is not done is kept.
//!
//! | state | popped | ack of its pop | hidden anew by its pop | its time is over | stored for retry | could not be stored | given back |
//! |---|---|---|---|---|---|---|---|
//! | fresh | out | – | – | – | – | – | – |
//! | out | – | done | out, new pop and time | reviving | – | – | returned |
//! | reviving | – | reviving, acknowledged | – | – | done | out, due later | – |
//! | reviving, acknowledged | – | – | – | – | done | done | – |
//! | returned | out | – | – | – | – | – | – |
//! | done | – | – | – | – | – | – | – |
//!
//! "–" changes nothing: an acknowledgement that comes late, twice, or from an earlier pop of the same
//! message is accepted in silence, as clients expect. `TRANSITIONS` in the tests is this table as data.
//!
//! Invariant: [`Ledger::committed`], which becomes the group's offset, never passes a message that is not
//! done. So whatever is lost of this state, in a crash or on the way to another broker, nothing is
//! lost of the messages: what was not acknowledged lies at or behind the group's offset and is popped
//! again. Java's broker stores a checkpoint and an acknowledgement per message in its log instead, and
//! has lost or repeated messages wherever the two got apart; here there is one owner, in memory,
//! and a snapshot ([`Snapshot`]) that is saved now and then merely spares repetitions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Messages of one queue that a group may have out at once; beyond, it is given none until some are
/// done.
pub const OPEN_MAX: usize = 100_000;
/// If the group's offset lies so far before a snapshot or less, what lies between is popped again;
/// otherwise the group was moved, and the snapshot means nothing.
const LAG_MAX: u64 = 65_536;

/// A message below `next` that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// With a client until `due` (ms).
    Out { pop_time: i64, due: i64 },
    /// Its time is over; it is being stored for another try.
    Reviving { pop_time: i64, acked: bool },
    /// To be popped again from here.
    Returned,
}

/// Where the next pop reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First offset.
    pub from: u64,
    /// One past the last, if what lies behind must not be given.
    pub end: Option<u64>,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    next: u64,
    open: BTreeMap<u64, Open>,
    /// Of those that are out, by time.
    dues: BTreeSet<(i64, u64)>,
    returned: BTreeSet<u64>,
}

/// A ledger as it is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The group's offset.
    pub committed: u64,
    /// The next offset to pop.
    pub next: u64,
    /// Those in between that are not done: offset, time of the pop, time when it is due. The two times
    /// are 0 for one that is to be popped again from here.
    pub open: Vec<(u64, i64, i64)>,
}

impl Ledger {
    /// A ledger of a group that has done everything before `next`.
    pub fn new(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Goes on from a snapshot and the group's offset, of which either may be older than the other.
    pub fn restore(snapshot: &Snapshot, committed: u64) -> Self {
        let mut ledger = Self::new(snapshot.next);
        for &(offset, pop_time, due) in &snapshot.open {
            if pop_time == 0 {
                ledger.put(offset, Open::Returned);
            } else {
                ledger.put(offset, Open::Out { pop_time, due });
            }
        }
        if committed >= snapshot.committed {
            ledger.skip_to(committed);
        } else if snapshot.committed - committed <= LAG_MAX {
            for offset in committed..snapshot.committed {
                ledger.put(offset, Open::Returned);
            }
        } else {
            ledger = Self::new(committed);
        }
        ledger
    }

    /// What is to be saved.
    pub fn snapshot(&self) -> Snapshot {
        let open = self.open.iter().map(|(offset, open)| match *open {
            Open::Out { pop_time, due } => (*offset, pop_time, due),
            Open::Reviving { pop_time, .. } => (*offset, pop_time, 0),
            Open::Returned => (*offset, 0, 0),
        });
        Snapshot { committed: self.committed(), next: self.next, open: open.collect() }
    }

    /// The group's offset: everything before it is done.
    pub fn committed(&self) -> u64 {
        self.open.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    /// The first offset that was never popped.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many are not done.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// How many are to be popped again from here.
    pub fn returned(&self) -> usize {
        self.returned.len()
    }

    /// Whether the group has too many out to be given more.
    pub fn is_full(&self) -> bool {
        self.open.len() - self.returned.len() >= OPEN_MAX
    }

    /// When the first of those that are out is due.
    pub fn first_due(&self) -> Option<i64> {
        self.dues.first().map(|(due, _)| *due)
    }

    /// Where the next pop reads: first what was returned, then what is fresh.
    pub fn span(&self) -> Span {
        let Some(&from) = self.returned.first() else { return Span { from: self.next, end: None } };
        let run = self.returned.iter().zip(from..).take_while(|(offset, at)| **offset == *at);
        Span { from, end: Some(from + run.count() as u64) }
    }

    /// A pop has read `span` up to `read_to` and gives out `offsets`; whatever else it has read is
    /// done, as the group does not want it.
    pub fn popped(&mut self, span: Span, read_to: u64, offsets: &[u64], pop_time: i64, due: i64) {
        match span.end {
            Some(end) => (span.from..read_to.min(end)).for_each(|offset| self.drop_open(offset)),
            None => self.next = self.next.max(read_to),
        }
        for offset in offsets {
            self.put(*offset, Open::Out { pop_time, due });
        }
    }

    /// A client has done the message that it got by the pop of that time; whether that counts.
    pub fn ack(&mut self, offset: u64, pop_time: i64) -> bool {
        match self.open.get_mut(&offset) {
            Some(Open::Out { pop_time: of, .. }) if *of == pop_time => {
                self.drop_open(offset);
                true
            }
            Some(Open::Reviving { pop_time: of, acked }) if *of == pop_time && !*acked => {
                *acked = true;
                true
            }
            _ => false,
        }
    }

    /// A client hides the message that it got by the pop of that time anew, as if it had popped it
    /// `at`; whether that counts.
    pub fn hide(&mut self, offset: u64, pop_time: i64, at: i64, due: i64) -> bool {
        let is_its_pop =
            |open: &Open| matches!(open, Open::Out { pop_time: of, .. } if *of == pop_time);
        let counts = self.open.get(&offset).is_some_and(is_its_pop);
        if counts {
            self.put(offset, Open::Out { pop_time: at, due });
        }
        counts
    }

    /// Those whose time is over, at most so many, with the times of their pops: they have to be stored
    /// for another try now.
    pub fn take_due(&mut self, now: i64, count_max: usize) -> Vec<(u64, i64)> {
        let due = self.dues.iter().take_while(|(due, _)| *due <= now).take(count_max);
        let offsets: Vec<u64> = due.map(|(_, offset)| *offset).collect();
        let mut taken = Vec::with_capacity(offsets.len());
        for offset in offsets {
            if let Some(&Open::Out { pop_time, .. }) = self.open.get(&offset) {
                self.put(offset, Open::Reviving { pop_time, acked: false });
                taken.push((offset, pop_time));
            }
        }
        taken
    }

    /// It has been stored for another try.
    pub fn revived(&mut self, offset: u64) {
        if matches!(self.open.get(&offset), Some(Open::Reviving { .. })) {
            self.drop_open(offset);
        }
    }

    /// It could not be stored; to be tried again at `due`.
    pub fn not_revived(&mut self, offset: u64, due: i64) {
        match self.open.get(&offset) {
            Some(Open::Reviving { acked: true, .. }) => self.drop_open(offset),
            Some(&Open::Reviving { pop_time, .. }) => self.put(offset, Open::Out { pop_time, due }),
            _ => {}
        }
    }

    /// The client never got what the pop of that time took for it.
    pub fn give_back(&mut self, offset: u64, pop_time: i64) {
        if matches!(self.open.get(&offset), Some(Open::Out { pop_time: of, .. }) if *of == pop_time)
        {
            self.put(offset, Open::Returned);
        }
    }

    /// It can be stored nowhere else, so it is popped again from here.
    pub fn revive_here(&mut self, offset: u64) {
        match self.open.get(&offset) {
            Some(Open::Reviving { acked: true, .. }) => self.drop_open(offset),
            Some(Open::Reviving { .. }) => self.put(offset, Open::Returned),
            _ => {}
        }
    }

    /// A message that another broker has given out: it counts as popped here.
    pub fn adopt(&mut self, offset: u64, pop_time: i64, due: i64) {
        if offset < self.next && !self.open.contains_key(&offset) {
            self.put(offset, Open::Out { pop_time, due });
        }
    }

    /// Everything before `offset` is done: it is gone from the queue, or somebody says so.
    pub fn skip_to(&mut self, offset: u64) {
        while let Some((&first, _)) = self.open.first_key_value()
            && first < offset
        {
            self.drop_open(first);
        }
        self.next = self.next.max(offset);
    }

    fn put(&mut self, offset: u64, open: Open) {
        self.drop_open(offset);
        match open {
            Open::Out { due, .. } => {
                self.dues.insert((due, offset));
            }
            Open::Returned => {
                self.returned.insert(offset);
            }
            Open::Reviving { .. } => {}
        }
        self.open.insert(offset, open);
        self.next = self.next.max(offset + 1);
    }

    fn drop_open(&mut self, offset: u64) {
        match self.open.remove(&offset) {
            Some(Open::Out { due, .. }) => {
                self.dues.remove(&(due, offset));
            }
            Some(Open::Returned) => {
                self.returned.remove(&offset);
            }
            Some(Open::Reviving { .. }) | None => {}
        }
    }
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
mod tests;
