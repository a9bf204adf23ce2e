//! What is found by key is found after any end of the daemon.

use std::fs;

use gantry_client::{Client, Message};
use gantry_codec::response_code;

use crate::{
    SMALL_FILES,
    harness::{
        by_key,
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
};

/// Files of ten keys or so.
const SETTINGS: [&str; 3] = [SMALL_FILES, "maxHashSlotNum=16", "maxIndexNum=32"];

async fn send(client: &Client, numbers: std::ops::Range<u32>) {
    let producer = client.producer("senders");
    for number in numbers {
        let body = format!("body {number}");
        let message = Message::new("orders", body).with_keys(&format!("key-{number} all"));
        producer.send(&message).await.unwrap();
    }
}

/// Every message up to `end` is found, by both of its keys, once the index is complete.
async fn check(daemon: &Daemon, client: &Client, end: u32) {
    let find = async |key: &str| by_key::bodies(client, &daemon.broker, "orders", key).await;
    let all: Vec<_> = (0..end).map(|number| format!("body {number}")).collect();
    eventually("all messages by one key", async || find("all").await == all).await;
    for (number, body) in all.into_iter().enumerate() {
        assert_eq!(find(&format!("key-{number}")).await, [body]);
    }
    assert!(find("key").await.is_empty());
}

#[tokio::test]
async fn messages_are_found_by_key_whatever_happened() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &SETTINGS);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    send(&client, 0..20).await;
    check(&daemon, &client, 20).await;
    daemon.kill();

    let daemon = Daemon::start(&home, &SETTINGS);
    let client = daemon.client();
    eventually("the route", async || client.routes().get("orders").await.is_ok()).await;
    check(&daemon, &client, 20).await;
    send(&client, 20..40).await;
    check(&daemon, &client, 40).await;
    assert_eq!(daemon.terminate().code(), Some(0));

    // The log alone is enough.
    fs::remove_dir_all(home.store("index")).unwrap();
    let daemon = Daemon::start(&home, &[&SETTINGS[..], &["messageIndexSafe=true"]].concat());
    let client = daemon.client();
    let found = by_key::bodies(&client, &daemon.broker, "orders", "key-39").await;
    assert_eq!(found, ["body 39"], "complete before it serves");
    check(&daemon, &client, 40).await;
}

#[tokio::test]
async fn without_an_index_nothing_is_found_and_nothing_is_made() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &["messageIndexEnable=false"]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    send(&client, 0..1).await;
    let answer = by_key::ask(&client, &daemon.broker, "orders", "all").await;
    assert_eq!(answer.code, response_code::QUERY_NOT_FOUND);
    assert!(answer.remark.unwrap().contains("messageIndexEnable"));
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!fs::exists(home.store("index")).unwrap());
}
