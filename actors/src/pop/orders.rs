//! What a group's actor is asked: the messages of [`super::group::PopGroup`].

use std::sync::Arc;

use actix::Message;

use super::{back::Back, walk::PopRequest};

/// Take messages. Whose connection has ended gets none.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Pop(pub PopRequest, pub Back);

/// Messages are done.
#[derive(Debug, Message)]
#[rtype(result = "AckResult")]
pub struct Ack {
    /// The topic that they were popped from.
    pub topic: Arc<str>,
    /// Their queue.
    pub queue_id: u32,
    /// Their offsets.
    pub offsets: Vec<u64>,
    /// The time of their pop.
    pub pop_time: i64,
    /// Whether that was in order.
    pub in_order: bool,
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckResult {
    /// Accepted; late ones too.
    Accepted,
    /// It is not one of the messages that an orderly group has out; the group's offset.
    Unknown(u64),
}

/// Hide a message for another while.
#[derive(Debug, Message)]
#[rtype(result = "Hidden")]
pub struct Hide {
    /// The topic that it was popped from.
    pub topic: Arc<str>,
    /// Its queue.
    pub queue_id: u32,
    /// Its offset.
    pub offset: u64,
    /// The time of its pop.
    pub pop_time: i64,
    /// Whether that was in order.
    pub in_order: bool,
    /// How long from now on, ms.
    pub invisible_time: i64,
}

/// The pop that a message counts as from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// When it was, ms.
    pub pop_time: i64,
    /// For how long from then on, ms.
    pub invisible_time: i64,
}

/// Tell when there is something to pop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Notify {
    /// What a pop would ask for.
    pub request: PopRequest,
    /// Who waits.
    pub back: Back,
}

/// How many pops wait for a queue.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub struct CountWaiting {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue, as those pops name it.
    pub queue_id: i32,
}

/// Messages that another broker had given out to the group.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Adopt {
    /// Their topic.
    pub topic: Arc<str>,
    /// Their queue.
    pub queue_id: u32,
    /// Offset, time of the pop, time when it is due.
    pub messages: Vec<(u64, i64, i64)>,
}

/// Forget a topic, or everything: it is deleted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Forget(pub Option<Arc<str>>);
