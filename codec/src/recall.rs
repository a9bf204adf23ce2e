//! The handle by which a timed message is taken back: what a send's answer gives and a recall brings.
//!
//! Text in URL-safe base64 of five words, separated by single blanks: `v1`, the topic, the broker's name,
//! the time of delivery in ms, the message's unique key. Official clients look into it for the broker.

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// As Java: padded when written, with or without padding when read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const VERSION: &str = "v1";

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallHandle {
    /// The topic that the message is for.
    pub topic: String,
    /// The broker that has it.
    pub broker: String,
    /// When it is delivered, as it was written.
    pub time: String,
    /// Its unique key.
    pub unique_key: String,
}

impl RecallHandle {
    /// Reads a handle; `None` if it is none.
    pub fn decode(text: &str) -> Option<Self> {
        let words = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
        let mut words = words.split(' ');
        if words.next() != Some(VERSION) {
            return None;
        }
        let mut word = || words.next().map(str::to_owned);
        Some(Self { topic: word()?, broker: word()?, time: word()?, unique_key: word()? })
    }

    /// Writes the handle of a message.
    pub fn encode(topic: &str, broker: &str, time_ms: i64, unique_key: &str) -> String {
        BASE64.encode(format!("{VERSION} {topic} {broker} {time_ms} {unique_key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_read_back() {
        let text = RecallHandle::encode("t", "broker-a", 1_700_000_005_001, "0A0B");
        assert_eq!(text, "djEgdCBicm9rZXItYSAxNzAwMDAwMDA1MDAxIDBBMEI=");
        let handle = RecallHandle::decode(&text).unwrap();
        assert_eq!((handle.topic.as_str(), handle.broker.as_str()), ("t", "broker-a"));
        assert_eq!((handle.time.as_str(), handle.unique_key.as_str()), ("1700000005001", "0A0B"));
        assert_eq!(RecallHandle::decode(text.trim_end_matches('=')), Some(handle));
    }

    #[test]
    fn what_is_no_handle_is_told_from_one() {
        let of = |words: &str| RecallHandle::decode(&BASE64.encode(words));
        for words in ["", "v1", "v1 t b 5", "v2 t b 5 k", "v1  t"] {
            assert_eq!(of(words), None, "{words:?}");
        }
        for text in ["", "not base64!", "djEg+"] {
            assert_eq!(RecallHandle::decode(text), None, "{text:?}");
        }
        assert!(of("v1 t b 5 k more").is_some());
    }
}
