//! A half message, as far as the broker has to know it while nobody has decided on it.
//!
//! It lies in queue 0 of the half topic with everything that its message will need: its real topic and
//! queue, its producer's group, the tries so far (wire.md 5.6, store.md 4.3).

use std::sync::Arc;

use gantry_codec::{Record, properties as names};

use crate::topic::names::is_reserved;

/// What tells copies of one half message from all other messages: a copy keeps both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HalfKey {
    /// The producer's id of the message, which is the transaction's.
    pub unique_key: Arc<str>,
    /// The producer's clock when it sent it, ms.
    pub born_ms: i64,
}

impl HalfKey {
    /// The key of a record; of a half message or of what became of it.
    pub fn of(record: &Record<'_>) -> Self {
        let unique_key = names::get(record.properties, names::UNIQ_KEY).unwrap_or_default();
        Self { unique_key: unique_key.into(), born_ms: record.born_timestamp }
    }
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// Where its record is in the log.
    pub physical: u64,
    /// What its copies have in common.
    pub key: HalfKey,
    /// The group of producers that can decide on it.
    pub group: Arc<str>,
    /// The topic that it is meant for; none if that is lost, so that nobody can get it any more.
    pub topic: Option<Arc<str>>,
    /// The broker's clock when this copy was stored, ms.
    pub stored_ms: i64,
    /// How often producers were asked.
    pub checks: u32,
    /// Whether it is a copy of one that was stored before.
    pub is_copy: bool,
    /// Whether an operator has brought it back.
    pub is_resumed: bool,
    /// How long its producer wants to be left alone, ms.
    pub immunity_ms: Option<i64>,
}

impl Half {
    /// Reads a half message from its record.
    pub fn of(record: &Record<'_>) -> Self {
        let get = |name| names::get(record.properties, name);
        let checks = get(names::TRANSACTION_CHECK_TIMES).and_then(|times| times.parse().ok());
        let topic = get(names::REAL_TOPIC).filter(|topic| !is_reserved(topic));
        Self {
            physical: record.physical_offset as u64,
            key: HalfKey::of(record),
            group: get(names::PGROUP).unwrap_or_default().into(),
            topic: topic.map(Into::into),
            stored_ms: record.store_timestamp,
            checks: checks.unwrap_or(0),
            is_copy: checks.is_some_and(|times| times > 0),
            is_resumed: checks == Some(0),
            immunity_ms: immunity_ms(record.properties),
        }
    }

    /// From when on its age counts, ms: an operator who brings one back gives it a new life.
    pub fn life_began_ms(&self) -> i64 {
        if self.is_resumed { self.stored_ms } else { self.key.born_ms.min(self.stored_ms) }
    }
}

/// The time for which a producer wants to be left alone with its message, if it says so.
pub fn immunity_ms(properties: &str) -> Option<i64> {
    let seconds: i64 =
        names::get(properties, names::CHECK_IMMUNITY_TIME_IN_SECONDS)?.parse().ok()?;
    (seconds >= 0).then(|| seconds.saturating_mul(1000))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A half message's record with these properties behind the usual ones.
    pub fn half_record<'a>(properties: &'a str, physical: i64) -> Record<'a> {
        Record {
            queue_id: 0,
            flag: 7,
            queue_offset: 4,
            physical_offset: physical,
            sys_flag: 1,
            born_timestamp: 1000,
            born_host: "10.0.0.1:1".parse().unwrap(),
            store_timestamp: 2000,
            store_host: "10.0.0.2:2".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: 0,
            body: b"body",
            topic: "RMQ_SYS_TRANS_HALF_TOPIC",
            properties,
        }
    }

    #[test]
    fn a_half_message_is_read_from_what_java_writes() {
        let text = "UNIQ_KEY\u{1}K\u{2}PGROUP\u{1}g\u{2}REAL_TOPIC\u{1}t\u{2}REAL_QID\u{1}3\u{2}\
            TRAN_MSG\u{1}true\u{2}TRANSACTION_CHECK_TIMES\u{1}2\u{2}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}5\u{2}";
        let half = Half::of(&half_record(text, 77));
        assert_eq!((half.physical, half.checks, half.immunity_ms), (77, 2, Some(5000)));
        assert_eq!((&*half.group, half.topic.as_deref()), ("g", Some("t")));
        assert_eq!(half.key, HalfKey { unique_key: "K".into(), born_ms: 1000 });
        assert!(half.is_copy && !half.is_resumed);
        assert_eq!(half.life_began_ms(), 1000);
    }

    #[test]
    fn one_that_was_brought_back_begins_a_new_life() {
        let half = Half::of(&half_record("TRANSACTION_CHECK_TIMES\u{1}0\u{2}", 1));
        assert!(half.is_resumed && !half.is_copy);
        assert_eq!(half.life_began_ms(), 2000);
    }

    #[test]
    fn nonsense_is_nothing() {
        let text = "TRANSACTION_CHECK_TIMES\u{1}x\u{2}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}-1\u{2}\
            REAL_TOPIC\u{1}RMQ_SYS_TRANS_HALF_TOPIC\u{2}";
        let half = Half::of(&half_record(text, 1));
        assert_eq!((half.checks, half.immunity_ms, half.topic), (0, None, None));
    }
}
