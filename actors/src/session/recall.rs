//! Recalls (370): a timed message is taken back by the handle that its sender got.
//!
//! The recall is stored as a timed message for the same slot, which names the other by its unique key;
//! so it outlives a restart, and a Java broker that takes over obeys it. Checks, codes and texts are
//! Java's (wire.md 2.4). One thing is better here: the handle names the very time of delivery, not the
//! slot, so a message can be taken back until it is due.

use gantry_codec::{
    Command, Header, RecallHandle, properties as names, requests::send::RecallMessageHeader,
    response_code as rs,
};

use super::{
    Session,
    properties::Scan,
    send::{append_properties, message},
};
use crate::{
    error_to_wire::{self, SendRefusal},
    log::batch::{NewMessage, Send, SendBatch, SendResult},
    net::{ConnectionHandle, Outcome},
    timer::timing::slot_of_due,
    topic::names::{RETRY_PREFIX, WHEEL_TIMER_TOPIC},
};

/// The tag of a recall.
const RECALL_TAG: &str = "_RECALL_TAG_";
/// A property that has no other use here.
const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";

/// Why a recall is refused.
enum Refusal {
    Header(gantry_codec::HeaderError),
    /// Recalls are not served.
    Off,
    NoTopic(String),
    /// The handle is none, or for something else.
    Handle(&'static str),
    /// The message cannot be stored.
    Store(String),
}

impl From<SendRefusal> for Refusal {
    fn from(refusal: SendRefusal) -> Self {
        Self::Store(match refusal {
            SendRefusal::Timer(why) => why.to_string(),
            SendRefusal::NotWritable(why) => why.to_string(),
            other => format!("{other:?}"),
        })
    }
}

impl Session {
    pub(super) fn recall(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        match self.try_recall(&cmd, conn) {
            Ok(()) => Outcome::None,
            Err(refusal) => {
                let answer = refused(&cmd, &refusal);
                Outcome::Reply(answer.with_ext("MSG_REGION", self.shared.config.region.as_str()))
            }
        }
    }

    fn try_recall(&mut self, cmd: &Command, conn: &ConnectionHandle) -> Result<(), Refusal> {
        let rules = &self.shared.config.timers;
        if !rules.recall {
            return Err(Refusal::Off);
        }
        let header = RecallMessageHeader::decode(&cmd.ext).map_err(Refusal::Header)?;
        if self.shared.topics.get(&header.topic).is_none() {
            return Err(Refusal::NoTopic(header.topic));
        }
        let handle = RecallHandle::decode(&header.recall_handle);
        let handle = handle.ok_or(Refusal::Handle("recall handle is invalid"))?;
        if handle.topic != header.topic {
            return Err(Refusal::Handle("recall failed, topic not match"));
        }
        if *handle.broker != *self.shared.config.broker_name {
            return Err(Refusal::Handle("recall failed, broker service not available"));
        }
        let time_ms: i64 = handle.time.parse().unwrap_or(-1);
        let left_ms = time_ms.saturating_sub(self.shared.clock.now_ms());
        if left_ms <= 0 || left_ms > rules.max_delay_ms {
            return Err(Refusal::Handle("recall failed, timestamp invalid"));
        }
        if let Some(refusal) = self.shared.log_state.refusal() {
            return Err(SendRefusal::NotWritable(refusal.reason().clone()).into());
        }
        self.store_recall(cmd, &header, &handle, conn)
    }

