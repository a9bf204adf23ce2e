//! What a pop tells its client about the messages, as text in header fields and in a property.
//!
//! | text | form |
//! |---|---|
//! | [`ExtraInfo`], the property `POP_CK` | `<startOffset> <popTime> <invisibleTime> <reviveQid> <mark> <broker> <queueId> <offset>` |
//! | `startOffsetInfo` | `<mark> <queueId> <startOffset>` |
//! | `msgOffsetInfo` | `<mark> <queueId> <offset>,<offset>,…` |
//! | `orderCountInfo` | `<mark> <queueId> <times>` or `<mark> qo<queueId>%<offset> <times>` |
//!
//! Entries of the three lists are joined by `;`. A client makes the property of each message out of
//! the answer's fields and these lists, by mark, queue and place among the offsets in rising order; two
//! entries for one mark and queue make it throw, so [`OffsetInfo`] is to be given each queue once. An
//! acknowledgement brings the property back as it was.

use std::fmt::{self, Write};

use thiserror::Error;

/// In place of a revive queue: popped in order, the broker keeps the order elsewhere.
pub const ORDER_REVIVE_QUEUE: i32 = 999;

/// Which of a group's topics a message was popped from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicMark {
    /// The topic that was asked for.
    #[default]
    Normal,
    /// The group's retry topic for it, `%RETRY%<group>_<topic>`.
    Retry,
    /// The same with a name of the second form, `%RETRY%<group>+<topic>`.
    RetryV2,
}

impl TopicMark {
    /// Its text.
    pub fn text(self) -> &'static str {
        match self {
            Self::Normal => "0",
            Self::Retry => "1",
            Self::RetryV2 => "2",
        }
    }

    /// The mark that this text is; whatever is not known counts as normal, as it does for Java.
    pub fn of(text: &str) -> Self {
        match text {
            "1" => Self::Retry,
            "2" => Self::RetryV2,
            _ => Self::Normal,
        }
    }

    /// The topic that a mark means for a group that asked for `topic`.
    pub fn real_topic(self, topic: &str, group: &str) -> String {
        match self {
            Self::Normal => topic.to_owned(),
            Self::Retry => format!("%RETRY%{group}_{topic}"),
            Self::RetryV2 => format!("%RETRY%{group}+{topic}"),
        }
    }
}

/// Which pop a message came from, as its client gives it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraInfo<'a> {
    /// Where the pop's messages of this queue began.
    pub start_offset: i64,
    /// When it was popped, ms.
    pub pop_time: i64,
    /// How long it is hidden from then on, ms.
    pub invisible_time: i64,
    /// The queue of the revive topic; [`ORDER_REVIVE_QUEUE`]: popped in order.
    pub revive_qid: i32,
    /// Which topic it was popped from.
    pub mark: TopicMark,
    /// The broker.
    pub broker_name: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// The message's offset in its queue; old clients leave it out.
    pub offset: Option<i64>,
}

/// Why a text is no [`ExtraInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtraInfoError {
    /// It ends too early.
    #[error("the pop information {text:?} has no {field}")]
    Missing {
        /// The text.
        text: String,
        /// The first part that is missing.
        field: &'static str,
    },
    /// A part is no number.
    #[error("the pop information {text:?} has {value:?} for its {field}")]
    Number {
        /// The text.
        text: String,
        /// The part.
        field: &'static str,
        /// What stands there.
        value: String,
    },
}

impl<'a> ExtraInfo<'a> {
    /// Reads the text of the property.
    pub fn parse(text: &'a str) -> Result<Self, ExtraInfoError> {
        let mut parts = Parts { text, rest: text.split(' ') };
        Ok(Self {
            start_offset: parts.number("start offset")?,
            pop_time: parts.number("pop time")?,
            invisible_time: parts.number("invisible time")?,
            revive_qid: parts.number("revive queue")?,
            mark: TopicMark::of(parts.next("topic mark")?),
            broker_name: parts.next("broker name")?,
            queue_id: parts.number("queue")?,
            offset: parts.rest.clone().next().map(|_| parts.number("offset")).transpose()?,
        })
    }

    /// Whether it was popped in order.
    pub fn is_order(&self) -> bool {
        self.revive_qid == ORDER_REVIVE_QUEUE
    }
}

impl fmt::Display for ExtraInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_offset, pop_time, invisible_time, revive_qid, .. } = self;
        let (mark, broker, queue) = (self.mark.text(), self.broker_name, self.queue_id);
        write!(
            f,
            "{start_offset} {pop_time} {invisible_time} {revive_qid} {mark} {broker} {queue}"
        )?;
        self.offset.map_or(Ok(()), |offset| write!(f, " {offset}"))
    }
}

