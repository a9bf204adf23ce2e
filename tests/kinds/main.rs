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

use gantry_client::MessageExt;
use harness::traffic::read_all;

/// The bodies of messages, as text.
fn texts(messages: &[MessageExt]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
}
