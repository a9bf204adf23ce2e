//! The SQL92 filters of consumer groups, and their file `consumerFilter.json` (store.md 2).
//!
//! A filter belongs to a group and a topic. It comes with a heartbeat, is compiled once, and is replaced
//! when a heartbeat with a higher version of the subscription says something else; a lower version is
//! passed over. A group that goes leaves its filter behind as dead: it lives again when the group comes
//! back, and is dropped after a day. The rules are Java's, so that either broker takes the other's file.
//!
//! The table is a plain struct with one owner; what connections need of it is published as a
//! [`FilterDirectory`].

use std::sync::Arc;

use arc_swap::ArcSwap;
use gantry_codec::{
    bloom::BloomBits,
    body::{ConsumerFilter, ConsumerFilterTable, SubscriptionData, TopicFilters},
    sql::{Sql, SqlError},
};

/// A filter is forgotten when it has been dead for so long.
const KEPT_DEAD_MS: i64 = 24 * 60 * 60 * 1000;
/// When a filter is read from the file, its group is taken to have gone so long ago.
const GONE_AT_LOAD_MS: i64 = 30 * 1000;

/// A filter as connections see it.
#[derive(Debug)]
pub struct Filter {
    /// The compiled expression.
    pub sql: Arc<Sql>,
    /// The version of the subscription that brought it.
    pub version: i64,
    /// Whether its group was there when it was last looked for.
    pub is_alive: bool,
}

/// Filters by group.
type ByGroup = imbl::HashMap<Arc<str>, Arc<Filter>>;

/// The current filters; clones read the same table.
#[derive(Clone, Default)]
pub struct FilterDirectory(Arc<ArcSwap<imbl::HashMap<Arc<str>, ByGroup>>>);

impl FilterDirectory {
    /// The filter of a group for a topic.
    pub fn get(&self, topic: &str, group: &str) -> Option<Arc<Filter>> {
        self.0.load().get(topic)?.get(group).cloned()
    }

    /// Whether the table has the filter of this subscription already.
    pub fn has(&self, group: &str, subscription: &SubscriptionData) -> bool {
        self.get(&subscription.topic, group)
            .is_some_and(|filter| filter.is_alive && filter.version >= subscription.sub_version)
    }
}

/// What registering a subscription has done.
#[derive(Debug, PartialEq, Eq)]
pub enum Registered {
    /// Nothing.
    Known,
    /// It is there, new or again.
    Taken,
    /// Its expression cannot be read; what the group had before is gone.
    Refused(SqlError),
}

/// See the module's text.
pub struct FilterTable {
    file: ConsumerFilterTable,
    directory: FilterDirectory,
}

impl FilterTable {
    /// The table of a file. Expressions that cannot be read are given to `complain`; they stay in the
    /// file and filter nothing.
    pub fn new(
        mut file: ConsumerFilterTable,
        directory: FilterDirectory,
        now_ms: i64,
        mut complain: impl FnMut(&ConsumerFilter, &SqlError),
    ) -> Self {
        let mut topics = imbl::HashMap::new();
        for (topic, filters) in &mut file.filter_data_by_topic {
            let mut by_group = ByGroup::new();
            for (group, data) in &mut filters.group_filter_data {
                if data.dead_time == 0 {
                    data.dead_time = (now_ms - GONE_AT_LOAD_MS).max(data.born_time);
                }
                match Sql::compile(&data.expression) {
                    Ok(sql) => drop(by_group.insert(group.as_str().into(), published(data, sql))),
                    Err(error) => complain(data, &error),
                }
            }
            topics.insert(topic.as_str().into(), by_group);
        }
        directory.0.store(Arc::new(topics));
        Self { file, directory }
    }

