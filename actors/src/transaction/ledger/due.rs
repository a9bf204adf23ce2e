//! When producers are asked for which half messages.

use super::{Due, Half, HalfKey, Ledger, Phase};

impl Ledger {
    /// Lists it among those that are due some time.
    pub(super) fn list(&mut self, offset: u64, due_ms: i64) {
        self.unlist(offset);
        if let Some(kept) = self.open.get_mut(&offset) {
            kept.due_ms = Some(due_ms);
            self.due.insert((due_ms, offset));
        }
    }

    pub(super) fn unlist(&mut self, offset: u64) {
        let Some(kept) = self.open.get_mut(&offset) else { return };
        if let Some(due) = kept.due_ms.take() {
            self.due.remove(&(due, offset));
        }
        if std::mem::take(&mut kept.is_waiting)
            && let Some(waiting) = self.waiting.get_mut(&kept.half.group)
        {
            waiting.remove(&offset);
            if waiting.is_empty() {
                self.waiting.remove(&kept.half.group);
            }
        }
    }

    /// When the next one is due, ms.
    pub fn first_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes those that are due, `max` at most. Each has to be told of by [`asked`](Self::asked),
    /// [`nobody_there`](Self::nobody_there), or be begun to be ended.
    pub fn take_due(&mut self, now_ms: i64, max: usize) -> Vec<Due> {
        let due: Vec<u64> = self
            .due
            .iter()
            .take_while(|(due, _)| *due <= now_ms)
            .take(max)
            .map(|(_, offset)| *offset)
            .collect();
        due.iter().filter_map(|offset| self.take(*offset, now_ms)).collect()
    }

    fn take(&mut self, offset: u64, now_ms: i64) -> Option<Due> {
        self.unlist(offset);
        let half = &self.open.get(&offset)?.half;
        Some(Due {
            offset,
            physical: half.physical,
            group: half.group.clone(),
            checks: half.checks,
            is_given_up: half.topic.is_none()
                || half.checks >= self.limits.checks_max
                || now_ms >= self.end_of_life(half),
        })
    }

    fn end_of_life(&self, half: &Half) -> i64 {
        half.life_began_ms().saturating_add(self.limits.age_max_ms)
    }

    /// A producer was asked for it.
    pub fn asked(&mut self, offset: u64, now_ms: i64) {
        let Some(kept) = self.open.get_mut(&offset) else { return };
        if kept.phase == Phase::Open {
            kept.half.checks += 1;
            self.list(offset, now_ms.saturating_add(self.limits.interval_ms));
        }
    }

    /// Its group has no producer now: it waits, without being looked at, until there is one.
    pub fn nobody_there(&mut self, offset: u64) {
        let Some(kept) = self.open.get(&offset) else { return };
        if kept.phase != Phase::Open {
            return;
        }
        let (end, group) = (self.end_of_life(&kept.half), kept.half.group.clone());
        self.list(offset, end);
        if let Some(kept) = self.open.get_mut(&offset) {
            kept.is_waiting = true;
        }
        self.waiting.entry(group).or_default().insert(offset);
    }

    /// A group has a producer: those that waited for one are due.
    pub fn group_appeared(&mut self, group: &str, now_ms: i64) {
        for offset in self.waiting.remove(group).into_iter().flatten() {
            self.list(offset, now_ms);
        }
    }

    /// The open half message with this key, if there is one.
    pub fn open_copy_of(&self, key: &HalfKey) -> Option<u64> {
        self.by_key.get(key).copied().filter(|offset| self.open.contains_key(offset))
    }

    /// An operator wants it asked for again; whether it is open.
    pub fn resume(&mut self, offset: u64, now_ms: i64) -> bool {
        let Some(kept) = self.open.get_mut(&offset) else { return false };
        kept.half.checks = 0;
        if kept.phase == Phase::Open {
            self.list(offset, now_ms);
        }
        true
    }

    /// The oldest ones, `max` at most, if they are so far behind the end of the queue that they shall be
    /// stored once more: so a start never has more to read than the newest part of the queue.
    pub fn lagging(&self, max: usize) -> Vec<(u64, u64, u32)> {
        let limit = self.limits.lag_max.max(2 * self.open.len() as u64);
        let lags = |offset: u64| offset.saturating_add(limit) < self.next;
        self.open
            .iter()
            .take_while(|(offset, kept)| lags(**offset) && kept.phase == Phase::Open)
            .take(max)
            .map(|(offset, kept)| (*offset, kept.half.physical, kept.half.checks))
            .collect()
    }
}
