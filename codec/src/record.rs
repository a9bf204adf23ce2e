//! The stored message: a record of the commit log, and at once what a pull returns.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | total size, this field included |
//! | 4 | 4 | magic: version 1 or 2, or blank for the unused rest of a file |
//! | 8 | 4 | CRC-32 of the body, masked to 31 bits; 0 for an empty body |
//! | 12 | 4 | queue id |
//! | 16 | 4 | user's flag |
//! | 20 | 8 | queue offset |
//! | 28 | 8 | offset in the log |
//! | 36 | 4 | sysFlag |
//! | 40 | 8 | born timestamp, ms |
//! | 48 | B | born host: address, port of 4 bytes |
//! | 48 + B | 8 | store timestamp, ms |
//! | 56 + B | S | store host |
//! | 56 + B + S | 4 | reconsume times |
//! | 60 + B + S | 8 | offset of the half message, for a committed one |
//! | 68 + B + S | 4 + n | body |
//! | … | 1 + n, version 2: 2 + n | topic |
//! | … | 2 + n | properties |
//!
//! B and S are 8, or 20 for an IPv6 address, as bits 0x10 and 0x20 of sysFlag say; these bits are
//! derived from the addresses on writing. An IPv4 address in IPv6 clothes is written as IPv4.
//! Version 2 is written only for a topic longer than 127 bytes, which old clients cannot read.
//!
//! Decoding checks that every length fits and that texts are UTF-8, and does not trust the total size
//! beyond the bytes given. The CRC is checked on request only.

mod head;

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use head::{Reader, text};
pub use head::{RecordHead, decode_head};

/// Magic of a record with a topic length of one byte.
pub const RECORD_MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record with a topic length of two bytes.
pub const RECORD_MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the filler at the end of a file; never sent to a client.
pub const BLANK_MAGIC: u32 = 0xCBD4_3194;

/// Bits of sysFlag.
pub mod sys_flag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// The message may have several tags.
    pub const MULTI_TAGS: i32 = 0x2;
    /// Mask of the transaction's state.
    pub const TRANSACTION: i32 = 0xC;
    /// Transaction: half message.
    pub const PREPARED: i32 = 0x4;
    /// Transaction: committed.
    pub const COMMIT: i32 = 0x8;
    /// Transaction: rolled back.
    pub const ROLLBACK: i32 = 0xC;
    /// The born host is IPv6.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is IPv6.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The body has to be unwrapped.
    pub const NEED_UNWRAP: i32 = 0x40;
    /// The body is a batch stored as one message.
    pub const INNER_BATCH: i32 = 0x80;
    /// Mask of the way of compression.
    pub const COMPRESSION_TYPE: i32 = 0x700;
    /// Ours, in the log only: the next record belongs to the same client batch. A log that ends behind such
    /// a record has a batch of which the rest is missing. Java and all clients pass over this bit.
    pub const BATCH_CONTINUES: i32 = 0x1000;
}

const FIXED_BYTES: usize = 88;
const HOST_V6_EXTRA: usize = 12;
const TOPIC_V1_MAX: usize = 127;
const TOPIC_V2_MAX: usize = i16::MAX as usize;
/// The longest property string.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// A message as stored, borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The queue.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// The message's number in its queue.
    pub queue_offset: i64,
    /// Its place in the log.
    pub physical_offset: i64,
    /// Bits of [`sys_flag`].
    pub sys_flag: i32,
    /// The producer's clock, ms.
    pub born_timestamp: i64,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// The broker's clock, ms.
    pub store_timestamp: i64,
    /// The broker.
    pub store_host: SocketAddr,
    /// How often consumers gave it back.
    pub reconsume_times: i32,
    /// The log offset of the half message that this one commits.
    pub prepared_transaction_offset: i64,
    /// See [`body_crc`].
    pub body_crc: u32,
    /// The body, perhaps compressed.
    pub body: &'a [u8],
    /// The topic.
    pub topic: &'a str,
    /// The property string ([`crate::properties`]).
    pub properties: &'a str,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Fewer bytes than the total size says, or than a record has at least.
    #[error("{have} bytes of a record of {need}")]
    Truncated {
        /// The bytes needed.
        need: usize,
        /// The bytes there.
        have: usize,
    },
    /// Not the magic of a message.
    #[error("magic {0:#010x}")]
    Magic(u32),
    /// A length is negative, or ends behind the record.
    #[error("{field} of {length} bytes does not fit into the record")]
    Length {
        /// Whose length.
        field: &'static str,
        /// The length.
        length: i64,
    },
    /// The fields end before the total size, or behind it.
    #[error("total size {total}, but the fields take {used}")]
    Size {
        /// The total size.
        total: usize,
        /// What the fields take.
        used: usize,
    },
    /// The topic or the properties are not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// No queue has such a number or such a place.
    #[error("queue {queue} and queue offset {offset}")]
    Place {
        /// The queue.
        queue: i32,
        /// The place.
        offset: i64,
    },
    /// The port does not fit into 16 bits.
    #[error("port {0}")]
    Port(i32),
}

