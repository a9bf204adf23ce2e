//! Consumers that are pushed to, as members of a group at a daemon: shares, retries, order, hand-over,
//! resets; and what tools ask about all that.

#![expect(clippy::disallowed_methods, reason = "the daemon's log is a file of another process")]

#[path = "../harness/mod.rs"]
#[allow(dead_code, reason = "a part of what is there")]
mod harness;

mod broadcast;
mod ordered;
mod shared;
mod tools;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_client::{
    Client, ClientConfig, Filter, Handler, Message, MessageExt, PushConfig, PushConsumer, Verdict,
};
use gantry_codec::body::ConsumeFromWhere;

use harness::{
    daemon::{Daemon, Home},
    traffic::{create_topic, eventually},
};

/// A daemon with topic `t` of so many queues.
struct Stage {
    daemon: Daemon,
    client: Client,
    _home: Home,
}

impl Stage {
    async fn new(queues: i32) -> Self {
        let home = Home::new();
        let daemon = Daemon::start(&home, &[]);
        let client = daemon.client();
        create_topic(&client, &daemon.broker, "t", queues).await;
        Self { daemon, client, _home: home }
    }

    /// Sends these, the first to the first queue, and so on.
    async fn send(&self, bodies: impl IntoIterator<Item = String>) {
        let queues = self.client.routes().get("t").await.unwrap().publish.clone();
        let producer = self.client.producer("producers");
        for (body, queue) in bodies.into_iter().zip(queues.iter().cycle()) {
            producer.send_to(queue, &Message::new("t", body)).await.unwrap();
        }
    }

    async fn join(&self, config: PushConfig, handler: impl Handler) -> PushConsumer {
        let client = ClientConfig::with_namesrv(&self.daemon.namesrv);
        PushConsumer::start(client, config, handler).await.unwrap()
    }
}

/// From the first message on, with short times.
fn config(orderly: bool) -> PushConfig {
    PushConfig {
        orderly,
        start: ConsumeFromWhere::FirstOffset,
        hold: Duration::from_secs(5),
        suspend: Duration::from_millis(20),
        ..PushConfig::new("g", "t", Filter::all())
    }
}

/// What handlers were given, in the order in which they were.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<MessageExt>>>);

impl Inbox {
    /// A handler that keeps what it gets and is done with it.
    fn handler(&self) -> impl Handler + use<> {
        self.handler_that(|_| Verdict::Done)
    }

    fn handler_that<F>(&self, verdict: F) -> Keeps<F>
    where
        F: Fn(&MessageExt) -> Verdict + Send + Sync + 'static,
    {
        Keeps { inbox: self.clone(), verdict }
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn bodies(&self) -> Vec<String> {
        let messages = self.0.lock().unwrap();
        messages.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
    }

    /// Once so many are there: all of them, sorted.
    async fn sorted(&self, count: usize) -> Vec<String> {
        eventually("messages", async || self.len() >= count).await;
        let mut bodies = self.bodies();
        bodies.sort();
        bodies
    }
}

struct Keeps<F> {
    inbox: Inbox,
    verdict: F,
}

impl<F: Fn(&MessageExt) -> Verdict + Send + Sync + 'static> Handler for Keeps<F> {
    fn handle(&self, messages: Vec<MessageExt>) -> gantry_client::Handling {
        let verdicts: Vec<_> = messages.iter().map(&self.verdict).collect();
        self.inbox.0.lock().unwrap().extend(messages);
        let again = verdicts.contains(&Verdict::Again);
        Box::pin(async move { if again { Verdict::Again } else { Verdict::Done } })
    }
}

/// The queues of `t` that a member has, by number.
fn numbers(consumer: &PushConsumer) -> Vec<i32> {
    let queues = consumer.queues();
    queues.iter().filter(|queue| queue.topic == "t").map(|queue| queue.queue_id).collect()
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{number:04}")).collect()
}
