//! What a push consumer can be told, and who works on its messages.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use gantry_codec::body::ConsumeFromWhere;

use crate::consumer::Filter;
use crate::message::MessageExt;

/// Settings of a [`super::PushConsumer`], each with the default of the official clients where they have
/// one.
#[derive(Clone, Debug)]
pub struct PushConfig {
    /// The group; its members share the queues.
    pub group: String,
    /// Topics and what is wanted of them. All members of a group have to want the same.
    pub subscriptions: Vec<(String, Filter)>,
    /// Messages of a queue are worked on one after the other, by the one member that has the queue's
    /// lock. Default: no.
    pub orderly: bool,
    /// Every member gets every message, and keeps how far it is in this file, which no other may use;
    /// what a handler wants again is dropped, as brokers have no way to bring it to one member. Default: no,
    /// the members share the messages.
    pub broadcast: Option<PathBuf>,
    /// Where a queue begins that the group has no offset of. Default: at its end.
    pub start: ConsumeFromWhere,
    /// Messages handed to the handler at once. Default: 1.
    pub batch_max: usize,
    /// Handlers running at once, all queues together. Default: 20.
    pub handlers_max: usize,
    /// Messages of one queue held here at most; a pull may bring some more. Default: 1000.
    pub held_messages_max: usize,
    /// Bytes of them likewise. Default: 16 MiB.
    pub held_bytes_max: usize,
    /// How long a broker may hold a pull that found nothing. Default: 15 s.
    pub hold: Duration,
    /// How often the queues are shared out anew without a notification. Default: 20 s.
    pub rebalance_interval: Duration,
    /// How often the locks of queues are renewed; they last 30 s here, longer at the broker.
    /// Default: 20 s.
    pub lock_interval: Duration,
    /// How often progress is told to the broker beside what pulls tell. Default: 5 s.
    pub commit_interval: Duration,
    /// For how long an orderly queue rests when its handler wants a message again. Default: 1 s.
    pub suspend: Duration,
    /// How often a message is tried before it goes to the dead letters; None: as the group is
    /// configured at the broker. Default: None.
    pub tries_max: Option<i32>,
    /// Without order: for how long a member that loses a queue waits for its handlers before it tells how
    /// far it is. Who gets the queue asks for that after twice this time, unless it is alone in the
    /// group. What handlers have for longer comes twice. Default: 100 ms.
    pub hand_over: Duration,
    /// How long a stop waits for handlers that are running. Default: 30 s.
    pub stop_timeout: Duration,
}

impl PushConfig {
    /// The defaults, for one topic.
    pub fn new(group: &str, topic: &str, filter: Filter) -> PushConfig {
        PushConfig {
            group: group.to_owned(),
            subscriptions: vec![(topic.to_owned(), filter)],
            orderly: false,
            broadcast: None,
            start: ConsumeFromWhere::LastOffset,
            batch_max: 1,
            handlers_max: 20,
            held_messages_max: 1000,
            held_bytes_max: 16 * 1024 * 1024,
            hold: Duration::from_secs(15),
            rebalance_interval: Duration::from_secs(20),
            lock_interval: Duration::from_secs(20),
            commit_interval: Duration::from_secs(5),
            suspend: Duration::from_secs(1),
            tries_max: None,
            hand_over: Duration::from_millis(100),
            stop_timeout: Duration::from_secs(30),
        }
    }

    /// Whether a queue is worked on by whoever has its lock.
    pub(super) fn needs_lock(&self) -> bool {
        self.orderly && self.broadcast.is_none()
    }

    /// The topic of the group's messages that are to be tried again.
    pub(super) fn retry_topic(&self) -> String {
        format!("%RETRY%{}", self.group)
    }
}

/// What became of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are done.
    Done,
    /// They shall come again: in an orderly group in their place, after the queue has rested; else by
    /// way of the retry topic, later with each try, and at last to the dead letters.
    Again,
}

/// A handler at work.
pub type Handling = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// Who works on messages. One that panics wants its messages again.
pub trait Handler: Send + Sync + 'static {
    /// Works on messages of one queue, at most as many as [`PushConfig::batch_max`], in their order.
    fn handle(&self, messages: Vec<MessageExt>) -> Handling;
}

impl<F, W> Handler for F
where
    F: Fn(Vec<MessageExt>) -> W + Send + Sync + 'static,
    W: Future<Output = Verdict> + Send + 'static,
{
    fn handle(&self, messages: Vec<MessageExt>) -> Handling {
        Box::pin(self(messages))
    }
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a handler")
    }
}
