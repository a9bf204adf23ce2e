//! What clients say of themselves, and what they are told of each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{MessageQueue, MessageQueueMap, SubscriptionData, null_as_default};
use crate::Language;

/// HEART_BEAT.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// The client's id.
    #[serde(rename = "clientID", deserialize_with = "null_as_default")]
    pub client_id: String,
    /// Its consumer groups.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Names the content for version 2 of heartbeats; 0 = version 1.
    #[serde(deserialize_with = "null_as_default")]
    pub heartbeat_fingerprint: i32,
    /// Its producer groups.
    #[serde(deserialize_with = "null_as_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Version 2: the subscriptions are those of the last heartbeat with them.
    #[serde(deserialize_with = "null_as_default")]
    pub without_sub: bool,
}

/// A producer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerData {
    /// The group.
    pub group_name: String,
}

/// A consumer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where a queue without offset starts.
    pub consume_from_where: ConsumeFromWhere,
    /// How it consumes.
    pub consume_type: ConsumeType,
    /// The group.
    #[serde(deserialize_with = "null_as_default")]
    pub group_name: String,
    /// Whether its members share the messages.
    pub message_model: MessageModel,
    /// Its subscriptions.
    #[serde(deserialize_with = "null_as_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit mode.
    #[serde(deserialize_with = "null_as_default")]
    pub unit_mode: bool,
}

/// An enum that travels by name. An unknown name or null is the default, as other peers read it;
/// case does not matter.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let name = Option::<String>::deserialize(input)?.unwrap_or_default();
                $(if name.eq_ignore_ascii_case($text) {
                    return Ok(Self::$variant);
                })*
                Ok(Self::default())
            }
        }
    };
}

named! {
    /// How a group consumes.
    ConsumeType {
        /// The application pulls.
        Actively = "CONSUME_ACTIVELY",
        /// The client library pulls and pushes to the application.
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// The client library pops.
        Pop = "CONSUME_POP",
    }
}

named! {
    /// Whether a group's members share the messages.
    MessageModel {
        /// Everybody gets everything.
        Broadcasting = "BROADCASTING",
        /// Each message goes to one.
        #[default]
        Clustering = "CLUSTERING",
    }
}

named! {
    /// Where a queue without offset starts.
    ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Legacy: at the end, or at the first message of a new queue.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Legacy: at the first message.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Legacy: at the end.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the first message.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// CHECK_CLIENT_CONFIG.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientBody {
    /// The client's id.
    #[serde(deserialize_with = "null_as_default")]
    pub client_id: String,
    /// The group.
    #[serde(deserialize_with = "null_as_default")]
    pub group: String,
    /// The subscription in question.
    #[serde(deserialize_with = "null_as_default")]
    pub subscription_data: SubscriptionData,
}

/// The answer to GET_CONSUMER_LIST_BY_GROUP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerListBody {
    /// The members' client ids.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_id_list: Vec<String>,
}

/// LOCK_BATCH_MQ and UNLOCK_BATCH_MQ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchRequest {
    /// Who wants the queues.
    #[serde(deserialize_with = "null_as_default")]
    pub client_id: String,
    /// The group.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_group: String,
    /// The queues.
    #[serde(deserialize_with = "null_as_default")]
    pub mq_set: Vec<MessageQueue>,
    /// Not to be asked of replicas; 5.x.
    #[serde(deserialize_with = "null_as_default")]
    pub only_this_broker: bool,
}

/// The answer to LOCK_BATCH_MQ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockBatchResponse {
    /// The queues that the client holds now.
    #[serde(rename = "lockOKMQSet", default, deserialize_with = "null_as_default")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

/// RESET_CONSUMER_CLIENT_OFFSET, and the answer to INVOKE_BROKER_TO_RESET_OFFSET. Written with object
/// keys and without a single blank, since Go cuts the text up by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    /// The next offset of each queue.
    #[serde(deserialize_with = "null_as_default")]
    pub offset_table: MessageQueueMap<i64>,
}

/// RESET_CONSUMER_CLIENT_OFFSET for a client in C++.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetOffsetListBody {
    /// The next offset of each queue.
    pub offset_table: Vec<QueueOffsetEntry>,
}

/// An entry of [`ResetOffsetListBody`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueOffsetEntry {
    /// The broker's name.
    pub broker_name: String,
    /// The offset.
    pub offset: i64,
    /// The queue.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// The answer to GET_CONSUMER_STATUS_FROM_CLIENT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatusBody {
    /// The client's offsets.
    #[serde(deserialize_with = "null_as_default")]
    pub message_queue_table: MessageQueueMap<i64>,
}

/// The answer to INVOKE_BROKER_TO_GET_CONSUMER_STATUS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatusTable {
    /// By client id, its offsets.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_table: BTreeMap<String, MessageQueueMap<i64>>,
}

/// A connected client, as tools see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConnection {
    /// Its address, `ip:port`.
    pub client_addr: String,
    /// Its id.
    pub client_id: String,
    /// Its language.
    pub language: Language,
    /// Its version.
    pub version: i32,
}

/// The answer to GET_CONSUMER_CONNECTION_LIST.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    /// The group's clients.
    #[serde(deserialize_with = "null_as_default")]
    pub connection_set: Vec<ClientConnection>,
    /// Where a queue without offset starts.
    pub consume_from_where: ConsumeFromWhere,
    /// How it consumes.
    pub consume_type: ConsumeType,
    /// Whether its members share the messages.
    pub message_model: MessageModel,
    /// Its subscriptions by topic.
    #[serde(deserialize_with = "null_as_default")]
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// The answer to GET_PRODUCER_CONNECTION_LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    /// The group's clients.
    #[serde(deserialize_with = "null_as_default")]
    pub connection_set: Vec<ClientConnection>,
}

/// The answer to GET_ALL_PRODUCER_INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerTable {
    /// By group, its clients.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// A connected producer, as tools see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Its id.
    pub client_id: String,
    /// Its language.
    pub language: Language,
    /// Its last heartbeat, ms.
    pub last_update_timestamp: i64,
    /// Its address, `ip:port`.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its version.
    pub version: i32,
}
