//! The timers' logic, without actors: taking messages in, reading slots ahead, and what has been done.
//!
//! [`Timers`] has the files ([`TimerStore`]) and what is due next in memory ([`Agenda`]). Its owner lets it take in
//! what has arrived in the timer topic, read ahead, and give out what is due; and tells it what became of
//! that. All steps are bounded, so that a large one does not hold up what is due.
//!
//! A message that takes another back names it by unique key. It lies in the same slot and behind it, so
//! whoever walks the slot's chain, from its end, meets it first; one that arrives while its slot is
//! being delivered counts at once.

mod keeping;
mod reading;

use std::collections::{HashMap, HashSet, VecDeque};

use gantry_codec::{properties as names, record};
use gantry_storage::{
    CommitLog, ConsumeQueueView, IndexEntry, PhysicalOffset, QueueOffset,
    timer::{CatchUp, TimerError, TimerStore, TimerUnit, unit::flags},
};
use slog::{Logger, warn};

use super::{
    agenda::{Agenda, Item},
    timing::{Timing, timing_of_record},
};
use crate::topic::names::WHEEL_TIMER_TOPIC;

/// How far timers lie ahead at most.
#[derive(Clone, Copy, Debug)]
pub struct RollWindow {
    /// Slots.
    pub slots: i64,
}

impl RollWindow {
    /// When a timer for `out_ms` comes round again, if it is too far away at `now_ms`: a window on; half
    /// of one, if less than a third would be left then.
    pub fn turn(self, out_ms: i64, now_ms: i64, precision_ms: i64) -> Option<i64> {
        let window = self.slots * precision_ms;
        let beyond = out_ms - now_ms - window;
        let half = self.slots / 2 * precision_ms;
        let step = if beyond < self.slots / 3 * precision_ms { half } else { window };
        (beyond >= 0).then_some(now_ms + step)
    }
}

/// What became of a message in the timer topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenIn {
    /// The topic that it is for.
    pub topic: String,
    /// Its slot.
    pub slot_ms: i64,
    /// By how much the number of waiting timers changes.
    pub weight: i64,
}

/// Messages of a slot that were taken back.
#[derive(Debug, Default)]
struct TakenBack {
    keys: HashSet<Box<str>>,
    /// The last slot with a unit that says so: usually that of the messages, but a later one if all was
    /// taken in late.
    until_ms: i64,
}

/// See the module's text.
pub struct Timers {
    store: TimerStore,
    log: CommitLog,
    agenda: Agenda,
    window: RollWindow,
    /// Of the timer topic, the next to be taken in; none before its queue is known.
    next: Option<u64>,
    catch_up: Option<CatchUp>,
    /// What is known of it counts for messages before this.
    caught_up_at: u64,
    /// All slots before it are over.
    read_time_ms: i64,
    /// Where the log ended when slots were over; oldest first.
    progress: VecDeque<(i64, PhysicalOffset)>,
    /// Of those, the time up to which what was delivered is on the disk.
    durable_ms: i64,
    /// The end of the last slot of which something was delivered.
    done_until_ms: i64,
    /// Slots of which more is in the files than the agenda knows.
    behind: HashSet<i64>,
    /// Messages that were taken back, by the slot that they were for.
    taken_back: HashMap<i64, TakenBack>,
    log_to: Logger,
}

impl Timers {
    /// Timers over opened files.
    pub fn new(
        store: TimerStore,
        catch_up: CatchUp,
        log: CommitLog,
        window: RollWindow,
        now_ms: i64,
        log_to: Logger,
    ) -> Self {
        // Without a checkpoint nothing is known to have been delivered; the first slot that there is
        // says where to begin.
        let known = store.checkpoint().read_time_ms;
        let first = store.next_slot(known).map_or(i64::MAX, |(time, _)| time);
        let now_slot = store.slot_of(now_ms);
        let read_time_ms = if known > 0 { known.min(now_slot) } else { first.min(now_slot) };
        let mut agenda = Agenda::default();
        agenda.read_until(read_time_ms);
        Self {
            store,
            log,
            agenda,
            window,
            next: None,
            catch_up: Some(catch_up),
            caught_up_at: 0,
            read_time_ms,
            progress: VecDeque::new(),
            durable_ms: read_time_ms,
            done_until_ms: 0,
            behind: HashSet::new(),
            taken_back: HashMap::new(),
            log_to,
        }
    }

    /// All slots before this are over.
    pub fn read_time_ms(&self) -> i64 {
        self.read_time_ms
    }

    /// Messages of the timer topic before this have been taken in.
    pub fn queue_offset(&self) -> u64 {
        self.next.unwrap_or(self.store.checkpoint().queue_offset)
    }

    /// The files.
    pub fn store(&self) -> &TimerStore {
        &self.store
    }

