//! SIGKILL in the middle of a flood, over and over on the same files, with and without a flush that
//! producers wait for, and now and then while the daemon is still starting.
//!
//! `GANTRY_KILL_ROUNDS` is the number of rounds (2). Every few rounds begin a new store, since each round
//! reads back all that the store holds. `GANTRY_KILL_SEED` decides when each kill comes (1); the same seed
//! plans the same rounds, but what the kill meets is the scheduler's choice. See `rounds` beside this file.

use std::{cell::RefCell, env, fs, time::Duration};

use fastrand::Rng;
use futures_util::future::join_all;
use gantry_client::{Client, Message, MessageQueue};
use gantry_codec::body::SubscriptionGroupConfig;
use tokio::time::sleep;

use crate::{
    SMALL_FILES, SMALL_QUEUE_FILES, create_group,
    growth::{Growth, grow},
    harness::{
        daemon::{Daemon, Home},
        traffic::{Ledger, Sender, Stamp, create_topic, eventually},
    },
    progress::{Progress, commit},
    read_all,
};

const FLUSH: [&str; 2] = ["flushDiskType=ASYNC_FLUSH", "flushDiskType=SYNC_FLUSH"];
/// Offsets are saved many times in a round.
const SAVE_OFTEN: &str = "flushConsumerOffsetInterval=50";
/// Four queues of one topic, and some of others.
const TOPICS: [(&str, i32); 3] = [("orders", 4), ("payments", 2), ("audit", 1)];
const SENDERS: u32 = 4;
/// Acknowledged messages of a round before the kill: up to several log files full.
const ROUND: usize = 6000;
/// Rounds on one store.
const LIFE: u64 = 10;
/// A daemon that is killed while it starts lives so long at most.
const STARTING_MS: u64 = 120;
/// The sender of the one message per queue that asks for its next offset.
const PROBE: u32 = 99;

#[tokio::test]
async fn acknowledged_messages_survive_kills() {
    let (rounds, seed) = (setting("GANTRY_KILL_ROUNDS", 2), setting("GANTRY_KILL_SEED", 1));
    println!("{rounds} rounds, GANTRY_KILL_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut survived = Survived::default();
    let mut left = rounds;
    while left > 0 {
        let life = left.min(LIFE);
        live(life, &mut rng, &mut survived).await;
        left -= life;
        println!("{} rounds done: {survived:?}", rounds - left);
    }
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect(name))
}

/// What was there after all kills of a store.
#[derive(Debug, Default)]
struct Survived {
    messages: usize,
    topics: usize,
    committed: i64,
    log_files: usize,
    killed_at_start: usize,
}

/// What is expected of a store.
struct Expected {
    ledger: RefCell<Ledger>,
    progress: RefCell<Progress>,
    growth: RefCell<Growth>,
    numbers: [u64; SENDERS as usize],
}

/// Some rounds on one store.
async fn live(rounds: u64, rng: &mut Rng, survived: &mut Survived) {
    let home = Home::new();
    let mut daemon = start(&home, rng);
    let queues = topics(&daemon).await;
    let mut expected = Expected {
        progress: RefCell::new(Progress::new(&queues)),
        ledger: RefCell::new(Ledger::new(queues)),
        growth: RefCell::default(),
        numbers: [0; SENDERS as usize],
    };
    for round in 0..rounds {
        let enough = rng.usize(ROUND / 8..=ROUND);
        flood_and_kill(daemon, &home, &mut expected, enough, rng.fork()).await;
        assert!(fs::exists(home.store("abort")).unwrap(), "it had no time to tidy up");
        if rng.u8(0..3) == 0 {
            let settings = settings(rng);
            let child = Daemon::spawn(&home, &settings);
            sleep(Duration::from_millis(rng.u64(0..STARTING_MS))).await;
            child.kill();
            survived.killed_at_start += 1;
        }
        daemon = start(&home, rng);
        let client = daemon.client();
        check(&client, &expected).await;
        offsets_continue(&client, &expected.ledger, round).await;
    }
    check(&daemon.client(), &expected).await;
    let files = fs::read_dir(home.store("commitlog")).unwrap().count();
    assert!(files > 2, "the log went over several files, not {files}");
    assert!(expected.progress.borrow().committed() > 0, "no committed offset was ever kept");
    survived.messages += expected.ledger.borrow().count() + expected.growth.borrow().messages();
    survived.topics += expected.growth.borrow().topics();
    survived.committed += expected.progress.borrow().committed();
    survived.log_files += files;
}