    fn store_recall(
        &mut self,
        cmd: &Command,
        header: &RecallMessageHeader,
        handle: &RecallHandle,
        conn: &ConnectionHandle,
    ) -> Result<(), Refusal> {
        let now_ms = self.shared.clock.now_ms();
        let mut properties = self.recall_properties(header, handle, now_ms);
        // It may have become due since it was looked at.
        let timing = self.timing(&properties)?;
        let timing = timing.ok_or(Refusal::Handle("recall failed, timestamp invalid"))?;
        names::append(&mut properties, names::TIMER_OUT_MS, &timing.out_ms.to_string());
        names::append(&mut properties, names::REAL_TOPIC, &handle.topic);
        names::append(&mut properties, names::REAL_QID, "0");
        let slot = self.timer_queue()?;
        slot.settle().map_err(Refusal::Store)?;
        let first = self.batch.messages.len();
        let (scan, shared) = (Scan::of(&properties), &self.shared);
        let fresh_key = || shared.unique_keys.next(now_ms);
        let text = &mut self.batch.properties;
        let stored = append_properties(text, &properties, &scan, "", fresh_key)?;
        self.batch.bytes += properties.len();
        self.batch.wait_flush = true;
        self.batch.messages.push(message(0, (&b"0"[..]).into(), stored));
        self.batch.sends.push(Send {
            opaque: cmd.opaque,
            serialize_type: cmd.serialize_type,
            oneway: cmd.is_oneway(),
            code_only: false,
            asked_queue: 0,
            slot,
            messages: first..first + 1,
            sys_flag: 0,
            born_timestamp: now_ms,
            born_host: conn.remote(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            result: SendResult::Open,
        });
        Ok(())
    }

    fn recall_properties(
        &self,
        header: &RecallMessageHeader,
        handle: &RecallHandle,
        now_ms: i64,
    ) -> String {
        let key = match self.shared.config.timers.cancels_with_topic {
            true => format!("{}+{}", handle.topic, handle.unique_key),
            false => handle.unique_key.clone(),
        };
        let mut text = String::new();
        for (name, value) in [
            (names::TAGS, RECALL_TAG),
            (names::TIMER_DEL_UNIQKEY, &key),
            (names::UNIQ_KEY, &handle.unique_key),
            (names::TIMER_DELIVER_MS, &handle.time),
            (BORN_TIMESTAMP, &now_ms.to_string()),
            (names::PGROUP, header.producer_group.as_deref().unwrap_or_default()),
        ] {
            if !value.is_empty() {
                names::append(&mut text, name, value);
            }
        }
        text
    }

    /// The handle of a message that was just stored, if it is timed.
    pub(super) fn recall_handle(
        &self,
        send: &Send,
        messages: &[NewMessage],
        batch: &SendBatch,
    ) -> Option<String> {
        if *send.slot.topic != *WHEEL_TIMER_TOPIC {
            return None;
        }
        let config = &self.shared.config;
        let stored = batch.properties.get(messages.first()?.properties.clone())?;
        handle_of(stored, &config.broker_name, config.timers.precision_ms)
    }

    /// Whether a message that was just stored is a recall.
    pub(super) fn is_recall(
        &self,
        send: &Send,
        messages: &[NewMessage],
        batch: &SendBatch,
    ) -> bool {
        if *send.slot.topic != *WHEEL_TIMER_TOPIC {
            return false;
        }
        let stored = messages.first().and_then(|m| batch.properties.get(m.properties.clone()));
        stored.is_some_and(|stored| names::get(stored, names::TAGS) == Some(RECALL_TAG))
    }
}

/// The handle of the message with these properties; retried ones have none.
fn handle_of(stored: &str, broker: &str, precision_ms: i64) -> Option<String> {
    let topic = names::get(stored, names::REAL_TOPIC)?;
    if topic.starts_with(RETRY_PREFIX) || names::get(stored, names::TAGS) == Some(RECALL_TAG) {
        return None;
    }
    let out_ms: i64 = names::get(stored, names::TIMER_OUT_MS)?.parse().ok()?;
    let asked = names::get(stored, names::TIMER_DELIVER_MS).and_then(|text| text.parse().ok());
    // A delay that was asked for instead is not known to the millisecond here; the end of the slot is
    // in the slot as well.
    let in_slot = |due_ms: &i64| slot_of_due(*due_ms, precision_ms) == out_ms;
    let due_ms = asked.filter(in_slot).unwrap_or(out_ms + precision_ms);
    let key = names::get(stored, names::UNIQ_KEY)?;
    Some(RecallHandle::encode(topic, broker, due_ms, key))
}

fn refused(cmd: &Command, refusal: &Refusal) -> Command {
    let (code, remark) = match refusal {
        Refusal::Header(e) => return error_to_wire::bad_header(cmd, e),
        Refusal::Off => (rs::NO_PERMISSION, "recall failed, operation is forbidden".to_owned()),
        Refusal::NoTopic(topic) => {
            (rs::TOPIC_NOT_EXIST, format!("recall failed, the topic[{topic}] not exist"))
        }
        Refusal::Handle(why) => (rs::ILLEGAL_OPERATION, (*why).to_owned()),
        Refusal::Store(why) => (rs::SYSTEM_ERROR, format!("recall failed, execute error: {why}")),
    };
    Command::response(code, cmd).with_remark(remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time_in_handle(pairs: &[(&str, &str)]) -> Option<String> {
        let mut text = String::new();
        pairs.iter().for_each(|(name, value)| names::append(&mut text, name, value));
        let handle = RecallHandle::decode(&handle_of(&text, "b", 1000)?)?;
        assert_eq!((handle.broker.as_str(), handle.unique_key.as_str()), ("b", "K"));
        Some(handle.time)
    }

    #[test]
    fn a_handle_names_a_time_in_the_slot() {
        let own = [("REAL_TOPIC", "t"), ("UNIQ_KEY", "K"), ("TIMER_OUT_MS", "5000")];
        let with = |more: &[(&'static str, &'static str)]| [&own[..], more].concat();
        let exact = with(&[("TIMER_DELIVER_MS", "5432")]);
        assert_eq!(time_in_handle(&exact).as_deref(), Some("5432"));
        let other = with(&[("TIMER_DELIVER_MS", "9432"), ("TIMER_DELAY_SEC", "5")]);
        assert_eq!(time_in_handle(&other).as_deref(), Some("6000"));
        assert_eq!(time_in_handle(&own).as_deref(), Some("6000"));
    }

    #[test]
    fn retried_messages_and_recalls_have_none() {
        let rest = [("UNIQ_KEY", "K"), ("TIMER_OUT_MS", "5000")];
        let retried = [&rest[..], &[("REAL_TOPIC", "%RETRY%g")]].concat();
        assert_eq!(time_in_handle(&retried), None);
        let recall = [&rest[..], &[("REAL_TOPIC", "t"), ("TAGS", RECALL_TAG)]].concat();
        assert_eq!(time_in_handle(&recall), None);
    }
}
