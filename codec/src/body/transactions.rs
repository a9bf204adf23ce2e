//! The body of the request for open transactions, which only this broker answers: LIST_TRANSACTIONS.

use serde::{Deserialize, Serialize};

use super::null_as_default;

/// The answer to LIST_TRANSACTIONS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransactionList {
    /// How many were committed since the broker began.
    pub committed: u64,
    /// How many it gave up since then.
    pub given_up: u64,
    /// How many are open, listed or not.
    pub open: u64,
    /// How many were rolled back since the broker began.
    pub rolled_back: u64,
    /// Those that were asked for, the oldest first.
    #[serde(deserialize_with = "null_as_default")]
    pub transactions: Vec<OpenTransaction>,
}

/// A half message that nobody has decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTransaction {
    /// When its producer sent it, ms.
    pub born_at: i64,
    /// How often producers were asked.
    pub checks: u32,
    /// The group of its producer.
    pub group: String,
    /// Its offset in the queue of half messages.
    pub half_offset: u64,
    /// The id of where it is stored, by which it can be resumed.
    pub id: String,
    /// When it is asked for next or given up, ms; absent while that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<i64>,
    /// When it was stored, ms.
    pub stored_at: i64,
    /// The topic that it is meant for.
    pub topic: String,
    /// The producer's id of the message, which is the transaction's.
    pub unique_key: String,
    /// Whether it waits for a producer of its group to appear.
    pub waits_for_producer: bool,
}
