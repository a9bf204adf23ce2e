//! What the transactions' actor is asked, and why it refuses.

use std::sync::Arc;

use actix::Message;
use thiserror::Error;
use tokio::sync::oneshot;

use super::{forms::FormError, half::immunity_ms};
use gantry_codec::{Record, properties as names};

use crate::topic::names::HALF_TOPIC;

/// What a producer wants to become of its half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Consumers get it.
    Commit,
    /// Nobody gets it.
    Rollback,
}

/// The end of a transaction, as a producer asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The producer's group.
    pub group: Box<str>,
    /// The half message's offset in its queue.
    pub half: i64,
    /// Where its record is in the log.
    pub physical: i64,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Whether the producer was asked.
    pub is_from_check: bool,
}

/// Ends of one connection's burst of requests, to which nobody waits for an answer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EndBurst(pub Vec<End>);

/// One end, answered when what it asks for is in the log.
#[derive(Message)]
#[rtype(result = "Result<(), EndRefusal>")]
pub struct EndTransaction(pub End);

/// Groups that had no producer have one.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GroupsAppeared(pub Vec<Arc<str>>);

/// Why a transaction is not ended. The texts that Java has are Java's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EndRefusal {
    /// No half message is at that place of the log.
    #[error("Find prepared transaction message failed")]
    NotFound,
    /// Another group's.
    #[error("The producer group wrong")]
    Group,
    /// Another half message is at that place.
    #[error("The transaction state table offset wrong")]
    Offset,
    /// Its producer said how long it would take, and took longer; it will be asked.
    #[error(
        "the time that the producer asked for is over, it will be asked for the transaction's state"
    )]
    TooLate,
    /// It was given up before.
    #[error("the transaction was given up, its half message is kept in TRANS_CHECK_MAX_TIME_TOPIC")]
    GivenUp,
    /// It is committed or rolled back.
    #[error("the transaction is ended already")]
    Ended,
    /// It cannot become a message.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The log did not take it; why.
    #[error("{0}")]
    NotStored(String),
    /// Too many wait for the log.
    #[error("too many transactions are being ended, the producer will be asked for this one")]
    Busy,
}

impl End {
    /// Whether it is the end of the half message in `record`, at a time when it may be; the checks and
    /// their order are Java's.
    pub fn check(
        &self,
        record: &Record<'_>,
        now_ms: i64,
        timeout_ms: i64,
    ) -> Result<(), EndRefusal> {
        if record.topic != HALF_TOPIC {
            return Err(EndRefusal::NotFound);
        }
        // By this broker's clock, which no producer can set wrong.
        let age = now_ms - record.store_timestamp;
        if !self.is_from_check
            && immunity_ms(record.properties).is_some_and(|immune| age > immune.max(timeout_ms))
        {
            return Err(EndRefusal::TooLate);
        }
        if names::get(record.properties, names::PGROUP) != Some(&self.group) {
            return Err(EndRefusal::Group);
        }
        if record.queue_offset != self.half {
            return Err(EndRefusal::Offset);
        }
        Ok(())
    }
}

/// An end, and who waits for its answer.
pub struct EndOrder {
    /// The end.
    pub end: End,
    /// Where the answer goes.
    pub answer: Option<oneshot::Sender<Result<(), EndRefusal>>>,
}

impl EndOrder {
    /// Answers it.
    pub fn answer(self, answer: Result<(), EndRefusal>) {
        if let Some(sender) = self.answer {
            // Nobody waits any more if the connection is gone.
            let _ = sender.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::half::tests::half_record;

    fn end(half: i64, group: &str) -> End {
        let outcome = Outcome::Commit;
        End { group: group.into(), half, physical: 77, outcome, is_from_check: false }
    }

    fn checked(end: &End, properties: &str, now_ms: i64) -> Result<(), EndRefusal> {
        end.check(&half_record(properties, 77), now_ms, 6000)
    }

    #[test]
    fn only_the_half_message_that_it_names_is_ended() {
        let text = "PGROUP\u{1}g\u{2}";
        assert_eq!(checked(&end(4, "g"), text, 2000), Ok(()));
        assert_eq!(checked(&end(4, "h"), text, 2000), Err(EndRefusal::Group));
        assert_eq!(checked(&end(5, "g"), text, 2000), Err(EndRefusal::Offset));
        assert_eq!(checked(&end(4, "g"), "", 2000), Err(EndRefusal::Group));
        let other = Record { topic: "t", ..half_record(text, 77) };
        assert_eq!(end(4, "g").check(&other, 2000, 6000), Err(EndRefusal::NotFound));
    }

    #[test]
    fn who_asked_for_a_time_has_no_more_than_that() {
        let text = "PGROUP\u{1}g\u{2}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}10\u{2}";
        assert_eq!(checked(&end(4, "g"), text, 12_000), Ok(()));
        assert_eq!(checked(&end(4, "g"), text, 12_001), Err(EndRefusal::TooLate));
        let asked = End { is_from_check: true, ..end(4, "g") };
        assert_eq!(checked(&asked, text, 12_001), Ok(()));
        let short = "PGROUP\u{1}g\u{2}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}";
        assert_eq!(checked(&end(4, "g"), short, 8000), Ok(()), "the timeout is the least");
        assert_eq!(checked(&end(4, "g"), "PGROUP\u{1}g\u{2}", 900_000), Ok(()));
    }
}
