//! Headers of administration of a broker, as far as they are not about groups or offsets.

use crate::header::headers;

headers! {
    /// UPDATE_AND_CREATE_TOPIC.
    CreateTopicHeader {
        /// The topic.
        topic: String = "topic",
        /// The template, not used.
        default_topic: String = "defaultTopic" [default],
        /// Queues to read.
        read_queue_nums: i32 = "readQueueNums",
        /// Queues to write.
        write_queue_nums: i32 = "writeQueueNums",
        /// Permission bits.
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: Option<String> = "topicFilterType",
        /// Flags.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Whether it is an order topic.
        order: bool = "order" [default],
        /// Changes to the attributes, `+name=value` or `-name`, joined by commas; 5.x.
        attributes: Option<String> = "attributes",
        /// Skip checks; 5.x.
        force: Option<bool> = "force",
    }

    /// GET_TOPIC_CONFIG.
    GetTopicConfigHeader {
        /// The topic.
        topic: String = "topic",
        /// For static topics.
        lo: Option<bool> = "lo",
    }

    /// GET_ALL_TOPIC_CONFIG of 5.4, which reads page by page.
    AllTopicConfigHeader {
        /// Number of the first topic wanted.
        topic_seq: Option<i32> = "topicSeq",
        /// The version that the pages so far had.
        data_version: Option<String> = "dataVersion",
        /// How many topics at most.
        max_topic_num: Option<i32> = "maxTopicNum",
    }

    /// The answer to GET_BROKER_CONFIG.
    GetBrokerConfigResponse {
        /// The configuration's data version, as JSON.
        version: String = "version",
    }

    /// VIEW_BROKER_STATS_DATA.
    ViewBrokerStatsDataHeader {
        /// The counter.
        stats_name: String = "statsName",
        /// Whose counter.
        stats_key: String = "statsKey",
    }

    /// QUERY_CONSUME_QUEUE.
    QueryConsumeQueueHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The first entry.
        index: i64 = "index",
        /// How many entries.
        count: i32 = "count",
        /// Whose filter to apply.
        consumer_group: Option<String> = "consumerGroup",
    }

    /// RESUME_CHECK_HALF_MESSAGE.
    ResumeCheckHalfMessageHeader {
        /// The half message's id.
        msg_id: String = "msgId",
        /// Its topic.
        topic: Option<String> = "topic",
    }

    /// EXCHANGE_BROKER_HA_INFO, request and response.
    ExchangeHaInfoHeader {
        /// The master's address for slaves.
        master_ha_address: Option<String> = "masterHaAddress",
        /// What the master has flushed.
        master_flush_offset: Option<i64> = "masterFlushOffset",
        /// The master's address for clients.
        master_address: Option<String> = "masterAddress",
    }
}
