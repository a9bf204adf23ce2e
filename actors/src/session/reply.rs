//! Replies of request-reply (324, 325): brought to the client that asked, and stored.
//!
//! A requester puts its client id on its message; the consumer of that sends its answer here under the
//! same id. The answer goes as a request (326) over the connection on which that client's producer sends its
//! heartbeats, and is stored in the reply topic besides, if the broker is configured so. The replier is
//! told whether the requester took it, and where it is stored. The order is Java's: first the push, whose
//! outcome decides over the answer's code, then the log, whose refusals are logged and no more: who asked
//! has been answered by then.
//!
//! Nothing here outlives a requester that hangs or is gone: a push waits for `PUSH_TIMEOUT`, and ends at once
//! with the connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use gantry_codec::{
    Command, OffsetMessageId, SendHeader, properties as names, request_code as rq,
    requests::send::PushReplyHeader, response_code as rs,
};
use slog::warn;
use thiserror::Error;
use tokio::sync::mpsc;

use super::{
    Session, Shared,
    properties::Scan,
    send::{Detour, append_properties, message, with_properties},
};
use crate::{
    error_to_wire::{self, SendRefusal},
    group::Control,
    log::batch::{AppendBatch, ReplyTo, Send, SendBatch, SendResult},
    net::{ConnectionHandle, Outcome},
    topic::{CreateTopic, QueueSlot, names as topic_names},
};

/// How long the requester's client may take to say that it has the reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a reply did not reach the client that asked. The texts are Java's.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PushFailure {
    /// The reply does not say who asked.
    #[error("reply message properties[REPLY_TO_CLIENT] is null")]
    NoRequester,
    /// No producer with that client id is connected.
    #[error("push reply message fail, channel of <{0}> not found.")]
    Offline(String),
    /// It did not take the reply.
    #[error("push reply message to {client}fail. {why}")]
    NotTaken {
        /// Its id.
        client: String,
        /// What it or its connection said.
        why: String,
    },
}

/// Where a reply was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReply {
    /// The id of its record.
    pub message_id: String,
    /// Its offset in the queue.
    pub queue_offset: u64,
}

impl Session {
    pub(super) fn reply(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        match self.reply_queue(&cmd) {
            Ok(slot) => {
                let (shared, replier) = (self.shared.clone(), conn.remote());
                Outcome::Later(Box::pin(async move { answer(&shared, &cmd, slot, replier).await }))
            }
            Err(Detour::Refused(refusal)) => {
                Outcome::Reply(error_to_wire::refused_send(&cmd, &refusal, &self.shared.config))
            }
            Err(Detour::CreateTopic(order)) => self.create_and_retry(cmd, order),
        }
    }

    /// Where the reply is stored, if it is: checked before it is pushed, as for every send.
    fn reply_queue(&mut self, cmd: &Command) -> Result<Arc<QueueSlot>, Detour> {
        let header = SendHeader::decode(cmd).map_err(SendRefusal::Header)?;
        topic_names::validate_topic(header.topic).map_err(SendRefusal::Topic)?;
        if topic_names::is_reserved(header.topic) {
            return Err(SendRefusal::Reserved(header.topic.into()).into());
        }
        let Some(view) = self.topic(header.topic).cloned() else {
            return Err(Detour::CreateTopic(CreateTopic::for_send(&header)));
        };
        let queues = view.config.write_queue_nums.max(view.config.read_queue_nums);
        if header.queue_id >= queues {
            return Err(SendRefusal::QueueId { asked: header.queue_id, view }.into());
        }
        Ok(self.choose_queue(&view, header.queue_id)?)
    }
}

async fn answer(
    shared: &Shared,
    cmd: &Command,
    slot: Arc<QueueSlot>,
    replier: SocketAddr,
) -> Command {
    let header = match SendHeader::decode(cmd) {
        Ok(header) => header,
        Err(e) => return error_to_wire::bad_header(cmd, &e),
    };
    let (store_host, now_ms) = (shared.config.store_host, shared.clock.now_ms());
    let to_push = push_header(&header, replier, store_host, now_ms);
    let pushed = push(&shared.control, cmd, &header, to_push).await;
    if let Err(failure) = &pushed {
        warn!(shared.log_to, "reply not delivered"; "reason" => %failure,
            "group" => header.producer_group);
    }
    let queue_id = slot.queue_id;
    let stored = if shared.config.stores_replies {
        store(shared, cmd, &header, slot, replier).await
    } else {
        None
    };
    error_to_wire::reply(cmd, &pushed, queue_id, stored.as_ref(), &shared.config)
}