struct Parts<'a> {
    text: &'a str,
    rest: std::str::Split<'a, char>,
}

impl<'a> Parts<'a> {
    fn next(&mut self, field: &'static str) -> Result<&'a str, ExtraInfoError> {
        let missing = || ExtraInfoError::Missing { text: self.text.to_owned(), field };
        self.rest.next().ok_or_else(missing)
    }

    fn number<T: std::str::FromStr>(&mut self, field: &'static str) -> Result<T, ExtraInfoError> {
        let value = self.next(field)?;
        value.parse().map_err(|_| ExtraInfoError::Number {
            text: self.text.to_owned(),
            field,
            value: value.to_owned(),
        })
    }
}

/// The three lists of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetInfo {
    /// `startOffsetInfo`.
    pub start: String,
    /// `msgOffsetInfo`.
    pub messages: String,
    /// `orderCountInfo`.
    pub order_counts: String,
}

impl OffsetInfo {
    /// Adds a queue with the offsets of its messages in rising order. To be called once per mark and
    /// queue.
    pub fn add_queue(
        &mut self,
        mark: TopicMark,
        queue_id: i32,
        start_offset: i64,
        offsets: &[i64],
    ) {
        let mark = mark.text();
        // Writing to a string does not fail.
        let _ = write!(begin(&mut self.start), "{mark} {queue_id} {start_offset}");
        let _ = write!(begin(&mut self.messages), "{mark} {queue_id} ");
        for (place, offset) in offsets.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let _ = write!(self.messages, "{comma}{offset}");
        }
    }

    /// Adds how often the messages of an ordered queue have been delivered before: each of them that
    /// was, and the least of all for clients that know only that.
    pub fn add_order_counts(
        &mut self,
        mark: TopicMark,
        queue_id: i32,
        by_offset: impl Iterator<Item = (i64, i32)>,
        least: i32,
    ) {
        let mark = mark.text();
        for (offset, times) in by_offset {
            let counts = begin(&mut self.order_counts);
            let _ = write!(counts, "{mark} qo{queue_id}%{offset} {times}");
        }
        let _ = write!(begin(&mut self.order_counts), "{mark} {queue_id} {least}");
    }
}

fn begin(list: &mut String) -> &mut String {
    if !list.is_empty() {
        list.push(';');
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_is_read_back() {
        let text = "10 1700000000000 60000 3 1 broker-a 2 12";
        let info = ExtraInfo::parse(text).unwrap();
        assert_eq!((info.start_offset, info.offset), (10, Some(12)));
        assert_eq!((info.mark, info.broker_name, info.queue_id), (TopicMark::Retry, "broker-a", 2));
        assert!(!info.is_order());
        assert_eq!(info.to_string(), text);
        let old = "0 1 2 999 0 b 4";
        let info = ExtraInfo::parse(old).unwrap();
        assert!(info.is_order() && info.offset.is_none());
        assert_eq!(info.to_string(), old);
    }

    #[test]
    fn what_is_wrong_with_the_property_is_named() {
        for (text, error) in [
            ("", "the pop information \"\" has \"\" for its start offset"),
            ("1 2 3", "the pop information \"1 2 3\" has no revive queue"),
            ("1 2 3 4 0 b x", "the pop information \"1 2 3 4 0 b x\" has \"x\" for its queue"),
            ("1 2 3 4 0 b 5 ", "the pop information \"1 2 3 4 0 b 5 \" has \"\" for its offset"),
        ] {
            assert_eq!(ExtraInfo::parse(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn lists_have_an_entry_per_queue() {
        let mut info = OffsetInfo::default();
        info.add_queue(TopicMark::Normal, 3, 100, &[100, 102]);
        info.add_queue(TopicMark::Retry, 0, 7, &[7]);
        assert_eq!(info.start, "0 3 100;1 0 7");
        assert_eq!(info.messages, "0 3 100,102;1 0 7");
        info.add_order_counts(TopicMark::Normal, 3, [(100, 2)].into_iter(), 0);
        assert_eq!(info.order_counts, "0 qo3%100 2;0 3 0");
    }

    #[test]
    fn marks_lead_to_topics() {
        for (text, topic) in [("0", "t"), ("1", "%RETRY%g_t"), ("2", "%RETRY%g+t"), ("x", "t")] {
            assert_eq!(TopicMark::of(text).real_topic("t", "g"), topic);
        }
    }
}
