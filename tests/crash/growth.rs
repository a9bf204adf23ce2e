//! Topics that are made and used while the daemon is on its way to be killed: one whose making was
//! acknowledged is there afterwards, with its queues and its acknowledged messages.

use std::{cell::RefCell, rc::Rc, time::Duration};

use fastrand::Rng;
use gantry_client::{Client, TopicSpec};
use tokio::time::sleep;

use crate::harness::traffic::{Ledger, Sender};

/// The sender of the messages to new topics.
const SENDER: u32 = 50;
/// A topic is made as often as this at least.
const EVERY_MS: u64 = 100;
const QUEUES_MAX: i32 = 3;
/// Messages to each at most.
const MESSAGES_MAX: u64 = 30;

/// The new topics and what they were sent.
#[derive(Default)]
pub struct Growth {
    /// How many were asked for, be it in vain.
    asked: usize,
    /// Acknowledged ones, with their numbers of queues.
    made: Vec<(String, i32)>,
    ledgers: Vec<Rc<RefCell<Ledger>>>,
}

impl Growth {
    /// The topics that must be there, with their numbers of queues.
    pub fn made(&self) -> Vec<(String, i32)> {
        self.made.clone()
    }

    /// What each topic was acknowledged.
    pub fn ledgers(&self) -> Vec<Ledger> {
        self.ledgers.iter().map(|ledger| ledger.borrow().clone()).collect()
    }

    pub fn topics(&self) -> usize {
        self.made.len()
    }

    pub fn messages(&self) -> usize {
        self.ledgers.iter().map(|ledger| ledger.borrow().count()).sum()
    }
}

/// Makes topics and sends to them until the daemon is gone.
pub async fn grow(client: &Client, broker: &str, growth: &RefCell<Growth>, mut rng: Rng) {
    loop {
        sleep(Duration::from_millis(rng.u64(0..EVERY_MS))).await;
        let name = format!("new-{}", growth.borrow().asked);
        growth.borrow_mut().asked += 1;
        let queues = rng.i32(1..=QUEUES_MAX);
        let made = client.admin().create_topic(broker, &TopicSpec::new(&name, queues)).await;
        if made.is_err() {
            return;
        }
        growth.borrow_mut().made.push((name.clone(), queues));
        let Ok(route) = client.routes().refresh(&name).await else { return };
        let ledger = Rc::new(RefCell::new(Ledger::new(route.publish.clone())));
        assert_eq!(route.publish.len(), queues as usize, "{name}");
        growth.borrow_mut().ledgers.push(Rc::clone(&ledger));
        let messages = rng.u64(1..=MESSAGES_MAX);
        if Sender::new(client, SENDER, 0).run(messages, &ledger).await.is_err() {
            return;
        }
    }
}
