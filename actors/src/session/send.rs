//! Sends: from a request to a message in the burst's batch, and from results to answers.
//!
//! The checks and their order are Java's (wire.md 2.3); what they refuse carries its code and text.
//! The CRC is taken here, on the connection's thread; the body is never copied on the way, only its
//! reference goes to the appender.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use gantry_codec::{
    BatchMessages, Command, IdText, OffsetMessageId, SendHeader, SendReply, properties as names,
    record::PROPERTIES_BYTES_MAX, response_code as rs,
};

use super::{Session, properties::Scan};
use crate::{
    error_to_wire::{self, SendRefusal},
    log::batch::{AppendBatch, NewMessage, Send, SendBatch, SendResult},
    net::{ConnectionHandle, Outbox, Outcome},
    topic::{
        CreateTopic, QueueSlot, TopicView,
        names::{self as topic_names, DLQ_PREFIX, RETRY_PREFIX, SCHEDULE_TOPIC},
    },
};

/// Used up batches that a session keeps for later bursts.
const SPARE_BATCHES_MAX: usize = 4;
/// A batch whose buffers grew beyond this is not kept.
const SPARE_BATCH_BYTES_MAX: usize = 256 * 1024;

/// Why a send does not go straight into the batch.
pub(super) enum Detour {
    /// It is answered with an error.
    Refused(SendRefusal),
    /// Its topic has to be made first.
    CreateTopic(CreateTopic),
}

impl From<SendRefusal> for Detour {
    fn from(refusal: SendRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A send that passed the checks.
struct Accepted<'a> {
    header: SendHeader<'a>,
    slot: Arc<QueueSlot>,
    scan: Scan,
    reconsume_times: i32,
    /// Where it goes after its delay, if it has one: real topic and queue.
    delayed_for: Option<(Arc<str>, u32)>,
}

impl Session {
    /// A send of one message or of a client batch.
    pub(super) fn send(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        match self.try_send(&cmd, conn) {
            Ok(()) => Outcome::None,
            Err(Detour::Refused(refusal)) => {
                Outcome::Reply(error_to_wire::refused_send(&cmd, &refusal, &self.shared.config))
            }
            Err(Detour::CreateTopic(order)) => self.create_and_retry(cmd, order),
        }
    }

    /// Makes the topic, then puts the request once more.
    fn create_and_retry(&self, cmd: Command, order: CreateTopic) -> Outcome {
        let shared = self.shared.clone();
        Outcome::Again(Box::pin(async move {
            match shared.topics_root.send(order).await {
                Ok(Ok(())) => Ok(cmd),
                Ok(Err(e)) => Err(error_to_wire::refused_send(&cmd, &e.into(), &shared.config)),
                Err(_) => Err(error_to_wire::lost(&cmd)),
            }
        }))
    }

    fn try_send(&mut self, cmd: &Command, conn: &ConnectionHandle) -> Result<(), Detour> {
        let header = SendHeader::decode(cmd).map_err(SendRefusal::Header)?;
        if let Some(refusal) = self.shared.log_state.refusal() {
            return Err(SendRefusal::NotWritable(refusal.reason().clone()).into());
        }
        topic_names::validate_topic(header.topic).map_err(SendRefusal::Topic)?;
        if topic_names::is_reserved(header.topic) {
            return Err(SendRefusal::Reserved(header.topic.into()).into());
        }
        let accepted = self.check(cmd, header)?;
        if accepted.header.batch {
            self.add_batch(cmd, &accepted, conn)?;
        } else {
            self.add_single(cmd, &accepted, conn)?;
        }
        Ok(())
    }

