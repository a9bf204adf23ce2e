//! Errors of the broker as response codes and remarks: the one place where they are chosen.
//!
//! Codes and texts are Java's where its tools and users know them (wire.md 1.7, 2.1, 2.3, 2.4); where
//! 4.x and 5.x differ, 5.x. Every remark says what was wrong and names it.

pub mod pop;

use std::{fmt::Display, sync::Arc};

use bytes::BytesMut;
use gantry_codec::{
    BatchError, Command, HeaderError, SendReply, request_code, response_code as rs,
};

use gantry_storage::Damage;

use crate::{
    expiry::PropertyError,
    group::{ControlRefusal, PullDenied, groups::PutGroupsError},
    log::batch::{Send, SendResult},
    registry::{Refusal, UpdateError},
    session::{PullRequest, PushFailure, SessionConfig, StoredReply},
    settings::SettingsError,
    timer::TimerRefusal,
    topic::{LightRefusal, TopicError, TopicView, names::InvalidTopic},
    transaction::EndRefusal,
};

/// Where Java points those whose topic does not exist.
const APPLY_TOPIC_HINT: &str =
    "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Why a send is refused before it reaches the log.
#[derive(Debug)]
pub enum SendRefusal {
    /// The request's header is unusable.
    Header(HeaderError),
    /// The log takes no messages; why.
    NotWritable(Arc<str>),
    /// The topic's name cannot be.
    Topic(InvalidTopic),
    /// A topic that clients must not send to.
    Reserved(String),
    /// The topic is unknown and was not made.
    NotCreated(TopicError),
    /// No queue of that number.
    QueueId {
        /// The number asked for.
        asked: i32,
        /// The topic.
        view: Arc<TopicView>,
    },
    /// The topic has no queue that takes messages.
    NoQueue(String),
    /// The queue's files cannot be read; why.
    Queue(String),
    /// The consumer group of a retry topic is unknown.
    Group(String),
    /// Half messages are refused here.
    Transactions,
    /// A half message may not be timed.
    TimedTransaction,
    /// The message cannot be timed as it asks.
    Timer(TimerRefusal),
    /// A batch may not be like that.
    BatchKind(String),
    /// A message for this topic that says that it is a batch in itself.
    InnerBatch(String),
    /// The topic keeps batches as one record, which is not served.
    BatchQueue(String),
    /// A queue that it is to be in besides its own cannot be.
    Light(LightRefusal),
    /// A batch without messages.
    EmptyBatch,
    /// A batch that cannot be read.
    Batch(BatchError),
    /// A property says nothing one could go by.
    Property(PropertyError),
    /// The body is too large.
    BodyTooLarge {
        /// Its bytes.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// The properties are too long.
    PropertiesTooLarge {
        /// Their bytes.
        len: usize,
        /// What is allowed.
        max: usize,
    },
}

impl From<TopicError> for SendRefusal {
    fn from(e: TopicError) -> Self {
        Self::NotCreated(e)
    }
}

/// Why a pull is refused.
#[derive(Debug)]
pub enum PullRefusal {
    /// The request's header is unusable.
    Header(HeaderError),
    /// The broker may not be read.
    Broker,
    /// The group is not allowed to consume.
    GroupDisabled(String),
    /// What the group has subscribed does not allow it.
    Denied(PullDenied, String),
    /// The topic is unknown.
    Topic(String),
    /// The topic keeps batches as one record, which is not served.
    BatchQueue(String),
    /// The topic may not be read.
    TopicPermission(String),
    /// No queue of that number.
    QueueId {
        /// The number asked for.
        asked: i32,
        /// The topic.
        view: Arc<TopicView>,
    },
    /// The queue's files cannot be read; why.
    Queue(String),
    /// The expression cannot be read.
    Expression(String),
    /// Filtering by SQL92 is not served.
    Sql92,
    /// The group's SQL92 filter is not there: no heartbeat has brought it, or it cannot be read.
    NoFilter,
    /// The group's SQL92 filter is older than the subscription that the client pulls by.
    OldFilter,
}

fn refuse(cmd: &Command, code: i32, remark: impl Display) -> Command {
    Command::response(code, cmd).with_remark(remark.to_string())
}

/// A code that is not served (wire.md 1.7); the remark names it.
pub fn unsupported(cmd: &Command) -> Command {
    let name = request_code::name(cmd.code).map(|name| format!(" ({name})")).unwrap_or_default();
    let remark = format!(" request type {}{name} not supported", cmd.code);
    refuse(cmd, rs::REQUEST_CODE_NOT_SUPPORTED, remark)
}

/// A header field that is missing or cannot be read.
pub fn bad_header(cmd: &Command, error: &HeaderError) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, error)
}

