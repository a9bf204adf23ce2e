//! What of a topic is over its own limits of time and bytes.
//!
//! Both limits say which entries of its queues have to go: never what is on disk of the log, which all
//! topics share. Time is found by a binary search, as a queue's records are in the order of their store
//! times. Bytes are counted: [`TopicBytes`] reads each entry once when it comes and once when it goes.
//! The limit is for the topic as a whole, and the oldest message of all its queues goes first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use crate::{
    commit_log::CommitLog,
    consume_queue::{ConsumeQueueView, IndexEntry},
    offset::{PhysicalOffset, QueueId, QueueOffset},
    reader::{Boundary, offset_by_time},
};

/// Entries read in one go.
const STRIDE: u64 = 4096;

/// The first message of a queue that is not `retention_ms` old yet; the queue's end if all are.
pub fn young_from(
    view: &ConsumeQueueView,
    log: &CommitLog,
    now_ms: i64,
    retention_ms: i64,
) -> QueueOffset {
    let oldest = now_ms.saturating_sub(retention_ms).saturating_add(1);
    offset_by_time(view, log, oldest, Boundary::Lower)
}

/// How many bytes of records the queues of one topic hold, counted as they come and go.
#[derive(Debug, Default)]
pub struct TopicBytes {
    queues: BTreeMap<QueueId, Counted>,
}

/// What of a queue has been counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    from: QueueOffset,
    to: QueueOffset,
    bytes: u64,
}

impl TopicBytes {
    /// Where each of the queues has to begin so that all of them together hold no more than `limit`
    /// bytes. What was said once is not taken back, whether the queue begins there already or not.
    pub fn over(
        &mut self,
        views: &[(QueueId, ConsumeQueueView)],
        limit: u64,
    ) -> Vec<(QueueId, QueueOffset)> {
        self.queues.retain(|queue, _| views.iter().any(|(id, _)| id == queue));
        let mut oldest = BinaryHeap::new();
        for (place, (queue, view)) in views.iter().enumerate() {
            let counted = self.queues.entry(*queue).or_default();
            counted.count(view);
            let first = view.entry_from(counted.from);
            oldest.extend(first.map(|(_, entry)| Reverse((entry.offset, place))));
        }
        let mut bytes: u64 = self.queues.values().map(|counted| counted.bytes).sum();
        while bytes > limit
            && let Some(Reverse((_, place))) = oldest.pop()
        {
            let Some((queue, view)) = views.get(place) else { break };
            let Some(counted) = self.queues.get_mut(queue) else { break };
            let Some((at, entry)) = view.entry_from(counted.from) else { continue };
            bytes = bytes.saturating_sub(entry.size.into());
            counted.drop_up_to(at, &entry);
            let next = view.entry_from(counted.from).filter(|(at, _)| *at < counted.to);
            oldest.extend(next.map(|(_, entry)| Reverse((entry.offset, place))));
        }
        self.queues.iter().map(|(queue, counted)| (*queue, counted.from)).collect()
    }
}

impl Counted {
    /// Takes in what is new. If the queue begins elsewhere than it was left, as after the removal of log
    /// files or in a new life, it is counted anew: what is gone cannot be read any more.
    fn count(&mut self, view: &ConsumeQueueView) {
        let (min, max) = (view.min_offset(), view.max_offset());
        if self.from < min || self.to > max {
            *self = Self { from: min, to: min, bytes: 0 };
        }
        while self.to < max {
            let bytes = &mut self.bytes;
            let next = view.each(self.to, max.since(self.to).min(STRIDE), |_, entry| {
                *bytes += u64::from(entry.size);
                true
            });
            if next < max && view.entry(next).is_none() {
                // A slot without a message, or one that cannot be read.
                let Some((behind, _)) = view.entry_from(next) else { break };
                self.to = behind;
            } else {
                self.to = next;
            }
        }
    }

    fn drop_up_to(&mut self, at: QueueOffset, entry: &IndexEntry) {
        self.from = at.plus(1);
        self.bytes = self.bytes.saturating_sub(entry.size.into());
    }
}

/// The place in the log of the message at `offset`, or of the queue's first one; `None` if there is
/// none from there on. Of an entry that cannot be read it is the log's first byte: whoever asks what to
/// keep is told everything.
pub fn place_of(view: &ConsumeQueueView, offset: QueueOffset) -> Option<PhysicalOffset> {
    let place = || view.entry_from(offset).map_or(PhysicalOffset(0), |(_, entry)| entry.offset);
    (offset.max(view.min_offset()) < view.max_offset()).then(place)
}
