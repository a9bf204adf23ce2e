//! Which half messages are open: the state machine of all transactions, a plain value.
//!
//! ```text
//!            stored                     begin                    ended
//!  (nothing) ──────→ open ──────────────────────→ under way ──────────→ (nothing)
//!                     │ ↑  ←──────────────────────────┘
//!                 due │ │ asked                 failed
//!                     ↓ │
//!                  to be asked ── nobody there ──→ waits for its group
//! ```
//!
//! Half messages are taken in by their order in the queue, at leisure: most are done long before anybody
//! would have to ask for them. One that is done before it was taken in is noted as such (`ahead`) and
//! then passed over without a look at its record.
//!
//! Invariants: the progress never passes a half message that is open; a half message leaves the ledger
//! once, and whoever ends it again is told so; no transaction waits for another.

mod due;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use super::half::{Half, HalfKey};

/// How many of those that were given up are remembered.
const GIVEN_UP_MAX: usize = 4096;

/// When producers are asked, and how often.
#[derive(Clone, Copy, Debug)]
pub struct CheckLimits {
    /// From the storing of a half message to the first question, ms.
    pub timeout_ms: i64,
    /// From one question to the next, ms.
    pub interval_ms: i64,
    /// Questions after which it is given up.
    pub checks_max: u32,
    /// Age at which it is given up, ms.
    pub age_max_ms: i64,
    /// How many half messages the oldest open one may be behind the end of the queue before it is stored
    /// once more at its end: as many have to be read at a start.
    pub lag_max: u64,
}

/// What is known of a half message that somebody wants to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is open; this copy of it counts.
    Open(u64),
    /// Somebody else is about to end it.
    UnderWay(u64),
    /// It is done.
    Ended,
    /// It was given up, after so many questions or so long a time.
    GivenUp,
}

/// What is to be done about a half message that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its offset in the queue.
    pub offset: u64,
    /// Where its record is.
    pub physical: u64,
    /// Its group.
    pub group: Arc<str>,
    /// How often it was asked for.
    pub checks: u32,
    /// Whether it is given up.
    pub is_given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    UnderWay,
}

struct Kept {
    half: Half,
    phase: Phase,
    /// Its entry in the list of those that are due some time.
    due_ms: Option<i64>,
    is_waiting: bool,
}

/// One that was ended, or is about to be, before it was taken in.
struct Ahead {
    is_ended: bool,
    /// The key under which it is to be found, if it is a copy that this ledger made.
    key: Option<HalfKey>,
}

/// See the module's text.
pub struct Ledger {
    limits: CheckLimits,
    open: BTreeMap<u64, Kept>,
    ahead: HashMap<u64, Ahead>,
    /// The first half message that has not been taken in.
    next: u64,
    due: BTreeSet<(i64, u64)>,
    waiting: HashMap<Arc<str>, BTreeSet<u64>>,
    by_key: HashMap<HalfKey, u64>,
    /// Op messages that may still be needed: offset, and the last half message that it names.
    ops: VecDeque<(u64, u64)>,
    next_op: u64,
    groups: HashMap<Arc<str>, usize>,
    /// Those given up last, so that a producer that is late is told what became of them.
    given_up: VecDeque<u64>,
}