/// The id of a message's place that is none.
pub fn bad_message_id(cmd: &Command, id: &str, error: &impl Display) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, format!("{id:?} is no id of a stored message: {error}"))
}

/// The actor that had to answer died with the request.
pub fn lost(cmd: &Command) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, "the request was lost by an internal failure, try again")
}

/// A queue that does not exist.
pub fn no_queue(cmd: &Command, topic: &str, queue_id: i32) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, format!("the topic[{topic}] has no queue {queue_id}"))
}

/// An answer that cannot be put into JSON.
pub fn unwritable(cmd: &Command, error: &impl Display) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, format!("the answer cannot be written: {error}"))
}

/// The topic does not exist.
pub fn no_topic(cmd: &Command, topic: &str) -> Command {
    let remark = format!("topic[{topic}] not exist, apply first please! {APPLY_TOPIC_HINT}");
    refuse(cmd, rs::TOPIC_NOT_EXIST, remark)
}

/// Files that an operator wanted removed, and that could not be.
pub fn not_cleaned(cmd: &Command, reason: &str) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, reason)
}

/// An order for a static topic, whose queues are numbered over several brokers.
pub fn no_static_topics(cmd: &Command) -> Command {
    let topic = cmd.ext.get("topic").unwrap_or_default();
    let remark = format!(
        "static topics are not served: topic[{topic}] can be made as a plain one (updateTopic)"
    );
    refuse(cmd, rs::REQUEST_CODE_NOT_SUPPORTED, remark)
}

/// A statistic that there is not.
pub fn no_statistic(cmd: &Command, name: &str, key: &str) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, format!("The stats <{name}> <{key}> not exist"))
}

/// A body that is not the JSON that it has to be.
pub fn bad_body(cmd: &Command, error: &impl Display) -> Command {
    refuse(cmd, rs::INVALID_PARAMETER, format!("the body cannot be read: {error}"))
}

/// A body that has to be the text of a properties file, and is not.
pub fn bad_properties(cmd: &Command, reason: &str) -> Command {
    refuse(cmd, rs::INVALID_PARAMETER, format!("the properties cannot be read: {reason}"))
}

/// A change of the configuration that was refused.
pub fn settings(cmd: &Command, error: &SettingsError) -> Command {
    let code = match error {
        SettingsError::Refused(_) => rs::INVALID_PARAMETER,
        SettingsError::File { .. } => rs::SYSTEM_ERROR,
    };
    refuse(cmd, code, error)
}