/// The checksum of a body: CRC-32, masked to 31 bits.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// The size of a record.
pub fn encoded_len(
    topic_len: usize,
    properties_len: usize,
    body_len: usize,
    born_v6: bool,
    store_v6: bool,
) -> usize {
    let hosts = HOST_V6_EXTRA * (usize::from(born_v6) + usize::from(store_v6));
    let topic_length = if topic_len > TOPIC_V1_MAX { 2 } else { 1 };
    FIXED_BYTES + hosts + body_len + topic_length + topic_len + 2 + properties_len
}

/// Total size and magic of the record at the start of `bytes`; None while they are not there.
pub fn record_len(bytes: &[u8]) -> Option<(usize, u32)> {
    let (size, rest) = bytes.split_first_chunk()?;
    let (magic, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*size) as usize, u32::from_be_bytes(*magic)))
}

impl<'a> Record<'a> {
    /// The size of this record.
    pub fn encoded_len(&self) -> usize {
        let (born_v6, store_v6) = (is_v6(self.born_host), is_v6(self.store_host));
        let (topic, properties) = (self.topic.len(), self.properties.len());
        encoded_len(topic, properties, self.body.len(), born_v6, store_v6)
    }

    /// Writes the record into `out`, which has exactly [`Self::encoded_len`] bytes.
    ///
    /// # Panics
    /// If `out` has another size, or topic or properties are longer than their lengths can say: the
    /// caller has checked both, and a wrong record must not reach the log.
    pub fn write_to(&self, out: &mut [u8]) {
        let total = self.encoded_len();
        assert_eq!(out.len(), total, "a record is written into exactly its size");
        assert!(self.topic.len() <= TOPIC_V2_MAX, "topic length fits into 16 bits");
        assert!(self.properties.len() <= PROPERTIES_BYTES_MAX, "properties length fits");
        let wide_topic = self.topic.len() > TOPIC_V1_MAX;
        let mut writer = Writer { rest: out };
        writer.put((total as u32).to_be_bytes());
        writer.put(if wide_topic { RECORD_MAGIC_V2 } else { RECORD_MAGIC_V1 }.to_be_bytes());
        writer.put(self.body_crc.to_be_bytes());
        writer.put(self.queue_id.to_be_bytes());
        writer.put(self.flag.to_be_bytes());
        writer.put(self.queue_offset.to_be_bytes());
        writer.put(self.physical_offset.to_be_bytes());
        writer.put(self.flags_as_stored().to_be_bytes());
        writer.put(self.born_timestamp.to_be_bytes());
        writer.host(self.born_host);
        writer.put(self.store_timestamp.to_be_bytes());
        writer.host(self.store_host);
        writer.put(self.reconsume_times.to_be_bytes());
        writer.put(self.prepared_transaction_offset.to_be_bytes());
        writer.put((self.body.len() as u32).to_be_bytes());
        writer.bytes(self.body);
        if wide_topic {
            writer.put((self.topic.len() as u16).to_be_bytes());
        } else {
            writer.put([self.topic.len() as u8]);
        }
        writer.bytes(self.topic.as_bytes());
        writer.put((self.properties.len() as u16).to_be_bytes());
        writer.bytes(self.properties.as_bytes());
    }

    /// sysFlag with the bits of the hosts as they are.
    fn flags_as_stored(&self) -> i32 {
        let mut flags = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if is_v6(self.born_host) {
            flags |= sys_flag::BORN_HOST_V6;
        }
        if is_v6(self.store_host) {
            flags |= sys_flag::STORE_HOST_V6;
        }
        flags
    }

