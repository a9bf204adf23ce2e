//! The name server's settings, as UPDATE_NAMESRV_CONFIG (318) changes and GET_NAMESRV_CONFIG (319)
//! shows them.
//!
//! [`Settings`] is a plain value with the keys of the Java name server that mean something here and
//! can change while it runs. [`SettingsView`] is the published one: the registry alone stores to it,
//! everybody reads it at the time of use, so a change takes effect with the next request.
//! An update is taken as a whole or not at all, and what stands in its way is named in the answer.
//! It is put into the configuration file, if there is one, before it is in effect; without one it holds
//! until the end of the process.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use gantry_conf::{RouteConfig, edited_namesrv_file};
use gantry_storage::Disk;
use thiserror::Error;

/// Keys that no request may change: they decide which files are written.
const BLACK_LIST: [&str; 4] =
    ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

/// Settings that can change at run time, with their Java names in camel case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Delete topics that a broker no longer names when it registers.
    pub delete_topic_with_broker_registration: bool,
    /// Answer the list of all topics (206).
    pub enable_all_topic_list: bool,
    /// Answer the lists of some topics (224, 311 to 313).
    pub enable_topic_list: bool,
    /// Refuse routes until `wait_seconds_for_service` after the start.
    pub need_wait_for_service: bool,
    /// Tell the brokers of a group when its smallest id changes (905).
    pub notify_min_broker_id_changed: bool,
    /// Add the order configuration of a topic to its route.
    pub order_message_enable: bool,
    /// Hand all order configurations to a broker that registers.
    pub return_order_topic_config_to_broker: bool,
    /// Time between two looks at silent brokers, in ms; at least 1.
    pub scan_not_active_broker_interval: u64,
    /// Show the smallest slave as master where it may stand in for it.
    pub support_acting_master: bool,
    /// See `need_wait_for_service`, in seconds.
    pub wait_seconds_for_service: u64,
    /// The configuration file, where changes are kept.
    pub file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delete_topic_with_broker_registration: false,
            enable_all_topic_list: true,
            enable_topic_list: true,
            need_wait_for_service: false,
            notify_min_broker_id_changed: false,
            order_message_enable: false,
            return_order_topic_config_to_broker: true,
            scan_not_active_broker_interval: 5000,
            support_acting_master: false,
            wait_seconds_for_service: 45,
            file: None,
        }
    }
}

impl From<&RouteConfig> for Settings {
    fn from(config: &RouteConfig) -> Self {
        Self {
            delete_topic_with_broker_registration: config.delete_topic_with_broker_registration,
            enable_all_topic_list: config.enable_all_topic_list,
            enable_topic_list: config.enable_topic_list,
            need_wait_for_service: config.need_wait_for_service,
            notify_min_broker_id_changed: config.notify_min_broker_id_changed,
            order_message_enable: config.order_message_enable,
            return_order_topic_config_to_broker: config.return_order_topic_config_to_broker,
            scan_not_active_broker_interval: config.scan_not_active_broker_interval.as_millis()
                as u64,
            support_acting_master: config.support_acting_master,
            wait_seconds_for_service: config.wait_seconds_for_service,
            file: None,
        }
    }
}

/// Why an update of the settings was refused as a whole.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UpdateError {
    /// These keys are on the black list.
    #[error("Can not update config in black list. Refused: {0}")]
    BlackList(String),
    /// These keys are not known, or are read at start only.
    #[error("not known or read at start only: {0}")]
    NotChangeable(String),
    /// This value does not fit its key.
    #[error("{key}={value}: expected {expected}")]
    Invalid {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The configuration file could not be read or written.
    #[error("{0}")]
    File(String),
}

/// Sets one field from text.
type Set = fn(&mut Settings, &str) -> Result<(), &'static str>;
/// Shows one field as text.
type Get = fn(&Settings) -> String;

macro_rules! table {
    ($($key:literal => $field:ident: $parse:ident),* $(,)?) => {
        /// Every key, its reader and its writer, in alphabetical order.
        const KEYS: &[(&str, Set, Get)] = &[$((
            $key,
            |settings, text| { settings.$field = $parse(text)?; Ok(()) },
            |settings| settings.$field.to_string(),
        )),*];
    };
}

table! {
    "deleteTopicWithBrokerRegistration" => delete_topic_with_broker_registration: flag,
    "enableAllTopicList" => enable_all_topic_list: flag,
    "enableTopicList" => enable_topic_list: flag,
    "needWaitForService" => need_wait_for_service: flag,
    "notifyMinBrokerIdChanged" => notify_min_broker_id_changed: flag,
    "orderMessageEnable" => order_message_enable: flag,
    "returnOrderTopicConfigToBroker" => return_order_topic_config_to_broker: flag,
    "scanNotActiveBrokerInterval" => scan_not_active_broker_interval: positive,
    "supportActingMaster" => support_acting_master: flag,
    "waitSecondsForService" => wait_seconds_for_service: number,
}

fn flag(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false"),
    }
}

fn number(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a number from 0 on")
}

