//! Headers of clients and their groups.

use crate::header::headers;

headers! {
    /// The answer to HEART_BEAT, for clients that know version 2 of it.
    HeartbeatResponse {
        /// Whether the broker understands heartbeats without subscriptions.
        is_support_heart_beat_v2: Option<bool> = "IS_SUPPORT_HEART_BEAT_V2",
        /// Whether the client has to send its subscriptions.
        is_sub_change: Option<bool> = "IS_SUB_CHANGE",
    }

    /// UNREGISTER_CLIENT.
    UnregisterClientHeader {
        /// The client's id.
        client_id: String = "clientID",
        /// The producer group that it leaves.
        producer_group: Option<String> = "producerGroup",
        /// The consumer group that it leaves.
        consumer_group: Option<String> = "consumerGroup",
    }

    /// Requests about one consumer group: GET_CONSUMER_LIST_BY_GROUP,
    /// GET_CONSUMER_CONNECTION_LIST, NOTIFY_CONSUMER_IDS_CHANGED.
    ConsumerGroupHeader {
        /// The group.
        consumer_group: String = "consumerGroup",
    }

    /// GET_PRODUCER_CONNECTION_LIST.
    ProducerGroupHeader {
        /// The group.
        producer_group: String = "producerGroup",
    }

    /// Requests about one group under this name: QUERY_TOPICS_BY_CONSUMER,
    /// GET_SUBSCRIPTIONGROUP_CONFIG.
    GroupHeader {
        /// The group.
        group: String = "group",
    }

    /// Requests about a group and a topic: QUERY_CONSUME_TIME_SPAN,
    /// QUERY_SUBSCRIPTION_BY_CONSUMER.
    GroupTopicHeader {
        /// The group.
        group: String = "group",
        /// The topic.
        topic: String = "topic",
    }

    /// UPDATE_AND_GET_GROUP_FORBIDDEN.
    GroupForbiddenHeader {
        /// The group.
        group: String = "group",
        /// The topic.
        topic: String = "topic",
        /// The new state; absent to ask only.
        readable: Option<bool> = "readable",
    }

    /// GET_CONSUMER_STATUS_FROM_CLIENT and INVOKE_BROKER_TO_GET_CONSUMER_STATUS.
    ConsumerStatusHeader {
        /// The topic.
        topic: String = "topic",
        /// The group.
        group: String = "group",
        /// One client only.
        client_addr: Option<String> = "clientAddr",
    }

    /// GET_CONSUMER_RUNNING_INFO.
    ConsumerRunningInfoHeader {
        /// The group.
        consumer_group: String = "consumerGroup",
        /// The client.
        client_id: String = "clientId",
        /// Whether to add the client's stacks.
        jstack_enable: bool = "jstackEnable" [default],
    }

    /// CONSUME_MESSAGE_DIRECTLY.
    ConsumeMessageDirectlyHeader {
        /// The group.
        consumer_group: String = "consumerGroup",
        /// The client.
        client_id: Option<String> = "clientId",
        /// The message's id.
        msg_id: Option<String> = "msgId",
        /// The broker that has it; set by the broker.
        broker_name: Option<String> = "brokerName",
        /// Its topic.
        topic: Option<String> = "topic",
        /// The topic's flags.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// The group's flags.
        group_sys_flag: Option<i32> = "groupSysFlag",
    }

    /// DELETE_SUBSCRIPTIONGROUP.
    DeleteSubscriptionGroupHeader {
        /// The group.
        group_name: String = "groupName",
        /// Whether its offsets go too; 5.x.
        clean_offset: Option<bool> = "cleanOffset",
        /// The same in 4.9.
        remove_offset: Option<bool> = "removeOffset",
    }

    /// GET_CONSUME_STATS.
    ConsumeStatsHeader {
        /// The group.
        consumer_group: String = "consumerGroup",
        /// One topic only.
        topic: Option<String> = "topic",
        /// These topics only, joined by `;`; 5.4.
        topic_list: Option<String> = "topicList",
    }

    /// GET_BROKER_CONSUME_STATS.
    BrokerConsumeStatsHeader {
        /// Orderly groups only.
        is_order: bool = "isOrder" [default],
    }

    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG of 5.4, which reads page by page.
    AllSubscriptionGroupsHeader {
        /// Number of the first group wanted.
        group_seq: Option<i32> = "groupSeq",
        /// The version that the pages so far had.
        data_version: Option<String> = "dataVersion",
        /// How many groups at most.
        max_group_num: Option<i32> = "maxGroupNum",
    }
}
