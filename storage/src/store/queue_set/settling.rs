//! Settling: a queue's first use in a life cuts it to what can be relied on, or has it built again.
//!
//! | what is found | what is done |
//! |---|---|
//! | entries of records at the limit (see [`start`](super::super::start)) or behind | cut; the dispatcher makes them again |
//! | entries that the log does not confirm, at the end | cut: stale slots of a Java broker, pages of a log that was lost |
//! | a last entry that names a unit of an extension that is gone | the queue is built again from the log |
//! | fewer entries than an earlier life wrote down, or a later beginning in the same log | the queue is built again from the log |
//! | nothing, and the log has nothing of it either | it goes on behind its old end |
//!
//! What earlier lives wrote down is in the file `queue-ends` ([`ends`](super::super::ends)). It is a lower
//! limit, so it need not be new. Where queues are few, all are settled at start, many at a time; where
//! they are very many, each waits for its first use.
//!
//! Failure policy: a queue that cannot be settled stays as it is on disk, its user is told, and the
//! next use tries again.

use std::sync::{PoisonError, atomic::Ordering};

use super::{
    super::{
        ends::Ends,
        rebuild::{Rebuild, Wanted},
        settle::{LIGHT_QUEUE_PREFIX, ask_log, confirmed_end, last_entry},
    },
    Now, QueueName, QueueSet, State, Stripe,
    found::in_parallel,
    queue_error,
};
use crate::{
    consume_queue::{IndexEntry, QueueError, ext},
    offset::QueueId,
};

/// What cutting a queue came to.
struct Settled {
    ends: Ends,
    /// Whether there may have been something behind its end.
    is_cut: bool,
    /// Its last entry.
    last: Option<IndexEntry>,
}

