//! The broker's file of SQL92 filters (store.md 2, `consumerFilter.json`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_as_default;
use crate::bloom::BloomBits;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerFilterTable {
    /// By topic.
    #[serde(deserialize_with = "null_as_default")]
    pub filter_data_by_topic: BTreeMap<String, TopicFilters>,
}

/// The filters of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicFilters {
    /// By consumer group.
    #[serde(deserialize_with = "null_as_default")]
    pub group_filter_data: BTreeMap<String, ConsumerFilter>,
    /// The topic.
    #[serde(deserialize_with = "null_as_default")]
    pub topic: String,
}

/// The filter of a group for a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerFilter {
    /// Where it stands in bit maps.
    #[serde(deserialize_with = "null_as_default")]
    pub bloom_filter_data: BloomBits,
    /// When it was registered, ms.
    #[serde(deserialize_with = "null_as_default")]
    pub born_time: i64,
    /// The version of the subscription that brought it.
    #[serde(deserialize_with = "null_as_default")]
    pub client_version: i64,
    /// The group.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_group: String,
    /// Whether `dead_time` is not before `born_time`; derived.
    #[serde(deserialize_with = "null_as_default")]
    pub dead: bool,
    /// When its group was last seen to have gone, ms; 0 while it is there.
    #[serde(deserialize_with = "null_as_default")]
    pub dead_time: i64,
    /// The expression.
    #[serde(deserialize_with = "null_as_default")]
    pub expression: String,
    /// `SQL92`.
    #[serde(deserialize_with = "null_as_default")]
    pub expression_type: String,
    /// The topic.
    #[serde(deserialize_with = "null_as_default")]
    pub topic: String,
}

impl ConsumerFilter {
    /// Whether its group has gone.
    pub fn is_dead(&self) -> bool {
        self.dead_time >= self.born_time
    }
}
