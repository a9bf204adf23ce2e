//! Request codes: what is asked.
//!
//! Names and numbers are the protocol's, so that its documents can be searched. Codes of a
//! controller, and those that no release answers, are left out.

macro_rules! request_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        $($(#[$doc])* pub const $name: i32 = $code;)*

        /// The name of a code, for logs and counters.
        pub fn name(code: i32) -> Option<&'static str> {
            match code {
                $($name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

request_codes! {
    // Client to broker: messages.
    /// Send, long field names.
    SEND_MESSAGE = 10,
    /// Pull from one queue; may be held.
    PULL_MESSAGE = 11,
    /// Messages by key.
    QUERY_MESSAGE = 12,
    /// One message by its offset in the log.
    VIEW_MESSAGE_BY_ID = 33,
    /// A consumer gives a message back.
    CONSUMER_SEND_MSG_BACK = 36,
    /// Commit or roll back a half message.
    END_TRANSACTION = 37,
    /// Send, field names of one letter.
    SEND_MESSAGE_V2 = 310,
    /// Send a batch, field names of one letter.
    SEND_BATCH_MESSAGE = 320,
    /// Reply of request-reply, long field names.
    SEND_REPLY_MESSAGE = 324,
    /// Reply of request-reply, field names of one letter.
    SEND_REPLY_MESSAGE_V2 = 325,
    /// Pull of a lite pull consumer.
    LITE_PULL_MESSAGE = 361,
    /// Take a timer message back.
    RECALL_MESSAGE = 370,
    /// Take messages and hide them for a while.
    POP_MESSAGE = 200050,
    /// Acknowledge one popped message.
    ACK_MESSAGE = 200051,
    /// Look at messages without taking them.
    PEEK_MESSAGE = 200052,
    /// Hide a popped message for another while.
    CHANGE_MESSAGE_INVISIBLETIME = 200053,
    /// Wait until there is something to pop.
    NOTIFICATION = 200054,
    /// How many pops wait.
    POLLING_INFO = 200055,
    /// Roll pop progress back.
    POP_ROLLBACK = 200056,
    /// Acknowledge many popped messages.
    BATCH_ACK_MESSAGE = 200151,

    // Client to broker: control.
    /// A group's stored offset of a queue.
    QUERY_CONSUMER_OFFSET = 14,
    /// Store a group's offset of a queue.
    UPDATE_CONSUMER_OFFSET = 15,
    /// The offset of a queue at a time.
    SEARCH_OFFSET_BY_TIMESTAMP = 29,
    /// The end of a queue.
    GET_MAX_OFFSET = 30,
    /// The first offset of a queue that is still stored.
    GET_MIN_OFFSET = 31,
    /// The store time of a queue's first message.
    GET_EARLIEST_MSG_STORETIME = 32,
    /// A client's groups and subscriptions.
    HEART_BEAT = 34,
    /// A client leaves its groups.
    UNREGISTER_CLIENT = 35,
    /// The client ids of a group.
    GET_CONSUMER_LIST_BY_GROUP = 38,
    /// Lock queues for orderly consumption.
    LOCK_BATCH_MQ = 41,
    /// Unlock them.
    UNLOCK_BATCH_MQ = 42,
    /// Would this subscription be accepted?
    CHECK_CLIENT_CONFIG = 46,
    /// Queues that the broker assigns to a client.
    QUERY_ASSIGNMENT = 400,
    /// Pull or pop for a group and topic.
    SET_MESSAGE_REQUEST_MODE = 401,
    /// A topic's brokers and queues (asked of the name server).
    GET_ROUTEINFO_BY_TOPIC = 105,

    // Broker to client.
    /// What became of this half message?
    CHECK_TRANSACTION_STATE = 39,
    /// The group's members have changed.
    NOTIFY_CONSUMER_IDS_CHANGED = 40,
    /// Go on at these offsets.
    RESET_CONSUMER_CLIENT_OFFSET = 220,
    /// The client's offsets.
    GET_CONSUMER_STATUS_FROM_CLIENT = 221,
    /// What the client is doing.
    GET_CONSUMER_RUNNING_INFO = 307,
    /// Consume this message now.
    CONSUME_MESSAGE_DIRECTLY = 309,
    /// The reply to a request message.
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326,

    // Broker to name server, and back.
    /// A broker and its topics.
    REGISTER_BROKER = 103,
    /// A broker leaves.
    UNREGISTER_BROKER = 104,
    /// Does the name server know this version of the topics?
    QUERY_DATA_VERSION = 322,
    /// One topic's route.
    REGISTER_TOPIC_IN_NAMESRV = 217,
    /// The brokers of one name.
    GET_BROKER_MEMBER_GROUP = 901,
    /// A broker is alive.
    BROKER_HEARTBEAT = 904,
    /// The smallest live id of a broker name has changed.
    NOTIFY_MIN_BROKER_ID_CHANGE = 905,

    // Broker to broker.
    /// All topics.
    GET_ALL_TOPIC_CONFIG = 21,
    /// All stored offsets.
    GET_ALL_CONSUMER_OFFSET = 43,
    /// Progress of the delay levels.
    GET_ALL_DELAY_OFFSET = 45,
    /// All groups.
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201,
    /// Progress of the timer.
    GET_TIMER_CHECK_POINT = 60,
    /// Waiting timer messages by topic.
    GET_TIMER_METRICS = 61,
    /// All request modes.
    GET_ALL_MESSAGE_REQUEST_MODE = 402,
    /// Addresses for replication.
    EXCHANGE_BROKER_HA_INFO = 906,
    /// A controller gave the broker another role.
    NOTIFY_BROKER_ROLE_CHANGED = 1008,

    // Admin to name server.
    /// Set a key of a namespace.
    PUT_KV_CONFIG = 100,
    /// Its value.
    GET_KV_CONFIG = 101,
    /// Remove it.
    DELETE_KV_CONFIG = 102,
    /// All clusters and brokers.
    GET_BROKER_CLUSTER_INFO = 106,
    /// No more sends to a broker.
    WIPE_WRITE_PERM_OF_BROKER = 205,
    /// All topic names.
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206,
    /// Remove a topic's route.
    DELETE_TOPIC_IN_NAMESRV = 216,
    /// All keys of a namespace.
    GET_KVLIST_BY_NAMESPACE = 219,
    /// Topics of a cluster.
    GET_TOPICS_BY_CLUSTER = 224,
    /// Names of clusters and brokers.
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304,
    /// Topics with the unit flag.
    GET_UNIT_TOPIC_LIST = 311,
    /// Topics with the unit subscription flag.
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312,
    /// Topics with the unit subscription flag only.
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313,
    /// Change the name server's configuration.
    UPDATE_NAMESRV_CONFIG = 318,
    /// Read it.
    GET_NAMESRV_CONFIG = 319,
    /// Sends to a broker again.
    ADD_WRITE_PERM_OF_BROKER = 327,

    // Admin to broker.
    /// Create or change a topic.
    UPDATE_AND_CREATE_TOPIC = 17,
    /// Create or change topics.
    UPDATE_AND_CREATE_TOPIC_LIST = 18,
    /// Change the broker's configuration.
    UPDATE_BROKER_CONFIG = 25,
    /// Read it.
    GET_BROKER_CONFIG = 26,
    /// Delete expired files now.
    TRIGGER_DELETE_FILES = 27,
    /// Counters and versions.
    GET_BROKER_RUNTIME_INFO = 28,
    /// Create or change a group.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200,
    /// Create or change groups.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225,
    /// Offsets of a topic's queues.
    GET_TOPIC_STATS_INFO = 202,
    /// Clients of a consumer group.
    GET_CONSUMER_CONNECTION_LIST = 203,
    /// Clients of a producer group.
    GET_PRODUCER_CONNECTION_LIST = 204,
    /// Remove a group.
    DELETE_SUBSCRIPTIONGROUP = 207,
    /// A group's progress.
    GET_CONSUME_STATS = 208,
    /// Remove a topic.
    DELETE_TOPIC_IN_BROKER = 215,
    /// Set a group's offsets by time.
    INVOKE_BROKER_TO_RESET_OFFSET = 222,
    /// Offsets in the clients of a group.
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223,
    /// Groups that consume a topic.
    QUERY_TOPIC_CONSUME_BY_WHO = 300,
    /// Store times and delay by queue.
    QUERY_CONSUME_TIME_SPAN = 303,
    /// The broker's system topics.
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305,
    /// Remove index files that point nowhere.
    CLEAN_EXPIRED_CONSUMEQUEUE = 306,
    /// Smallest offsets over groups.
    QUERY_CORRECTION_OFFSET = 308,
    /// Copy a group's offsets to another.
    CLONE_GROUP_OFFSET = 314,
    /// One counter.
    VIEW_BROKER_STATS_DATA = 315,
    /// Remove index files of unknown topics.
    CLEAN_UNUSED_TOPIC = 316,
    /// Progress of all groups.
    GET_BROKER_CONSUME_STATS = 317,
    /// Index entries of a queue.
    QUERY_CONSUME_QUEUE = 321,
    /// Check a discarded half message again.
    RESUME_CHECK_HALF_MESSAGE = 323,
    /// All producers.
    GET_ALL_PRODUCER_INFO = 328,
    /// Delete expired log files now.
    DELETE_EXPIRED_COMMITLOG = 329,
    /// Topics that a group has offsets for.
    QUERY_TOPICS_BY_CONSUMER = 343,
    /// A group's subscription to a topic.
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345,
    /// One topic.
    GET_TOPIC_CONFIG = 351,
    /// One group.
    GET_SUBSCRIPTIONGROUP_CONFIG = 352,
    /// May a group read a topic?
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353,
    /// Compare two kinds of index.
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354,
    /// Export configuration kept in RocksDB.
    EXPORT_ROCKSDB_CONFIG_TO_JSON = 355,
    /// Create or change a static topic.
    UPDATE_AND_CREATE_STATIC_TOPIC = 513,
    /// Start a broker in a container.
    ADD_BROKER = 902,
    /// Stop a broker in a container.
    REMOVE_BROKER = 903,
    /// State of replication.
    GET_BROKER_HA_STATUS = 907,
    /// Set the flushed offset that a slave heard of its master.
    RESET_MASTER_FLUSH_OFFSET = 908,
    /// Epochs of the log.
    GET_BROKER_EPOCH_CACHE = 1007,

    // Access control.
    /// 4.x: set an account.
    UPDATE_AND_CREATE_ACL_CONFIG = 50,
    /// 4.x: remove an account.
    DELETE_ACL_CONFIG = 51,
    /// 4.x: versions of the rules.
    GET_BROKER_CLUSTER_ACL_INFO = 52,
    /// 4.x: addresses without check.
    UPDATE_GLOBAL_WHITE_ADDRS_CONFIG = 53,
    /// 4.x: all rules.
    GET_BROKER_CLUSTER_ACL_CONFIG = 54,
    /// 5.3: add a user.
    AUTH_CREATE_USER = 3001,
    /// 5.3: change a user.
    AUTH_UPDATE_USER = 3002,
    /// 5.3: remove a user.
    AUTH_DELETE_USER = 3003,
    /// 5.3: one user.
    AUTH_GET_USER = 3004,
    /// 5.3: all users.
    AUTH_LIST_USER = 3005,
    /// 5.3: add rules.
    AUTH_CREATE_ACL = 3006,
    /// 5.3: change rules.
    AUTH_UPDATE_ACL = 3007,
    /// 5.3: remove rules.
    AUTH_DELETE_ACL = 3008,
    /// 5.3: rules of a subject.
    AUTH_GET_ACL = 3009,
    /// 5.3: all rules.
    AUTH_LIST_ACL = 3010,

    // Of this broker alone. Far from the protocol's, and small enough for the two bytes of a binary header.
    /// A group's progress queue by queue: exact, and with its filter; `body::GroupLag`.
    GROUP_LAG = 31_001,
    /// What is wrong with the consumption; `body::Diagnosis`.
    DIAGNOSE = 31_002,
    /// Which transactions are open; `body::TransactionList`.
    LIST_TRANSACTIONS = 31_010,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names() {
        assert_eq!(name(310), Some("SEND_MESSAGE_V2"));
        assert_eq!(name(POP_MESSAGE), Some("POP_MESSAGE"));
        assert_eq!(name(99_999), None);
    }
}
