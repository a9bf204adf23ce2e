//! The broker's [`Service`]: what the requests of one connection mean.
//!
//! A plain struct, one per connection, called on the connection's thread. The data path is here:
//! `send` prepares messages and hands one batch per burst to the appender, `reply` brings answers of
//! request-reply to those who asked, `pull` reads the published views and answers from the mapped log, `lookup` answers offset and message queries,
//! `query` those by key, `figures` and `about` what tools ask about queues and the broker, `admin` what
//! else operators ask or order, `transaction` passes on what producers have decided.
//! Everything about groups, producers and offsets goes to [`crate::group`], everything about topics
//! to [`crate::topic`].
//!
//! Owns: the batch that is being gathered, the batches under way, a cache of the topic used last.
//! Must not: block, wait, or keep state that another connection would need.

mod about;
mod admin;
mod cleaning;
mod cold;
mod direct;
mod expired;
mod figures;
mod lookup;
mod message_filter;
mod pop;
mod properties;
mod pull;
mod query;
mod recall;
mod reply;
mod send;
mod send_back;
mod shared;
mod timers;
mod topics;
mod transaction;

use std::sync::Arc;

use actix::Recipient;
use gantry_codec::{Command, request_code as rq};

pub use about::About;
pub use cold::{ColdReader, ColdReaders};
pub use message_filter::{MessageFilter, is_by_tags, properties_pass, record_passes};
pub use pop::PopReply;
pub use pull::{PullRequest, Pulled};
pub use reply::{PushFailure, StoredReply};
pub use shared::{SessionConfig, Shared};

use crate::{
    error_to_wire::{self, unsupported},
    group::{ActivityPort, ControlSession},
    log::batch::{ReplyTo, SendBatch},
    net::{ConnectionHandle, ConnectionId, Deliver, Outbox, Outcome, Service},
    pop::back::Told,
    topic::TopicView,
    transaction::End,
};

/// What other actors send back to a session.
pub enum SessionEvent {
    /// A batch with its results.
    Appended(Box<SendBatch>),
    /// A held pull is due.
    PullDue(Box<PullRequest>),
    /// A pop or a notification has its answer.
    PopAnswered(Box<PopReply>, Box<Told>),
    /// A pull was read by a [`ColdReader`]; nothing if that failed.
    PullRead(Box<PullRequest>, Option<Box<Pulled>>),
    /// What a pull had met expired is buried, or could not be: why.
    Buried(Box<PullRequest>, Result<(), String>),
}

/// See the module's text.
pub struct Session {
    shared: Arc<Shared>,
    /// The part that deals with groups, producers and offsets.
    control: ControlSession,
    reply_to: Option<Arc<ReplyTo>>,
    /// What this burst has gathered so far.
    batch: Box<SendBatch>,
    /// Batches that came back empty and are used again.
    #[expect(clippy::vec_box, reason = "the boxes came through a mailbox and leave through one")]
    spare_batches: Vec<Box<SendBatch>>,
    /// Ends of transactions in this burst, to which nobody waits for an answer.
    ends: Vec<End>,
    /// Bytes of bodies that the appender has not answered yet.
    held_bytes: usize,
    held_pulls: usize,
    /// Where message ids are written, one answer after the other.
    message_ids: String,
    /// The topic of the last request; most connections use one or few.
    last_topic: Option<(Box<str>, Arc<TopicView>)>,
    /// Where pulls are noted for the diagnosis.
    activity: ActivityPort,
    connection: ConnectionId,
    /// The filter that the last pull brought along.
    last_filter: Option<pull::BroughtFilter>,
}

impl Session {
    /// A session over what all sessions share.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            control: shared.control.session(),
            shared,
            reply_to: None,
            batch: Box::default(),
            spare_batches: Vec::new(),
            ends: Vec::new(),
            held_bytes: 0,
            held_pulls: 0,
            message_ids: String::new(),
            last_topic: None,
            activity: ActivityPort::default(),
            connection: ConnectionId(0),
            last_filter: None,
        }
    }

    /// A group that is deleted has no pops either.
    fn delete_group(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        if let Some(group) = cmd.ext.get("groupName") {
            self.shared.pops.forget_group(group);
        }
        self.control.request(cmd, conn)
    }

    /// The topic's current view, by way of the cache.
    fn topic(&mut self, name: &str) -> Option<&Arc<TopicView>> {
        let fresh = self
            .last_topic
            .as_ref()
            .is_some_and(|(cached, view)| **cached == *name && view.is_current());
        if !fresh {
            self.last_topic = self.shared.topic(name).map(|view| (name.into(), view));
        }
        self.last_topic.as_ref().map(|(_, view)| view)
    }
}