/// A consumer group that does not exist and may not be made.
pub fn no_group(cmd: &Command, error: &impl Display) -> Command {
    let remark = format!("{error} {APPLY_TOPIC_HINT}");
    refuse(cmd, rs::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
}

/// The remark of a pull whose queue could not be read.
pub const UNREADABLE_QUEUE: &str =
    "the queue could not be read; the broker's log says why, or try again";

/// The remark of a pull that would lead past expired messages of which no dead letters can be made.
pub fn not_buried(request: &PullRequest, why: &str) -> String {
    let (topic, queue) = (&request.slot.topic, request.slot.queue_id);
    format!(
        "messages of queue {queue} of topic[{topic}] have expired, and cannot be made dead letters: {why}"
    )
}

/// The remark of a pull whose first message is damaged.
pub fn damaged(request: &PullRequest, damage: &Damage) -> String {
    let (topic, queue, offset) = (&request.slot.topic, request.slot.queue_id, request.offset);
    format!(
        "message {offset} of queue {queue} of topic[{topic}] cannot be read: {damage}; to go on behind it, \
         set the group's offset to {} or skipDamagedMessages",
        offset + 1
    )
}

/// The files of a queue cannot be read.
pub fn broken_queue(cmd: &Command, why: &str) -> Command {
    refuse(cmd, rs::SYSTEM_ERROR, format!("the queue cannot be read: {why}"))
}

/// A change of topics that failed.
pub fn topic(cmd: &Command, error: &TopicError) -> Command {
    let (code, remark) = topic_error(error);
    refuse(cmd, code, remark)
}

fn topic_error(error: &TopicError) -> (i32, String) {
    match error {
        TopicError::Name(_)
        | TopicError::System(_)
        | TopicError::Queues { .. }
        | TopicError::Attribute { .. } => (rs::INVALID_PARAMETER, error.to_string()),
        TopicError::NotCreated { .. } => {
            (rs::TOPIC_NOT_EXIST, format!("{error} {APPLY_TOPIC_HINT}"))
        }
        TopicError::File(_) => (rs::SYSTEM_ERROR, error.to_string()),
    }
}

/// A send that was refused before it reached the log.
pub fn refused_send(cmd: &Command, refusal: &SendRefusal, config: &SessionConfig) -> Command {
    let (code, remark) = match refusal {
        SendRefusal::Header(e) => (rs::SYSTEM_ERROR, e.to_string()),
        SendRefusal::NotWritable(why) => {
            (rs::SERVICE_NOT_AVAILABLE, format!("service not available now. {why}"))
        }
        SendRefusal::Topic(e) => (rs::INVALID_PARAMETER, e.to_string()),
        SendRefusal::Reserved(topic) => {
            (rs::NO_PERMISSION, format!("Sending message to topic[{topic}] is forbidden."))
        }
        SendRefusal::NotCreated(e) => topic_error(e),
        SendRefusal::QueueId { asked, view } => (rs::INVALID_PARAMETER, queue_id(*asked, view)),
        SendRefusal::NoQueue(topic) => {
            (rs::SYSTEM_ERROR, format!("topic[{topic}] has no queue to write to"))
        }
        SendRefusal::Queue(why) => (rs::SYSTEM_ERROR, format!("the queue cannot be opened: {why}")),
        SendRefusal::Group(group) => (
            rs::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group not exist, {group} {APPLY_TOPIC_HINT}"),
        ),
        SendRefusal::Transactions => {
            let remark = format!(
                "the broker[{}] sending transaction message is forbidden",
                config.store_host.ip()
            );
            (rs::NO_PERMISSION, remark)
        }
        SendRefusal::TimedTransaction => {
            (rs::MESSAGE_ILLEGAL, "transactional messages do not support timed delivery".to_owned())
        }
        SendRefusal::Timer(why) => match why {
            TimerRefusal::Illegal { .. } => (rs::MESSAGE_ILLEGAL, why.to_string()),
            TimerRefusal::Off | TimerRefusal::Congested { .. } => {
                (rs::SYSTEM_ERROR, why.to_string())
            }
        },
        SendRefusal::BatchKind(why) => (rs::MESSAGE_ILLEGAL, format!("batch request {why}")),
        SendRefusal::InnerBatch(topic) => (
            rs::MESSAGE_ILLEGAL,
            format!("the message is illegal, topic[{topic}] does not take inner batches"),
        ),
        SendRefusal::BatchQueue(topic) => (rs::NO_PERMISSION, batch_queue(topic)),
        SendRefusal::Light(e @ LightRefusal::Name(_)) => (rs::MESSAGE_ILLEGAL, e.to_string()),
        SendRefusal::Light(e @ LightRefusal::TooMany) => {
            (rs::LMQ_CONSUME_QUEUE_NUM_EXCEEDED, e.to_string())
        }
        SendRefusal::Property(e) => (rs::MESSAGE_ILLEGAL, format!("the message is illegal, {e}")),
        SendRefusal::EmptyBatch => (rs::MESSAGE_ILLEGAL, "the batch holds no message".to_owned()),
        SendRefusal::Batch(e) => (rs::MESSAGE_ILLEGAL, format!("the batch cannot be read: {e}")),
        SendRefusal::BodyTooLarge { len, max } => (
            rs::MESSAGE_ILLEGAL,
            format!(
                "the message is illegal, maybe msg body of {len} bytes over the limit of {max}"
            ),
        ),
        SendRefusal::PropertiesTooLarge { len, max } => (
            rs::MESSAGE_ILLEGAL,
            format!(
                "the message is illegal, maybe msg properties of {len} bytes over the limit of {max}"
            ),
        ),
    };
    refuse(cmd, code, remark)
        .with_ext("MSG_REGION", config.region.as_str())
        .with_ext("TRACE_ON", config.trace_on)
}

fn batch_queue(topic: &str) -> String {
    format!("topic[{topic}] has queue.type=BatchCQ, which this broker does not serve")
}

fn queue_id(asked: i32, view: &TopicView) -> String {
    let config = &view.config;
    format!(
        "request queueId[{asked}] is illegal, topic[{}] has {} read and {} write queues",
        config.topic_name, config.read_queue_nums, config.write_queue_nums
    )
}

/// A send that the appender did not store, straight into `out`.
pub fn refused_append(
    send: &Send,
    result: &SendResult,
    config: &SessionConfig,
    out: &mut BytesMut,
) -> i32 {
    let (code, remark) = match result {
        SendResult::QueueGone => {
            (rs::TOPIC_NOT_EXIST, format!("topic[{}] has been deleted", send.slot.topic))
        }
        SendResult::TooLarge(why) => {
            (rs::MESSAGE_ILLEGAL, format!("the message is illegal, {why}"))
        }
        SendResult::Refused(why) => {
            (rs::SERVICE_NOT_AVAILABLE, format!("service not available now. {why}"))
        }
        SendResult::Open | SendResult::Stored(_) | SendResult::Duplicate(_) => {
            (rs::SYSTEM_ERROR, "the send was lost by an internal failure, try again".to_owned())
        }
    };
    let reply = SendReply {
        opaque: send.opaque,
        code,
        remark: Some(&remark),
        serialize_type: send.serialize_type,
        msg_id: "",
        queue_id: send.asked_queue as i32,
        queue_offset: 0,
        transaction_id: None,
        recall_handle: None,
        region: &config.region,
        trace_on: config.trace_on,
    };
    reply.encode(out);
    code
}

/// The end of a transaction that was refused.
pub fn refused_end(cmd: &Command, refusal: &EndRefusal) -> Command {
    let code = match refusal {
        EndRefusal::TooLate => rs::ILLEGAL_OPERATION,
        EndRefusal::Busy => rs::SYSTEM_BUSY,
        EndRefusal::NotFound
        | EndRefusal::Group
        | EndRefusal::Offset
        | EndRefusal::GivenUp
        | EndRefusal::Ended
        | EndRefusal::Form(_)
        | EndRefusal::NotStored(_) => rs::SYSTEM_ERROR,
    };
    refuse(cmd, code, refusal)
}

/// The answer to a send-back: a code, and a remark if it failed.
pub fn code_only(send: &Send, out: &mut BytesMut) {
    let (code, remark) = match &send.result {
        SendResult::Stored(_) => (rs::SUCCESS, None),
        SendResult::Refused(why) => (rs::SYSTEM_ERROR, Some(why.to_string())),
        other => (rs::SYSTEM_ERROR, Some(format!("the message was not stored: {other:?}"))),
    };
    let mut answer = Command::request(code);
    answer.flag = 1;
    answer.opaque = send.opaque;
    answer.serialize_type = send.serialize_type;
    answer.remark = remark.map(Into::into);
    answer.encode(out);
}

/// The answer to a reply of request-reply: whether its requester has it, and where it is stored.
pub fn reply(
    cmd: &Command,
    pushed: &Result<(), PushFailure>,
    queue_id: u32,
    stored: Option<&StoredReply>,
    config: &SessionConfig,
) -> Command {
    let answer = match pushed {
        Ok(()) => Command::response(rs::SUCCESS, cmd),
        Err(failure) => refuse(cmd, rs::SYSTEM_ERROR, failure),
    };
    let answer =
        answer.with_ext("MSG_REGION", config.region.as_str()).with_ext("TRACE_ON", config.trace_on);
    match stored {
        Some(stored) => answer
            .with_ext("msgId", stored.message_id.as_str())
            .with_ext("queueId", queue_id as i32)
            .with_ext("queueOffset", stored.queue_offset as i64),
        // Clients cannot read a success without them.
        None if pushed.is_ok() => answer
            .with_ext("msgId", "0")
            .with_ext("queueId", queue_id as i32)
            .with_ext("queueOffset", 0i64),
        None => answer,
    }
}

/// A pull that was refused.
pub fn refused_pull(cmd: &Command, refusal: &PullRefusal) -> Command {
    let (code, remark) = match refusal {
        PullRefusal::Header(e) => (rs::SYSTEM_ERROR, e.to_string()),
        PullRefusal::Broker => {
            (rs::NO_PERMISSION, "the broker pulling message is forbidden".to_owned())
        }
        PullRefusal::GroupDisabled(group) => {
            (rs::NO_PERMISSION, format!("subscription group no permission, {group}"))
        }
        PullRefusal::Denied(denied, group) => {
            let code = match denied {
                PullDenied::NotSubscribed => rs::SUBSCRIPTION_NOT_EXIST,
                PullDenied::Broadcast => rs::NO_PERMISSION,
                PullDenied::NotLatest => rs::SUBSCRIPTION_NOT_LATEST,
            };
            (code, format!("{denied}, group: {group}"))
        }
        PullRefusal::Topic(topic) => return no_topic(cmd, topic),
        PullRefusal::TopicPermission(topic) => {
            (rs::NO_PERMISSION, format!("the topic[{topic}] pulling message is forbidden"))
        }
        PullRefusal::BatchQueue(topic) => (rs::NO_PERMISSION, batch_queue(topic)),
        PullRefusal::QueueId { asked, view } => (rs::INVALID_PARAMETER, queue_id(*asked, view)),
        PullRefusal::Queue(why) => (rs::SYSTEM_ERROR, format!("the queue cannot be read: {why}")),
        PullRefusal::Expression(why) => (
            rs::SUBSCRIPTION_PARSE_FAILED,
            format!("parse the consumer's subscription failed: {why}"),
        ),
        PullRefusal::Sql92 => (
            rs::SYSTEM_ERROR,
            "The broker does not support consumer to filter message by SQL92".to_owned(),
        ),
        PullRefusal::NoFilter => (
            rs::FILTER_DATA_NOT_EXIST,
            "The broker's consumer filter data is not exist!Your expression may be wrong!"
                .to_owned(),
        ),
        PullRefusal::OldFilter => (
            rs::FILTER_DATA_NOT_LATEST,
            "the consumer's consumer filter data not latest".to_owned(),
        ),
    };
    refuse(cmd, code, remark)
}

/// A request that the name server refused.
pub fn refused_by_namesrv(cmd: &Command, refusal: &Refusal) -> Command {
    let code = match refusal {
        // Any other code for an unknown topic breaks the clients' way to the default topic.
        Refusal::NoRoute(_) => {
            return refuse(cmd, rs::TOPIC_NOT_EXIST, format!("{refusal}\n{APPLY_TOPIC_HINT}"));
        }
        Refusal::NoKey { .. } | Refusal::NoNamespace(_) => rs::QUERY_NOT_FOUND,
        Refusal::Settings(UpdateError::BlackList(_)) => rs::NO_PERMISSION,
        Refusal::Settings(UpdateError::File(_)) => rs::SYSTEM_ERROR,
        Refusal::Settings(_) | Refusal::Properties(_) => rs::INVALID_PARAMETER,
        Refusal::Header(_)
        | Refusal::Announcement(_)
        | Refusal::NotReady
        | Refusal::Disabled
        | Refusal::KvFile(_)
        | Refusal::UnknownBroker(_)
        | Refusal::Lost => rs::SYSTEM_ERROR,
    };
    refuse(cmd, code, refusal)
}

/// A request about groups, producers or offsets that was refused.
pub fn refused_control(cmd: &Command, refusal: &ControlRefusal) -> Command {
    let code = match refusal {
        ControlRefusal::Lost(_) => return lost(cmd),
        // The old reset tool falls back to another way on this code only.
        ControlRefusal::Offline(_) | ControlRefusal::ResetOffline { .. } => rs::CONSUMER_NOT_ONLINE,
        ControlRefusal::NoGroup(_) => rs::SUBSCRIPTION_GROUP_NOT_EXIST,
        ControlRefusal::NoTopic(_) => rs::TOPIC_NOT_EXIST,
        // Clients start by their own policy on this code only.
        ControlRefusal::OffsetNotFound | ControlRefusal::OffsetNotFoundNorZero => {
            rs::QUERY_NOT_FOUND
        }
        ControlRefusal::Expression(_) => rs::SUBSCRIPTION_PARSE_FAILED,
        ControlRefusal::ClientTimeout(_) => rs::CONSUME_MSG_TIMEOUT,
        ControlRefusal::Config(PutGroupsError::Refused(_)) => rs::INVALID_PARAMETER,
        ControlRefusal::Header(_)
        | ControlRefusal::Body(_)
        | ControlRefusal::NoConsumer(_)
        | ControlRefusal::NobodyOnline(_)
        | ControlRefusal::ClientTooOld(_)
        | ControlRefusal::ClientOffline(_)
        | ControlRefusal::NoMessage(_)
        | ControlRefusal::NoProducer(_)
        | ControlRefusal::GroupWithoutOffset(_)
        | ControlRefusal::OffsetRange { .. }
        | ControlRefusal::ExpressionType(_)
        | ControlRefusal::Config(PutGroupsError::NotSaved(_))
        | ControlRefusal::NotSaved(_) => rs::SYSTEM_ERROR,
    };
    refuse(cmd, code, refusal)
}
