//! Changes of a broker's configuration while it runs.
//!
//! [`BrokerConfig::changed`] makes a new configuration of the one in effect and of what a request asks
//! for: all of it, or nothing and an error that names the keys in the way. Which keys can change is
//! [`AT_RUN_TIME`]; each has an actor that reads it anew. A key that is given the value that it has
//! anyway changes nothing, so the whole configuration can be sent back with one value changed.
//!
//! [`edited_broker_file`] and [`edited_namesrv_file`] write the same into the text of the file that
//! was read, so that it holds after a restart.

use std::{collections::BTreeMap, path::Path};

use config::ValueKind;
use thiserror::Error;

use crate::{
    BrokerConfig, LoadError, Role, Warning,
    admit::{Place, admit},
    edit::edited,
    effective::Setting,
    layer::{Entry, Layer},
    merge::Merged,
    schema::{Known, Schema},
};

/// Where a value comes from that was set at run time.
const AT: &str = "request at run time";

/// The broker's keys that can change while it runs.
pub const AT_RUN_TIME: [&str; 31] = [
    "accessMessageInMemoryMaxRatio",
    "autoCreateSubscriptionGroup",
    "autoCreateTopicEnable",
    "brokerPermission",
    "cleanFileForciblyEnable",
    "cleanResourceInterval",
    "defaultTopicQueueNums",
    "deleteCommitLogFilesInterval",
    "deleteFileBatchMax",
    "deleteWhen",
    "diskMaxUsedSpaceRatio",
    "diskSpaceCleanForciblyRatio",
    "diskSpaceWarningLevelRatio",
    "enablePropertyFilter",
    "fileReservedTime",
    "flushCommitLogLeastPages",
    "flushCommitLogThoroughInterval",
    "flushIntervalCommitLog",
    "logLevel",
    "longPollingEnable",
    "maxMessageSize",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInDisk",
    "maxTransferCountOnMessageInMemory",
    "neverDeleteUnconsumed",
    "notifyConsumerIdsChangedEnable",
    "retentionBytes",
    "shortPollingTimeMills",
    "skipDamagedMessages",
    "syncFlushTimeout",
];

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// These keys are read at the start only.
    #[error("read at the start only, change them in the configuration and restart: {0}")]
    AtStartOnly(String),
    /// These keys mean nothing here.
    #[error("without effect here, the Java broker alone knows them: {0}")]
    WithoutEffect(String),
    /// A key that nobody knows, or a value that cannot be.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A configuration after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The whole of it.
    pub config: BrokerConfig,
    /// What differs: key, value before, value now.
    pub keys: Vec<Difference>,
}

/// A value that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// Its value before.
    pub before: String,
    /// Its value now.
    pub now: String,
    /// Where the value before came from, which may be stronger at the next start than the file is.
    pub origin: String,
}

impl BrokerConfig {
    /// This configuration after `changes`.
    pub fn changed(&self, changes: &BTreeMap<String, String>) -> Result<Changed, ChangeError> {
        let schema = Schema::broker()?;
        let asked = asked(&schema, changes)?;
        let before = |key: &str| self.effective.0.iter().find(|setting| setting.key == key);
        let different: Vec<Entry> = asked
            .into_iter()
            .filter(|entry| before(&entry.key).is_none_or(|old| old.value != entry.value))
            .collect();
        let fixed = different.iter().map(|entry| entry.key.as_str());
        if let Some(keys) = listed(fixed.filter(|key| !AT_RUN_TIME.contains(key))) {
            return Err(ChangeError::AtStartOnly(keys));
        }
        let difference = |entry: &Entry| {
            let old = before(&entry.key);
            Difference {
                key: entry.key.clone(),
                before: old.map(Setting::value).unwrap_or_default(),
                now: entry.value.to_string(),
                origin: old.map(|old| old.origin.clone()).unwrap_or_default(),
            }
        };
        let keys = different.iter().map(difference).collect();
        let now = self.effective.0.iter().map(|setting| Entry {
            key: setting.key.clone(),
            value: setting.value.clone(),
            at: setting.origin.clone(),
        });
        let all = Merged::of(vec![Layer(now.collect()), Layer(different)])?;
        let mut config = Self::from_values(&all)?;
        config.check(Role::Broker, &all)?;
        config.file.clone_from(&self.file);
        Ok(Changed { config, keys })
    }
}

/// The keys asked for, with values of their kinds. All that mean nothing here are named together.
fn asked(schema: &Schema, changes: &BTreeMap<String, String>) -> Result<Vec<Entry>, ChangeError> {
    let without = |key: &&str| matches!(schema.look_up(key), Known::WithoutEffect);
    if let Some(keys) = listed(changes.keys().map(String::as_str).filter(without)) {
        return Err(ChangeError::WithoutEffect(keys));
    }
    let entries = changes.iter().map(|(key, value)| Entry {
        key: key.clone(),
        value: value.as_str().into(),
        at: AT.into(),
    });
    let mut warnings: Vec<Warning> = Vec::new();
    let admitted = admit(schema, Layer(entries.collect()), Place::Text, &mut warnings)?;
    Ok(admitted.0)
}

