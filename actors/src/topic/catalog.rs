//! The catalog of topics: which exist and how they are configured, as kept in `topics.json`.
//!
//! A plain struct owned by the root actor ([`super::topics`]). Every change raises the data version,
//! by which name servers and slaves see that something changed, and is written to the file before it
//! is answered. Fields of the file that this broker does not know are kept.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use gantry_codec::body::{DataVersion, TopicConfig, TopicConfigSerializeWrapper};
use gantry_storage::{Clock, Disk, JsonFile, JsonFileError};
use thiserror::Error;

use super::{
    kind,
    names::{self, InvalidTopic, PERM_INHERIT, PERM_READ, PERM_WRITE, TBW102},
    retention,
};
use crate::{dedup, expiry};

/// Largest number of queues that a topic may be given.
const QUEUES_MAX: i32 = 65_536;

type Attributes = BTreeMap<String, String>;

/// What the catalog has to know of the broker's configuration.
#[derive(Clone, Debug)]
pub struct CatalogConfig {
    /// The cluster's name, a topic of its own.
    pub cluster: String,
    /// The broker's name, a topic of its own.
    pub broker: String,
    /// Whether sends may make topics.
    pub auto_create: bool,
    /// Queues of the template for topics that sends make.
    pub default_queues: i32,
    /// Levels of delay, queues of the schedule topic.
    pub delay_levels: i32,
    /// The topic of traces, if it is made at start.
    pub trace_topic: Option<String>,
    /// Whether timed messages are served, which have a topic of their own.
    pub timer_topic: bool,
}

