//! `gantry admin` as operators use it: the real binary, against a daemon that runs.

#![expect(clippy::disallowed_methods, reason = "runs other processes and reads their log")]

#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "each test binary uses a part of this")]
mod harness;

mod diagnosis;
mod dlq;
mod groups;
mod trace;

use std::process::Command;

use gantry_client::{Client, Message, MessageQueue, PullRequest};
use serde_json::Value;

use harness::{daemon::Daemon, traffic::eventually};

/// What a command came to.
pub struct Answer {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs `gantry admin` with these words against the daemon.
pub fn admin(daemon: &Daemon, words: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command.env_clear().args(["admin", "-n", &daemon.namesrv]).args(words);
    let output = command.output().unwrap();
    Answer {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The answer of a command that succeeds, as JSON.
pub fn json(daemon: &Daemon, words: &[&str]) -> Value {
    let answer = admin(daemon, &[words, &["--json"]].concat());
    assert_eq!((answer.code, &*answer.err), (0, ""), "{words:?}");
    serde_json::from_str(&answer.out).unwrap()
}

/// Queue 0 of a topic.
pub fn queue(topic: &str) -> MessageQueue {
    MessageQueue { topic: topic.into(), broker_name: "broker-a".into(), queue_id: 0 }
}

/// Sends messages with the keys `k0`, `k1` and so on to queue 0, with a tag each.
pub async fn send(client: &Client, topic: &str, tags: &[&str]) {
    let (producer, mut last) = (client.producer("producers"), -1);
    for (number, tag) in tags.iter().enumerate() {
        let message = Message::new(topic, format!("body {number}"))
            .with_tag(tag)
            .with_keys(&format!("k{number}"))
            .with_property("colour", "red");
        last = producer.send_to(&queue(topic), &message).await.unwrap().queue_offset;
    }
    eventually("the messages to be readable", async || {
        client.max_offset(&queue(topic)).await.unwrap() > last
    })
    .await;
}

/// Up to 32 messages of queue 0 from `offset` on, once there are `count`: those that were acknowledged
/// last may not be there to be read yet.
pub async fn pull(
    client: &Client,
    topic: &str,
    offset: i64,
    count: usize,
) -> Vec<gantry_client::MessageExt> {
    let (consumer, request) =
        (client.pull_consumer("readers"), PullRequest::new(queue(topic), offset));
    let mut found = Vec::new();
    eventually("the messages", async || {
        found = consumer.pull(&request).await.unwrap().messages;
        found.len() >= count
    })
    .await;
    found
}
