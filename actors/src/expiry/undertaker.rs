//! The undertaker: makes dead letters of expired messages, once for each group that would have got them.
//!
//! A session or a group's pops that have met expired messages order a [`Bury`] before they lead their
//! consumer past them, and go on when it is done. The messages are stored in the group's dead-letter topic,
//! which is made if need be, with what they had and what tells where they are from. Only then they
//! are noted as passed over in the group's [`Account`](super::Account), and only then the group's offset moves: a crash
//! between makes two letters of one message, and never none.
//!
//! One order is carried out at a time, in the order in which they came; who meets the same messages
//! meanwhile waits in line, and finds them noted. Owns nothing but the orders.
//! Failure policy: restart empty. Orders that die with it are answered as failed.

use std::{collections::VecDeque, sync::Arc};

use actix::{Addr, AsyncContext, Message};
use bytes::Bytes;
use gantry_codec::{OffsetMessageId, Record, properties as names, record::PROPERTIES_BYTES_MAX};
use gantry_storage::CommitLog;
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, info, warn};

use super::{Expired, Lifetime, ends_of};
use crate::{
    group::Activity,
    log::{
        appender::Appender,
        batch::{AppendBatch, BatchAppended, ReplyTo, SendBatch, SendResult},
    },
    topic::{
        CreateTopic, QueueSlot, TopicTable, Topics,
        names::{DLQ_PREFIX, RETRY_PREFIX},
    },
};

/// Expired messages that a group has met.
pub struct Burial {
    /// The group.
    pub group: Arc<str>,
    /// Their queue.
    pub slot: Arc<QueueSlot>,
    /// The messages.
    pub expired: Vec<Expired>,
    /// Where they are noted.
    pub activity: Arc<Activity>,
}

/// Make dead letters of them; `done` is called when that is so, or with the reason if it cannot be.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Bury {
    /// The messages.
    pub burial: Burial,
    /// Dropped without a call if the order is lost.
    pub done: Box<dyn FnOnce(Result<(), String>) + std::marker::Send>,
}

/// What the actor works with.
#[derive(Clone)]
pub struct UndertakerParts {
    /// Published topics.
    pub topics: Arc<TopicTable>,
    /// Their root, for dead-letter topics.
    pub topics_root: Addr<Shell<Topics>>,
    /// The log, to read.
    pub log: CommitLog,
    /// The log's writer.
    pub appender: Addr<Shell<Appender>>,
    /// The actor's logger.
    pub log_to: Logger,
}

/// See the module's text.
pub struct Undertaker {
    parts: UndertakerParts,
    waiting: VecDeque<Bury>,
    under_way: Option<Bury>,
    reply_to: Option<Arc<ReplyTo>>,
}

impl Undertaker {
    /// One without orders.
    pub fn new(parts: UndertakerParts) -> Self {
        Self { parts, waiting: VecDeque::new(), under_way: None, reply_to: None }
    }

    /// Begins with the next order, if none is under way.
    fn go_on(&mut self, ctx: &mut Ctx<Self>) {
        while self.under_way.is_none()
            && let Some(mut order) = self.waiting.pop_front()
        {
            let Burial { slot, expired, activity, .. } = &order.burial;
            let fresh = activity.expired().fresh(slot, expired);
            if fresh.is_empty() {
                (order.done)(Ok(()));
                continue;
            }
            order.burial.expired = fresh;
            self.begin(order, ctx);
        }
    }

    fn begin(&mut self, order: Bury, ctx: &mut Ctx<Self>) {
        let topic = format!("{DLQ_PREFIX}{}", order.burial.group);
        self.under_way = Some(order);
        if let Some(slot) = self.letters_queue(&topic) {
            return self.store(&slot);
        }
        let made = self.parts.topics_root.send(CreateTopic::internal(&topic, 1));
        ctx.spawn_then(made, move |me, made, ctx| {
            let failed = match made {
                Ok(Ok(())) => None,
                Ok(Err(e)) => Some(e.to_string()),
                Err(e) => Some(e.to_string()),
            };
            match (failed, me.letters_queue(&topic)) {
                (None, Some(slot)) => me.store(&slot),
                (why, _) => me.end(Err(why.unwrap_or(format!("topic {topic} has no queue")))),
            }
            me.go_on(ctx);
        });
    }

    fn letters_queue(&self, topic: &str) -> Option<Arc<QueueSlot>> {
        self.parts.topics.get(topic)?.queue(0).cloned()
    }

    /// Has the letters of the order under way stored; those that are to have none are done with.
    fn store(&mut self, letters: &Arc<QueueSlot>) {
        let Some(order) = &self.under_way else { return };
        if let Err(why) = letters.settle() {
            return self.end(Err(why));
        }
        let mut batch = Box::<SendBatch>::default();
        for expired in &order.burial.expired {
            if let Some(bytes) = self.parts.log.record_at(expired.at) {
                self.add(&mut batch, &bytes.into_bytes(), letters);
            }
        }
        if batch.sends.is_empty() {
            return self.end(Ok(0));
        }
        batch.wait_flush = true;
        batch.reply_to.clone_from(&self.reply_to);
        self.parts.appender.do_send(AppendBatch(batch));
    }

    fn add(&self, batch: &mut SendBatch, bytes: &Bytes, letters: &Arc<QueueSlot>) {
        let Ok(record) = Record::decode(bytes) else { return };
        if !self.is_buried(&record) {
            return;
        }
        let end = self.end_of(&record);
        let from = batch.properties.len();
        add_properties(&mut batch.properties, &record, end);
        if batch.properties.len() - from > PROPERTIES_BYTES_MAX {
            // Without a trace of where it comes from rather than not at all.
            batch.properties.truncate(from);
            batch.properties.push_str(record.properties);
        }
        batch.push_copy(letters.clone(), &record, bytes, from, |send| {
            send.prepared_transaction_offset = 0;
        });
    }

