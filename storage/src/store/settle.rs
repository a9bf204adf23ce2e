//! Where a queue really ends: the rules, apart from the set of queues.
//!
//! A queue's end is found by a search over its slots. A store that a Java broker wrote may have stale
//! slots there, because Java cuts a queue by forgetting and not by clearing; a loss of power may leave
//! entries of records that were lost, and holes before them. Both are told by the log, in which they do
//! not name a record of that queue with that offset. Of an entry whose record went with its file the log
//! knows nothing, so the entry before has to vouch for it: places in the log rise along a queue, and half
//! a slot, which a loss of power may leave behind the end, names a place that is too early.

use gantry_codec::record::{self, RecordHead};

use super::queue_set::QueueName;
pub(super) use crate::dispatch::LIGHT_QUEUE_PREFIX;
use crate::{
    commit_log::CommitLog,
    consume_queue::{IndexEntry, QueueError, entry::Slot, files::QueueFiles},
    dispatch::light_queues,
    offset::{PhysicalOffset, QueueOffset},
};

/// A queue in which a Java broker once missed an entry has all later ones too early: so many of them in
/// a row, or all there are, are taken for that and not for stale ones.
const SHIFTED_RUN_MIN: u64 = 4096;

/// What the log says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has the record that the entry names.
    Confirmed,
    /// It has a record of that queue there, with another offset in the queue.
    Shifted,
    /// It begins behind that place.
    Gone,
    /// It has no such record.
    Refuted,
}

/// Asks the log about an entry of a queue.
pub(super) type Ask<'a> = dyn Fn(&QueueName, QueueOffset, &IndexEntry) -> Verdict + Sync + 'a;

/// One past the last entry that the log confirms and whose record starts before `limit`.
pub(super) fn confirmed_end(
    files: &QueueFiles<'_>,
    limit: PhysicalOffset,
    ask: impl Fn(QueueOffset, &IndexEntry) -> Verdict,
) -> Result<QueueOffset, QueueError> {
    let end = files.end_before(limit)?;
    let mut shifted = None;
    for last in (files.first().0..end.0).rev().map(QueueOffset) {
        if shifted.is_some_and(|end: QueueOffset| end.since(last) > SHIFTED_RUN_MIN) {
            break;
        }
        let verdict = match files.slot(last)? {
            // Behind a hole, nothing was ever relied on.
            Slot::Unused => Verdict::Refuted,
            Slot::PreBlank => Verdict::Confirmed,
            Slot::Entry(entry) => ask(last, &entry),
        };
        match verdict {
            Verdict::Confirmed => return Ok(last.plus(1)),
            Verdict::Gone if is_vouched_for(files, last)? => return Ok(last.plus(1)),
            Verdict::Shifted => shifted = shifted.or(Some(last.plus(1))),
            Verdict::Gone | Verdict::Refuted => {}
        }
    }
    Ok(shifted.unwrap_or(files.first()))
}

/// Whether the entry's record lies behind that of the entry before, if there is one.
fn is_vouched_for(files: &QueueFiles<'_>, offset: QueueOffset) -> Result<bool, QueueError> {
    if offset <= files.first() {
        return Ok(true);
    }
    let before = files.slot(QueueOffset(offset.0 - 1))?;
    Ok(match (before, files.slot(offset)?.entry()) {
        (Slot::Entry(before), Some(entry)) => before.end() <= entry.offset,
        (before, _) => before == Slot::PreBlank,
    })
}

/// The entry before `end`, if it is one.
pub(super) fn last_entry(
    files: &QueueFiles<'_>,
    end: QueueOffset,
) -> Result<Option<IndexEntry>, QueueError> {
    if end <= files.first() { Ok(None) } else { Ok(files.slot(QueueOffset(end.0 - 1))?.entry()) }
}

/// Asks `log`.
pub(super) fn ask_log(
    log: &CommitLog,
    name: &QueueName,
    offset: QueueOffset,
    entry: &IndexEntry,
) -> Verdict {
    if entry.offset < log.min_offset() {
        return Verdict::Gone;
    }
    let asked = log.with_rest(entry.offset, |bytes| {
        record::decode_head(bytes)
            .map_or(Verdict::Refuted, |head| compare(name, offset, entry, &head, bytes))
    });
    asked.unwrap_or(Verdict::Refuted)
}

/// Compares an entry with the record that lies where it points.
pub(super) fn compare(
    name: &QueueName,
    offset: QueueOffset,
    entry: &IndexEntry,
    head: &RecordHead,
    bytes: &[u8],
) -> Verdict {
    if head.total_size != entry.size {
        Verdict::Refuted
    } else if name.topic.starts_with(LIGHT_QUEUE_PREFIX) {
        compare_light(name, offset, head, bytes)
    } else if head.queue_id as u32 != name.queue.0 || head.topic(bytes) != Ok(&*name.topic) {
        Verdict::Refuted
    } else if head.queue_offset as u64 != offset.0 {
        Verdict::Shifted
    } else {
        Verdict::Confirmed
    }
}

/// Compares the place in a light queue with those that the record names.
fn compare_light(
    name: &QueueName,
    offset: QueueOffset,
    head: &RecordHead,
    bytes: &[u8],
) -> Verdict {
    let (Ok(topic), Ok(text)) = (head.topic(bytes), head.properties(bytes)) else {
        return Verdict::Refuted;
    };
    let mut places = light_queues(topic, text).filter(|(light, _)| **light == *name.topic);
    match places.next() {
        Some((_, place)) if place == offset => Verdict::Confirmed,
        Some(_) => Verdict::Shifted,
        None => Verdict::Refuted,
    }
}
