//! The broker is killed with SIGKILL in the middle of transactions.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use gantry_client::TransactionEnd;
use tokio::time::sleep;

use crate::{
    SOON, TOPIC,
    database::{Database, compare},
    harness::{
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
    producers::{Running, Work},
    seen,
};

#[tokio::test]
async fn nothing_committed_is_lost_and_nothing_rolled_back_is_seen() {
    let home = Home::new();
    let small = ["mappedFileSizeCommitLog=1048576", "mappedFileSizeConsumeQueue=2000"];
    let settings = [&SOON[..], &small[..]].concat();
    let (database, next) = (Database::default(), Arc::default());
    for round in 0..3 {
        let daemon = Daemon::start(&home, &settings);
        let client = daemon.client();
        if round == 0 {
            create_topic(&client, &daemon.broker, TOPIC, 4).await;
        }
        let work = Work {
            namesrv: daemon.namesrv.clone(),
            database: database.clone(),
            next: Arc::clone(&next),
            ends: Arc::default(),
            pause: Duration::ZERO,
        };
        let start = |number| Running::start(&work, "tellers", number + round * 100);
        let producers: Vec<_> = (0..6).map(start).collect();
        let before = next.load(Ordering::Relaxed);
        eventually("some transactions", async || {
            next.load(Ordering::Relaxed) > before + 300 + round * 150
        })
        .await;
        daemon.kill();
        for producer in producers {
            producer.kill().await;
        }
    }
    let daemon = Daemon::start(&home, &settings);
    let work = Work {
        namesrv: daemon.namesrv.clone(),
        database: database.clone(),
        next,
        ends: Arc::new(true.into()),
        pause: Duration::ZERO,
    };
    let _asked = Running::start(&work, "tellers", 0);
    let client = daemon.client();
    let all = gantry_codec::requests::transaction::ListTransactionsHeader::default();
    eventually("the end of all transactions", async || {
        sleep(Duration::from_millis(50)).await;
        let list = client.admin().transactions(&daemon.broker, &all).await.unwrap().unwrap();
        list.open == 0 && database.pending() == 0
    })
    .await;
    let mut wrong = Err(Vec::new());
    // What was decided last may still be on its way to its queue.
    for _ in 0..100 {
        wrong = compare(&database, &seen(&client, TOPIC).await);
        if wrong.is_ok() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(wrong, Ok(()));
    assert!(database.ended(TransactionEnd::Commit).len() > 100);
}
