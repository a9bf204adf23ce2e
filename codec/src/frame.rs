//! The frame: where a command begins and ends in a stream of bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of what follows: 4 + header + body |
//! | 4 | 1 | serialize type of the header: 0 JSON, 1 binary |
//! | 5 | 3 | header length, unsigned |
//! | 8 | header length | header |
//! | … | rest | body |
//!
//! All numbers are big-endian. A frame that breaks these rules cannot be skipped, since its end is
//! unknown: whoever reads the stream closes it. The functions here look at a buffer and never ask
//! for memory, so an announced length costs nothing until its bytes have come.

use bytes::BytesMut;
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use crate::command::{Command, DecodeError};

/// The longest frame, its length word included.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Length word, serialize type and header length.
pub(crate) const PREFIX_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;

/// How a header is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SerializeType {
    /// A JSON object.
    #[default]
    Json = 0,
    /// The binary form, called ROCKETMQ by the protocol.
    RocketMq = 1,
}

impl SerializeType {
    /// The type of a number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Json),
            1 => Some(Self::RocketMq),
            _ => None,
        }
    }
}

/// Why bytes cannot be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length word is negative or leaves no room for the header's.
    #[error("frame length {0} is below 4")]
    TooShort(i32),
    /// The frame would be longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// The header would end behind the frame.
    #[error("header of {header} bytes in a frame of {frame}")]
    HeaderTooLong {
        /// The header's announced length.
        header: usize,
        /// The frame's length.
        frame: usize,
    },
    /// Neither JSON nor binary.
    #[error("unknown serialize type {0}")]
    UnknownSerializeType(u8),
}

/// The whole length, length word included, of the frame at the start of `buf`.
///
/// None while the length word is not complete. As soon as 8 bytes are there the serialize type and
/// the header's length are checked too.
pub fn peek_frame_len(buf: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some((length, rest)) = buf.split_first_chunk() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let frame = match usize::try_from(length) {
        Ok(length) if length >= PREFIX_BYTES - LENGTH_BYTES => length + LENGTH_BYTES,
        _ => return Err(FrameError::TooShort(length)),
    };
    if frame > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(frame));
    }
    if let Some((word, _)) = rest.split_first_chunk() {
        split_header_word(*word, frame)?;
    }
    Ok(Some(frame))
}

/// Serialize type and header length of a frame of `frame` bytes.
pub(crate) fn split_header_word(
    word: [u8; 4],
    frame: usize,
) -> Result<(SerializeType, usize), FrameError> {
    let [number, high, middle, low] = word;
    let serialize_type =
        SerializeType::from_number(number).ok_or(FrameError::UnknownSerializeType(number))?;
    let header = u32::from_be_bytes([0, high, middle, low]) as usize;
    if header > frame - PREFIX_BYTES {
        return Err(FrameError::HeaderTooLong { header, frame });
    }
    Ok((serialize_type, header))
}

/// What [`complete_frames`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompleteFrames {
    /// The bytes that the frames take.
    pub bytes: usize,
    /// How many they are.
    pub frames: usize,
}

/// The complete frames at the start of `buf`, at most `frames_max`.
///
/// A broken frame ends the count; it is an error only when no good frame stands before it, so that
/// what was asked properly is answered before the stream is closed.
pub fn complete_frames(buf: &[u8], frames_max: usize) -> Result<CompleteFrames, FrameError> {
    let mut found = CompleteFrames::default();
    let mut rest = buf;
    while found.frames < frames_max {
        let frame = match peek_frame_len(rest) {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) if found.frames == 0 => return Err(error),
            Err(_) => break,
        };
        let Some(after) = rest.get(frame..) else { break };
        rest = after;
        found.bytes += frame;
        found.frames += 1;
    }
    Ok(found)
}

/// Why a stream of commands cannot go on.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The frame holds no command.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream itself failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Commands over a byte stream, for whoever has no use for bursts (clients, tests).
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandCodec;

impl Decoder for CommandCodec {
    type Item = Command;
    type Error = CodecError;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Command>, CodecError> {
        match peek_frame_len(buf)? {
            Some(frame) if frame <= buf.len() => {
                Ok(Some(Command::decode(buf.split_to(frame).freeze())?))
            }
            _ => Ok(None),
        }
    }
}

impl Encoder<&Command> for CommandCodec {
    type Error = CodecError;

    fn encode(&mut self, command: &Command, out: &mut BytesMut) -> Result<(), CodecError> {
        let start = out.len();
        command.encode(out);
        let frame = out.len() - start;
        if frame > FRAME_BYTES_MAX {
            out.truncate(start);
            return Err(FrameError::TooLong(frame).into());
        }
        Ok(())
    }
}

impl Encoder<Command> for CommandCodec {
    type Error = CodecError;

    fn encode(&mut self, command: Command, out: &mut BytesMut) -> Result<(), CodecError> {
        Encoder::<&Command>::encode(self, &command, out)
    }
}
