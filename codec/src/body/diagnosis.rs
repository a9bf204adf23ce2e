//! Bodies of the requests that only this broker answers: GROUP_LAG and DIAGNOSE.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_as_default;

/// The answer to GROUP_LAG.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupLag {
    /// Messages delivered per second, over the last minute.
    pub consume_tps: f64,
    /// Queue by queue, in order of topic and number.
    #[serde(deserialize_with = "null_as_default")]
    pub queues: Vec<QueueLag>,
}

/// How far a group is behind in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueLag {
    /// Messages from where the group is to the end.
    pub behind: i64,
    /// How long ago the first of them was stored, ms; 0 if there is none.
    pub behind_ms: i64,
    /// The broker's name.
    pub broker_name: String,
    /// The queue's end.
    pub broker_offset: i64,
    /// The client that pulled last, if it is still a member of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The next message to consume; absent if the group has committed nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_offset: Option<i64>,
    /// Messages that the group was led past as they had expired, since the broker started.
    pub expired: u64,
    /// The group's filter, if it has one that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Of the messages behind, how many match the filter; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matching: Option<i64>,
    /// When the queue was last pulled, ms; absent if not since the broker started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled_at: Option<i64>,
    /// The queue.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
    /// Of the messages behind, how many were not looked at for `matching`, since they are too many.
    pub unseen: i64,
}

/// The answer to DIAGNOSE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Diagnosis {
    /// By kind of finding, how many there are and were.
    #[serde(deserialize_with = "null_as_default")]
    pub counts: BTreeMap<String, FindingCount>,
    /// What is wrong now, the oldest first.
    #[serde(deserialize_with = "null_as_default")]
    pub findings: Vec<Finding>,
}

/// How many findings of a kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FindingCount {
    /// Begun since the broker started.
    pub begun: u64,
    /// Now.
    pub now: u64,
}

/// Something that is wrong with the consumption of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Finding {
    /// The broker that found it.
    pub broker_name: String,
    /// The clients concerned.
    #[serde(deserialize_with = "null_as_default")]
    pub clients: Vec<FindingClient>,
    /// The group.
    pub group: String,
    /// `conflictingSubscriptions`, `unownedQueue`, `stuckQueue` or `missingCommits`.
    pub kind: String,
    /// The queue, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<i32>,
    /// Since when it is so, ms.
    pub since: i64,
    /// All of it, in words.
    pub text: String,
    /// The topic.
    pub topic: String,
}

/// A client that a finding is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FindingClient {
    /// Its id.
    pub client_id: String,
    /// What it subscribes, if that is the matter; absent if it does not subscribe the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{body::to_json, fastjson};

    #[test]
    fn what_is_not_known_is_left_out() {
        let lag = QueueLag { topic: "t".into(), behind: 3, ..QueueLag::default() };
        let text = String::from_utf8(to_json(&lag)).unwrap();
        assert!(!text.contains("consumerOffset") && !text.contains("matching"), "{text}");
        assert_eq!(fastjson::from_slice::<QueueLag>(text.as_bytes()).unwrap(), lag);
    }
}
