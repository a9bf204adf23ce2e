//! Op messages: which half messages are done, in the words of the Java broker (store.md 4.3).
//!
//! Each is a message of the op topic with the tag `d` and, as its body, offsets in the queue of half
//! messages in decimal. Brokers before 5.0 write one number each, later ones a list with a comma behind
//! each number. Both are read. One number each is written: every version understands that, while to one
//! before 5.0 a list says nothing, so that it would ask for transactions that are known, and have
//! them committed twice.

use bytes::Bytes;
use gantry_codec::{Record, properties as names};

/// The tag of an op message that says that half messages are done; there is no other.
const DONE: &str = "d";
/// The properties of an op message.
pub const PROPERTIES: &str = "WAIT\u{1}true\u{2}TAGS\u{1}d\u{2}";

/// The half messages that an op message is about; none if it is something else.
pub fn halves(record: &Record<'_>) -> Vec<u64> {
    if names::get(record.properties, names::TAGS) != Some(DONE) {
        return Vec::new();
    }
    let text = str::from_utf8(record.body).unwrap_or_default();
    text.split(',').filter_map(|offset| offset.trim().parse().ok()).collect()
}

/// The bodies of op messages about these half messages, one each, in one piece of memory.
pub fn bodies(halves: &[u64]) -> Vec<Bytes> {
    let (mut text, mut ends) = (String::new(), Vec::with_capacity(halves.len()));
    let mut digits = itoa::Buffer::new();
    for half in halves {
        text.push_str(digits.format(*half));
        ends.push(text.len());
    }
    let (all, mut from) = (Bytes::from(text), 0);
    ends.into_iter().map(|end| all.slice(std::mem::replace(&mut from, end)..end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::half::tests::half_record;

    fn read(properties: &str, body: &[u8]) -> Vec<u64> {
        halves(&Record { body, ..half_record(properties, 0) })
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read(PROPERTIES, b"17"), [17]);
        assert_eq!(read(PROPERTIES, b"1,0,"), [1, 0]);
        assert_eq!(read(PROPERTIES, b"x,,3,-1,"), [3]);
        assert_eq!(read("TAGS\u{1}e\u{2}", b"1,"), [] as [u64; 0]);
        assert_eq!(read(PROPERTIES, &[0xFF]), [] as [u64; 0]);
    }

    #[test]
    fn what_is_written_is_read_back_one_by_one() {
        let all: Vec<u64> = (0..200).map(|n| n * 1_000_003).collect();
        let bodies = bodies(&all);
        let read_back: Vec<_> = bodies.iter().map(|body| read(PROPERTIES, body)).collect();
        assert_eq!(read_back.concat(), all);
        assert!(read_back.iter().all(|named| named.len() == 1));
        assert_eq!(bodies[1], "1000003");
    }
}
