//! Reading slots ahead of their time, unit by unit along their chains.

use gantry_storage::timer::TimerUnit;
use slog::error;

use super::{
    super::agenda::{Item, Walk},
    Facts, Timers,
};

/// Slots are read at least so long ahead, ms.
const AHEAD_MS: i64 = 3000;

impl Timers {
    /// Reads up to `budget` units ahead; whether there is more to read by now.
    pub fn read_ahead(&mut self, mut budget: usize, now_ms: i64) -> bool {
        self.begin_slots(now_ms);
        self.catch_up_slots();
        while let Some(slot_ms) = self.agenda.unread_slot() {
            if budget == 0 || !self.agenda.has_room(slot_ms, now_ms) {
                return budget == 0;
            }
            budget -= 1;
            self.walk(slot_ms);
        }
        false
    }

    /// When the next slot is to be read.
    pub fn next_read_ms(&self) -> Option<i64> {
        let next = self.store.next_slot(self.agenda.read_until_ms());
        next.map(|(slot_ms, _)| slot_ms - self.ahead_ms())
    }

    fn ahead_ms(&self) -> i64 {
        AHEAD_MS.max(3 * self.store.precision_ms())
    }

    /// Begins with the slots whose time has come to be read.
    fn begin_slots(&mut self, now_ms: i64) {
        let until_ms = self.store.slot_of(now_ms + self.ahead_ms()) + self.store.precision_ms();
        while let Some((slot_ms, slot)) = self.store.next_slot(self.agenda.read_until_ms())
            && slot_ms < until_ms
        {
            if !self.agenda.has_room(slot_ms, now_ms) {
                return;
            }
            self.agenda.read_later(slot_ms, Walk { at: slot.last, until: None });
            self.agenda.slot_mut(slot_ms).top = Some(slot.last);
            self.agenda.read_until(slot_ms + self.store.precision_ms());
        }
        self.agenda.read_until(until_ms);
    }

    /// Has what was added to slots behind the agenda's back be read.
    fn catch_up_slots(&mut self) {
        for slot_ms in std::mem::take(&mut self.behind) {
            let Some(slot) = self.store.slot(slot_ms) else { continue };
            let top = self.agenda.slot_mut(slot_ms).top.replace(slot.last);
            if top.is_none_or(|top| top < slot.last) {
                self.agenda.read_later(slot_ms, Walk { at: slot.last, until: top });
            }
        }
    }

    /// Reads one unit of a slot.
    fn walk(&mut self, slot_ms: i64) {
        let Some(walk) = self.agenda.pop_walk(slot_ms) else { return };
        let Some(unit) = self.store.unit(walk.at, slot_ms) else {
            return self.search(slot_ms, walk);
        };
        match unit.previous {
            Some(previous) if previous >= walk.at => return self.search(slot_ms, walk),
            Some(previous) if walk.until.is_none_or(|until| previous > until) => {
                self.agenda.read_later(slot_ms, Walk { at: previous, until: walk.until });
            }
            _ => {}
        }
        self.read_unit(&unit, walk.at, slot_ms);
    }

    /// Reads what is left of a slot whose chain is broken.
    fn search(&mut self, slot_ms: i64, walk: Walk) {
        error!(self.log_to, "timers of a slot are not chained, looking through the timer log";
            "slot" => slot_ms, "position" => walk.at);
        for (position, unit) in self.store.search_slot(slot_ms) {
            if position <= walk.at && walk.until.is_none_or(|until| position > until) {
                self.read_unit(&unit, position, slot_ms);
            }
        }
    }

    fn read_unit(&mut self, unit: &TimerUnit, position: u64, slot_ms: i64) {
        if unit.cancels() {
            // A unit that cancels nothing marks a slot that was written anew.
            if let Some(Facts { timing, cancels: Some(key), .. }) =
                self.facts(unit.offset, unit.size)
            {
                self.take_back(timing.out_ms, key, slot_ms);
            }
            return;
        }
        let is_exact = unit.rolls() || unit.time_ms % self.store.precision_ms() != 0;
        let due_ms = if unit.rolls() { unit.time_ms } else { unit.time_ms + 1 };
        let due_ms = if is_exact {
            // The page is wanted soon.
            self.log.with_rest(unit.offset, |record| record.first().copied());
            due_ms
        } else {
            // Written by Java, or due in the first millisecond of its slot.
            self.facts(unit.offset, unit.size).map_or(due_ms, |facts| facts.timing.due_ms)
        };
        let (offset, size, rolls) = (unit.offset.0, unit.size, unit.rolls());
        self.agenda.add(Item { due_ms, offset, position, slot_ms, size, rolls });
    }
}
