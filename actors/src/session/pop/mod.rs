//! Pops and what belongs to them: from requests to the group's actor, and from its answers to replies.
//!
//! The checks and their order are Java's (wire.md 2.5). Pops and notifications may wait, so their answers
//! come back as events; the other requests are answered by a future. Messages leave as slices of the
//! mapped log.
//!
//! | file | codes |
//! |---|---|
//! | `mod` | 200050 POP_MESSAGE, 200052 PEEK_MESSAGE, 200054 NOTIFICATION, 200055 POLLING_INFO |
//! | `reply` | the answers to pops and notifications |
//! | `ack` | 200051 ACK_MESSAGE, 200151 BATCH_ACK_MESSAGE, 200053 CHANGE_MESSAGE_INVISIBLETIME |
//! | `assignment` | 400 QUERY_ASSIGNMENT, 401 SET_MESSAGE_REQUEST_MODE, 402 GET_ALL_MESSAGE_REQUEST_MODE |

mod ack;
mod assignment;
mod reply;

pub use reply::PopReply;

use std::sync::Arc;

use gantry_codec::{
    Command, Header, filter, request_code as rq,
    requests::pull::{
        NotificationHeader, PeekMessageHeader, PollingInfoHeader, PollingInfoResponse,
        PopMessageHeader,
    },
    response_code as rs,
};

use super::{MessageFilter, Session, Shared, is_by_tags};
use crate::{
    error_to_wire::{self, pop::PopRefusal},
    group::GroupView,
    log::batch::ReplyTo,
    net::{ConnectionHandle, ConnectionId, Outcome},
    pop::{
        back::Back,
        orders::{CountWaiting, Notify, Pop},
        walk::PopRequest,
    },
    topic::{TopicView, names::PERM_READ},
};

/// Messages of one pop at most.
const MESSAGES_MAX: i32 = 32;
/// A pop that wants to have been answered so long ago, ms, is not looked at.
const LATE_MAX_MS: i64 = 500;
/// No pop waits for longer, ms, whatever it asks for.
const WAIT_MAX_MS: i64 = 600_000;

/// Why a request goes no further for now.
enum Detour {
    Refused(PopRefusal),
    OpenGroup(String),
}

impl From<PopRefusal> for Detour {
    fn from(refusal: PopRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Whether this code is answered here.
pub(super) fn handles(code: i32) -> bool {
    matches!(
        code,
        rq::POP_MESSAGE
            | rq::PEEK_MESSAGE
            | rq::NOTIFICATION
            | rq::POLLING_INFO
            | rq::ACK_MESSAGE
            | rq::BATCH_ACK_MESSAGE
            | rq::CHANGE_MESSAGE_INVISIBLETIME
            | rq::QUERY_ASSIGNMENT
            | rq::SET_MESSAGE_REQUEST_MODE
            | rq::GET_ALL_MESSAGE_REQUEST_MODE
    )
}

impl Session {
    /// Answers it.
    pub(super) fn pop_request(&self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        let shared = &self.shared;
        let client = Client { shared, conn, reply_to: self.reply_to.as_ref() };
        let answered = match cmd.code {
            rq::POP_MESSAGE => client.pop(&cmd),
            rq::PEEK_MESSAGE => client.peek(&cmd),
            rq::NOTIFICATION => client.notification(&cmd),
            rq::POLLING_INFO => client.polling_info(&cmd),
            rq::ACK_MESSAGE => client.ack(&cmd).map_err(Detour::from),
            rq::BATCH_ACK_MESSAGE => client.batch_ack(&cmd).map_err(Detour::from),
            rq::CHANGE_MESSAGE_INVISIBLETIME => client.hide(&cmd).map_err(Detour::from),
            rq::QUERY_ASSIGNMENT => client.assignment(&cmd).map_err(Detour::from),
            rq::SET_MESSAGE_REQUEST_MODE => client.set_mode(&cmd),
            _ => Ok(client.all_modes(&cmd)),
        };
        match answered {
            Ok(outcome) => outcome,
            Err(Detour::Refused(refusal)) => {
                Outcome::Reply(error_to_wire::pop::refused_pop(&cmd, &refusal))
            }
            Err(Detour::OpenGroup(group)) => super::open_group(shared, cmd, &group),
        }
    }
}

/// A connection's client, for the time of one request.
struct Client<'a> {
    shared: &'a Arc<Shared>,
    conn: &'a ConnectionHandle,
    /// Where answers go that have to wait.
    reply_to: Option<&'a Arc<ReplyTo>>,
}

impl Client<'_> {
    fn pop(&self, cmd: &Command) -> Result<Outcome, Detour> {
        let header = PopMessageHeader::decode(&cmd.ext).map_err(PopRefusal::Header)?;
        let host = self.shared.config.store_host;
        let deadline = self.deadline(header.born_time, header.poll_time);
        if self.shared.clock.now_ms().saturating_sub(deadline) > LATE_MAX_MS {
            return Err(PopRefusal::TooLate(host).into());
        }
        self.check_broker("pop")?;
        if header.max_msg_nums > MESSAGES_MAX {
            return Err(PopRefusal::TooMany(host).into());
        }
        self.check(&header.topic, header.queue_id, rs::INVALID_PARAMETER)?;
        let group = self.check_group(&header.consumer_group)?;
        let in_order = header.order.unwrap_or(false);
        let expression = header.exp.clone().unwrap_or_default();
        let filter = self.pop_filter(&header.topic, header.exp, header.exp_type.as_deref())?;
        let sql = match &filter {
            Some(MessageFilter::Properties { sql, .. }) => Some(sql),
            _ => None,
        };
        group.slot().popped.note(&group.name, &header.topic, &expression, sql);
        let request = PopRequest {
            topic: header.topic.as_str().into(),
            queue_id: header.queue_id,
            messages_max: header.max_msg_nums.max(0) as u32,
            invisible_time: header.invisible_time.max(0),
            begins_at_end: header.init_mode != 0,
            in_order,
            priority_percent: self.priority_percent(&header.consumer_group),
            attempt: header.attempt_id,
            filter,
            deadline: if header.poll_time > 0 { deadline } else { 0 },
            is_peek: false,
            connection: self.conn.id(),
        };
        Ok(self.take(cmd, &header.consumer_group, request))
    }

