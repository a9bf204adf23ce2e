//! Why requests about groups, producers and offsets are refused. Texts are Java's where its tools show
//! them; the codes are chosen in [`crate::error_to_wire`].

use actix::MailboxError;
use gantry_codec::{HeaderError, sql::SqlError};
use thiserror::Error;

use crate::group::groups::{NotSaved, PutGroupsError};

/// Why a request about groups, producers or offsets gets no success.
#[derive(Debug, Error)]
pub enum ControlRefusal {
    /// The request's header is unusable.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The request's body cannot be read.
    #[error("the request's body cannot be read: {0}")]
    Body(String),
    /// Nobody of the group is there to list.
    #[error("no consumer for this group, {0}")]
    NoConsumer(String),
    /// Nobody of the group is there to describe.
    #[error("the consumer group[{0}] not online")]
    Offline(String),
    /// Nobody of the group is there to ask.
    #[error("No Any Consumer online in the consumer group: [{0}]")]
    NobodyOnline(String),
    /// Nobody of the group is there to be sent elsewhere.
    #[error(
        "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} \
         Timestamp: {timestamp}"
    )]
    ResetOffline {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// Where it was to go.
        timestamp: i64,
    },
    /// A client is too old to be asked or sent anything.
    #[error("the client does not support this feature. version={0}")]
    ClientTooOld(i32),
    /// The client that is asked for is not there.
    #[error("The Consumer {0} not online")]
    ClientOffline(String),
    /// The client that is asked for does not answer.
    #[error("consumer {0} Timeout")]
    ClientTimeout(String),
    /// The message that is asked for is not there.
    #[error("can not find message by the id, {0}")]
    NoMessage(String),
    /// Nobody produces for the group.
    #[error("the producer group[{0}] not exist")]
    NoProducer(String),
    /// The group is not configured.
    #[error("Group {0} not exist!")]
    NoGroup(String),
    /// The group has no offset in a queue. The text is Java's, letter by letter.
    #[error("THe consumer group <{0}> not exist")]
    GroupWithoutOffset(String),
    /// The topic does not exist.
    #[error("Topic {0} not exist!")]
    NoTopic(String),
    /// The group has no offset, and is not to start at 0.
    #[error("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")]
    OffsetNotFound,
    /// The group has no offset, and the request itself rules 0 out.
    #[error("Not found, do not set to zero, maybe this group boot first")]
    OffsetNotFoundNorZero,
    /// The offset asked for is not one of the queue.
    #[error("Target offset {offset} not in consume queue range [{min}-{max}]")]
    OffsetRange {
        /// The offset.
        offset: i64,
        /// The queue's first.
        min: i64,
        /// The queue's end.
        max: i64,
    },
    /// Filters of this language are not served.
    #[error("The broker does not support consumer to filter message by {0}")]
    ExpressionType(String),
    /// The filter cannot be read; begins as in Java.
    #[error("Invalid MessageSelector. {0}")]
    Expression(#[from] SqlError),
    /// A group's configuration was not taken or not saved.
    #[error(transparent)]
    Config(#[from] PutGroupsError),
    /// A group's deletion was not saved.
    #[error(transparent)]
    NotSaved(#[from] NotSaved),
    /// The actor that had to answer died with the request.
    #[error(transparent)]
    Lost(#[from] MailboxError),
}
