//! From a timer that is due to a message in the batch for the appender.

use gantry_codec::{Record, properties as names};
use gantry_storage::PhysicalOffset;
use slog::warn;

use super::{
    super::{
        agenda::Item,
        delivery::{Dropped, Outgoing},
        timing::timing_of_record,
    },
    Timer,
};
use crate::{log::batch::SendBatch, topic::names::WHEEL_TIMER_TOPIC};

impl Timer {
    /// Puts a due message into the batch, or is done with it.
    pub(super) fn put(
        &mut self,
        item: Item,
        now_ms: i64,
        batch: &mut SendBatch,
        items: &mut Vec<Item>,
    ) {
        match self.try_put(&item, now_ms, batch) {
            Ok(()) => return items.push(item),
            Err(Some(why)) => {
                warn!(self.parts.log_to, "timed message is not delivered"; "reason" => why,
                    "offset" => item.offset);
            }
            Err(None) => {}
        }
        self.timers.done(&item);
    }

    /// The error says in words why it cannot be put; it has none if it need not be, as it was taken back.
    fn try_put(
        &self,
        item: &Item,
        now_ms: i64,
        batch: &mut SendBatch,
    ) -> Result<(), Option<&'static str>> {
        let stored = self.parts.log.record_at(PhysicalOffset(item.offset));
        let bytes = stored.ok_or("it is gone or damaged")?.into_bytes();
        let record = Record::decode(&bytes).map_err(|_| "it cannot be read")?;
        if record.topic != WHEEL_TIMER_TOPIC || bytes.len() != item.size as usize {
            return Err(Some("another message lies in its place"));
        }
        let precision_ms = self.parts.config.layout.precision_ms;
        let timing = timing_of_record(record.properties, record.store_timestamp, precision_ms);
        let timing = timing.ok_or("it does not say when it is due")?;
        let enqueued_ms = self.timers.written_ms(item);
        let outgoing = Outgoing { record: &record, bytes: &bytes, enqueued_ms, now_ms };
        let topics = &self.parts.topics;
        let put = if item.rolls {
            outgoing.roll(timing, topics, batch)
        } else {
            let property = |name| names::get(record.properties, name).unwrap_or_default();
            let (topic, key) = (property(names::REAL_TOPIC), property(names::UNIQ_KEY));
            if self.timers.is_taken_back(timing, topic, key) {
                return Err(None);
            }
            if names::get(record.properties, names::TIMER_DEL_UNIQKEY).is_some() {
                return Err(Some("it was to take another one back"));
            }
            outgoing.deliver(topics, batch)
        };
        put.map_err(|dropped| match dropped {
            Dropped::Nowhere => Some("it does not say where to"),
            Dropped::NoTopic => Some("its topic does not exist any more"),
            Dropped::NotOurs => None,
        })
    }
}
