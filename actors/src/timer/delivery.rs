//! From a message that waited to the message that is stored for its consumers.
//!
//! The delivered message is the one that was sent, with `TIMER_ENQUEUE_MS` and `TIMER_DEQUEUE_MS` added; what
//! led it here (`REAL_TOPIC`, `REAL_QID`, `TIMER_OUT_MS`) stays among its properties, as Java leaves it. One
//! that waits another round is stored in the timer topic again, as it is but for the count of its rounds
//! and the time that it is for.

use std::sync::Arc;

use bytes::Bytes;
use gantry_codec::{Record, properties as names};

use super::timing::Timing;
use crate::{
    log::batch::SendBatch,
    topic::{QueueSlot, TopicTable, names::WHEEL_TIMER_TOPIC},
};

/// Java's topics of checkpoints of pops. What is meant for them is taken over at the start, from the timer
/// topic itself, and would be taken for new if it were delivered.
const REVIVE_PREFIX: &str = "rmq_sys_REVIVE_LOG_";

/// Why a message goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It does not say where to.
    Nowhere,
    /// Its topic is no more.
    NoTopic,
    /// It is none of this broker's business.
    NotOurs,
}

/// A message on its way out.
pub struct Outgoing<'a> {
    /// Its record in the timer topic.
    pub record: &'a Record<'a>,
    /// The bytes of the record.
    pub bytes: &'a Bytes,
    /// When its unit was written, ms.
    pub enqueued_ms: i64,
    /// Now.
    pub now_ms: i64,
}

impl Outgoing<'_> {
    /// Puts the message for its consumers into the batch.
    ///
    /// # Errors
    /// If it goes nowhere.
    pub fn deliver(&self, topics: &TopicTable, batch: &mut SendBatch) -> Result<(), Dropped> {
        let slot = self.real_queue(topics)?;
        self.put(slot, None, batch);
        Ok(())
    }

    /// Puts the message for the timer topic into the batch.
    ///
    /// # Errors
    /// If there is no timer topic.
    pub fn roll(
        &self,
        timing: Timing,
        topics: &TopicTable,
        batch: &mut SendBatch,
    ) -> Result<(), Dropped> {
        let slot = topics.get(WHEEL_TIMER_TOPIC).and_then(|view| view.queue(0).cloned());
        self.put(slot.ok_or(Dropped::NoTopic)?, Some(timing), batch);
        Ok(())
    }

    fn real_queue(&self, topics: &TopicTable) -> Result<Arc<QueueSlot>, Dropped> {
        let properties = self.record.properties;
        let topic = names::get(properties, names::REAL_TOPIC).ok_or(Dropped::Nowhere)?;
        let queue = names::get(properties, names::REAL_QID).and_then(|id| id.parse().ok());
        let queue = queue.ok_or(Dropped::Nowhere)?;
        if topic.starts_with(REVIVE_PREFIX) {
            return Err(Dropped::NotOurs);
        }
        let view = topics.get(topic).ok_or(Dropped::NoTopic)?;
        view.queue(queue).or_else(|| view.queue(0)).cloned().ok_or(Dropped::NoTopic)
    }

    fn put(&self, slot: Arc<QueueSlot>, rolls: Option<Timing>, batch: &mut SendBatch) {
        let from = batch.properties.len();
        self.put_properties(rolls, &mut batch.properties);
        batch.push_copy(slot, self.record, self.bytes, from, |_| {});
    }

    fn put_properties(&self, rolls: Option<Timing>, text: &mut String) {
        let given = self.record.properties;
        let rounds = names::get(given, names::TIMER_ROLL_TIMES).and_then(|n| n.parse::<u32>().ok());
        for (name, value) in names::iter(given) {
            let is_new = matches!(name, names::TIMER_ENQUEUE_MS | names::TIMER_DEQUEUE_MS)
                || rolls.is_some()
                    && matches!(name, names::TIMER_ROLL_TIMES | names::TIMER_DELIVER_MS);
            if !is_new {
                put(text, name, value);
            }
        }
        let mut number = itoa::Buffer::new();
        put(text, names::TIMER_ENQUEUE_MS, number.format(self.enqueued_ms));
        put(text, names::TIMER_DEQUEUE_MS, number.format(self.now_ms));
        if let Some(timing) = rolls {
            let rounds = rounds.unwrap_or(0).saturating_add(1);
            put(text, names::TIMER_ROLL_TIMES, number.format(rounds));
            put(text, names::TIMER_DELIVER_MS, number.format(timing.due_ms));
        }
    }
}

/// Each string ends with its separator, so that nothing has to be looked at.
fn put(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push(names::NAME_END);
    text.push_str(value);
    text.push(names::PAIR_END);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(given: &str, rolls: Option<Timing>) -> Vec<(String, String)> {
        let host = ([127, 0, 0, 1], 1).into();
        let record = Record {
            queue_id: 0,
            flag: 0,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: 0,
            body: b"",
            topic: WHEEL_TIMER_TOPIC,
            properties: given,
        };
        let outgoing =
            Outgoing { record: &record, bytes: &Bytes::new(), enqueued_ms: 5, now_ms: 7 };
        let mut text = "before\u{1}it\u{2}".to_owned();
        outgoing.put_properties(rolls, &mut text);
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        names::iter(&text).skip(1).map(own).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_delivered_message_keeps_what_led_it_here() {
        let given =
            "REAL_TOPIC\u{1}t\u{2}TIMER_DELAY_SEC\u{1}5\u{2}TIMER_OUT_MS\u{1}9\u{2}TAGS\u{1}a";
        let want = [
            ("REAL_TOPIC", "t"),
            ("TIMER_DELAY_SEC", "5"),
            ("TIMER_OUT_MS", "9"),
            ("TAGS", "a"),
            ("TIMER_ENQUEUE_MS", "5"),
            ("TIMER_DEQUEUE_MS", "7"),
        ];
        assert_eq!(properties(given, None), pairs(&want));
    }

    #[test]
    fn a_round_is_counted_and_the_time_named() {
        let timing = Timing { out_ms: 1000, due_ms: 1234 };
        let once = properties("TIMER_DELAY_SEC\u{1}5\u{2}", Some(timing));
        let want = [
            ("TIMER_DELAY_SEC", "5"),
            ("TIMER_ENQUEUE_MS", "5"),
            ("TIMER_DEQUEUE_MS", "7"),
            ("TIMER_ROLL_TIMES", "1"),
            ("TIMER_DELIVER_MS", "1234"),
        ];
        assert_eq!(once, pairs(&want));
        let text: String = once.iter().map(|(n, v)| format!("{n}\u{1}{v}\u{2}")).collect();
        let twice = properties(&text, Some(timing));
        assert_eq!(twice.len(), once.len());
        assert!(twice.contains(&("TIMER_ROLL_TIMES".into(), "2".into())));
    }
}
