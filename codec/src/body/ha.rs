//! The state of replication, for tools.

use serde::{Deserialize, Serialize};

use super::null_as_default;

/// The answer to GET_BROKER_HA_STATUS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaRuntimeInfo {
    /// A slave's way to its master.
    #[serde(deserialize_with = "null_as_default")]
    pub ha_client_runtime_info: HaClientInfo,
    /// A master's slaves.
    #[serde(deserialize_with = "null_as_default")]
    pub ha_connection_info: Vec<HaConnectionInfo>,
    /// How many slaves keep up.
    pub in_sync_slave_nums: i32,
    /// Whether this is a master.
    pub master: bool,
    /// The end of the master's log.
    pub master_commit_log_max_offset: u64,
}

/// A slave's way to its master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaClientInfo {
    /// Whether there is one.
    pub activated: bool,
    /// When something came last, ms.
    pub last_read_timestamp: i64,
    /// When something went last, ms.
    pub last_write_timestamp: i64,
    /// What the master has flushed.
    pub master_flush_offset: u64,
    /// The end of the slave's log.
    pub max_offset: u64,
    /// Bytes per second.
    pub transferred_byte_in_second: u64,
}

/// A slave, as its master sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaConnectionInfo {
    /// Its address.
    #[serde(deserialize_with = "null_as_default")]
    pub addr: String,
    /// By how much it is behind.
    pub diff: i64,
    /// Whether it keeps up.
    pub in_sync: bool,
    /// What it has acknowledged.
    pub slave_ack_offset: u64,
    /// Bytes per second.
    pub transferred_byte_in_second: u64,
    /// Where the transfer is.
    pub transfer_from_where: u64,
}