    /// Takes the filter of a group's subscription.
    pub fn register(&mut self, group: &str, data: &SubscriptionData, now_ms: i64) -> Registered {
        let (topic, expression) = (data.topic.as_str(), data.sub_string.as_str());
        let old = self.get(topic, group);
        if let Some(old) = old.filter(|old| data.sub_version <= old.client_version) {
            return match data.sub_version == old.client_version && old.is_dead() {
                true => self.revive(topic, group, data.sub_version),
                false => Registered::Known,
            };
        }
        let same = |old: &ConsumerFilter| {
            old.expression == *expression && old.expression_type == data.expression_type
        };
        if old.is_some_and(same) && self.directory.get(topic, group).is_some() {
            return self.revive(topic, group, data.sub_version);
        }
        let sql = match Sql::compile(expression) {
            Ok(sql) => sql,
            Err(error) => {
                self.remove(topic, group);
                return Registered::Refused(error);
            }
        };
        let filter = ConsumerFilter {
            bloom_filter_data: BloomBits::of(group, topic),
            born_time: now_ms,
            client_version: data.sub_version,
            consumer_group: group.into(),
            dead: false,
            dead_time: 0,
            expression: expression.into(),
            expression_type: data.expression_type.clone(),
            topic: topic.into(),
        };
        self.publish(topic, group, published(&filter, sql));
        let filters = self.file.filter_data_by_topic.entry(topic.into());
        let filters = filters
            .or_insert_with(|| TopicFilters { topic: topic.into(), ..TopicFilters::default() });
        filters.group_filter_data.insert(group.into(), filter);
        Registered::Taken
    }

    /// Marks the filters dead whose group does not subscribe to the topic any more, and drops those
    /// that have been dead for a day; whether anything has changed.
    pub fn sweep(&mut self, subscribes: impl Fn(&str, &str) -> bool, now_ms: i64) -> bool {
        let (mut died, mut dropped) = (Vec::new(), Vec::new());
        for (topic, filters) in &self.file.filter_data_by_topic {
            for (group, data) in &filters.group_filter_data {
                if !data.is_dead() && !subscribes(group, topic) {
                    died.push((topic.clone(), group.clone()));
                } else if data.is_dead() && now_ms.saturating_sub(data.dead_time) >= KEPT_DEAD_MS {
                    dropped.push((topic.clone(), group.clone()));
                }
            }
        }
        for (topic, group) in &died {
            self.change(topic, group, |data| data.dead_time = now_ms.max(data.born_time));
        }
        for (topic, group) in &dropped {
            self.remove(topic, group);
        }
        !died.is_empty() || !dropped.is_empty()
    }

    /// The file as it is to be written.
    pub fn file(&self) -> ConsumerFilterTable {
        let mut file = self.file.clone();
        let filters = file.filter_data_by_topic.values_mut();
        for data in filters.flat_map(|filters| filters.group_filter_data.values_mut()) {
            data.dead = data.is_dead();
        }
        file
    }

    fn get(&self, topic: &str, group: &str) -> Option<&ConsumerFilter> {
        self.file.filter_data_by_topic.get(topic)?.group_filter_data.get(group)
    }

    fn revive(&mut self, topic: &str, group: &str, version: i64) -> Registered {
        self.change(topic, group, |data| {
            (data.client_version, data.dead_time) = (version, 0);
        });
        Registered::Taken
    }

    /// Changes a filter and publishes it as it is then.
    fn change(&mut self, topic: &str, group: &str, change: impl FnOnce(&mut ConsumerFilter)) {
        let Some(filters) = self.file.filter_data_by_topic.get_mut(topic) else { return };
        let Some(data) = filters.group_filter_data.get_mut(group) else { return };
        change(data);
        let Some(old) = self.directory.get(topic, group) else { return };
        let filter = Filter {
            sql: old.sql.clone(),
            version: data.client_version,
            is_alive: !data.is_dead(),
        };
        self.publish(topic, group, Arc::new(filter));
    }

    fn publish(&self, topic: &str, group: &str, filter: Arc<Filter>) {
        let mut topics = (**self.directory.0.load()).clone();
        topics.entry(topic.into()).or_default().insert(group.into(), filter);
        self.directory.0.store(Arc::new(topics));
    }

    fn remove(&mut self, topic: &str, group: &str) {
        let files = &mut self.file.filter_data_by_topic;
        if let Some(filters) = files.get_mut(topic) {
            filters.group_filter_data.remove(group);
        }
        files.retain(|_, filters| !filters.group_filter_data.is_empty());
        let mut topics = (**self.directory.0.load()).clone();
        if let Some(by_group) = topics.get_mut(topic) {
            by_group.remove(group);
        }
        topics.retain(|_, by_group| !by_group.is_empty());
        self.directory.0.store(Arc::new(topics));
    }
}

fn published(data: &ConsumerFilter, sql: Sql) -> Arc<Filter> {
    let is_alive = !data.is_dead();
    Arc::new(Filter { sql: Arc::new(sql), version: data.client_version, is_alive })
}

#[cfg(test)]
mod tests {
    use gantry_codec::{fastjson, filter::SQL92};

    use super::*;

