//! What a half message becomes: the message that consumers get, a copy, one that was given up, and the
//! note that it is done. Each in the form in which Java's broker stores it (store.md 4.3).
//!
//! | form | topic | differs from the half message in |
//! |---|---|---|
//! | committed | the real one | transaction bits 8, the half message's place, no `REAL_TOPIC`, `REAL_QID` |
//! | committed, with a delay level | the schedule topic | transaction bits 8, the half message's place |
//! | copy, brought back | the half topic | `TRANSACTION_CHECK_TIMES` |
//! | given up | `TRANS_CHECK_MAX_TIME_TOPIC` | `TRANSACTION_CHECK_TIMES` |
//! | op message | the op topic | see [`super::op`] |
//!
//! Bodies are never copied on the way: the new record is written from the mapping of the old one.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use gantry_codec::{
    Record, properties as names,
    record::{PROPERTIES_BYTES_MAX, sys_flag},
};
use thiserror::Error;

use super::op;
use crate::{
    log::batch::SendBatch,
    topic::{
        QueueSlot, TopicTable,
        names::{HALF_TOPIC, OP_HALF_TOPIC, SCHEDULE_TOPIC, is_reserved},
    },
};

/// Why a half message cannot become what it shall.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormError {
    /// Its record does not say where it is meant to go.
    #[error("the half message does not name its topic and queue")]
    NoTarget,
    /// The topic that it is meant for, or one of the broker's, is not there.
    #[error("topic[{0}] does not exist")]
    NoTopic(String),
    /// A queue cannot be read; why.
    #[error("the queue cannot be opened: {0}")]
    Queue(String),
}

/// A half message's record, and the bytes that it was read from.
pub struct Source<'a> {
    /// The bytes.
    pub bytes: &'a Bytes,
    /// The record in them.
    pub record: Record<'a>,
}

/// Makes messages of half messages, one behind the other in one batch.
pub struct Forms<'a> {
    /// Published topics.
    pub topics: &'a TopicTable,
    /// How many delay levels there are.
    pub delay_levels: u32,
}

impl Forms<'_> {
    /// The message that consumers get.
    pub fn committed(&self, batch: &mut SendBatch, half: &Source<'_>) -> Result<(), FormError> {
        let record = &half.record;
        let get = |name| names::get(record.properties, name);
        let topic = get(names::REAL_TOPIC).filter(|topic| !is_reserved(topic));
        let queue = get(names::REAL_QID).and_then(|queue| queue.parse().ok());
        let (topic, queue) = topic.zip(queue).ok_or(FormError::NoTarget)?;
        let real = self.queue(topic, queue)?;
        let level = get(names::DELAY).and_then(|level| level.parse().ok()).unwrap_or(0);
        let slot = match self.delay_levels.min(level) {
            0 => real,
            level => self.queue(SCHEDULE_TOPIC, level - 1)?,
        };
        let is_delayed = &*slot.topic == SCHEDULE_TOPIC;
        let goes = |name| !is_delayed && (name == names::REAL_TOPIC || name == names::REAL_QID);
        let from = batch.properties.len();
        for (name, value) in names::iter(record.properties).filter(|(name, _)| !goes(*name)) {
            append(&mut batch.properties, from, name, value);
        }
        let flags = record.sys_flag & !sys_flag::TRANSACTION | sys_flag::COMMIT;
        add(batch, slot, half, from, flags, record.physical_offset);
        Ok(())
    }

    /// The half message once more, after so many questions.
    pub fn copy(
        &self,
        batch: &mut SendBatch,
        half: &Source<'_>,
        checks: u32,
    ) -> Result<(), FormError> {
        let slot = self.queue(HALF_TOPIC, 0)?;
        self.again(batch, half, slot, checks);
        Ok(())
    }

    /// A half message that is given up, for the topic of such.
    pub fn given_up(
        &self,
        batch: &mut SendBatch,
        half: &Source<'_>,
        slot: Arc<QueueSlot>,
        checks: u32,
    ) {
        self.again(batch, half, slot, checks);
    }

    fn again(&self, batch: &mut SendBatch, half: &Source<'_>, slot: Arc<QueueSlot>, checks: u32) {
        let record = &half.record;
        let from = batch.properties.len();
        with_checks(&mut batch.properties, record.properties, checks);
        if batch.properties.len() - from > PROPERTIES_BYTES_MAX {
            // Without the count rather than not at all.
            batch.properties.truncate(from);
            batch.properties.push_str(record.properties);
        }
        let flags = record.sys_flag & !sys_flag::TRANSACTION;
        add(batch, slot, half, from, flags, 0);
    }

    /// Where op messages go.
    pub fn op_queue(&self) -> Result<Arc<QueueSlot>, FormError> {
        self.queue(OP_HALF_TOPIC, 0)
    }

    /// An op message with that body.
    pub fn op(
        &self,
        batch: &mut SendBatch,
        slot: &Arc<QueueSlot>,
        body: Bytes,
        now_ms: i64,
        host: SocketAddr,
    ) {
        let from = batch.properties.len();
        batch.properties.push_str(op::PROPERTIES);
        let body_crc = gantry_codec::body_crc(&body);
        batch.push_own(slot.clone(), 0, body, body_crc, from, |send| {
            send.born_timestamp = now_ms;
            send.born_host = host;
        });
    }

    /// A queue, ready to be written.
    fn queue(&self, topic: &str, queue: u32) -> Result<Arc<QueueSlot>, FormError> {
        let view = self.topics.get(topic);
        let slot = view.as_ref().and_then(|view| view.queue(queue).or_else(|| view.queue(0)));
        let slot = slot.cloned().ok_or_else(|| FormError::NoTopic(topic.into()))?;
        // Here and not on the appender's thread: the first use of a queue reads its files.
        slot.settle().map_err(FormError::Queue)?;
        Ok(slot)
    }
}

/// Appends `properties` to `text`, with this count of questions in place of theirs.
pub fn with_checks(text: &mut String, properties: &str, checks: u32) {
    let from = text.len();
    let times = names::TRANSACTION_CHECK_TIMES;
    for (name, value) in names::iter(properties).filter(|(name, _)| *name != times) {
        append(text, from, name, value);
    }
    append(text, from, times, itoa::Buffer::new().format(checks));
}

/// Appends a pair to the property string that begins at `from`: what is before it belongs to others,
/// and may lack its end.
fn append(text: &mut String, from: usize, name: &str, value: &str) {
    if text.len() > from && !text.ends_with(names::PAIR_END) {
        text.push(names::PAIR_END);
    }
    text.push_str(name);
    text.push(names::NAME_END);
    text.push_str(value);
    text.push(names::PAIR_END);
}

fn add(
    batch: &mut SendBatch,
    slot: Arc<QueueSlot>,
    half: &Source<'_>,
    properties_from: usize,
    flags: i32,
    prepared: i64,
) {
    batch.push_copy(slot, &half.record, half.bytes, properties_from, |send| {
        send.sys_flag = flags;
        send.prepared_transaction_offset = prepared;
    });
}
