//! Messages that are more than a body for a queue: batches, replies, priorities, copies in light queues.
//!
//! The daemon runs as a child process, and is killed with SIGKILL where that is what is looked at.
#![expect(clippy::disallowed_methods, reason = "looks at the files of another process")]

#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "each test binary uses a part of this")]
mod harness;

mod batches;
mod light;
mod priority;
mod replies;

use gantry_client::{Client, MessageExt, MessageQueue, PullRequest};

/// Everything that consumers can read in a queue.
async fn read_all(client: &Client, queue: &MessageQueue) -> Vec<MessageExt> {
    let consumer = client.pull_consumer("readers");
    let end = client.max_offset(queue).await.unwrap();
    let mut messages = Vec::new();
    while (messages.len() as i64) < end {
        let request = PullRequest::new(queue.clone(), messages.len() as i64);
        let pulled = consumer.pull(&request).await.unwrap();
        assert!(!pulled.messages.is_empty(), "{queue:?} ends at {end}: {pulled:?}");
        messages.extend(pulled.messages);
    }
    messages
}

/// The bodies of messages, as text.
fn texts(messages: &[MessageExt]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
}
