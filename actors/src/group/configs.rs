//! How consumer groups are configured: the table behind `subscriptionGroup.json` (store.md 2.9).
//!
//! A plain value. It holds the predefined groups, those that were created and those that created
//! themselves by consuming, under a version that every change raises. What a Java broker wrote into the
//! file beside that (`forbiddenTable`, fields of later releases) is kept as it is.

use std::collections::BTreeMap;

use gantry_codec::body::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper};
use thiserror::Error;

use crate::topic::names::is_name_byte;

/// Longest group name that a broker of 5.x accepts.
pub const GROUP_BYTES_MAX: usize = 120;

/// Groups that every broker has from its start (wire.md 5.1).
pub const PREDEFINED: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Why a name cannot be a group's. The texts are Java's: tools show them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidGroup {
    /// Empty or blanks only.
    #[error("The specified group is blank.")]
    Blank,
    /// A character that names may not have.
    #[error(
        "The specified group: {0}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    )]
    Characters(String),
    /// Longer than allowed.
    #[error("The specified group: {0}, is longer than group max length: {GROUP_BYTES_MAX}")]
    TooLong(String),
}

/// Why a configuration was not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PutError {
    /// The group's name is not one.
    #[error(transparent)]
    Name(#[from] InvalidGroup),
    /// An attribute's name does not begin with the sign that says what to do with it.
    #[error("wrong format key: {0}")]
    AttributeSign(String),
    /// An attribute that the group does not have cannot be taken from it.
    #[error("attempt to delete a nonexistent key: {0}")]
    AttributeMissing(String),
}

/// Checks a group's name as the Java broker does.
pub fn validate_group(group: &str) -> Result<(), InvalidGroup> {
    if group.trim().is_empty() {
        return Err(InvalidGroup::Blank);
    }
    if !group.bytes().all(is_name_byte) {
        return Err(InvalidGroup::Characters(group.into()));
    }
    if group.len() > GROUP_BYTES_MAX {
        return Err(InvalidGroup::TooLong(group.into()));
    }
    Ok(())
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct GroupConfigs {
    file: SubscriptionGroupWrapper,
}

impl GroupConfigs {
    /// The table of a file, with the predefined groups added where they are missing.
    pub fn new(mut file: SubscriptionGroupWrapper) -> Self {
        for name in PREDEFINED {
            let table = &mut file.subscription_group_table;
            table.entry(name.to_owned()).or_insert_with(|| named(name));
        }
        Self { file }
    }

    /// All groups, by name.
    pub fn all(&self) -> &BTreeMap<String, SubscriptionGroupConfig> {
        &self.file.subscription_group_table
    }

    /// One group.
    pub fn get(&self, group: &str) -> Option<&SubscriptionGroupConfig> {
        self.all().get(group)
    }

    /// Adds a group with default settings, as consuming does.
    pub fn create(&mut self, group: &str, now_ms: i64) -> Result<(), InvalidGroup> {
        validate_group(group)?;
        self.insert(named(group), now_ms);
        Ok(())
    }

    /// Adds a group or replaces its configuration. Attributes are not replaced but altered: their names
    /// begin with `+` to be set or with `-` to be taken away.
    pub fn put(
        &mut self,
        mut config: SubscriptionGroupConfig,
        now_ms: i64,
    ) -> Result<(), PutError> {
        validate_group(&config.group_name)?;
        let known = self.get(&config.group_name).map(|known| known.attributes.clone());
        config.attributes = altered(known.unwrap_or_default(), &config.attributes)?;
        self.insert(config, now_ms);
        Ok(())
    }

    /// Takes a group out; false: there is none of this name.
    pub fn delete(&mut self, group: &str, now_ms: i64) -> bool {
        let deleted = self.file.subscription_group_table.remove(group).is_some();
        if deleted {
            self.file.forbidden_table.remove(group);
            advance(&mut self.file.data_version, now_ms);
        }
        deleted
    }

    /// The table in the form of the file, which is also that of the answer to 201.
    pub fn file(&self) -> &SubscriptionGroupWrapper {
        &self.file
    }

    fn insert(&mut self, config: SubscriptionGroupConfig, now_ms: i64) {
        let name = config.group_name.clone();
        self.file.subscription_group_table.insert(name, config);
        advance(&mut self.file.data_version, now_ms);
    }
}

/// A change: the counter rises, the time is now.
pub(super) fn advance(version: &mut DataVersion, now_ms: i64) {
    version.timestamp = now_ms;
    version.counter += 1;
}

fn named(group: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: group.to_owned(), ..Default::default() }
}

