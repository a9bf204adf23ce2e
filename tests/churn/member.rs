//! A member of a group as a process of its own: it says on standard output what it does, a line each.
//!
//! | line | when |
//! |---|---|
//! | `ready` | it has joined |
//! | `own 0,3,5` | the queues that it has are others than before |
//! | `did QUEUE OFFSET TIME` | it has consumed a message, in ms since 1970; written before that is acknowledged |
//!
//! SIGTERM makes it leave in order. Its settings are in the environment, as `process` puts them there.

use std::{
    env,
    io::{self, Write},
    time::Duration,
};

use gantry_client::{
    ClientConfig, Filter, MessageExt, PushConfig, PushConsumer, Verdict, WallClock,
};
use gantry_codec::body::ConsumeFromWhere;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::TOPIC;

/// How often it looks whether it owns other queues.
const LOOK: Duration = Duration::from_millis(10);
/// One message of so many takes a while.
const SLOW_ONE_OF: i64 = 10;

pub async fn consume() {
    let of = |name: &str| env::var(name).expect(name);
    // The test harness has begun a line.
    say("");
    let mut term = signal(SignalKind::terminate()).unwrap();
    let client = ClientConfig {
        client_id: of("CHURN_ID"),
        heartbeat_interval: Duration::from_secs(1),
        ..ClientConfig::with_namesrv(&of("CHURN_NAMESRV"))
    };
    let config = PushConfig {
        orderly: of("CHURN_ORDERLY") == "true",
        start: ConsumeFromWhere::FirstOffset,
        held_messages_max: 64,
        ..PushConfig::new(&of("CHURN_GROUP"), TOPIC, Filter::all())
    };
    let consumer = PushConsumer::start(client, config, handle).await.unwrap();
    say("ready");
    let mut owned = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = term.recv() => break,
            () = sleep(LOOK) => {}
        }
        let queues = consumer.queues().into_iter().filter(|queue| queue.topic == TOPIC);
        let now: Vec<String> = queues.map(|queue| queue.queue_id.to_string()).collect();
        if now != owned {
            say(&format!("own {}", now.join(",")));
            owned = now;
        }
    }
    consumer.stop().await;
}

async fn handle(messages: Vec<MessageExt>) -> Verdict {
    for message in messages {
        if message.queue_offset % SLOW_ONE_OF == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let now = WallClock::System.now_ms();
        say(&format!("did {} {} {now}", message.queue_id, message.queue_offset));
    }
    Verdict::Done
}

/// A line in one write, so that a kill does not tear it.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever listened is gone: so are we soon.
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}
