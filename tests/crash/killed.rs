//! SIGKILL in the middle of a flood, twice, without any flush that producers wait for.

use std::{cell::RefCell, fs, time::Duration};

use futures_util::future::join_all;
use gantry_client::{Client, Message, MessageQueue};
use tokio::time::sleep;

use crate::{
    SMALL_FILES,
    harness::{
        daemon::{Daemon, Home},
        traffic::{Ledger, Sender, Stamp, create_topic, eventually},
    },
    read_all,
};

const SETTINGS: [&str; 2] = ["flushDiskType=ASYNC_FLUSH", SMALL_FILES];
/// Four queues of one topic, and some of others.
const TOPICS: [(&str, i32); 3] = [("orders", 4), ("payments", 2), ("audit", 1)];
const SENDERS: u32 = 4;
/// Acknowledged messages of a round before the kill: several log files full.
const ROUND: usize = 6000;
/// The sender of the one message per queue that asks for its next offset.
const PROBE: u32 = 99;

#[tokio::test]
async fn acknowledged_messages_survive_two_kills() {
    let home = Home::new();
    let mut daemon = Daemon::start(&home, &SETTINGS);
    let ledger = RefCell::new(Ledger::new(topics(&daemon).await));
    let mut numbers = [0; SENDERS as usize];
    for round in 0..2 {
        numbers = flood_and_kill(daemon, &ledger, numbers).await;
        assert!(fs::exists(home.store("abort")).unwrap(), "it had no time to tidy up");
        daemon = Daemon::start(&home, &SETTINGS);
        let client = daemon.client();
        check(&client, &ledger).await;
        offsets_continue(&client, &ledger, round).await;
    }
    check(&daemon.client(), &ledger).await;
    let files = fs::read_dir(home.store("commitlog")).unwrap().count();
    assert!(files > 4, "the log went over several files, not {files}");
}

async fn topics(daemon: &Daemon) -> Vec<MessageQueue> {
    let client = daemon.client();
    let mut queues = Vec::new();
    for (topic, count) in TOPICS {
        create_topic(&client, &daemon.broker, topic, count).await;
        queues.extend(client.routes().get(topic).await.unwrap().publish.clone());
    }
    queues
}

/// All senders send until the daemon is gone; the numbers at which they stopped.
async fn flood_and_kill(
    daemon: Daemon,
    ledger: &RefCell<Ledger>,
    numbers: [u64; SENDERS as usize],
) -> [u64; SENDERS as usize] {
    let enough = ledger.borrow().count() + ROUND;
    let mut senders = Vec::new();
    for (sender, next) in (0..).zip(numbers) {
        let client = daemon.client();
        routes(&client).await;
        senders.push(Sender::new(&client, sender, next));
    }
    let sent = join_all(senders.iter_mut().map(|sender| sender.run(u64::MAX, ledger)));
    let killed = async {
        while ledger.borrow().count() < enough {
            sleep(Duration::from_millis(1)).await;
        }
        daemon.kill();
    };
    let (outcomes, ()) = tokio::join!(sent, killed);
    assert!(outcomes.iter().all(Result::is_err), "all were cut off: {outcomes:?}");
    std::array::from_fn(|sender| senders[sender].next)
}

/// Waits until the broker is registered again.
async fn routes(client: &Client) {
    for (topic, _) in TOPICS {
        eventually("the topic's route", async || client.routes().get(topic).await.is_ok()).await;
    }
}

async fn check(client: &Client, ledger: &RefCell<Ledger>) {
    routes(client).await;
    let queues = ledger.borrow().queues().to_vec();
    for (place, queue) in queues.iter().enumerate() {
        let messages = read_all(client, queue).await;
        ledger.borrow().check(place, &messages);
    }
}

/// The next message of every queue gets the offset behind the last one that is stored.
async fn offsets_continue(client: &Client, ledger: &RefCell<Ledger>, round: u64) {
    let queues = ledger.borrow().queues().to_vec();
    let producer = client.producer("probe");
    for (place, queue) in (0..).zip(&queues) {
        let stamp = Stamp { sender: PROBE, number: round * queues.len() as u64 + place };
        let end = client.max_offset(queue).await.unwrap();
        let message = Message::new(queue.topic.as_str(), stamp.body());
        let receipt = producer.send_to(queue, &message).await.unwrap();
        assert_eq!(receipt.queue_offset, end, "{queue:?}");
        ledger.borrow_mut().acknowledge(stamp, &receipt);
    }
}
