//! Pages as they are read: both texts, names with marks in them, and pages that do not grow with what there
//! is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::Addr;
use gantry_codec::body::{SubscriptionGroupConfig, TopicConfig};
use gantry_storage::ManualClock;
use gantry_supervisor::{KindState, Shell};

use super::{
    Metrics, Page, Source, Sources,
    actors::Actors,
    exposition::{self, parse},
    lag::Lag,
    page::{Asked, Format, text},
    traffic::{Incoming, OTHERS, Outgoing},
};
use crate::{
    group::{
        Counted, GroupDirectory, GroupView, OffsetView, QueueFacts, Wanted,
        offset_table::{Commit, OffsetTable},
        view::GroupSlot,
    },
    topic::{Queue, QueueSlot, TopicTable, TopicView, view::QueueSource},
};

fn page(source: impl Source + 'static, asked: Asked) -> exposition::Page {
    page_of(Arc::new(source), asked)
}

fn page_of(source: Arc<dyn Source>, asked: Asked) -> exposition::Page {
    let labels = [("cluster", "c".to_owned()), ("node_id", "n".to_owned())];
    let text = text(labels, asked, vec![source]).unwrap();
    parse(&text, asked.format == Format::OpenMetrics).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

/// Queues that nobody opens.
struct Closed;

impl QueueSource for Closed {
    fn range(&self, _: &QueueSlot) -> Result<(u64, u64), String> {
        Ok((0, 0))
    }

    fn start(&self, _: &Arc<QueueSlot>) -> Addr<Shell<Queue>> {
        panic!("no actor is needed here")
    }
}

/// A topic of two queues.
fn add_topic(table: &TopicTable, name: &str) -> Arc<TopicView> {
    let (name, source): (Arc<str>, Arc<Closed>) = (name.into(), Arc::new(Closed));
    let slots = (0..2).map(|id| QueueSlot::new(name.clone(), id, source.clone())).collect();
    let config = TopicConfig { topic_name: name.to_string(), ..TopicConfig::default() };
    let view = Arc::new(TopicView::new(config, slots, None));
    table.insert(&name, &view);
    view
}

fn count(view: &TopicView, queue: usize, messages: u64) {
    view.queues[queue].count_written(messages, messages * 100);
}

#[test]
fn both_texts_are_read_by_a_strict_reader_and_say_the_same() {
    for format in [Format::Text, Format::OpenMetrics] {
        let metrics = Metrics::default();
        metrics.stored.record(Duration::from_micros(70), 3);
        metrics.delivered.record(Duration::from_secs(100_000), 2);
        metrics.refusals.answered(10, 1);
        let held = metrics.held_pulls.one_more();
        let metrics = Arc::new(metrics);
        let page = page_of(metrics.clone(), Asked { format, queues: false });
        let buckets = page.all("gantry_send_stored_seconds_bucket", &[]);
        let counts: Vec<f64> = buckets.iter().map(|bucket| bucket.value).collect();
        assert_eq!((counts[0], counts[1], counts[17]), (0.0, 3.0, 3.0), "50 µs, 100 µs, all");
        assert_eq!(page.value("gantry_message_delivered_seconds_count", &[("cluster", "c")]), 2.0);
        let codes = [("request_code", "10"), ("response_code", "1"), ("node_id", "n")];
        assert_eq!(page.value("gantry_refused_requests_total", &codes), 1.0);
        assert_eq!(page.value("gantry_held_pulls", &[]), 1.0);
        drop(held);
        let page = page_of(metrics, Asked { format, queues: false });
        assert_eq!(page.value("gantry_held_pulls", &[]), 0.0);
    }
}

#[test]
fn a_name_with_marks_in_it_stays_one_label() {
    let odd = "a\"b\\c\nd,e=\"f\"} 7";
    let source = move |page: &mut Page<'_>| page.gauges("g", "x", [(vec![("l", odd.into())], 1.0)]);
    assert_eq!(page(source, Asked::default()).value("g", &[("l", odd)]), 1.0);
}

#[test]
fn kinds_of_actors_have_rows() {
    let mut actors = Actors::default();
    actors.kinds.insert("queue", KindState { children: 7, down: 1, ..KindState::default() });
    let page = page(actors, Asked::default());
    assert_eq!(page.value("gantry_actors", &[("kind", "queue")]), 7.0);
    assert_eq!(page.value("gantry_actors_given_up", &[("kind", "queue")]), 1.0);
    assert_eq!(page.value("gantry_actor_restarts_total", &[("kind", "queue")]), 0.0);
    assert!(page.all("gantry_mailbox_messages", &[]).is_empty(), "they were not asked");
}

#[test]
fn traffic_is_by_topic_and_dead_letters_by_group() {
    let table = Arc::new(TopicTable::default());
    let (orders, letters) = (add_topic(&table, "orders"), add_topic(&table, "%DLQ%billing"));
    add_topic(&table, "idle");
    count(&orders, 0, 3);
    count(&orders, 1, 4);
    count(&letters, 0, 1);
    let page = page(Incoming::new(table, 10), Asked::default());
    let orders = [("topic", "orders"), ("is_system", "false")];
    assert_eq!(page.value("rocketmq_messages_in_total", &orders), 7.0);
    assert_eq!(page.value("rocketmq_throughput_in_total", &orders), 700.0);
    let billing = [("consumer_group", "billing"), ("topic", "%DLQ%billing")];
    assert_eq!(page.value("rocketmq_send_to_dlq_messages_total", &billing), 1.0);
    assert!(page.all("rocketmq_messages_in_total", &[("topic", "idle")]).is_empty());
    assert!(page.all("rocketmq_messages_in_total", &[("topic", OTHERS)]).is_empty());
}

#[test]
fn fifty_thousand_topics_are_a_page_of_bounded_length_and_nothing_is_missing() {
    const TOPICS: u64 = 50_000;
    let table = Arc::new(TopicTable::default());
    let topics: Vec<_> = (0..TOPICS).map(|n| add_topic(&table, &format!("topic-{n:05}"))).collect();
    let incoming: Arc<dyn Source> = Arc::new(Incoming::new(table, 100));
    for (n, topic) in topics.iter().enumerate() {
        count(topic, n % 2, 1 + n as u64 % 7);
    }
    let first = page_of(incoming.clone(), Asked::default());
    assert_eq!(first.series(), 2 * 101, "messages and bytes of 100 topics and of the others");
    let total = |page: &exposition::Page| -> f64 {
        page.all("rocketmq_messages_in_total", &[]).iter().map(|sample| sample.value).sum()
    };
    let written: u64 =
        topics.iter().map(|t| t.queues.iter().map(|q| q.written()[0]).sum::<u64>()).sum();
    assert_eq!(total(&first), written as f64);
    // The one that becomes busy gets a name.
    count(&topics[49_999], 0, 1_000_000);
    let second = page_of(incoming, Asked::default());
    assert_eq!(second.series(), 2 * 101);
    assert_eq!(second.all("rocketmq_messages_in_total", &[("topic", "topic-49999")]).len(), 1);
}

/// Queues of 100 messages each, the first of them gone, one stored each second.
struct Facts(HashMap<String, i32>);

impl QueueFacts for Facts {
    fn topic(&self, topic: &str) -> Option<TopicConfig> {
        let read_queue_nums = *self.0.get(topic)?;
        Some(TopicConfig { read_queue_nums, ..TopicConfig::default() })
    }

    fn range(&self, _: &str, _: i32) -> (i64, i64) {
        (1, 100)
    }

    fn is_in_memory(&self, _: &str, _: i32, _: i64) -> bool {
        true
    }

    fn store_time(&self, _: &str, _: i32, offset: i64) -> Option<i64> {
        Some(offset * 1000)
    }

    fn count(&self, _: &str, _: i32, _: i64, _: i64, _: Wanted<'_>) -> Option<Counted> {
        None
    }

    fn search(&self, _: &str, _: i32, _: i64) -> i64 {
        0
    }
}

/// Groups that are offline and have committed: group, topic, queue, offset.
fn groups(commits: &[(&str, &str, i32, i64)]) -> (GroupDirectory, OffsetView) {
    let (directory, offsets) = (GroupDirectory::default(), OffsetView::default());
    let mut table = OffsetTable::new(offsets.clone());
    let mut views = imbl::HashMap::new();
    for (group, topic, queue_id, offset) in commits {
        let group: Arc<str> = (*group).into();
        table.commit(&Commit {
            group: group.clone(),
            topic: (*topic).into(),
            queue_id: *queue_id,
            offset: *offset,
            only_forward: false,
        });
        let config = Arc::new(SubscriptionGroupConfig::default());
        let slot = Arc::<GroupSlot>::default();
        views.insert(group.clone(), Arc::new(GroupView::new(group, config, slot)));
    }
    table.publish();
    directory.store(views);
    (directory, offsets)
}

fn lag(commits: &[(&str, &str, i32, i64)], names_max: usize) -> Lag {
    let (groups, offsets) = groups(commits);
    let topics = commits.iter().map(|(_, topic, ..)| ((*topic).to_owned(), 2));
    Lag {
        groups,
        offsets,
        facts: Arc::new(Facts(topics.collect())),
        clock: Arc::new(ManualClock::new(100_000)),
        names_max,
    }
}

#[test]
fn lag_is_in_messages_and_in_time_and_by_queue_if_asked() {
    let commits = [("g", "t", 0, 90), ("g", "t", 1, 40), ("h", "t", 0, 100), ("h", "u", 0, 0)];
    let page_of = |queues| page(lag(&commits, 10), Asked { queues, ..Asked::default() });
    let page = page_of(false);
    let of = |name, group, topic| page.value(name, &[("consumer_group", group), ("topic", topic)]);
    assert_eq!(of("rocketmq_consumer_lag_messages", "g", "t"), 70.0);
    assert_eq!(of("rocketmq_consumer_lag_latency", "g", "t"), 60_000.0, "that of the oldest");
    assert_eq!(of("rocketmq_consumer_lag_messages", "h", "t"), 0.0);
    assert_eq!(of("rocketmq_consumer_lag_latency", "h", "t"), 0.0);
    assert_eq!(of("rocketmq_consumer_lag_messages", "h", "u"), 99.0, "what is gone is not behind");
    assert!(!page.families.contains_key("gantry_consumer_queue_lag_messages"));
    let page = page_of(true);
    let queue = |name, id| page.value(name, &[("consumer_group", "g"), ("queue_id", id)]);
    assert_eq!(queue("gantry_consumer_queue_lag_messages", "0"), 10.0);
    assert_eq!(queue("gantry_consumer_queue_lag_latency", "0"), 10_000.0);
    assert_eq!(queue("gantry_consumer_queue_lag_messages", "1"), 60.0);
    let idle = [("consumer_group", "h"), ("topic", "t")];
    let idle = page.all("gantry_consumer_queue_lag_messages", &idle);
    assert_eq!(idle.len(), 1, "a group that is offline is not behind where it never was");
}

#[test]
fn groups_that_are_furthest_behind_have_rows_and_the_others_are_summed() {
    let names: Vec<String> = (0..500).map(|n| format!("g{n:03}")).collect();
    let commits: Vec<_> =
        names.iter().enumerate().map(|(n, name)| (&**name, "t", 0, (n % 100) as i64)).collect();
    let page = page(lag(&commits, 20), Asked::default());
    let rows = page.all("rocketmq_consumer_lag_messages", &[]);
    assert_eq!(rows.len(), 21);
    let all: i64 = commits.iter().map(|(.., offset)| 100 - (*offset).max(1)).sum();
    assert_eq!(rows.iter().map(|row| row.value).sum::<f64>(), all as f64);
    let least = rows.iter().filter(|row| row.labels["consumer_group"] != OTHERS);
    let least = least.map(|row| row.value).fold(f64::INFINITY, f64::min);
    assert!(least >= 96.0, "{least}");
}

#[test]
fn deliveries_are_by_group_and_topic_and_bounded() {
    let names: Vec<String> = (0..300).map(|n| format!("g{n:03}")).collect();
    let commits: Vec<_> = names.iter().map(|name| (&**name, "t", 0, 0)).collect();
    let (directory, _) = groups(&commits);
    for (n, name) in names.iter().enumerate() {
        let view = directory.get(name).unwrap();
        for queue_id in 0..2 {
            let activity = view.slot().activities.of(&"t".into(), queue_id);
            activity.delivered(n as u64);
            activity.delivered_bytes(n as u64 * 10);
        }
    }
    let page = page(Outgoing::new(directory, 10), Asked::default());
    let rows = page.all("rocketmq_messages_out_total", &[]);
    assert_eq!(rows.len(), 11);
    assert_eq!(rows.iter().map(|row| row.value).sum::<f64>(), (0..300).sum::<u64>() as f64 * 2.0);
    let first = [("consumer_group", "g299"), ("topic", "t"), ("is_retry", "false")];
    assert_eq!(page.value("rocketmq_messages_out_total", &first), 598.0);
    assert_eq!(page.value("rocketmq_throughput_out_total", &first), 5_980.0);
}

#[test]
fn sources_that_register_later_are_on_the_page() {
    let sources = Sources::default();
    let told = Arc::new(Mutex::new(5.0));
    let asked = told.clone();
    let source = move |page: &mut Page<'_>| page.gauge("gantry_x", "x", *asked.lock().unwrap());
    sources.register(Arc::new(source));
    let [source] = &sources.all()[..] else { panic!("one was registered") };
    *told.lock().unwrap() = 6.0;
    assert_eq!(page_of(source.clone(), Asked::default()).value("gantry_x", &[]), 6.0);
}
