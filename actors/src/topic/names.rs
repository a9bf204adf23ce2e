//! Names with a meaning: system topics, prefixes, and what a name may look like (wire.md 5.1, 5.2).

use thiserror::Error;

/// The template for topics that a send creates.
pub const TBW102: &str = "TBW102";
/// Delayed messages, one queue per level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Half messages of transactions.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// What became of half messages.
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that nobody could decide on.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// The broker's self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Offsets moved by the broker.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// The topic of the official benchmark.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Timed messages of 5.x.
pub const WHEEL_TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Topics with this prefix belong to the system.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// A group's retried messages.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// A group's dead letters.
pub const DLQ_PREFIX: &str = "%DLQ%";

/// Permission bit: template for topics made by sends.
pub const PERM_INHERIT: i32 = 1;
/// Permission bit: may be written.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: may be read.
pub const PERM_READ: i32 = 4;

/// Longest topic name, in bytes; retry and dead-letter topics may have [`RETRY_TOPIC_BYTES_MAX`].
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest name of a retry or dead-letter topic.
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;
/// Longest group name.
pub const GROUP_BYTES_MAX: usize = 255;

/// Topics that clients must not send to.
const RESERVED: [&str; 6] = [
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// Why a name cannot be a topic's. The texts are Java's: tools show them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidTopic {
    /// Empty or blanks only.
    #[error("The specified topic is blank.")]
    Blank,
    /// A character that names may not have.
    #[error(
        "The specified topic: {0}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    )]
    Characters(String),
    /// Longer than allowed.
    #[error("The specified topic: {0}, is longer than topic max length: {1}")]
    TooLong(String, usize),
}

/// Checks a topic's name as the Java broker does.
pub fn validate_topic(topic: &str) -> Result<(), InvalidTopic> {
    if topic.trim().is_empty() {
        return Err(InvalidTopic::Blank);
    }
    if !topic.bytes().all(is_name_byte) {
        return Err(InvalidTopic::Characters(topic.into()));
    }
    let max = if is_retry_or_dlq(topic) { RETRY_TOPIC_BYTES_MAX } else { TOPIC_BYTES_MAX };
    if topic.len() > max {
        return Err(InvalidTopic::TooLong(topic.into(), max));
    }
    Ok(())
}

/// The same for a topic that the broker itself makes: the newer names of retry topics have a plus sign, which
/// no client may use.
pub fn validate_internal(topic: &str) -> Result<(), InvalidTopic> {
    match topic.split_once('+') {
        Some((group, of)) if group.starts_with(RETRY_PREFIX) => {
            let same = validate_topic(&format!("{group}_{of}"));
            same.map_err(|e| match e {
                InvalidTopic::Characters(_) => InvalidTopic::Characters(topic.into()),
                other => other,
            })
        }
        _ => validate_topic(topic),
    }
}

/// Whether this byte may stand in a topic's or group's name.
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'-' | b'_')
}

/// Whether it holds a group's retried messages or dead letters.
pub fn is_retry_or_dlq(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX)
}

/// Whether clients must not send to it.
pub fn is_reserved(topic: &str) -> bool {
    RESERVED.contains(&topic)
}

/// Whether it belongs to the system, so that users may neither create nor delete it.
pub fn is_system_topic(topic: &str) -> bool {
    RESERVED.contains(&topic)
        || [TBW102, BENCHMARK_TOPIC, TRACE_TOPIC].contains(&topic)
        || topic.starts_with(SYSTEM_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_java_does() {
        for good in ["a", "%RETRY%g-1", "ns%topic|x_9", &"a".repeat(127)] {
            assert_eq!(validate_topic(good), Ok(()), "{good}");
        }
        assert_eq!(validate_topic(" "), Err(InvalidTopic::Blank));
        assert!(
            validate_topic("bad topic").unwrap_err().to_string().contains("illegal characters")
        );
        assert!(validate_topic("bad$topic").is_err());
        assert!(validate_topic(&"a".repeat(128)).unwrap_err().to_string().ends_with("length: 127"));
        assert_eq!(validate_topic(&format!("{RETRY_PREFIX}{}", "g".repeat(200))), Ok(()));
        assert!(validate_topic(&format!("{RETRY_PREFIX}{}", "g".repeat(249))).is_err());
    }

    #[test]
    fn only_the_broker_may_name_a_retry_topic_with_a_plus_sign() {
        assert_eq!(validate_internal("%RETRY%g+t"), Ok(()));
        assert!(validate_topic("%RETRY%g+t").is_err());
        for bad in ["g+t", "%DLQ%g+t", "%RETRY%g+t+u", "%RETRY%g+ t"] {
            let error = validate_internal(bad).unwrap_err();
            assert_eq!(error, InvalidTopic::Characters(bad.into()));
        }
    }

    #[test]
    fn reserved_and_system_topics() {
        assert!(is_reserved(SCHEDULE_TOPIC) && !is_reserved(TBW102));
        assert!(is_system_topic("rmq_sys_x") && is_system_topic(TBW102) && !is_system_topic("t"));
    }
}
