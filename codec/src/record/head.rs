//! Reading a record: its numbers, and where its variable parts lie.
//!
//! The dispatcher and the pull path need a few numbers of each record and no texts; they read the
//! [`RecordHead`] alone. [`super::Record::decode`] reads the head first and then the rest.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
};

use super::{RECORD_MAGIC_V1, RECORD_MAGIC_V2, RecordError, record_len, sys_flag};

/// A record's numbers, and where its variable parts lie, counted from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// The whole record.
    pub total_size: u32,
    /// [`RECORD_MAGIC_V1`] or [`RECORD_MAGIC_V2`].
    pub magic: u32,
    /// See [`super::body_crc`].
    pub body_crc: u32,
    /// The queue.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// The message's number in its queue.
    pub queue_offset: i64,
    /// Its place in the log, as it says itself.
    pub physical_offset: i64,
    /// Bits of [`sys_flag`].
    pub sys_flag: i32,
    /// The producer's clock, ms.
    pub born_timestamp: i64,
    /// The broker's clock, ms.
    pub store_timestamp: i64,
    /// How often consumers gave it back.
    pub reconsume_times: i32,
    /// The log offset of the half message that this one commits.
    pub prepared_transaction_offset: i64,
    /// The body.
    pub body: Range<usize>,
    /// The topic.
    pub topic: Range<usize>,
    /// The property string.
    pub properties: Range<usize>,
}

impl RecordHead {
    /// The topic, out of the bytes that the head was read from.
    pub fn topic<'a>(&self, record: &'a [u8]) -> Result<&'a str, RecordError> {
        text("topic", record.get(self.topic.clone()))
    }

    /// The property string, out of the bytes that the head was read from.
    pub fn properties<'a>(&self, record: &'a [u8]) -> Result<&'a str, RecordError> {
        text("properties", record.get(self.properties.clone()))
    }

    /// The body, out of the bytes that the head was read from.
    pub fn body<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        record.get(self.body.clone()).unwrap_or_default()
    }
}

/// Reads numbers and places of the record at the start of `bytes`, for whoever has no use for hosts
/// and texts. Checks every length.
pub fn decode_head(bytes: &[u8]) -> Result<RecordHead, RecordError> {
    let Some((total, magic)) = record_len(bytes) else {
        return Err(RecordError::Truncated { need: 8, have: bytes.len() });
    };
    if !matches!(magic, RECORD_MAGIC_V1 | RECORD_MAGIC_V2) {
        return Err(RecordError::Magic(magic));
    }
    let Some(record) = bytes.get(..total) else {
        return Err(RecordError::Truncated { need: total, have: bytes.len() });
    };
    let mut reader = Reader { bytes: record, at: 8 };
    let body_crc = reader.u32()?;
    let queue_id = reader.i32()?;
    let flag = reader.i32()?;
    let queue_offset = reader.i64()?;
    let physical_offset = reader.i64()?;
    let sys_flag = reader.i32()?;
    let born_timestamp = reader.i64()?;
    reader.skip(host_len(sys_flag & sys_flag::BORN_HOST_V6 != 0));
    let store_timestamp = reader.i64()?;
    reader.skip(host_len(sys_flag & sys_flag::STORE_HOST_V6 != 0));
    let reconsume_times = reader.i32()?;
    let prepared_transaction_offset = reader.i64()?;
    let length = reader.i32()?;
    let body = reader.range("body", length.into())?;
    let length = match magic {
        RECORD_MAGIC_V2 => i16::from_be_bytes(reader.array()?).into(),
        _ => i8::from_be_bytes(reader.array()?).into(),
    };
    let topic = reader.range("topic", length)?;
    let length = i16::from_be_bytes(reader.array()?);
    let properties = reader.range("properties", length.into())?;
    if reader.at != total {
        return Err(RecordError::Size { total, used: reader.at });
    }
    Ok(RecordHead {
        total_size: total as u32,
        magic,
        body_crc,
        queue_id,
        flag,
        queue_offset,
        physical_offset,
        sys_flag,
        born_timestamp,
        store_timestamp,
        reconsume_times,
        prepared_transaction_offset,
        body,
        topic,
        properties,
    })
}

fn host_len(v6: bool) -> usize {
    if v6 { 20 } else { 8 }
}

pub(super) fn text<'a>(
    field: &'static str,
    bytes: Option<&'a [u8]>,
) -> Result<&'a str, RecordError> {
    std::str::from_utf8(bytes.unwrap_or_default()).map_err(|_| RecordError::NotUtf8(field))
}

/// A place in a record; reading ends in an error, never behind the bytes.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let truncated = RecordError::Truncated { need: self.at + N, have: self.bytes.len() };
        let (array, _) = rest.split_first_chunk().ok_or(truncated)?;
        self.at += N;
        Ok(*array)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn range(&mut self, field: &'static str, length: i64) -> Result<Range<usize>, RecordError> {
        let bad = RecordError::Length { field, length };
        let end = usize::try_from(length).map_err(|_| bad)? + self.at;
        if end > self.bytes.len() {
            return Err(bad);
        }
        let start = std::mem::replace(&mut self.at, end);
        Ok(start..end)
    }

    pub(super) fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip: IpAddr = if v6 {
            Ipv6Addr::from(self.array::<16>()?).into()
        } else {
            Ipv4Addr::from(self.array::<4>()?).into()
        };
        let port = self.i32()?;
        let port = u16::try_from(port).map_err(|_| RecordError::Port(port))?;
        Ok(SocketAddr::new(ip, port))
    }
}
