//! What the group side has to know of topics and queues, and asks of them: two seams.
//!
//! Topics and queues belong to [`crate::topic`]. Answers about consumption need some facts of theirs
//! ([`QueueFacts`], all answered from published views, at once), and a group needs its retry topic
//! ([`RetryTopics`]).

use futures_util::future::LocalBoxFuture;
use gantry_codec::body::TopicConfig;

/// Facts of topics and queues. Must not block for longer than reading a little from disk takes.
pub trait QueueFacts: Send + Sync {
    /// The topic's configuration; None if there is none of this name.
    fn topic(&self, topic: &str) -> Option<TopicConfig>;

    /// First offset and one past the last one that consumers can read; (0, 0) for a queue never
    /// written or unknown.
    fn range(&self, topic: &str, queue_id: i32) -> (i64, i64);

    /// Whether the message at `offset` is young enough to be read from memory. True also for a queue that
    /// was never written: nothing older can be missed there.
    fn is_in_memory(&self, topic: &str, queue_id: i32, offset: i64) -> bool;

    /// When the message at `offset` was stored, in milliseconds.
    fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64>;

    /// Of the messages from `from` on, at most `count_max` of them: how many are `wanted`, and how many
    /// were looked at. None if the queue cannot be read.
    fn count(
        &self,
        topic: &str,
        queue_id: i32,
        from: i64,
        count_max: i64,
        wanted: Wanted<'_>,
    ) -> Option<Counted>;

    /// The first offset whose message was stored at or after `time_ms`; one past the last if none was.
    fn search(&self, topic: &str, queue_id: i32, time_ms: i64) -> i64;
}

/// Which messages are counted.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// By the tags code in the queue's index.
    ByTags(&'a dyn Fn(i64) -> bool),
    /// By the properties in the record, which has to be read.
    ByProperties(&'a dyn Fn(&str) -> bool),
}

/// Messages that were counted by what a filter says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Those that are wanted.
    pub wanted: i64,
    /// All that were looked at.
    pub seen: i64,
}

/// The topic of a group's retried messages, as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryTopic {
    /// The group.
    pub group: Box<str>,
    /// Its number of read and write queues, if it has to be made.
    pub queue_nums: i32,
    /// Whether the group consumes a topic in strict order; adopted by a topic that exists. None: not
    /// known now, so a topic that exists stays as it is.
    pub order: Option<bool>,
    /// Whether the group's clients are in unit mode, if it has to be made.
    pub unit_mode: bool,
}

/// Makes retry topics.
pub trait RetryTopics: Send + Sync {
    /// Makes sure that the topic exists. The error says why it does not.
    fn ensure(&self, topic: RetryTopic) -> LocalBoxFuture<'static, Result<(), String>>;
}
