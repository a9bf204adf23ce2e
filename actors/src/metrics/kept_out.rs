//! Messages that were sent and not stored again, or stored and not delivered: duplicates by topic, expired
//! ones by group and topic.
//!
//! Counted by the windows of topics and by the accounts of groups; both are bounded by names.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    named::{Named, Pair},
    page::{Labels, Page, Source},
    traffic::{GroupTopic, OTHERS, of_group},
};
use crate::{group::GroupDirectory, topic::TopicTable};

/// See the module's text.
pub struct KeptOut {
    topics: Arc<TopicTable>,
    groups: GroupDirectory,
    duplicates: Mutex<Named<Arc<str>>>,
    expired: Mutex<Named<GroupTopic>>,
}

impl KeptOut {
    /// Of these topics and groups, as many by name at most.
    pub fn new(topics: Arc<TopicTable>, groups: GroupDirectory, names_max: usize) -> Self {
        let duplicates = Mutex::new(Named::new(names_max));
        Self { topics, groups, duplicates, expired: Mutex::new(Named::new(names_max)) }
    }

    fn duplicates(&self) -> Vec<(Arc<str>, u64)> {
        let mut named = self.duplicates.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.topics.all();
        let counts = all.iter().filter_map(|(name, view)| {
            Some((name.clone(), [view.window.as_ref()?.duplicates(), 0]))
        });
        let mut rows = named.take(counts);
        rows.extend(named.has_others().then(|| (OTHERS.into(), named.others())));
        rows.into_iter().map(|(topic, [count, _])| (topic, count)).collect()
    }

    fn expired(&self) -> Vec<(GroupTopic, u64)> {
        let mut named = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<GroupTopic, Pair> = BTreeMap::new();
        for (group, view) in self.groups.all().iter() {
            view.slot().activities.each(|topic, activity| {
                let of = counts.entry((group.clone(), topic.clone())).or_default();
                of[0] += activity.expired().count();
            });
        }
        let mut rows = named.take(counts);
        rows.extend(named.has_others().then(|| ((OTHERS.into(), OTHERS.into()), named.others())));
        rows.into_iter().map(|(of, [count, _])| (of, count)).collect()
    }
}

impl Source for KeptOut {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let duplicates = self.duplicates();
        page.counters(
            "gantry_duplicate_messages_total",
            "Messages that were sent again within their topic's window and not stored again.",
            duplicates.iter().map(|(topic, count)| {
                let labels: Labels<'_> = vec![("topic", (&**topic).into())];
                (labels, *count)
            }),
        )?;
        let expired = self.expired();
        page.counters(
            "gantry_expired_messages_total",
            "Messages that had expired when a group came to them.",
            expired.iter().map(|((group, topic), count)| (of_group(group, topic), *count)),
        )
    }
}
