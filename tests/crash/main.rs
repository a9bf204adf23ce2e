//! What outlives the process: acknowledged messages, delayed ones that are pending, and after an
//! orderly stop everything else as well.
//!
//! The daemon runs as a child process and is killed with SIGKILL, so that no code of its own gets to
//! tidy up. The page cache survives a process; a power cut is the business of the storage tests.
#![expect(clippy::disallowed_methods, reason = "looks at the files of another process")]

#[path = "../harness/mod.rs"]
mod harness;

mod damaged;
mod delayed;
mod keys;
mod killed;
mod stopped;

use gantry_client::{Client, MessageExt, MessageQueue, PullRequest};

/// Small log files, so that every test crosses from one to the next.
const SMALL_FILES: &str = "mappedFileSizeCommitLog=1048576";

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
