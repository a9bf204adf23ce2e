//! A daemon that is killed while clients send: whatever they send again is stored once.

use gantry_client::{Message, SendReceipt, TopicSpec};
use gantry_codec::properties as names;

use crate::{
    harness::daemon::{Daemon, Home},
    traffic::eventually,
};

const TOPIC: &str = "orders";
const MESSAGES: usize = 400;

fn message(number: usize) -> Message {
    Message::new(TOPIC, number.to_string())
        .with_property(names::UNIQ_KEY, &format!("KEY{number:05}"))
}

#[tokio::test]
async fn a_send_that_is_tried_again_after_a_kill_is_stored_once() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    let spec = TopicSpec {
        attributes: Some("+gantry.dedup.window.ms=600000".into()),
        ..TopicSpec::new(TOPIC, 1)
    };
    client.admin().create_topic(&daemon.broker, &spec).await.unwrap();
    eventually("the route", async || client.routes().refresh(TOPIC).await.is_ok()).await;
    let producer = client.producer("senders");
    let queue = client.routes().get(TOPIC).await.unwrap().publish[0].clone();
    let mut receipts = Vec::new();
    let mut under_way = Vec::new();
    for number in 0..MESSAGES / 2 {
        receipts.push(producer.send_to(&queue, &message(number)).await.unwrap());
    }
    for number in MESSAGES / 2..MESSAGES {
        under_way.push(producer.send_async_to(&queue, &message(number)).await.unwrap());
    }
    // Some of these are stored and some are not; nobody knows which.
    daemon.kill();
    drop(under_way);

    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    eventually("the route", async || client.routes().refresh(TOPIC).await.is_ok()).await;
    let producer = client.producer("senders");
    for number in 0..MESSAGES {
        let receipt = producer.send_to(&queue, &message(number)).await.unwrap();
        if let Some(first) = receipts.get(number) {
            // The broker has another port now, which is part of the ids.
            let place = |receipt: &SendReceipt| {
                (receipt.queue_offset, receipt.offset_message_id.split_at(16).1.to_owned())
            };
            assert_eq!(place(&receipt), place(first));
        }
    }
    let all = MESSAGES as i64;
    eventually("all", async || client.max_offset(&queue).await.unwrap() == all).await;
}
