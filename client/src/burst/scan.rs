//! Reading a frame without decoding its header.
//!
//! A load generator needs the code and the opaque of each answer, and now and then one ext field.
//! In a JSON header these are found by searching for their quoted names: inside a
//! JSON string a quotation mark is always escaped, so `"code":` with bare quotes around it is a
//! member name wherever it stands; a member of the ext fields with the same name has a string for a
//! value and is passed over. Binary headers have them at fixed places.
//!
//! The scan trusts the peer to send JSON at all; the frame's own lengths it checks.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use thiserror::Error;

const PREFIX_BYTES: usize = 8;
const BINARY_FIXED_BYTES: usize = 21;

/// Preparing a search costs as much as the search, so those of every answer are prepared once.
static CODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"code\":"));
static OPAQUE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"opaque\":"));

/// What was scanned is not a frame of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The header's length does not fit into the frame.
    #[error("header of {header_len} bytes in a frame of {frame_len}")]
    HeaderLength {
        /// The length that the frame states for its header.
        header_len: usize,
        /// The frame's own length.
        frame_len: usize,
    },
    /// The serialize type is neither JSON nor binary.
    #[error("serialize type {0}")]
    SerializeType(u8),
    /// A JSON header without this numeric member.
    #[error("no number {0:?} in the header")]
    Member(&'static str),
}

/// A view of one frame, request or answer: the parts that a load generator looks at.
#[derive(Debug, Clone, Copy)]
pub struct FrameScan<'a> {
    /// Request or response code.
    pub code: i32,
    /// What ties request and answer together.
    pub opaque: i32,
    /// The body, empty when there is none.
    pub body: &'a [u8],
    header: &'a [u8],
    binary: bool,
}

impl<'a> FrameScan<'a> {
    /// Scans one whole frame, length word included.
    ///
    /// # Errors
    /// A frame whose parts do not fit together; the connection is of no use after that.
    pub fn scan(frame: &'a [u8]) -> Result<FrameScan<'a>, ScanError> {
        let (prefix, rest) = frame
            .split_first_chunk::<PREFIX_BYTES>()
            .ok_or(ScanError::HeaderLength { header_len: 0, frame_len: frame.len() })?;
        let header_len =
            usize::from(prefix[5]) << 16 | usize::from(prefix[6]) << 8 | usize::from(prefix[7]);
        let (header, body) = rest
            .split_at_checked(header_len)
            .ok_or(ScanError::HeaderLength { header_len, frame_len: frame.len() })?;
        let (code, opaque, binary) = match prefix[4] {
            0 => {
                let code = json_number(header, &CODE).ok_or(ScanError::Member("code"))?;
                let opaque = json_number(header, &OPAQUE).ok_or(ScanError::Member("opaque"))?;
                (code, opaque, false)
            }
            1 => {
                let fixed = header
                    .first_chunk::<BINARY_FIXED_BYTES>()
                    .ok_or(ScanError::HeaderLength { header_len, frame_len: frame.len() })?;
                let code = i16::from_be_bytes([fixed[0], fixed[1]]);
                let opaque = i32::from_be_bytes([fixed[5], fixed[6], fixed[7], fixed[8]]);
                (i32::from(code), opaque, true)
            }
            other => return Err(ScanError::SerializeType(other)),
        };
        Ok(FrameScan { code, opaque, body, header, binary })
    }

    /// The ext field `name` as a number; None when it is absent or not a number.
    pub fn ext_i64(&self, name: &str) -> Option<i64> {
        std::str::from_utf8(self.ext_raw(name)?).ok()?.parse().ok()
    }

    /// The ext field `name` as it stands in the header: in JSON, escapes are not undone.
    pub fn ext_raw(&self, name: &str) -> Option<&'a [u8]> {
        if self.binary { binary_ext(self.header, name) } else { json_ext(self.header, name) }
    }

    /// The header as it came, for messages about refusals: the remark stands in it.
    pub fn header_text(&self) -> String {
        String::from_utf8_lossy(self.header).into_owned()
    }
}

/// The value of the first of these members that is a bare number.
fn json_number(header: &[u8], member: &Finder<'_>) -> Option<i32> {
    let mut found = member.find_iter(header);
    found.find_map(|at| parse_i32(&header[at + member.needle().len()..]))
}

/// The text of the first member `name` that is a string.
fn json_ext<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(header, name).find_map(|at| {
        let text = header[at..].strip_prefix(b"\"")?;
        text.get(..string_len(text)?)
    })
}

