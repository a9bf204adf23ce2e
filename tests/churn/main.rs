//! Consumers that come and go, crash and freeze at random while messages arrive: what a group promises
//! must hold all the same.
//!
//! ```text
//! run ─┬─ gantry ←── producer: 2,000 messages a second to 8 queues
//!      ├─ group "concurrent": 6 places for members ─┐ each a process: this binary again (`member`), or the
//!      ├─ group "orderly":    6 places for members ─┤ official Java client
//!      │        ↑ start, stop, kill, freeze, thaw   │
//!      │       plan (seeded)                        └→ lines: what it owns, what it has consumed
//!      └─ verdict: lost? repeated, and why? out of order? settled in time?
//! ```
//!
//! Run by `rounds` beside this file; `cargo test` runs the tests of the verdict alone, since what the kernel
//! does with frozen and killed processes takes its time on a busy machine.
//!
//! | setting | what |
//! |---|---|
//! | `GANTRY_CHURN_SECONDS` | how long members come and go (10) |
//! | `GANTRY_CHURN_SEED` | decides what happens when |
//! | `GANTRY_CHURN_JAVA` | commands of members with the official client, separated by `;` |

#![expect(clippy::disallowed_methods, reason = "the daemon's log is a file of another process")]

#[path = "../harness/mod.rs"]
#[allow(dead_code, reason = "a part of what is there")]
mod harness;

mod group;
mod member;
mod plan;
mod process;
mod run;
mod verdict;

use std::env;

/// The topic, and its queues.
const TOPIC: &str = "churn";
const QUEUES: i32 = 8;

#[tokio::test]
#[ignore = "takes its time; tests/churn/rounds runs it"]
async fn members_come_and_go() {
    let seconds = setting("GANTRY_CHURN_SECONDS", 10);
    let seed = setting("GANTRY_CHURN_SEED", 1);
    let java = env::var("GANTRY_CHURN_JAVA").unwrap_or_default();
    let java: Vec<String> =
        java.split(';').filter(|command| !command.is_empty()).map(str::to_owned).collect();
    run::run(seconds, seed, &java).await;
}

/// Not a test: a member of a group, as `process` starts it.
#[tokio::test]
#[ignore = "a process of the test above"]
async fn member_process() {
    member::consume().await;
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect(name))
}
