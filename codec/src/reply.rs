//! The answers of the data path, written straight into the output buffer.
//!
//! An answer to a send or a pull is a handful of numbers around fixed text. Writing it without a
//! [`crate::Command`] in between saves its allocations and a pass over its fields. The bytes are those
//! that [`crate::Command::encode`] would write for the same fields in the same order.

use bytes::{BufMut, BytesMut};

use crate::{
    command::{BROKER_VERSION, FLAG_RESPONSE, write_head},
    frame::SerializeType,
    header_binary::{self, write_entry, write_ext_block},
    json_text::{write_integer, write_string},
    language::Language,
};

/// Room for an answer's fixed text, so that the buffer grows once.
const USUAL_BYTES: usize = 384;

/// The answer to a send.
///
/// Region and trace switch are always there, on errors too; `msg_id`, `queue_id` and `queue_offset`
/// are left out when `msg_id` is empty, that is, when nothing was stored.
#[derive(Clone, Debug)]
pub struct SendReply<'a> {
    /// The request's.
    pub opaque: i32,
    /// How it went.
    pub code: i32,
    /// Why it failed.
    pub remark: Option<&'a str>,
    /// The request's.
    pub serialize_type: SerializeType,
    /// The message's id; of a batch, all ids joined by commas.
    pub msg_id: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// The offset in the queue; of a batch, the first.
    pub queue_offset: i64,
    /// The message's unique key.
    pub transaction_id: Option<&'a str>,
    /// With which a timed message can be taken back.
    pub recall_handle: Option<&'a str>,
    /// The broker's region.
    pub region: &'a str,
    /// Whether the broker wants traces.
    pub trace_on: bool,
}

impl SendReply<'_> {
    /// Appends the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(USUAL_BYTES + self.msg_id.len() + self.remark.map_or(0, str::len));
        let envelope = Envelope {
            opaque: self.opaque,
            code: self.code,
            remark: self.remark,
            serialize_type: self.serialize_type,
        };
        envelope.write(0, out, |fields| {
            fields.text("MSG_REGION", self.region);
            fields.text("TRACE_ON", if self.trace_on { "true" } else { "false" });
            if !self.msg_id.is_empty() {
                fields.text("msgId", self.msg_id);
                fields.number("queueId", self.queue_id.into());
                fields.number("queueOffset", self.queue_offset);
            }
            if let Some(id) = self.transaction_id {
                fields.text("transactionId", id);
            }
            if let Some(handle) = self.recall_handle {
                fields.text("recallHandle", handle);
            }
        });
    }
}

/// The answer to a pull; every one of the codes 0, 19, 20 and 21 needs all four numbers.
#[derive(Clone, Copy, Debug)]
pub struct PullReply<'a> {
    /// The request's.
    pub opaque: i32,
    /// How it went.
    pub code: i32,
    /// The status by name, for people.
    pub remark: &'a str,
    /// The request's.
    pub serialize_type: SerializeType,
    /// The broker of the group to ask next: 0 = master.
    pub suggest_which_broker_id: i64,
    /// The offset to ask for next.
    pub next_begin_offset: i64,
    /// The queue's first offset.
    pub min_offset: i64,
    /// The queue's end.
    pub max_offset: i64,
}

impl PullReply<'_> {
    /// Appends the frame without its body of `body_len` bytes, which is written separately.
    pub fn encode_head(&self, body_len: usize, out: &mut BytesMut) {
        out.reserve(USUAL_BYTES);
        let envelope = Envelope {
            opaque: self.opaque,
            code: self.code,
            remark: Some(self.remark),
            serialize_type: self.serialize_type,
        };
        envelope.write(body_len, out, |fields| {
            fields.number("maxOffset", self.max_offset);
            fields.number("minOffset", self.min_offset);
            fields.number("nextBeginOffset", self.next_begin_offset);
            fields.number("suggestWhichBrokerId", self.suggest_which_broker_id);
        });
    }
}

/// What both answers have in common.
struct Envelope<'a> {
    opaque: i32,
    code: i32,
    remark: Option<&'a str>,
    serialize_type: SerializeType,
}

