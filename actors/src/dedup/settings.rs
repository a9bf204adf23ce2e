//! What the attributes of a topic say about its window.

use std::collections::BTreeMap;

use gantry_codec::properties::UNIQ_KEY;

/// Milliseconds.
const WINDOW: &str = "gantry.dedup.window.ms";
/// The name of a property.
const PROPERTY: &str = "gantry.dedup.property";
/// A number.
const KEYS_MAX: &str = "gantry.dedup.keys.max";

/// Keys that a window remembers unless it is told otherwise.
const KEYS_MAX_DEFAULT: usize = 1_000_000;
/// No window remembers more.
const KEYS_MAX_MAX: i64 = 100_000_000;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For how long a key counts, in ms.
    pub window_ms: i64,
    /// The property that is the key.
    pub property: Box<str>,
    /// Keys at most.
    pub keys_max: usize,
}

impl Settings {
    /// What the attributes say; nothing if every message is stored.
    pub fn of(attributes: &BTreeMap<String, String>) -> Option<Self> {
        let get = |key: &str| attributes.get(key).map(String::as_str);
        let window_ms = get(WINDOW).and_then(|value| number(value, i64::MAX).ok())?;
        let property = get(PROPERTY).filter(|name| is_name(name)).unwrap_or(UNIQ_KEY).into();
        let keys_max = get(KEYS_MAX).and_then(|value| number(value, KEYS_MAX_MAX).ok());
        let keys_max = keys_max.map_or(KEYS_MAX_DEFAULT, |max| max as usize);
        Some(Self { window_ms, property, keys_max })
    }
}

/// What is wrong with this value of this attribute, if it is one of these.
pub fn check(attribute: &str, value: &str) -> Result<(), &'static str> {
    match attribute {
        WINDOW => number(value, i64::MAX).map(drop),
        KEYS_MAX => number(value, KEYS_MAX_MAX).map(drop).map_err(|_| "must be 1 to 100000000"),
        PROPERTY if !is_name(value) => Err("must be the name of a property"),
        _ => Ok(()),
    }
}

fn number(value: &str, max: i64) -> Result<i64, &'static str> {
    let number = value.parse::<i64>().ok().filter(|number| (1..=max).contains(number));
    number.ok_or("must be a number from 1 on")
}

fn is_name(value: &str) -> bool {
    !value.is_empty() && !value.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &[(&str, &str)]) -> Option<Settings> {
        let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Settings::of(&attributes.collect())
    }

    #[test]
    fn a_topic_without_a_window_stores_everything() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(PROPERTY, "KEYS"), (KEYS_MAX, "5")]), None);
        assert_eq!(of(&[(WINDOW, "0")]), None);
    }

    #[test]
    fn attributes_say_what_counts_for_how_long() {
        let usual = of(&[(WINDOW, "5")]).unwrap();
        let expected = Settings { window_ms: 5, property: "UNIQ_KEY".into(), keys_max: 1_000_000 };
        assert_eq!(usual, expected);
        let own = of(&[(WINDOW, "5"), (PROPERTY, "KEYS"), (KEYS_MAX, "7")]).unwrap();
        assert_eq!((&*own.property, own.keys_max), ("KEYS", 7));
    }

    #[test]
    fn values_are_checked() {
        for (attribute, value) in
            [(WINDOW, "1"), (PROPERTY, "order id"), (KEYS_MAX, "1"), ("x", "")]
        {
            assert_eq!(check(attribute, value), Ok(()));
        }
        for (attribute, value) in [
            (WINDOW, "0"),
            (WINDOW, "5s"),
            (PROPERTY, ""),
            (PROPERTY, "a\u{1}"),
            (KEYS_MAX, "-1"),
            (KEYS_MAX, "100000001"),
        ] {
            assert!(check(attribute, value).unwrap_err().starts_with("must be"), "{value}");
        }
    }
}
