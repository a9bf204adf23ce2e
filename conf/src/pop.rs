//! What pops are given: who waits, where messages that are tried again go, and how groups consume that
//! nobody has told.

use serde::Deserialize;

use crate::values::{RequestMode, int};

/// Pops.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PopConfig {
    /// Pops that wait for one queue of a group.
    #[serde(deserialize_with = "int::<1, 1_000_000, _, _>")]
    pub pop_polling_size: usize,
    /// Pops that wait in all.
    #[serde(deserialize_with = "int::<1, 10_000_000, _, _>")]
    pub max_pop_polling_size: usize,
    /// Of a hundred pops, how many look at what is tried again first.
    #[serde(deserialize_with = "int::<0, 100, _, _>")]
    pub pop_from_retry_probability: u32,
    /// The newer names of topics for what is tried again.
    #[serde(rename = "enableRetryTopicV2")]
    pub enable_retry_topic_v2: bool,
    /// How a group consumes that nobody has told.
    pub default_message_request_mode: RequestMode,
    /// With how many clients besides itself one shares its queues then, if it pops.
    #[serde(deserialize_with = "int::<-1, 65_536, _, _>")]
    pub default_pop_share_queue_num: i32,
}
