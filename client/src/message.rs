//! Messages: as a program sends them, and as it gets them back.
//!
//! A [`Message`] is what the caller fills in; unique key, born time and queue are added when it is
//! sent. A [`MessageExt`] is one stored record of a pull's answer: its body is a slice of that
//! answer, never copied, and keeps the answer's memory alive for as long as it is held.

use std::net::SocketAddr;

use bytes::Bytes;
use gantry_codec::message_id::OffsetMessageId;
use gantry_codec::record::{decode_head, sys_flag};
use gantry_codec::{Record, RecordError, properties};

/// Compressed or not, and how.
const BODY_FLAGS: i32 = sys_flag::COMPRESSED | 0x700;

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The body; brokers refuse more than 4 MiB by default.
    pub body: Bytes,
    /// A number of the application's, stored and handed on.
    pub flag: i32,
    /// Bits that say how the body is encoded, for a body that is handed on as it was stored
    /// ([`MessageExt::body_flags`]); 0: as it is.
    pub body_flags: i32,
    properties: Vec<(String, String)>,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Message {
        Message { topic: topic.into(), body: body.into(), ..Message::default() }
    }

    /// Sets the tag by which consumers filter.
    pub fn with_tag(self, tag: &str) -> Message {
        self.with_property(properties::TAGS, tag)
    }

    /// Sets the keys, separated by blanks, by which the message can be found again.
    pub fn with_keys(self, keys: &str) -> Message {
        self.with_property(properties::KEYS, keys)
    }

    /// Delays the delivery by a level from 1 (one second) to 18 (two hours).
    pub fn with_delay_level(self, level: u8) -> Message {
        self.with_property(properties::DELAY, &level.to_string())
    }

    /// Sets a property, in place of an earlier one of the same name. Control characters 1 and 2
    /// separate properties on the wire and must not stand in a name or value.
    pub fn with_property(mut self, name: &str, value: &str) -> Message {
        self.properties.retain(|(existing, _)| existing != name);
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A property's value.
    pub fn property(&self, name: &str) -> Option<&str> {
        let mut found = self.properties.iter().filter(|(existing, _)| existing == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Properties as they are sent, with the unique key if the message has none of its own.
    pub(crate) fn wire_properties(&self, unique_key: &str) -> String {
        let mut text = String::new();
        if self.property(properties::UNIQ_KEY).is_none() {
            properties::append(&mut text, properties::UNIQ_KEY, unique_key);
        }
        for (name, value) in &self.properties {
            properties::append(&mut text, name, value);
        }
        text
    }
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageExt {
    /// The topic under which it is stored.
    pub topic: Box<str>,
    /// The queue.
    pub queue_id: i32,
    /// The place in the queue.
    pub queue_offset: i64,
    /// The place in the broker's commit log.
    pub physical_offset: i64,
    /// Bits of the system, see [`MessageExt::is_compressed`].
    pub sys_flag: i32,
    /// The application's number.
    pub flag: i32,
    /// When the producer sent it, in milliseconds since 1970.
    pub born_timestamp: i64,
    /// Where the producer sent it from.
    pub born_host: SocketAddr,
    /// When the broker stored it, in milliseconds since 1970.
    pub store_timestamp: i64,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    /// How often consumption has failed.
    pub reconsume_times: i32,
    /// The place of the half message that this one commits, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as stored.
    pub body: Bytes,
    /// All properties as stored: name, 1, value, 2, and so on.
    pub properties: Box<str>,
}

impl MessageExt {
    /// Decodes the records of a pull's answer, which stand back to back.
    ///
    /// # Errors
    /// The first record that is not one; a broker that sends such a body is broken.
    pub fn decode_all(records: &Bytes) -> Result<Vec<MessageExt>, RecordError> {
        let mut messages = Vec::new();
        let mut rest = records.clone();
        while !rest.is_empty() {
            let len = decode_head(&rest)?.total_size as usize;
            messages.push(Self::decode(&rest.split_to(len))?);
        }
        Ok(messages)
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// Bytes that do not begin with a record.
    pub fn decode(bytes: &Bytes) -> Result<MessageExt, RecordError> {
        let record = Record::decode(bytes)?;
        Ok(MessageExt {
            topic: record.topic.into(),
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            sys_flag: record.sys_flag,
            flag: record.flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_timestamp: record.store_timestamp,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: record.prepared_transaction_offset,
            body: bytes.slice_ref(record.body),
            properties: record.properties.into(),
        })
    }

    /// A property's value.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get(&self.properties, name)
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(properties::TAGS)
    }

    /// The keys, separated by blanks.
    pub fn keys(&self) -> Option<&str> {
        self.property(properties::KEYS)
    }

    /// The producer's own id of the message.
    pub fn unique_key(&self) -> Option<&str> {
        self.property(properties::UNIQ_KEY)
    }

    /// Whether the producer compressed the body; this client hands it on as it is.
    pub fn is_compressed(&self) -> bool {
        self.sys_flag & 1 != 0
    }

    /// Those bits of the system flag that say how the body is encoded.
    pub fn body_flags(&self) -> i32 {
        self.sys_flag & BODY_FLAGS
    }

    /// The id by which the broker finds this copy again.
    pub fn offset_message_id(&self) -> OffsetMessageId {
        let offset = u64::try_from(self.physical_offset).unwrap_or_default();
        OffsetMessageId { host: self.store_host, offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_property_counts() {
        let message = Message::new("T", "x").with_tag("a").with_delay_level(3).with_tag("b");
        assert_eq!(message.property("TAGS"), Some("b"));
        assert_eq!(
            message.wire_properties("K"),
            "UNIQ_KEY\u{1}K\u{2}DELAY\u{1}3\u{2}TAGS\u{1}b\u{2}"
        );
    }

    #[test]
    fn a_message_keeps_its_own_unique_key() {
        let message = Message::new("T", "x").with_property("UNIQ_KEY", "mine");
        assert_eq!(message.wire_properties("fresh"), "UNIQ_KEY\u{1}mine\u{2}");
    }

    #[test]
    fn no_records_are_no_messages() {
        assert_eq!(MessageExt::decode_all(&Bytes::new()), Ok(vec![]));
        assert!(MessageExt::decode_all(&Bytes::from_static(b"garbage")).is_err());
    }
}
