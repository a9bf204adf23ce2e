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
