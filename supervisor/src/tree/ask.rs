//! Asking all children of a tree how they are, now or every so often.

use std::time::Duration;

use slog::{info, warn};

use super::Tree;
use crate::child::{Child, ChildState};
use crate::health::{self, Health, Round};

/// Questions put before other tasks of the thread have a turn.
const QUESTIONS_PER_TURN: usize = 256;

impl Tree {
    /// Asks all children how they are and waits for their answers, at most `limit`. A running child
    /// that has not answered by then is [`Health::Frozen`]. Call it from a thread of its own: actors of
    /// the calling thread cannot answer while it is blocked, and neither can it notice.
    pub async fn check(&self, limit: Duration) -> Vec<ChildState> {
        let children = self.children();
        let round = Round::new();
        for asked in children.chunks(QUESTIONS_PER_TURN) {
            asked.iter().for_each(|(_, child)| child.ask(&round));
            tokio::task::yield_now().await;
        }
        // Late is an answer as well: it is read from the links.
        let _ = tokio::time::timeout(limit, round.done()).await;
        children.iter().map(|(tree, child)| tree.examine(child)).collect()
    }

    fn examine(&self, child: &Child) -> ChildState {
        let (before, now) = health::judge(&child.link);
        let log = &self.inner.world.log;
        match (&before, &now) {
            (Health::Frozen, Health::Frozen) => {}
            (_, Health::Frozen) => warn!(log, "actor does not answer"; self.who(&child.link)),
            (Health::Frozen, _) => info!(log, "actor answers again"; self.who(&child.link)),
            _ => {}
        }
        child.show(&self.inner.path)
    }

    /// Checks all children every `period` until the tree stops, with `limit` for their answers; what
    /// it finds is logged and shown by [`snapshot`](Self::snapshot). Runs on the calling thread.
    pub fn watch(&self, period: Duration, limit: Duration) {
        let tree = self.clone();
        actix::spawn(async move {
            let mut ended = tree.inner.ended.subscribe();
            while tokio::time::timeout(period, ended.wait_for(|ended| *ended)).await.is_err() {
                tree.check(limit).await;
            }
        });
    }
}