/// Brings the reply to the client that asked.
async fn push(
    control: &Control,
    cmd: &Command,
    header: &SendHeader<'_>,
    to_push: PushReplyHeader,
) -> Result<(), PushFailure> {
    let client =
        names::get(header.properties, names::REPLY_TO_CLIENT).ok_or(PushFailure::NoRequester)?;
    let requester = control.find_producer(client).await;
    let requester = requester.ok_or_else(|| PushFailure::Offline(client.into()))?;
    let request = Command::request(rq::PUSH_REPLY_MESSAGE_TO_CLIENT)
        .with_header(&to_push)
        .with_body(cmd.body.clone());
    let not_taken = |why: String| PushFailure::NotTaken { client: client.into(), why };
    match requester.ask(request, PUSH_TIMEOUT).await {
        Ok(answer) if answer.code == rs::SUCCESS => Ok(()),
        Ok(answer) => {
            let remark = answer.remark.as_deref().unwrap_or_default();
            Err(not_taken(format!("code {} {remark}", answer.code)))
        }
        Err(e) => Err(not_taken(e.to_string())),
    }
}

fn push_header(
    header: &SendHeader<'_>,
    replier: SocketAddr,
    store_host: SocketAddr,
    now_ms: i64,
) -> PushReplyHeader {
    let mut time = itoa::Buffer::new();
    let pushed_at = [(names::PUSH_REPLY_TIME, time.format(now_ms))];
    PushReplyHeader {
        producer_group: header.producer_group.into(),
        topic: header.topic.into(),
        default_topic: header.default_topic.into(),
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: Some(with_properties(header.properties, &pushed_at)),
        reconsume_times: Some(header.reconsume_times),
        unit_mode: Some(header.unit_mode),
        born_host: host_text(replier),
        store_host: host_text(store_host),
        store_timestamp: now_ms,
    }
}

/// Clients look for the port behind the last colon, and for no brackets.
fn host_text(host: SocketAddr) -> String {
    format!("{}:{}", host.ip(), host.port())
}

/// Stores the reply; if that fails the log says why, and the answer has no place.
async fn store(
    shared: &Shared,
    cmd: &Command,
    header: &SendHeader<'_>,
    slot: Arc<QueueSlot>,
    replier: SocketAddr,
) -> Option<StoredReply> {
    let refused = |why: &str| {
        warn!(shared.log_to, "reply not stored"; "topic" => header.topic, "reason" => why);
    };
    let mut batch = match batch(shared, cmd, header, slot, replier) {
        Ok(batch) => batch,
        Err(refusal) => {
            let answer = error_to_wire::refused_send(cmd, &refusal, &shared.config);
            refused(answer.remark.as_deref().unwrap_or_default());
            return None;
        }
    };
    let (results, mut result) = mpsc::unbounded_channel();
    batch.reply_to = Some(Arc::new(ReplyTo::Waiter(results)));
    batch.permit = Some(shared.credits.take(batch.bytes).await);
    shared.appender.do_send(AppendBatch(batch));
    let batch = result.recv().await?;
    let (send, message) = (batch.sends.first()?, batch.messages.first()?);
    match send.result {
        SendResult::Stored(queue_offset) => {
            let mut message_id = String::new();
            let id = OffsetMessageId { host: shared.config.store_host, offset: message.offset.0 };
            id.push_to(&mut message_id);
            Some(StoredReply { message_id, queue_offset })
        }
        ref other => {
            refused(&format!("{other:?}"));
            None
        }
    }
}

