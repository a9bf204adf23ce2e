//! A delayed message that is pending when the daemon is killed comes when its time has come; one whose
//! delivery was noted before does not come again.

use std::{fs, time::Duration};

use gantry_client::{
    Client, Message, MessageExt, MessageQueue, PullRequest, PullStatus, WallClock,
};

use crate::harness::{
    daemon::{Daemon, Home},
    traffic::{PATIENCE, create_topic, eventually},
};

/// Level 1 takes long enough for a kill to come first.
const LEVELS: &str = "messageDelayLevel=2s 5s";
const DELAY_MS: i64 = 2000;

#[tokio::test]
async fn a_pending_delayed_message_survives_a_kill() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[LEVELS]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "reminders", 1).await;
    let queue = client.routes().get("reminders").await.unwrap().publish[0].clone();
    send(&client, "first").await;
    assert_eq!(client.max_offset(&queue).await.unwrap(), 0, "it is pending");
    daemon.kill();
    let killed_ms = WallClock::System.now_ms();

    let daemon = Daemon::start(&home, &[LEVELS]);
    let client = daemon.client();
    eventually("the route", async || client.routes().get("reminders").await.is_ok()).await;
    let first = next(&client, &queue, 0).await;
    assert_eq!(first.body, "first");
    assert!(first.store_timestamp >= killed_ms, "it was delivered by the second daemon");
    assert!(first.store_timestamp >= first.born_timestamp + DELAY_MS, "{first:?}");

    // A later one follows it directly: the first was not delivered twice.
    send(&client, "second").await;
    assert_eq!(next(&client, &queue, 1).await.body, "second");
}

#[tokio::test]
async fn a_delivery_that_was_noted_is_not_repeated_after_a_kill() {
    let home = Home::new();
    let settings = ["messageDelayLevel=0s", "flushDelayOffsetInterval=20"];
    let daemon = Daemon::start(&home, &settings);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "reminders", 1).await;
    let queue = client.routes().get("reminders").await.unwrap().publish[0].clone();
    send(&client, "first").await;
    assert_eq!(next(&client, &queue, 0).await.body, "first");
    let file = home.store("config/delayOffset.json");
    let noted = || {
        let offsets: Option<serde_json::Value> =
            fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        offsets.is_some_and(|offsets| offsets["offsetTable"]["1"] == 1)
    };
    eventually("the note of the delivery", async || noted()).await;
    daemon.kill();

    let daemon = Daemon::start(&home, &settings);
    let client = daemon.client();
    eventually("the route", async || client.routes().get("reminders").await.is_ok()).await;
    send(&client, "second").await;
    assert_eq!(next(&client, &queue, 1).await.body, "second");
}

async fn send(client: &Client, body: &'static str) {
    let message = Message::new("reminders", body).with_delay_level(1);
    client.producer("senders").send(&message).await.unwrap();
}

/// The message at an offset, once it is there.
async fn next(client: &Client, queue: &MessageQueue, offset: i64) -> MessageExt {
    let consumer = client.pull_consumer("readers");
    let request = PullRequest::new(queue.clone(), offset).held(Duration::from_secs(1));
    let pulling = async {
        loop {
            let pulled = consumer.pull(&request).await.unwrap();
            if pulled.status == PullStatus::Found {
                return pulled.messages[0].clone();
            }
        }
    };
    tokio::time::timeout(PATIENCE, pulling).await.expect("it is delivered")
}
