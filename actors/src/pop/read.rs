//! Reading a queue for a pop: what is given out, and up to where the queue is then read.
//!
//! Works on the published views, on any thread. Messages leave as slices of the mapped log; only those
//! of a retry topic are written anew, since clients know them by the topic that they asked for and
//! find the pop in their `POP_CK`.

use bytes::Bytes;
use gantry_codec::{
    Record,
    pop::{ExtraInfo, TopicMark},
    properties as names,
    record::decode_head,
};
use gantry_storage::{
    CommitLog, ConsumeQueueView, PullLimits, PullOutcome, PullStatus, QueueOffset, is_cold,
};

use super::ledger::Span;
use crate::{
    expiry::{self, Expired, Lifetime, Living},
    session::MessageFilter,
};

/// How often one look goes on behind messages that the filter refuses. More are left to a thread that may
/// take its time.
const ROUNDS_HOT: u32 = 8;
/// The same for such a thread.
const ROUNDS_COLD: u32 = 1000;

/// What a pop wants of a queue.
#[derive(Clone)]
pub struct Wanted {
    /// Where to read.
    pub span: Span,
    /// As many messages at most.
    pub messages_max: u32,
    /// `None`: every message.
    pub filter: Option<MessageFilter>,
    /// How long messages live, and what time it is; `None`: they do not expire.
    pub lifetime: Option<(Lifetime, i64)>,
}

/// What a read brings.
#[derive(Debug, Default)]
pub struct Found {
    /// Everything before this has been read.
    pub read_to: u64,
    /// Everything before this is gone from the queue.
    pub begins_at: u64,
    /// The queue's end.
    pub end: u64,
    /// The queue ends before the offset asked for: it was made anew.
    pub is_beyond: bool,
    /// The messages' offsets in rising order.
    pub offsets: Vec<u64>,
    /// The messages.
    pub pieces: Vec<Bytes>,
    /// What is wrong with messages that were passed over: offset and reason.
    pub damaged: Vec<(u64, String)>,
    /// What would have been given out, and has expired.
    pub expired: Vec<Expired>,
}

/// A look into a queue.
#[derive(Debug)]
pub enum Look {
    /// It has been read.
    Found(Found),
    /// It may have to wait for the disk, or takes long: [`read_patiently`].
    Cold,
}

/// Reads if that needs no disk.
pub fn look(
    view: &ConsumeQueueView,
    log: &CommitLog,
    limits: &PullLimits,
    wanted: &Wanted,
) -> Look {
    let is_cold = |from| is_cold(view, log, QueueOffset(from), limits);
    if is_cold(wanted.span.from) {
        return Look::Cold;
    }
    let (found, is_done) = read(view, log, limits, wanted, ROUNDS_HOT, is_cold);
    if is_done { Look::Found(found) } else { Look::Cold }
}

/// Reads whatever it takes, for a thread that may wait.
pub fn read_patiently(
    view: &ConsumeQueueView,
    log: &CommitLog,
    limits: &PullLimits,
    wanted: &Wanted,
) -> Found {
    read(view, log, limits, wanted, ROUNDS_COLD, |_| false).0
}

/// Goes on while there is nothing for the group and no reason to stop; whether it came to an end.
fn read(
    view: &ConsumeQueueView,
    log: &CommitLog,
    limits: &PullLimits,
    wanted: &Wanted,
    rounds: u32,
    stops_at: impl Fn(u64) -> bool,
) -> (Found, bool) {
    let mut found = Found { read_to: wanted.span.from, ..Found::default() };
    for _ in 0..rounds {
        if stops_at(found.read_to) {
            return (found, false);
        }
        let is_last = round(view, log, limits, wanted, &mut found);
        if is_last || wanted.span.end.is_some_and(|end| found.read_to >= end) {
            return (found, true);
        }
    }
    (found, false)
}

/// One read of the queue; whether it was the last that is needed.
fn round(
    view: &ConsumeQueueView,
    log: &CommitLog,
    limits: &PullLimits,
    wanted: &Wanted,
    found: &mut Found,
) -> bool {
    let from = found.read_to;
    let room = wanted.span.end.map_or(u64::from(wanted.messages_max), |end| end - from);
    let messages_max = wanted.messages_max.min(u32::try_from(room).unwrap_or(u32::MAX));
    let limits = PullLimits { messages_max, ..*limits };
    let living = wanted.lifetime.map(|(lifetime, now)| Living::new(lifetime, now));
    let filter = wanted.filter.as_ref();
    let outcome = expiry::read(view, log, QueueOffset(from), &limits, filter, living.as_ref());
    if let Some(living) = living {
        let within = |one: &Expired| wanted.span.end.is_none_or(|end| one.offset < end);
        found.expired.extend(living.into_expired().into_iter().filter(within));
    }
    found.end = outcome.max_offset.0;
    found.begins_at = outcome.min_offset.0;
    let next = outcome.next_begin_offset.0;
    match outcome.status {
        PullStatus::Found => {
            found.read_to = next;
            take(&outcome, wanted.span.end, found);
            !found.offsets.is_empty()
        }
        PullStatus::OffsetOverflowOne => true,
        PullStatus::OffsetOverflowBadly | PullStatus::NoMessageInQueue => {
            found.is_beyond = from > found.end;
            found.read_to = found.end;
            true
        }
        PullStatus::MessageDamaged => {
            let why = outcome.damage.map(|damage| damage.to_string()).unwrap_or_default();
            found.damaged.push((from, why));
            found.read_to = next;
            next <= from
        }
        PullStatus::NoMatchedMessage
        | PullStatus::MessageWasRemoving
        | PullStatus::OffsetFoundNull
        | PullStatus::OffsetTooSmall => {
            found.read_to = next;
            next <= from
        }
    }
}

