//! The key look-up: answers queries by key from the index and the log.
//!
//! Lives on a thread of its own, as index and log may have to come from the disk: pages that are not in
//! memory are waited for here, and the answer is copied, so that connections never wait for them. An
//! answer is no larger than a frame that clients take, so copying costs no more memory than that.
//! Failure policy: restart empty; who had asked is told that the request was lost.

use actix::{Addr, Message};
use bytes::{Bytes, BytesMut};
use gantry_storage::{CommitLog, Index, KeyQuery, PhysicalOffset, QueryKey, find_by_key};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};

/// Bytes of messages in an answer: what clients take as one frame (16 MiB), less its header.
const ANSWER_BYTES_MAX: u64 = (16 << 20) - (64 << 10);

/// Find the messages with a key.
#[derive(Clone, Debug, Message)]
#[rtype(result = "KeyMatches")]
pub struct FindByKey {
    /// The topic.
    pub topic: String,
    /// The key, or the tag, in it.
    pub key: String,
    /// Whether it is a tag.
    pub is_tag: bool,
    /// Stored at this time or later, ms.
    pub begin: i64,
    /// Stored at this time or earlier, ms.
    pub end: i64,
    /// So many messages at most.
    pub messages_max: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyMatches {
    /// The messages, back to back, in the order of the log.
    pub records: Bytes,
    /// Store time of the newest indexed message, ms.
    pub last_timestamp: i64,
    /// Its place in the log.
    pub last_offset: PhysicalOffset,
    /// Bytes at the end of the log that are not indexed yet.
    pub behind: u64,
}

/// How queries are answered.
#[derive(Clone)]
pub struct KeyQueries {
    /// The actor; `None` if there is no index.
    pub lookup: Option<Addr<Shell<KeyLookup>>>,
    /// Messages in an answer at most.
    pub messages_max: usize,
    /// Messages in an answer to a query by unique key, whatever it asks for.
    pub unique_messages_max: usize,
}

/// See the module's text.
pub struct KeyLookup {
    index: Index,
    log: CommitLog,
}

impl KeyLookup {
    /// Looks up in these.
    pub fn new(index: Index, log: CommitLog) -> Self {
        Self { index, log }
    }

    /// Answers a query.
    pub fn find(&self, asked: &FindByKey) -> KeyMatches {
        let (last_timestamp, last_offset) = self.index.last_update();
        let behind = self.log.max_offset().since(self.index.position());
        let key = if asked.is_tag { QueryKey::Tag(&asked.key) } else { QueryKey::Key(&asked.key) };
        let query = KeyQuery {
            topic: &asked.topic,
            key,
            begin: asked.begin,
            end: asked.end,
            messages_max: asked.messages_max,
            bytes_max: ANSWER_BYTES_MAX,
        };
        let found = find_by_key(&self.index, &self.log, &query);
        let mut records = BytesMut::with_capacity(found.iter().map(|record| record.len()).sum());
        found.iter().for_each(|record| records.extend_from_slice(record));
        KeyMatches { records: records.freeze(), last_timestamp, last_offset, behind }
    }
}

impl Logic for KeyLookup {
    const NAME: &'static str = "key look-up";
}

impl Receive<FindByKey> for KeyLookup {
    fn receive(&mut self, asked: FindByKey, _: &mut Ctx<Self>) -> Reply<KeyMatches> {
        Reply::Now(self.find(&asked))
    }
}