/// Where the string ends whose opening quote stands before `text`: an escape takes two bytes.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Where the values of the members `name` begin.
fn members<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = usize> + 'a {
    memmem::find_iter(header, name.as_bytes()).filter_map(move |at| {
        let opened = at.checked_sub(1).and_then(|before| header.get(before)) == Some(&b'"');
        let end = at + name.len();
        (opened && header[end..].starts_with(b"\":")).then_some(end + 2)
    })
}

fn parse_i32(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if len == 0 {
        return None;
    }
    let mut value = 0_i64;
    for digit in &digits[..len.min(11)] {
        value = value * 10 + i64::from(digit - b'0');
    }
    i32::try_from(if negative { -value } else { value }).ok()
}

/// Walks the entries of a binary header's ext block: key length (2), key, value length (4), value.
fn binary_ext<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let remark_len = be_len(header, 13..17)?;
    let mut at = 17_usize.checked_add(remark_len)?.checked_add(4)?;
    while at < header.len() {
        let key_len = be_len(header, at..at + 2)?;
        let key_end = (at + 2).checked_add(key_len)?;
        let value_len = be_len(header, key_end..key_end.checked_add(4)?)?;
        let value_end = (key_end + 4).checked_add(value_len)?;
        if header.get(at + 2..key_end)? == name.as_bytes() {
            return header.get(key_end + 4..value_end);
        }
        at = value_end;
    }
    None
}

fn be_len(bytes: &[u8], range: Range<usize>) -> Option<usize> {
    let word = bytes.get(range)?;
    Some(word.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use gantry_codec::{Command, SerializeType};

    use super::*;

    fn frame(reply: &Command) -> BytesMut {
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        out
    }

    fn reply(serialize_type: SerializeType) -> Command {
        let mut request = Command::request(11);
        request.opaque = 1_234_567_890;
        request.serialize_type = serialize_type;
        Command::response(21, &request)
            .with_remark(r#"a remark with "code":99 and "opaque":98 in it"#)
            .with_ext("code", "17")
            .with_ext("quoted", r#"a \ "b""#)
            .with_ext("nextBeginOffset", "123456789012")
            .with_body(Bytes::from_static(b"records"))
    }

    #[test]
    fn scan_agrees_with_the_decoder() {
        for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
            let bytes = frame(&reply(serialize_type));
            let scanned = FrameScan::scan(&bytes).expect("a valid frame");
            assert_eq!((scanned.code, scanned.opaque), (21, 1_234_567_890));
            assert_eq!(scanned.body, b"records");
            assert_eq!(scanned.ext_i64("nextBeginOffset"), Some(123_456_789_012));
            assert_eq!(scanned.ext_i64("BeginOffset"), None);
            assert_eq!(scanned.ext_i64("minOffset"), None);
            let quoted = match serialize_type {
                SerializeType::Json => r#"a \\ \"b\""#,
                SerializeType::RocketMq => r#"a \ "b""#,
            };
            assert_eq!(scanned.ext_raw("quoted"), Some(quoted.as_bytes()));
        }
    }

    #[test]
    fn a_header_as_java_writes_it() {
        let header = concat!(
            r#"{"code":0,"extFields":{"queueId":"3","queueOffset":"41","msgId":"7F0000010000"},"#,
            r#""flag":1,"language":"JAVA","opaque":-5,"serializeTypeCurrentRPC":"JSON","version":479}"#
        );
        let mut bytes = ((4 + header.len()) as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
        bytes.extend_from_slice(header.as_bytes());
        let scanned = FrameScan::scan(&bytes).expect("a valid frame");
        assert_eq!((scanned.code, scanned.opaque), (0, -5));
        assert_eq!(scanned.ext_i64("queueOffset"), Some(41));
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_body() {
        for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
            let bytes = frame(&reply(serialize_type));
            for len in 0..bytes.len() {
                if let Ok(scanned) = FrameScan::scan(&bytes[..len]) {
                    assert!(scanned.body.len() < b"records".len());
                }
            }
        }
    }

    #[test]
    fn lies_in_a_binary_ext_block_stay_inside_the_header() {
        let mut bytes = frame(&reply(SerializeType::RocketMq));
        for at in 8..bytes.len() {
            let before = bytes[at];
            bytes[at] = 0xFF;
            if let Ok(scanned) = FrameScan::scan(&bytes) {
                let _ = scanned.ext_i64("nextBeginOffset");
            }
            bytes[at] = before;
        }
    }
}