    fn check<'a>(&mut self, cmd: &Command, header: SendHeader<'a>) -> Result<Accepted<'a>, Detour> {
        let Some(view) = self.topic(header.topic).cloned() else {
            return Err(Detour::CreateTopic(CreateTopic::for_send(&header)));
        };
        let config = &view.config;
        let queues = config.write_queue_nums.max(config.read_queue_nums);
        if header.queue_id >= queues {
            return Err(SendRefusal::QueueId { asked: header.queue_id, view }.into());
        }
        let scan = Scan::of(header.properties);
        if scan.half {
            return Err(SendRefusal::Transactions.into());
        }
        if scan.timed && scan.delay_level == 0 {
            return Err(SendRefusal::Timers.into());
        }
        let retry = header.topic.starts_with(RETRY_PREFIX);
        if header.batch && (retry || scan.delay_level > 0) {
            return Err(SendRefusal::BatchKind.into());
        }
        let mut view = view;
        let mut delay_level = scan.delay_level;
        let mut queue_id = header.queue_id;
        let reconsume_times = header.reconsume_times;
        if retry && self.exhausted(cmd, &header)? {
            let dlq = format!("{DLQ_PREFIX}{}", &header.topic[RETRY_PREFIX.len()..]);
            view = self
                .topic(&dlq)
                .cloned()
                .ok_or_else(|| Detour::CreateTopic(CreateTopic::internal(&dlq, 1)))?;
            delay_level = 0;
            queue_id = 0;
        }
        let slot = self.choose_queue(&view, queue_id)?;
        let (slot, delayed_for) = match delay_level {
            0 => (slot, None),
            level => {
                let real = (slot.topic.clone(), slot.queue_id);
                (self.schedule_queue(level)?, Some(real))
            }
        };
        // Here and not on the appender's thread: the first use of a queue reads its files.
        slot.settle().map_err(SendRefusal::Queue)?;
        Ok(Accepted { header, slot, scan, reconsume_times, delayed_for })
    }

    /// Whether a message that a consumer sends to its retry topic itself has had all its tries.
    fn exhausted(&self, cmd: &Command, header: &SendHeader<'_>) -> Result<bool, Detour> {
        let group = &header.topic[RETRY_PREFIX.len()..];
        let max = self.shared.retry_times_max(group, cmd.version, header.max_reconsume_times);
        let max = max.ok_or_else(|| SendRefusal::Group(group.into()))?;
        Ok(header.reconsume_times > max)
    }

    fn choose_queue(&self, view: &TopicView, queue_id: i32) -> Result<Arc<QueueSlot>, SendRefusal> {
        let id = match u32::try_from(queue_id) {
            Ok(id) => id,
            Err(_) => fastrand::u32(0..view.config.write_queue_nums.max(1) as u32),
        };
        view.queue(id).cloned().ok_or_else(|| SendRefusal::NoQueue(view.config.topic_name.clone()))
    }

    pub(super) fn schedule_queue(&self, level: u32) -> Result<Arc<QueueSlot>, SendRefusal> {
        let level = level.min(self.shared.config.delay_levels).max(1);
        self.shared
            .topics
            .get(SCHEDULE_TOPIC)
            .and_then(|view| view.queue(level - 1).cloned())
            .ok_or_else(|| SendRefusal::NoQueue(SCHEDULE_TOPIC.into()))
    }

    fn add_single(
        &mut self,
        cmd: &Command,
        accepted: &Accepted<'_>,
        conn: &ConnectionHandle,
    ) -> Result<(), SendRefusal> {
        let body = cmd.body.clone();
        self.check_body(body.len())?;
        let properties = self.add_properties(accepted)?;
        let first = self.batch.messages.len();
        self.batch.messages.push(message(accepted.header.flag, body, properties));
        self.add_send(cmd, accepted, first, conn);
        Ok(())
    }

    fn add_batch(
        &mut self,
        cmd: &Command,
        accepted: &Accepted<'_>,
        conn: &ConnectionHandle,
    ) -> Result<(), SendRefusal> {
        self.check_body(cmd.body.len())?;
        let first = self.batch.messages.len();
        let start = self.batch.properties.len();
        let shared = &self.shared;
        for item in BatchMessages::new(&cmd.body) {
            let added = item.map_err(SendRefusal::Batch).and_then(|item| {
                let scan = Scan::of(item.properties);
                let fresh_key = || shared.unique_keys.next(shared.clock.now_ms());
                let text = &mut self.batch.properties;
                let properties = append_properties(text, item.properties, &scan, "", fresh_key)?;
                self.batch.messages.push(message(item.flag, item.body.clone(), properties));
                Ok(())
            });
            if let Err(refusal) = added {
                self.batch.messages.truncate(first);
                self.batch.properties.truncate(start);
                return Err(refusal);
            }
        }
        if self.batch.messages.len() == first {
            return Err(SendRefusal::EmptyBatch);
        }
        self.add_send(cmd, accepted, first, conn);
        Ok(())
    }

    fn check_body(&self, len: usize) -> Result<(), SendRefusal> {
        let max = self.shared.config.message_bytes_max;
        if len > max { Err(SendRefusal::BodyTooLarge { len, max }) } else { Ok(()) }
    }

    /// Puts the message's property string behind the others, with what the broker adds.
    fn add_properties(&mut self, accepted: &Accepted<'_>) -> Result<Stored, SendRefusal> {
        let extra = &self.shared.config.property_suffix;
        let shared = &self.shared;
        let fresh_key = || shared.unique_keys.next(shared.clock.now_ms());
        let text = &mut self.batch.properties;
        let given = accepted.header.properties;
        let Some((topic, queue)) = &accepted.delayed_for else {
            return append_properties(text, given, &accepted.scan, extra, fresh_key);
        };
        let mut queue_text = itoa::Buffer::new();
        let real = [(names::REAL_TOPIC, &**topic), (names::REAL_QID, queue_text.format(*queue))];
        let delayed = with_properties(given, &real);
        append_properties(text, &delayed, &Scan::of(&delayed), extra, fresh_key)
    }

    fn add_send(
        &mut self,
        cmd: &Command,
        accepted: &Accepted<'_>,
        first: usize,
        conn: &ConnectionHandle,
    ) {
        let batch = &mut self.batch;
        batch.bytes += cmd.body.len() + accepted.header.properties.len();
        batch.wait_flush |= !accepted.scan.no_wait;
        batch.sends.push(Send {
            opaque: cmd.opaque,
            serialize_type: cmd.serialize_type,
            oneway: cmd.is_oneway(),
            code_only: false,
            slot: accepted.slot.clone(),
            asked_queue: accepted.delayed_for.as_ref().map_or(accepted.slot.queue_id, |r| r.1),
            messages: first..batch.messages.len(),
            sys_flag: accepted.header.sys_flag,
            born_timestamp: accepted.header.born_timestamp,
            born_host: conn.remote(),
            reconsume_times: accepted.reconsume_times,
            prepared_transaction_offset: 0,
            result: SendResult::Open,
        });
    }

    /// Hands what the burst has gathered to the appender, once its bytes fit the memory budget.
    pub(super) fn hand_over(&mut self) {
        if self.batch.sends.is_empty() {
            return;
        }
        let next = self.spare_batches.pop().unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.batch, next);
        self.held_bytes += batch.bytes;
        batch.reply_to.clone_from(&self.reply_to);
        let credits = &self.shared.credits;
        if let Some(permit) = credits.try_take(batch.bytes) {
            batch.permit = Some(permit);
            self.shared.appender.do_send(AppendBatch(batch));
            return;
        }
        let (credits, appender) = (credits.clone(), self.shared.appender.clone());
        // Batches of one connection wait in line and are let through in order.
        let waits = async move {
            batch.permit = Some(credits.take(batch.bytes).await);
            appender.do_send(AppendBatch(batch));
        };
        #[expect(clippy::disallowed_methods, reason = "waits for credits and ends with them")]
        tokio::task::spawn_local(waits);
    }

    /// Answers every send of a batch that came back.
    pub(super) fn appended(&mut self, mut batch: Box<SendBatch>, out: &mut Outbox) {
        self.held_bytes = self.held_bytes.saturating_sub(batch.bytes);
        let stored = batch.sends.iter().filter(|s| matches!(s.result, SendResult::Stored(_)));
        self.shared.about.traffic.stored(stored.map(|s| s.messages.len() as u64).sum());
        for send in batch.sends.iter().filter(|send| !send.oneway) {
            self.answer(&batch, send, out);
        }
        let keep = batch.properties.capacity() < SPARE_BATCH_BYTES_MAX
            && self.spare_batches.len() < SPARE_BATCHES_MAX;
        if keep {
            batch.clear();
            self.spare_batches.push(batch);
        }
    }

    fn answer(&mut self, batch: &SendBatch, send: &Send, out: &mut Outbox) {
        if send.code_only {
            return error_to_wire::code_only(send, out.buffer());
        }
        let SendResult::Stored(queue_offset) = &send.result else {
            let (result, config) = (&send.result, &self.shared.config);
            return error_to_wire::refused_append(send, result, config, out.buffer());
        };
        let messages = batch.messages.get(send.messages.clone()).unwrap_or_default();
        self.message_ids.clear();
        for message in messages {
            if !self.message_ids.is_empty() {
                self.message_ids.push(',');
            }
            let id =
                OffsetMessageId { host: self.shared.config.store_host, offset: message.offset.0 };
            id.push_to(&mut self.message_ids);
        }
        let unique_key = messages.first().and_then(|m| batch.properties.get(m.unique_key.clone()));
        let reply = SendReply {
            opaque: send.opaque,
            // Stored in either case, and delivered: clients tell the status, and do not send again.
            code: if batch.flush_timed_out { rs::FLUSH_DISK_TIMEOUT } else { rs::SUCCESS },
            remark: None,
            serialize_type: send.serialize_type,
            msg_id: &self.message_ids,
            queue_id: send.asked_queue as i32,
            queue_offset: *queue_offset as i64,
            transaction_id: unique_key.filter(|key| !key.is_empty()),
            region: &self.shared.config.region,
            trace_on: self.shared.config.trace_on,
        };
        reply.encode(out.buffer());
    }
}

