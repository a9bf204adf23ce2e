//! One request or response: the header's members, its ext fields, and the body.
//!
//! Decoding checks the whole header and copies nothing but what needs unescaping; the body is a slice
//! of the frame. Encoding writes into the caller's buffer. A response mirrors its request's opaque
//! and serialize type, so a peer is answered in the form that it wrote itself.
//!
//! A decoded command keeps its frame's memory alive through the body and the ext fields: what is
//! kept longer than the request takes has to be copied out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use thiserror::Error;

use crate::{
    ext::{ExtFields, ExtValue},
    frame::{self, FrameError, PREFIX_BYTES, SerializeType},
    header::Header,
    header_binary, header_json,
    language::Language,
};
pub use crate::{header_binary::BinaryError, header_json::JsonError};

/// The version in everything that we send: V5_3_3, which every client knows. From the version of a
/// heartbeat's answer a client concludes what the broker can do.
pub const BROKER_VERSION: i32 = 479;
/// Set in [`Command::flag`] of a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Set in [`Command::flag`] of a request that wants no answer.
pub const FLAG_ONEWAY: i32 = 2;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is asked ([`crate::request_code`]), or how it went ([`crate::response_code`]).
    pub code: i32,
    /// The sender's language.
    pub language: Language,
    /// The sender's version: an ordinal in the protocol's list of releases.
    pub version: i32,
    /// Ties a response to its request.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people; why a request failed.
    pub remark: Option<Box<str>>,
    /// The fields of the code's own header.
    pub ext: ExtFields,
    /// What the header does not hold; empty for none.
    pub body: Bytes,
    /// How the header was, or is to be, written.
    pub serialize_type: SerializeType,
}

/// A header as read, before it becomes a [`Command`].
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) code: i32,
    pub(crate) language: Language,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Option<Box<str>>,
    pub(crate) ext: ExtFields,
}

/// Why a frame holds no command. The stream that brought it is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The frame's lengths are wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The bytes are not exactly one frame.
    #[error("{have} bytes given for a frame of {frame:?}")]
    NotOneFrame {
        /// The frame's length, if it could be read.
        frame: Option<usize>,
        /// The bytes given.
        have: usize,
    },
    /// A JSON header is not UTF-8.
    #[error("header is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// A JSON header is none.
    #[error("JSON header: {0}")]
    Json(#[from] JsonError),
    /// A binary header is none.
    #[error("binary header: {0}")]
    Binary(#[from] BinaryError),
}

impl Command {
    /// Decodes one whole frame, length word included. The body is a slice of it.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let (serialize_type, header, body) = split(frame)?;
        let head = match serialize_type {
            SerializeType::Json => header_json::decode(utf8(header)?)?,
            SerializeType::RocketMq => header_binary::decode(&header)?,
        };
        Ok(Self {
            code: head.code,
            language: head.language,
            version: head.version,
            opaque: head.opaque,
            flag: head.flag,
            remark: head.remark,
            ext: head.ext,
            body,
            serialize_type,
        })
    }

    /// A request without fields, in JSON; the opaque is for the sender to set.
    pub fn request(code: i32) -> Self {
        Self {
            code,
            language: Language::Java,
            version: BROKER_VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: ExtFields::default(),
            body: Bytes::new(),
            serialize_type: SerializeType::Json,
        }
    }

    /// A request that wants no answer.
    pub fn oneway(code: i32) -> Self {
        Self { flag: FLAG_ONEWAY, ..Self::request(code) }
    }

    /// The response to a request: same opaque, same serialize type.
    pub fn response(code: i32, to: &Self) -> Self {
        Self {
            opaque: to.opaque,
            flag: FLAG_RESPONSE,
            serialize_type: to.serialize_type,
            ..Self::request(code)
        }
    }

    /// With a remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<Box<str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// With one more ext field.
    #[must_use]
    pub fn with_ext(mut self, name: &str, value: impl ExtValue) -> Self {
        value.push_to(name, &mut self.ext);
        self
    }

    /// With the ext fields of a typed header.
    #[must_use]
    pub fn with_header<H: Header>(mut self, header: &H) -> Self {
        header.encode(&mut self.ext);
        self
    }

    /// With a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no answer is wanted.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Appends the whole frame. The caller keeps it within [`frame::FRAME_BYTES_MAX`], or uses
    /// [`frame::CommandCodec`], which checks.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(self.body.len(), out);
        out.put_slice(&self.body);
    }

    /// Appends the frame without the body's bytes, for a body of `body_len` bytes that is written
    /// separately; [`Command::body`] is not looked at.
    pub fn encode_head(&self, body_len: usize, out: &mut BytesMut) {
        write_head(self.serialize_type, body_len, out, |out| match self.serialize_type {
            SerializeType::Json => header_json::encode(self, out),
            SerializeType::RocketMq => header_binary::encode(self, out),
        });
    }
}