/// Why a topic could not be made or changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TopicError {
    /// Its name cannot be a topic's.
    #[error(transparent)]
    Name(#[from] InvalidTopic),
    /// Its name belongs to the system.
    #[error("the topic[{0}] is conflict with system topic.")]
    System(String),
    /// It is unknown, and sends may not make topics from that template.
    #[error("topic[{topic}] not exist, apply first please!")]
    NotCreated {
        /// The topic asked for.
        topic: String,
        /// The template that the sender named.
        template: String,
    },
    /// A number of queues that cannot be.
    #[error("topic[{topic}]: {read} read and {write} write queues; both must be 0 to {QUEUES_MAX}")]
    Queues {
        /// The topic.
        topic: String,
        /// Read queues asked for.
        read: i32,
        /// Write queues asked for.
        write: i32,
    },
    /// A change of an attribute that cannot be.
    #[error("topic[{topic}]: attribute {attribute}: {reason}")]
    Attribute {
        /// The topic.
        topic: String,
        /// The change, as it was asked for.
        attribute: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file could not be written; nothing was changed.
    #[error("topics.json cannot be written: {0}")]
    File(String),
}

/// See the module's text.
pub struct Catalog {
    config: CatalogConfig,
    table: TopicConfigSerializeWrapper,
    file: JsonFile,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
}

impl Catalog {
    /// Reads the file and adds the system topics that are missing.
    pub fn open(
        config: CatalogConfig,
        path: PathBuf,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JsonFileError> {
        let file = JsonFile::new(path);
        let table = file.load(&*disk)?.unwrap_or_default();
        let mut catalog = Self { config, table, file, disk, clock };
        catalog.add_system_topics();
        Ok(catalog)
    }

    /// All topics by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicConfig> {
        self.table.topic_config_table.values()
    }

    /// Topics and version, as registrations and tools want them.
    pub fn table(&self) -> &TopicConfigSerializeWrapper {
        &self.table
    }

    /// One topic.
    pub fn get(&self, topic: &str) -> Option<&TopicConfig> {
        self.table.topic_config_table.get(topic)
    }

    fn add_system_topics(&mut self) {
        let (all, work) = (PERM_READ | PERM_WRITE | PERM_INHERIT, PERM_READ | PERM_WRITE);
        let config = self.config.clone();
        let mut add = |name: &str, queues: i32, perm: i32| {
            let table = &mut self.table.topic_config_table;
            table.entry(name.into()).or_insert_with(|| topic_config(name, queues, queues, perm));
        };
        add(names::SELF_TEST_TOPIC, 1, work);
        if config.auto_create {
            add(TBW102, config.default_queues, all);
        }
        add(names::BENCHMARK_TOPIC, 1024, work);
        add(&config.cluster, 16, all);
        add(&config.broker, 1, all);
        add(names::OFFSET_MOVED_EVENT, 1, work);
        add(names::SCHEDULE_TOPIC, config.delay_levels, work);
        add(names::HALF_TOPIC, 1, work);
        add(names::OP_HALF_TOPIC, 1, work);
        add(&format!("{}_REPLY_TOPIC", config.cluster), 1, work);
        if config.timer_topic {
            add(names::WHEEL_TIMER_TOPIC, 1, work);
        }
        if let Some(topic) = &config.trace_topic {
            add(topic, 1, work);
        }
    }

    /// The topic that a send wants made: as many queues as it asks for, but no more than the template
    /// has, with the template's permissions (wire.md 5.1).
    pub fn from_template(
        &self,
        topic: &str,
        template: &str,
        queues: i32,
    ) -> Result<TopicConfig, TopicError> {
        names::validate_topic(topic)?;
        let not_created =
            || TopicError::NotCreated { topic: topic.into(), template: template.into() };
        let template_config = self.get(template).ok_or_else(not_created)?;
        let usable = template_config.perm & PERM_INHERIT != 0
            && (template != TBW102 || self.config.auto_create);
        if !usable {
            return Err(not_created());
        }
        let queues = queues.min(template_config.write_queue_nums).max(0);
        Ok(topic_config(topic, queues, queues, template_config.perm & !PERM_INHERIT))
    }

    /// The configuration that an operator asks for: checked, and with the attributes that the topic has
    /// after the changes that `config` has in their place (`+name` with its value, or `-name`).
    pub fn asked_for(&self, mut config: TopicConfig) -> Result<TopicConfig, TopicError> {
        names::validate_topic(&config.topic_name)?;
        if names::is_system_topic(&config.topic_name) {
            return Err(TopicError::System(config.topic_name));
        }
        let (read, write) = (config.read_queue_nums, config.write_queue_nums);
        if !(0..=QUEUES_MAX).contains(&read) || !(0..=QUEUES_MAX).contains(&write) {
            return Err(TopicError::Queues { topic: config.topic_name, read, write });
        }
        let known = self.get(&config.topic_name).map(|known| known.attributes.clone());
        config.attributes = altered(known.unwrap_or_default(), &config)?;
        Ok(config)
    }

    /// Takes a topic in, or changes it; on an error nothing has changed.
    pub fn put(&mut self, config: TopicConfig) -> Result<(), TopicError> {
        let name = config.topic_name.clone();
        let old = self.table.topic_config_table.insert(name.clone(), config);
        self.save().inspect_err(|_| self.restore(&name, old))
    }

    /// Takes a topic out; whether it was there.
    pub fn remove(&mut self, topic: &str) -> Result<bool, TopicError> {
        let Some(old) = self.table.topic_config_table.remove(topic) else { return Ok(false) };
        self.save().inspect_err(|_| self.restore(topic, Some(old)))?;
        Ok(true)
    }

    fn restore(&mut self, topic: &str, old: Option<TopicConfig>) {
        match old {
            Some(old) => self.table.topic_config_table.insert(topic.into(), old),
            None => self.table.topic_config_table.remove(topic),
        };
    }

    fn save(&mut self) -> Result<(), TopicError> {
        let before = self.table.data_version.clone();
        next_version(&mut self.table.data_version, self.clock.now_ms());
        self.file.save(&*self.disk, &self.table).map_err(|e| {
            self.table.data_version = before;
            TopicError::File(e.to_string())
        })
    }
}

/// `known` after the changes that stand in the place of `config`'s attributes.
fn altered(mut known: Attributes, config: &TopicConfig) -> Result<Attributes, TopicError> {
    for (change, value) in &config.attributes {
        let wrong = |reason| TopicError::Attribute {
            topic: config.topic_name.clone(),
            attribute: change.clone(),
            reason,
        };
        if let Some(name) = change.strip_prefix('+') {
            retention::check(name, value)
                .and_then(|()| kind::check(name, value))
                .and_then(|()| expiry::check(name, value))
                .and_then(|()| dedup::check(name, value))
                .map_err(wrong)?;
            known.insert(name.to_owned(), value.clone());
        } else if let Some(name) = change.strip_prefix('-') {
            known.remove(name).ok_or_else(|| wrong("the topic does not have it"))?;
        } else {
            return Err(wrong("must begin with + or -"));
        }
    }
    Ok(known)
}

/// A change: the counter rises, the time is now.
fn next_version(version: &mut DataVersion, now_ms: i64) {
    version.timestamp = now_ms;
    version.counter += 1;
}

/// A plain topic.
pub fn topic_config(name: &str, read: i32, write: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: read,
        write_queue_nums: write,
        perm,
        ..TopicConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use gantry_storage::{ManualClock, MemDisk};

    use super::*;

    fn catalog() -> Catalog {
        let config = CatalogConfig {
            cluster: "c".into(),
            broker: "b".into(),
            auto_create: true,
            default_queues: 8,
            delay_levels: 18,
            trace_topic: None,
            timer_topic: true,
        };
        let (disk, clock) = (Arc::new(MemDisk::new()), Arc::new(ManualClock::new(1)));
        Catalog::open(config, "/config/topics.json".into(), disk, clock).unwrap()
    }

    fn asked(changes: &[(&str, &str)]) -> TopicConfig {
        let changes = changes.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        TopicConfig { attributes: changes.collect(), ..topic_config("t", 4, 4, 6) }
    }

    #[test]
    fn attributes_are_changed_one_by_one_and_stay_otherwise() {
        let mut catalog = catalog();
        let first = [("+retention.ms", "1000"), ("+message.type", "NORMAL")];
        let made = catalog.asked_for(asked(&first)).unwrap();
        catalog.put(made).unwrap();
        let kept = catalog.asked_for(asked(&[])).unwrap();
        assert_eq!(kept.attributes.len(), 2, "a change of something else");
        let changes = [("-message.type", ""), ("+retention.ms", "5")];
        let changed = catalog.asked_for(asked(&changes)).unwrap();
        assert_eq!(changed.attributes, Attributes::from([("retention.ms".into(), "5".into())]));
    }

    #[test]
    fn changes_that_cannot_be_are_named() {
        let catalog = catalog();
        for (name, value, reason) in [
            ("retention.ms", "1", "must begin with + or -"),
            ("-retention.ms", "", "the topic does not have it"),
            ("+retention.ms", "soon", "must be a number from 1 on"),
            ("+retention.unconsumed", "maybe", "must be keep or delete"),
            ("+queue.type", "Other", "must be SimpleCQ"),
            ("+gantry.ttl.ms", "soon", "must be a number from 1 on"),
        ] {
            let error = catalog.asked_for(asked(&[(name, value)])).unwrap_err().to_string();
            assert_eq!(error, format!("topic[t]: attribute {name}: {reason}"));
        }
    }
}