/// Where a stored property string and its unique key are.
pub(super) struct Stored {
    range: Range<usize>,
    unique_key: Range<usize>,
}

/// `properties` with these pairs in place of whatever they had under the same names.
pub(super) fn with_properties(properties: &str, pairs: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(properties.len() + 128);
    for (name, value) in names::iter(properties) {
        if !pairs.iter().any(|(replaced, _)| *replaced == name) {
            names::append(&mut text, name, value);
        }
    }
    for (name, value) in pairs {
        names::append(&mut text, name, value);
    }
    text
}

/// Appends `properties`, a unique key if there is none, and `extra` (what the broker adds, already
/// encoded) to `text`.
pub(super) fn append_properties(
    text: &mut String,
    properties: &str,
    scan: &Scan,
    extra: &str,
    fresh_key: impl FnOnce() -> IdText,
) -> Result<Stored, SendRefusal> {
    let start = text.len();
    if scan.pop_ck {
        for (name, value) in names::iter(properties).filter(|(name, _)| *name != names::POP_CK) {
            names::append(text, name, value);
        }
    } else {
        text.push_str(properties);
    }
    if text.len() > start && !text.ends_with(names::PAIR_END) {
        text.push(names::PAIR_END);
    }
    let unique_key = match &scan.unique_key {
        Some(range) if !scan.pop_ck => start + range.start..start + range.end,
        _ => names::get(&text[start..], names::UNIQ_KEY)
            .map(|key| {
                let from = key.as_ptr() as usize - text.as_ptr() as usize;
                from..from + key.len()
            })
            .unwrap_or_else(|| append_unique_key(text, &fresh_key())),
    };
    if !scan.cluster {
        text.push_str(extra);
    }
    let len = text.len() - start;
    if len > PROPERTIES_BYTES_MAX {
        text.truncate(start);
        return Err(SendRefusal::PropertiesTooLarge { len, max: PROPERTIES_BYTES_MAX });
    }
    Ok(Stored { range: start..text.len(), unique_key })
}

fn append_unique_key(text: &mut String, key: &IdText) -> Range<usize> {
    names::append(text, names::UNIQ_KEY, key.as_str());
    let end = text.len() - 1;
    end - key.as_str().len()..end
}

pub(super) fn message(flag: i32, body: Bytes, stored: Stored) -> NewMessage {
    // Masked to 31 bits, as everywhere in this protocol; an empty body has 0.
    let body_crc = gantry_codec::body_crc(&body);
    NewMessage {
        flag,
        body,
        body_crc,
        properties: stored.range,
        unique_key: stored.unique_key,
        offset: Default::default(),
    }
}
