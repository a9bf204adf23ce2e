//! See `main`.

use std::collections::BTreeSet;

use gantry_client::{Message, MessageQueue, PullRequest};
use gantry_codec::Command;

use crate::{
    exposition,
    rig::{Rig, with_broker},
    traffic::eventually,
};

const DASHBOARD: &str = include_str!("../../conf/grafana-dashboard.json");

async fn send(rig: &Rig, queue: &MessageQueue, count: usize) {
    for _ in 0..count {
        let message = Message::new(queue.topic.as_str(), vec![b'x'; 100]);
        rig.client.producer("senders").send_to(queue, &message).await.unwrap();
    }
}

/// Pulls what is there; how many messages that are.
async fn pull(rig: &Rig, queue: &MessageQueue) -> usize {
    let consumer = rig.client.pull_consumer("readers");
    let slot = rig.broker.shared.topics.get(&queue.topic).unwrap();
    let slot = slot.queue(queue.queue_id as u32).unwrap().clone();
    eventually("the index", async || slot.range().unwrap().1 == slot.next_offset().unwrap()).await;
    consumer.pull(&PullRequest::new(queue.clone(), 0)).await.unwrap().messages.len()
}

#[test]
fn figures_follow_what_happens() {
    with_broker(&[], async |rig| {
        let queues = rig.topic("orders", 2).await;
        send(rig, &queues[0], 5).await;
        send(rig, &queues[1], 2).await;
        assert_eq!(pull(rig, &queues[0]).await, 5);
        let page = rig.page("/metrics").await;
        let orders = [("topic", "orders"), ("cluster", "DefaultCluster"), ("node_type", "broker")];
        assert_eq!(page.value("rocketmq_messages_in_total", &orders), 7.0);
        assert!(page.value("rocketmq_throughput_in_total", &orders) > 700.0);
        let readers = [("consumer_group", "readers"), ("topic", "orders")];
        assert_eq!(page.value("rocketmq_messages_out_total", &readers), 5.0);
        assert!(page.value("rocketmq_throughput_out_total", &readers) > 500.0);
        assert_eq!(page.value("gantry_send_stored_seconds_count", &[]), 7.0);
        assert_eq!(page.value("gantry_send_flushed_seconds_count", &[]), 7.0, "SYNC_FLUSH");
        assert!(page.value("gantry_log_sync_seconds_count", &[]) >= 1.0);
        assert_eq!(page.value("gantry_message_delivered_seconds_count", &[]), 5.0);
        assert_eq!(page.value("gantry_log_writable", &[]), 1.0);
        assert!(page.value("rocketmq_storage_size", &[]) > 700.0);
        assert!(page.value("gantry_connections", &[]) >= 1.0);
        assert_eq!(page.value("gantry_actors", &[("kind", "appender")]), 1.0);
        assert_eq!(page.value("gantry_mailbox_messages", &[("kind", "appender")]), 0.0);
        assert!(page.all("gantry_consumption_findings", &[]).len() >= 4);
        assert_eq!(page.value("rocketmq_half_messages", &[]), 0.0);
        assert_eq!(page.value("gantry_timers_waiting", &[]), 0.0);
    });
}

#[test]
fn lag_is_told_by_queue_if_asked_for() {
    with_broker(&[], async |rig| {
        let queues = rig.topic("orders", 2).await;
        send(rig, &queues[0], 5).await;
        pull(rig, &queues[0]).await;
        rig.client.commit_offset("readers", &queues[0], 2).await.unwrap();
        let readers = [("consumer_group", "readers"), ("topic", "orders")];
        eventually("the commit", async || {
            let page = rig.page("/metrics").await;
            let rows = page.all("rocketmq_consumer_lag_messages", &readers);
            rows.first().is_some_and(|row| row.value == 3.0)
        })
        .await;
        assert!(
            rig.page("/metrics").await.all("gantry_consumer_queue_lag_messages", &[]).is_empty()
        );
        let page = rig.page("/metrics?queues=1").await;
        let id = queues[0].queue_id.to_string();
        let queue = [readers[0], readers[1], ("queue_id", id.as_str())];
        assert_eq!(page.value("gantry_consumer_queue_lag_messages", &queue), 3.0);
        assert!(page.value("gantry_consumer_queue_lag_latency", &queue) < 60_000.0);
    });
}

