//! Send-back (36): a consumer could not deal with a message and wants it again later.
//!
//! The message is read from the log at the offset that the consumer names and stored again for the
//! group's retry topic, by way of a delay level that grows with the tries, or for its dead-letter
//! topic once it has had all of them (wire.md 5.5). The body is not copied on the way: the new record
//! is written from the mapping of the old one.

use std::sync::Arc;

use bytes::Bytes;
use gantry_codec::{
    Command, Header, OffsetMessageId, Record, properties as names,
    requests::send::ConsumerSendMsgBackHeader, response_code as rs,
};
use gantry_storage::PhysicalOffset;

use super::{
    Session,
    properties::Scan,
    send::{append_properties, message, with_properties},
};
use crate::{
    error_to_wire, expiry,
    log::batch::{Send, SendResult},
    net::Outcome,
    topic::{
        CreateTopic, QueueSlot,
        names::{DLQ_PREFIX, RETRY_PREFIX},
    },
};

/// Delay level of the first try; each further one is a level higher.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Where a message that was sent back goes.
struct Target {
    slot: Arc<QueueSlot>,
    /// 0: now.
    delay_level: i32,
    /// When the message ends, ms: its tries do not make it live longer.
    end: Option<i64>,
}

/// Why it cannot go there.
enum Detour {
    Answer(Box<Command>),
    CreateTopic(CreateTopic),
    OpenGroup(String),
}

impl Session {
    pub(super) fn send_back(&mut self, cmd: Command) -> Outcome {
        match self.try_send_back(&cmd) {
            Ok(()) => Outcome::None,
            Err(Detour::Answer(answer)) => Outcome::Reply(*answer),
            Err(Detour::OpenGroup(group)) => super::open_group(&self.shared, cmd, &group),
            Err(Detour::CreateTopic(order)) => {
                let topics = self.shared.topics_root.clone();
                Outcome::Again(Box::pin(async move {
                    match topics.send(order).await {
                        Ok(Ok(())) => Ok(cmd),
                        Ok(Err(e)) => Err(error_to_wire::topic(&cmd, &e)),
                        Err(_) => Err(error_to_wire::lost(&cmd)),
                    }
                }))
            }
        }
    }

    fn try_send_back(&mut self, cmd: &Command) -> Result<(), Detour> {
        let answer = |answer| Detour::Answer(Box::new(answer));
        let header = ConsumerSendMsgBackHeader::decode(&cmd.ext)
            .map_err(|e| answer(error_to_wire::bad_header(cmd, &e)))?;
        let Some(group) = self.shared.control.group(&header.group) else {
            return Err(Detour::OpenGroup(header.group));
        };
        if group.config.retry_queue_nums <= 0 {
            return Err(answer(Command::response(rs::SUCCESS, cmd)));
        }
        let stored = u64::try_from(header.offset)
            .ok()
            .and_then(|at| self.shared.log.record_at(PhysicalOffset(at)))
            .map(|slice| slice.into_bytes());
        let record = stored.as_deref().and_then(|bytes| Record::decode(bytes).ok());
        let (Some(bytes), Some(record)) = (&stored, record) else {
            let remark = format!("look message by offset failed, {}", header.offset);
            return Err(answer(Command::response(rs::SYSTEM_ERROR, cmd).with_remark(remark)));
        };
        let asked = header.max_reconsume_times;
        let max = self.shared.retry_times_max(&header.group, cmd.version, asked).unwrap_or(16);
        let target = self.retry_target(&header, &record, max, group.config.retry_queue_nums)?;
        self.store_again(cmd, &record, bytes, &header, &target)
            .map_err(|e| answer(error_to_wire::refused_send(cmd, &e, &self.shared.config)))
    }

    fn retry_target(
        &mut self,
        header: &ConsumerSendMsgBackHeader,
        record: &Record<'_>,
        max: i32,
        retry_queues: i32,
    ) -> Result<Target, Detour> {
        let dead = record.reconsume_times >= max || header.delay_level < 0;
        let (prefix, queues) = if dead { (DLQ_PREFIX, 1) } else { (RETRY_PREFIX, retry_queues) };
        let topic = format!("{prefix}{}", header.group);
        let create = || Detour::CreateTopic(CreateTopic::internal(&topic, queues));
        let view = self.topic(&topic).cloned().ok_or_else(create)?;
        let end = if dead { None } else { self.end_of(record) };
        if end.is_some() && !view.lifetime.is_some_and(|lifetime| lifetime.by_message) {
            return Err(Detour::CreateTopic(CreateTopic::noted_for_ends(&topic)));
        }
        let queue = fastrand::u32(0..queues.max(1) as u32);
        let slot = view.queue(queue).or_else(|| view.queue(0)).cloned().ok_or_else(create)?;
        let delay_level = match header.delay_level {
            _ if dead => 0,
            0 => FIRST_RETRY_LEVEL + record.reconsume_times,
            level => level,
        };
        Ok(Target { slot, delay_level, end })
    }

    fn end_of(&self, record: &Record<'_>) -> Option<i64> {
        let lifetime = self.shared.topics.get(record.topic)?.lifetime;
        expiry::ends_of(lifetime, record.store_timestamp, record.properties)
    }

    fn store_again(
        &mut self,
        cmd: &Command,
        record: &Record<'_>,
        bytes: &Bytes,
        header: &ConsumerSendMsgBackHeader,
        target: &Target,
    ) -> Result<(), error_to_wire::SendRefusal> {
        let level = target.delay_level.max(0).to_string();
        let mut origin_id = String::new();
        let mut pairs = vec![(names::WAIT, "false"), (names::DELAY, level.as_str())];
        if names::get(record.properties, names::RETRY_TOPIC).is_none() {
            pairs.push((names::RETRY_TOPIC, record.topic));
        }
        if names::get(record.properties, names::ORIGIN_MESSAGE_ID).is_none() {
            let offset = record.physical_offset as u64;
            OffsetMessageId { host: record.store_host, offset }.push_to(&mut origin_id);
            pairs.push((names::ORIGIN_MESSAGE_ID, &origin_id));
        }
        let mut end = itoa::Buffer::new();
        let end = target.end.map_or("", |at| end.format(at));
        pairs.push((names::GANTRY_EXPIRES_MS, end));
        let queue = target.slot.queue_id.to_string();
        let slot = if target.delay_level > 0 {
            pairs.push((names::REAL_TOPIC, &target.slot.topic));
            pairs.push((names::REAL_QID, &queue));
            self.schedule_queue(target.delay_level as u32)?
        } else {
            target.slot.clone()
        };
        let properties = with_properties(record.properties, &pairs);
        let scan = Scan::of(&properties);
        let first = self.batch.messages.len();
        let shared = &self.shared;
        let fresh_key = || shared.unique_keys.next(shared.clock.now_ms());
        let text = &mut self.batch.properties;
        let stored = append_properties(text, &properties, &scan, "", fresh_key)?;
        self.batch.messages.push(message(record.flag, bytes.slice_ref(record.body), stored));
        self.batch.bytes += record.body.len() + header.group.len();
        self.batch.sends.push(Send {
            opaque: cmd.opaque,
            serialize_type: cmd.serialize_type,
            oneway: cmd.is_oneway(),
            code_only: true,
            asked_queue: slot.queue_id,
            slot,
            messages: first..first + 1,
            sys_flag: record.sys_flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            reconsume_times: record.reconsume_times + 1,
            prepared_transaction_offset: 0,
            result: SendResult::Open,
        });
        Ok(())
    }
}