fn listed<'a>(keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let keys: Vec<&str> = keys.collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// The bytes of a broker's file after `changes`, which [`BrokerConfig::changed`] has taken.
pub fn edited_broker_file(
    path: &Path,
    bytes: &[u8],
    changes: &BTreeMap<String, String>,
) -> Result<Vec<u8>, LoadError> {
    edited_file(&Schema::broker()?, path, bytes, changes)
}

/// The bytes of a name server's file after `changes`.
pub fn edited_namesrv_file(
    path: &Path,
    bytes: &[u8],
    changes: &BTreeMap<String, String>,
) -> Result<Vec<u8>, LoadError> {
    edited_file(&Schema::namesrv()?, path, bytes, changes)
}

fn edited_file(
    schema: &Schema,
    path: &Path,
    bytes: &[u8],
    changes: &BTreeMap<String, String>,
) -> Result<Vec<u8>, LoadError> {
    let entries = changes.iter().map(|(key, value)| Entry {
        key: key.clone(),
        value: value.as_str().into(),
        at: AT.into(),
    });
    let admitted = admit(schema, Layer(entries.collect()), Place::Text, &mut Vec::new())?;
    let changes: Vec<(String, ValueKind)> =
        admitted.0.into_iter().map(|entry| (entry.key, entry.value)).collect();
    edited(schema, path, bytes, &changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, Surroundings};

    fn config() -> BrokerConfig {
        let sources = Sources { set: vec!["fileReservedTime=48".into()], ..Sources::default() };
        let loaded = BrokerConfig::load(Role::Broker, &sources, &Surroundings::bare("/home"));
        loaded.unwrap().config
    }

    fn change(pairs: &[(&str, &str)]) -> Result<Changed, ChangeError> {
        config().changed(&pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        change(pairs).unwrap_err().to_string()
    }

    #[test]
    fn values_are_taken_and_the_difference_is_told() {
        let changed =
            change(&[("fileReservedTime", " 24"), ("maxMessageSize", "4194304")]).unwrap();
        assert_eq!(changed.config.retention.file_reserved_time, 24);
        let difference = Difference {
            key: "fileReservedTime".into(),
            before: "48".into(),
            now: "24".into(),
            origin: "--set".into(),
        };
        assert_eq!(changed.keys, [difference], "what has its value already is no change");
        let shown = changed.config.effective.0.iter().find(|set| set.key == "fileReservedTime");
        assert_eq!(shown.unwrap().origin, AT);
    }

    #[test]
    fn the_whole_configuration_can_be_sent_back_with_one_value_changed() {
        let mut all: BTreeMap<String, String> =
            config().effective.0.iter().map(|set| (set.key.clone(), set.value())).collect();
        all.insert("deleteWhen".into(), "05".into());
        let changed = config().changed(&all).unwrap();
        assert_eq!(changed.keys.len(), 1);
        assert_eq!(changed.config.retention.delete_when, [5]);
    }

    #[test]
    fn keys_in_the_way_are_named_and_nothing_is_taken() {
        let refused =
            refusal(&[("listenPort", "1"), ("fileReservedTime", "1"), ("brokerName", "x")]);
        assert!(refused.ends_with("restart: brokerName, listenPort"), "{refused}");
        let refused = refusal(&[("transientStorePoolEnable", "true"), ("useTLS2", "1")]);
        assert!(refused.ends_with("alone knows them: transientStorePoolEnable"), "{refused}");
        let refused = refusal(&[("fileReserveTime", "1")]);
        assert!(refused.contains("did you mean fileReservedTime?"), "{refused}");
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for (key, value, reason) in [
            ("fileReservedTime", "x", "fileReservedTime = x: must be a whole number"),
            ("brokerPermission", "9", "brokerPermission = 9"),
            ("autoCreateTopicEnable", "yes", "must be true or false"),
        ] {
            let refused = refusal(&[(key, value)]);
            assert!(refused.contains(reason) && refused.contains(AT), "{refused}");
        }
    }

    #[test]
    fn every_key_that_can_change_exists_and_the_shipped_file_names_it() {
        let schema = Schema::broker().unwrap();
        let text = include_str!("../broker.toml");
        let (_, list) = text.split_once("while the broker runs").unwrap();
        let (list, _) = list.split_once(".\n").unwrap();
        for key in AT_RUN_TIME {
            assert!(matches!(schema.look_up(key), Known::Key(..)), "{key}");
            assert!(list.contains(key), "{key} is not in the list at the head of broker.toml");
        }
    }
}
