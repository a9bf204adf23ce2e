//! What keys there are: the shipped file, and the keys of the Java broker that mean nothing here.
//!
//! The shipped file is the one place where a key with an effect exists; its value says whether the
//! key is a number, a flag or text. Everything here is derived from it.

use config::ValueKind;

use crate::{
    error::LoadError,
    java_keys::{self, KeyList},
    layer::{Entry, Layer},
};

/// Where a value came from that nobody gave.
pub(crate) const DEFAULT: &str = "default";

/// Older spellings of keys, with what they are called now. Each Java version knows only one of them.
const OLDER_SPELLINGS: [(&str, &str); 2] = [
    ("mapedFileSizeCommitLog", "mappedFileSizeCommitLog"),
    ("mapedFileSizeConsumeQueue", "mappedFileSizeConsumeQueue"),
];

/// The environment variable that names the home directory, and no key.
const HOME: &str = "GANTRY_HOME";

/// The keys of one kind of daemon.
pub(crate) struct Schema {
    shipped: Layer,
    without_effect: &'static [KeyList],
}

/// What a key is to a daemon.
pub(crate) enum Known<'a> {
    /// A key with an effect: its name now, and a value of its kind.
    Key(&'a str, &'a ValueKind),
    /// A key that the Java daemon knows and that means nothing here.
    WithoutEffect,
    /// No such key; the known one that is most like it.
    Unknown { nearest: Option<String> },
}

impl Schema {
    /// The keys of a broker.
    pub fn broker() -> Result<Self, LoadError> {
        Self::new("broker.toml", include_str!("../broker.toml"), java_keys::OF_BROKER)
    }

    /// The keys of a name server.
    pub fn namesrv() -> Result<Self, LoadError> {
        Self::new("namesrv.toml", include_str!("../namesrv.toml"), java_keys::OF_NAMESRV)
    }

    fn new(name: &str, text: &str, without_effect: &'static [KeyList]) -> Result<Self, LoadError> {
        let mut shipped = Layer::from_toml(name, text)?;
        for entry in &mut shipped.0 {
            entry.at = DEFAULT.into();
        }
        Ok(Self { shipped, without_effect })
    }

    /// The weakest layer.
    pub fn shipped(&self) -> Layer {
        self.shipped.clone()
    }

    /// Keys with an effect, in the order of the shipped file.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.shipped.0.iter().map(|entry| entry.key.as_str())
    }

    /// What a key is called now.
    pub fn name_of<'a>(&self, key: &'a str) -> &'a str {
        OLDER_SPELLINGS.iter().find(|(older, _)| *older == key).map_or(key, |(_, now)| now)
    }

    /// What `key` is here.
    pub fn look_up(&self, key: &str) -> Known<'_> {
        let name = self.name_of(key);
        match self.shipped.0.iter().find(|entry| entry.key == name) {
            Some(entry) => Known::Key(&entry.key, &entry.value),
            None if self.keys_without_effect().any(|known| known == key) => Known::WithoutEffect,
            None => {
                let all = self.keys().chain(self.keys_without_effect());
                Known::Unknown { nearest: nearest(key, all) }
            }
        }
    }

    fn keys_without_effect(&self) -> impl Iterator<Item = &str> {
        self.without_effect.iter().flat_map(|list| list.split_whitespace())
    }

    /// The layer of the environment: `GANTRY_` and the key in upper snake case. Also returns the
    /// variables that begin so and name no key.
    pub fn environment(&self, variables: &[(String, String)]) -> (Layer, Vec<String>) {
        let mut layer = Layer::default();
        let mut strangers = Vec::new();
        for (variable, value) in variables.iter().filter(|(name, _)| name.starts_with("GANTRY_")) {
            match self.keys().find(|key| variable_of(key) == *variable) {
                Some(key) => layer.0.push(Entry {
                    key: key.into(),
                    value: value.as_str().into(),
                    at: format!("environment variable {variable}"),
                }),
                None if variable != HOME => strangers.push(variable.clone()),
                None => {}
            }
        }
        (layer, strangers)
    }
}

/// `brokerIP1` as `GANTRY_BROKER_IP1`: an underscore before each word, where a word begins with a
/// capital after a small letter or digit, or with the last of several capitals.
pub(crate) fn variable_of(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    let is = |at: Option<usize>, test: fn(&char) -> bool| {
        at.and_then(|at| letters.get(at)).is_some_and(test)
    };
    let mut variable = String::from("GANTRY_");
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1);
        let begins_word = letter.is_uppercase()
            && (is(before, |c| !c.is_uppercase())
                || is(before, |c| c.is_uppercase()) && is(Some(at + 1), |c| c.is_lowercase()));
        if begins_word {
            variable.push('_');
        }
        variable.extend(letter.to_uppercase());
    }
    variable
}

/// The candidate that is most like `key`, if one is like it at all.
pub(crate) fn nearest<'a>(key: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    let lower = key.to_lowercase();
    let likeness =
        |other: &str| strsim::normalized_damerau_levenshtein(&lower, &other.to_lowercase());
    all.map(|other| (likeness(other), other))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| other.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_keys() {
        for (key, variable) in [
            ("listenPort", "GANTRY_LISTEN_PORT"),
            ("brokerIP1", "GANTRY_BROKER_IP1"),
            ("checkCRCOnRecover", "GANTRY_CHECK_CRC_ON_RECOVER"),
            ("clientStallTimeoutMs", "GANTRY_CLIENT_STALL_TIMEOUT_MS"),
            ("ioThreads", "GANTRY_IO_THREADS"),
        ] {
            assert_eq!(variable_of(key), variable);
        }
    }

    #[test]
    fn no_two_keys_share_a_variable_and_none_is_the_home() {
        for schema in [Schema::broker().unwrap(), Schema::namesrv().unwrap()] {
            let mut variables: Vec<String> = schema.keys().map(variable_of).collect();
            let count = variables.len();
            variables.sort();
            variables.dedup();
            assert_eq!(variables.len(), count);
            assert!(!variables.iter().any(|variable| variable == HOME));
        }
    }

    #[test]
    fn a_key_either_has_an_effect_or_has_none() {
        for schema in [Schema::broker().unwrap(), Schema::namesrv().unwrap()] {
            for key in schema.keys_without_effect() {
                assert!(matches!(schema.look_up(key), Known::WithoutEffect), "{key}");
            }
        }
    }

    #[test]
    fn the_nearest_key_is_near() {
        let schema = Schema::broker().unwrap();
        let nearest = |key: &str| match schema.look_up(key) {
            Known::Unknown { nearest } => nearest,
            _ => panic!("{key} is known"),
        };
        assert_eq!(nearest("listenport").as_deref(), Some("listenPort"));
        assert_eq!(nearest("flushDiscType").as_deref(), Some("flushDiskType"));
        assert_eq!(nearest("fileReserveTime").as_deref(), Some("fileReservedTime"));
        assert_eq!(nearest("zzz"), None);
    }
}
