//! What kind of messages a topic is for, as its attributes say.
//!
//! | attribute | value | what comes of it |
//! |---|---|---|
//! | `message.type` | one of `MESSAGE_TYPES` | with `PRIORITY`, pops take the queues from the highest number down; brokers check sends against none of them (the proxy does) |
//! | `queue.type` | `SimpleCQ` | as without it |
//! | | `BatchCQ` | refused: such a topic keeps a client batch as one record, and its queues in files of another kind (store.md 2.4), which are not served |
//!
//! A topic with `BatchCQ` may come with a store of the Java broker. Its messages stay in the log as they
//! are, and nothing is made of them that a Java broker would not start with; sends and reads are refused.

use std::collections::BTreeMap;

const MESSAGE_TYPE: &str = "message.type";
const QUEUE_TYPE: &str = "queue.type";
const BATCH_QUEUE: &str = "BatchCQ";
const PRIORITY: &str = "PRIORITY";

/// What `message.type` may be.
const MESSAGE_TYPES: [&str; 8] =
    ["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", PRIORITY, "LITE", "MIXED"];

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicKind {
    /// Its queues are for messages of different priorities: the higher the number, the more urgent.
    pub has_priorities: bool,
    /// It keeps client batches as one record; not served.
    pub is_batch_queue: bool,
}

impl TopicKind {
    /// What the attributes say.
    pub fn of(attributes: &BTreeMap<String, String>) -> Self {
        let is = |name: &str, value: &str| attributes.get(name).is_some_and(|is| is == value);
        Self {
            has_priorities: is(MESSAGE_TYPE, PRIORITY),
            is_batch_queue: is(QUEUE_TYPE, BATCH_QUEUE),
        }
    }
}

/// What is wrong with this value of this attribute, if it is one of these.
pub fn check(attribute: &str, value: &str) -> Result<(), &'static str> {
    match attribute {
        MESSAGE_TYPE if !MESSAGE_TYPES.contains(&value) => {
            Err("must be UNSPECIFIED, NORMAL, FIFO, DELAY, TRANSACTION, PRIORITY, LITE or MIXED")
        }
        QUEUE_TYPE if value == BATCH_QUEUE => Err(
            "BatchCQ is not served: batches are kept message by message, SimpleCQ takes them too",
        ),
        QUEUE_TYPE if value != "SimpleCQ" => Err("must be SimpleCQ"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_say_the_kind() {
        let of = |name: &str, value: &str| {
            TopicKind::of(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(TopicKind::of(&BTreeMap::new()), TopicKind::default());
        assert!(of(MESSAGE_TYPE, "PRIORITY").has_priorities);
        assert!(!of(MESSAGE_TYPE, "NORMAL").has_priorities);
        assert!(of(QUEUE_TYPE, "BatchCQ").is_batch_queue);
        assert!(!of(QUEUE_TYPE, "SimpleCQ").is_batch_queue);
    }

    #[test]
    fn values_are_checked_when_they_are_set() {
        for (attribute, value) in [(MESSAGE_TYPE, "PRIORITY"), (QUEUE_TYPE, "SimpleCQ"), ("x", "")]
        {
            assert_eq!(check(attribute, value), Ok(()));
        }
        assert!(check(MESSAGE_TYPE, "priority").unwrap_err().starts_with("must be UNSPECIFIED"));
        assert!(check(QUEUE_TYPE, "BatchCQ").unwrap_err().starts_with("BatchCQ is not served"));
        assert!(check(QUEUE_TYPE, "Other").unwrap_err().starts_with("must be"));
    }
}