fn settings(rng: &mut Rng) -> [&'static str; 4] {
    [FLUSH[rng.usize(0..FLUSH.len())], SMALL_FILES, SMALL_QUEUE_FILES, SAVE_OFTEN]
}

fn start(home: &Home, rng: &mut Rng) -> Daemon {
    Daemon::start(home, &settings(rng))
}

/// Makes the group and the topics; all queues.
async fn topics(daemon: &Daemon) -> Vec<MessageQueue> {
    let client = daemon.client();
    let group = SubscriptionGroupConfig {
        group_name: Progress::GROUP.to_owned(),
        ..SubscriptionGroupConfig::default()
    };
    create_group(&client, &daemon.broker, &group).await;
    let mut queues = Vec::new();
    for (topic, count) in TOPICS {
        create_topic(&client, &daemon.broker, topic, count).await;
        queues.extend(client.routes().get(topic).await.unwrap().publish.clone());
    }
    queues
}

/// All senders send, offsets are committed and topics made until the daemon is gone.
async fn flood_and_kill(
    daemon: Daemon,
    home: &Home,
    expected: &mut Expected,
    enough: usize,
    rng: Rng,
) {
    let (ledger, progress, growth) = (&expected.ledger, &expected.progress, &expected.growth);
    let enough = ledger.borrow().count() + enough;
    let client = daemon.client();
    routes(&client).await;
    let mut senders = Vec::new();
    for (sender, next) in (0..).zip(expected.numbers) {
        let client = daemon.client();
        routes(&client).await;
        senders.push(Sender::new(&client, sender, next));
    }
    let sent = join_all(senders.iter_mut().map(|sender| sender.run(u64::MAX, ledger)));
    let committed = commit(&client, ledger, progress);
    let broker = daemon.broker.clone();
    let grown = grow(&client, &broker, growth, rng);
    let killed = async {
        while ledger.borrow().count() < enough {
            sleep(Duration::from_millis(1)).await;
        }
        progress.borrow_mut().saved(&home.store("config/consumerOffset.json"));
        daemon.kill();
    };
    let (outcomes, (), (), ()) = tokio::join!(sent, committed, grown, killed);
    assert!(outcomes.iter().all(Result::is_err), "all were cut off: {outcomes:?}");
    expected.numbers = std::array::from_fn(|sender| senders[sender].next);
}

/// Waits until the broker is registered again.
async fn routes(client: &Client) {
    for (topic, _) in TOPICS {
        eventually("the topic's route", async || client.routes().get(topic).await.is_ok()).await;
    }
}

async fn check(client: &Client, expected: &Expected) {
    routes(client).await;
    let queues = expected.ledger.borrow().queues().to_vec();
    for (place, queue) in queues.iter().enumerate() {
        let messages = read_all(client, queue).await;
        expected.ledger.borrow().check(place, &messages);
        let offset = client.consumer_offset(Progress::GROUP, queue).await.unwrap();
        expected.progress.borrow_mut().recovered(place, offset.unwrap_or(0));
    }
    check_growth(client, &expected.growth).await;
}

async fn check_growth(client: &Client, growth: &RefCell<Growth>) {
    let (made, ledgers) = (growth.borrow().made(), growth.borrow().ledgers());
    for (topic, queues) in made {
        eventually("the new topic's route", async || client.routes().get(&topic).await.is_ok())
            .await;
        assert_eq!(client.routes().get(&topic).await.unwrap().publish.len(), queues as usize);
    }
    for ledger in ledgers {
        for (place, queue) in ledger.queues().iter().enumerate() {
            ledger.check(place, &read_all(client, queue).await);
        }
    }
}

/// The next message of every queue gets the offset behind the last one that is stored.
async fn offsets_continue(client: &Client, ledger: &RefCell<Ledger>, round: u64) {
    let queues = ledger.borrow().queues().to_vec();
    let producer = client.producer("probe");
    for (place, queue) in (0..).zip(&queues) {
        let stamp = Stamp { sender: PROBE, number: round * queues.len() as u64 + place };
        let end = client.max_offset(queue).await.unwrap();
        let message = Message::new(queue.topic.as_str(), stamp.body());
        let receipt = producer.send_to(queue, &message).await.unwrap();
        assert_eq!(receipt.queue_offset, end, "{queue:?}");
        ledger.borrow_mut().acknowledge(stamp, &receipt);
    }
}