/// Writes what stands in front of the body: the lengths around what `header` writes.
pub(crate) fn write_head(
    serialize_type: SerializeType,
    body_len: usize,
    out: &mut BytesMut,
    header: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    out.put_u64(0);
    header(out);
    let header_len = out.len() - start - PREFIX_BYTES;
    let length = (4 + header_len + body_len) as u64;
    let word = u64::from(serialize_type as u8) << 24 | header_len as u64;
    if let Some(prefix) = out.get_mut(start..start + PREFIX_BYTES) {
        prefix.copy_from_slice(&(length << 32 | word).to_be_bytes());
    }
}

fn split(mut frame: Bytes) -> Result<(SerializeType, Bytes, Bytes), DecodeError> {
    let have = frame.len();
    let wrong = |frame| DecodeError::NotOneFrame { frame, have };
    let length = frame::peek_frame_len(&frame)?;
    let Some((_, rest)) = frame.split_first_chunk::<4>() else { return Err(wrong(length)) };
    let Some((word, _)) = rest.split_first_chunk() else { return Err(wrong(length)) };
    if length != Some(have) {
        return Err(wrong(length));
    }
    let (serialize_type, header_len) = frame::split_header_word(*word, have)?;
    frame.advance(PREFIX_BYTES);
    let header = frame.split_to(header_len);
    Ok((serialize_type, header, frame))
}

