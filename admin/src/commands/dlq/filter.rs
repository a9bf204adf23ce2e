//! Which dead letters are meant: by key, original topic, time, content.

use gantry_client::MessageExt;
use gantry_codec::properties;

use crate::{error::AdminError, time::parse_time, unpack};

/// The flags of a filter; a letter has to pass all that are given.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FilterArgs {
    /// Letters with this key, or with this unique key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Letters that were sent to this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Letters that became dead at this time or later: -2h, yyyy-MM-dd#HH:mm:ss:SSS, milliseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Letters that became dead before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Letters with this text in the body
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    key: Option<String>,
    topic: Option<String>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    contains: Option<String>,
}

impl FilterArgs {
    /// The filter, as of now.
    ///
    /// # Errors
    /// A time that is none.
    pub fn filter(&self, now_ms: i64) -> Result<Filter, AdminError> {
        let time = |flag: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => parse_time(text, now_ms)
                .map(Some)
                .map_err(|why| AdminError::Usage(format!("{flag} {why}"))),
        };
        Ok(Filter {
            key: self.key.clone(),
            topic: self.topic.clone(),
            since_ms: time("--since", &self.since)?,
            until_ms: time("--until", &self.until)?,
            contains: self.contains.clone(),
        })
    }

    /// The flags as a name for them: the same flags have the same, and none have none.
    pub fn fingerprint(&self) -> Option<String> {
        let flags = [&self.key, &self.topic, &self.since, &self.until, &self.contains];
        if flags.iter().all(|flag| flag.is_none()) {
            return None;
        }
        // FNV-1a, which must never change: names of groups depend on it.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for flag in flags {
            let given = flag.as_deref().map(str::as_bytes);
            let marked =
                given.unwrap_or_default().iter().copied().chain([u8::from(given.is_some())]);
            for byte in marked {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Some(format!("{hash:016x}"))
    }
}

impl Filter {
    /// Whether the letter is meant.
    pub fn matches(&self, letter: &MessageExt) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.topic, origin(letter))
            && self.since_ms.is_none_or(|since| letter.store_timestamp >= since)
            && self.until_ms.is_none_or(|until| letter.store_timestamp < until)
            && self.key.as_deref().is_none_or(|key| has_key(letter, key))
            && self
                .contains
                .as_deref()
                .is_none_or(|text| holds(&unpack::body(letter), text.as_bytes()))
    }
}

/// The topic that a letter was sent to.
pub fn origin(letter: &MessageExt) -> Option<&str> {
    letter
        .property(properties::DLQ_ORIGIN_TOPIC)
        .or_else(|| letter.property(properties::RETRY_TOPIC))
}

fn has_key(letter: &MessageExt, key: &str) -> bool {
    letter.unique_key() == Some(key)
        || letter.keys().is_some_and(|keys| keys.split_whitespace().any(|one| one == key))
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    /// A letter that was sent to `orders`.
    pub fn letter(body: &[u8], more: &[(&str, &str)]) -> MessageExt {
        let mut text = String::new();
        properties::append(&mut text, properties::RETRY_TOPIC, "orders");
        for (name, value) in more {
            properties::append(&mut text, name, value);
        }
        MessageExt {
            topic: "%DLQ%g".into(),
            queue_id: 0,
            queue_offset: 5,
            physical_offset: 100,
            sys_flag: 0,
            flag: 0,
            born_timestamp: 1_000,
            born_host: ([127, 0, 0, 1], 1).into(),
            store_timestamp: 2_000,
            store_host: ([127, 0, 0, 1], 2).into(),
            reconsume_times: 16,
            prepared_transaction_offset: 0,
            body: body.to_vec().into(),
            properties: text.into(),
        }
    }

    fn flags() -> FilterArgs {
        FilterArgs::default()
    }

    fn passes(args: &FilterArgs, letter: &MessageExt) -> bool {
        args.filter(10_000).unwrap().matches(letter)
    }

    #[test]
    fn every_flag_has_to_let_a_letter_through() {
        let letter = letter(b"a body", &[("KEYS", "k1 k2"), ("UNIQ_KEY", "u")]);
        assert!(passes(&flags(), &letter));
        for key in ["k1", "k2", "u"] {
            assert!(passes(&FilterArgs { key: Some(key.into()), ..flags() }, &letter));
        }
        assert!(!passes(&FilterArgs { key: Some("k".into()), ..flags() }, &letter));
        let topic = |topic: &str| FilterArgs { topic: Some(topic.into()), ..flags() };
        assert!(passes(&topic("orders"), &letter) && !passes(&topic("%DLQ%g"), &letter));
        let text = |text: &str| FilterArgs { contains: Some(text.into()), ..topic("orders") };
        assert!(passes(&text("bod"), &letter) && !passes(&text("bodies"), &letter));
        let since = |time: &str| FilterArgs { since: Some(time.into()), ..flags() };
        let until = |time: &str| FilterArgs { until: Some(time.into()), ..flags() };
        assert!(passes(&since("2000"), &letter) && !passes(&since("2001"), &letter));
        assert!(passes(&until("2001"), &letter) && !passes(&until("2000"), &letter));
        assert!(passes(&since("-8s"), &letter) && !passes(&since("-7s"), &letter));
    }

    #[test]
    fn compressed_bodies_are_searched_too() {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&b"needle in hay ".repeat(50)).unwrap();
        let mut letter = letter(&packed.finish().unwrap(), &[]);
        letter.sys_flag = 1;
        assert!(passes(&FilterArgs { contains: Some("in hay needle".into()), ..flags() }, &letter));
        letter.body = b"needle, not packed".to_vec().into();
        assert!(passes(&FilterArgs { contains: Some("needle".into()), ..flags() }, &letter));
    }

    #[test]
    fn a_wrong_time_names_its_flag() {
        let wrong = FilterArgs { until: Some("soon".into()), ..flags() };
        let why = wrong.filter(0).unwrap_err().to_string();
        assert!(why.starts_with("--until \"soon\" is no time"), "{why}");
    }

    #[test]
    fn filters_are_told_apart_by_their_flags() {
        assert_eq!(flags().fingerprint(), None);
        let key = FilterArgs { key: Some("x".into()), ..flags() };
        let topic = FilterArgs { topic: Some("x".into()), ..flags() };
        assert_ne!(key.fingerprint(), topic.fingerprint());
        assert_eq!(key.fingerprint().as_deref(), Some("0c1c04f3b9316352"), "it must never change");
    }
}
