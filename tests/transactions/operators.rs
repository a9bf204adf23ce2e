//! Transactions that nobody can decide on: asked for, given up, listed and resumed by `gantry admin`.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gantry_client::{ClientConfig, Message, MessageExt, TransactionEnd, TransactionProducer};
use gantry_codec::properties;
use serde_json::Value;

use crate::{
    SOON, TOPIC,
    harness::{
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
    read_all, until_stored,
};

fn admin(daemon: &Daemon, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command
        .env_clear()
        .args(["admin", "-n", &daemon.namesrv, "--json", "transactions"])
        .args(words);
    let output = command.output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn json(daemon: &Daemon, words: &[&str]) -> Value {
    let (code, text) = admin(daemon, words);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A producer that does not know what became of its transactions until it has been asked so often.
async fn undecided(daemon: &Daemon, until: usize) -> (TransactionProducer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let checker = move |half: MessageExt| {
        let times = counted.fetch_add(1, Ordering::SeqCst);
        assert_eq!(&*half.topic, TOPIC);
        let is_known = times >= until;
        async move { if is_known { TransactionEnd::Commit } else { TransactionEnd::Unknown } }
    };
    let config = ClientConfig::with_namesrv(&daemon.namesrv);
    let producer = TransactionProducer::start(config, "tellers", checker);
    producer.introduce(TOPIC).await.unwrap();
    (producer, asked)
}

#[tokio::test]
async fn what_is_given_up_can_be_brought_back() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[&SOON[..], &["transactionCheckMax=2"]].concat());
    let client = daemon.client();
    create_topic(&client, &daemon.broker, TOPIC, 1).await;
    let (producer, asked) = undecided(&daemon, 2).await;
    let half = producer.send_half(Message::new(TOPIC, "1")).await.unwrap();
    let open = json(&daemon, &["list", "-g", "tellers", "-t", TOPIC]);
    assert_eq!(open[0]["uniqueKey"], half.unique_key, "{open}");
    assert_eq!((&open[0]["group"], &open[0]["topic"]), (&"tellers".into(), &TOPIC.into()));
    assert_eq!(json(&daemon, &["list", "-g", "others"]), Value::Array(vec![]));
    let given_up = || json(&daemon, &["list", "--given-up"]);
    eventually("that it is given up", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        given_up().as_array().is_some_and(|all| all.len() == 1)
    })
    .await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(json(&daemon, &["list"]), Value::Array(vec![]), "it is not open any more");
    let listed = &given_up()[0];
    assert_eq!((&listed["uniqueKey"], &listed["checks"]), (&half.unique_key.into(), &2.into()));
    assert_eq!(read_all(&client, TOPIC).await, []);
    let id = listed["id"].as_str().unwrap().to_owned();
    assert_eq!(json(&daemon, &["resume", &id])["resumed"], 1);
    let seen = until_stored(&client, TOPIC, 1).await;
    assert_eq!((seen.len(), &seen[0].body[..]), (1, &b"1"[..]));
    assert_eq!(seen[0].property(properties::REAL_TOPIC), None);
    let (code, text) = admin(&daemon, &["resume", "no-id"]);
    assert_eq!((code, text.contains("no-id")), (2, true), "{text}");
    let nowhere = format!("{}{:016X}", &id[..16], 1_u64 << 40);
    let (code, text) = admin(&daemon, &["resume", &nowhere]);
    assert_eq!(
        (code, text.contains("Find prepared transaction message failed")),
        (1, true),
        "{text}"
    );
}

#[tokio::test]
async fn half_messages_of_the_dead_wait_for_a_producer_of_their_group() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[&SOON[..], &["transactionCheckMax=1"]].concat());
    let client = daemon.client();
    create_topic(&client, &daemon.broker, TOPIC, 1).await;
    let (producer, _) = undecided(&daemon, 0).await;
    let half = producer.send_half(Message::new(TOPIC, "1")).await.unwrap();
    drop(producer);
    let waits = || json(&daemon, &["list"])[0]["waitsForProducer"] == true;
    eventually("that it waits", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        waits()
    })
    .await;
    // Another group has producers, and its transactions are not held up.
    let other = TransactionProducer::start(
        ClientConfig::with_namesrv(&daemon.namesrv),
        "others",
        |_| async { TransactionEnd::Commit },
    );
    let silent = async |_| TransactionEnd::Unknown;
    other.send(Message::new(TOPIC, "2"), silent).await.unwrap();
    assert_eq!(&until_stored(&client, TOPIC, 1).await[0].body[..], b"2");
    assert!(waits(), "and is not counted as asked");
    let (_producer, asked) = undecided(&daemon, 0).await;
    let seen = until_stored(&client, TOPIC, 2).await;
    assert_eq!((&seen[1].body[..], asked.load(Ordering::SeqCst)), (&b"1"[..], 1));
    assert_eq!(seen[1].unique_key(), Some(&*half.unique_key));
}
