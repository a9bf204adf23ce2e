//! What is written down: while it goes on, and for an orderly end.

use std::collections::HashSet;

use gantry_storage::{
    ConsumeQueueView, QueueOffset,
    timer::{FlushJob, Flushed, TimerError, TimerStore, TimerUnit},
};

use super::{super::agenda::Item, Timers};

impl Timers {
    /// What is to be brought to the disk now.
    ///
    /// # Errors
    /// If an earlier flush failed.
    pub fn flush(&mut self, now_ms: i64) -> Result<Option<FlushJob>, TimerError> {
        // What was delivered counts once it is on the disk: else a loss of power would take both the
        // delivered message and the knowledge that it is to be delivered.
        let flushed = self.log.flushed_offset();
        while let Some((time, _)) = self.progress.pop_front_if(|(_, end)| *end <= flushed) {
            self.durable_ms = time;
        }
        let Some(next) = self.next else { return Ok(None) };
        // Time goes on while nothing happens: that need not be written down.
        let has_delivered = self.store.checkpoint().read_time_ms < self.done_until_ms;
        if !has_delivered && !self.store.has_news(next) {
            return Ok(None);
        }
        self.store.flush(self.durable_ms, next, now_ms)
    }

    /// Takes in how a job went.
    pub fn flushed(&mut self, result: &Result<Flushed, TimerError>) {
        self.store.flushed(result);
    }

    /// Gets ready for an orderly end: slots of which a part has been delivered are left with the rest
    /// alone, and `under_way` are those that have not been. What is to be brought to the disk then; all
    /// that was delivered must be there already.
    ///
    /// # Errors
    /// If there is no room, or an earlier flush failed.
    pub fn leave(
        &mut self,
        view: Option<&ConsumeQueueView>,
        under_way: &[Item],
        now_ms: i64,
    ) -> Result<Option<FlushJob>, TimerError> {
        let Some(next) = self.next else { return Ok(None) };
        let newest = view.and_then(|view| view.entry(QueueOffset(next.checked_sub(1)?)));
        if let Some(newest) = newest {
            let open = self.agenda.items().chain(under_way).map(|item| item.position);
            let open: HashSet<u64> = open.collect();
            let begun = self.agenda.slots().filter(|(_, state)| state.is_begun);
            let begun: Vec<i64> = begun.map(|(slot_ms, _)| slot_ms).collect();
            for slot_ms in begun {
                let mut rest = self.rest_of(slot_ms, &open);
                rest.push(TimerStore::marker(slot_ms, newest.offset, newest.size));
                self.store.replace_slot(slot_ms, &rest)?;
            }
        }
        self.store.final_flush(self.read_time_ms, next, now_ms).map(Some)
    }

    /// The units of a slot that have not been delivered, in their order.
    fn rest_of(&self, slot_ms: i64, open: &HashSet<u64>) -> Vec<TimerUnit> {
        let Some(state) = self.agenda.slot(slot_ms) else { return Vec::new() };
        let (mut all, mut at) = (Vec::new(), self.store.slot(slot_ms).map(|slot| slot.last));
        while let Some(position) = at {
            let unit = self.store.unit(position, slot_ms);
            let unit = unit.filter(|unit| unit.previous.is_none_or(|before| before < position));
            let Some(unit) = unit else {
                all = self.store.search_slot(slot_ms);
                all.reverse();
                break;
            };
            all.push((position, unit));
            at = unit.previous;
        }
        let is_left = |position: u64, unit: &TimerUnit| {
            unit.cancels() || open.contains(&position) || state.is_unread(position)
        };
        let rest = all.into_iter().rev().filter(|(position, unit)| is_left(*position, unit));
        rest.map(|(_, unit)| unit).collect()
    }

    /// Removes files of the timer log whose messages are gone from the log.
    ///
    /// # Errors
    /// If the system cannot.
    pub fn remove_old(&mut self) -> Result<usize, TimerError> {
        self.store.remove_before(self.log.min_offset())
    }
}
