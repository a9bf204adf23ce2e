//! Messages and bytes that come in by topic and go out by group and topic.
//!
//! Read from counters that others raise anyway: the slots of queues (written by the appender) and what
//! pulls and pops leave behind at their groups. Both are bounded by names, see [`Named`]. Counting begins
//! with the process, and with a topic that is made again.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    named::{Named, Pair},
    page::{Labels, Page, Source},
};
use crate::{
    group::{GroupDirectory, PREDEFINED},
    topic::{
        TopicTable,
        names::{DLQ_PREFIX, RETRY_PREFIX, is_system_topic},
    },
};

/// In place of a name for all that have none.
pub const OTHERS: &str = "_other";
/// A group and a topic, by name.
pub type GroupTopic = (Arc<str>, Arc<str>);
/// What the names of the system's own groups begin with.
const SYSTEM_GROUP_PREFIX: &str = "cid_rmq_sys_";

/// What is stored, by topic.
pub struct Incoming {
    topics: Arc<TopicTable>,
    named: Mutex<Named<Arc<str>>>,
}

/// What is delivered, by group and topic.
pub struct Outgoing {
    groups: GroupDirectory,
    named: Mutex<Named<GroupTopic>>,
}

impl Incoming {
    /// Of these topics, as many by name at most.
    pub fn new(topics: Arc<TopicTable>, names_max: usize) -> Self {
        Self { topics, named: Mutex::new(Named::new(names_max)) }
    }

    /// What each topic has taken, those that share the sum under [`OTHERS`] at the end.
    fn rows(&self) -> Vec<(Arc<str>, Pair)> {
        let mut named = lock(&self.named);
        let all = self.topics.all();
        let counts = all.iter().map(|(name, view)| {
            let mut sum = Pair::default();
            for slot in &view.queues {
                add(&mut sum, slot.written());
            }
            (name.clone(), sum)
        });
        let mut rows = named.take(counts);
        if named.has_others() {
            rows.push((OTHERS.into(), named.others()));
        }
        rows
    }
}

impl Source for Incoming {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let rows = self.rows();
        let column = |at: usize| {
            rows.iter().map(move |(topic, counts)| {
                let labels: Labels<'_> =
                    vec![("topic", (&**topic).into()), ("is_system", flag(is_system_topic(topic)))];
                (labels, counts.get(at).copied().unwrap_or_default())
            })
        };
        page.counters(
            "rocketmq_messages_in_total",
            "Messages stored since the start, by topic.",
            column(0),
        )?;
        page.counters(
            "rocketmq_throughput_in_total",
            "Bytes of records stored since the start, by topic.",
            column(1),
        )?;
        let letters = rows.iter().filter_map(|(topic, [messages, _])| {
            let group = topic.strip_prefix(DLQ_PREFIX)?;
            let labels: Labels<'_> = vec![
                ("consumer_group", group.into()),
                ("topic", (&**topic).into()),
                ("is_system", flag(false)),
            ];
            Some((labels, *messages))
        });
        page.counters(
            "rocketmq_send_to_dlq_messages_total",
            "Messages that became dead letters since the start, by group.",
            letters,
        )
    }
}

impl Outgoing {
    /// To these groups, as many pairs of group and topic by name at most.
    pub fn new(groups: GroupDirectory, names_max: usize) -> Self {
        Self { groups, named: Mutex::new(Named::new(names_max)) }
    }

    fn rows(&self) -> Vec<(GroupTopic, Pair)> {
        let mut named = lock(&self.named);
        let all = self.groups.all();
        let mut counts = Vec::new();
        for (group, view) in all.iter() {
            let mut by_topic: BTreeMap<Arc<str>, Pair> = BTreeMap::new();
            view.slot().activities.each(|topic, activity| {
                let counted = [activity.total(), activity.total_bytes()];
                add(by_topic.entry(topic.clone()).or_default(), counted);
            });
            counts.extend(by_topic.into_iter().map(|(topic, sum)| ((group.clone(), topic), sum)));
        }
        let mut rows = named.take(counts);
        if named.has_others() {
            rows.push(((OTHERS.into(), OTHERS.into()), named.others()));
        }
        rows
    }
}

impl Source for Outgoing {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let rows = self.rows();
        let column = |at: usize| {
            rows.iter().map(move |((group, topic), counts)| {
                (of_group(group, topic), counts.get(at).copied().unwrap_or_default())
            })
        };
        page.counters(
            "rocketmq_messages_out_total",
            "Messages delivered since the start, by group and topic.",
            column(0),
        )?;
        page.counters(
            "rocketmq_throughput_out_total",
            "Bytes of records delivered since the start, by group and topic.",
            column(1),
        )
    }
}

/// The labels of a group's figures in one topic.
pub fn of_group<'l>(group: &'l str, topic: &'l str) -> Labels<'l> {
    vec![
        ("consumer_group", group.into()),
        ("topic", topic.into()),
        ("is_retry", flag(topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX))),
        ("is_system", flag(is_system_topic(topic) || is_system_group(group))),
    ]
}

/// Whether a group belongs to the system.
pub fn is_system_group(group: &str) -> bool {
    let starts = group.get(..SYSTEM_GROUP_PREFIX.len());
    PREDEFINED.contains(&group)
        || starts.is_some_and(|starts| starts.eq_ignore_ascii_case(SYSTEM_GROUP_PREFIX))
}

/// A label that is true or false.
pub fn flag(is_so: bool) -> Cow<'static, str> {
    if is_so { "true".into() } else { "false".into() }
}

fn add(sum: &mut Pair, counts: Pair) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
