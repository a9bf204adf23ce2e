//! Queues of topics that do not exist: left by a topic that was deleted while its queues could not be,
//! or by another broker.

use gantry_storage::{Disk, LIGHT_QUEUE_PREFIX, Store};
use slog::{Logger, info};

use crate::topic::{TopicTable, names::is_system_topic};

/// Removes the folders of queues whose names are those of no topic; which they were. Those of the system
/// stay (store.md 4.7, wire.md 5.1).
pub(super) fn remove(
    disk: &dyn Disk,
    store: &Store,
    topics: &TopicTable,
    log: &Logger,
) -> Result<Vec<String>, String> {
    let dir = &store.config().queues.dir;
    let listed = disk.list(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut removed = Vec::new();
    for (topic, _) in listed.into_iter().filter(|(_, len)| len.is_none()) {
        let belongs = topic.starts_with(LIGHT_QUEUE_PREFIX) || is_system_topic(&topic);
        if belongs || topics.get(&topic).is_some() {
            continue;
        }
        for dir in [dir, &store.config().queues.ext.dir] {
            let path = dir.join(&topic);
            disk.remove_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        store.forget_queues(&topic);
        info!(log, "queues of an unused topic removed"; "topic" => &topic);
        removed.push(topic);
    }
    Ok(removed)
}
