//! What tools ask about queues: their ends (202 GET_TOPIC_STATS_INFO), the times of their messages and of
//! a group's progress (303 QUERY_CONSUME_TIME_SPAN), their entries (321 QUERY_CONSUME_QUEUE).
//!
//! Answered from the published views. All of them read the log or a queue's files, so they are answered
//! on a thread that may wait for the disk.

use std::sync::Arc;

use gantry_codec::{
    Command, Header, HeaderError,
    body::{
        self, ConsumeQueueEntry, ConsumeTimeSpanBody, MessageQueue, QueryConsumeQueueBody,
        QueueTimeSpan, SubscriptionData, TopicOffset, TopicStatsTable,
    },
    fastjson, request_code as rq,
    requests::{admin::QueryConsumeQueueHeader, group::GroupTopicHeader, route::TopicHeader},
    response_code as rs,
};
use gantry_storage::{IndexEntry, QueueOffset};

use super::Shared;
use crate::{error_to_wire, group::QueueFacts, net::Outcome};

/// Entries of a queue in one answer at most.
const ENTRIES_MAX: u64 = 1024;

/// Answers one of the codes of this file.
pub(super) fn answer(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let all = shared.clone();
    shared.cold.answer(cmd, 0, move |cmd| {
        try_answer(&all, cmd).unwrap_or_else(|e| error_to_wire::bad_header(cmd, &e))
    })
}

fn try_answer(shared: &Shared, cmd: &Command) -> Result<Command, HeaderError> {
    Ok(match cmd.code {
        rq::GET_TOPIC_STATS_INFO => stats(shared, cmd, &TopicHeader::decode(&cmd.ext)?.topic),
        rq::QUERY_CONSUME_TIME_SPAN => {
            time_spans(shared, cmd, &GroupTopicHeader::decode(&cmd.ext)?)
        }
        _ => entries(shared, cmd, &QueryConsumeQueueHeader::decode(&cmd.ext)?),
    })
}

fn stats(shared: &Shared, cmd: &Command, topic: &str) -> Command {
    let Some(view) = shared.topics.get(topic) else { return error_to_wire::no_topic(cmd, topic) };
    let mut table = TopicStatsTable::default();
    for queue_id in 0..view.config.read_queue_nums.max(view.config.write_queue_nums) {
        let (min_offset, max_offset) = shared.facts.range(topic, queue_id);
        let last = shared.facts.store_time(topic, queue_id, max_offset - 1);
        let offset = TopicOffset {
            last_update_timestamp: last.filter(|_| max_offset > min_offset).unwrap_or(0),
            max_offset,
            min_offset,
        };
        table.offset_table.0.insert(queue(shared, topic, queue_id), offset);
    }
    match fastjson::to_vec_object_keys(&table) {
        Ok(body) => Command::response(rs::SUCCESS, cmd).with_body(body),
        Err(e) => error_to_wire::unwritable(cmd, &e),
    }
}

fn time_spans(shared: &Shared, cmd: &Command, header: &GroupTopicHeader) -> Command {
    let GroupTopicHeader { topic, group } = header;
    let Some(view) = shared.topics.get(topic) else { return error_to_wire::no_topic(cmd, topic) };
    let now = shared.clock.now_ms();
    let spans = (0..view.config.write_queue_nums).map(|queue_id| {
        let (min, max) = shared.facts.range(topic, queue_id);
        let time = |offset: i64| shared.facts.store_time(topic, queue_id, offset);
        let committed = shared.control.offsets().get(group, topic, queue_id).unwrap_or(0);
        let last = (committed > 0).then(|| time(committed - 1)).flatten();
        QueueTimeSpan {
            message_queue: queue(shared, topic, queue_id),
            min_time_stamp: time(min).unwrap_or(-1),
            max_time_stamp: time(max - 1).unwrap_or(-1),
            consume_time_stamp: last.or_else(|| time(min)).unwrap_or(-1),
            delay_time: delay(now, committed, max, time),
        }
    });
    let body = ConsumeTimeSpanBody { consume_time_span_set: spans.collect() };
    Command::response(rs::SUCCESS, cmd).with_body(body::to_json(&body))
}

