//! Queues of topics that do not exist: left by a topic that was deleted while its queues could not be,
//! or by another broker.

use std::path::Path;

use gantry_storage::Disk;
use slog::{Logger, info};

use crate::topic::{TopicTable, names::is_system_topic};

/// Queues with this prefix belong to no topic of their own.
const LIGHT_QUEUE_PREFIX: &str = "%LMQ%";

/// Removes the folders below `dir` whose names are those of no topic; which they were. Those of the
/// system stay (store.md 4.7, wire.md 5.1).
pub(super) fn remove(
    disk: &dyn Disk,
    dir: &Path,
    topics: &TopicTable,
    log: &Logger,
) -> Result<Vec<String>, String> {
    let listed = disk.list(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut removed = Vec::new();
    for (topic, _) in listed.into_iter().filter(|(_, len)| len.is_none()) {
        let belongs = topic.starts_with(LIGHT_QUEUE_PREFIX) || is_system_topic(&topic);
        if belongs || topics.get(&topic).is_some() {
            continue;
        }
        let path = dir.join(&topic);
        disk.remove_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        info!(log, "queues of an unused topic removed"; "topic" => &topic);
        removed.push(topic);
    }
    Ok(removed)
}
