//! Headers of the name server: brokers, routes, and its key-value store.

use crate::header::headers;

headers! {
    /// REGISTER_BROKER.
    RegisterBrokerHeader {
        /// The broker's name; shared by a master and its slaves.
        broker_name: String = "brokerName",
        /// Its address for clients.
        broker_addr: String = "brokerAddr",
        /// Its cluster.
        cluster_name: String = "clusterName",
        /// Its address for slaves.
        ha_server_addr: String = "haServerAddr" [default],
        /// 0 = master.
        broker_id: i64 = "brokerId",
        /// How long it may be silent, ms; 5.x.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Whether a slave may stand in for the master; 5.x.
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// Whether the body is compressed.
        compressed: bool = "compressed" [default],
        /// CRC-32 of the body as sent, masked to 31 bits; 0 = not given.
        body_crc32: i32 = "bodyCrc32" [default],
        /// The broker's zone; 5.x.
        zone_name: Option<String> = "__ZONE_NAME",
    }

    /// The answer to REGISTER_BROKER.
    RegisterBrokerResponse {
        /// The master's address for slaves.
        ha_server_addr: Option<String> = "haServerAddr",
        /// The master's address for clients.
        master_addr: Option<String> = "masterAddr",
    }

    /// UNREGISTER_BROKER and QUERY_DATA_VERSION.
    BrokerHeader {
        /// The broker's name.
        broker_name: String = "brokerName",
        /// Its address for clients.
        broker_addr: String = "brokerAddr",
        /// Its cluster.
        cluster_name: String = "clusterName",
        /// 0 = master.
        broker_id: i64 = "brokerId",
    }

    /// The answer to QUERY_DATA_VERSION.
    QueryDataVersionResponse {
        /// Whether the name server knows another version, or none.
        changed: bool = "changed",
    }

    /// BROKER_HEARTBEAT.
    BrokerHeartbeatHeader {
        /// The cluster.
        cluster_name: String = "clusterName",
        /// The broker's address for clients.
        broker_addr: String = "brokerAddr",
        /// The broker's name.
        broker_name: String = "brokerName",
        /// 0 = master.
        broker_id: Option<i64> = "brokerId",
        /// For controllers.
        epoch: Option<i32> = "epoch",
        /// For controllers.
        max_offset: Option<i64> = "maxOffset",
        /// For controllers.
        confirm_offset: Option<i64> = "confirmOffset",
        /// How long it may be silent, ms (the protocol's spelling).
        heartbeat_timeout_mills: Option<i64> = "heartbeatTimeoutMills",
        /// For controllers.
        election_priority: Option<i32> = "electionPriority",
    }

    /// GET_BROKER_MEMBER_GROUP.
    BrokerMemberGroupHeader {
        /// The cluster.
        cluster_name: String = "clusterName",
        /// The broker's name.
        broker_name: String = "brokerName",
    }

    /// NOTIFY_MIN_BROKER_ID_CHANGE.
    MinBrokerIdChangeHeader {
        /// The smallest live id.
        min_broker_id: Option<i64> = "minBrokerId",
        /// The broker's name.
        broker_name: Option<String> = "brokerName",
        /// The address of the smallest id.
        min_broker_addr: Option<String> = "minBrokerAddr",
        /// The address that has gone.
        offline_broker_addr: Option<String> = "offlineBrokerAddr",
        /// The address for slaves.
        ha_broker_addr: Option<String> = "haBrokerAddr",
    }

    /// GET_ROUTEINFO_BY_TOPIC.
    RouteHeader {
        /// The topic.
        topic: String = "topic",
        /// Whether maps must have quoted keys; 5.x.
        accept_standard_json_only: bool = "acceptStandardJsonOnly" [default],
    }

    /// Requests about one topic: REGISTER_TOPIC_IN_NAMESRV, GET_TOPIC_STATS_INFO,
    /// QUERY_TOPIC_CONSUME_BY_WHO, DELETE_TOPIC_IN_BROKER.
    TopicHeader {
        /// The topic.
        topic: String = "topic",
    }

    /// DELETE_TOPIC_IN_NAMESRV.
    DeleteTopicInNamesrvHeader {
        /// The topic.
        topic: String = "topic",
        /// From the brokers of this cluster only; 4.9 and later.
        cluster_name: Option<String> = "clusterName",
    }

    /// GET_TOPICS_BY_CLUSTER.
    TopicsByClusterHeader {
        /// The cluster.
        cluster: String = "cluster",
    }

    /// WIPE_WRITE_PERM_OF_BROKER and ADD_WRITE_PERM_OF_BROKER.
    WritePermHeader {
        /// The broker's name.
        broker_name: String = "brokerName",
    }

    /// The answer to WIPE_WRITE_PERM_OF_BROKER.
    WipeWritePermResponse {
        /// How many topics lost it.
        wipe_topic_count: i32 = "wipeTopicCount",
    }

    /// The answer to ADD_WRITE_PERM_OF_BROKER.
    AddWritePermResponse {
        /// How many topics got it.
        add_topic_count: i32 = "addTopicCount",
    }

    /// PUT_KV_CONFIG.
    PutKvConfigHeader {
        /// The namespace.
        namespace: String = "namespace",
        /// The key.
        key: String = "key",
        /// The new value.
        value: String = "value",
    }

    /// GET_KV_CONFIG and DELETE_KV_CONFIG.
    KvConfigHeader {
        /// The namespace.
        namespace: String = "namespace",
        /// The key.
        key: String = "key",
    }

    /// The answer to GET_KV_CONFIG.
    GetKvConfigResponse {
        /// The value.
        value: Option<String> = "value",
    }

    /// GET_KVLIST_BY_NAMESPACE.
    KvNamespaceHeader {
        /// The namespace.
        namespace: String = "namespace",
    }
}
