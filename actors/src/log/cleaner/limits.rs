//! The limits of single topics: which messages their queues do not want any more.
//!
//! Knows which topics have limits, counts the bytes of those that have one in bytes, and finds for each
//! queue where it has to begin. What follows from that on disk is for the cleaner.

use std::{collections::HashMap, sync::Arc};

use gantry_storage::{
    Boundary, CommitLog, ConsumeQueueView, DispatchEntry, QueueId, QueueOffset, offset_by_time,
    retention::topic::{TopicBytes, young_from},
};

use super::unconsumed::Consumption;
use crate::topic::{QueueSlot, Queues, TopicRetention, TopicTable, TopicView};

/// See the module's text.
#[derive(Default)]
pub struct Limits {
    bytes: HashMap<Arc<str>, TopicBytes>,
    /// Whether any topic has a limit.
    exist: bool,
}

impl Limits {
    /// The queues that have to begin later than they do, and where: never behind what a group has not
    /// consumed of a topic that keeps such messages.
    pub fn over(
        &mut self,
        topics: &TopicTable,
        queues: &Queues,
        log: &CommitLog,
        consumption: &Consumption,
        now_ms: i64,
    ) -> Vec<(Arc<QueueSlot>, QueueOffset)> {
        let (topics, mut over) = (topics.all(), Vec::new());
        self.bytes.retain(|topic, _| topics.contains_key(topic));
        self.exist = false;
        for (name, topic) in topics.iter() {
            let limits = TopicRetention::of(&topic.config.attributes);
            if !limits.has_limit() {
                continue;
            }
            self.exist = true;
            let views = views(topic, queues);
            let mut begins = HashMap::new();
            if let Some(ms) = limits.ms {
                begins.extend(views.iter().map(|(id, v)| (*id, young_from(v, log, now_ms, ms))));
            }
            if let Some(from_ms) = limits.from_ms {
                for (id, view) in &views {
                    let begin = offset_by_time(view, log, from_ms, Boundary::Lower);
                    let known: &mut QueueOffset = begins.entry(*id).or_default();
                    *known = begin.max(*known);
                }
            }
            if let Some(limit) = limits.bytes {
                let counted = self.bytes.entry(name.clone()).or_default();
                for (id, begin) in counted.over(&views, limit) {
                    let known: &mut QueueOffset = begins.entry(id).or_default();
                    *known = begin.max(*known);
                }
            }
            let later = views.iter().filter_map(|(id, view)| {
                let needed = consumption.needed_from(name, id.0).map(QueueOffset);
                let begin = (*begins.get(id)?).min(needed.unwrap_or(view.max_offset()));
                let slot = topic.queue(id.0)?.clone();
                (begin > view.min_offset()).then_some((slot, begin))
            });
            over.extend(later);
        }
        over
    }

    /// Whether any topic had a limit when it was looked at last.
    pub fn exist(&self) -> bool {
        self.exist
    }
}

/// The indexes of the topic's queues that hold messages.
fn views(topic: &TopicView, queues: &Queues) -> Vec<(QueueId, ConsumeQueueView)> {
    let holds = topic.queues.iter().filter(|slot| slot.range().is_ok_and(|(min, max)| min < max));
    holds.filter_map(|slot| Some((QueueId(slot.queue_id), (*queues.view(slot)?).clone()))).collect()
}

/// Whether a queue still wants this record. Records that are in no queue, and those of topics that are
/// gone, stay for as long as the log keeps everything.
pub fn is_wanted(topics: &TopicTable, entry: &DispatchEntry<'_>) -> bool {
    let topic = topics.get(entry.topic);
    let slot = topic.as_ref().and_then(|topic| topic.queue(entry.queue_id));
    slot.is_none_or(|slot| {
        let begin = slot.range().ok().map(|(min, _)| min);
        !slot.is_alive() || begin.is_none_or(|begin| entry.queue_offset.0 >= begin)
    })
}
