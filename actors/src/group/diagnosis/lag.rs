//! A group's exact lag, queue by queue: messages behind, how old the first of them is, and how many of
//! them the group's filter lets through.
//!
//! Tags are counted in the queue's index, 20 bytes a message, without reading the messages: at most
//! [`COUNTED_MAX`] of one answer, so that a group that is far behind costs a bounded time. For an SQL92
//! filter the records are read, which costs as much as [`RECORD_COST`] entries each. What was not looked
//! at is told.

use gantry_codec::body::{GroupLag, QueueLag};

use super::{super::facts::Wanted, WatchParts, activity::Activity, survey::member};

/// Index entries that are looked at for one answer.
pub(super) const COUNTED_MAX: i64 = 1_000_000;

/// What reading a record counts for, in entries.
const RECORD_COST: i64 = 10;

/// How far a group is behind in these topics.
pub fn lag(parts: &WatchParts, group: &str, topics: &[std::sync::Arc<str>]) -> GroupLag {
    let mut lag = GroupLag::default();
    let mut budget = COUNTED_MAX;
    for topic in topics {
        let Some(config) = parts.facts.topic(topic) else { continue };
        for queue_id in 0..config.read_queue_nums {
            lag.queues.push(queue_lag(parts, group, topic, queue_id, &mut budget));
        }
    }
    if let Some(view) = parts.directory.get(group) {
        lag.consume_tps = view.slot().activities.rate(topics);
    }
    lag
}

fn queue_lag(
    parts: &WatchParts,
    group: &str,
    topic: &str,
    queue_id: i32,
    budget: &mut i64,
) -> QueueLag {
    let (first, end) = parts.facts.range(topic, queue_id);
    let committed = parts.offsets.get(group, topic, queue_id).filter(|offset| *offset >= 0);
    // What is no longer stored will never be consumed.
    let position = committed.unwrap_or(first).max(first);
    let behind = (end - position).max(0);
    let mut lag = QueueLag {
        behind,
        behind_ms: age(parts, topic, queue_id, position, behind),
        broker_name: parts.broker.to_string(),
        broker_offset: end,
        consumer_offset: committed,
        queue_id,
        topic: topic.to_owned(),
        ..QueueLag::default()
    };
    let Some(view) = parts.directory.get(group) else { return lag };
    let membership = view.membership();
    let activity = view.slot().activities.get(topic, queue_id);
    let last = activity.as_deref().and_then(Activity::last);
    lag.expired = activity.map_or(0, |activity| activity.expired().count());
    lag.pulled_at = last.map(|last| last.at_ms);
    let locked = view.locks().owner(topic, queue_id, tokio::time::Instant::now()).cloned();
    let owner = locked.or(last.and_then(|last| member(&membership, last.connection)));
    lag.client_id = owner.map(|id| id.to_string());
    let popped = view.slot().popped.get(topic);
    let own = membership.subscription(topic).or(popped.as_ref().map(|popped| &popped.data));
    let Some(filter) = own else { return lag };
    lag.filter = Some(filter.sub_string.clone());
    if filter.matches_all() {
        lag.matching = Some(behind);
        return lag;
    }
    let count = |cost: i64, wanted: Wanted<'_>| {
        parts.facts.count(topic, queue_id, position, behind.min(*budget / cost), wanted)
    };
    let by_tags = |tags_code: i64| filter.matches(tags_code as i32);
    let (cost, counted) = if !filter.is_sql92() && !filter.class_filter_mode {
        (1, count(1, Wanted::ByTags(&by_tags)))
    } else if let Some(sql) = parts
        .filters
        .get(topic, group)
        .map(|filter| filter.sql.clone())
        .or(popped.as_ref().and_then(|popped| popped.sql.clone()))
        .filter(|_| filter.is_sql92())
    {
        let by_properties = |properties: &str| sql.matches(properties);
        (RECORD_COST, count(RECORD_COST, Wanted::ByProperties(&by_properties)))
    } else {
        return lag;
    };
    if let Some(counted) = counted {
        lag.matching = Some(counted.wanted);
        *budget -= counted.seen * cost;
        lag.unseen = behind - counted.seen;
    }
    lag
}

/// How long ago the first message behind was stored.
fn age(parts: &WatchParts, topic: &str, queue_id: i32, position: i64, behind: i64) -> i64 {
    if behind == 0 {
        return 0;
    }
    let stored = parts.facts.store_time(topic, queue_id, position);
    stored.map_or(0, |stored| (parts.clock.now_ms() - stored).max(0))
}
