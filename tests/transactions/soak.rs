//! The soak: producers are killed at random, the broker is not.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use gantry_client::TransactionEnd;
use gantry_codec::requests::transaction::ListTransactionsHeader;

use crate::{
    SOON, TOPIC,
    database::{Database, compare},
    harness::{
        daemon::{Daemon, Home},
        traffic::create_topic,
    },
    producers::{Running, Work},
    seen,
};

const PRODUCERS: usize = 20;
const GROUPS: usize = 4;
/// A quarter of the producers is killed each second.
const KILL_EVERY: Duration = Duration::from_millis(200);
/// How long it may take until nothing is open, behind the last word.
const SETTLES: Duration = Duration::from_secs(60);

pub async fn run(seconds: u64, seed: u64) {
    println!("{seconds} s of transactions, seed {seed}");
    let home = Home::new();
    let daemon = Daemon::start(&home, &SOON);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, TOPIC, 8).await;
    let work = Work {
        namesrv: daemon.namesrv.clone(),
        database: Database::default(),
        next: Arc::default(),
        ends: Arc::default(),
        pause: Duration::from_millis(2),
    };
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut running: Vec<_> =
        (0..PRODUCERS).map(|place| Some(start(&work, place, &mut dice))).collect();
    let (end, mut killed) = (Instant::now() + Duration::from_secs(seconds), 0);
    while Instant::now() < end {
        sleep(KILL_EVERY).await;
        let place = dice.usize(0..PRODUCERS);
        match running[place].take() {
            Some(producer) => {
                producer.kill().await;
                killed += 1;
            }
            None => running[place] = Some(start(&work, place, &mut dice)),
        }
    }
    work.ends.store(true, std::sync::atomic::Ordering::Relaxed);
    for (place, producer) in running.iter_mut().enumerate() {
        producer.get_or_insert_with(|| start(&work, place, &mut dice));
    }
    let deadline = Instant::now() + SETTLES;
    let all = ListTransactionsHeader { limit: 10, ..Default::default() };
    loop {
        let open = client.admin().transactions(&daemon.broker, &all).await.unwrap().unwrap();
        if open.open == 0 && work.database.pending() == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "seed {seed}: {open:?} stay open");
        sleep(Duration::from_millis(100)).await;
    }
    // What was asked for last may still be on its way.
    sleep(Duration::from_secs(1)).await;
    let (seen, database) = (seen(&client, TOPIC).await, &work.database);
    let counts =
        [TransactionEnd::Commit, TransactionEnd::Rollback].map(|end| database.ended(end).len());
    println!(
        "{killed} producers killed; {} committed, {} rolled back, {} seen",
        counts[0],
        counts[1],
        seen.len()
    );
    assert!(
        counts.iter().all(|count| *count > seconds as usize * 20),
        "too little happened: {counts:?}"
    );
    if let Err(wrong) = compare(database, &seen) {
        panic!("seed {seed}: {} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    }
}

fn start(work: &Work, place: usize, dice: &mut fastrand::Rng) -> Running {
    Running::start(work, &format!("tellers-{}", place % GROUPS), dice.u64(..))
}