    fn peek(&self, cmd: &Command) -> Result<Outcome, Detour> {
        let header = PeekMessageHeader::decode(&cmd.ext).map_err(PopRefusal::Header)?;
        self.check_broker("peeking")?;
        self.check(&header.topic, header.queue_id, rs::INVALID_PARAMETER)?;
        self.check_group(&header.consumer_group)?;
        let request = PopRequest {
            messages_max: header.max_msg_nums.clamp(0, MESSAGES_MAX) as u32,
            is_peek: true,
            ..request_for(&header.topic, header.queue_id)
        };
        Ok(self.take(cmd, &header.consumer_group, request))
    }

    /// In how many of a hundred pops the group wants the most urgent messages first.
    fn priority_percent(&self, group: &str) -> u32 {
        let view = self.shared.control.group(group);
        let factor =
            view.and_then(|view| view.config.attributes.get("priority.factor")?.parse().ok());
        factor.unwrap_or(100)
    }

    /// Has the group's actor take messages.
    fn take(&self, cmd: &Command, group: &str, request: PopRequest) -> Outcome {
        let nothing = if request.is_peek { rs::PULL_NOT_FOUND } else { rs::POLLING_TIMEOUT };
        let (invisible_time, in_order) = (request.invisible_time, request.in_order);
        let reply = PopReply { cmd: without_body(cmd), invisible_time, in_order, nothing };
        match self.back(reply) {
            Some(back) => self.shared.pops.group(group).do_send(Pop(request, back)),
            None => return Outcome::Reply(error_to_wire::lost(cmd)),
        }
        Outcome::None
    }

    fn back(&self, reply: PopReply) -> Option<Back> {
        Some(Back::new(Box::new(reply), self.reply_to?.clone()))
    }

    fn notification(&self, cmd: &Command) -> Result<Outcome, Detour> {
        let header = NotificationHeader::decode(&cmd.ext).map_err(PopRefusal::Header)?;
        self.check_broker("peeking")?;
        self.check(&header.topic, header.queue_id, rs::SYSTEM_ERROR)?;
        self.check_group(&header.consumer_group)?;
        let deadline = self.deadline(header.born_time, header.poll_time);
        let request = PopRequest {
            in_order: header.order.unwrap_or(false),
            attempt: header.attempt_id,
            deadline: if header.poll_time > 0 { deadline } else { 0 },
            ..request_for(&header.topic, header.queue_id)
        };
        let reply = PopReply {
            cmd: without_body(cmd),
            invisible_time: 0,
            in_order: request.in_order,
            nothing: rs::POLLING_TIMEOUT,
        };
        let Some(back) = self.back(reply) else {
            return Ok(Outcome::Reply(error_to_wire::lost(cmd)));
        };
        self.shared.pops.group(&header.consumer_group).do_send(Notify { request, back });
        Ok(Outcome::None)
    }