type Attributes = BTreeMap<String, String>;

fn altered(mut known: Attributes, orders: &Attributes) -> Result<Attributes, PutError> {
    for (order, value) in orders {
        if let Some(key) = order.strip_prefix('+') {
            known.insert(key.to_owned(), value.clone());
        } else if let Some(key) = order.strip_prefix('-') {
            known.remove(key).ok_or_else(|| PutError::AttributeMissing(key.to_owned()))?;
        } else {
            return Err(PutError::AttributeSign(order.clone()));
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use gantry_codec::{body::to_json, fastjson};

    use super::*;

    fn configs() -> GroupConfigs {
        GroupConfigs::new(SubscriptionGroupWrapper::default())
    }

    fn with_attributes(group: &str, attributes: &[(&str, &str)]) -> SubscriptionGroupConfig {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        SubscriptionGroupConfig { attributes: attributes.collect(), ..named(group) }
    }

    #[test]
    fn the_predefined_groups_are_there_without_a_change() {
        let configs = configs();
        assert!(PREDEFINED.iter().all(|name| configs.get(name).is_some()));
        assert_eq!(configs.file().data_version, DataVersion::default());
    }

    #[test]
    fn every_change_raises_the_version() {
        let mut configs = configs();
        configs.create("g", 100).unwrap();
        assert_eq!(configs.file().data_version.counter, 1);
        configs.put(named("g"), 200).unwrap();
        assert!(configs.delete("g", 300));
        assert_eq!(configs.file().data_version.counter, 3);
        assert_eq!(configs.file().data_version.timestamp, 300);
        assert!(!configs.delete("g", 400));
        assert_eq!(configs.file().data_version.counter, 3, "nothing was there to delete");
    }

    #[test]
    fn names_are_checked_as_java_does() {
        for good in ["g", "ns%g|x_9-", "CID_ONS-HTTP-PROXY", &"g".repeat(120)] {
            assert_eq!(validate_group(good), Ok(()), "{good}");
        }
        let mut configs = configs();
        assert_eq!(configs.create(" ", 0), Err(InvalidGroup::Blank));
        assert!(matches!(configs.create("a b", 0), Err(InvalidGroup::Characters(_))));
        let long = configs.create(&"g".repeat(121), 0).unwrap_err();
        assert!(long.to_string().ends_with("length: 120"));
    }

    #[test]
    fn attributes_are_altered_and_the_rest_replaced() {
        let mut configs = configs();
        configs.put(with_attributes("g", &[("+a", "1"), ("+b", "2")]), 0).unwrap();
        let mut other = with_attributes("g", &[("+a", "3"), ("-b", "")]);
        other.retry_max_times = 3;
        configs.put(other, 0).unwrap();
        let config = configs.get("g").unwrap();
        assert_eq!(config.attributes, Attributes::from([("a".to_owned(), "3".to_owned())]));
        assert_eq!(config.retry_max_times, 3);
        let missing = configs.put(with_attributes("g", &[("-x", "")]), 0);
        assert_eq!(missing, Err(PutError::AttributeMissing("x".into())));
        let unsigned = configs.put(with_attributes("g", &[("x", "1")]), 0);
        assert_eq!(unsigned, Err(PutError::AttributeSign("x".into())));
        assert_eq!(configs.get("g").unwrap().retry_max_times, 3, "refused as a whole");
    }

    #[test]
    fn what_a_java_broker_wrote_survives() {
        let text = br#"{"dataVersion":{"counter":4,"timestamp":9},
            "forbiddenTable":{"g":{"t":1}},
            "subscriptionGroupTable":{"g":{"groupName":"g","retryQueueNums":2,"later":[1]}}}"#;
        let mut configs = GroupConfigs::new(fastjson::from_slice(text).unwrap());
        configs.create("h", 10).unwrap();
        let again: SubscriptionGroupWrapper =
            fastjson::from_slice(&to_json(configs.file())).unwrap();
        assert_eq!(again.data_version.counter, 5);
        assert_eq!(again.forbidden_table["g"]["t"], 1);
        let group = &again.subscription_group_table["g"];
        assert_eq!(group.retry_queue_nums, 2);
        assert!(group.extra.contains_key("later"));
        assert_eq!(again.subscription_group_table.len(), PREDEFINED.len() + 2);
    }
}
