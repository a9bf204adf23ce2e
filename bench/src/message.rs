//! The messages that are sent: bodies, properties, and the marks of what changes from one to the next.
//!
//! A message looks like one of an official client: it has a UNIQ_KEY and WAIT. The last twelve digits
//! of the key change with every message, so a broker that indexes keys has the work of real use.
//! Bodies are printable, and the same in every run.

use bytes::{Bytes, BytesMut};
use gantry_client::TEMPLATE_TOPIC;
use gantry_client::burst::{FrameTemplate, TemplateError};
use gantry_codec::{Command, SendHeader, batch, properties, request_code};

use crate::args::Header;

/// The place of the born timestamp in a send template.
pub const BORN: usize = 0;

/// The place of the first message's unique key; those of a batch follow each other.
pub const FIRST_KEY: usize = 1;

/// Width of a number in a body, see [`numbered_body`].
pub const NUMBER_DIGITS: usize = 20;

/// The group as which messages are sent.
pub const PRODUCER_GROUP: &str = "gantry_bench_producer";
const BORN_MARK_MS: i64 = 1_234_567_890_123;
/// As wide as a time in ms.
const DELIVER_MARK: &str = "[deliver at:]";
const NUMBER_MARK: &str = "[number of message]_";

/// The fixed digits of a unique key: address, process, class loader.
const KEY_PREFIX: &str = "7F000001BE4C18B4AAC2";

/// What a send request is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// Each message's body.
    pub body: &'a [u8],
    /// Messages in the request.
    pub batch: u32,
    /// Header serialization.
    pub header: Header,
}

impl Shape<'_> {
    /// A template with the places [`BORN`], [`FIRST_KEY`] and so on.
    ///
    /// # Errors
    /// A topic or body that contains a mark.
    pub fn template(&self) -> Result<FrameTemplate, TemplateError> {
        self.template_with(&[], "")
    }

    /// A template for one message with a body from [`numbered_body`], whose place is the last.
    ///
    /// # Errors
    /// As [`Shape::template`].
    pub fn numbered_template(&self) -> Result<FrameTemplate, TemplateError> {
        self.template_with(&[NUMBER_MARK], "")
    }

    /// A template for one half message.
    ///
    /// # Errors
    /// As [`Shape::template`].
    pub fn half_template(&self) -> Result<FrameTemplate, TemplateError> {
        let (key, born) = (key_mark(0), BORN_MARK_MS.to_string());
        let mut text = wire_properties(&key);
        properties::append(&mut text, properties::TRAN_MSG, "true");
        properties::append(&mut text, properties::PGROUP, PRODUCER_GROUP);
        let body = Bytes::copy_from_slice(self.body);
        let request = self.send_request(request_code::SEND_MESSAGE_V2, &text, body);
        FrameTemplate::new(request, &[&born, &key])
    }

    /// As [`Shape::numbered_template`], with the place of the time of delivery before that of the number.
    ///
    /// # Errors
    /// As [`Shape::template`].
    pub fn timed_template(&self) -> Result<FrameTemplate, TemplateError> {
        let mut more = String::new();
        properties::append(&mut more, properties::TIMER_DELIVER_MS, DELIVER_MARK);
        self.template_with(&[DELIVER_MARK, NUMBER_MARK], &more)
    }

    fn template_with(
        &self,
        more_marks: &[&str],
        more_properties: &str,
    ) -> Result<FrameTemplate, TemplateError> {
        let keys: Vec<String> = (0..self.batch).map(key_mark).collect();
        let born = BORN_MARK_MS.to_string();
        let mut marks = vec![born.as_str()];
        marks.extend(keys.iter().map(String::as_str));
        marks.extend(more_marks);
        FrameTemplate::new(self.request(&keys, more_properties), &marks)
    }

    fn request(&self, keys: &[String], more_properties: &str) -> Command {
        let batched = keys.len() > 1;
        let (code, properties, body) = if batched {
            (request_code::SEND_BATCH_MESSAGE, String::new(), batch_body(self.body, keys))
        } else {
            let mut properties = keys.first().map(|key| wire_properties(key)).unwrap_or_default();
            properties.push_str(more_properties);
            (request_code::SEND_MESSAGE_V2, properties, Bytes::copy_from_slice(self.body))
        };
        self.send_request(code, &properties, body)
    }

    fn send_request(&self, code: i32, properties: &str, body: Bytes) -> Command {
        let header = SendHeader {
            producer_group: PRODUCER_GROUP,
            topic: self.topic,
            default_topic: TEMPLATE_TOPIC,
            default_topic_queue_nums: 4,
            queue_id: self.queue_id,
            sys_flag: 0,
            born_timestamp: BORN_MARK_MS,
            flag: 0,
            properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: code == request_code::SEND_BATCH_MESSAGE,
        };
        let mut request = Command::request(code).with_body(body);
        header.encode_v2(&mut request.ext);
        request.serialize_type = self.header.into();
        request
    }
}

