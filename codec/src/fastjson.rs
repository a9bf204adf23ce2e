//! The dialect of JSON that Java peers and their files use, in both directions.
//!
//! fastjson writes a map with keys that are not strings as it is: `{0:12,1:345}` for integers and
//! `{{"brokerName":"a","queueId":0,"topic":"T"}:12}` for objects. No JSON parser takes that. Reading
//! makes standard JSON of it first: an integer key gets quotes, an object key becomes the string of
//! its own text without blanks. Text that is standard already is not copied. Writing with
//! [`to_vec_object_keys`] is the reverse for object keys; bare integers are never written, since every
//! reader takes quoted ones.
//!
//! [`crate::body::MessageQueue`] is the object that stands in keys; its map type reads and writes it.

use std::{borrow::Cow, io};

use memchr::memchr2;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::ser::{CharEscape, Formatter};
use thiserror::Error;

/// How deep a text may be nested; the parser behind has the same limit.
const DEPTH_MAX: usize = 127;

/// Why a text is not what was expected.
#[derive(Debug, Error)]
pub enum FastjsonError {
    /// A key is neither a string nor an integer nor a plain object.
    #[error("bad key at byte {0}")]
    Key(usize),
    /// Nested deeper than 127.
    #[error("nested deeper than {DEPTH_MAX} at byte {0}")]
    TooDeep(usize),
    /// Not JSON, or JSON of another shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Reads a value from JSON or its dialect.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, FastjsonError> {
    Ok(serde_json::from_slice(&standard(text)?)?)
}

/// The text with every key a string. Of what is no JSON at all the parser behind will complain.
fn standard(text: &[u8]) -> Result<Cow<'_, [u8]>, FastjsonError> {
    let mut out = Out { text, copied: 0, standard: Vec::new() };
    let mut open: Vec<u8> = Vec::new();
    let mut at = 0;
    let mut key_next = false;
    while let Some(byte) = text.get(at).copied() {
        let is_blank = byte.is_ascii_whitespace();
        if key_next && !is_blank {
            key_next = false;
            match byte {
                b'"' | b'}' => {}
                b'{' => {
                    at = out.object_key(at)?;
                    continue;
                }
                b'-' | b'0'..=b'9' => {
                    at = out.integer_key(at);
                    continue;
                }
                _ => return Err(FastjsonError::Key(at)),
            }
        }
        match byte {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                if open.len() == DEPTH_MAX {
                    return Err(FastjsonError::TooDeep(at));
                }
                open.push(byte);
                key_next = byte == b'{';
            }
            b'}' | b']' => drop(open.pop()),
            b',' => key_next = open.last() == Some(&b'{'),
            _ => {}
        }
        at += 1;
    }
    Ok(out.finish())
}

/// Where the string that begins at `at` has its closing quote, or the text its end.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    text.len()
}

/// The standard text as far as it differs from the original.
struct Out<'a> {
    text: &'a [u8],
    /// How much of the text is in `standard`.
    copied: usize,
    standard: Vec<u8>,
}

impl<'a> Out<'a> {
    fn copy_to(&mut self, at: usize) {
        self.standard.extend_from_slice(self.text.get(self.copied..at).unwrap_or_default());
        self.copied = at;
    }

    /// Puts quotes around the number at `at`; returns its end.
    fn integer_key(&mut self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let is_number = |byte: &u8| matches!(byte, b'-' | b'0'..=b'9');
        let end = at + rest.iter().take_while(|byte| is_number(byte)).count();
        self.copy_to(at);
        self.standard.push(b'"');
        self.copy_to(end);
        self.standard.push(b'"');
        end
    }

    /// Makes a string of the object at `at`; returns its end. Objects do not stand in the keys of such
    /// an object, or the quotes of quotes of quotes would grow beyond all bounds.
    fn object_key(&mut self, at: usize) -> Result<usize, FastjsonError> {
        self.copy_to(at);
        self.standard.push(b'"');
        let mut end = at;
        loop {
            match self.text.get(end) {
                None => return Err(FastjsonError::Key(at)),
                Some(b'{') if end > at => return Err(FastjsonError::Key(end)),
                Some(b'"') => {
                    let close = string_end(self.text, end) + 1;
                    self.push_escaped(end, close);
                    end = close;
                    continue;
                }
                Some(byte) if byte.is_ascii_whitespace() => {}
                Some(byte) => self.standard.push(*byte),
            }
            end += 1;
            if self.text.get(end - 1) == Some(&b'}') {
                break;
            }
        }
        self.standard.push(b'"');
        self.copied = end;
        Ok(end)
    }

