//! How far groups are behind: messages that wait for a group in a topic, and how old the first of them is.
//!
//! Read from the published offsets, members and queues. A group is behind where it has committed, or else,
//! while it is online, where it pulled last, or at the beginning. Left out are groups that broadcast, which
//! keep their offsets to themselves, tools, and queues in which a group that is offline has committed
//! nothing. All messages count, whether the group's filter lets them through or not; `gantry admin` tells
//! both.
//!
//! Bounded: the pairs of group and topic that are furthest behind have rows of their own, all others are
//! summed. Ages are looked up in the log, which may have to come from the disk, so that is given up for the
//! rest of a page after `LOOKS_LIMIT`; queues have at most `QUEUES_MAX` rows.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use gantry_codec::body::ConsumeType;
use gantry_storage::Clock;
use tokio::time::Instant;

use super::{
    page::{Labels, Page, Source},
    traffic::{OTHERS, of_group},
};
use crate::group::{GroupDirectory, GroupView, OffsetView, PREDEFINED, QueueFacts};

/// How long ages are looked up for one page.
const LOOKS_LIMIT: Duration = Duration::from_secs(1);
/// Rows by queue of one page.
const QUEUES_MAX: usize = 100_000;

/// See the module's text.
pub struct Lag {
    /// Published groups.
    pub groups: GroupDirectory,
    /// Published offsets.
    pub offsets: OffsetView,
    /// What topics and queues are like.
    pub facts: Arc<dyn QueueFacts>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Pairs of group and topic that have rows of their own.
    pub names_max: usize,
}

/// A group in a topic.
struct Behind {
    group: Arc<str>,
    topic: Arc<str>,
    messages: i64,
    /// How old the first message is that waits in any of the queues; nothing if that is not known.
    age_ms: Option<i64>,
    queues: Vec<QueueBehind>,
}

/// A group in a queue.
struct QueueBehind {
    queue_id: i32,
    position: i64,
    messages: i64,
    age_ms: Option<i64>,
}

impl Lag {
    /// Those that have rows, in order of their names, and what all others are behind together.
    fn look(&self) -> (Vec<Behind>, Option<i64>) {
        let mut all = Vec::new();
        for (group, view) in self.groups.all().iter() {
            if !PREDEFINED.contains(&&**group) && !view.membership().is_broadcasting() {
                self.look_at(group, view, &mut all);
            }
        }
        all.sort_unstable_by(|a, b| {
            b.messages
                .cmp(&a.messages)
                .then_with(|| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)))
        });
        let rest = all.split_off(all.len().min(self.names_max));
        let others = (!rest.is_empty()).then(|| rest.iter().map(|behind| behind.messages).sum());
        all.sort_unstable_by(|a, b| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)));
        self.look_up_ages(&mut all);
        (all, others)
    }

    fn look_at(&self, group: &Arc<str>, view: &GroupView, all: &mut Vec<Behind>) {
        let subscribed = view.membership();
        let mut topics: BTreeSet<Arc<str>> = subscribed.subscriptions.keys().cloned().collect();
        topics.extend(self.offsets.topics_of(group));
        for topic in topics {
            let Some(config) = self.facts.topic(&topic) else { continue };
            let committed = self.offsets.queues(group, &topic);
            let queues: Vec<_> = (0..config.read_queue_nums)
                .filter_map(|queue_id| self.queue(view, &topic, queue_id, &committed))
                .collect();
            if !queues.is_empty() {
                let messages = queues.iter().map(|queue| queue.messages).sum();
                let (group, age_ms) = (group.clone(), Some(0));
                all.push(Behind { group, topic, messages, age_ms, queues });
            }
        }
    }

    fn queue(
        &self,
        view: &GroupView,
        topic: &Arc<str>,
        queue_id: i32,
        committed: &[(i32, i64)],
    ) -> Option<QueueBehind> {
        let at = committed.binary_search_by_key(&queue_id, |(queue_id, _)| *queue_id).ok();
        let committed = at.and_then(|at| committed.get(at)).map(|(_, offset)| *offset);
        let membership = view.membership();
        let pulls = membership.is_online() && membership.consume_type != ConsumeType::Pop;
        let begun = || {
            let last = view.slot().activities.get(topic, queue_id).and_then(|pulls| pulls.last());
            pulls.then(|| last.map_or(0, |last| last.offset))
        };
        let position = committed.filter(|offset| *offset >= 0).or_else(begun)?;
        let (first, end) = self.facts.range(topic, queue_id);
        // What is no longer stored will never be consumed.
        let position = position.max(first);
        Some(QueueBehind { queue_id, position, messages: (end - position).max(0), age_ms: Some(0) })
    }

    fn look_up_ages(&self, all: &mut [Behind]) {
        let (begun, now_ms) = (Instant::now(), self.clock.now_ms());
        for behind in all {
            let Behind { topic, queues, age_ms: oldest, .. } = behind;
            for queue in queues.iter_mut().filter(|queue| queue.messages > 0) {
                let may_look = begun.elapsed() < LOOKS_LIMIT;
                let look = || self.facts.store_time(topic, queue.queue_id, queue.position);
                let stored = may_look.then(look).flatten();
                queue.age_ms = stored.map(|stored| (now_ms - stored).max(0));
                // A queue of unknown age makes that of the topic unknown.
                *oldest = oldest.zip(queue.age_ms).map(|(a, b)| a.max(b));
            }
        }
    }
}

impl Source for Lag {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let (all, others) = self.look();
        let messages = all
            .iter()
            .map(|behind| (of_group(&behind.group, &behind.topic), behind.messages as f64))
            .chain(others.map(|messages| (of_group(OTHERS, OTHERS), messages as f64)));
        page.gauges(
            "rocketmq_consumer_lag_messages",
            "Messages that wait for a group in a topic.",
            messages,
        )?;
        let ages = all.iter().filter_map(|behind| {
            Some((of_group(&behind.group, &behind.topic), behind.age_ms? as f64))
        });
        page.gauges(
            "rocketmq_consumer_lag_latency",
            "Age of the first message that waits for a group in a topic, in milliseconds.",
            ages,
        )?;
        if page.asked().queues { write_queues(&all, page) } else { Ok(()) }
    }
}

fn write_queues(all: &[Behind], page: &mut Page<'_>) -> fmt::Result {
    let rows = || {
        let queues = all.iter().flat_map(|behind| {
            behind.queues.iter().map(|queue| {
                let mut labels: Labels<'_> = of_group(&behind.group, &behind.topic);
                labels.push(("queue_id", queue.queue_id.to_string().into()));
                (labels, queue)
            })
        });
        queues.take(QUEUES_MAX)
    };
    page.gauges(
        "gantry_consumer_queue_lag_messages",
        "Messages that wait for a group in a queue.",
        rows().map(|(labels, queue)| (labels, queue.messages as f64)),
    )?;
    page.gauges(
        "gantry_consumer_queue_lag_latency",
        "Age of the first message that waits for a group in a queue, in milliseconds.",
        rows().filter_map(|(labels, queue)| Some((labels, queue.age_ms? as f64))),
    )
}
