//! A bit that flips on the disk: found when the message is asked for, told with its place, never served.

use std::{cell::RefCell, fs::OpenOptions, os::unix::fs::FileExt};

use gantry_client::{Client, MessageQueue, PullRequest, PullStatus};

use crate::{
    SMALL_FILES,
    harness::{
        daemon::{Daemon, Home},
        traffic::{Ledger, Sender, create_topic, eventually},
    },
    read_all,
};

/// More than one log file.
const MESSAGES: u64 = 3000;
const DAMAGED: i64 = 1234;

#[tokio::test]
async fn a_damaged_message_is_an_error_that_says_where_it_is() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[SMALL_FILES]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    let queue = client.routes().get("orders").await.unwrap().publish[0].clone();
    let ledger = RefCell::new(Ledger::new(vec![queue.clone()]));
    Sender::new(&client, 0, 0).run(MESSAGES, &ledger).await.unwrap();
    let messages = read_all(&client, &queue).await;
    assert_eq!(daemon.terminate().code(), Some(0));

    let place = messages[DAMAGED as usize].physical_offset as u64;
    flip_a_bit_of_the_body(&home, place);

    let daemon = Daemon::start(&home, &[SMALL_FILES]);
    let client = ready(&daemon).await;
    let consumer = client.pull_consumer("readers");
    let before = consumer.pull(&PullRequest::new(queue.clone(), DAMAGED - 3)).await.unwrap();
    assert_eq!(before.messages.len(), 3, "what lies before it is served");
    let refused = consumer.pull(&PullRequest::new(queue.clone(), DAMAGED)).await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("message 1234 of queue 0 of topic[orders] cannot be read"), "{said}");
    assert!(said.contains(&format!("the record at {place} of the log is damaged")), "{said}");
    assert!(said.contains("set the group's offset to 1235"), "{said}");
    let behind = consumer.pull(&PullRequest::new(queue.clone(), DAMAGED + 1)).await.unwrap();
    assert_eq!(behind.messages[0].queue_offset, DAMAGED + 1);
    daemon.kill();

    // Who would rather go on than know can say so; and a kill changes nothing about it.
    let daemon = Daemon::start(&home, &[SMALL_FILES, "skipDamagedMessages=true"]);
    let client = ready(&daemon).await;
    let consumer = client.pull_consumer("readers");
    let skipped = consumer.pull(&PullRequest::new(queue.clone(), DAMAGED)).await.unwrap();
    assert_eq!(skipped.next_begin_offset, DAMAGED + 1);
    assert_ne!(skipped.status, PullStatus::Found);
    assert_eq!(end(&client, &queue).await, MESSAGES as i64);
}

async fn ready(daemon: &Daemon) -> Client {
    let client = daemon.client();
    eventually("the route", async || client.routes().get("orders").await.is_ok()).await;
    client
}

async fn end(client: &Client, queue: &MessageQueue) -> i64 {
    client.max_offset(queue).await.unwrap()
}

fn flip_a_bit_of_the_body(home: &Home, place: u64) {
    const FILE: u64 = 1 << 20;
    let name = format!("commitlog/{:020}", place / FILE * FILE);
    let file = OpenOptions::new().read(true).write(true).open(home.store(&name)).unwrap();
    let (mut byte, at) = ([0], place % FILE + 120);
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}
