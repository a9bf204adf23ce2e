//! What a record asks of the derived files: its entries in queues, and its keys in the index.

use gantry_codec::{
    properties::{self, DELAY, INNER_MULTI_DISPATCH, INNER_MULTI_QUEUE_OFFSET, TAGS},
    record::{RecordError, RecordHead, sys_flag},
};

use thiserror::Error;

use crate::{
    consume_queue::{IndexEntry, entry::ENTRY_BYTES},
    index::layout::TopicHash,
    offset::PhysicalOffset,
};

/// The topic whose queues are the delay levels.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Queues of topics with this prefix refer to records of other topics.
pub(crate) const LIGHT_QUEUE_PREFIX: &str = "%LMQ%";
/// A queue cannot have more entries: bytes are counted by a signed number.
const SLOTS_MAX: u64 = i64::MAX as u64 / ENTRY_BYTES;

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
    /// When the record was stored.
    pub(crate) stored: i64,
    /// Whether the entry's code is a time of delivery.
    pub(crate) is_delayed: bool,
}

/// Why a record cannot be in a queue, whole as it is.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// Its texts are none.
    #[error(transparent)]
    Text(#[from] RecordError),
    /// No queue has such a number or such a place.
    #[error("queue {queue} and queue offset {offset}")]
    Place {
        /// The queue.
        queue: i32,
        /// The place.
        offset: i64,
    },
}

/// Gives `f` the entries that the record at `offset` should have.
pub(crate) fn expected_entries<'a>(
    head: &RecordHead,
    bytes: &'a [u8],
    offset: u64,
    f: &mut dyn FnMut(ExpectedEntry<'a>),
) -> Result<(), HeadError> {
    let (topic, text) = (head.topic(bytes)?, head.properties(bytes)?);
    // Half messages and rollbacks are in no queue.
    if !matches!(head.sys_flag & sys_flag::TRANSACTION, 0 | sys_flag::COMMIT) {
        return Ok(());
    }
    let bad = HeadError::Place { queue: head.queue_id, offset: head.queue_offset };
    let queue = u32::try_from(head.queue_id).map_err(|_| bad)?;
    let slot = u64::try_from(head.queue_offset).map_err(|_| bad)?;
    if slot >= SLOTS_MAX {
        return Err(bad);
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
        queue,
        slot,
        entry,
        stored: head.store_timestamp,
        is_delayed: level.is_some(),
    });
    let (Some(queues), Some(slots)) = (
        properties::get(text, INNER_MULTI_DISPATCH),
        properties::get(text, INNER_MULTI_QUEUE_OFFSET),
    ) else {
        return Ok(());
    };
    for (topic, slot) in queues.split(',').zip(slots.split(',')) {
        let slot = slot.parse().ok().filter(|slot| *slot < SLOTS_MAX);
        if let (true, Some(slot)) = (topic.starts_with(LIGHT_QUEUE_PREFIX), slot) {
            let entry = IndexEntry { tags_code: tag, ..entry };
            let stored = head.store_timestamp;
            f(ExpectedEntry { topic, queue: 0, slot, entry, stored, is_delayed: false });
        }
    }
    Ok(())
}

/// The hash under which gantry, and Java from 5.4 on, index the tag of a record.
pub(crate) fn tag_key(head: &RecordHead, bytes: &[u8]) -> Option<u32> {
    let (topic, text) = (head.topic(bytes).ok()?, head.properties(bytes).ok()?);
    let tag = properties::get(text, TAGS)?;
    Some(TopicHash::new(topic).of_tag(tag))
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
