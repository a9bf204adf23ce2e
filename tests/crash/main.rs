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

use gantry_client::Client;
use gantry_codec::{
    Command,
    body::{SubscriptionGroupConfig, to_json},
    request_code,
};
use harness::traffic::read_all;

/// Small log files, so that every test crosses from one to the next.
const SMALL_FILES: &str = "mappedFileSizeCommitLog=1048576";
/// Small files of queues, a hundred entries each.
const SMALL_QUEUE_FILES: &str = "mappedFileSizeConsumeQueue=2000";

/// Makes a group, or changes it.
async fn create_group(client: &Client, broker: &str, config: &SubscriptionGroupConfig) {
    let request = Command::request(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    client.remoting().call(broker, request.with_body(to_json(config))).await.unwrap();
}
