//! The consume queues as they are found, and cut to what can be relied on.
//!
//! A queue's end is found by a binary search over its slots. A store that a Java broker wrote may have
//! stale slots there, because Java cuts a queue by forgetting and not by clearing; they are told by
//! the log, in which they do not name a record of that queue with that offset. From the end on, slots
//! are cleared.

use std::path::PathBuf;

use super::{OpenError, RecoveredQueue, io_error, log_files::LogFiles};
use crate::{
    consume_queue::{ConsumeQueueConfig, QueueError, entry::IndexEntry, files::QueueFiles},
    disk::Disk,
    offset::{PhysicalOffset, QueueId, QueueOffset},
};

/// A run of stale slots is not longer than this; if it seems so, the entries follow another rule.
const STALE_SLOTS_MAX: u64 = 4096;
/// Queues of topics with this prefix refer to records of other topics.
const LIGHT_QUEUE_PREFIX: &str = "%LMQ%";

/// The queues' folder, and the log that they refer to.
pub(super) struct Queues<'a> {
    disk: &'a dyn Disk,
    config: &'a ConsumeQueueConfig,
    log: &'a LogFiles<'a>,
    found: Vec<FoundQueue>,
}

struct FoundQueue {
    topic: String,
    queue: QueueId,
    dir: PathBuf,
}

impl<'a> Queues<'a> {
    /// Looks for queues. Folders whose names are no numbers are passed over.
    pub(super) fn find(
        disk: &'a dyn Disk,
        config: &'a ConsumeQueueConfig,
        log: &'a LogFiles<'a>,
    ) -> Result<Self, OpenError> {
        let mut found = Vec::new();
        for (topic, len) in disk.list(&config.dir).map_err(|e| io_error(&config.dir, e))? {
            let topic_dir = config.dir.join(&topic);
            if len.is_some() {
                if topic.ends_with(".sst") {
                    return Err(OpenError::RocksDb { path: topic_dir.display().to_string() });
                }
                continue;
            }
            for (name, len) in disk.list(&topic_dir).map_err(|e| io_error(&topic_dir, e))? {
                if let (None, Ok(id)) = (len, name.parse()) {
                    let (topic, queue) = (topic.clone(), QueueId(id));
                    found.push(FoundQueue { topic, queue, dir: topic_dir.join(name) });
                }
            }
        }
        Ok(Self { disk, config, log, found })
    }

    /// The end of the newest record that a queue has an entry for.
    pub(super) fn indexed_end(&self) -> Result<Option<PhysicalOffset>, OpenError> {
        let mut newest = None;
        for found in &self.found {
            let files = self.files(found)?;
            let end = self.end_before(found, &files, self.log.end())?;
            newest = newest.max(last_entry(&files, end)?.map(|entry| entry.end()));
        }
        Ok(newest)
    }

    /// Cuts every queue at its first entry for a record at `limit` or behind, clearing what follows. If
    /// not `sweeps`, that is zeros already in queues that end there anyway.
    pub(super) fn cut_at(
        &self,
        limit: PhysicalOffset,
        sweeps: bool,
    ) -> Result<Vec<RecoveredQueue>, OpenError> {
        let mut recovered = Vec::with_capacity(self.found.len());
        for found in &self.found {
            let mut files = self.files(found)?;
            if files.starts().is_empty() {
                continue;
            }
            let max = self.end_before(found, &files, limit)?;
            let min = files.begin_at(self.log.begin(), max)?;
            if sweeps || files.is_used(max)? {
                files.clear_from(max)?;
            }
            let (topic, queue) = (found.topic.clone(), found.queue);
            recovered.push(RecoveredQueue { topic, queue, min, max });
        }
        Ok(recovered)
    }

    fn files(&self, found: &FoundQueue) -> Result<QueueFiles<'a>, QueueError> {
        QueueFiles::list(self.disk, self.config, &found.dir)
    }

    /// One past the last entry that is not stale and whose record starts before `limit`.
    fn end_before(
        &self,
        found: &FoundQueue,
        files: &QueueFiles<'_>,
        limit: PhysicalOffset,
    ) -> Result<QueueOffset, QueueError> {
        let end = files.end_before(limit)?;
        let lowest = files.first().0.max(end.0.saturating_sub(STALE_SLOTS_MAX));
        for last in (lowest..end.0).rev().map(QueueOffset) {
            let Some(entry) = files.slot(last)?.entry() else { return Ok(last.plus(1)) };
            if self.is_entry_of(found, last, &entry) {
                return Ok(last.plus(1));
            }
        }
        Ok(end)
    }

    /// Whether the log has the record that `entry` says it has. Of what is gone from the log, nothing
    /// can be said.
    fn is_entry_of(&self, found: &FoundQueue, offset: QueueOffset, entry: &IndexEntry) -> bool {
        if entry.offset < self.log.begin() || found.topic.starts_with(LIGHT_QUEUE_PREFIX) {
            return true;
        }
        self.log.record(entry.offset).is_some_and(|(head, bytes)| {
            head.total_size == entry.size
                && head.queue_offset as u64 == offset.0
                && head.queue_id as u32 == found.queue.0
                && head.topic(bytes) == Ok(found.topic.as_str())
        })
    }
}

fn last_entry(files: &QueueFiles<'_>, end: QueueOffset) -> Result<Option<IndexEntry>, QueueError> {
    if end <= files.first() { Ok(None) } else { Ok(files.slot(QueueOffset(end.0 - 1))?.entry()) }
}