impl QueueSet {
    /// Settles the queues of the topics that `is_wanted` wants, if they are few, and builds again those
    /// of which too much is missing, all in one go. Which those were.
    pub(in crate::store) fn verify(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<QueueName>, QueueError> {
        let mut names = self.names();
        names.retain(|name| is_wanted(&name.topic));
        self.forget_ends(|topic| !is_wanted(topic));
        let looks_at = if names.len() <= self.settled_at_start_max {
            names
        } else {
            // Of the many, those whose folders are gone.
            names.retain(|name| self.has_lost_its_folder(name));
            names
        };
        let lacking = in_parallel(&looks_at, |name| {
            let mut stripe = self.stripe(&name.topic);
            Ok(self.settle(&mut stripe, &name.topic, name.queue)?.err().map(|old| (name, old)))
        })?;
        let lacking: Vec<_> = lacking.into_iter().flatten().collect();
        self.build_again(&lacking)?;
        let mut names: Vec<_> = lacking.into_iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// What was written down of topics that are gone says nothing about later ones of their names.
    fn forget_ends(&self, is_gone: impl Fn(&str) -> bool) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, queues) in stripe.iter_mut().filter(|(topic, _)| is_gone(topic)) {
                queues.values_mut().for_each(|state| state.known = None);
                self.is_table_stale.store(true, Ordering::Release);
            }
        }
    }

    fn has_lost_its_folder(&self, name: &QueueName) -> bool {
        let stripe = self.stripe(&name.topic);
        let state = stripe.get(&name.topic).and_then(|queues| queues.get(&name.queue.0));
        let known = state.and_then(|state| state.known);
        let had = known.is_some_and(|known| known.max.0 > 0);
        let dir = self.config.queue_dir(&name.topic, name.queue);
        // Only of queues that had something is asked: those that were never written have no folder.
        had && self.disk.list(&dir).is_ok_and(|files| files.is_empty())
    }

    /// The queue's ends; settles it and, if need be, builds it again.
    pub(super) fn settled(
        &self,
        stripe: &mut Stripe,
        topic: &str,
        queue: QueueId,
    ) -> Result<Ends, QueueError> {
        match self.settle(stripe, topic, queue)? {
            Ok(ends) => Ok(ends),
            Err(old) => {
                let name = QueueName { topic: topic.into(), queue };
                let wanted = [Wanted { topic, queue, begin: old.max }];
                self.remove_files(&name)?;
                self.rebuild(&wanted)?;
                self.settle_rebuilt(stripe, &name)
            }
        }
    }

    /// The queue's ends, or those that it had once if too much of it is missing.
    fn settle(
        &self,
        stripe: &mut Stripe,
        topic: &str,
        queue: QueueId,
    ) -> Result<Result<Ends, Ends>, QueueError> {
        let state = stripe.get(topic).and_then(|queues| queues.get(&queue.0));
        let old = state.and_then(|state| state.known);
        match state.map(|state| &state.now) {
            Some(Now::Open(view)) => {
                let (min, max) = (view.min_offset(), view.max_offset());
                return Ok(Ok(Ends { min, max, log_min: self.log.min_offset() }));
            }
            Some(Now::Settled(ends)) => return Ok(Ok(*ends)),
            Some(Now::Untouched) | None => {}
        }
        let name = QueueName { topic: topic.into(), queue };
        let found = self.cut(&name)?;
        let ends = found.ends;
        if let Some(old) = old.filter(|old| ends.max < old.max || self.begins_late(&ends, old)) {
            return Ok(Err(old));
        }
        if self.lacks_unit(&name, &found)? {
            return Ok(Err(ends));
        }
        set_settled(stripe, &name, ends, found.is_cut);
        Ok(Ok(ends))
    }

    /// Whether the queue lost files at its beginning: its first entry is a later one than before, though
    /// the log begins where it did.
    fn begins_late(&self, ends: &Ends, old: &Ends) -> bool {
        ends.min > old.min && old.log_min == self.log.min_offset()
    }

    /// Whether the unit is gone that the queue's last entry names. (Those of the first ones may be: the
    /// queue may have begun later, which is not written down.) The log does not say where entries of
    /// light queues belong, so that those keep what they have.
    fn lacks_unit(&self, name: &QueueName, found: &Settled) -> Result<bool, QueueError> {
        let unit = found.last.and_then(|last| ext::position(last.tags_code));
        let Some(unit) = unit.filter(|_| !name.topic.starts_with(LIGHT_QUEUE_PREFIX)) else {
            return Ok(false);
        };
        let dir = self.config.ext_dir(&name.topic, name.queue);
        let found = ext::look(&*self.disk, &dir, unit);
        Ok(found.map_err(|e| queue_error(&dir, e))?.is_none())
    }

    /// Cuts a queue to what can be relied on.
    fn cut(&self, name: &QueueName) -> Result<Settled, QueueError> {
        let mut files = name.files(&*self.disk, &self.config)?;
        let log_min = self.log.min_offset();
        if files.starts().is_empty() {
            let ends = Ends { log_min, ..Ends::default() };
            return Ok(Settled { ends, is_cut: false, last: None });
        }
        let ask = |at, entry: &_| ask_log(&self.log, name, at, entry);
        let max = confirmed_end(&files, self.cut.limit, ask)?;
        let min = files.begin_at(log_min, max)?;
        let last = if min < max { last_entry(&files, max)? } else { None };
        let is_cut = self.cut.sweeps || files.is_used(max)?;
        if is_cut {
            files.clear_from(max)?;
        }
        Ok(Settled { ends: Ends { min, max, log_min }, is_cut, last })
    }

    fn build_again(&self, lacking: &[(&QueueName, Ends)]) -> Result<(), QueueError> {
        if lacking.is_empty() {
            return Ok(());
        }
        for (name, _) in lacking {
            self.remove_files(name)?;
        }
        let wanted: Vec<_> = lacking
            .iter()
            .map(|(name, old)| Wanted { topic: &name.topic, queue: name.queue, begin: old.max })
            .collect();
        self.rebuild(&wanted)?;
        for (name, _) in lacking {
            let mut stripe = self.stripe(&name.topic);
            self.settle_rebuilt(&mut stripe, name)?;
        }
        Ok(())
    }

    fn rebuild(&self, wanted: &[Wanted<'_>]) -> Result<(), QueueError> {
        let Self { disk, config, log, levels, cut, .. } = self;
        Rebuild { disk, config, log, levels, limit: cut.limit, wanted }.run()
    }

    fn remove_files(&self, name: &QueueName) -> Result<(), QueueError> {
        let dir = self.config.queue_dir(&name.topic, name.queue);
        self.disk.remove_dir(&dir).map_err(|error| queue_error(&dir, error))?;
        let dir = self.config.ext_dir(&name.topic, name.queue);
        self.disk.remove_dir(&dir).map_err(|error| queue_error(&dir, error))
    }

    fn settle_rebuilt(&self, stripe: &mut Stripe, name: &QueueName) -> Result<Ends, QueueError> {
        let found = self.cut(name)?;
        set_settled(stripe, name, found.ends, found.is_cut);
        Ok(found.ends)
    }
}

/// Enters where a queue ends, and whether something was cut off there.
fn set_settled(stripe: &mut Stripe, name: &QueueName, ends: Ends, is_cut: bool) {
    let queues = stripe.entry(name.topic.clone()).or_default();
    let state = queues.entry(name.queue.0).or_insert(State::UNKNOWN);
    (state.now, state.is_cut) = (Now::Settled(ends), is_cut);
}
