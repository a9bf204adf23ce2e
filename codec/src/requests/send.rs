//! Headers of sending, replying, giving back and recalling.

use crate::{
    command::Command,
    ext::{ExtFields, ExtValue},
    header::{HeaderError, HeaderField, Required, headers},
    request_code::{SEND_MESSAGE, SEND_REPLY_MESSAGE},
};

/// The header of a send, borrowed from its command.
///
/// Field names are long with codes 10 and 324, and of one letter with 310, 320 and 325:
///
/// | | | | |
/// |---|---|---|---|
/// | a producerGroup | b topic | c defaultTopic | d defaultTopicQueueNums |
/// | e queueId | f sysFlag | g bornTimestamp | h flag |
/// | i properties | j reconsumeTimes | k unitMode | l maxReconsumeTimes |
/// | m batch | n bname | | |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendHeader<'a> {
    /// The sender's group.
    pub producer_group: &'a str,
    /// Where the message goes.
    pub topic: &'a str,
    /// The template for a topic that does not exist yet.
    pub default_topic: &'a str,
    /// How many queues such a topic should have.
    pub default_topic_queue_nums: i32,
    /// The queue; negative for any.
    pub queue_id: i32,
    /// Flags as stored with the message.
    pub sys_flag: i32,
    /// The client's clock, ms.
    pub born_timestamp: i64,
    /// The user's flag.
    pub flag: i32,
    /// The property string ([`crate::properties`]).
    pub properties: &'a str,
    /// How often consumers gave the message back.
    pub reconsume_times: i32,
    /// Unit mode.
    pub unit_mode: bool,
    /// After how many times it goes to the dead letters; for retry topics only.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body is a batch; this decides, not the code.
    pub batch: bool,
}

impl<'a> SendHeader<'a> {
    /// Reads the header of a send request, in one pass over its fields.
    pub fn decode(cmd: &'a Command) -> Result<Self, HeaderError> {
        let mut header = Self::default();
        let mut required = Required::new(&REQUIRED);
        let long = matches!(cmd.code, SEND_MESSAGE | SEND_REPLY_MESSAGE);
        for (name, value) in cmd.ext.iter() {
            let letter = match name.as_bytes() {
                _ if long => short_name(name),
                [letter] => *letter,
                _ => continue,
            };
            header.take(letter, value, &mut required)?;
        }
        required.check()?;
        Ok(header)
    }

    fn take(
        &mut self,
        letter: u8,
        value: &'a str,
        required: &mut Required,
    ) -> Result<(), HeaderError> {
        match letter {
            b'a' => self.producer_group = required.seen(0, value),
            b'b' => self.topic = required.seen(1, value),
            b'c' => self.default_topic = required.seen(2, value),
            b'd' => {
                let value = required.seen(3, value);
                self.default_topic_queue_nums = i32::parse("defaultTopicQueueNums", value)?;
            }
            b'e' => self.queue_id = i32::parse("queueId", required.seen(4, value))?,
            b'f' => self.sys_flag = i32::parse("sysFlag", required.seen(5, value))?,
            b'g' => self.born_timestamp = i64::parse("bornTimestamp", required.seen(6, value))?,
            b'h' => self.flag = i32::parse("flag", required.seen(7, value))?,
            b'i' => self.properties = value,
            b'j' => self.reconsume_times = i32::parse("reconsumeTimes", value)?,
            b'k' => self.unit_mode = bool::parse("unitMode", value)?,
            b'l' => self.max_reconsume_times = Some(i32::parse("maxReconsumeTimes", value)?),
            b'm' => self.batch = bool::parse("batch", value)?,
            _ => {}
        }
        Ok(())
    }

    /// Adds the fields with names of one letter.
    pub fn encode_v2(&self, ext: &mut ExtFields) {
        self.encode(ext, |letter| letter);
    }

    /// Adds the fields with long names.
    pub fn encode_v1(&self, ext: &mut ExtFields) {
        self.encode(ext, long_name);
    }

    fn encode(&self, ext: &mut ExtFields, name: impl Fn(&'static str) -> &'static str) {
        ext.push(name("a"), self.producer_group);
        ext.push(name("b"), self.topic);
        ext.push(name("c"), self.default_topic);
        self.default_topic_queue_nums.push_to(name("d"), ext);
        self.queue_id.push_to(name("e"), ext);
        self.sys_flag.push_to(name("f"), ext);
        self.born_timestamp.push_to(name("g"), ext);
        self.flag.push_to(name("h"), ext);
        ext.push(name("i"), self.properties);
        self.reconsume_times.push_to(name("j"), ext);
        self.unit_mode.push_to(name("k"), ext);
        if let Some(max) = self.max_reconsume_times {
            max.push_to(name("l"), ext);
        }
        self.batch.push_to(name("m"), ext);
    }
}

/// The required fields of a send: the first of [`NAMES`].
const REQUIRED: [&str; 8] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
];

const NAMES: [(&str, &str); 13] = [
    ("a", "producerGroup"),
    ("b", "topic"),
    ("c", "defaultTopic"),
    ("d", "defaultTopicQueueNums"),
    ("e", "queueId"),
    ("f", "sysFlag"),
    ("g", "bornTimestamp"),
    ("h", "flag"),
    ("i", "properties"),
    ("j", "reconsumeTimes"),
    ("k", "unitMode"),
    ("l", "maxReconsumeTimes"),
    ("m", "batch"),
];

