//! The queues that a store has on disk, by the names of their folders.
//!
//! Looks at names only; what takes reading is asked of all queues at a time, on as many threads as there
//! are cores.
//! Failure policy: an error is the caller's, and nothing has changed.

use std::{path::PathBuf, sync::Arc, thread};

use super::super::{
    OpenError, io_error,
    settle::{Ask, confirmed_end, last_entry},
};
use crate::{
    consume_queue::{ConsumeQueueConfig, QueueError, files::QueueFiles},
    disk::Disk,
    offset::{PhysicalOffset, QueueId},
};

/// One queue of the set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub queue: QueueId,
}

/// The names of queues found on disk, and what earlier lives wrote down of them.
pub(in crate::store) struct Found {
    pub(super) names: Vec<QueueName>,
    rocks: Option<PathBuf>,
}

impl Found {
    /// Looks for queues. Folders whose names are no numbers are passed over.
    pub(in crate::store) fn list(
        disk: &dyn Disk,
        config: &ConsumeQueueConfig,
    ) -> Result<Self, OpenError> {
        let mut found = Self { names: Vec::new(), rocks: None };
        for (topic, len) in disk.list(&config.dir).map_err(|e| io_error(&config.dir, e))? {
            let topic_dir = config.dir.join(&topic);
            if len.is_some() {
                found.rocks = found.rocks.or(topic.ends_with(".sst").then_some(topic_dir));
                continue;
            }
            let topic: Arc<str> = topic.into();
            for (name, len) in disk.list(&topic_dir).map_err(|e| io_error(&topic_dir, e))? {
                if let (None, Ok(id)) = (len, name.parse()) {
                    found.names.push(QueueName { topic: topic.clone(), queue: QueueId(id) });
                }
            }
        }
        match found.rocks {
            Some(path) => Err(OpenError::RocksDb { path: path.display().to_string() }),
            None => Ok(found),
        }
    }

    /// How many queues there are.
    pub(in crate::store) fn len(&self) -> usize {
        self.names.len()
    }

    /// The end of the newest record that a queue has an entry for, if the entry is one of the log.
    pub(in crate::store) fn indexed_end(
        &self,
        disk: &dyn Disk,
        config: &ConsumeQueueConfig,
        limit: PhysicalOffset,
        ask: &Ask<'_>,
    ) -> Result<Option<PhysicalOffset>, QueueError> {
        let newest = |name: &QueueName| {
            let files = name.files(disk, config)?;
            let end = confirmed_end(&files, limit, |at, entry| ask(name, at, entry))?;
            Ok(last_entry(&files, end)?.map(|entry| entry.end()))
        };
        Ok(in_parallel(&self.names, newest)?.into_iter().flatten().max())
    }

    /// Whether the files of the first queue that has some can be of this configuration: that another
    /// size is configured is told at start, however many queues there are.
    pub(in crate::store) fn check_layout(
        &self,
        disk: &dyn Disk,
        config: &ConsumeQueueConfig,
    ) -> Result<(), QueueError> {
        for name in &self.names {
            if !name.files(disk, config)?.starts().is_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl QueueName {
    pub(super) fn files<'a>(
        &self,
        disk: &'a dyn Disk,
        config: &ConsumeQueueConfig,
    ) -> Result<QueueFiles<'a>, QueueError> {
        QueueFiles::list(disk, config, &self.dir(config))
    }

    pub(super) fn dir(&self, config: &ConsumeQueueConfig) -> PathBuf {
        config.queue_dir(&self.topic, self.queue)
    }
}

/// Calls `f` for all of `items`, on as many threads as there are cores.
pub(super) fn in_parallel<'a, T: Sync, R: Send, E: Send>(
    items: &'a [T],
    f: impl Fn(&'a T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(threads).max(64);
    let mut results = Vec::with_capacity(items.len());
    thread::scope(|scope| {
        let mut parts = items.chunks(share);
        let own = parts.next().unwrap_or_default();
        let others: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().map(&f).collect::<Result<Vec<R>, E>>()))
            .collect();
        for item in own {
            results.push(f(item)?);
        }
        for other in others {
            match other.join() {
                Ok(part) => results.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
    .map(|()| results)
}
