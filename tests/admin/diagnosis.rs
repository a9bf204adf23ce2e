//! Trouble with the consumption: found by the broker, told once in its log, and to who asks.

use std::time::Duration;

use gantry_client::{Client, ClientConfig, PullRequest};
use gantry_codec::body::{ConsumerData, SubscriptionData};
use serde_json::{Value, json as value};

use crate::{
    admin,
    harness::{
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
    json, queue, send,
};

/// What is found now; a command that finds something says so by its exit code.
fn findings(daemon: &Daemon) -> Vec<Value> {
    let answer = admin(daemon, &["diagnose", "-g", "billing", "--json"]);
    let found: Vec<Value> = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(answer.code, i32::from(!found.is_empty()));
    found
}

/// A member of group `billing`.
async fn member(daemon: &Daemon, id: &str, expression: &str) -> Client {
    member_with(daemon, id, SubscriptionData::build("orders", expression).unwrap()).await
}

async fn member_with(daemon: &Daemon, id: &str, subscription: SubscriptionData) -> Client {
    let config =
        ClientConfig { client_id: id.into(), ..ClientConfig::with_namesrv(&daemon.namesrv) };
    let client = Client::new(config);
    client.routes().refresh("orders").await.unwrap();
    let data = ConsumerData {
        group_name: "billing".into(),
        subscription_data_set: vec![subscription],
        ..ConsumerData::default()
    };
    client.pull_consumer("billing").register(data).await.unwrap();
    client
}

#[tokio::test]
async fn conflicting_subscriptions_are_named_with_both_clients() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    create_topic(&daemon.client(), &daemon.broker, "orders", 1).await;
    let one = member(&daemon, "one", "A").await;
    assert_eq!(findings(&daemon), [value!(null); 0]);
    let two = member(&daemon, "two", "B").await;
    let found = findings(&daemon);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["kind"], value!("conflictingSubscriptions"));
    let clients = value!([
        {"clientId": "one", "expression": "A"},
        {"clientId": "two", "expression": "B"},
    ]);
    assert_eq!((&found[0]["clients"], &found[0]["topic"]), (&clients, &value!("orders")));
    let text = admin(&daemon, &["diagnose"]).out;
    assert!(text.contains("one subscribes \"A\", two subscribes \"B\""), "{text}");
    two.pull_consumer("billing").unregister().await.unwrap();
    assert_eq!(findings(&daemon), [value!(null); 0]);
    drop(one);
    let log = std::fs::read_to_string(home.store("../daemons.log")).unwrap();
    let told = |what: &str| log.matches(what).count();
    assert_eq!((told("is in trouble"), told("is out of trouble")), (1, 1));
}

#[tokio::test]
async fn a_queue_that_nobody_pulls_is_found_and_a_consumer_that_never_commits() {
    let home = Home::new();
    let limits = ["stuckQueueSeconds=1", "missingCommitSeconds=1"];
    let daemon = Daemon::start(&home, &limits);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    send(&client, "orders", &["A", "B", "A"]).await;
    let one = member(&daemon, "one", "*").await;
    let kinds = |found: &[Value]| -> Vec<String> {
        found.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the queue that nobody has", async || kinds(&findings(&daemon)) == ["unownedQueue"])
        .await;
    let consumer = one.pull_consumer("billing");
    let mut offset = 0;
    eventually("the consumer that never commits", async || {
        let request = PullRequest::new(queue("orders"), offset);
        offset = consumer.pull(&request).await.unwrap().next_begin_offset;
        tokio::time::sleep(Duration::from_millis(50)).await;
        kinds(&findings(&daemon)) == ["missingCommits"]
    })
    .await;
    assert_eq!(findings(&daemon)[0]["clients"][0]["clientId"], value!("one"));
    client.commit_offset("billing", &queue("orders"), 3).await.unwrap();
    assert_eq!(findings(&daemon), [value!(null); 0]);
}

#[tokio::test]
async fn the_lag_is_exact_and_knows_the_filter() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    send(&client, "orders", &["A", "B", "A", "B", "B"]).await;
    let one = member(&daemon, "one", "B || C").await;
    client.commit_offset("billing", &queue("orders"), 1).await.unwrap();
    let request = PullRequest::new(queue("orders"), 2);
    one.pull_consumer("billing").pull(&request).await.unwrap();
    let lag = json(&daemon, &["consumerProgress", "-g", "billing", "-t", "orders"]);
    let found = &lag["queues"][0];
    let expected = value!({"behind": 4, "matching": 3, "consumerOffset": 1, "brokerOffset": 5,
        "filter": "B || C", "clientId": "one", "unseen": 0});
    for (name, expected) in expected.as_object().unwrap() {
        assert_eq!(&found[name], expected, "{name}");
    }
    assert!(found["behindMs"].as_i64().unwrap() > 0);
    let text = admin(&daemon, &["consumerProgress", "-g", "billing", "-s"]).out;
    assert!(text.contains("behind: 4 messages") && text.contains("one"), "{text}");
}

#[tokio::test]
async fn the_lag_counts_what_an_sql92_filter_lets_through() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &["enablePropertyFilter=true"]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    send(&client, "orders", &["A", "B", "A", "B", "B"]).await;
    let subscription = SubscriptionData {
        topic: "orders".into(),
        sub_string: "TAGS = 'B' AND colour = 'red'".into(),
        expression_type: "SQL92".into(),
        sub_version: 1,
        ..SubscriptionData::default()
    };
    let _one = member_with(&daemon, "one", subscription).await;
    client.commit_offset("billing", &queue("orders"), 2).await.unwrap();
    let lag = json(&daemon, &["consumerProgress", "-g", "billing", "-t", "orders"]);
    let found = &lag["queues"][0];
    assert_eq!((&found["behind"], &found["matching"]), (&value!(3), &value!(2)));
    assert_eq!(found["unseen"], value!(0));
}
