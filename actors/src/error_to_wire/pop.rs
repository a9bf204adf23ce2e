//! Refusals of pops and what belongs to them, with Java's codes and texts (wire.md 2.5).

use std::{net::SocketAddr, sync::Arc};

use gantry_codec::{Command, HeaderError, pop::ExtraInfoError, response_code as rs};

use super::{no_topic, refuse};
use crate::topic::TopicView;

/// Why a pop, or a request about popped messages, is refused.
#[derive(Debug)]
pub enum PopRefusal {
    /// The request's header is unusable.
    Header(HeaderError),
    /// The request's body cannot be read.
    Body(String),
    /// It was under way for longer than it wants to wait.
    TooLate(SocketAddr),
    /// The broker may not be read; the verb of what was wanted.
    Broker(SocketAddr, &'static str),
    /// More messages than a pop may ask for.
    TooMany(SocketAddr),
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
        /// Who asks.
        client: SocketAddr,
        /// What the request is told.
        code: i32,
    },
    /// The queue's files cannot be read; why.
    Queue(String),
    /// The group is not allowed to consume.
    GroupDisabled(String),
    /// The expression cannot be read.
    Expression,
    /// Filtering by SQL92 is not served.
    Sql92,
    /// No offset of the queue.
    Offset {
        /// The topic.
        topic: String,
        /// The queue.
        queue_id: i32,
        /// The offset.
        offset: i64,
        /// What the queue has.
        range: (u64, u64),
    },
    /// What the client tells of its pop cannot be read.
    ExtraInfo(ExtraInfoError),
    /// Not one of the messages that an orderly group has out.
    NotOut {
        /// The topic.
        topic: String,
        /// The queue.
        queue_id: i32,
        /// The offset.
        offset: i64,
        /// The group's.
        committed: u64,
    },
    /// There is nothing to acknowledge.
    NothingToAck,
    /// The mode of a retry topic cannot be set.
    RetryTopicMode,
    /// A mode was not saved; why.
    NotSaved(String),
}

/// A refused pop, or request about popped messages.
pub fn refused_pop(cmd: &Command, refusal: &PopRefusal) -> Command {
    let (code, remark) = match refusal {
        PopRefusal::Topic(topic) => return no_topic(cmd, topic),
        PopRefusal::NothingToAck => return Command::response(rs::NO_MESSAGE, cmd),
        PopRefusal::Header(e) => (rs::SYSTEM_ERROR, e.to_string()),
        PopRefusal::Body(e) => {
            (rs::SYSTEM_ERROR, format!("the request's body cannot be read: {e}"))
        }
        PopRefusal::TooLate(host) => (
            rs::POLLING_TIMEOUT,
            format!("the broker[{}] pop message is timeout too much", host.ip()),
        ),
        PopRefusal::Broker(host, verb) => {
            (rs::NO_PERMISSION, format!("the broker[{}] {verb} message is forbidden", host.ip()))
        }
        PopRefusal::TooMany(host) => (
            rs::INVALID_PARAMETER,
            format!("the broker[{}] pop message's num is greater than 32", host.ip()),
        ),
        PopRefusal::BatchQueue(topic) => (rs::NO_PERMISSION, super::batch_queue(topic)),
        PopRefusal::TopicPermission(topic) => {
            (rs::NO_PERMISSION, format!("the topic[{topic}] peeking message is forbidden"))
        }
        PopRefusal::QueueId { asked, view, client, code } => {
            let (topic, queues) = (&view.config.topic_name, view.config.read_queue_nums);
            let remark = format!(
                "queueId[{asked}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}] \
                 consumer:[{client}]"
            );
            (*code, remark)
        }
        PopRefusal::Queue(why) => (rs::SYSTEM_ERROR, format!("the queue cannot be read: {why}")),
        PopRefusal::GroupDisabled(group) => {
            (rs::NO_PERMISSION, format!("subscription group no permission, {group}"))
        }
        PopRefusal::Expression => {
            (rs::SUBSCRIPTION_PARSE_FAILED, "parse the consumer's subscription failed".to_owned())
        }
        PopRefusal::Sql92 => (
            rs::SYSTEM_ERROR,
            "The broker does not support consumer to filter message by SQL92".to_owned(),
        ),
        PopRefusal::Offset { topic, queue_id, offset, range: (min, max) } => (
            rs::NO_MESSAGE,
            format!(
                "offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}"
            ),
        ),
        PopRefusal::ExtraInfo(e) => (rs::SYSTEM_ERROR, e.to_string()),
        PopRefusal::NotOut { topic, queue_id, offset, committed } => (
            rs::MESSAGE_ILLEGAL,
            format!("offset is illegal, key:{topic}@{queue_id}, old:{committed}, commit:{offset}"),
        ),
        PopRefusal::RetryTopicMode => {
            (rs::NO_PERMISSION, "retry topic is not allowed to set mode".to_owned())
        }
        PopRefusal::NotSaved(why) => {
            (rs::SYSTEM_ERROR, format!("the mode could not be saved: {why}"))
        }
    };
    refuse(cmd, code, remark)
}
