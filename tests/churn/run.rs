//! The run: a daemon, a producer, two groups, and the verdict at the end.

use std::time::Duration;

use gantry_client::{Client, Message};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    QUEUES, TOPIC,
    group::{Group, PATIENCE},
    harness::{
        daemon::{Daemon, Home},
        traffic::create_topic,
    },
    plan::Plan,
    verdict::judge,
};

/// Messages a second.
const RATE: u64 = 2_000;
const TICK: Duration = Duration::from_millis(5);
/// Repeats for one member that died or was frozen, in one queue: what it was given and had not
/// acknowledged, which it does with its next pull, or after 5 s.
const IN_FLIGHT_MAX: usize = 1_300;
/// A member's connection ends with its process here, so its locks may end with it.
const SETTINGS: [&str; 1] = ["disconnectedLockMillis=0"];

pub async fn run(seconds: u64, seed: u64, java: &[String]) {
    println!("{seconds} s of churn, seed {seed}, official clients: {}", java.len());
    let home = Home::new();
    let daemon = Daemon::start(&home, &SETTINGS);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, TOPIC, QUEUES).await;
    let mut groups = [
        Group::new("concurrent", false, &daemon.namesrv, java, Plan::new(seed, 2_500)),
        Group::new("orderly", true, &daemon.namesrv, java, Plan::new(seed.wrapping_add(1), 2_500)),
    ];
    let mut traffic = Traffic::new(&client).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        traffic.send().await;
        tick(&mut groups);
        sleep(TICK).await;
    }
    groups.iter_mut().for_each(Group::be_quiet);
    let ends = traffic.ends().await;
    for group in 0..groups.len() {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !groups[group].has_all(&ends) {
            for _ in 0..40 {
                tick(&mut groups);
                sleep(TICK).await;
            }
        }
    }
    let wrong: Vec<String> =
        groups.iter().flat_map(|group| tell(group, &ends, java.len())).collect();
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
}

fn tick(groups: &mut [Group]) {
    let now = Instant::now();
    groups.iter_mut().for_each(|group| group.tick(now));
}

/// Prints what a group came to, and returns what is wrong.
fn tell(group: &Group, ends: &[i64], java: usize) -> Vec<String> {
    let mut wrong = group.settling.failures.clone();
    let mut events: Vec<_> = group.events.iter().collect();
    events.sort();
    println!(
        "{}: {events:?}, settled {} times, at the latest after {:?}",
        group.name, group.settling.times, group.settling.longest
    );
    match judge(&group.deliveries, ends, &group.fates, group.orderly) {
        Ok(report) => {
            println!("{}: {} messages, {report:?}", group.name, ends.iter().sum::<i64>());
            let most = report.repeated_most.max(report.handed_over_most);
            if most > IN_FLIGHT_MAX {
                wrong.push(format!("{}: {most} repeats for one cause in a queue", group.name));
            }
            if group.orderly && java == 0 && report.handed_over_twice > 0 {
                wrong.push(format!("{}: repeats without a cause", group.name));
            }
        }
        Err(lines) => {
            let more = lines.len().saturating_sub(20);
            wrong.extend(lines.into_iter().take(20).map(|line| format!("{}: {line}", group.name)));
            wrong.extend((more > 0).then(|| format!("and {more} more")));
        }
    }
    wrong
}

/// Sends at a steady rate, to each queue in turn.
struct Traffic {
    client: Client,
    producer: gantry_client::Producer,
    queues: Vec<gantry_client::MessageQueue>,
    began: Instant,
    sent: u64,
    under_way: JoinSet<()>,
}

impl Traffic {
    async fn new(client: &Client) -> Self {
        let queues = client.routes().get(TOPIC).await.unwrap().publish.clone();
        let (client, producer) = (client.clone(), client.producer("producers"));
        Self { client, producer, queues, began: Instant::now(), sent: 0, under_way: JoinSet::new() }
    }

    /// Sends what is due by now.
    async fn send(&mut self) {
        let due = self.began.elapsed().as_millis() as u64 * RATE / 1_000;
        while self.sent < due {
            let queue = &self.queues[self.sent as usize % self.queues.len()];
            let message = Message::new(TOPIC, self.sent.to_string());
            let stored = self.producer.send_async_to(queue, &message).await.unwrap();
            self.under_way.spawn(async move {
                stored.await.expect("stored");
            });
            self.sent += 1;
        }
        while let Some(done) = self.under_way.try_join_next() {
            done.expect("an acknowledged message");
        }
    }

    /// The queues' ends, once all that was sent is acknowledged.
    async fn ends(&mut self) -> Vec<i64> {
        while let Some(done) = self.under_way.join_next().await {
            done.expect("an acknowledged message");
        }
        let mut ends = Vec::new();
        for queue in &self.queues {
            ends.push(self.client.max_offset(queue).await.unwrap());
        }
        assert_eq!(ends.iter().sum::<i64>() as u64, self.sent, "each message is stored once");
        ends
    }
}