    fn lifetime(&self, topic: &str) -> Option<Lifetime> {
        self.parts.topics.get(topic)?.lifetime
    }

    /// Whether the message's topic wants letters; of a retried one the topic that it was sent to.
    fn is_buried(&self, record: &Record<'_>) -> bool {
        let origin = names::get(record.properties, names::RETRY_TOPIC)
            .filter(|_| record.topic.starts_with(RETRY_PREFIX));
        self.lifetime(origin.unwrap_or(record.topic)).is_some_and(|lifetime| lifetime.buries)
    }

    fn end_of(&self, record: &Record<'_>) -> Option<i64> {
        ends_of(self.lifetime(record.topic), record.store_timestamp, record.properties)
    }

    /// Ends the order under way; `Ok` with the number of letters.
    fn end(&mut self, result: Result<usize, String>) {
        let Some(Bury { burial, done }) = self.under_way.take() else { return };
        let log = &self.parts.log_to;
        match &result {
            Ok(letters) => {
                burial.activity.expired().note(&burial.slot, &burial.expired);
                info!(log, "expired messages are dead letters"; "group" => &*burial.group,
                    "topic" => &*burial.slot.topic, "queue" => burial.slot.queue_id,
                    "expired" => burial.expired.len(), "letters" => letters);
            }
            Err(why) => warn!(log, "expired messages cannot be made dead letters";
                "group" => &*burial.group, "topic" => &*burial.slot.topic,
                "queue" => burial.slot.queue_id, "reason" => why),
        }
        done(result.map(drop));
    }
}

/// The message's own properties, where it is from, and when it had expired.
fn add_properties(text: &mut String, record: &Record<'_>, end: Option<i64>) {
    let goes = |name: &str| {
        matches!(
            name,
            names::GANTRY_EXPIRES_MS
                | names::GANTRY_EXPIRED_MS
                | names::POP_CK
                | names::REAL_TOPIC
                | names::REAL_QID
                | names::DELAY
        )
    };
    for (name, value) in names::iter(record.properties).filter(|(name, _)| !goes(name)) {
        names::append(text, name, value);
    }
    if names::get(record.properties, names::RETRY_TOPIC).is_none() {
        names::append(text, names::RETRY_TOPIC, record.topic);
    }
    if names::get(record.properties, names::ORIGIN_MESSAGE_ID).is_none() {
        let offset = record.physical_offset as u64;
        let mut id = String::new();
        OffsetMessageId { host: record.store_host, offset }.push_to(&mut id);
        names::append(text, names::ORIGIN_MESSAGE_ID, &id);
    }
    if let Some(end) = end {
        names::append(text, names::GANTRY_EXPIRED_MS, itoa::Buffer::new().format(end));
    }
}

impl Logic for Undertaker {
    const NAME: &'static str = "undertaker";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.reply_to = Some(Arc::new(ReplyTo::Actor(ctx.address().recipient())));
    }
}

impl Receive<Bury> for Undertaker {
    fn receive(&mut self, order: Bury, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.waiting.push_back(order);
        self.go_on(ctx);
        Reply::Now(())
    }
}

impl Receive<BatchAppended> for Undertaker {
    fn receive(&mut self, BatchAppended(batch): BatchAppended, ctx: &mut Ctx<Self>) -> Reply<()> {
        let open = batch.sends.iter().find(|s| !matches!(s.result, SendResult::Stored(_)));
        self.end(match open.map(|send| &send.result) {
            None => Ok(batch.sends.len()),
            Some(SendResult::Refused(why)) => Err(why.to_string()),
            Some(other) => Err(format!("a letter was not stored: {other:?}")),
        });
        self.go_on(ctx);
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties_of(topic: &str, properties: &str, end: Option<i64>) -> String {
        let record = Record {
            queue_id: 0,
            flag: 0,
            queue_offset: 4,
            physical_offset: 256,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "10.0.0.1:1".parse().unwrap(),
            store_timestamp: 2,
            store_host: "10.0.0.2:2".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: 0,
            body: b"",
            topic,
            properties,
        };
        let mut text = "before".to_owned();
        add_properties(&mut text, &record, end);
        text["before\u{2}".len()..].replace('\u{1}', "=").replace('\u{2}', ";")
    }

    #[test]
    fn a_letter_tells_where_it_is_from_and_when_it_had_expired() {
        let text = properties_of("t", "KEYS\u{1}k\u{2}GANTRY_TTL_MS\u{1}5\u{2}", Some(7));
        let expected = "KEYS=k;GANTRY_TTL_MS=5;RETRY_TOPIC=t;\
            ORIGIN_MESSAGE_ID=0A000002000000020000000000000100;GANTRY_EXPIRED_MS=7;";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_letter_of_a_retried_message_keeps_its_origin_and_loses_its_end() {
        let given = "RETRY_TOPIC\u{1}o\u{2}ORIGIN_MESSAGE_ID\u{1}i\u{2}GANTRY_EXPIRES_MS\u{1}7\u{2}DELAY\u{1}3\u{2}";
        let text = properties_of("%RETRY%g", given, Some(7));
        assert_eq!(text, "RETRY_TOPIC=o;ORIGIN_MESSAGE_ID=i;GANTRY_EXPIRED_MS=7;");
    }
}
