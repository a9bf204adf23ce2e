//! Headers of pulling, looking messages up, and popping.

use crate::{
    command::Command,
    ext::{ExtFields, ExtValue},
    header::{HeaderError, HeaderField, Required, headers},
};

/// Bits of [`PullHeader::sys_flag`].
pub mod pull_flag {
    /// Store `commit_offset` for the group.
    pub const COMMIT_OFFSET: i32 = 1;
    /// Hold the request while there is no message.
    pub const SUSPEND: i32 = 2;
    /// The request carries the subscription.
    pub const SUBSCRIPTION: i32 = 4;
    /// Filter by a class, as 4.x could.
    pub const CLASS_FILTER: i32 = 8;
    /// From a lite pull consumer.
    pub const LITE_PULL: i32 = 16;
}

/// The header of a pull (codes 11 and 361), borrowed from its command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullHeader<'a> {
    /// The consumer's group.
    pub consumer_group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// The first message wanted.
    pub queue_offset: i64,
    /// How many at most.
    pub max_msg_nums: i32,
    /// Bits of [`pull_flag`].
    pub sys_flag: i32,
    /// The group's progress.
    pub commit_offset: i64,
    /// How long the request may be held, ms.
    pub suspend_timeout_millis: i64,
    /// The filter expression, with [`pull_flag::SUBSCRIPTION`].
    pub subscription: Option<&'a str>,
    /// The version of the subscription that the consumer sent with its heartbeat.
    pub sub_version: i64,
    /// `TAG`, `SQL92`, or absent for `TAG`.
    pub expression_type: Option<&'a str>,
    /// How many bytes at most; 5.x.
    pub max_msg_bytes: Option<i32>,
    /// Who asks: 0 or absent = a client; 5.x.
    pub request_source: Option<i32>,
    /// The client behind a proxy; 5.x.
    pub proxy_forward_client_id: Option<&'a str>,
}

impl<'a> PullHeader<'a> {
    /// Reads the header of a pull request, in one pass over its fields.
    pub fn decode(cmd: &'a Command) -> Result<Self, HeaderError> {
        let mut header = Self::default();
        let mut required = Required::new(&REQUIRED);
        for (name, value) in cmd.ext.iter() {
            match name {
                "consumerGroup" => header.consumer_group = required.seen(0, value),
                "topic" => header.topic = required.seen(1, value),
                "queueId" => header.queue_id = i32::parse("queueId", required.seen(2, value))?,
                "queueOffset" => {
                    header.queue_offset = i64::parse("queueOffset", required.seen(3, value))?;
                }
                "maxMsgNums" => {
                    header.max_msg_nums = i32::parse("maxMsgNums", required.seen(4, value))?;
                }
                "sysFlag" => header.sys_flag = i32::parse("sysFlag", required.seen(5, value))?,
                "commitOffset" => {
                    header.commit_offset = i64::parse("commitOffset", required.seen(6, value))?;
                }
                "suspendTimeoutMillis" => {
                    header.suspend_timeout_millis =
                        i64::parse("suspendTimeoutMillis", required.seen(7, value))?;
                }
                "subVersion" => {
                    header.sub_version = i64::parse("subVersion", required.seen(8, value))?;
                }
                "subscription" => header.subscription = Some(value),
                "expressionType" => header.expression_type = Some(value),
                "maxMsgBytes" => header.max_msg_bytes = Some(i32::parse("maxMsgBytes", value)?),
                "requestSource" => {
                    header.request_source = Some(i32::parse("requestSource", value)?);
                }
                "proxyFrowardClientId" => header.proxy_forward_client_id = Some(value),
                _ => {}
            }
        }
        required.check()?;
        Ok(header)
    }

    /// Adds the header's fields.
    pub fn encode(&self, ext: &mut ExtFields) {
        ext.push("consumerGroup", self.consumer_group);
        ext.push("topic", self.topic);
        self.queue_id.push_to("queueId", ext);
        self.queue_offset.push_to("queueOffset", ext);
        self.max_msg_nums.push_to("maxMsgNums", ext);
        self.sys_flag.push_to("sysFlag", ext);
        self.commit_offset.push_to("commitOffset", ext);
        self.suspend_timeout_millis.push_to("suspendTimeoutMillis", ext);
        push_some(self.subscription, "subscription", ext);
        self.sub_version.push_to("subVersion", ext);
        push_some(self.expression_type, "expressionType", ext);
        push_some(self.max_msg_bytes, "maxMsgBytes", ext);
        push_some(self.request_source, "requestSource", ext);
        push_some(self.proxy_forward_client_id, "proxyFrowardClientId", ext);
    }