    fn polling_info(&self, cmd: &Command) -> Result<Outcome, Detour> {
        let header = PollingInfoHeader::decode(&cmd.ext).map_err(PopRefusal::Header)?;
        self.check_broker("peeking")?;
        self.check(&header.topic, header.queue_id, rs::INVALID_PARAMETER)?;
        self.check_group(&header.consumer_group)?;
        let (topic, queue_id) = (header.topic.into(), header.queue_id);
        let group = self.shared.pops.group(&header.consumer_group);
        let counted = group.send(CountWaiting { topic, queue_id });
        let cmd = cmd.clone();
        Ok(Outcome::Later(Box::pin(async move {
            let Ok(waiting) = counted.await else { return error_to_wire::lost(&cmd) };
            let header = PollingInfoResponse { polling_num: waiting as i32 };
            Command::response(rs::SUCCESS, &cmd).with_header(&header)
        })))
    }

    /// Until when a request waits that its client made at `born`, by the client's clock.
    fn deadline(&self, born: i64, poll_time: i64) -> i64 {
        let born = if born == 0 { self.shared.clock.now_ms() } else { born };
        born.saturating_add(poll_time.clamp(0, WAIT_MAX_MS))
    }

    fn check_broker(&self, verb: &'static str) -> Result<(), PopRefusal> {
        let config = &self.shared.config;
        if config.permission & PERM_READ == 0 {
            return Err(PopRefusal::Broker(config.store_host, verb));
        }
        Ok(())
    }

    /// The topic, if it can be read and has that queue.
    fn check(&self, topic: &str, queue_id: i32, code: i32) -> Result<Arc<TopicView>, PopRefusal> {
        let view = self.topic(topic)?;
        if view.kind.is_batch_queue {
            return Err(PopRefusal::BatchQueue(topic.to_owned()));
        }
        if !view.is_readable() {
            return Err(PopRefusal::TopicPermission(topic.to_owned()));
        }
        if queue_id >= view.config.read_queue_nums {
            let client = self.conn.remote();
            return Err(PopRefusal::QueueId { asked: queue_id, view, client, code });
        }
        Ok(view)
    }

    fn topic(&self, topic: &str) -> Result<Arc<TopicView>, PopRefusal> {
        self.shared.topics.get(topic).ok_or_else(|| PopRefusal::Topic(topic.to_owned()))
    }

    fn check_group(&self, group: &str) -> Result<Arc<GroupView>, Detour> {
        let Some(view) = self.shared.control.group(group) else {
            return Err(Detour::OpenGroup(group.to_owned()));
        };
        if !view.config.consume_enable {
            return Err(PopRefusal::GroupDisabled(group.to_owned()).into());
        }
        Ok(view)
    }
}

/// A request that takes nothing and does not wait.
fn request_for(topic: &str, queue_id: i32) -> PopRequest {
    PopRequest {
        topic: topic.into(),
        queue_id,
        messages_max: 0,
        invisible_time: 0,
        begins_at_end: false,
        in_order: false,
        priority_percent: 100,
        attempt: None,
        filter: None,
        deadline: 0,
        is_peek: false,
        connection: ConnectionId(0),
    }
}

impl Client<'_> {
    /// The messages that are wanted; None: all.
    fn pop_filter(
        &self,
        topic: &str,
        expression: Option<String>,
        kind: Option<&str>,
    ) -> Result<Option<MessageFilter>, PopRefusal> {
        let expression = expression.unwrap_or_default();
        if expression.is_empty() || expression == filter::MATCH_ALL {
            return Ok(None);
        }
        let is_tags = is_by_tags(kind);
        if !is_tags && !self.shared.control.serves_sql92() {
            return Err(PopRefusal::Sql92);
        }
        let compiled = MessageFilter::compile(topic, &expression, is_tags, &self.shared.log);
        compiled.map(Some).map_err(|_| PopRefusal::Expression)
    }
}

/// The request as its answer needs it.
fn without_body(cmd: &Command) -> Command {
    let mut asked = Command::request(cmd.code);
    (asked.opaque, asked.flag) = (cmd.opaque, cmd.flag);
    asked.serialize_type = cmd.serialize_type;
    asked
}