impl Envelope<'_> {
    fn write(&self, body_len: usize, out: &mut BytesMut, fields: impl FnOnce(&mut Fields<'_>)) {
        write_head(self.serialize_type, body_len, out, |out| match self.serialize_type {
            SerializeType::Json => self.write_json(out, fields),
            SerializeType::RocketMq => self.write_binary(out, fields),
        });
    }

    fn write_json(&self, out: &mut BytesMut, fields: impl FnOnce(&mut Fields<'_>)) {
        out.put_slice(b"{\"code\":");
        write_integer(self.code, out);
        out.put_slice(b",\"extFields\":{");
        fields(&mut Fields { binary: false, first: true, out });
        out.put_slice(b"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
        write_integer(self.opaque, out);
        if let Some(remark) = self.remark {
            out.put_slice(b",\"remark\":");
            write_string(remark, out);
        }
        out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        write_integer(BROKER_VERSION, out);
        out.put_u8(b'}');
    }

    fn write_binary(&self, out: &mut BytesMut, fields: impl FnOnce(&mut Fields<'_>)) {
        let fixed = header_binary::Fixed {
            code: self.code,
            language: Language::Java,
            version: BROKER_VERSION,
            opaque: self.opaque,
            flag: FLAG_RESPONSE,
        };
        fixed.write(out);
        header_binary::write_text(self.remark.unwrap_or_default(), out);
        write_ext_block(out, |out| fields(&mut Fields { binary: true, first: true, out }));
    }
}

/// Where an answer's ext fields go. Names are our own and need no escapes.
struct Fields<'a> {
    binary: bool,
    first: bool,
    out: &'a mut BytesMut,
}

impl Fields<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        if self.binary {
            write_entry(name, value, self.out);
        } else {
            self.json_name(name);
            write_string(value, self.out);
        }
    }

    fn number(&mut self, name: &'static str, value: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value);
        if self.binary {
            write_entry(name, digits, self.out);
        } else {
            self.json_name(name);
            self.out.put_u8(b'"');
            self.out.put_slice(digits.as_bytes());
            self.out.put_u8(b'"');
        }
    }

    fn json_name(&mut self, name: &'static str) {
        self.out.put_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.put_slice(name.as_bytes());
        self.out.put_slice(b"\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    const TYPES: [SerializeType; 2] = [SerializeType::Json, SerializeType::RocketMq];

    fn request(serialize_type: SerializeType) -> Command {
        Command { serialize_type, opaque: 77, ..Command::request(310) }
    }

    fn frame(command: &Command) -> BytesMut {
        let mut out = BytesMut::new();
        command.encode(&mut out);
        out
    }

    #[test]
    fn a_send_reply_is_the_command_with_these_fields() {
        for serialize_type in TYPES {
            let reply = SendReply {
                opaque: 77,
                code: 0,
                remark: None,
                serialize_type,
                msg_id: "0A000001000030390000000000000042",
                queue_id: 3,
                queue_offset: 42,
                transaction_id: Some("KEY"),
                recall_handle: Some("djE="),
                region: "DefaultRegion",
                trace_on: true,
            };
            let mut out = BytesMut::new();
            reply.encode(&mut out);
            let command = Command::response(0, &request(serialize_type))
                .with_ext("MSG_REGION", "DefaultRegion")
                .with_ext("TRACE_ON", true)
                .with_ext("msgId", "0A000001000030390000000000000042")
                .with_ext("queueId", 3)
                .with_ext("queueOffset", 42)
                .with_ext("transactionId", "KEY")
                .with_ext("recallHandle", "djE=");
            assert_eq!(out, frame(&command));
        }
    }

    #[test]
    fn a_refused_send_keeps_region_and_trace() {
        for serialize_type in TYPES {
            let reply = SendReply {
                opaque: 77,
                code: 13,
                remark: Some("a \"long\" body"),
                serialize_type,
                msg_id: "",
                queue_id: 0,
                queue_offset: 0,
                transaction_id: None,
                recall_handle: None,
                region: "R",
                trace_on: false,
            };
            let mut out = BytesMut::new();
            reply.encode(&mut out);
            let command = Command::response(13, &request(serialize_type))
                .with_remark("a \"long\" body")
                .with_ext("MSG_REGION", "R")
                .with_ext("TRACE_ON", false);
            assert_eq!(out, frame(&command));
        }
    }

    #[test]
    fn a_pull_reply_is_the_command_with_these_fields() {
        for serialize_type in TYPES {
            let reply = PullReply {
                opaque: 77,
                code: 21,
                remark: "OFFSET_TOO_SMALL",
                serialize_type,
                suggest_which_broker_id: 0,
                next_begin_offset: 5,
                min_offset: 5,
                max_offset: i64::MAX,
            };
            let mut out = BytesMut::new();
            reply.encode_head(4, &mut out);
            out.put_slice(b"body");
            let command = Command::response(21, &request(serialize_type))
                .with_remark("OFFSET_TOO_SMALL")
                .with_ext("maxOffset", i64::MAX)
                .with_ext("minOffset", 5)
                .with_ext("nextBeginOffset", 5)
                .with_ext("suggestWhichBrokerId", 0)
                .with_body(&b"body"[..]);
            assert_eq!(out, frame(&command));
        }
    }
}