    /// Whether the request may be held.
    pub fn may_suspend(&self) -> bool {
        self.sys_flag & pull_flag::SUSPEND != 0
    }

    /// Whether the request stores the group's progress.
    pub fn commits_offset(&self) -> bool {
        self.sys_flag & pull_flag::COMMIT_OFFSET != 0
    }

    /// Whether the request carries its subscription.
    pub fn has_subscription(&self) -> bool {
        self.sys_flag & pull_flag::SUBSCRIPTION != 0
    }
}

fn push_some(value: Option<impl ExtValue>, name: &'static str, ext: &mut ExtFields) {
    if let Some(value) = value {
        value.push_to(name, ext);
    }
}

/// The required fields of a pull.
const REQUIRED: [&str; 9] = [
    "consumerGroup",
    "topic",
    "queueId",
    "queueOffset",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subVersion",
];

headers! {
    /// What a consumer reads from the answer to its pull.
    PullResponse {
        /// The broker of the group to ask next: 0 = master.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        /// The offset to ask for next.
        next_begin_offset: i64 = "nextBeginOffset",
        /// The queue's first offset.
        min_offset: i64 = "minOffset",
        /// The queue's end.
        max_offset: i64 = "maxOffset",
    }

    /// VIEW_MESSAGE_BY_ID.
    ViewMessageHeader {
        /// The message's offset in the log.
        offset: i64 = "offset",
        /// Its topic; 5.x.
        topic: Option<String> = "topic",
    }

    /// QUERY_MESSAGE: messages by key.
    QueryMessageHeader {
        /// The topic.
        topic: String = "topic",
        /// The key.
        key: String = "key",
        /// How many at most.
        max_num: i32 = "maxNum",
        /// Stored at this time or later, ms.
        begin_timestamp: i64 = "beginTimestamp",
        /// Stored at this time or earlier, ms.
        end_timestamp: i64 = "endTimestamp",
        /// Whether the key is a unique key.
        unique_key_query: bool = "_UNIQUE_KEY_QUERY" [default],
        /// What kind of key it is: K, U, or T for a tag; 5.4 and later.
        index_type: Option<String> = "indexType",
    }

    /// The answer to QUERY_MESSAGE.
    QueryMessageResponse {
        /// The store time of the newest indexed message, ms.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Its offset in the log.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }

    /// POP_MESSAGE.
    PopMessageHeader {
        /// The consumer's group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue; -1 for any.
        queue_id: i32 = "queueId",
        /// How many at most.
        max_msg_nums: i32 = "maxMsgNums",
        /// How long they are hidden from others, ms.
        invisible_time: i64 = "invisibleTime",
        /// How long the request may be held, ms.
        poll_time: i64 = "pollTime",
        /// The client's clock, ms.
        born_time: i64 = "bornTime",
        /// Where a new group starts: 0 = first message, 1 = end.
        init_mode: i32 = "initMode",
        /// `TAG` or `SQL92`.
        exp_type: Option<String> = "expType",
        /// The filter expression.
        exp: Option<String> = "exp",
        /// Whether the group consumes in order.
        order: Option<bool> = "order",
        /// Names one try of an orderly pop.
        attempt_id: Option<String> = "attemptId",
    }

    /// The answer to POP_MESSAGE.
    PopMessageResponse {
        /// When the messages were taken, ms.
        pop_time: i64 = "popTime",
        /// How long they are hidden, ms.
        invisible_time: i64 = "invisibleTime",
        /// The queue of the revive topic that watches over them.
        revive_qid: i32 = "reviveQid",
        /// How many are left.
        rest_num: i64 = "restNum",
        /// First offsets by queue.
        start_offset_info: Option<String> = "startOffsetInfo",
        /// All offsets by queue.
        msg_offset_info: Option<String> = "msgOffsetInfo",
        /// How often each was tried, for orderly groups.
        order_count_info: Option<String> = "orderCountInfo",
    }

    /// ACK_MESSAGE.
    AckMessageHeader {
        /// The consumer's group.
        consumer_group: String = "consumerGroup",
        /// The topic that it was popped from.
        topic: String = "topic",
        /// Its queue.
        queue_id: i32 = "queueId",
        /// The message's POP_CK property.
        extra_info: String = "extraInfo",
        /// Its offset in the queue.
        offset: i64 = "offset",
    }

    /// CHANGE_MESSAGE_INVISIBLETIME.
    ChangeInvisibleTimeHeader {
        /// The consumer's group.
        consumer_group: String = "consumerGroup",
        /// The topic that it was popped from.
        topic: String = "topic",
        /// Its queue.
        queue_id: i32 = "queueId",
        /// The message's POP_CK property.
        extra_info: String = "extraInfo",
        /// Its offset in the queue.
        offset: i64 = "offset",
        /// How long it stays hidden from now on, ms.
        invisible_time: i64 = "invisibleTime",
    }

    /// The answer to CHANGE_MESSAGE_INVISIBLETIME.
    ChangeInvisibleTimeResponse {
        /// The new time of taking, ms.
        pop_time: i64 = "popTime",
        /// How long it is hidden, ms.
        invisible_time: i64 = "invisibleTime",
        /// The queue of the revive topic that watches over it.
        revive_qid: i32 = "reviveQid",
    }

    /// NOTIFICATION: wait until there is something to pop.
    NotificationHeader {
        /// The consumer's group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue; -1 for any.
        queue_id: i32 = "queueId",
        /// How long the request may be held, ms.
        poll_time: i64 = "pollTime",
        /// The client's clock, ms.
        born_time: i64 = "bornTime",
        /// Whether the group consumes in order.
        order: Option<bool> = "order",
        /// Names one try of an orderly pop.
        attempt_id: Option<String> = "attemptId",
    }

    /// The answer to NOTIFICATION.
    NotificationResponse {
        /// Whether there is something.
        has_msg: bool = "hasMsg",
        /// Whether too many wait already.
        polling_full: Option<bool> = "pollingFull",
    }

    /// PEEK_MESSAGE.
    PeekMessageHeader {
        /// The consumer's group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue; -1 for any.
        queue_id: i32 = "queueId",
        /// How many at most.
        max_msg_nums: i32 = "maxMsgNums",
    }

    /// POLLING_INFO.
    PollingInfoHeader {
        /// The consumer's group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
    }

    /// The answer to POLLING_INFO.
    PollingInfoResponse {
        /// How many requests wait.
        polling_num: i32 = "pollingNum",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_read_back() {
        let header = PullHeader {
            consumer_group: "G",
            topic: "T",
            queue_id: 3,
            queue_offset: 41,
            max_msg_nums: 32,
            sys_flag: pull_flag::COMMIT_OFFSET | pull_flag::SUSPEND,
            commit_offset: 40,
            suspend_timeout_millis: 15_000,
            subscription: Some("a || b"),
            sub_version: 1_700_000_000_000,
            expression_type: Some("TAG"),
            max_msg_bytes: Some(1024),
            request_source: None,
            proxy_forward_client_id: Some("c"),
        };
        let mut cmd = Command::request(11);
        header.encode(&mut cmd.ext);
        assert_eq!(PullHeader::decode(&cmd), Ok(header.clone()));
        assert!(header.may_suspend() && header.commits_offset() && !header.has_subscription());
    }

    #[test]
    fn the_first_missing_field_is_named() {
        let cmd = Command::request(11).with_ext("consumerGroup", "G").with_ext("queueId", 1);
        assert_eq!(PullHeader::decode(&cmd), Err(HeaderError::Missing { field: "topic" }));
        let cmd = Command::request(11).with_ext("queueOffset", "x");
        let error = HeaderError::Invalid { field: "queueOffset", value: "x".into() };
        assert_eq!(PullHeader::decode(&cmd), Err(error));
    }
}
