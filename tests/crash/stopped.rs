//! An orderly stop: exit code 0, no trace of an abrupt end, and all of it is there the next time.

use std::{cell::RefCell, fs};

use gantry_client::Client;
use gantry_codec::{Command, body::SubscriptionGroupConfig, request_code};

use crate::{
    SMALL_FILES, create_group,
    harness::{
        daemon::{Daemon, Home},
        traffic::{Ledger, Sender, create_topic, eventually},
    },
    read_all,
};

const GROUP: &str = "billing";
/// Not what a group gets by itself.
const RETRIES: i32 = 7;
const MESSAGES: u64 = 3000;

#[tokio::test]
async fn an_orderly_stop_keeps_everything() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[SMALL_FILES]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 3).await;
    let queues = client.routes().get("orders").await.unwrap().publish.clone();
    let ledger = RefCell::new(Ledger::new(queues.clone()));
    Sender::new(&client, 0, 0).run(MESSAGES, &ledger).await.unwrap();
    assert_eq!(ledger.borrow().count() as u64, MESSAGES);
    let config = SubscriptionGroupConfig {
        group_name: GROUP.to_owned(),
        retry_max_times: RETRIES,
        ..SubscriptionGroupConfig::default()
    };
    create_group(&client, &daemon.broker, &config).await;
    for (offset, queue) in (100..).zip(&queues) {
        client.commit_offset(GROUP, queue, offset).await.unwrap();
    }
    assert!(fs::exists(home.store("abort")).unwrap(), "while it runs, an end would be abrupt");

    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!fs::exists(home.store("abort")).unwrap(), "the store was left in order");

    let daemon = Daemon::start(&home, &[SMALL_FILES]);
    let client = daemon.client();
    eventually("the route", async || client.routes().get("orders").await.is_ok()).await;
    assert_eq!(client.routes().get("orders").await.unwrap().publish, queues);
    for (place, queue) in queues.iter().enumerate() {
        let messages = read_all(&client, queue).await;
        ledger.borrow().check(place, &messages);
        let offset = client.consumer_offset(GROUP, queue).await.unwrap();
        assert_eq!(offset, Some(100 + place as i64), "{queue:?}");
    }
    assert_eq!(retries_of(&client, &daemon.broker).await, Some(RETRIES));
}

/// How often the group's messages are tried again; `None` if there is no such group.
async fn retries_of(client: &Client, broker: &str) -> Option<i32> {
    let request = Command::request(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
    let answer = client.remoting().call(broker, request).await.unwrap();
    let table: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let retries = &table["subscriptionGroupTable"][GROUP]["retryMaxTimes"];
    retries.as_i64().map(|times| times as i32)
}