    /// What is due next.
    pub fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    /// Takes in up to `max` messages that have arrived; whether there may be more.
    ///
    /// # Errors
    /// If a unit cannot be written; its message is the next to be taken in then.
    pub fn take_in(
        &mut self,
        view: &ConsumeQueueView,
        max: u64,
        now_ms: i64,
        mut told: impl FnMut(TakenIn),
    ) -> Result<bool, TimerError> {
        let next = self.begin(view);
        let end = view.max_offset().0.min(next.saturating_add(max));
        let mut entries = Vec::with_capacity(end.saturating_sub(next) as usize);
        let reached = view.each(QueueOffset(next), end.saturating_sub(next), |_, entry| {
            entries.push(entry);
            true
        });
        for (offset, entry) in (next..).zip(entries) {
            if let Some(taken) = self.take_in_one(offset, &entry, now_ms)? {
                told(taken);
            }
            self.next = Some(offset + 1);
        }
        if reached.0 == next && next < end {
            // A message that was lost with its record, or the end of what can be read.
            if !view.is_lost(reached) {
                return Ok(false);
            }
            self.next = Some(next + 1);
        }
        if self.queue_offset() >= self.caught_up_at {
            self.catch_up = None;
        }
        Ok(self.queue_offset() < view.max_offset().0)
    }

    /// Where to go on in the topic, once its queue is known.
    fn begin(&mut self, view: &ConsumeQueueView) -> u64 {
        let (min, max) = (view.min_offset().0, view.max_offset().0);
        let next = match self.next {
            Some(next) => next,
            None => {
                self.caught_up_at = max;
                let from = self.catch_up.as_ref().and_then(|catch_up| catch_up.from);
                from.unwrap_or(min).min(max)
            }
        };
        let next = next.max(min);
        self.next = Some(next);
        next
    }

    fn take_in_one(
        &mut self,
        offset: u64,
        entry: &IndexEntry,
        now_ms: i64,
    ) -> Result<Option<TakenIn>, TimerError> {
        if self.catch_up.as_ref().is_some_and(|c| c.known.contains(&entry.offset)) {
            return Ok(None);
        }
        let Some(facts) = self.facts(entry.offset, entry.size) else {
            warn!(self.log_to, "message of the timer topic cannot be timed"; "queue_offset" => offset,
                "offset" => entry.offset.0);
            return Ok(None);
        };
        let was_delivered = |catch_up: &CatchUp| {
            offset < catch_up.taken_before && facts.timing.out_ms < catch_up.delivered_before_ms
        };
        if self.catch_up.as_ref().is_some_and(|c| c.from.is_none() && was_delivered(c)) {
            return Ok(None);
        }
        self.enter(entry, facts, now_ms)
    }

    /// Writes a unit for a message, and takes it into what is due next if its slot is.
    fn enter(
        &mut self,
        entry: &IndexEntry,
        facts: Facts,
        now_ms: i64,
    ) -> Result<Option<TakenIn>, TimerError> {
        let Facts { timing, cancels, topic } = facts;
        let precision_ms = self.store.precision_ms();
        // The slot that is being written: units are never put into one that is over.
        let write_ms = self.store.slot_of(now_ms).max(self.read_time_ms);
        let turn_ms = self.window.turn(timing.out_ms, write_ms, precision_ms);
        let mut unit_flags = flags::PLAIN;
        if turn_ms.is_some() {
            unit_flags |= flags::ROLL;
        }
        if cancels.is_some() {
            unit_flags |= flags::CANCEL;
        }
        let time_ms = turn_ms.unwrap_or_else(|| {
            if timing.out_ms < self.read_time_ms { write_ms } else { timing.due_ms - 1 }
        });
        let unit = TimerUnit {
            previous: None,
            flags: unit_flags,
            written_ms: write_ms.min(time_ms),
            time_ms,
            offset: entry.offset,
            size: entry.size,
            topic_hash: names::tag_hash(&topic),
        };
        let slot_ms = self.store.slot_of(time_ms);
        let last = self.store.slot(slot_ms).map(|slot| slot.last);
        let position = self.store.add(&unit)?;
        if slot_ms < self.agenda.read_until_ms() {
            if let Some(key) = cancels.filter(|_| unit.cancels()) {
                self.take_back(timing.out_ms, key, slot_ms);
            }
            let due_ms = if unit.rolls() { time_ms } else { timing.due_ms };
            self.read_new(&unit, slot_ms, position, last, due_ms, now_ms);
        }
        let weight = if unit_flags & flags::CANCEL != 0 { -1 } else { 1 };
        Ok(Some(TakenIn { topic, slot_ms, weight }))
    }

