//! Messages that the broker stores itself: mostly copies of messages in the log, on their way to where
//! they belong (delayed, timed, committed, tried again, dead).
//!
//! Nobody waits for an answer to such a send; its actor gets the batch back with the results. The body
//! is a slice of the log; the property string has been put behind the batch's others by whoever knows
//! what it has to say. A copy is like its original but for what `alter` changes.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use gantry_codec::Record;

use super::batch::{NewMessage, Send, SendBatch, SendResult};
use crate::topic::QueueSlot;

impl SendBatch {
    /// Adds a copy of the message in `bytes` for `slot`, with the properties that begin at
    /// `properties_from`.
    pub fn push_copy(
        &mut self,
        slot: Arc<QueueSlot>,
        record: &Record<'_>,
        bytes: &Bytes,
        properties_from: usize,
        alter: impl FnOnce(&mut Send),
    ) {
        let body = bytes.slice_ref(record.body);
        self.push_own(slot, record.flag, body, record.body_crc, properties_from, |send| {
            send.sys_flag = record.sys_flag;
            send.born_timestamp = record.born_timestamp;
            send.born_host = record.born_host;
            send.reconsume_times = record.reconsume_times;
            send.prepared_transaction_offset = record.prepared_transaction_offset;
            alter(send);
        });
    }

    /// Adds a message for `slot` with the properties that begin at `properties_from`.
    pub fn push_own(
        &mut self,
        slot: Arc<QueueSlot>,
        flag: i32,
        body: Bytes,
        body_crc: u32,
        properties_from: usize,
        alter: impl FnOnce(&mut Send),
    ) {
        let at = self.messages.len();
        let properties = properties_from..self.properties.len();
        self.bytes += body.len() + properties.len();
        let (unique_key, offset) = (0..0, Default::default());
        self.messages.push(NewMessage { flag, body, body_crc, properties, unique_key, offset });
        let mut send = Send {
            opaque: 0,
            serialize_type: Default::default(),
            oneway: true,
            code_only: true,
            asked_queue: slot.queue_id,
            slot,
            messages: at..at + 1,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: SocketAddr::from(([0, 0, 0, 0], 0)),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            result: SendResult::Open,
        };
        alter(&mut send);
        self.sends.push(send);
    }
}