/// For how long the next message to consume has been waiting; 0 if there is none.
fn delay(now: i64, committed: i64, max: i64, time: impl Fn(i64) -> Option<i64>) -> i64 {
    if committed >= max {
        return 0;
    }
    time(committed).map_or(0, |stored| (now - stored).max(0))
}

fn entries(shared: &Shared, cmd: &Command, header: &QueryConsumeQueueHeader) -> Command {
    let topic = header.topic.as_str();
    let Some(topic_view) = shared.topics.get(topic) else {
        return error_to_wire::no_topic(cmd, topic);
    };
    let slot = u32::try_from(header.queue_id).ok().and_then(|id| topic_view.queue(id));
    let Some(slot) = slot else {
        return error_to_wire::no_queue(cmd, topic, header.queue_id);
    };
    let subscription = header.consumer_group.as_deref().filter(|group| !group.is_empty());
    let subscription = subscription.and_then(|group| shared.control.group(group));
    let subscription =
        subscription.and_then(|group| group.membership().subscription(topic).cloned());
    // One that was never written has no view, and no entries.
    let view = shared.facts.queues.view(slot);
    let (min, max) = view.as_ref().map(|v| (v.min_offset(), v.max_offset())).unwrap_or_default();
    let first = QueueOffset(u64::try_from(header.index).unwrap_or(0)).max(min);
    let count = u64::try_from(header.count).unwrap_or(0).min(ENTRIES_MAX);
    let end = QueueOffset(first.0.saturating_add(count)).min(max);
    let read = (first.0..end.0).filter_map(|at| view.as_ref()?.entry(QueueOffset(at)));
    let body = QueryConsumeQueueBody {
        min_queue_index: min.0 as i64,
        max_queue_index: max.0 as i64,
        queue_data: read.map(|found| entry(found, subscription.as_deref())).collect(),
        subscription_data: subscription.as_deref().cloned(),
    };
    Command::response(rs::SUCCESS, cmd).with_body(body::to_json(&body))
}

/// An entry as tools see it; whether a filter by tags lets it through is told by the hash alone.
fn entry(found: IndexEntry, subscription: Option<&SubscriptionData>) -> ConsumeQueueEntry {
    let matches = |data: &SubscriptionData| {
        data.matches_all() || data.code_set.iter().any(|code| i64::from(*code) == found.tags_code)
    };
    ConsumeQueueEntry {
        eval: subscription.is_none_or(matches),
        msg: None,
        physic_offset: found.offset.0 as i64,
        physic_size: found.size as i32,
        tags_code: found.tags_code,
    }
}

fn queue(shared: &Shared, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue {
        topic: topic.to_owned(),
        broker_name: shared.config.broker_name.to_string(),
        queue_id,
    }
}

#[cfg(test)]
mod tests {
    use gantry_storage::PhysicalOffset;

    use super::*;

    #[test]
    fn the_delay_is_that_of_the_next_message() {
        let time = |offset: i64| (offset < 3).then_some(100 * offset);
        assert_eq!(delay(1_000, 1, 3, time), 900);
        assert_eq!(delay(1_000, 3, 3, time), 0, "nothing is left");
        assert_eq!(delay(50, 2, 3, time), 0, "clocks may go back");
    }

    #[test]
    fn entries_are_held_against_the_tags_of_the_group() {
        let found = IndexEntry { offset: PhysicalOffset(7), size: 9, tags_code: 65 };
        assert!(entry(found, None).eval);
        for (expression, eval) in [("A", true), ("B", false), ("*", true), ("B || A", true)] {
            let data = SubscriptionData::build("t", expression).unwrap();
            assert_eq!(entry(found, Some(&data)).eval, eval, "{expression}");
        }
    }
}
