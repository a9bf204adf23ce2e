//! The keys of a record, in the order in which Java indexes them: the producer's id, each word of the
//! keys, the tag (from 5.4 on).

use gantry_codec::properties::{self, KEYS, TAGS, UNIQ_KEY};

use super::layout::TopicHash;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordKeys<'a> {
    unique: Option<&'a str>,
    words: &'a str,
    tag: Option<&'a str>,
}

impl<'a> RecordKeys<'a> {
    /// The keys in a property string.
    pub(crate) fn of(properties: &'a str) -> Self {
        let mut keys = Self::default();
        for (name, value) in properties::iter(properties) {
            match name {
                UNIQ_KEY => keys.unique = Some(value),
                KEYS => keys.words = value,
                TAGS => keys.tag = Some(value),
                _ => {}
            }
        }
        keys
    }

    /// The hash of each, in order.
    pub(crate) fn hashes(self, topic: TopicHash) -> impl Iterator<Item = u32> + 'a {
        self.key_hashes(topic).chain(self.tag_hash(topic))
    }

    /// The hash of each but the tag, in order.
    pub(crate) fn key_hashes(self, topic: TopicHash) -> impl Iterator<Item = u32> + 'a {
        self.unique.into_iter().chain(self.words()).map(move |key| topic.of(key))
    }

    /// The hash of the tag.
    pub(crate) fn tag_hash(self, topic: TopicHash) -> Option<u32> {
        self.tag.map(|tag| topic.of_tag(tag))
    }

    /// Whether `key` is the producer's id or a word of the keys.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.unique == Some(key) || self.words().any(|word| word == key)
    }

    /// Whether the tag is `tag`.
    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.tag == Some(tag)
    }

    fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.words.split(' ').filter(|word| !word.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_comes_first_then_each_word_then_the_tag() {
        let keys =
            RecordKeys::of("KEYS\u{1}a  b \u{2}TAGS\u{1}t\u{2}X\u{1}y\u{2}UNIQ_KEY\u{1}u\u{2}");
        let topic = TopicHash::new("T");
        let want = [topic.of("u"), topic.of("a"), topic.of("b"), topic.of_tag("t")];
        assert_eq!(keys.hashes(topic).collect::<Vec<_>>(), want);
        assert!(["u", "a", "b"].iter().all(|key| keys.has(key)));
        assert!(["a  b ", "", "t", "y"].iter().all(|key| !keys.has(key)));
        assert!(keys.has_tag("t") && !keys.has_tag("u"));
    }

    #[test]
    fn a_record_without_keys() {
        assert_eq!(RecordKeys::of("").hashes(TopicHash::new("T")).count(), 0);
        assert!(!RecordKeys::of("").has(""));
    }
}
