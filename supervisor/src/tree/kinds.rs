//! All children of a tree by kind: how many there are, what has gone wrong with them, how long their mail
//! waits.
//!
//! There may be 100,000 children, but few kinds; a kind is what can be shown on one page. Mailboxes are
//! measured with the question after an actor's health, see [`crate::health`]. Asking costs a message, so
//! kinds with many children are counted and not asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Counters, Tree, lock};
use crate::health::{self, Backlog, Health, Round};
use crate::link::State;

/// The children of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindState {
    /// How many there are.
    pub children: usize,
    /// Of these, how many have been given up.
    pub down: usize,
    /// What has gone wrong with them, and with those that are gone.
    pub counters: Counters,
    /// What was found in their mailboxes; nothing if they were not asked.
    pub mail: Option<Mail>,
}

/// What was found in the mailboxes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// Children that have not answered in time.
    pub frozen: usize,
    /// The fullest mailbox and the longest wait.
    pub worst: Backlog,
}

impl Tree {
    /// All children of this tree by kind, and what is left of those that were anywhere under its root.
    pub fn kinds(&self) -> BTreeMap<&'static str, KindState> {
        let mut kinds: BTreeMap<&'static str, KindState> = BTreeMap::new();
        let past = lock(&self.inner.world.past).clone();
        for (kind, counters) in past {
            kinds.entry(kind).or_default().counters = counters;
        }
        for (_, child) in self.children() {
            let kind = kinds.entry(child.link.kind).or_default();
            kind.children += 1;
            let is_given_up = matches!(child.link.state(), State::Down | State::Ended);
            kind.down += usize::from(is_given_up);
            kind.counters.add(&child.link);
        }
        kinds
    }

    /// As [`kinds`](Self::kinds), with what is found in the mailboxes of those kinds that have `few`
    /// children at most. Waits for their answers, at most `limit`.
    pub async fn probe(&self, limit: Duration, few: usize) -> BTreeMap<&'static str, KindState> {
        let mut kinds = self.kinds();
        let is_few = |kind: &str| kinds.get(kind).is_some_and(|kind| kind.children <= few);
        let children = self.children();
        let asked: Vec<_> =
            children.into_iter().filter(|(_, child)| is_few(child.link.kind)).collect();
        let round = Round::new();
        asked.iter().for_each(|(_, child)| child.ask(&round));
        // Late is an answer as well: it is read from the links.
        let _ = tokio::time::timeout(limit, round.done()).await;
        for (_, child) in asked {
            let Some(kind) = kinds.get_mut(child.link.kind) else { continue };
            let mail = kind.mail.get_or_insert_default();
            let (_, health) = health::judge(&child.link);
            mail.frozen += usize::from(health == Health::Frozen);
            let found = child.link.report().mailbox;
            mail.worst.messages = mail.worst.messages.max(found.messages);
            mail.worst.waited = mail.worst.waited.max(found.waited);
        }
        kinds
    }
}