    /// Takes a new unit of a slot that has been read into the agenda, unless what lies before it has not
    /// been, or there is no room: then the slot's chain is read once more, down to what was.
    fn read_new(
        &mut self,
        unit: &TimerUnit,
        slot_ms: i64,
        position: u64,
        last: Option<u64>,
        due_ms: i64,
        now_ms: i64,
    ) {
        let has_room = self.agenda.has_room(slot_ms, now_ms);
        let state = self.agenda.slot_mut(slot_ms);
        if state.top != last || !has_room {
            self.behind.insert(slot_ms);
            return;
        }
        state.top = Some(position);
        if !unit.cancels() {
            let (offset, size, rolls) = (unit.offset.0, unit.size, unit.rolls());
            self.agenda.add(Item { due_ms, offset, position, slot_ms, size, rolls });
        }
    }

    /// Notes that a message for `out_ms` was taken back, by a unit in this slot.
    fn take_back(&mut self, out_ms: i64, key: Box<str>, slot_ms: i64) {
        let taken_back = self.taken_back.entry(out_ms).or_default();
        taken_back.keys.insert(key);
        taken_back.until_ms = taken_back.until_ms.max(slot_ms);
    }

    /// Whether a message was taken back. Both forms of the key are understood.
    pub fn is_taken_back(&self, timing: Timing, topic: &str, unique_key: &str) -> bool {
        self.taken_back.get(&timing.out_ms).is_some_and(|TakenBack { keys, .. }| {
            keys.contains(unique_key) || keys.contains(format!("{topic}+{unique_key}").as_str())
        })
    }

    /// What the record of a message in the timer topic says.
    fn facts(&self, offset: PhysicalOffset, size: u32) -> Option<Facts> {
        let precision_ms = self.store.precision_ms();
        let record = self.log.read(offset, size.into())?;
        let head = record::decode_head(&record).ok()?;
        if head.topic(&record).ok()? != WHEEL_TIMER_TOPIC {
            return None;
        }
        let properties = head.properties(&record).ok()?;
        let timing = timing_of_record(properties, head.store_timestamp, precision_ms)?;
        let cancels = names::get(properties, names::TIMER_DEL_UNIQKEY).map(Into::into);
        let topic = names::get(properties, names::REAL_TOPIC).unwrap_or_default().to_owned();
        Some(Facts { timing, cancels, topic })
    }

    /// The next timer that is due. None before all is taken in that was there at the start: a message
    /// may have been taken back by one that is still to come.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<Item> {
        if self.catch_up.is_some() { None } else { self.agenda.pop_due(now_ms) }
    }

    /// When a unit was written, ms.
    pub fn written_ms(&self, item: &Item) -> i64 {
        self.store.unit(item.position, item.slot_ms).map_or(item.slot_ms, |unit| unit.written_ms)
    }

    /// A timer is done: delivered, taken back or dropped.
    pub fn done(&mut self, item: &Item) {
        let slot_end_ms = item.slot_ms + self.store.precision_ms();
        self.done_until_ms = self.done_until_ms.max(slot_end_ms);
        self.agenda.done(item);
    }

    /// A timer could not be delivered.
    pub fn put_back(&mut self, item: Item) {
        self.agenda.put_back(item);
    }

    /// Moves on over slots that are over.
    pub fn advance(&mut self, now_ms: i64) {
        let before_ms = self.read_time_ms;
        let now_slot = self.store.slot_of(now_ms);
        while self.read_time_ms < now_slot && self.is_over(self.read_time_ms) {
            self.agenda.forget(self.read_time_ms);
            let after_ms = self.read_time_ms + self.store.precision_ms();
            let next_file = self.store.next_slot(after_ms).map_or(now_slot, |(time, _)| time);
            let next_read = self.agenda.next_slot(after_ms).unwrap_or(now_slot);
            self.read_time_ms = next_file.min(next_read).min(now_slot);
        }
        if self.read_time_ms != before_ms {
            self.taken_back.retain(|_, taken_back| taken_back.until_ms >= self.read_time_ms);
            self.store.delivered_before(self.read_time_ms);
            self.progress.push_back((self.read_time_ms, self.log.max_offset()));
        }
    }

    fn is_over(&self, slot_ms: i64) -> bool {
        if self.behind.contains(&slot_ms) || slot_ms >= self.agenda.read_until_ms() {
            return false;
        }
        let last = self.store.slot(slot_ms).map(|slot| slot.last);
        match self.agenda.slot(slot_ms) {
            Some(state) => state.is_done() && state.top == last,
            None => last.is_none(),
        }
    }
}

/// What the record of a message in the timer topic says.
struct Facts {
    timing: Timing,
    /// The key of the message that it takes back.
    cancels: Option<Box<str>>,
    topic: String,
}

#[cfg(test)]
mod tests;