    fn push_escaped(&mut self, start: usize, end: usize) {
        for byte in self.text.get(start..end.min(self.text.len())).unwrap_or_default() {
            if matches!(byte, b'"' | b'\\') {
                self.standard.push(b'\\');
            }
            self.standard.push(*byte);
        }
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        if self.copied == 0 {
            return Cow::Borrowed(self.text);
        }
        self.copy_to(self.text.len());
        Cow::Owned(self.standard)
    }
}

/// Compact JSON, in which a map key whose text is an object is written as that object.
pub fn to_vec_object_keys(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, ObjectKeys::default());
    value.serialize(&mut serializer)?;
    Ok(out)
}

/// Leaves out quotes and escapes of keys that begin with `{`. Names of topics, groups and brokers
/// cannot, so nothing else is mistaken for an object.
#[derive(Default)]
struct ObjectKeys {
    key: Key,
}

#[derive(Default, PartialEq)]
enum Key {
    #[default]
    None,
    /// A key has begun; its opening quote is held back.
    Begun,
    Text,
    Object,
}

impl ObjectKeys {
    /// The key's first character decides whether it gets quotes.
    fn decide<W: ?Sized + io::Write>(&mut self, out: &mut W, first: u8) -> io::Result<()> {
        if self.key != Key::Begun {
            return Ok(());
        }
        self.key = if first == b'{' { Key::Object } else { Key::Text };
        if self.key == Key::Text { out.write_all(b"\"") } else { Ok(()) }
    }
}

impl Formatter for ObjectKeys {
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.key = Key::Begun;
        if first { Ok(()) } else { out.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }

    fn begin_string<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.key == Key::Begun { Ok(()) } else { out.write_all(b"\"") }
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        match self.key {
            Key::Object => Ok(()),
            Key::Begun => out.write_all(b"\"\""),
            Key::Text | Key::None => out.write_all(b"\""),
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if let Some(first) = fragment.bytes().next() {
            self.decide(out, first)?;
        }
        out.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.decide(out, b'\\')?;
        match escape {
            CharEscape::Quote if self.key == Key::Object => out.write_all(b"\""),
            CharEscape::ReverseSolidus if self.key == Key::Object => out.write_all(b"\\"),
            escape => serde_json::ser::CompactFormatter.write_char_escape(out, escape),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Value {
        from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn bare_integer_keys_are_read() {
        let text = "{\"offsetTable\":{\n\t\"T@G\":{0:12,\t1:345,-1 :0},\"E\":{}}}";
        let value = json!({"offsetTable": {"T@G": {"0": 12, "1": 345, "-1": 0}, "E": {}}});
        assert_eq!(read(text), value);
        let map: BTreeMap<i64, String> = from_slice(br#"{0:"a:1","1":"b"}"#).unwrap();
        assert_eq!(map, BTreeMap::from([(0, "a:1".into()), (1, "b".into())]));
    }

    #[test]
    fn object_keys_become_their_text() {
        let text =
            r#"{"t":{{"brokerName":"a\"}b", "queueId" : 0,"topic":"T"}:5,{"queueId":1}:[{}]}}"#;
        let value = json!({"t": {
            r#"{"brokerName":"a\"}b","queueId":0,"topic":"T"}"#: 5,
            r#"{"queueId":1}"#: [{}],
        }});
        assert_eq!(read(text), value);
    }

    #[test]
    fn standard_json_is_not_copied() {
        let text = br#"{"a":[{"0":1},{}],"b":{"c":"{0:1}"}}"#;
        assert!(matches!(standard(text), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn object_keys_are_written_back() {
        let text =
            r#"{"t":{{"brokerName":"a\\b\"c","queueId":0}:5,{"queueId":1}:6,"":7,"x\"{":8}}"#;
        assert_eq!(to_vec_object_keys(&read(text)).unwrap(), text.as_bytes());
    }

    #[test]
    fn garbage_is_refused() {
        let deep = "[".repeat(DEPTH_MAX + 1);
        let deep_keys = "{".repeat(1000);
        for text in [
            "",
            "{",
            "{0",
            "{0:",
            "{a:1}",
            "{{}:1",
            "{{",
            "{{\"",
            "{{{}:1}:2}",
            "{'a':1}",
            "{\"",
            "{0x:1}",
        ] {
            assert!(from_slice::<Value>(text.as_bytes()).is_err(), "{text}");
        }
        assert!(from_slice::<Value>(deep.as_bytes()).is_err());
        assert!(from_slice::<Value>(deep_keys.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_json_reads_the_same(text in r#"[\[\]{}:,"\\0a \n]{0,40}"#) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(from_slice::<Value>(text.as_bytes()).unwrap(), value);
            }
        }

        #[test]
        fn the_standard_text_stays_in_proportion(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(standard) = standard(&text) {
                prop_assert!(standard.len() <= 3 * text.len());
            }
        }
    }
}