fn batch(
    shared: &Shared,
    cmd: &Command,
    header: &SendHeader<'_>,
    slot: Arc<QueueSlot>,
    replier: SocketAddr,
) -> Result<Box<SendBatch>, SendRefusal> {
    let (len, max) = (cmd.body.len(), shared.config.message_bytes_max);
    if len > max {
        return Err(SendRefusal::BodyTooLarge { len, max });
    }
    slot.settle().map_err(SendRefusal::Queue)?;
    let mut batch = Box::<SendBatch>::default();
    let scan = Scan::of(header.properties);
    let fresh_key = || shared.unique_keys.next(shared.clock.now_ms());
    let extra = &shared.config.property_suffix;
    let text = &mut batch.properties;
    let properties = append_properties(text, header.properties, &scan, extra, fresh_key)?;
    batch.messages.push(message(header.flag, cmd.body.clone(), properties));
    batch.bytes = len + header.properties.len();
    batch.wait_flush = !scan.no_wait;
    batch.sends.push(Send {
        opaque: cmd.opaque,
        serialize_type: cmd.serialize_type,
        oneway: true,
        code_only: false,
        asked_queue: slot.queue_id,
        slot,
        messages: 0..1,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: replier,
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        result: SendResult::Open,
    });
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gantry_codec::{
        Header,
        body::{HeartbeatData, ProducerData, to_json},
    };
    use tokio::time::Instant;

    use super::*;
    use crate::group::{
        bench::Bench,
        testing::{Seen, run},
    };

    /// A reply to client `one`, or to nobody.
    fn reply_to(client: Option<&str>) -> Command {
        let mut properties = String::from("CORRELATION_ID\u{1}c-1\u{2}");
        if let Some(client) = client {
            names::append(&mut properties, names::REPLY_TO_CLIENT, client);
        }
        let header = SendHeader {
            producer_group: "repliers",
            topic: "c_REPLY_TOPIC",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            sys_flag: 1,
            flag: 7,
            properties: &properties,
            ..SendHeader::default()
        };
        let mut cmd = Command::request(rq::SEND_REPLY_MESSAGE_V2).with_body("yes");
        header.encode_v2(&mut cmd.ext);
        cmd
    }

    /// A broker's groups, with a producer `one` whose heartbeat has just been answered.
    async fn producers() -> (Bench, Arc<Seen>) {
        let bench = Bench::new().await;
        let mut producer = bench.connect(1);
        let beat = HeartbeatData {
            client_id: "one".into(),
            producer_data_set: vec![ProducerData { group_name: "askers".into() }],
            ..HeartbeatData::default()
        };
        let beat = Command::request(rq::HEART_BEAT).with_body(to_json(&beat));
        assert_eq!(producer.ask(beat).await.code, rs::SUCCESS);
        (bench, producer.seen)
    }

    async fn pushed(bench: &Bench, cmd: &Command) -> Result<(), PushFailure> {
        let header = SendHeader::decode(cmd).unwrap();
        let (replier, broker) = ("[::1]:5000".parse().unwrap(), "10.0.0.2:10911".parse().unwrap());
        push(&bench.control, cmd, &header, push_header(&header, replier, broker, 1_700)).await
    }

    #[test]
    fn the_reply_reaches_the_client_that_asked() {
        run(async {
            let (producers, seen) = producers().await;
            seen.will_answer(Command::request(rs::SUCCESS));
            assert_eq!(pushed(&producers, &reply_to(Some("one"))).await, Ok(()));
            let request = seen.pushed().remove(0);
            assert_eq!((request.code, &request.body[..]), (326, &b"yes"[..]));
            let header = PushReplyHeader::decode(&request.ext).unwrap();
            let text = header.properties.unwrap();
            assert_eq!(names::get(&text, names::CORRELATION_ID), Some("c-1"));
            assert_eq!(names::get(&text, names::PUSH_REPLY_TIME), Some("1700"));
            assert_eq!((header.sys_flag, header.flag), (1, 7));
            assert_eq!((&*header.born_host, &*header.store_host), ("::1:5000", "10.0.0.2:10911"));
        });
    }

    #[test]
    fn a_reply_to_nobody_and_to_a_stranger_is_told_as_such() {
        run(async {
            let (producers, seen) = producers().await;
            assert_eq!(pushed(&producers, &reply_to(None)).await, Err(PushFailure::NoRequester));
            let offline = Err(PushFailure::Offline("two".into()));
            assert_eq!(pushed(&producers, &reply_to(Some("two"))).await, offline);
            assert!(seen.pushed().is_empty());
        });
    }

    #[test]
    fn a_requester_that_refuses_is_gone_or_hangs_does_not_keep_the_replier() {
        run(async {
            let (producers, seen) = producers().await;
            let began = Instant::now();
            // It drops the question, as a connection does that ends.
            let gone = pushed(&producers, &reply_to(Some("one"))).await.unwrap_err();
            assert!(gone.to_string().starts_with("push reply message to onefail."), "{gone}");
            seen.will_answer(Command::request(rs::SYSTEM_ERROR).with_remark("no such request"));
            let refused = pushed(&producers, &reply_to(Some("one"))).await.unwrap_err();
            assert!(refused.to_string().ends_with("code 1 no such request"), "{refused}");
            assert!(began.elapsed() < Duration::from_secs(1));
            seen.will_hang();
            let late = pushed(&producers, &reply_to(Some("one"))).await.unwrap_err();
            assert!(late.to_string().contains("no answer from"), "{late}");
            assert_eq!(began.elapsed().as_secs(), PUSH_TIMEOUT.as_secs());
        });
    }
}
