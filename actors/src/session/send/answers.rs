//! From a batch that came back to the answers of its sends.

use gantry_codec::{OffsetMessageId, SendReply, request_code as rq, response_code as rs};

use super::super::Session;
use crate::{
    error_to_wire,
    log::batch::{Send, SendBatch, SendResult},
    net::Outbox,
};

/// Used up batches that a session keeps for later bursts.
const SPARE_BATCHES_MAX: usize = 4;
/// A batch whose buffers grew beyond this is not kept.
const SPARE_BATCH_BYTES_MAX: usize = 256 * 1024;

impl Session {
    /// Answers every send of a batch that came back.
    pub(in crate::session) fn appended(&mut self, mut batch: Box<SendBatch>, out: &mut Outbox) {
        self.held_bytes = self.held_bytes.saturating_sub(batch.bytes);
        let stored = batch.sends.iter().filter(|s| matches!(s.result, SendResult::Stored(_)));
        let stored = stored.map(|s| s.messages.len() as u64).sum();
        self.shared.about.traffic.stored(stored);
        if let Some(accepted) = batch.accepted {
            self.shared.about.traffic.put_took(accepted.elapsed(), stored);
        }
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
        let (SendResult::Stored(queue_offset) | SendResult::Duplicate(queue_offset)) = &send.result
        else {
            let (result, config) = (&send.result, &self.shared.config);
            let code = error_to_wire::refused_append(send, result, config, out.buffer());
            return self.shared.metrics.refusals.answered(rq::SEND_MESSAGE, code);
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
        if self.is_recall(send, messages, batch) {
            // Nobody asks where the recall itself lies.
            let key = messages.first().and_then(|m| batch.properties.get(m.unique_key.clone()));
            self.message_ids.clear();
            self.message_ids.push_str(key.unwrap_or_default());
        }
        let unique_key = messages.first().and_then(|m| batch.properties.get(m.unique_key.clone()));
        let recall_handle = self.recall_handle(send, messages, batch);
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
            recall_handle: recall_handle.as_deref(),
            region: &self.shared.config.region,
            trace_on: self.shared.config.trace_on,
        };
        reply.encode(out.buffer());
    }
}
