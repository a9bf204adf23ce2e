//! Bodies of popping: many acknowledgements at once, assignments of queues, modes of consuming.

use std::collections::BTreeMap;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{MessageModel, MessageQueue, null_as_default};

/// BATCH_ACK_MESSAGE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckBody {
    /// By pop and queue.
    #[serde(deserialize_with = "null_as_default")]
    pub acks: Vec<BatchAck>,
    /// The broker.
    #[serde(deserialize_with = "null_as_default")]
    pub broker_name: String,
}

/// Acknowledged messages of one pop in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAck {
    /// Which messages: bit n stands for the offset `start_offset` + n.
    #[serde(rename = "b", alias = "bitSet", default)]
    pub bits: BitSet,
    /// The consumer's group.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    /// How long they are hidden, ms.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// When they were popped, ms.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// Their queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// The mark of the topic ([`crate::pop::TopicMark`]).
    #[serde(rename = "r", alias = "retry", default)]
    pub mark: String,
    /// The queue of the revive topic.
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_qid: i32,
    /// Where the pop's messages of this queue began.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// The topic that was asked for.
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
}

/// Bits as Java's `BitSet` gives them away: bytes, the least significant first, as text in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BitSet(pub Vec<u8>);

impl BitSet {
    /// The numbers of the bits that are set, in rising order.
    pub fn ones(&self) -> impl Iterator<Item = u64> + '_ {
        let bits = |(place, byte): (usize, &u8)| {
            let byte = *byte;
            (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| place as u64 * 8 + bit)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

impl FromIterator<u64> for BitSet {
    fn from_iter<I: IntoIterator<Item = u64>>(ones: I) -> Self {
        let mut bytes = Vec::new();
        for bit in ones {
            let place = (bit / 8) as usize;
            bytes.resize(bytes.len().max(place + 1), 0);
            if let Some(byte) = bytes.get_mut(place) {
                *byte |= 1 << (bit % 8);
            }
        }
        Self(bytes)
    }
}

/// With or without padding, whichever the peer writes.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Serialize for BitSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(input)?.unwrap_or_default();
        BASE64.decode(&text).map(Self).map_err(|e| D::Error::custom(format!("bit set: {e}")))
    }
}

/// How a group gets the messages of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MessageRequestMode {
    /// Each queue belongs to one client, which pulls.
    #[default]
    Pull,
    /// Queues are shared, clients pop.
    Pop,
}

/// SET_MESSAGE_REQUEST_MODE; also an entry of the file of modes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestModeBody {
    /// The group.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_group: String,
    /// How it consumes.
    #[serde(deserialize_with = "null_as_default")]
    pub mode: MessageRequestMode,
    /// How many clients besides the owner share a queue; 0 and less: all share all.
    #[serde(deserialize_with = "null_as_default")]
    pub pop_share_queue_num: i32,
    /// The topic.
    #[serde(deserialize_with = "null_as_default")]
    pub topic: String,
}

/// The file of modes, and the answer to GET_ALL_MESSAGE_REQUEST_MODE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestModeTable {
    /// By topic and group.
    #[serde(deserialize_with = "null_as_default")]
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, RequestModeBody>>,
}

/// QUERY_ASSIGNMENT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentBody {
    /// Who asks.
    #[serde(deserialize_with = "null_as_default")]
    pub client_id: String,
    /// The group.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_group: String,
    /// Whether the members share the messages.
    #[serde(deserialize_with = "null_as_default")]
    pub message_model: MessageModel,
    /// How queues are shared out: `AVG` or `AVG_BY_CIRCLE`.
    #[serde(deserialize_with = "null_as_default")]
    pub strategy_name: String,
    /// The topic.
    #[serde(deserialize_with = "null_as_default")]
    pub topic: String,
}

/// The answer to QUERY_ASSIGNMENT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignmentBody {
    /// The queues; None: not known, the client keeps what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue_assignments: Option<Vec<QueueAssignment>>,
}

/// A queue that is assigned to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueAssignment {
    /// The queue; number -1: any of the broker's.
    pub message_queue: MessageQueue,
    /// How it is consumed.
    pub mode: MessageRequestMode,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson;

    #[test]
    fn bits_are_little_endian_in_base64() {
        let bits: BitSet = [0, 1, 9, 31].into_iter().collect();
        assert_eq!(bits.0, [0b11, 0b10, 0, 0x80]);
        assert_eq!(bits.ones().collect::<Vec<_>>(), [0, 1, 9, 31]);
        assert_eq!(serde_json::to_string(&bits).unwrap(), "\"AwIAgA==\"");
        for text in ["\"AwIAgA==\"", "\"AwIAgA\""] {
            assert_eq!(serde_json::from_str::<BitSet>(text).unwrap(), bits);
        }
        assert_eq!(serde_json::from_str::<BitSet>("null").unwrap(), BitSet::default());
        assert!(serde_json::from_str::<BitSet>("\"***\"").is_err());
    }

    #[test]
    fn both_forms_of_a_batch_are_read() {
        let short = r#"{"brokerName":"b","acks":[{"c":"g","t":"t","r":"1","so":5,"q":2,"rq":3,"pt":7,"it":8,"b":"BQ=="}]}"#;
        let long = r#"{"brokerName":"b","acks":[{"consumerGroup":"g","topic":"t","retry":"1","startOffset":5,
            "queueId":2,"reviveQueueId":3,"popTime":7,"invisibleTime":8,"bitSet":"BQ=="}]}"#;
        let read = |text: &str| fastjson::from_slice::<BatchAckBody>(text.as_bytes()).unwrap();
        assert_eq!(read(short), read(long));
        let ack = &read(short).acks[0];
        let offsets = ack.bits.ones().map(|bit| ack.start_offset as u64 + bit);
        assert_eq!(offsets.collect::<Vec<_>>(), [5, 7]);
        assert_eq!((ack.queue_id, ack.pop_time, ack.mark.as_str()), (2, 7, "1"));
        assert_eq!(read("{\"acks\":null}").acks, []);
    }

    #[test]
    fn assignments_are_written_as_java_does() {
        let queue = MessageQueue { broker_name: "b".into(), queue_id: -1, topic: "t".into() };
        let assignment = QueueAssignment { message_queue: queue, mode: MessageRequestMode::Pop };
        let body = AssignmentBody { message_queue_assignments: Some(vec![assignment]) };
        let text = r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"b","queueId":-1,"topic":"t"},"mode":"POP"}]}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), text);
        assert_eq!(serde_json::to_string(&AssignmentBody::default()).unwrap(), "{}");
    }

    #[test]
    fn modes_are_read_from_javas_file() {
        let text = r#"{"messageRequestModeMap":{"t":{"g":{"consumerGroup":"g","mode":"POP","popShareQueueNum":2,"topic":"t"}}}}"#;
        let table: RequestModeTable = serde_json::from_str(text).unwrap();
        let entry = &table.message_request_mode_map["t"]["g"];
        assert_eq!((entry.mode, entry.pop_share_queue_num), (MessageRequestMode::Pop, 2));
        assert_eq!(serde_json::to_string(&table).unwrap(), text);
    }
}
