//! Topics, groups and their versions, as configured: in bodies and in the broker's files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::null_as_default;

/// The version of a table; equal in all members means that nothing has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// How often the table was changed.
    #[serde(deserialize_with = "null_as_default")]
    pub counter: i64,
    /// The epoch of the broker's role; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub state_version: i64,
    /// When it was changed last, ms.
    #[serde(deserialize_with = "null_as_default")]
    pub timestamp: i64,
}

/// How many tags a message of a topic may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    /// One.
    #[default]
    SingleTag,
    /// Several.
    MultiTag,
}

impl TopicFilterType {
    /// The type of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "SINGLE_TAG" => Some(Self::SingleTag),
            "MULTI_TAG" => Some(Self::MultiTag),
            _ => None,
        }
    }
}

/// A topic. The defaults are those of a new topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Such as `message.type`; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
    /// Whether it is an order topic.
    #[serde(deserialize_with = "null_as_default")]
    pub order: bool,
    /// 4 read, 2 write, 1 inherit, 8 priority.
    pub perm: i32,
    /// Queues to read.
    pub read_queue_nums: i32,
    /// How many tags a message may have.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_filter_type: TopicFilterType,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_name: String,
    /// 1 unit, 2 unit subscription.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_sys_flag: i32,
    /// Queues to write.
    pub write_queue_nums: i32,
    /// Members that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
            extra: Map::new(),
        }
    }
}

/// A broker's topics: the file of topics, and what it sends to name servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigSerializeWrapper {
    /// The table's version.
    #[serde(deserialize_with = "null_as_default")]
    pub data_version: DataVersion,
    /// Topics by name.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Members that are not known here, those of static topics among them.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// UPDATE_AND_CREATE_TOPIC_LIST.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicConfigList {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}

/// A consumer group. The defaults are those of a new group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Free attributes; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
    /// The broker to read from.
    #[serde(deserialize_with = "null_as_default")]
    pub broker_id: i64,
    /// Whether it may broadcast.
    pub consume_broadcast_enable: bool,
    /// Whether it may consume at all.
    pub consume_enable: bool,
    /// Whether it may start at the first message.
    pub consume_from_min_enable: bool,
    /// Whether pops keep the order; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub consume_message_orderly: bool,
    /// How long one message may take; 5.x.
    pub consume_timeout_minute: i32,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub group_name: String,
    /// When to try again; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub group_retry_policy: GroupRetryPolicy,
    /// Flags; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub group_sys_flag: i32,
    /// Whether its members are told of each other's coming and going.
    pub notify_consumer_ids_changed_enable: bool,
    /// How often to try again.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// The broker to read from when the group lags.
    pub which_broker_when_consume_slowly: i64,
    /// Members that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
            extra: Map::new(),
        }
    }
}

/// When a group's messages are tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupRetryPolicy {
    /// `CUSTOMIZED` or `EXPONENTIAL`.
    #[serde(rename = "type")]
    pub policy_type: String,
    /// The parameters of either.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        Self { policy_type: "CUSTOMIZED".into(), extra: Map::new() }
    }
}

/// A broker's groups: the file of groups, and GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupWrapper {
    /// The table's version.
    #[serde(deserialize_with = "null_as_default")]
    pub data_version: DataVersion,
    /// By group, topics and what is forbidden there.
    #[serde(deserialize_with = "null_as_default")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Groups by name.
    #[serde(deserialize_with = "null_as_default")]
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionGroupList {
    /// The groups.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// Groups' offsets: the file of offsets, and GET_ALL_CONSUMER_OFFSET.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsetTable {
    /// The table's version; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub data_version: DataVersion,
    /// By `topic@group`, the next offset of each queue.
    #[serde(deserialize_with = "null_as_default")]
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Groups' offsets in the file of a broker that serves light queues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LightOffsetTable {
    /// The table's version; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub data_version: DataVersion,
    /// By `topic@group`, the next offset in queue 0, of groups that are named as light queues are.
    #[serde(deserialize_with = "null_as_default")]
    pub lmq_offset_table: BTreeMap<String, i64>,
    /// By `topic@group`, the next offset of each queue, of all other groups.
    #[serde(deserialize_with = "null_as_default")]
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Progress of the delay levels: its file, and GET_ALL_DELAY_OFFSET.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsetTable {
    /// The table's version; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub data_version: DataVersion,
    /// By level, the next offset.
    #[serde(deserialize_with = "null_as_default")]
    pub offset_table: BTreeMap<i32, i64>,
}

/// Strings by string: runtime information, a namespace's keys, order topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The table.
    #[serde(deserialize_with = "null_as_default")]
    pub table: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{body::to_json, fastjson};

    #[test]
    fn topics_are_written_as_java_does() {
        let topic = TopicConfig { topic_name: "T".into(), ..TopicConfig::default() };
        let text = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":16}"#;
        assert_eq!(to_json(&topic), text.as_bytes());
        assert_eq!(fastjson::from_slice::<TopicConfig>(text.as_bytes()).unwrap(), topic);
    }

    #[test]
    fn unknown_members_of_topics_and_groups_survive() {
        let topic = r#"{"topicName":"T","later":{"a":[1]},"perm":4}"#;
        let topic: TopicConfig = fastjson::from_slice(topic.as_bytes()).unwrap();
        assert_eq!((topic.perm, topic.write_queue_nums), (4, 16));
        assert!(String::from_utf8(to_json(&topic)).unwrap().ends_with(r#","later":{"a":[1]}}"#));
        let group = r#"{"groupName":"G","subscriptionDataSet":[],"groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"max":7}}}"#;
        let group: SubscriptionGroupConfig = fastjson::from_slice(group.as_bytes()).unwrap();
        let again: SubscriptionGroupConfig = fastjson::from_slice(&to_json(&group)).unwrap();
        assert_eq!(again, group);
        assert!(again.extra.contains_key("subscriptionDataSet"));
        assert!(again.group_retry_policy.extra.contains_key("exponentialRetryPolicy"));
    }

    #[test]
    fn a_file_of_4x_is_read() {
        let text =
            "{\n\t\"offsetTable\":{\n\t\t\"T@G\":{0:12,1:345\n\t\t},\"U@G\":{\"0\":1}\n\t}\n}";
        let table: ConsumerOffsetTable = fastjson::from_slice(text.as_bytes()).unwrap();
        assert_eq!(table.offset_table["T@G"], BTreeMap::from([(0, 12), (1, 345)]));
        assert_eq!(table.offset_table["U@G"], BTreeMap::from([(0, 1)]));
        let groups = r#"{"dataVersion":{"counter":1,"timestamp":2},"subscriptionGroupTable":{"G":{"groupName":"G","retryQueueNums":2}}}"#;
        let groups: SubscriptionGroupWrapper = fastjson::from_slice(groups.as_bytes()).unwrap();
        assert_eq!(groups.data_version, DataVersion { counter: 1, state_version: 0, timestamp: 2 });
        let group = &groups.subscription_group_table["G"];
        assert_eq!((group.retry_queue_nums, group.retry_max_times), (2, 16));
    }
}
