//! A group's committed offsets under kills: they never go back behind what was once on disk or once
//! answered after a start, and never beyond what was committed.

use std::{cell::RefCell, fs, path::Path, time::Duration};

use gantry_client::{Client, MessageQueue};
use gantry_codec::fastjson;
use serde_json::Value;
use tokio::time::sleep;

use crate::harness::traffic::Ledger;

/// What may be found for each queue after a start.
pub struct Progress {
    queues: Vec<MessageQueue>,
    least: Vec<i64>,
    most: Vec<i64>,
}

impl Progress {
    pub const GROUP: &str = "billing";

    pub fn new(queues: &[MessageQueue]) -> Self {
        let none = vec![0; queues.len()];
        Self { queues: queues.to_vec(), least: none.clone(), most: none }
    }

    /// Takes note of what the file holds: from here on, nothing less is right.
    pub fn saved(&mut self, file: &Path) {
        let Ok(text) = fs::read(file) else { return };
        let saved: Value = fastjson::from_slice(&text).expect("the file is whole at any time");
        for (queue, least) in self.queues.iter().zip(&mut self.least) {
            let table = &saved["offsetTable"][format!("{}@{}", queue.topic, Self::GROUP)];
            *least = (*least).max(table[queue.queue_id.to_string()].as_i64().unwrap_or(0));
        }
    }

    /// Checks what the broker has after a start; from here on, nothing less is right.
    pub fn recovered(&mut self, place: usize, offset: i64) {
        let (least, most) = (self.least[place], self.most[place]);
        assert!(
            (least..=most).contains(&offset),
            "{offset} is not within {least} to {most}: {:?}",
            self.queues[place]
        );
        self.least[place] = offset;
    }

    /// Offsets of all queues that were certainly kept.
    pub fn committed(&self) -> i64 {
        self.least.iter().sum()
    }
}

/// Commits what has been acknowledged, queue after queue, until the daemon is gone.
pub async fn commit(client: &Client, ledger: &RefCell<Ledger>, progress: &RefCell<Progress>) {
    let queues = ledger.borrow().queues().to_vec();
    loop {
        for (place, queue) in queues.iter().enumerate() {
            let offset = ledger.borrow().count_at(place) as i64;
            progress.borrow_mut().most[place] = offset;
            if client.commit_offset(Progress::GROUP, queue, offset).await.is_err() {
                return;
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}
