//! The property string of a message: `name 0x01 value 0x02 name 0x01 value 0x02 …`.
//!
//! Order is free and there are no escapes: 1 and 2 cannot stand in names or values. The last pair may
//! lack its end. Readers of 4.9 and later drop a pair without name or value and split at the first
//! separator; so do the functions here. Appending never touches what is there, so that unknown
//! properties of clients stay as they came.

use memchr::memchr;

/// Ends a name.
pub const NAME_END: char = '\u{1}';
/// Ends a pair.
pub const PAIR_END: char = '\u{2}';

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
    };
}

names! {
    /// The message's tag, for filters.
    TAGS = "TAGS",
    /// Keys for queries, separated by blanks.
    KEYS = "KEYS",
    /// The producer's id of the message.
    UNIQ_KEY = "UNIQ_KEY",
    /// `false`: do not wait for flush and replica.
    WAIT = "WAIT",
    /// The delay level.
    DELAY = "DELAY",
    /// Deliver after so many seconds.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC",
    /// Deliver after so many milliseconds.
    TIMER_DELAY_MS = "TIMER_DELAY_MS",
    /// Deliver at this time, ms.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS",
    /// Timer store: when the message is due.
    TIMER_OUT_MS = "TIMER_OUT_MS",
    /// Timer store: when it went in.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS",
    /// Timer store: when it came out.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS",
    /// Timer store: how often it went round.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES",
    /// Timer store: which message to forget.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY",
    /// The topic that a delayed or half message is meant for.
    REAL_TOPIC = "REAL_TOPIC",
    /// The queue that it is meant for.
    REAL_QID = "REAL_QID",
    /// `true`: a half message.
    TRAN_MSG = "TRAN_MSG",
    /// The producer's group, for the end of a transaction.
    PGROUP = "PGROUP",
    /// Do not check the transaction before so many seconds.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS",
    /// How often the transaction was checked.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES",
    /// The queue offset of the first copy of a half message.
    TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET",
    /// The transaction's id.
    TRANSACTION_ID = "__transactionId__",
    /// The topic of a message that was given back.
    RETRY_TOPIC = "RETRY_TOPIC",
    /// The id of its first copy.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID",
    /// How often it was given back, from a client that does so by a send.
    RECONSUME_TIME = "RECONSUME_TIME",
    /// How often at most, likewise.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES",
    /// The topic of a dead letter.
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC",
    /// The id of a dead letter's origin.
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID",
    /// The cluster, set by the broker.
    CLUSTER = "CLUSTER",
    /// The broker's region, set by the broker.
    MSG_REGION = "MSG_REGION",
    /// The broker's trace switch, set by the broker.
    TRACE_ON = "TRACE_ON",
    /// Request-reply: ties a reply to its request.
    CORRELATION_ID = "CORRELATION_ID",
    /// Request-reply: the requester's client id.
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT",
    /// Request-reply: how long the requester waits.
    TTL = "TTL",
    /// Request-reply: `reply`.
    MSG_TYPE = "MSG_TYPE",
    /// Request-reply: when the broker pushed the reply.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME",
    /// Namespace of the client.
    INSTANCE_ID = "INSTANCE_ID",
    /// The key by which the producer chose the queue.
    SHARDING_KEY = "__SHARDINGKEY",
    /// The message's priority, from 0 on; a higher one is more urgent.
    PRIORITY = "_SYS_MSG_PRIORITY_",
    /// Which pop the message came from.
    POP_CK = "POP_CK",
    /// When it was popped first.
    FIRST_POP_TIME = "1ST_POP_TIME",
    /// How many messages are in an inner batch.
    INNER_NUM = "INNER_NUM",
    /// The queue offset of an inner batch.
    INNER_BASE = "INNER_BASE",
    /// More queues for the message.
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH",
    /// Its offsets there.
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET",
    /// Checksum of the whole record.
    CRC32 = "__CRC32#",
    /// Ours: how long the message is delivered, in ms, counted from when it got into its queue.
    GANTRY_TTL_MS = "GANTRY_TTL_MS",
    /// Ours: from when on it is not delivered, ms since 1970; goes before [`GANTRY_TTL_MS`].
    GANTRY_EXPIRES_MS = "GANTRY_EXPIRES_MS",
    /// Ours: when a dead letter had expired, ms since 1970.
    GANTRY_EXPIRED_MS = "GANTRY_EXPIRED_MS",
}