/// A body of `size` letters and digits.
pub fn plain_body(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(size as u64);
    (0..size).map(|_| random.alphanumeric() as u8).collect()
}

/// A body of `size` bytes that begins with the place of a number; None when it does not fit in.
pub fn numbered_body(size: usize) -> Option<Vec<u8>> {
    let rest = size.checked_sub(NUMBER_DIGITS)?;
    Some([NUMBER_MARK.as_bytes(), &plain_body(rest)].concat())
}

/// The number at the beginning of a body.
pub fn number_of(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body.get(..NUMBER_DIGITS)?).ok()?.parse().ok()
}

/// Twelve characters that stand for the digits of message `number`'s key.
fn key_mark(number: u32) -> String {
    format!("<key{number:07}>")
}

fn wire_properties(key: &str) -> String {
    let mut text = String::new();
    properties::append(&mut text, properties::UNIQ_KEY, &format!("{KEY_PREFIX}{key}"));
    properties::append(&mut text, properties::WAIT, "true");
    text
}

fn batch_body(body: &[u8], keys: &[String]) -> Bytes {
    let mut out = BytesMut::new();
    for key in keys {
        batch::encode_message(0, body, &wire_properties(key), &mut out);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use gantry_client::burst::OPAQUE_MIN;
    use gantry_codec::batch::BatchMessages;

    use super::*;

    fn stamped(shape: &Shape<'_>, numbered: bool) -> Command {
        let template = if numbered { shape.numbered_template() } else { shape.template() };
        let template = template.expect("marks stand once");
        let mut out = Vec::new();
        let mut stamp = template.stamp(OPAQUE_MIN, &mut out);
        stamp.decimal(BORN, 1_700_000_000_000);
        for key in 0..shape.batch {
            stamp.hex(FIRST_KEY + key as usize, u64::from(key) + 1);
        }
        if numbered {
            stamp.decimal(FIRST_KEY + shape.batch as usize, 77);
        }
        Command::decode(out.into()).expect("a whole frame")
    }

    #[test]
    fn a_single_message_is_what_a_client_sends() {
        let body = plain_body(128);
        for header in [Header::Json, Header::Binary] {
            let shape = Shape { topic: "T", queue_id: 3, body: &body, batch: 1, header };
            let command = stamped(&shape, false);
            let header = SendHeader::decode(&command).expect("a send header");
            assert_eq!((header.topic, header.queue_id, header.batch), ("T", 3, false));
            assert_eq!(header.born_timestamp, 1_700_000_000_000);
            let key = properties::get(header.properties, properties::UNIQ_KEY);
            assert_eq!(key, Some("7F000001BE4C18B4AAC2000000000001"));
            assert_eq!(command.body, body);
        }
    }

    #[test]
    fn a_batch_holds_messages_with_keys_of_their_own() {
        let body = plain_body(50);
        let shape = Shape { topic: "T", queue_id: 0, body: &body, batch: 32, header: Header::Json };
        let command = stamped(&shape, false);
        assert!(SendHeader::decode(&command).expect("a send header").batch);
        let messages: Vec<_> =
            BatchMessages::new(&command.body).collect::<Result<_, _>>().expect("a batch");
        assert_eq!(messages.len(), 32);
        let key = properties::get(messages[31].properties, properties::UNIQ_KEY);
        assert_eq!(key, Some("7F000001BE4C18B4AAC2000000000020"));
        assert_eq!(messages[31].body, body);
    }

    #[test]
    fn numbers_are_read_back_from_bodies() {
        let body = numbered_body(40).expect("large enough");
        let shape = Shape { topic: "T", queue_id: 0, body: &body, batch: 1, header: Header::Json };
        assert_eq!(number_of(&stamped(&shape, true).body), Some(77));
        assert_eq!(number_of(b"short"), None);
        assert_eq!(numbered_body(NUMBER_DIGITS - 1), None);
    }
}