fn positive(text: &str) -> Result<u64, &'static str> {
    number(text).ok().filter(|n| *n > 0).ok_or("a number from 1 on")
}

impl Settings {
    /// These settings with `changes` applied.
    pub fn updated(&self, changes: &BTreeMap<String, String>) -> Result<Self, UpdateError> {
        let black = |key: &str| BLACK_LIST.contains(&key);
        let known = |key: &str| KEYS.iter().any(|(name, ..)| *name == key);
        if let Some(keys) = list(changes.keys().filter(|key| black(key))) {
            return Err(UpdateError::BlackList(keys));
        }
        if let Some(keys) = list(changes.keys().filter(|key| !known(key))) {
            return Err(UpdateError::NotChangeable(keys));
        }
        let mut next = self.clone();
        for (key, set, _) in KEYS {
            if let Some(text) = changes.get(*key) {
                set(&mut next, text.trim()).map_err(|expected| UpdateError::Invalid {
                    key: (*key).into(),
                    value: text.clone(),
                    expected,
                })?;
            }
        }
        Ok(next)
    }

    /// Puts `changes`, which have been taken, into the configuration file if there is one.
    pub fn keep(
        &self,
        disk: &dyn Disk,
        changes: &BTreeMap<String, String>,
    ) -> Result<(), UpdateError> {
        let Some(path) = &self.file else { return Ok(()) };
        let failed = |reason: String| UpdateError::File(format!("{}: {reason}", path.display()));
        let bytes = disk.read(path).map_err(|e| failed(e.to_string()))?;
        let bytes = bytes.ok_or_else(|| failed("is not there any more".into()))?;
        let edited = edited_namesrv_file(path, &bytes, changes);
        let edited = edited.map_err(|e| UpdateError::File(e.to_string()))?;
        disk.write_atomic(path, &edited).map_err(|e| failed(format!("cannot be written: {e}")))
    }

    /// All settings and `fixed` ones as properties text, ordered by key.
    pub fn to_properties(&self, fixed: &BTreeMap<String, String>) -> String {
        let mut all = fixed.clone();
        all.extend(KEYS.iter().map(|(key, _, get)| ((*key).into(), get(self))));
        all.iter().fold(String::new(), |mut text, (key, value)| {
            let _ = writeln!(text, "{key}={value}");
            text
        })
    }

    /// See [`Settings::scan_not_active_broker_interval`].
    pub fn scan_interval(&self) -> Duration {
        Duration::from_millis(self.scan_not_active_broker_interval)
    }
}

fn list<'a>(keys: impl Iterator<Item = &'a String>) -> Option<String> {
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// The current settings, shared by all who read them.
#[derive(Debug)]
pub struct SettingsView(ArcSwap<Settings>);

impl SettingsView {
    /// A view of these settings.
    pub fn new(settings: Settings) -> Self {
        Self(ArcSwap::from_pointee(settings))
    }

    /// The settings as they are now.
    pub fn load(&self) -> Guard<Arc<Settings>> {
        self.0.load()
    }

    /// Replaces the settings. For their owner alone.
    pub(super) fn publish(&self, settings: Settings) {
        self.0.store(Arc::new(settings));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn every_key_is_shown_and_can_be_read_back() {
        let odd = Settings {
            enable_topic_list: false,
            order_message_enable: true,
            scan_not_active_broker_interval: 77,
            ..Settings::default()
        };
        let text = odd.to_properties(&changes(&[("listenPort", "9876"), ("kvConfigPath", "/kv")]));
        assert!(text.contains("kvConfigPath=/kv\nlistenPort=9876\nneedWaitForService=false\n"));
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut read: BTreeMap<String, String> = pairs.map(|(k, v)| (k.into(), v.into())).collect();
        read.retain(|key, _| key != "listenPort" && key != "kvConfigPath");
        assert_eq!(read.len(), KEYS.len());
        assert_eq!(Settings::default().updated(&read), Ok(odd));
    }

    #[test]
    fn black_listed_keys_are_named_and_nothing_is_taken() {
        let update = changes(&[("kvConfigPath", "/x"), ("enableTopicList", "false")]);
        let refused = Settings::default().updated(&update).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Can not update config in black list. Refused: kvConfigPath"
        );
    }

    #[test]
    fn keys_without_effect_at_run_time_are_named() {
        let update =
            changes(&[("listenPort", "1"), ("noSuchKey", "2"), ("enableTopicList", "true")]);
        let refused = Settings::default().updated(&update).unwrap_err();
        assert_eq!(refused, UpdateError::NotChangeable("listenPort, noSuchKey".into()));
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for (key, value) in [
            ("enableTopicList", "yes"),
            ("scanNotActiveBrokerInterval", "0"),
            ("waitSecondsForService", "-1"),
        ] {
            let refused = Settings::default().updated(&changes(&[(key, value)])).unwrap_err();
            assert!(matches!(refused, UpdateError::Invalid { .. }), "{key}={value}: {refused}");
        }
    }
}
