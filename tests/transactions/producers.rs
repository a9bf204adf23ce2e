//! Producers that make one transaction after the other until they are killed or told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gantry_client::{ClientConfig, Message, MessageExt, TransactionEnd, TransactionProducer};
use tokio::task::JoinHandle;

use crate::{
    TOPIC,
    database::{Database, Entry},
};

/// What all producers share.
#[derive(Clone)]
pub struct Work {
    pub namesrv: String,
    pub database: Database,
    /// The number of the next transaction.
    pub next: Arc<AtomicU64>,
    /// No more transactions are begun.
    pub ends: Arc<AtomicBool>,
    /// Time between two transactions of one producer.
    pub pause: Duration,
}

/// A running producer.
pub struct Running(JoinHandle<()>);

impl Running {
    /// Starts one; `seed` decides what becomes of its transactions.
    pub fn start(work: &Work, group: &str, seed: u64) -> Self {
        let (work, group) = (work.clone(), group.to_owned());
        Self(tokio::spawn(
            async move { produce(work, &group, fastrand::Rng::with_seed(seed)).await },
        ))
    }

    /// Ends it as SIGKILL would: wherever it is, nothing is told to anybody.
    pub async fn kill(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

async fn produce(work: Work, group: &str, mut dice: fastrand::Rng) {
    let mut config = ClientConfig::with_namesrv(&work.namesrv);
    // What is slow here is this machine.
    config.request_timeout = Duration::from_secs(30);
    let database = work.database.clone();
    let checker = move |half: MessageExt| {
        let end = database.of(&half);
        async move { end }
    };
    let producer = TransactionProducer::start(config, group, checker);
    // A broker that is gone ends this test's part in it.
    let _ = producer.introduce(TOPIC).await;
    while !work.ends.load(Ordering::Relaxed) {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        let entry = entry(&mut dice);
        let message = Message::new(TOPIC, number.to_string());
        let local = async |_| work.database.run(number, entry);
        if producer.send(message, local).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(work.pause).await;
    }
    // It stays, to be asked.
    std::future::pending::<()>().await;
}

/// 30 % commit, 30 % roll back, 40 % are not known until somebody asks, some of them for longer.
fn entry(dice: &mut fastrand::Rng) -> Entry {
    let end = if dice.bool() { TransactionEnd::Commit } else { TransactionEnd::Rollback };
    match dice.u8(0..10) {
        0..3 => Entry::Decided(TransactionEnd::Commit),
        3..6 => Entry::Decided(TransactionEnd::Rollback),
        _ => Entry::Pending(dice.u32(0..3), end),
    }
}