fn short_name(long: &str) -> u8 {
    let found = NAMES.iter().zip(b'a'..).find(|((_, name), _)| *name == long);
    found.map_or(0, |(_, letter)| letter)
}

fn long_name(letter: &'static str) -> &'static str {
    NAMES.iter().find(|(short, _)| *short == letter).map_or(letter, |(_, long)| long)
}

headers! {
    /// What a sender reads from the answer to its send; on errors only region and trace are there.
    SendResponse {
        /// The message's id: where it is stored. A batch has one for each, joined by commas.
        msg_id: String = "msgId" [default],
        /// Its queue.
        queue_id: i32 = "queueId" [default],
        /// Its offset in the queue; of a batch, the first one's.
        queue_offset: i64 = "queueOffset" [default],
        /// Its unique key.
        transaction_id: Option<String> = "transactionId",
        /// The unique key of a batch that is stored as one message.
        batch_uniq_id: Option<String> = "batchUniqId",
        /// With which a timer message can be taken back.
        recall_handle: Option<String> = "recallHandle",
        /// The broker's region.
        region: Option<String> = "MSG_REGION",
        /// Whether the broker wants traces.
        trace_on: Option<bool> = "TRACE_ON",
    }

    /// CONSUMER_SEND_MSG_BACK: a consumer could not handle a message.
    ConsumerSendMsgBackHeader {
        /// The message's offset in the log.
        offset: i64 = "offset",
        /// The consumer's group.
        group: String = "group",
        /// When to deliver it again; 0 = by the number of tries, negative = never.
        delay_level: i32 = "delayLevel",
        /// The id of its first copy.
        origin_msg_id: Option<String> = "originMsgId",
        /// Its topic.
        origin_topic: Option<String> = "originTopic",
        /// Unit mode.
        unit_mode: bool = "unitMode" [default],
        /// After how many times it goes to the dead letters.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }

    /// RECALL_MESSAGE.
    RecallMessageHeader {
        /// The sender's group.
        producer_group: Option<String> = "producerGroup",
        /// The message's topic.
        topic: String = "topic",
        /// What the send's answer gave.
        recall_handle: String = "recallHandle",
    }

    /// The answer to RECALL_MESSAGE.
    RecallMessageResponse {
        /// The id of the message that was taken back.
        msg_id: String = "msgId",
    }

    /// PUSH_REPLY_MESSAGE_TO_CLIENT: a reply on its way to the requester.
    PushReplyHeader {
        /// The replier's group.
        producer_group: String = "producerGroup",
        /// The reply topic.
        topic: String = "topic",
        /// The template for its creation.
        default_topic: String = "defaultTopic",
        /// Its queues.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// The queue.
        queue_id: i32 = "queueId",
        /// Flags; says whether the body is compressed.
        sys_flag: i32 = "sysFlag",
        /// The replier's clock, ms.
        born_timestamp: i64 = "bornTimestamp",
        /// The user's flag.
        flag: i32 = "flag",
        /// The property string.
        properties: Option<String> = "properties",
        /// Always 0.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// Unit mode.
        unit_mode: Option<bool> = "unitMode",
        /// The replier's `ip:port`.
        born_host: String = "bornHost",
        /// The broker's `ip:port`.
        store_host: String = "storeHost",
        /// The broker's clock, ms.
        store_timestamp: i64 = "storeTimestamp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SendHeader<'static> {
        SendHeader {
            producer_group: "P",
            topic: "T",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: -1,
            sys_flag: 3,
            born_timestamp: 1_700_000_000_001,
            flag: 7,
            properties: "KEYS\u{1}k\u{2}",
            reconsume_times: 2,
            unit_mode: true,
            max_reconsume_times: Some(16),
            batch: true,
        }
    }

    #[test]
    fn both_namings_are_read_back() {
        let mut short = Command::request(310);
        header().encode_v2(&mut short.ext);
        assert_eq!(short.ext.get("e"), Some("-1"));
        assert_eq!(SendHeader::decode(&short), Ok(header()));

        let mut long = Command::request(10);
        header().encode_v1(&mut long.ext);
        assert_eq!(long.ext.get("queueId"), Some("-1"));
        assert_eq!(SendHeader::decode(&long), Ok(header()));
    }

    #[test]
    fn optional_fields_have_javas_defaults() {
        let mut cmd = Command::request(310);
        for (name, value) in
            ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().zip("12345678".chars())
        {
            cmd.ext.push(name, &value.to_string());
        }
        cmd.ext.push("bname", "broker-a");
        let header = SendHeader::decode(&cmd).unwrap();
        assert_eq!((header.properties, header.batch, header.unit_mode), ("", false, false));
        assert_eq!((header.reconsume_times, header.max_reconsume_times), (0, None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cmd = Command::request(310).with_ext("a", "P").with_ext("c", "TBW102");
        assert_eq!(SendHeader::decode(&cmd), Err(HeaderError::Missing { field: "topic" }));
        let cmd = Command::request(310).with_ext("e", "abc");
        let value = "abc".into();
        assert_eq!(SendHeader::decode(&cmd), Err(HeaderError::Invalid { field: "queueId", value }));
        // Long names mean nothing to code 310.
        let cmd = Command::request(310).with_ext("producerGroup", "P");
        assert_eq!(SendHeader::decode(&cmd), Err(HeaderError::Missing { field: "producerGroup" }));
    }
}
