//! What outlives the process: acknowledged messages, delayed and timed ones that are pending, and after an
//! orderly stop everything else as well.
//!
//! The daemon runs as a child process and is killed with SIGKILL, so that no code of its own gets to
//! tidy up. The page cache survives a process; a power cut is the business of the storage tests.
#![expect(clippy::disallowed_methods, reason = "looks at the files of another process")]

#[path = "../harness/mod.rs"]
mod harness;

mod damaged;
mod delayed;
mod growth;
mod keys;
mod killed;
mod popped;
mod progress;
mod stopped;
mod timed;

use gantry_client::{Client, MessageExt, MessageQueue, PullRequest};
use gantry_codec::{
    Command,
    body::{SubscriptionGroupConfig, to_json},
    request_code,
};

/// Small log files, so that every test crosses from one to the next.
const SMALL_FILES: &str = "mappedFileSizeCommitLog=1048576";
/// Small files of queues, a hundred entries each.
const SMALL_QUEUE_FILES: &str = "mappedFileSizeConsumeQueue=2000";

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

/// Makes a group, or changes it.
async fn create_group(client: &Client, broker: &str, config: &SubscriptionGroupConfig) {
    let request = Command::request(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    client.remoting().call(broker, request.with_body(to_json(config))).await.unwrap();
}
