//! Figures for tools: offsets, progress, counters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageQueue, MessageQueueMap, SubscriptionData, null_as_default};

/// The answer to GET_TOPIC_STATS_INFO. Written with object keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// By queue, its offsets.
    #[serde(deserialize_with = "null_as_default")]
    pub offset_table: MessageQueueMap<TopicOffset>,
    /// Messages stored per second.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_put_tps: f64,
}

/// A queue's offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicOffset {
    /// The store time of its last message, ms.
    pub last_update_timestamp: i64,
    /// Its end.
    pub max_offset: i64,
    /// Its first offset.
    pub min_offset: i64,
}

/// The answer to GET_CONSUME_STATS. Written with object keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages consumed per second.
    #[serde(deserialize_with = "null_as_default")]
    pub consume_tps: f64,
    /// By queue, the progress.
    #[serde(deserialize_with = "null_as_default")]
    pub offset_table: MessageQueueMap<ConsumeOffset>,
}

/// A group's progress in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeOffset {
    /// The queue's end.
    pub broker_offset: i64,
    /// The next message to consume.
    pub consumer_offset: i64,
    /// The store time of the message consumed last, ms.
    pub last_timestamp: i64,
    /// The next message to pull; 5.x.
    pub pull_offset: i64,
}

/// The answer to GET_BROKER_CONSUME_STATS. Written with object keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConsumeStats {
    /// The broker's address.
    #[serde(deserialize_with = "null_as_default")]
    pub broker_addr: String,
    /// By group, its progress in each topic.
    #[serde(deserialize_with = "null_as_default")]
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// How far all groups are behind.
    #[serde(deserialize_with = "null_as_default")]
    pub total_diff: i64,
    /// How many messages are pulled but not consumed.
    #[serde(deserialize_with = "null_as_default")]
    pub total_inflight_diff: i64,
}

/// The answer to QUERY_TOPICS_BY_CONSUMER.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicsByConsumer {
    /// The broker's address.
    #[serde(deserialize_with = "null_as_default")]
    pub broker_addr: String,
    /// The topics that the group has offsets for.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_list: Vec<String>,
}

/// The answer to QUERY_SUBSCRIPTION_BY_CONSUMER.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionByConsumer {
    /// The group.
    #[serde(deserialize_with = "null_as_default")]
    pub group: String,
    /// Its subscription, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// The topic.
    #[serde(deserialize_with = "null_as_default")]
    pub topic: String,
}

/// The answer to QUERY_CONSUME_TIME_SPAN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeTimeSpanBody {
    /// One entry for each queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Store times of a queue, all ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Of the message consumed last.
    pub consume_time_stamp: i64,
    /// How long ago that was, 0 if there is nothing left to consume.
    pub delay_time: i64,
    /// Of the last message.
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Of the first message.
    pub min_time_stamp: i64,
}

/// The answer to QUERY_CORRECTION_OFFSET.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorrectionOffsets {
    /// By queue, the smallest offset.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// The answer to VIEW_BROKER_STATS_DATA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatsData {
    /// Over the last day.
    pub stats_day: BrokerStatsItem,
    /// Over the last hour.
    pub stats_hour: BrokerStatsItem,
    /// Over the last minute.
    pub stats_minute: BrokerStatsItem,
}

/// A counter over a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Average of one call.
    pub avgpt: f64,
    /// Sum.
    pub sum: i64,
    /// Per second.
    pub tps: f64,
}

/// The answer to QUERY_CONSUME_QUEUE.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryConsumeQueueBody {
    /// The queue's end.
    pub max_queue_index: i64,
    /// The queue's first entry.
    pub min_queue_index: i64,
    /// The entries asked for.
    pub queue_data: Vec<ConsumeQueueEntry>,
    /// The group's subscription, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// An index entry, as tools see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueEntry {
    /// Whether the subscription matches.
    pub eval: bool,
    /// What could not be said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// The message's offset in the log.
    pub physic_offset: i64,
    /// Its size.
    pub physic_size: i32,
    /// The hash of its tag.
    pub tags_code: i64,
}

/// The answer to UPDATE_AND_GET_GROUP_FORBIDDEN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupForbidden {
    /// The group.
    pub group: String,
    /// Whether it may read.
    pub readable: bool,
    /// The topic.
    pub topic: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson;

    #[test]
    fn progress_is_written_with_object_keys_and_read_back() {
        let queue = MessageQueue { broker_name: "b".into(), queue_id: 1, topic: "T".into() };
        let offset = ConsumeOffset { broker_offset: 9, consumer_offset: 5, ..Default::default() };
        let stats = ConsumeStats {
            consume_tps: 1.5,
            offset_table: [(queue, offset)].into_iter().collect(),
        };
        let text = r#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"b","queueId":1,"topic":"T"}:{"brokerOffset":9,"consumerOffset":5,"lastTimestamp":0,"pullOffset":0}}}"#;
        assert_eq!(fastjson::to_vec_object_keys(&stats).unwrap(), text.as_bytes());
        assert_eq!(fastjson::from_slice::<ConsumeStats>(text.as_bytes()).unwrap(), stats);
    }
}
