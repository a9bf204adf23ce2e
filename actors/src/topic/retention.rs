//! How long a topic keeps its messages, as its attributes say.
//!
//! | attribute | value | meaning |
//! |---|---|---|
//! | `retention.ms` | milliseconds, more than 0 | older messages are not delivered any more |
//! | `retention.bytes` | bytes, more than 0 | of all queues together; the oldest messages go first |
//! | `retention.from` | a time in ms, more than 0 | messages that were stored earlier are not delivered any more: how `gantry admin dlq purge` forgets dead letters |
//! | `retention.unconsumed` | `keep` or `delete` | `keep`: as `neverDeleteUnconsumed`, for this topic |
//!
//! Attributes are kept in `topics.json` as the Java broker keeps its own, which takes no notice of
//! these. A value that cannot be read is refused when it is set; in a file it counts as not there.

use std::collections::BTreeMap;

/// Milliseconds.
const MS: &str = "retention.ms";
/// Bytes.
const BYTES: &str = "retention.bytes";
/// Milliseconds since 1970.
const FROM: &str = "retention.from";
/// `keep` or `delete`.
const UNCONSUMED: &str = "retention.unconsumed";

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRetention {
    /// How long messages are delivered, in ms.
    pub ms: Option<i64>,
    /// How many bytes of messages there are at most.
    pub bytes: Option<u64>,
    /// Messages that were stored before this time are not delivered, in ms.
    pub from_ms: Option<i64>,
    /// Whether messages stay in the log until every group has consumed them.
    pub keeps_unconsumed: bool,
}

impl TopicRetention {
    /// What the attributes say.
    pub fn of(attributes: &BTreeMap<String, String>) -> Self {
        let get = |key: &str| attributes.get(key).map(String::as_str);
        Self {
            ms: get(MS).and_then(|value| positive(value).ok()),
            bytes: get(BYTES).and_then(|value| positive(value).ok()).map(i64::cast_unsigned),
            from_ms: get(FROM).and_then(|value| positive(value).ok()),
            keeps_unconsumed: get(UNCONSUMED) == Some("keep"),
        }
    }

    /// Whether messages may go before the log's files do.
    pub fn has_limit(&self) -> bool {
        self.ms.is_some() || self.bytes.is_some() || self.from_ms.is_some()
    }
}

/// What is wrong with this value of this attribute, if it is one of retention.
pub fn check(attribute: &str, value: &str) -> Result<(), &'static str> {
    match attribute {
        MS | BYTES | FROM => positive(value).map(drop),
        UNCONSUMED if !matches!(value, "keep" | "delete") => Err("must be keep or delete"),
        _ => Ok(()),
    }
}

fn positive(value: &str) -> Result<i64, &'static str> {
    let number = value.parse::<i64>().ok().filter(|number| *number > 0);
    number.ok_or("must be a number from 1 on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &[(&str, &str)]) -> TopicRetention {
        let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        TopicRetention::of(&attributes.collect())
    }

    #[test]
    fn attributes_say_what_is_kept() {
        assert_eq!(of(&[("cleanup.policy", "DELETE")]), TopicRetention::default());
        let all = of(&[(MS, "1000"), (BYTES, "5"), (FROM, "7"), (UNCONSUMED, "keep")]);
        let expected = TopicRetention {
            ms: Some(1000),
            bytes: Some(5),
            from_ms: Some(7),
            keeps_unconsumed: true,
        };
        assert_eq!(all, expected);
        assert!(of(&[(FROM, "7")]).has_limit());
        assert!(all.has_limit() && !of(&[(UNCONSUMED, "keep")]).has_limit());
        assert_eq!(of(&[(MS, "-1"), (BYTES, "x"), (UNCONSUMED, "yes")]), TopicRetention::default());
    }

    #[test]
    fn only_our_own_attributes_are_checked() {
        for (attribute, value) in
            [(MS, "1"), (BYTES, "9223372036854775807"), (UNCONSUMED, "delete"), ("x", "")]
        {
            assert_eq!(check(attribute, value), Ok(()));
        }
        for (attribute, value) in
            [(MS, "0"), (MS, "1h"), (FROM, "now"), (BYTES, "-1"), (UNCONSUMED, "never")]
        {
            assert!(check(attribute, value).unwrap_err().starts_with("must be"), "{value}");
        }
    }
}
