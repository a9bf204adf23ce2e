//! Timed messages that are pending when the daemon ends: each comes when its time has come, whether the
//! daemon was killed or stopped, and one that was taken back does not come.

use std::{collections::BTreeMap, time::Duration};

use gantry_client::{Client, Message, MessageQueue, PullRequest, PullStatus, WallClock};
use gantry_codec::{
    Command, properties as names, request_code, requests::send::RecallMessageHeader,
};

use crate::{
    SMALL_FILES,
    harness::{
        daemon::{Daemon, Home},
        traffic::{PATIENCE, create_topic, eventually},
    },
};

const RECALLS: &str = "recallMessageEnable=true";
const TOPIC: &str = "appointments";

/// By body: when it was to come, and how often it came.
type Sent = BTreeMap<String, (i64, usize)>;

async fn queue(client: &Client) -> MessageQueue {
    eventually("the route", async || client.routes().get(TOPIC).await.is_ok()).await;
    client.routes().get(TOPIC).await.unwrap().publish[0].clone()
}

/// Sends a message for a time.
async fn send(client: &Client, body: &str, due_ms: i64) {
    let message = Message::new(TOPIC, body.to_owned())
        .with_property(names::TIMER_DELIVER_MS, &due_ms.to_string());
    client.producer("senders").send(&message).await.unwrap();
}

/// Notes what the queue holds from `offset` on, until `done`; nothing may be early.
async fn receive(client: &Client, offset: &mut i64, sent: &mut Sent, done: impl Fn(&Sent) -> bool) {
    let (queue, consumer) = (queue(client).await, client.pull_consumer("readers"));
    let pulling = async {
        while !done(sent) {
            let request = PullRequest::new(queue.clone(), *offset).held(Duration::from_millis(500));
            let pulled = consumer.pull(&request).await.unwrap();
            if pulled.status != PullStatus::Found {
                continue;
            }
            for message in pulled.messages {
                let body = String::from_utf8_lossy(&message.body).into_owned();
                let (due_ms, times) = sent.get_mut(&body).expect("a message that was sent");
                assert!(message.store_timestamp >= *due_ms, "{body} is early");
                *times += 1;
                *offset = message.queue_offset + 1;
            }
        }
    };
    tokio::time::timeout(PATIENCE * 2, pulling).await.expect("all are delivered");
}

/// Sends twenty messages for the next two seconds and more, from one life to the next.
async fn send_some(client: &Client, life: usize, sent: &mut Sent) {
    let now_ms = WallClock::System.now_ms();
    for number in 0..20 {
        let (body, due_ms) = (format!("{life}-{number}"), now_ms + 300 + number * 97);
        send(client, &body, due_ms).await;
        sent.insert(body, (due_ms, 0));
    }
}

#[tokio::test]
async fn timed_messages_survive_kills_in_their_midst() {
    let home = Home::new();
    let (mut sent, mut offset) = (Sent::new(), 0);
    for life in 0..3 {
        let daemon = Daemon::start(&home, &[SMALL_FILES]);
        let client = daemon.client();
        if life == 0 {
            create_topic(&client, &daemon.broker, TOPIC, 1).await;
        }
        send_some(&client, life, &mut sent).await;
        let here = |sent: &Sent| sent.range(format!("{life}-")..).any(|(_, (_, n))| *n > 0);
        receive(&client, &mut offset, &mut sent, here).await;
        daemon.kill();
    }
    let daemon = Daemon::start(&home, &[SMALL_FILES]);
    let all = |sent: &Sent| sent.values().all(|(_, times)| *times > 0);
    receive(&daemon.client(), &mut offset, &mut sent, all).await;
}

#[tokio::test]
async fn timed_messages_come_once_over_orderly_restarts() {
    let home = Home::new();
    let (mut sent, mut offset) = (Sent::new(), 0);
    for life in 0..2 {
        let daemon = Daemon::start(&home, &[SMALL_FILES]);
        let client = daemon.client();
        if life == 0 {
            create_topic(&client, &daemon.broker, TOPIC, 1).await;
        }
        send_some(&client, life, &mut sent).await;
        let here = |sent: &Sent| sent.range(format!("{life}-")..).any(|(_, (_, n))| *n > 2);
        let _ = tokio::time::timeout(
            Duration::from_millis(900),
            receive(&client, &mut offset, &mut sent, here),
        )
        .await;
        assert!(daemon.terminate().success());
    }
    let daemon = Daemon::start(&home, &[SMALL_FILES]);
    let all = |sent: &Sent| sent.values().all(|(_, times)| *times > 0);
    receive(&daemon.client(), &mut offset, &mut sent, all).await;
    assert!(sent.values().all(|(_, times)| *times == 1), "{sent:?}");
}

#[tokio::test]
async fn a_recall_survives_a_kill() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[SMALL_FILES, RECALLS]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, TOPIC, 1).await;
    let due_ms = WallClock::System.now_ms() + 3_000;
    let key = "7F000001BE4C18B4AAC2000000000001";
    let message = Message::new(TOPIC, "recalled")
        .with_property(names::TIMER_DELIVER_MS, &due_ms.to_string())
        .with_property(names::UNIQ_KEY, key);
    client.producer("senders").send(&message).await.unwrap();
    let handle = gantry_codec::RecallHandle::encode(TOPIC, "broker-a", due_ms, key);
    let answer = recall(&client, &daemon.broker, &handle).await;
    assert_eq!(answer.ext.get("msgId"), Some(key));
    send(&client, "kept", due_ms).await;
    daemon.kill();

    let daemon = Daemon::start(&home, &[SMALL_FILES, RECALLS]);
    let client = daemon.client();
    let mut sent = Sent::from([("kept".to_owned(), (due_ms, 0)), ("later".to_owned(), (0, 0))]);
    let mut offset = 0;
    receive(&client, &mut offset, &mut sent, |sent| sent["kept"].1 > 0).await;
    // Whatever came meanwhile would lie before this one.
    client.producer("senders").send(&Message::new(TOPIC, "later")).await.unwrap();
    receive(&client, &mut offset, &mut sent, |sent| sent["later"].1 > 0).await;
    assert_eq!(offset, 2, "the recalled one is not among them");
}

async fn recall(client: &Client, broker: &str, handle: &str) -> Command {
    let header = RecallMessageHeader {
        producer_group: Some("senders".into()),
        topic: TOPIC.into(),
        recall_handle: handle.into(),
    };
    let mut request = Command::request(request_code::RECALL_MESSAGE);
    gantry_codec::Header::encode(&header, &mut request.ext);
    client.remoting().call(broker, request).await.unwrap()
}