/// Has a group made that the request needs, then puts the request once more.
fn open_group(shared: &Shared, cmd: Command, group: &str) -> Outcome {
    let opened = shared.control.open_group(group);
    Outcome::Again(Box::pin(async move {
        match opened.await {
            Ok(Ok(_)) => Ok(cmd),
            Ok(Err(e)) => Err(error_to_wire::no_group(&cmd, &e)),
            Err(_) => Err(error_to_wire::lost(&cmd)),
        }
    }))
}

impl Service for Session {
    type Event = SessionEvent;

    fn opened(&mut self, conn: &ConnectionHandle, events: Recipient<Deliver<SessionEvent>>) {
        self.connection = conn.id();
        self.reply_to = Some(Arc::new(ReplyTo::Session(events)));
    }

    fn request(&mut self, cmd: Command, conn: &ConnectionHandle, out: &mut Outbox) -> Outcome {
        match cmd.code {
            rq::SEND_MESSAGE_V2 | rq::SEND_MESSAGE | rq::SEND_BATCH_MESSAGE => self.send(cmd, conn),
            rq::SEND_REPLY_MESSAGE | rq::SEND_REPLY_MESSAGE_V2 => self.reply(cmd, conn),
            rq::PULL_MESSAGE | rq::LITE_PULL_MESSAGE => self.pull(cmd, out),
            rq::GET_MAX_OFFSET
            | rq::GET_MIN_OFFSET
            | rq::SEARCH_OFFSET_BY_TIMESTAMP
            | rq::GET_EARLIEST_MSG_STORETIME
            | rq::VIEW_MESSAGE_BY_ID => lookup::answer(&self.shared, cmd),
            rq::QUERY_MESSAGE => query::query(&self.shared, cmd),
            rq::GET_TOPIC_STATS_INFO | rq::QUERY_CONSUME_TIME_SPAN | rq::QUERY_CONSUME_QUEUE => {
                figures::answer(&self.shared, cmd)
            }
            rq::GET_BROKER_CONFIG | rq::GET_BROKER_RUNTIME_INFO => about::answer(&self.shared, cmd),
            rq::CONSUME_MESSAGE_DIRECTLY => direct::consume(&self.shared, cmd),
            rq::CONSUMER_SEND_MSG_BACK => self.send_back(cmd),
            rq::END_TRANSACTION => self.end_transaction(cmd),
            rq::RESUME_CHECK_HALF_MESSAGE => transaction::resume(&self.shared, cmd),
            rq::LIST_TRANSACTIONS => transaction::list(&self.shared, cmd),
            rq::DELETE_EXPIRED_COMMITLOG
            | rq::CLEAN_EXPIRED_CONSUMEQUEUE
            | rq::CLEAN_UNUSED_TOPIC => cleaning::request(&self.shared, cmd),
            rq::RECALL_MESSAGE => self.recall(cmd, conn),
            rq::GET_TIMER_CHECK_POINT | rq::GET_TIMER_METRICS => {
                Outcome::Reply(timers::answer(&self.shared, &cmd))
            }
            code if pop::handles(code) => self.pop_request(cmd, conn),
            rq::DELETE_SUBSCRIPTIONGROUP => self.delete_group(cmd, conn),
            code if admin::handles(code) => admin::request(&self.shared, cmd),
            code if topics::handles(code) => topics::request(&self.shared, cmd),
            code if ControlSession::handles(code) => self.control.request(cmd, conn),
            _ => Outcome::Reply(unsupported(&cmd)),
        }
    }

    fn burst_end(&mut self, _: &ConnectionHandle, _: &mut Outbox) {
        self.hand_over();
        self.hand_over_ends();
        self.control.burst_end();
    }

    fn event(&mut self, event: SessionEvent, _: &ConnectionHandle, out: &mut Outbox) {
        match event {
            SessionEvent::Appended(batch) => self.appended(batch, out),
            SessionEvent::PullDue(request) => self.pull_due(request, out),
            SessionEvent::PopAnswered(reply, told) => reply.answer(*told, out),
            SessionEvent::PullRead(request, found) => {
                self.pull_read(request, found.map(|found| *found), out);
            }
            SessionEvent::Buried(request, result) => self.buried(request, result, out),
        }
    }

    fn answered(&mut self, request_code: i32, reply: &Command) {
        self.shared.metrics.refusals.answered(request_code, reply.code);
    }

    fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn closed(&mut self, conn: &ConnectionHandle) {
        self.control.closed(conn);
    }
}
