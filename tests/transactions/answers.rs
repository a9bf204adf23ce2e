//! What a broker answers to the ends of transactions, and what it refuses.

use std::time::Duration;

use gantry_client::{Client, Message, SendReceipt};
use gantry_codec::{
    Command, OffsetMessageId, properties,
    record::sys_flag,
    request_code as rq,
    requests::transaction::{COMMIT, EndTransactionHeader, ROLLBACK},
};

use crate::{
    SOON, TOPIC,
    harness::{
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
    read_all, until_stored,
};

async fn start(home: &Home, settings: &[&str]) -> (Daemon, Client) {
    let daemon = Daemon::start(home, settings);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, TOPIC, 2).await;
    (daemon, client)
}

fn end_of(receipt: &SendReceipt, outcome: i32) -> EndTransactionHeader {
    let physical = OffsetMessageId::parse(&receipt.offset_message_id).unwrap().offset;
    EndTransactionHeader {
        producer_group: "tellers".into(),
        tran_state_table_offset: receipt.queue_offset,
        commit_log_offset: physical as i64,
        commit_or_rollback: outcome,
        ..EndTransactionHeader::default()
    }
}

async fn ask(daemon: &Daemon, client: &Client, header: &EndTransactionHeader) -> (i32, String) {
    let request = Command::request(rq::END_TRANSACTION).with_header(header);
    let answer = client.remoting().ask(&daemon.broker, request, Duration::from_secs(10)).await;
    let answer = answer.unwrap();
    (answer.code, answer.remark.as_deref().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_transaction_is_ended_once_and_by_its_producer() {
    let home = Home::new();
    let (daemon, client) = start(&home, &[]).await;
    let producer = client.producer("tellers");
    let message = Message::new(TOPIC, "1").with_tag("t").with_keys("k");
    let half = producer.send_half(message).await.unwrap();
    let commit = end_of(&half, COMMIT);
    let others = EndTransactionHeader { producer_group: "others".into(), ..commit.clone() };
    let refused = |why: &str| (1, why.to_owned());
    assert_eq!(ask(&daemon, &client, &others).await, refused("The producer group wrong"));
    let moved = EndTransactionHeader {
        tran_state_table_offset: commit.tran_state_table_offset + 1,
        ..commit.clone()
    };
    let why = "The transaction state table offset wrong";
    assert_eq!(ask(&daemon, &client, &moved).await, refused(why));
    for nowhere in [-1, commit.commit_log_offset + 1, 1 << 40] {
        let nowhere = EndTransactionHeader { commit_log_offset: nowhere, ..commit.clone() };
        let why = "Find prepared transaction message failed";
        assert_eq!(ask(&daemon, &client, &nowhere).await, refused(why));
    }
    assert_eq!(read_all(&client, TOPIC).await, []);
    for _ in 0..3 {
        assert_eq!(ask(&daemon, &client, &commit).await, (0, String::new()));
    }
    let seen = until_stored(&client, TOPIC, 1).await;
    assert_eq!(seen.len(), 1);
    let seen = &seen[0];
    assert_eq!((&seen.body[..], seen.tag(), seen.keys()), (&b"1"[..], Some("t"), Some("k")));
    assert_eq!(seen.sys_flag & sys_flag::TRANSACTION, sys_flag::COMMIT);
    assert_eq!(seen.prepared_transaction_offset, commit.commit_log_offset);
    assert_eq!(seen.queue_id, half.queue.queue_id);
    assert_eq!(seen.property(properties::TRAN_MSG), Some("true"));
    assert_eq!(seen.property(properties::TRANSACTION_ID), Some(&*half.unique_key));
    assert_eq!(seen.property(properties::REAL_TOPIC), None);
    let rolled_back = producer.send_half(Message::new(TOPIC, "2")).await.unwrap();
    assert_eq!(ask(&daemon, &client, &end_of(&rolled_back, ROLLBACK)).await.0, 0);
    assert_eq!(ask(&daemon, &client, &end_of(&rolled_back, COMMIT)).await.0, 0, "as the first");
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    assert_eq!(ask(&daemon, &client, &commit).await.0, 0);
    assert_eq!(ask(&daemon, &client, &end_of(&rolled_back, COMMIT)).await.0, 0);
    eventually("the route", async || client.routes().refresh(TOPIC).await.is_ok()).await;
    assert_eq!(read_all(&client, TOPIC).await.len(), 1, "what is known stays as it is");
}

#[tokio::test]
async fn a_delay_begins_with_the_commit() {
    let home = Home::new();
    let (daemon, client) = start(&home, &["messageDelayLevel=1s"]).await;
    let producer = client.producer("tellers");
    let message = Message::new(TOPIC, "1").with_delay_level(1);
    let half = producer.send_half(message).await.unwrap();
    assert_eq!(ask(&daemon, &client, &end_of(&half, COMMIT)).await.0, 0);
    let seen = until_stored(&client, TOPIC, 1).await;
    assert_eq!(seen[0].queue_id, half.queue.queue_id);
    assert_eq!(seen[0].prepared_transaction_offset, end_of(&half, COMMIT).commit_log_offset);
}

#[tokio::test]
async fn who_asked_for_a_time_is_asked_after_it() {
    let home = Home::new();
    let (daemon, client) = start(&home, &SOON).await;
    let producer = client.producer("tellers");
    let slow = properties::CHECK_IMMUNITY_TIME_IN_SECONDS;
    let message = Message::new(TOPIC, "1").with_property(slow, "1");
    let half = producer.send_half(message).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask(&daemon, &client, &end_of(&half, COMMIT)).await.0, 604);
    let asked = EndTransactionHeader { from_transaction_check: true, ..end_of(&half, COMMIT) };
    assert_eq!(ask(&daemon, &client, &asked).await.0, 0);
    assert_eq!(until_stored(&client, TOPIC, 1).await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_a_transaction_is_refused() {
    let home = Home::new();
    let (daemon, client) = start(&home, &[]).await;
    let timed = Message::new(TOPIC, "1").with_property(properties::TIMER_DELAY_MS, "100");
    let refused = client.producer("tellers").send_half(timed).await.unwrap_err().to_string();
    assert!(refused.contains("timed"), "{refused}");
    drop(daemon);
    let home = Home::new();
    let (_daemon, client) = start(&home, &["rejectTransactionMessage=true"]).await;
    let refused = client.producer("tellers").send_half(Message::new(TOPIC, "1")).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("transaction message is forbidden"), "{refused}");
}
