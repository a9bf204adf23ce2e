//! What a record asks of the derived files: its entries in queues, and its keys in the index.

use gantry_codec::{
    properties::{self, DELAY, TAGS},
    record::{RecordError, RecordHead, sys_flag},
};

pub(crate) use crate::dispatch::{LIGHT_QUEUE_PREFIX, SCHEDULE_TOPIC};
use crate::{
    consume_queue::{IndexEntry, entry::SLOTS_MAX},
    dispatch::{DelayLevels, light_queues},
    index::{keys::RecordKeys, layout::TopicHash},
    offset::PhysicalOffset,
};

/// An entry that some queue should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedEntry<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue: u32,
    /// The place in the queue.
    pub(crate) slot: u64,
    pub(crate) entry: IndexEntry,
    /// When the record was stored.
    pub(crate) stored: i64,
    /// Whether the entry's code is a time of delivery.
    pub(crate) is_delayed: bool,
}

/// Gives `f` the entries that the record at `offset` should have.
pub(crate) fn expected_entries<'a>(
    head: &RecordHead,
    bytes: &'a [u8],
    offset: u64,
    f: &mut dyn FnMut(ExpectedEntry<'a>),
) -> Result<(), RecordError> {
    let (topic, text) = (head.topic(bytes)?, head.properties(bytes)?);
    // Half messages and rollbacks are in no queue.
    if !matches!(head.sys_flag & sys_flag::TRANSACTION, 0 | sys_flag::COMMIT) {
        return Ok(());
    }
    let bad = RecordError::Place { queue: head.queue_id, offset: head.queue_offset };
    let queue = u32::try_from(head.queue_id).map_err(|_| bad)?;
    let slot = u64::try_from(head.queue_offset).map_err(|_| bad)?;
    if slot >= SLOTS_MAX {
        return Err(bad);
    }
    let tag = properties::get(text, TAGS).map_or(0, |tag| properties::tag_hash(tag).into());
    let level = properties::get(text, DELAY).and_then(|level| level.parse::<u32>().ok());
    let level = level.filter(|level| topic == SCHEDULE_TOPIC && *level > 0);
    let code = level.map_or(tag, |level| {
        head.store_timestamp.saturating_add(DelayLevels::usual().delay_ms(level))
    });
    let entry =
        IndexEntry { offset: PhysicalOffset(offset), size: head.total_size, tags_code: code };
    f(ExpectedEntry {
        topic,
        queue,
        slot,
        entry,
        stored: head.store_timestamp,
        is_delayed: level.is_some(),
    });
    for (topic, place) in light_queues(topic, text) {
        let (slot, stored) = (place.0, head.store_timestamp);
        f(ExpectedEntry { topic, queue: 0, slot, entry, stored, is_delayed: false });
    }
    Ok(())
}

/// The hash under which gantry, and Java from 5.4 on, index the tag of a record.
pub(crate) fn tag_key(head: &RecordHead, bytes: &[u8]) -> Option<u32> {
    let (topic, text) = (head.topic(bytes).ok()?, head.properties(bytes).ok()?);
    RecordKeys::of(text).tag_hash(TopicHash::new(topic))
}

/// Gives `f` the hashes of the record's keys without its tag, in the order in which the index gets them.
pub(crate) fn expected_keys(
    head: &RecordHead,
    bytes: &[u8],
    f: &mut dyn FnMut(u32),
) -> Result<(), RecordError> {
    if head.sys_flag & sys_flag::TRANSACTION == sys_flag::ROLLBACK {
        return Ok(());
    }
    let (topic, keys) =
        (TopicHash::new(head.topic(bytes)?), RecordKeys::of(head.properties(bytes)?));
    keys.key_hashes(topic).for_each(f);
    Ok(())
}