    fn subscription(expression: &str, sub_version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: "t".into(),
            sub_string: expression.into(),
            expression_type: SQL92.into(),
            sub_version,
            ..SubscriptionData::default()
        }
    }

    fn table() -> (FilterTable, FilterDirectory) {
        let directory = FilterDirectory::default();
        let table =
            FilterTable::new(ConsumerFilterTable::default(), directory.clone(), 0, |_, e| {
                panic!("{e}")
            });
        (table, directory)
    }

    #[test]
    fn a_filter_is_there_once_it_is_registered() {
        let (mut table, directory) = table();
        assert!(directory.get("t", "g").is_none());
        assert_eq!(table.register("g", &subscription("a > 1", 5), 100), Registered::Taken);
        let filter = directory.get("t", "g").unwrap();
        assert!(filter.version == 5 && filter.is_alive && directory.get("t", "h").is_none());
        assert!(directory.has("g", &subscription("a > 1", 5)));
        assert!(!directory.has("g", &subscription("a > 1", 6)));
    }

    #[test]
    fn the_highest_version_counts() {
        let (mut table, directory) = table();
        table.register("g", &subscription("a > 1", 5), 100);
        assert_eq!(table.register("g", &subscription("a > 2", 4), 200), Registered::Known);
        assert_eq!(table.get("t", "g").unwrap().expression, "a > 1");
        table.register("g", &subscription("a > 2", 6), 300);
        let data = table.get("t", "g").unwrap();
        assert_eq!((data.expression.as_str(), data.born_time), ("a > 2", 300));
        table.register("g", &subscription("a > 2", 7), 400);
        assert_eq!(table.get("t", "g").unwrap().born_time, 300, "the same filter, said again");
        assert_eq!(directory.get("t", "g").unwrap().version, 7);
    }

    #[test]
    fn an_expression_that_cannot_be_read_removes_the_last_one() {
        let (mut table, directory) = table();
        table.register("g", &subscription("a > 1", 5), 100);
        let refused = table.register("g", &subscription("a >", 6), 200);
        assert!(matches!(refused, Registered::Refused(_)), "{refused:?}");
        assert!(directory.get("t", "g").is_none());
        assert_eq!(table.file(), ConsumerFilterTable::default());
    }

    #[test]
    fn filters_die_live_again_and_are_dropped() {
        let (mut table, directory) = table();
        table.register("g", &subscription("a > 1", 5), 100);
        assert!(!table.sweep(|group, topic| (group, topic) == ("g", "t"), 150));
        assert!(table.sweep(|_, _| false, 200));
        assert!(table.file().filter_data_by_topic["t"].group_filter_data["g"].dead);
        assert!(!directory.has("g", &subscription("a > 1", 5)), "the heartbeat is to tell");
        assert_eq!(table.register("g", &subscription("a > 1", 5), 300), Registered::Taken);
        assert!(directory.has("g", &subscription("a > 1", 5)));
        table.sweep(|_, _| false, 400);
        assert!(!table.sweep(|_, _| false, 399 + KEPT_DEAD_MS));
        assert!(table.sweep(|_, _| false, 400 + KEPT_DEAD_MS));
        assert!(directory.get("t", "g").is_none());
    }

    #[test]
    fn what_java_wrote_is_taken_over() {
        let text = br#"{"filterDataByTopic":{"t":{"groupFilterData":{
            "g":{"bloomFilterData":{"bitNum":112,"bitPos":[22,87,58]},"bornTime":1000,
                "clientVersion":5,"consumerGroup":"g","dead":false,"deadTime":0,
                "expression":"a > 1","expressionType":"SQL92","topic":"t"},
            "broken":{"bornTime":1,"deadTime":2,"expression":"a >"}},"topic":"t"}}}"#;
        let file: ConsumerFilterTable = fastjson::from_slice(text).unwrap();
        let mut broken = Vec::new();
        let mut table = FilterTable::new(file, FilterDirectory::default(), 50_000, |data, _| {
            broken.push(data.expression.clone());
        });
        assert_eq!(broken, ["a >"]);
        let data = table.get("t", "g").unwrap().clone();
        assert_eq!((data.dead_time, data.born_time), (20_000, 1_000));
        assert_eq!(table.register("g", &subscription("a > 1", 5), 60_000), Registered::Taken);
        let written = table.file().filter_data_by_topic["t"].group_filter_data["g"].clone();
        assert_eq!(written, ConsumerFilter { dead_time: 0, ..data });
        assert_eq!(written.bloom_filter_data, BloomBits::of("g", "t"));
    }
}
