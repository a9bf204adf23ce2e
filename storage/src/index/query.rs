//! From a key to the messages that have it.
//!
//! The index says where records with a hash are, the records themselves say whether they have the key:
//! another key may have the same hash, and the record may be gone. Java answers with whatever the index
//! gives; here only messages that have the key are given, and count against the limit.
//!
//! Times are those of the index, which are right to a second: as in Java a message is found up to a
//! second after the end of the span, and, which it is not in Java, in the very first second too.

use std::collections::BTreeMap;

use gantry_codec::record;

use super::{Index, keys::RecordKeys, layout::TopicHash};
use crate::{commit_log::CommitLog, offset::PhysicalOffset, segment::SegmentSlice};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKey<'a> {
    /// The producer's id of a message, or a word of its keys.
    Key(&'a str),
    /// The tag.
    Tag(&'a str),
}

/// A query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyQuery<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The key in it.
    pub key: QueryKey<'a>,
    /// Stored at this time or later, ms.
    pub begin: i64,
    /// Stored at this time or earlier, ms.
    pub end: i64,
    /// So many messages at most, the newest ones.
    pub messages_max: usize,
    /// So many bytes at most. One message is always given.
    pub bytes_max: u64,
}

/// The messages that the query is for, in the order of the log.
pub fn find_by_key(index: &Index, log: &CommitLog, query: &KeyQuery<'_>) -> Vec<SegmentSlice> {
    let topic = TopicHash::new(query.topic);
    let hash = match query.key {
        QueryKey::Key(key) => topic.of(key),
        QueryKey::Tag(tag) => topic.of_tag(tag),
    };
    let (mut found, mut bytes) = (BTreeMap::<PhysicalOffset, SegmentSlice>::new(), 0);
    if query.messages_max == 0 {
        return Vec::new();
    }
    index.walk(hash, (query.begin, query.end), |offset, time| {
        if time > query.end || found.contains_key(&offset) {
            return true;
        }
        let Some(record) = record_with_key(log, offset, time, query) else { return true };
        bytes += record.len() as u64;
        if bytes > query.bytes_max && !found.is_empty() {
            return false;
        }
        found.insert(offset, record);
        found.len() < query.messages_max
    });
    found.into_values().collect()
}

fn record_with_key(
    log: &CommitLog,
    offset: PhysicalOffset,
    time: i64,
    query: &KeyQuery<'_>,
) -> Option<SegmentSlice> {
    let record = log.record_at(offset)?;
    let head = record::decode_head(&record).ok()?;
    let keys = RecordKeys::of(head.properties(&record).ok()?);
    let has_key = match query.key {
        QueryKey::Key(key) => keys.has(key),
        QueryKey::Tag(tag) => keys.has_tag(tag),
    };
    let is_in_time = time.max(head.store_timestamp) >= query.begin;
    let is_of_topic = head.topic(&record) == Ok(query.topic);
    (has_key && is_in_time && is_of_topic).then_some(record)
}