/// The value of a property; of several with this name, the last.
pub fn get<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = iter(properties).filter(|(found, _)| *found == name).last()?;
    Some(value)
}

/// All pairs that have a name and a value.
pub fn iter(properties: &str) -> Pairs<'_> {
    Pairs { rest: properties }
}

/// Iterator of [`iter`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = split(self.rest, PAIR_END).unwrap_or((self.rest, ""));
            self.rest = rest;
            match split(pair, NAME_END) {
                Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                    return Some((name, value));
                }
                _ => {}
            }
        }
        None
    }
}

fn split(text: &str, separator: char) -> Option<(&str, &str)> {
    let at = memchr(separator as u8, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Adds a property at the end; the pair before it gets its end if it lacks it.
pub fn append(properties: &mut String, name: &str, value: &str) {
    if !properties.is_empty() && !properties.ends_with(PAIR_END) {
        properties.push(PAIR_END);
    }
    properties.reserve(name.len() + value.len() + 2);
    properties.push_str(name);
    properties.push(NAME_END);
    properties.push_str(value);
    properties.push(PAIR_END);
}

/// The hash that stands for a tag in index entries and subscriptions: Java's `String.hashCode`,
/// over UTF-16 units. The empty tag has 0.
pub fn tag_hash(tag: &str) -> i32 {
    tag.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_with_and_without_the_last_separator() {
        for text in ["KEYS\u{1}k\u{2}TAGS\u{1}t\u{2}", "KEYS\u{1}k\u{2}TAGS\u{1}t"] {
            assert_eq!(get(text, TAGS), Some("t"));
            assert_eq!(get(text, KEYS), Some("k"));
            assert_eq!(get(text, "AGS"), None);
        }
    }

    #[test]
    fn broken_pairs_are_dropped() {
        let text = "\u{2}novalue\u{1}\u{2}\u{1}noname\u{2}none\u{2}a\u{1}b\u{1}c\u{2}";
        assert_eq!(iter(text).collect::<Vec<_>>(), [("a", "b\u{1}c")]);
    }

    #[test]
    fn appending_separates() {
        let mut text = String::new();
        append(&mut text, "a", "1");
        assert_eq!(text, "a\u{1}1\u{2}");
        let mut text = String::from("KEYS\u{1}k");
        append(&mut text, CLUSTER, "C");
        assert_eq!(text, "KEYS\u{1}k\u{2}CLUSTER\u{1}C\u{2}");
    }

    #[test]
    fn hashes_are_javas() {
        assert_eq!(tag_hash(""), 0);
        assert_eq!(tag_hash("TagA"), 2_598_919);
        assert_eq!(tag_hash("polygenelubricants"), i32::MIN);
        assert_eq!(tag_hash("😀"), 0xD83D * 31 + 0xDE00);
    }

    proptest! {
        #[test]
        fn appended_pairs_are_read_back(
            pairs in proptest::collection::vec(("[^\u{1}\u{2}]{1,8}", "[^\u{1}\u{2}]{1,8}"), 0..8)
        ) {
            let mut text = String::new();
            for (name, value) in &pairs {
                append(&mut text, name, value);
            }
            let read: Vec<_> = iter(&text).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_text_is_walked_to_its_end(text in "[ab\u{1}\u{2}é]{0,32}") {
            prop_assert!(iter(&text).count() <= text.len());
        }
    }
}
