//! What a record asks of the derived files: its entries in queues, and its keys in the index.

use gantry_codec::{
    properties::{self, DELAY, INNER_MULTI_DISPATCH, INNER_MULTI_QUEUE_OFFSET, TAGS},
    record::{RecordError, RecordHead, sys_flag},
};

use crate::{consume_queue::IndexEntry, index::layout::TopicHash, offset::PhysicalOffset};

/// The topic whose queues are the delay levels.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Queues of topics with this prefix refer to records of other topics.
pub(crate) const LIGHT_QUEUE_PREFIX: &str = "%LMQ%";
/// Entries with such a code refer to a unit of the queue's extension.
pub(crate) const EXT_ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// The delays of the levels, unless configured otherwise (`messageDelayLevel`), in ms.
const DELAYS_MS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/// An entry that some queue should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedEntry<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue: u32,
    /// The place in the queue.
    pub(crate) slot: u64,
    pub(crate) entry: IndexEntry,
    /// When the record was stored, if the entry's code is a time of delivery.
    pub(crate) delayed_since: Option<i64>,
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
    let tag = properties::get(text, TAGS).map_or(0, |tag| properties::tag_hash(tag).into());
    let level = properties::get(text, DELAY).and_then(|level| level.parse::<usize>().ok());
    let level = level.filter(|level| topic == SCHEDULE_TOPIC && *level > 0);
    let delay = level.map(|level| DELAYS_MS.get(level.min(DELAYS_MS.len()) - 1).copied());
    let code = delay.map_or(tag, |delay| head.store_timestamp + delay.unwrap_or(1_000));
    let entry =
        IndexEntry { offset: PhysicalOffset(offset), size: head.total_size, tags_code: code };
    f(ExpectedEntry {
        topic,
        queue: head.queue_id as u32,
        slot: head.queue_offset as u64,
        entry,
        delayed_since: level.map(|_| head.store_timestamp),
    });
    let (Some(queues), Some(slots)) = (
        properties::get(text, INNER_MULTI_DISPATCH),
        properties::get(text, INNER_MULTI_QUEUE_OFFSET),
    ) else {
        return Ok(());
    };
    for (topic, slot) in queues.split(',').zip(slots.split(',')) {
        if let (true, Ok(slot)) = (topic.starts_with(LIGHT_QUEUE_PREFIX), slot.parse()) {
            let entry = IndexEntry { tags_code: tag, ..entry };
            f(ExpectedEntry { topic, queue: 0, slot, entry, delayed_since: None });
        }
    }
    Ok(())
}

/// The hash under which Java 5.5 indexes the tag of a record; the older ones and gantry do not.
pub(crate) fn tag_key(head: &RecordHead, bytes: &[u8]) -> Option<u32> {
    let (topic, text) = (head.topic(bytes).ok()?, head.properties(bytes).ok()?);
    let tag = properties::get(text, TAGS)?;
    Some(TopicHash::new(topic).of(&format!("T#{tag}")))
}

/// Gives `f` the hashes of the record's keys, in the order in which the index gets them.
pub(crate) fn expected_keys(
    head: &RecordHead,
    bytes: &[u8],
    f: &mut dyn FnMut(u32),
) -> Result<(), RecordError> {
    if head.sys_flag & sys_flag::TRANSACTION == sys_flag::ROLLBACK {
        return Ok(());
    }
    let (topic, text) = (TopicHash::new(head.topic(bytes)?), head.properties(bytes)?);
    if let Some(key) = properties::get(text, properties::UNIQ_KEY) {
        f(topic.of(key));
    }
    if let Some(keys) = properties::get(text, properties::KEYS) {
        keys.split(' ').filter(|key| !key.is_empty()).for_each(|key| f(topic.of(key)));
    }
    Ok(())
}
