//! Filling windows with what was stored before the process began: from the queues, which the start has brought
//! up to the log's end, by store time.
//!
//! Read are the queues of topics with a window, and those of the broker where messages wait for their time and
//! are not in their topic yet. Of each queue only what is within the longest window, and no more than a window
//! remembers: a start that reads more than that would be slow for nothing.

use std::{collections::HashMap, sync::Arc};

use gantry_codec::{Record, properties as names};
use gantry_storage::{Boundary, CommitLog, ConsumeQueueView, QueueOffset, offset_by_time};

use super::{Key, Window};
use crate::topic::{
    Queues, TopicTable, TopicView,
    names::{HALF_TOPIC, SCHEDULE_TOPIC, WHEEL_TIMER_TOPIC},
};

/// Where messages wait that are for another topic.
const WAITING: [&str; 3] = [SCHEDULE_TOPIC, HALF_TOPIC, WHEEL_TIMER_TOPIC];

/// Fills all windows as of `now_ms`; how many keys they remember. The caller may wait for the disk.
pub fn refill(topics: &TopicTable, queues: &Queues, log: &CommitLog, now_ms: i64) -> usize {
    let topics = topics.all();
    let windows: HashMap<&str, &Arc<Window>> =
        topics.iter().filter_map(|(name, view)| Some((&**name, view.window.as_ref()?))).collect();
    let (Some(window_ms), Some(max)) = (
        windows.values().map(|window| window.settings.window_ms).max(),
        windows.values().map(|window| window.settings.keys_max).max(),
    ) else {
        return 0;
    };
    let since = now_ms.saturating_sub(window_ms);
    let mut found: HashMap<&str, Vec<Key>> = HashMap::new();
    let mut walk = |view: &TopicView| {
        for queue in view.queues.iter().filter_map(|slot| queues.view(slot)) {
            each_record(&queue, log, since, max as u64, |record| {
                let window = windows.get(target(record)).filter(|window| window.is_for(record));
                let key = window.and_then(|window| key_of(window, record, now_ms));
                if let Some((window, key)) = window.zip(key) {
                    found.entry(&window.topic).or_default().push(key);
                }
            });
        }
    };
    let waiting = WAITING.iter().filter_map(|name| topics.get(*name));
    let own = windows.keys().filter_map(|name| topics.get(*name));
    waiting.chain(own).for_each(|view| walk(view));
    let mut count = 0;
    for (topic, mut keys) in found {
        let Some(window) = windows.get(topic) else { continue };
        keys.sort_unstable_by_key(|key| key.at);
        let mut remembered = window.keys();
        for key in keys {
            remembered.insert(key, window.settings.keys_max);
        }
        count += remembered.len();
    }
    count
}

/// The topic that a record is for.
fn target<'a>(record: &Record<'a>) -> &'a str {
    match WAITING.contains(&record.topic) {
        true => names::get(record.properties, names::REAL_TOPIC).unwrap_or_default(),
        false => record.topic,
    }
}

fn key_of(window: &Window, record: &Record<'_>, now_ms: i64) -> Option<Key> {
    let stored_ms = record.store_timestamp;
    if stored_ms <= now_ms.saturating_sub(window.settings.window_ms) {
        return None;
    }
    let hash = Key::hash_of(window.key_in(record.properties)?);
    let at = gantry_storage::PhysicalOffset(record.physical_offset as u64);
    Some(Key { stored_ms, hash, at })
}

/// The last records of a queue, `max` at most, that were stored at `since` or later.
fn each_record(
    queue: &ConsumeQueueView,
    log: &CommitLog,
    since: i64,
    max: u64,
    mut f: impl FnMut(&Record<'_>),
) {
    let end = queue.max_offset();
    let from = offset_by_time(queue, log, since, Boundary::Lower);
    let mut next = from.max(QueueOffset(end.0.saturating_sub(max)));
    while next < end {
        let behind = queue.each(next, end.since(next), |_, entry| {
            log.with_rest(entry.offset, |bytes| {
                if let Ok(record) = Record::decode(bytes) {
                    f(&record);
                }
            });
            true
        });
        // A slot without entry holds no message, and the others follow.
        next = if behind == next { next.plus(1) } else { behind };
    }
}
