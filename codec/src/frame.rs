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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opaque: i32) -> BytesMut {
        let mut out = BytesMut::new();
        Command { opaque, ..Command::request(10) }.with_body("body").encode(&mut out);
        out
    }

    #[test]
    fn lengths_are_checked_as_soon_as_they_are_there() {
        let max = FRAME_BYTES_MAX as i32 - 4;
        let peek = |length: i32| peek_frame_len(&length.to_be_bytes());
        assert_eq!(peek_frame_len(&[0, 0, 0]), Ok(None));
        assert_eq!(peek(4), Ok(Some(8)));
        assert_eq!(peek(max), Ok(Some(FRAME_BYTES_MAX)));
        assert_eq!(peek(max + 1), Err(FrameError::TooLong(FRAME_BYTES_MAX + 1)));
        assert_eq!(peek(3), Err(FrameError::TooShort(3)));
        assert_eq!(peek(-1), Err(FrameError::TooShort(-1)));
    }

    #[test]
    fn the_header_word_is_checked_as_soon_as_it_is_there() {
        let with = |word: [u8; 4]| peek_frame_len(&[[0, 0, 0, 14], word].concat());
        assert_eq!(peek_frame_len(&[0, 0, 0, 14, 9, 9, 9]), Ok(Some(18)));
        assert_eq!(with([1, 0, 0, 10]), Ok(Some(18)));
        let (header, frame) = (11, 18);
        assert_eq!(with([0, 0, 0, 11]), Err(FrameError::HeaderTooLong { header, frame }));
        assert_eq!(with([2, 0, 0, 10]), Err(FrameError::UnknownSerializeType(2)));
    }

    #[test]
    fn other_protocols_are_told_apart() {
        assert!(matches!(peek_frame_len(b"\x16\x03\x01\x02\0\x01"), Err(FrameError::TooLong(_))));
        assert!(matches!(peek_frame_len(b"GET / HTTP/1.1"), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn complete_frames_are_counted_up_to_the_limit() {
        let one = frame(1);
        let three = [&one[..], &one, &one, &one[..9]].concat();
        let bytes = one.len();
        let all = CompleteFrames { bytes: 3 * bytes, frames: 3 };
        assert_eq!(complete_frames(&three, 100), Ok(all));
        assert_eq!(complete_frames(&three, 2), Ok(CompleteFrames { bytes: 2 * bytes, frames: 2 }));
        assert_eq!(complete_frames(&one[..bytes - 1], 2), Ok(CompleteFrames::default()));
    }

    #[test]
    fn good_frames_in_front_of_a_broken_one_are_kept() {
        let mut buf = frame(1);
        let bytes = buf.len();
        buf.extend_from_slice(&[0xFF; 8]);
        assert_eq!(complete_frames(&buf, 9), Ok(CompleteFrames { bytes, frames: 1 }));
        assert_eq!(complete_frames(&buf[bytes..], 9), Err(FrameError::TooShort(-1)));
    }

    #[test]
    fn a_frame_that_is_too_long_is_not_written() {
        let mut out = BytesMut::from(&b"before"[..]);
        let command = Command::request(10).with_body(vec![0; FRAME_BYTES_MAX]);
        assert!(CommandCodec.encode(&command, &mut out).is_err());
        assert_eq!(out, &b"before"[..]);
    }

    proptest! {
        #[test]
        fn a_stream_comes_out_as_it_went_in(
            opaques in proptest::collection::vec(any::<i32>(), 1..8),
            pieces in proptest::collection::vec(1..40_usize, 1..64),
        ) {
            let stream: Vec<u8> = opaques.iter().flat_map(|opaque| frame(*opaque)).collect();
            let mut rest = &stream[..];
            let (mut buf, mut read) = (BytesMut::new(), Vec::new());
            for piece in pieces.into_iter().cycle() {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                buf.extend_from_slice(now);
                while let Some(command) = CommandCodec.decode(&mut buf).unwrap() {
                    read.push(command.opaque);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(read, opaques);
        }
    }
}
