//! What a group's pops have asked for: its subscription, if no heartbeat brings one.
//!
//! Who pops needs no heartbeat, and 5.x clients behind a proxy send none. As in the Java broker, a pop makes
//! its group's filter known for the topic, and for the retry topics that it reads along; tools that ask how far
//! the group is behind are told by that. It makes nobody a member: there is nobody to be told of others.
//! Bounded: topics beyond 4096 are not noted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gantry_codec::{
    body::SubscriptionData,
    filter::{MATCH_ALL, SQL92, TAG},
    pop::TopicMark,
    sql::Sql,
};

/// Topics that are noted for one group.
const TOPICS_MAX: usize = 4096;

/// A filter that a pop has brought.
#[derive(Clone, Debug)]
pub struct PoppedFilter {
    /// As a heartbeat would have it.
    pub data: Arc<SubscriptionData>,
    /// If it is one of properties.
    pub sql: Option<Arc<Sql>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct PoppedTopics(Mutex<HashMap<Box<str>, PoppedFilter>>);

impl PoppedTopics {
    /// A pop of `topic` by `group` has asked for this; an expression with `sql` is one of properties.
    pub fn note(&self, group: &str, topic: &str, expression: &str, sql: Option<&Arc<Sql>>) {
        let expression = if expression.is_empty() { MATCH_ALL } else { expression };
        let mut known = self.lock();
        let same = |filter: &PoppedFilter| {
            filter.data.sub_string == expression && filter.sql.is_some() == sql.is_some()
        };
        if known.get(topic).is_some_and(same) || known.len() >= TOPICS_MAX {
            return;
        }
        for mark in [TopicMark::Retry, TopicMark::RetryV2] {
            let retry = mark.real_topic(topic, group);
            known.insert(retry.as_str().into(), filter(&retry, MATCH_ALL, None));
        }
        known.insert(topic.into(), filter(topic, expression, sql));
    }

    /// The last filter for the topic, if it was ever popped.
    pub fn get(&self, topic: &str) -> Option<PoppedFilter> {
        self.lock().get(topic).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, PoppedFilter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn filter(topic: &str, expression: &str, sql: Option<&Arc<Sql>>) -> PoppedFilter {
    let kind = if sql.is_some() { SQL92 } else { TAG };
    let mut data = SubscriptionData {
        topic: topic.into(),
        sub_string: expression.into(),
        expression_type: kind.into(),
        ..SubscriptionData::default()
    };
    data.normalize();
    PoppedFilter { data: Arc::new(data), sql: sql.cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pop_makes_its_filter_known_for_the_topic_and_its_retries() {
        let popped = PoppedTopics::default();
        assert!(popped.get("t").is_none());
        popped.note("g", "t", "A || B", None);
        let known = popped.get("t").unwrap();
        assert_eq!((known.data.tags_set.len(), known.data.matches_all()), (2, false));
        for retry in ["%RETRY%g_t", "%RETRY%g+t"] {
            assert!(popped.get(retry).unwrap().data.matches_all());
        }
        let sql = Arc::new(Sql::compile("a > 1").unwrap());
        popped.note("g", "t", "a > 1", Some(&sql));
        assert!(popped.get("t").unwrap().data.is_sql92());
        popped.note("g", "t", "", None);
        assert!(popped.get("t").unwrap().data.matches_all());
    }
}