fn utf8(header: Bytes) -> Result<ByteString, DecodeError> {
    ByteString::try_from(header).map_err(|e| DecodeError::NotUtf8(e.valid_up_to()))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::request_code;

    const TYPES: [SerializeType; 2] = [SerializeType::Json, SerializeType::RocketMq];

    fn frame(command: &Command) -> Bytes {
        let mut out = BytesMut::new();
        command.encode(&mut out);
        out.freeze()
    }

    #[test]
    fn a_command_is_cheap_to_move() {
        assert!(size_of::<Command>() <= 192, "{}", size_of::<Command>());
    }

    #[test]
    fn json_is_written_as_java_does() {
        let request = Command { opaque: 5, ..Command::request(10) };
        let response = Command::response(17, &request)
            .with_remark("no \"route\"")
            .with_ext("b", 1)
            .with_ext("a", "x\u{1}y");
        let text = r#"{"code":17,"extFields":{"b":"1","a":"x\u0001y"},"flag":1,"language":"JAVA","opaque":5,"remark":"no \"route\"","serializeTypeCurrentRPC":"JSON","version":479}"#;
        assert_eq!(frame(&response)[8..], *text.as_bytes());
        let bare = r#"{"code":0,"flag":1,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":479}"#;
        assert_eq!(frame(&Command::response(0, &request))[8..], *bare.as_bytes());
    }

    #[test]
    fn responses_mirror_the_request() {
        for serialize_type in TYPES {
            let request = Command { serialize_type, opaque: -7, ..Command::oneway(10) };
            assert!(request.is_oneway() && !request.is_response());
            let response = Command::response(0, &request);
            assert_eq!((response.opaque, response.serialize_type), (-7, serialize_type));
            assert!(response.is_response() && !response.is_oneway());
        }
    }

    #[test]
    fn the_body_is_a_slice_of_the_frame() {
        let frame = frame(&Command::request(10).with_body("body"));
        let command = Command::decode(frame.clone()).unwrap();
        assert_eq!(command.body.as_ptr(), frame[frame.len() - 4..].as_ptr());
    }

    #[test]
    fn a_body_sent_separately_is_counted() {
        for serialize_type in TYPES {
            let command = Command { serialize_type, ..Command::request(10) };
            let mut head = BytesMut::new();
            command.encode_head(4, &mut head);
            head.extend_from_slice(b"body");
            assert_eq!(head.freeze(), frame(&command.with_body("body")));
        }
    }

    #[test]
    fn anything_but_one_frame_is_refused() {
        let good = frame(&Command::request(10).with_body("body"));
        for len in 0..good.len() {
            assert!(Command::decode(good.slice(..len)).is_err(), "{len}");
        }
        let two = Bytes::from([&good[..], b"x"].concat());
        let error = DecodeError::NotOneFrame { frame: Some(good.len()), have: good.len() + 1 };
        assert_eq!(Command::decode(two), Err(error));
    }

    #[test]
    fn what_go_writes_is_read() {
        let text = r#"{"code":34,"language":"GO","version":317,"opaque":3,"flag":0,"remark":"","extFields":{}}"#;
        let mut out = BytesMut::new();
        write_head(SerializeType::Json, 0, &mut out, |out| out.put_slice(text.as_bytes()));
        let command = Command::decode(out.freeze()).unwrap();
        assert_eq!((command.language, command.version), (Language::Go, 317));
        assert_eq!(command.remark.as_deref(), Some(""));
        assert!(command.ext.is_present() && command.ext.is_empty());
    }

    #[test]
    fn wide_codes_survive_the_binary_header() {
        use request_code::*;
        for code in [POP_MESSAGE, ACK_MESSAGE, BATCH_ACK_MESSAGE, NOTIFICATION, SEND_MESSAGE] {
            let serialize_type = SerializeType::RocketMq;
            let request = Command { serialize_type, ..Command::request(code) };
            assert_eq!(Command::decode(frame(&request)).unwrap().code, code);
        }
        // In a response the number means something else.
        let request = Command { serialize_type: SerializeType::RocketMq, ..Command::request(10) };
        let response = Command::response(3442, &request);
        assert_eq!(Command::decode(frame(&response)).unwrap().code, 3442);
        let unknown = Command::response(-1, &request);
        assert_eq!(Command::decode(frame(&unknown)).unwrap().code, -1);
    }

    #[test]
    fn empty_values_are_kept_in_json_only() {
        for serialize_type in TYPES {
            let command = Command { serialize_type, ..Command::request(10) };
            let command = command.with_ext("empty", "").with_ext("full", "1").with_remark("");
            let read = Command::decode(frame(&command)).unwrap();
            let json = serialize_type == SerializeType::Json;
            assert_eq!(read.ext.get("empty"), json.then_some(""));
            assert_eq!(read.ext.get("full"), Some("1"));
            assert_eq!(read.remark.is_some(), json);
        }
    }

    #[test]
    fn very_many_fields_are_refused() {
        for serialize_type in TYPES {
            let mut command = Command { serialize_type, ..Command::request(10) };
            for _ in 0..crate::ext::EXT_FIELDS_MAX {
                command.ext.push("a", "1");
            }
            assert!(Command::decode(frame(&command)).is_ok());
            command.ext.push("a", "1");
            assert!(Command::decode(frame(&command)).is_err());
        }
    }

    #[test]
    fn every_byte_of_a_binary_header_may_be_wrong() {
        let request = Command { serialize_type: SerializeType::RocketMq, ..Command::request(10) };
        let good = frame(&request.with_remark("r").with_ext("a", "1").with_ext("b", "é"));
        for at in 8..good.len() {
            for byte in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bad = good.to_vec();
                bad[at] = byte;
                let _ = Command::decode(bad.into());
            }
        }
    }

    fn commands() -> impl Strategy<Value = Command> {
        let fields = proptest::collection::vec((".{1,6}", ".{1,12}"), 0..20);
        let numbers = (any::<i16>(), any::<i16>(), any::<i32>(), any::<i32>(), 0..14_u8);
        let remark = proptest::option::of(".{1,12}");
        let body = proptest::collection::vec(any::<u8>(), 0..32);
        (numbers, remark, fields, body, select(TYPES.to_vec())).prop_map(
            |((code, version, opaque, flag, language), remark, fields, body, serialize_type)| {
                let mut command = Command {
                    language: Language::from_number(language),
                    version: version.into(),
                    opaque,
                    flag,
                    remark: remark.map(Into::into),
                    serialize_type,
                    ..Command::request(code.into())
                };
                // A number that is the rest of a wide code would come back as that.
                command.flag |= FLAG_RESPONSE;
                for (name, value) in fields {
                    command.ext.push(&name, &value);
                }
                command.with_body(body)
            },
        )
    }

    proptest! {
        #[test]
        fn any_command_is_read_back(command in commands()) {
            let frame = frame(&command);
            prop_assert_eq!(frame::peek_frame_len(&frame), Ok(Some(frame.len())));
            prop_assert_eq!(Command::decode(frame), Ok(command));
        }

        #[test]
        fn any_bytes_are_refused_or_read(
            serialize_type in 0..2_u8,
            header in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut frame = BytesMut::new();
            frame.put_u32(4 + header.len() as u32);
            frame.put_u32(u32::from(serialize_type) << 24 | header.len() as u32);
            frame.put_slice(&header);
            let _ = Command::decode(frame.freeze());
        }
    }
}