#[test]
fn a_refused_request_is_counted_by_its_codes() {
    with_broker(&[], async |rig| {
        let call = Command::request(9_999);
        let addr = rig.broker.addr.to_string();
        rig.client.remoting().call(&addr, call).await.unwrap_err();
        let codes = [("request_code", "9999"), ("response_code", "3")];
        assert_eq!(rig.page("/metrics").await.value("gantry_refused_requests_total", &codes), 1.0);
    });
}

#[test]
fn topics_beyond_the_limit_share_a_row() {
    with_broker(&["metricsTopicsMax=1"], async |rig| {
        for (topic, count) in [("quiet", 1), ("busy", 9)] {
            let queues = rig.topic(topic, 1).await;
            send(rig, &queues[0], count).await;
        }
        let page = rig.page("/metrics").await;
        assert_eq!(page.value("rocketmq_messages_in_total", &[("topic", "busy")]), 9.0);
        assert_eq!(page.value("rocketmq_messages_in_total", &[("topic", "_other")]), 1.0);
        assert_eq!(page.all("rocketmq_messages_in_total", &[]).len(), 2);
    });
}

#[test]
fn readiness_ends_with_the_log_and_health_does_not() {
    with_broker(&[], async |rig| {
        assert_eq!(rig.get("/healthz", "").await.status, 200);
        assert_eq!(rig.get("/readyz", "").await.status, 200);
        rig.broker.shared.log_state.disk_full("91 % of /data are in use");
        let ready = rig.get("/readyz", "").await;
        assert_eq!((ready.status, ready.body.contains("91 % of /data")), (503, true));
        assert_eq!(rig.get("/healthz", "").await.status, 200);
        let page = rig.page("/metrics").await;
        assert_eq!(page.value("gantry_log_writable", &[]), 0.0);
        assert_eq!(page.value("gantry_log_refusing", &[("cause", "disk_full")]), 1.0);
        assert_eq!(page.value("gantry_log_refusing", &[("cause", "failed")]), 0.0);
        rig.broker.shared.log_state.disk_has_room();
        assert_eq!(rig.get("/readyz", "").await.status, 200);
        assert_eq!(rig.get("/nothing", "").await.status, 404);
    });
}

#[test]
fn open_metrics_is_given_to_who_asks_for_it() {
    with_broker(&[], async |rig| {
        let answer = rig.get("/metrics", "accept: application/openmetrics-text\r\n").await;
        assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"));
        let page = exposition::parse(&answer.body, true).unwrap();
        assert_eq!(page.names(), rig.page("/metrics").await.names(), "both say the same");
    });
}

#[test]
fn a_port_that_is_taken_stops_nothing() {
    with_broker(&[], async |first| {
        let port = format!("metricsPromExporterPort={}", first.addr().port());
        let second = Rig::start(&[&port]).await;
        assert!(second.broker.figures.addr.get().is_none());
        let queues = second.topic("orders", 1).await;
        send(&second, &queues[0], 1).await;
        second.stop().await;
    });
}

#[test]
fn switched_off_there_is_no_port() {
    with_broker(&["metricsExporterType=DISABLE"], async |rig| {
        assert!(rig.broker.figures.addr.get().is_none());
    });
}

/// The names of figures in a query.
fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let prefixes = ["rocketmq_", "gantry_", "process_"];
    words.filter(|word| prefixes.iter().any(|p| word.starts_with(p))).map(str::to_owned).collect()
}

/// Every text under one of these keys, wherever it stands.
fn texts(value: &serde_json::Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    serde_json::Value::String(text) if keys.contains(&&**key) => {
                        found.push(text.clone());
                    }
                    value => texts(value, keys, found),
                }
            }
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| texts(value, keys, found));
        }
        _ => {}
    }
}

#[test]
fn all_that_the_dashboard_asks_for_is_on_the_page() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    texts(&dashboard, &["expr", "definition"], &mut queries);
    assert!(queries.len() > 40, "{}", queries.len());
    with_broker(&[], async |rig| {
        let there = rig.page("/metrics").await.names();
        let mut asked_for = BTreeSet::new();
        for query in &queries {
            let names = names(query);
            assert!(!names.is_empty(), "{query}");
            for name in &names {
                assert!(there.contains(name), "{name} of {query}");
            }
            asked_for.extend(names);
        }
        // The other way round: what is there and nowhere to be seen is told here.
        let unseen: Vec<_> = there
            .iter()
            .filter(|name| !asked_for.contains(*name))
            .filter(|name| !asked_for.contains(&format!("{name}_bucket")))
            .collect();
        let known =
            ["gantry_actor_lost_messages_total", "gantry_actors", "process_virtual_memory_bytes"];
        assert_eq!(unseen, known);
    });
}