    /// Reads the record at the start of `bytes`; what follows it is not looked at.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let head = decode_head(bytes)?;
        let mut born = Reader { bytes, at: 48 };
        let born_host = born.host(head.sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let mut store = Reader { bytes, at: born.at + 8 };
        let store_host = store.host(head.sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        Ok(Self {
            queue_id: head.queue_id,
            flag: head.flag,
            queue_offset: head.queue_offset,
            physical_offset: head.physical_offset,
            sys_flag: head.sys_flag,
            born_timestamp: head.born_timestamp,
            born_host,
            store_timestamp: head.store_timestamp,
            store_host,
            reconsume_times: head.reconsume_times,
            prepared_transaction_offset: head.prepared_transaction_offset,
            body_crc: head.body_crc,
            body: bytes.get(head.body).unwrap_or_default(),
            topic: text("topic", bytes.get(head.topic))?,
            properties: text("properties", bytes.get(head.properties))?,
        })
    }

    /// Whether the body is what its checksum says.
    pub fn check_body_crc(&self) -> bool {
        body_crc(self.body) == self.body_crc
    }
}

fn is_v6(host: SocketAddr) -> bool {
    host.ip().to_canonical().is_ipv6()
}

/// The part of a record that is still to be written. Its size was computed from the same fields, so
/// running out of room is a broken invariant.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, array: [u8; N]) {
        self.bytes(&array);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.rest = rest;
    }

    fn host(&mut self, host: SocketAddr) {
        match host.ip().to_canonical() {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
        self.put(u32::from(host.port()).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn record<'a>(topic: &'a str, properties: &'a str, body: &'a [u8]) -> Record<'a> {
        Record {
            queue_id: 3,
            flag: -1,
            queue_offset: 42,
            physical_offset: 1 << 40,
            sys_flag: sys_flag::COMPRESSED,
            born_timestamp: 1_700_000_000_001,
            born_host: "10.1.2.3:54321".parse().unwrap(),
            store_timestamp: 1_700_000_000_002,
            store_host: "10.1.2.4:10911".parse().unwrap(),
            reconsume_times: 1,
            prepared_transaction_offset: 7,
            body_crc: body_crc(body),
            body,
            topic,
            properties,
        }
    }

    fn written(record: &Record<'_>) -> Vec<u8> {
        let mut out = vec![0xFF; record.encoded_len()];
        record.write_to(&mut out);
        out
    }

    #[test]
    fn the_fixed_part_takes_91_bytes() {
        let bytes = written(&record("", "", b""));
        assert_eq!(bytes.len(), 91);
        assert_eq!(bytes[4..8], RECORD_MAGIC_V1.to_be_bytes());
        assert_eq!(bytes[12..16], 3_i32.to_be_bytes());
        assert_eq!(bytes[20..28], 42_i64.to_be_bytes());
        assert_eq!(bytes[28..36], (1_i64 << 40).to_be_bytes());
        assert_eq!(bytes[48..56], [10, 1, 2, 3, 0, 0, 0xD4, 0x31]);
        assert_eq!(bytes[56..64], 1_700_000_000_002_i64.to_be_bytes());
    }

    #[test]
    fn a_record_is_read_back_whatever_follows() {
        let record = record("T", "TAGS\u{1}a\u{2}", b"body");
        let mut bytes = written(&record);
        bytes.extend_from_slice(b"the next one");
        assert_eq!(Record::decode(&bytes), Ok(record.clone()));
        assert!(record.check_body_crc());
        let head = decode_head(&bytes).unwrap();
        assert_eq!(head.topic(&bytes), Ok("T"));
        assert_eq!(head.properties(&bytes), Ok("TAGS\u{1}a\u{2}"));
        assert_eq!(head.body(&bytes), b"body");
    }

    #[test]
    fn checksums_have_31_bits() {
        assert_eq!(body_crc(b""), 0);
        assert_eq!(body_crc(b"123456789"), 0xCBF4_3926 & 0x7FFF_FFFF);
    }

    #[test]
    fn address_flags_follow_the_addresses() {
        let mut v6 = record("T", "", b"");
        v6.sys_flag = sys_flag::STORE_HOST_V6;
        v6.born_host = "[2001:db8::1]:1".parse().unwrap();
        let bytes = written(&v6);
        assert_eq!(bytes.len(), 92 + 12);
        let read = Record::decode(&bytes).unwrap();
        assert_eq!(read.sys_flag, sys_flag::BORN_HOST_V6);
        assert_eq!((read.born_host, read.store_host), (v6.born_host, v6.store_host));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_written_as_ipv4() {
        let mut mapped = record("T", "", b"");
        mapped.born_host = "[::ffff:10.1.2.3]:54321".parse().unwrap();
        assert_eq!(written(&mapped), written(&record("T", "", b"")));
    }

    #[test]
    fn only_long_topics_get_version_2() {
        for (len, magic) in [(127, RECORD_MAGIC_V1), (128, RECORD_MAGIC_V2), (255, RECORD_MAGIC_V2)]
        {
            let topic = "t".repeat(len);
            let record = record(&topic, "p", b"b");
            let bytes = written(&record);
            assert_eq!(record_len(&bytes), Some((bytes.len(), magic)));
            assert_eq!(Record::decode(&bytes), Ok(record));
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = written(&record("T", "TAGS\u{1}a\u{2}", b"body"));
        for len in 0..bytes.len() {
            assert!(Record::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn lies_are_found() {
        let good = written(&record("T", "p", b"body"));
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            Record::decode(&bad).unwrap_err()
        };
        assert_eq!(with(4, &BLANK_MAGIC.to_be_bytes()), RecordError::Magic(BLANK_MAGIC));
        let total = good.len() as u32;
        assert!(matches!(with(0, &(total - 1).to_be_bytes()), RecordError::Length { .. }));
        assert!(matches!(with(0, &u32::MAX.to_be_bytes()), RecordError::Truncated { .. }));
        assert_eq!(with(84, &[0xFF; 4]), RecordError::Length { field: "body", length: -1 });
        assert_eq!(with(92, &[0x80]), RecordError::Length { field: "topic", length: -128 });
        assert_eq!(with(92, &[0]), RecordError::Length { field: "properties", length: 0x5400 });
        assert_eq!(with(93, &[0xFF]), RecordError::NotUtf8("topic"));
        assert_eq!(with(52, &[1, 0, 0, 0]), RecordError::Port(0x0100_0000));
    }

    proptest! {
        #[test]
        fn any_record_is_read_back(
            topic in "[a-z%_-]{0,255}",
            properties in "[A-Z\u{1}\u{2}é]{0,64}",
            body in proptest::collection::vec(any::<u8>(), 0..256),
            (born, store) in (any::<(u128, bool, u16)>(), any::<(u128, bool, u16)>()),
            (queue_id, flag, sys_flag, times) in any::<(i32, i32, i32, i32)>(),
            (queue_offset, physical_offset, stamp, prepared) in any::<(i64, i64, i64, i64)>(),
        ) {
            let host = |(bits, v6, port): (u128, bool, u16)| {
                let v4 = IpAddr::V4(Ipv4Addr::from(bits as u32));
                SocketAddr::new(if v6 { Ipv6Addr::from(bits).to_canonical() } else { v4 }, port)
            };
            let mut record = Record {
                queue_id, flag, queue_offset, physical_offset, sys_flag,
                born_timestamp: stamp, store_timestamp: stamp.wrapping_add(1),
                born_host: host(born), store_host: host(store),
                reconsume_times: times, prepared_transaction_offset: prepared,
                body_crc: body_crc(&body), body: &body, topic: &topic, properties: &properties,
            };
            let bytes = written(&record);
            record.sys_flag = record.flags_as_stored();
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
        }

        #[test]
        fn garbage_is_refused_or_consistent(mut bytes in proptest::collection::vec(any::<u8>(), 92..160)) {
            let total = bytes.len() as u32;
            bytes[..4].copy_from_slice(&total.to_be_bytes());
            bytes[4..8].copy_from_slice(&RECORD_MAGIC_V1.to_be_bytes());
            if let Ok(head) = decode_head(&bytes) {
                prop_assert_eq!(head.properties.end, bytes.len());
            }
        }
    }
}
