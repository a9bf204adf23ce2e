//! Headers of offsets: a queue's own, and what groups have stored.

use crate::header::headers;

headers! {
    /// QUERY_CONSUMER_OFFSET.
    QueryConsumerOffsetHeader {
        /// The group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// `false` asks for "not found" instead of 0 for a group without offset; 5.x.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }

    /// UPDATE_CONSUMER_OFFSET.
    UpdateConsumerOffsetHeader {
        /// The group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The next message to consume.
        commit_offset: i64 = "commitOffset",
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP.
    SearchOffsetHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// A store time, ms.
        timestamp: i64 = "timestamp",
        /// `LOWER` (also if absent) or `UPPER`, in any case; 5.x.
        boundary_type: Option<String> = "boundaryType",
    }

    /// GET_MAX_OFFSET.
    GetMaxOffsetHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// Whether only flushed and replicated messages count; 5.x.
        committed: Option<bool> = "committed",
    }

    /// GET_MIN_OFFSET and GET_EARLIEST_MSG_STORETIME.
    QueueHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
    }

    /// The answer to every question for an offset.
    OffsetResponse {
        /// The offset.
        offset: i64 = "offset",
    }

    /// The answer to GET_EARLIEST_MSG_STORETIME.
    EarliestMsgStoretimeResponse {
        /// The time, ms; -1 if there is no message.
        timestamp: i64 = "timestamp",
    }

    /// INVOKE_BROKER_TO_RESET_OFFSET, and RESET_CONSUMER_CLIENT_OFFSET on to the client.
    ResetOffsetHeader {
        /// The topic.
        topic: String = "topic",
        /// The group.
        group: String = "group",
        /// To the first message stored at this time or later, ms; -1 = to the end.
        timestamp: i64 = "timestamp",
        /// Whether offsets may also grow.
        is_force: bool = "isForce" [default],
        /// One queue only; -1 or absent for all; 5.x.
        queue_id: Option<i32> = "queueId",
        /// To this offset instead of a time; -1 or absent for none; 5.x.
        offset: Option<i64> = "offset",
    }

    /// CLONE_GROUP_OFFSET.
    CloneGroupOffsetHeader {
        /// The group whose offsets are copied.
        src_group: String = "srcGroup",
        /// The group that gets them.
        dest_group: String = "destGroup",
        /// One topic only.
        topic: Option<String> = "topic",
        /// Whether the group is offline.
        offline: bool = "offline" [default],
    }

    /// QUERY_CORRECTION_OFFSET.
    QueryCorrectionOffsetHeader {
        /// Groups to leave out, joined by commas.
        filter_groups: Option<String> = "filterGroups",
        /// The group to compare with.
        compare_group: String = "compareGroup",
        /// The topic.
        topic: String = "topic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExtFields, Header, HeaderError};

    #[test]
    fn absent_fields_are_left_out_and_defaulted() {
        let mut ext = ExtFields::default();
        ext.push("topic", "T");
        ext.push("group", "G");
        ext.push("timestamp", "-1");
        let header = ResetOffsetHeader::decode(&ext).unwrap();
        assert_eq!((header.is_force, header.queue_id, header.offset), (false, None, None));
        let mut written = ExtFields::default();
        header.encode(&mut written);
        assert_eq!(written.iter().count(), 4);
        assert_eq!(written.get("isForce"), Some("false"));
    }

    #[test]
    fn errors_name_field_and_value() {
        let mut ext = ExtFields::default();
        assert_eq!(QueueHeader::decode(&ext), Err(HeaderError::Missing { field: "topic" }));
        ext.push("topic", "T");
        ext.push("queueId", &"9".repeat(100));
        let error = QueueHeader::decode(&ext).unwrap_err();
        assert!(matches!(
            &error,
            HeaderError::Invalid { field: "queueId", value } if value.chars().count() == 65
        ));
    }
}
