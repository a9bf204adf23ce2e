//! What the attributes of a topic and the properties of a message say about its life.

use std::collections::BTreeMap;

use gantry_codec::properties as names;

use crate::topic::names::{DLQ_PREFIX, RETRY_PREFIX};

/// Milliseconds.
const TTL: &str = "gantry.ttl.ms";
/// `true` or `false`.
const DEAD_LETTERS: &str = "gantry.ttl.dlq";
/// `true` or `false`.
pub const MESSAGES: &str = "gantry.ttl.messages";

/// How long the messages of a topic live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Those that say nothing themselves, in ms.
    pub ttl_ms: Option<i64>,
    /// Whether some say themselves.
    pub by_message: bool,
    /// Whether they become dead letters. Of a retry topic each message's origin decides.
    pub buries: bool,
}

impl Lifetime {
    /// What the attributes of `topic` say; nothing if its messages live for ever.
    pub fn of(topic: &str, attributes: &BTreeMap<String, String>) -> Option<Self> {
        if attributes.is_empty() {
            return None;
        }
        let get = |key: &str| attributes.get(key).map(String::as_str);
        let ttl_ms = get(TTL).and_then(positive);
        let is_dead = topic.starts_with(DLQ_PREFIX);
        let by_message = !is_dead && get(MESSAGES) == Some("true");
        let asked = get(DEAD_LETTERS) == Some("true") || topic.starts_with(RETRY_PREFIX);
        let buries = !is_dead && asked;
        (ttl_ms.is_some() || by_message).then_some(Self { ttl_ms, by_message, buries })
    }

    /// When the message is not delivered any more, ms; nothing if it lives for ever.
    pub fn end(&self, stored_ms: i64, properties: &str) -> Option<i64> {
        let said = if self.by_message { end_by_properties(stored_ms, properties) } else { None };
        said.or(self.ttl_ms.map(|ttl| stored_ms.saturating_add(ttl)))
    }
}

fn end_by_properties(stored_ms: i64, properties: &str) -> Option<i64> {
    let (mut expires, mut ttl) = (None, None);
    for (name, value) in names::iter(properties) {
        match name {
            names::GANTRY_EXPIRES_MS => expires = positive(value),
            names::GANTRY_TTL_MS => ttl = positive(value),
            _ => {}
        }
    }
    expires.or(ttl.map(|ttl| stored_ms.saturating_add(ttl)))
}

/// When a message of a topic with this lifetime ends, for a copy that must not live longer.
pub fn ends_of(lifetime: Option<Lifetime>, stored_ms: i64, properties: &str) -> Option<i64> {
    lifetime?.end(stored_ms, properties)
}

/// What is wrong with this value of this attribute, if it is one of these.
pub fn check(attribute: &str, value: &str) -> Result<(), &'static str> {
    match attribute {
        TTL if positive(value).is_none() => Err("must be a number from 1 on"),
        DEAD_LETTERS | MESSAGES if !matches!(value, "true" | "false") => {
            Err("must be true or false")
        }
        _ => Ok(()),
    }
}

/// A property of a message that says nothing one could go by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("property {name} is {value:?}, and must be a number of milliseconds from 1 on")]
pub struct PropertyError {
    name: &'static str,
    value: String,
}

impl PropertyError {
    /// The first property that cannot be read.
    ///
    /// # Errors
    /// If there is one.
    pub fn check(properties: &str) -> Result<(), Self> {
        for (name, value) in names::iter(properties) {
            let name = match name {
                names::GANTRY_TTL_MS => names::GANTRY_TTL_MS,
                names::GANTRY_EXPIRES_MS => names::GANTRY_EXPIRES_MS,
                _ => continue,
            };
            if positive(value).is_none() {
                return Err(Self { name, value: value.to_owned() });
            }
        }
        Ok(())
    }
}

fn positive(value: &str) -> Option<i64> {
    value.parse::<i64>().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str, attributes: &[(&str, &str)]) -> Option<Lifetime> {
        let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Lifetime::of(topic, &attributes.collect())
    }

    fn properties(pairs: &[(&str, &str)]) -> String {
        let mut text = String::new();
        pairs.iter().for_each(|(name, value)| names::append(&mut text, name, value));
        text
    }

    const TTL_MS: &str = names::GANTRY_TTL_MS;
    const EXPIRES: &str = names::GANTRY_EXPIRES_MS;

    #[test]
    fn most_topics_have_no_limit() {
        assert_eq!(of("t", &[]), None);
        assert_eq!(of("t", &[("retention.ms", "5"), (DEAD_LETTERS, "true")]), None);
        assert_eq!(of("t", &[(TTL, "0"), (MESSAGES, "false")]), None);
        assert_eq!(of("%RETRY%g", &[]), None);
    }

    #[test]
    fn what_the_message_says_goes_first() {
        let both = of("t", &[(TTL, "100"), (MESSAGES, "true")]).unwrap();
        assert_eq!(both.end(1000, ""), Some(1100));
        assert_eq!(both.end(1000, &properties(&[(TTL_MS, "7")])), Some(1007));
        assert_eq!(both.end(1000, &properties(&[(EXPIRES, "5"), (TTL_MS, "7")])), Some(5));
        assert_eq!(both.end(1000, &properties(&[(TTL_MS, "soon")])), Some(1100));
        let own = of("t", &[(MESSAGES, "true")]).unwrap();
        assert_eq!(own.end(1000, &properties(&[("KEYS", "k")])), None);
        let topic = of("t", &[(TTL, "100")]).unwrap();
        assert_eq!(topic.end(1000, &properties(&[(TTL_MS, "7")])), Some(1100));
        assert_eq!(topic.end(i64::MAX, ""), Some(i64::MAX));
    }

    #[test]
    fn dead_letters_die_by_their_topic_alone() {
        assert_eq!(of("%DLQ%g", &[(MESSAGES, "true")]), None);
        let dead = of("%DLQ%g", &[(TTL, "100"), (MESSAGES, "true"), (DEAD_LETTERS, "true")]);
        let expected = Lifetime { ttl_ms: Some(100), by_message: false, buries: false };
        assert_eq!(dead, Some(expected));
    }

    #[test]
    fn the_origin_decides_about_retried_messages() {
        assert!(of("%RETRY%g", &[(MESSAGES, "true")]).unwrap().buries);
        assert!(!of("t", &[(MESSAGES, "true")]).unwrap().buries);
        assert!(of("t", &[(MESSAGES, "true"), (DEAD_LETTERS, "true")]).unwrap().buries);
    }

    #[test]
    fn attributes_are_checked() {
        for (attribute, value) in
            [(TTL, "1"), (DEAD_LETTERS, "true"), (MESSAGES, "false"), ("x", "")]
        {
            assert_eq!(check(attribute, value), Ok(()));
        }
        for (attribute, value) in [(TTL, "0"), (TTL, "1s"), (DEAD_LETTERS, "yes"), (MESSAGES, "1")]
        {
            assert!(check(attribute, value).unwrap_err().starts_with("must be"), "{value}");
        }
    }

    #[test]
    fn properties_that_cannot_be_read_are_named() {
        assert_eq!(PropertyError::check(&properties(&[(TTL_MS, "1"), (EXPIRES, "2")])), Ok(()));
        let error = PropertyError::check(&properties(&[(TTL_MS, "1"), (EXPIRES, "-2")]));
        let text =
            "property GANTRY_EXPIRES_MS is \"-2\", and must be a number of milliseconds from 1 on";
        assert_eq!(error.unwrap_err().to_string(), text);
    }
}
