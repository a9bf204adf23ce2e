//! What others ask about topics and queues, answered from the published views.

use std::sync::Arc;

use actix::Addr;
use futures_util::future::LocalBoxFuture;
use gantry_codec::body::TopicConfig;
use gantry_storage::{Boundary, CommitLog, ConsumeQueueView, QueueOffset, offset_by_time};
use gantry_supervisor::Shell;

use super::{
    queues::Queues,
    topics::{CreateTopic, Topics},
    view::{QueueSlot, TopicTable},
};
use crate::{
    group::{Counted, QueueFacts, RetryTopic, RetryTopics, Wanted},
    session::properties_pass,
};

/// See the module's text.
pub struct Facts {
    /// Published topics.
    pub topics: Arc<TopicTable>,
    /// Opens queues that nobody has used yet.
    pub queues: Arc<Queues>,
    /// The log, for store times.
    pub log: CommitLog,
    /// Bytes behind the log's end that count as in memory.
    pub hot_bytes: u64,
}

impl Facts {
    fn slot(&self, topic: &str, queue_id: i32) -> Option<Arc<QueueSlot>> {
        self.topics.get(topic)?.queue(u32::try_from(queue_id).ok()?).cloned()
    }

    /// First offset and one past the last; zeros for a queue that does not exist.
    ///
    /// # Errors
    /// Why the queue's files cannot be read.
    pub fn try_range(&self, topic: &str, queue_id: i32) -> Result<(i64, i64), String> {
        let range = self.slot(topic, queue_id).map(|slot| slot.range()).transpose()?;
        let (min, max) = range.unwrap_or_default();
        Ok((min as i64, max as i64))
    }

    fn view(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueueView>> {
        self.queues.view(&*self.slot(topic, queue_id)?)
    }

    /// The offset by store time (ms); 0 for a queue that was never written.
    pub fn search_with(&self, topic: &str, queue_id: i32, time: i64, boundary: Boundary) -> i64 {
        let view = self.view(topic, queue_id);
        view.map_or(0, |view| offset_by_time(&view, &self.log, time, boundary).0 as i64)
    }
}

impl QueueFacts for Facts {
    fn topic(&self, topic: &str) -> Option<TopicConfig> {
        self.topics.get(topic).map(|view| view.config.clone())
    }

    fn range(&self, topic: &str, queue_id: i32) -> (i64, i64) {
        self.try_range(topic, queue_id).unwrap_or_default()
    }

    fn is_in_memory(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        let Some(view) = self.view(topic, queue_id) else { return true };
        match u64::try_from(offset).ok().and_then(|at| view.entry(QueueOffset(at))) {
            Some(entry) => self.log.max_offset().0.saturating_sub(entry.offset.0) <= self.hot_bytes,
            None => view.max_offset().0 == 0,
        }
    }

    fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let entry = self.view(topic, queue_id)?.entry(QueueOffset(u64::try_from(offset).ok()?))?;
        self.log.store_timestamp(entry.offset)
    }

    fn count(
        &self,
        topic: &str,
        queue_id: i32,
        from: i64,
        count_max: i64,
        wanted: Wanted<'_>,
    ) -> Option<Counted> {
        let view = self.view(topic, queue_id)?;
        let (min, max) = (view.min_offset().0 as i64, view.max_offset().0 as i64);
        let mut next = from.max(min);
        let end = max.min(next.saturating_add(count_max));
        let mut counted = Counted { wanted: 0, seen: (end - next).max(0) };
        while next < end {
            let from = QueueOffset(next as u64);
            let behind = view.each(from, (end - next) as u64, |_, entry| {
                let is_wanted = match wanted {
                    Wanted::ByTags(wanted) => view.tags_code(&entry).is_none_or(wanted),
                    Wanted::ByProperties(wanted) => properties_pass(&self.log, &entry, wanted),
                };
                counted.wanted += i64::from(is_wanted);
                true
            });
            // A slot without entry holds no message, and the others follow.
            next = if behind == from { next + 1 } else { behind.0 as i64 };
        }
        Some(counted)
    }

    fn search(&self, topic: &str, queue_id: i32, time_ms: i64) -> i64 {
        self.search_with(topic, queue_id, time_ms, Boundary::Lower)
    }
}

/// Makes retry topics through the root of the topics.
pub struct RetryTopicMaker {
    /// Published topics, to see what is there already.
    pub table: Arc<TopicTable>,
    /// The root.
    pub topics: Addr<Shell<Topics>>,
}

impl RetryTopics for RetryTopicMaker {
    fn ensure(&self, topic: RetryTopic) -> LocalBoxFuture<'static, Result<(), String>> {
        let order = CreateTopic::retry(&topic);
        if self.table.get(order.topic()).is_some_and(|view| order.is_met_by(&view.config)) {
            return Box::pin(std::future::ready(Ok(())));
        }
        let made = self.topics.send(order);
        Box::pin(async move {
            match made.await {
                Ok(made) => made.map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            }
        })
    }
}
