//! What is written down of the queues: their flush, and the table of their ends for the next life.
//!
//! Clearing is not durable by itself, and what comes back is refuted as long as the log has something
//! else there. So what was cut off is on the disk before the next checkpoint says that the log is
//! dispatched, and the log's old files may go.
//! Failure policy: a cut that cannot be synced is not tried again, as a later sync would not tell: no
//! flush succeeds any more in this life.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, atomic::Ordering},
};

use super::{
    super::ends::{Ends, EndsTable},
    Now, QueueName, QueueSet, State,
    found::in_parallel,
};
use crate::{
    consume_queue::{QueueError, files::QueueFiles},
    offset::QueueId,
};

impl QueueSet {
    /// Flushes all queues that are open and have something that is not on disk, and what was cut off
    /// queues in this life: it must not come back when the log cannot refute it any more.
    pub(in crate::store) fn flush(&self) -> Result<(), QueueError> {
        self.sync_cuts()?;
        for stripe in &self.stripes {
            let dirty: Vec<_> = {
                let stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
                let states = stripe.values().flat_map(BTreeMap::values);
                states.filter_map(State::dirty).cloned().collect()
            };
            for view in dirty {
                view.flusher().sync()?;
            }
        }
        Ok(())
    }

    fn sync_cuts(&self) -> Result<(), QueueError> {
        if self.is_poisoned.load(Ordering::Acquire) {
            return Err(QueueError::Poisoned { path: self.config.dir.display().to_string() });
        }
        let names = self.take_cuts();
        let synced = in_parallel(&names, |name| {
            QueueFiles::look(&*self.disk, &self.config, &name.dir(&self.config))?.sync_end()
        });
        self.is_poisoned.fetch_or(synced.is_err(), Ordering::AcqRel);
        synced.map(drop)
    }

    /// The queues of which something was cut off since the last call.
    fn take_cuts(&self) -> Vec<QueueName> {
        let mut names = Vec::new();
        for stripe in &self.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            for (topic, queues) in stripe.iter_mut() {
                let cut = queues.iter_mut().filter_map(|(id, state)| {
                    std::mem::take(&mut state.is_cut).then_some(QueueId(*id))
                });
                names.extend(cut.map(|queue| QueueName { topic: topic.clone(), queue }));
            }
        }
        names
    }

    /// What the next life shall know of the queues, all of which are on disk up to their ends.
    pub(in crate::store) fn ends_table(&self) -> EndsTable {
        let log_min = self.log.min_offset();
        self.table(|state| match &state.now {
            Now::Untouched => state.known,
            Now::Settled(ends) => Some(*ends),
            Now::Open(view) => {
                Some(Ends { min: view.min_offset(), max: view.max_offset(), log_min })
            }
        })
    }

    /// The table as it has to be written again while queues are at work, if it has to be: without
    /// topics that were deleted, and with the beginnings of queues that were trimmed. A failed write is
    /// to be told by [`keep_stale`](Self::keep_stale).
    pub(in crate::store) fn changed_table(&self) -> Option<EndsTable> {
        if !self.is_table_stale.swap(false, Ordering::AcqRel) {
            return None;
        }
        let log_min = self.log.min_offset();
        Some(self.table(|state| {
            let known = state.known?;
            let min = match &state.now {
                Now::Untouched => return Some(known),
                Now::Settled(ends) => ends.min,
                Now::Open(view) => view.min_offset(),
            };
            Some(Ends { min: min.max(known.min), max: known.max, log_min })
        }))
    }

    /// The table has to be written again after all.
    pub(in crate::store) fn keep_stale(&self) {
        self.is_table_stale.store(true, Ordering::Release);
    }

    fn table(&self, ends: impl Fn(&State) -> Option<Ends>) -> EndsTable {
        let mut table = EndsTable::new();
        for stripe in &self.stripes {
            for (topic, queues) in stripe.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                for (id, state) in queues {
                    if let Some(ends) = ends(state) {
                        let name = QueueName { topic: topic.clone(), queue: QueueId(*id) };
                        table.push((name, ends));
                    }
                }
            }
        }
        table
    }
}
