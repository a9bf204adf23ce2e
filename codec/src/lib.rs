//! Bytes to commands and records, and back: the remoting protocol and the stored message.
//!
//! A frame is split off a read buffer by [`frame`], becomes a [`Command`] by one pass over its
//! header ([`Command::decode`], JSON or binary), and its fields are read through a typed header of
//! [`requests`]. The body stays what it came as: a slice of the frame. The way back is the same in
//! reverse, with [`SendReply`] and [`PullReply`] as shortcuts that write the two answers of the data
//! path straight into the output buffer.
//!
//! | where | what |
//! |---|---|
//! | [`frame`] | length word, limits, splitting a buffer into frames |
//! | [`command`], [`ext`] | one request or response, and its string fields |
//! | `header_json`, `header_binary` | the two forms of a header |
//! | `json_scan`, `json_text` | reading and writing pieces of JSON |
//! | [`header`], [`requests`] | typed headers of the request codes |
//! | [`reply`] | answers to sends and pulls, written without a command |
//! | [`request_code`], [`response_code`] | the numbers |
//! | [`record`], [`properties`], [`batch`], [`message_id`] | messages: as stored, as sent in a batch, their ids |
//! | [`filter`] | tag subscriptions |
//! | [`pop`] | what a pop tells of its messages |
//! | [`recall`] | the handle of a timed message |
//! | [`sql`], [`bloom`] | SQL92 expressions over properties; their place in the bit maps of Java brokers |
//! | [`body`], [`fastjson`] | JSON bodies, and the dialect that Java peers write them in |
//!
//! Invariants: whatever the bytes are, nothing here panics, reads outside its input, or takes memory
//! out of proportion to it; a number sent by the peer is believed only as far as bytes are there.
//!
//! This crate must not know of sockets, files, clocks or actors: it does no I/O and keeps no state.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod batch;
pub mod bloom;
pub mod body;
pub mod command;
pub mod ext;
pub mod fastjson;
pub mod filter;
pub mod frame;
pub mod header;
mod header_binary;
mod header_json;
mod json_scan;
mod json_text;
pub mod language;
pub mod message_id;
pub mod pop;
pub mod properties;
pub mod recall;
pub mod record;
pub mod reply;
pub mod request_code;
pub mod requests;
pub mod response_code;
pub mod sql;
pub mod trace;

pub use batch::{BatchError, BatchMessage, BatchMessages};
pub use command::{BROKER_VERSION, Command, DecodeError};
pub use ext::{ExtFields, ExtValue};
pub use frame::{
    CodecError, CommandCodec, CompleteFrames, FRAME_BYTES_MAX, FrameError, SerializeType,
    complete_frames, peek_frame_len,
};
pub use header::{Header, HeaderError};
pub use language::Language;
pub use message_id::{IdText, OffsetMessageId, UniqueKeys};
pub use recall::RecallHandle;
pub use record::{Record, RecordError, RecordHead, body_crc};
pub use reply::{PullReply, SendReply};
pub use requests::{pull::PullHeader, send::SendHeader};
