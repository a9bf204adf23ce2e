//! Transactions at a whole broker: what producers decide is what consumers see, once, whoever dies.
//!
//! ```text
//! soak ─┬─ gantry ←── 20 producers in 4 groups: half messages, commits, rollbacks, and silence
//!       │     │            ↑ killed and started again at random (seeded)
//!       │     └── asks ──→ whoever of the group is there ── looks up ──→ database
//!       └─ at the end: the content of the topic against the database
//! ```
//!
//! The database stands for that of an application: a local transaction is what its first entry says, and
//! one without an entry when somebody asks for it is rolled back for good.
//!
//! `cargo test` runs everything but the soak, which `soak` beside this file runs.
//!
//! | setting | what |
//! |---|---|
//! | `GANTRY_SOAK_SECONDS` | how long producers come and go (10) |
//! | `GANTRY_SOAK_SEED` | decides what happens when |

#![expect(clippy::disallowed_methods, reason = "runs other processes and reads their log")]

#[path = "../harness/mod.rs"]
#[allow(dead_code, reason = "a part of what is there")]
mod harness;

mod answers;
mod crashes;
mod database;
mod operators;
mod producers;
mod soak;

use std::{collections::BTreeMap, env};

use gantry_client::{Client, MessageExt};

use harness::traffic::{self, eventually};

/// The topic.
const TOPIC: &str = "accounts";
/// Questions come soon.
const SOON: [&str; 2] = ["transactionTimeOut=300", "transactionCheckInterval=300"];

#[tokio::test]
#[ignore = "takes its time; tests/transactions/soak runs it"]
async fn producers_come_and_go() {
    soak::run(setting("GANTRY_SOAK_SECONDS", 10), setting("GANTRY_SOAK_SEED", 1)).await;
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect(name))
}

/// Everything that consumers can read in a topic.
async fn read_all(client: &Client, topic: &str) -> Vec<MessageExt> {
    let mut messages = Vec::new();
    for queue in client.routes().refresh(topic).await.unwrap().subscribe.clone() {
        messages.extend(traffic::read_all(client, &queue).await);
    }
    messages
}

/// How often each number is in the topic.
async fn seen(client: &Client, topic: &str) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for message in read_all(client, topic).await {
        let number = str::from_utf8(&message.body).unwrap().parse().unwrap();
        *seen.entry(number).or_default() += 1;
    }
    seen
}

/// Waits until the topic has that many messages.
async fn until_stored(client: &Client, topic: &str, count: usize) -> Vec<MessageExt> {
    let mut found = Vec::new();
    eventually("the messages", async || {
        found = read_all(client, topic).await;
        found.len() >= count
    })
    .await;
    found
}