impl Ledger {
    /// A ledger of a queue of half messages of which everything before `next` is done, and of op
    /// messages of which nothing before `next_op` is needed.
    pub fn new(limits: CheckLimits, next: u64, next_op: u64) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            ahead: HashMap::new(),
            next,
            due: BTreeSet::new(),
            waiting: HashMap::new(),
            by_key: HashMap::new(),
            ops: VecDeque::new(),
            next_op,
            groups: HashMap::new(),
            given_up: VecDeque::new(),
        }
    }

    /// The first half message that has not been taken in.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many are open, as far as they have been taken in.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open, as far as they have been taken in.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The open ones, in the order of the queue.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Half)> {
        self.open.iter().map(|(offset, kept)| (*offset, &kept.half))
    }

    /// Whether nobody was there to be asked for it.
    pub fn is_waiting(&self, offset: u64) -> bool {
        self.open.get(&offset).is_some_and(|kept| kept.is_waiting)
    }

    /// When it is asked for next, or given up, ms.
    pub fn due_ms(&self, offset: u64) -> Option<i64> {
        self.open.get(&offset)?.due_ms
    }

    /// The offset before which everything is done.
    pub fn progress(&self) -> u64 {
        self.open.keys().next().copied().unwrap_or(self.next)
    }

    /// The offset before which no op message is needed.
    pub fn op_progress(&mut self) -> u64 {
        let progress = self.progress();
        while self.ops.front().is_some_and(|(_, last)| *last < progress) {
            self.ops.pop_front();
        }
        self.ops.front().map_or(self.next_op, |(offset, _)| *offset)
    }

    /// An op message has been stored, or was found at a start, that names these half messages.
    pub fn op_stored(&mut self, offset: u64, halves: &[u64]) {
        self.next_op = offset + 1;
        if let Some(last) = halves.iter().max() {
            self.ops.push_back((offset, *last));
        }
    }

    /// Found at a start: this one is done.
    pub fn was_ended(&mut self, offset: u64) {
        if offset >= self.next {
            self.ahead.insert(offset, Ahead { is_ended: true, key: None });
        }
    }

    /// Takes in the half messages before `end` that have not been; `read` reads one that may be open.
    /// Returns copies that a later one has taken the place of: they are done.
    pub fn take_in(
        &mut self,
        end: u64,
        now_ms: i64,
        mut read: impl FnMut(u64) -> Option<Half>,
    ) -> Vec<u64> {
        let mut replaced = Vec::new();
        while self.next < end {
            let offset = self.next;
            self.next += 1;
            let phase = match self.ahead.remove(&offset) {
                Some(ahead) if ahead.is_ended => continue,
                Some(_) => Phase::UnderWay,
                None => Phase::Open,
            };
            if let Some(half) = read(offset) {
                replaced.extend(self.insert(offset, half, phase, now_ms));
            }
        }
        replaced
    }

    fn insert(&mut self, offset: u64, mut half: Half, phase: Phase, now_ms: i64) -> Option<u64> {
        half.group = self.shared_group(&half.group);
        let earlier = self.by_key.insert(half.key.clone(), offset);
        let replaced = earlier.filter(|earlier| {
            let is_open = self.open.get(earlier).is_some_and(|kept| kept.phase == Phase::Open);
            half.is_copy && *earlier < offset && is_open
        });
        if let Some(earlier) = replaced {
            self.remove(earlier);
            self.by_key.insert(half.key.clone(), offset);
        }
        let due_ms = (phase == Phase::Open).then(|| self.first_due_of(&half, now_ms));
        self.due.extend(due_ms.map(|due| (due, offset)));
        self.open.insert(offset, Kept { half, phase, due_ms, is_waiting: false });
        replaced
    }

    /// One text for all of a group.
    fn shared_group(&mut self, group: &Arc<str>) -> Arc<str> {
        let shared = self.groups.get_key_value(group).map_or(group, |(shared, _)| shared).clone();
        *self.groups.entry(shared.clone()).or_default() += 1;
        shared
    }

    fn first_due_of(&self, half: &Half, now_ms: i64) -> i64 {
        if half.topic.is_none() {
            return now_ms;
        }
        let after = |wait| half.stored_ms.saturating_add(wait);
        match half.immunity_ms {
            None if half.is_copy => after(self.limits.interval_ms),
            None => after(self.limits.timeout_ms),
            Some(immunity) if !half.is_copy => after(immunity),
            // Java's broker stores copies during the time in which nobody is asked, too.
            Some(immunity) => {
                after(self.limits.interval_ms).max(half.key.born_ms.saturating_add(immunity))
            }
        }
    }

    /// What is known of the half message at `offset`; of one that has been stored once more, by its key.
    pub fn standing(&self, offset: u64, key: &HalfKey) -> Standing {
        if offset >= self.next {
            return self.standing_ahead(offset);
        }
        if let Some(kept) = self.open.get(&offset) {
            return standing_of(offset, kept.phase);
        }
        if self.given_up.contains(&offset) {
            return Standing::GivenUp;
        }
        match self.by_key.get(key) {
            Some(copy) if *copy <= offset => Standing::Ended,
            Some(copy) if *copy >= self.next => self.standing_ahead(*copy),
            Some(copy) => match self.open.get(copy) {
                Some(kept) if kept.half.is_copy => standing_of(*copy, kept.phase),
                _ => Standing::Ended,
            },
            None => Standing::Ended,
        }
    }

    fn standing_ahead(&self, offset: u64) -> Standing {
        match self.ahead.get(&offset) {
            None => Standing::Open(offset),
            Some(ahead) if ahead.is_ended => Standing::Ended,
            // A copy that waits to be taken in.
            Some(_) => Standing::UnderWay(offset),
        }
    }

    /// Somebody is about to end it; nobody is asked meanwhile.
    pub fn begin(&mut self, offset: u64, key: &HalfKey) {
        if offset >= self.next {
            let key = (self.by_key.get(key) == Some(&offset)).then(|| key.clone());
            self.ahead.insert(offset, Ahead { is_ended: false, key });
        } else {
            self.unlist(offset);
            if let Some(kept) = self.open.get_mut(&offset) {
                kept.phase = Phase::UnderWay;
            }
        }
    }

    /// It is done.
    pub fn ended(&mut self, offset: u64) {
        if offset < self.next {
            self.remove(offset);
        } else if let Some(ahead) = self.ahead.get_mut(&offset) {
            ahead.is_ended = true;
            if let Some(key) = ahead.key.take() {
                self.by_key.remove(&key);
            }
        }
    }

    /// It could not be ended and is open as before.
    pub fn failed(&mut self, offset: u64, now_ms: i64) {
        if offset >= self.next {
            self.ahead.remove(&offset);
        } else if let Some(kept) = self.open.get_mut(&offset) {
            kept.phase = Phase::Open;
            self.list(offset, now_ms.saturating_add(self.limits.interval_ms));
        }
    }

    /// It is in the topic of those that were given up.
    pub fn gave_up(&mut self, offset: u64) {
        self.remove(offset);
        if self.given_up.len() == GIVEN_UP_MAX {
            self.given_up.pop_front();
        }
        self.given_up.push_back(offset);
    }

    /// It has been stored once more at `copy`.
    pub fn moved(&mut self, offset: u64, copy: u64) {
        if let Some(kept) = self.remove(offset) {
            self.by_key.insert(kept.half.key, copy);
        }
    }

    fn remove(&mut self, offset: u64) -> Option<Kept> {
        self.unlist(offset);
        let kept = self.open.remove(&offset)?;
        if self.by_key.get(&kept.half.key) == Some(&offset) {
            self.by_key.remove(&kept.half.key);
        }
        if let Some(count) = self.groups.get_mut(&kept.half.group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&kept.half.group);
            }
        }
        Some(kept)
    }

    /// Finds the open half message that a record tells to be done: `prepared` is the place that it
    /// names, `physical` where it is itself.
    pub fn ended_by(&self, prepared: u64, key: &HalfKey, physical: u64) -> Option<u64> {
        let offset = *self.by_key.get(key)?;
        let half = &self.open.get(&offset)?.half;
        let is_it = half.physical == prepared || half.is_copy || prepared == 0;
        (is_it && physical > half.physical).then_some(offset)
    }
}

fn standing_of(offset: u64, phase: Phase) -> Standing {
    match phase {
        Phase::Open => Standing::Open(offset),
        Phase::UnderWay => Standing::UnderWay(offset),
    }
}
