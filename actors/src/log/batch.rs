//! What travels between a connection and the appender: one batch per burst, there and back.
//!
//! The connection fills a batch with every send of one burst and gives it away; the appender writes
//! an [`SendResult`] beside each send and gives the same batch back, so neither way allocates per
//! message and the buffers are used again for the next burst.

use std::{net::SocketAddr, ops::Range, sync::Arc};

use actix::{Message, Recipient};
use bytes::Bytes;
use gantry_codec::frame::SerializeType;
use gantry_storage::PhysicalOffset;
use gantry_supervisor::Permit;
use tokio::{sync::mpsc, time::Instant};

use crate::{dedup::Window, net::Deliver, session::SessionEvent, topic::QueueSlot};

/// Sends of one burst of one connection, for the appender.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AppendBatch(pub Box<SendBatch>);

/// The same batch with its results, for an actor of the broker.
#[derive(Message)]
#[rtype(result = "()")]
pub struct BatchAppended(pub Box<SendBatch>);

/// See the module's text.
#[derive(Default)]
pub struct SendBatch {
    /// The sends, in the order in which they came.
    pub sends: Vec<Send>,
    /// The messages of all sends, one behind the other.
    pub messages: Vec<NewMessage>,
    /// The property strings of all messages, one behind the other.
    pub properties: String,
    /// Bytes of bodies and properties.
    pub bytes: usize,
    /// How many sends the appender has dealt with.
    pub done: usize,
    /// Whether a send of this batch asks to wait for the flush (property `WAIT`).
    pub wait_flush: bool,
    /// Windows of those sends, by their place, that are stored once only ([`crate::dedup`]).
    pub windows: Vec<(usize, Arc<Window>)>,
    /// Whether it was stored and could not be flushed in time.
    pub flush_timed_out: bool,
    /// When a session accepted it; nothing for a batch of the broker's own.
    pub accepted: Option<Instant>,
    /// For the sender's own use, given back as it was.
    pub tag: u32,
    /// Where the results go.
    pub reply_to: Option<Arc<ReplyTo>>,
    /// The bytes' share of the memory budget; given back with the batch's end.
    pub permit: Option<Permit>,
}

/// Who gets a batch back.
pub enum ReplyTo {
    /// The connection that gathered it.
    Session(Recipient<Deliver<SessionEvent>>),
    /// An actor of the broker that stores messages itself.
    Actor(Recipient<BatchAppended>),
    /// A task that waits for it.
    Waiter(mpsc::UnboundedSender<Box<SendBatch>>),
}

/// One send request: one message, or the messages of one client batch.
pub struct Send {
    /// The request's correlation id.
    pub opaque: i32,
    /// The request's header type; the answer mirrors it.
    pub serialize_type: SerializeType,
    /// Whether nobody waits for an answer.
    pub oneway: bool,
    /// Whether the answer is a bare code (send-back) or that of a send.
    pub code_only: bool,
    /// Where it is stored.
    pub slot: Arc<QueueSlot>,
    /// The queue that the answer names: of a delayed message the one that it is for.
    pub asked_queue: u32,
    /// Its messages in [`SendBatch::messages`].
    pub messages: Range<usize>,
    /// Message flags as stored.
    pub sys_flag: i32,
    /// When the sender made it, in ms.
    pub born_timestamp: i64,
    /// The sender's address.
    pub born_host: SocketAddr,
    /// How often consumers gave it back.
    pub reconsume_times: i32,
    /// Position of the half message that this one commits, else 0.
    pub prepared_transaction_offset: i64,
    /// What became of it.
    pub result: SendResult,
}

/// One message to be stored.
pub struct NewMessage {
    /// The user's flag.
    pub flag: i32,
    /// The body as received.
    pub body: Bytes,
    /// CRC-32 of the body, masked to 31 bits.
    pub body_crc: u32,
    /// Its properties in [`SendBatch::properties`].
    pub properties: Range<usize>,
    /// Its unique key within its properties, for the answer.
    pub unique_key: Range<usize>,
    /// Where it was written.
    pub offset: PhysicalOffset,
}

/// What became of a send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SendResult {
    /// Not dealt with yet.
    #[default]
    Open,
    /// Stored; the offset of its first message in its queue.
    Stored(u64),
    /// All of it is stored already; the offset of its first message in its queue.
    Duplicate(u64),
    /// The queue was deleted before the message reached the log.
    QueueGone,
    /// The message is larger than the log takes.
    TooLarge(String),
    /// The log takes no messages; why.
    Refused(Arc<str>),
}

impl SendBatch {
    /// Makes the batch ready for the next burst; the buffers stay.
    pub fn clear(&mut self) {
        self.sends.clear();
        self.messages.clear();
        self.properties.clear();
        self.bytes = 0;
        self.done = 0;
        self.wait_flush = false;
        self.windows.clear();
        self.flush_timed_out = false;
        self.permit = None;
    }

    /// Refuses every send that has no result yet.
    pub fn refuse(&mut self, why: &Arc<str>) {
        for send in self.sends.iter_mut().skip(self.done) {
            send.result = SendResult::Refused(why.clone());
        }
        self.done = self.sends.len();
    }

    /// Gives the batch with its results back to where it came from.
    pub fn answer(mut self: Box<Self>) {
        match self.reply_to.take().as_deref() {
            Some(ReplyTo::Session(session)) => {
                session.do_send(Deliver(SessionEvent::Appended(self)));
            }
            Some(ReplyTo::Actor(actor)) => actor.do_send(BatchAppended(self)),
            Some(ReplyTo::Waiter(task)) => {
                // A task that has ended wants to know nothing more.
                let _ = task.send(self);
            }
            None => {}
        }
    }
}