/// Takes the messages over, those before `end` alone.
fn take(outcome: &PullOutcome, end: Option<u64>, found: &mut Found) {
    let within = |offset: u64| end.is_none_or(|end| offset < end);
    let offset_of = |record: &[u8]| decode_head(record).ok().map(|head| head.queue_offset as u64);
    let all: Vec<_> = outcome.records().map(|(_, record)| offset_of(record)).collect();
    if all.iter().all(|offset| offset.is_some_and(within)) {
        found.offsets.extend(all.into_iter().flatten());
        found.pieces.extend(outcome.slices.iter().map(|slice| slice.clone().into_bytes()));
        return;
    }
    for (_, record) in outcome.records() {
        if let Some(offset) = offset_of(record).filter(|offset| within(*offset)) {
            found.offsets.push(offset);
            found.pieces.push(Bytes::copy_from_slice(record));
        }
    }
    if let Some(end) = end {
        found.read_to = found.read_to.min(end);
    }
}

/// A retried message as clients know it: of the topic that they asked for, with the pop that it comes
/// from. One that cannot be read stays as it is.
pub fn as_asked_for(bytes: &Bytes, topic: &str, pop: &ExtraInfo<'_>) -> Vec<Bytes> {
    let mut rest = bytes.clone();
    let mut pieces = Vec::new();
    while let Some((len, _)) = gantry_codec::record::record_len(&rest) {
        if len == 0 || len > rest.len() {
            break;
        }
        let record = rest.split_to(len);
        pieces.push(rewritten(&record, topic, pop).unwrap_or(record));
    }
    pieces
}

fn rewritten(bytes: &Bytes, topic: &str, pop: &ExtraInfo<'_>) -> Option<Bytes> {
    let record = Record::decode(bytes).ok()?;
    let mut properties = record.properties.to_owned();
    if names::get(&properties, names::POP_CK).is_none() {
        let pop = ExtraInfo { offset: Some(record.queue_offset), ..pop.clone() };
        names::append(&mut properties, names::POP_CK, &pop.to_string());
    }
    if properties.len() > gantry_codec::record::PROPERTIES_BYTES_MAX {
        return None;
    }
    let record = Record { topic, properties: &properties, ..record };
    let mut out = vec![0; record.encoded_len()];
    record.write_to(&mut out);
    Some(out.into())
}

/// The topics that a pop of `topic` by `group` reads: that itself, and those of the group's retries.
pub fn topics_of(topic: &str, group: &str) -> [(TopicMark, String); 3] {
    [TopicMark::Normal, TopicMark::Retry, TopicMark::RetryV2]
        .map(|mark| (mark, mark.real_topic(topic, group)))
}

/// The topic that was asked for when a group pops from a retry topic of its own.
pub fn asked_topic<'a>(retry_topic: &'a str, group: &str) -> Option<&'a str> {
    let rest = retry_topic.strip_prefix(crate::topic::names::RETRY_PREFIX)?.strip_prefix(group)?;
    rest.strip_prefix(['_', '+'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str, properties: &str) -> Bytes {
        let record = Record {
            queue_id: 0,
            flag: 7,
            queue_offset: 42,
            physical_offset: 9000,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "10.0.0.1:1".parse().unwrap(),
            store_timestamp: 2,
            store_host: "10.0.0.2:2".parse().unwrap(),
            reconsume_times: 3,
            prepared_transaction_offset: 0,
            body_crc: gantry_codec::body_crc(b"body"),
            body: b"body",
            topic,
            properties,
        };
        let mut out = vec![0; record.encoded_len()];
        record.write_to(&mut out);
        out.into()
    }

    #[test]
    fn retried_messages_carry_their_pop_and_the_topic_asked_for() {
        let mut two = record("%RETRY%g_t", "KEYS\u{1}k\u{2}").to_vec();
        two.extend_from_slice(&record("%RETRY%g_t", "POP_CK\u{1}kept\u{2}"));
        let pop = ExtraInfo {
            start_offset: 40,
            pop_time: 5,
            invisible_time: 6,
            mark: TopicMark::Retry,
            broker_name: "b",
            ..ExtraInfo::default()
        };
        let pieces = as_asked_for(&two.into(), "t", &pop);
        let records: Vec<_> = pieces.iter().map(|piece| Record::decode(piece).unwrap()).collect();
        let pop_of = |place: usize| names::get(records[place].properties, names::POP_CK).unwrap();
        assert_eq!((records.len(), records[0].topic, records[0].body), (2, "t", &b"body"[..]));
        assert_eq!(pop_of(0), "40 5 6 0 1 b 0 42");
        assert_eq!(pop_of(1), "kept");
        assert_eq!((records[0].queue_offset, records[0].physical_offset), (42, 9000));
    }

    #[test]
    fn retry_topics_belong_to_a_topic() {
        assert_eq!(asked_topic("%RETRY%g_t", "g"), Some("t"));
        assert_eq!(asked_topic("%RETRY%g+t_1", "g"), Some("t_1"));
        assert_eq!(asked_topic("%RETRY%g", "g"), None);
        assert_eq!(asked_topic("t", "g"), None);
    }
}
