//! Pulls that found nothing and wait at their queue (long polling, wire.md 5.4).
//!
//! A plain list owned by one queue actor. A pull wakes when an entry at or behind its offset passes
//! its filter, or when its time is over; both go back to the connection that asked, which reads
//! once more and answers. Bounded: a queue holds at most [`HELD_MAX`] pulls. However a list ends, with a
//! panic of its actor for instance, its pulls go back.

use std::sync::Arc;

use gantry_storage::IndexEntry;
use tokio::time::Instant;

use crate::{
    log::batch::ReplyTo,
    metrics::HeldToken,
    net::Deliver,
    session::{MessageFilter, PullRequest, SessionEvent},
};

/// Pulls that one queue holds; more are answered at once.
pub const HELD_MAX: usize = 20_000;

/// A pull that waits.
pub struct HeldPull {
    /// The request, to be read again when due.
    pub request: Box<PullRequest>,
    /// Its filter; `None` lets everything pass.
    pub filter: Option<MessageFilter>,
    /// When it is answered even if nothing came.
    pub deadline: Instant,
    /// Counts it as long as it waits.
    pub held: HeldToken,
    /// Where it goes when due.
    pub back: Arc<ReplyTo>,
}

impl HeldPull {
    fn wants(&self, offset: u64, entry: &IndexEntry) -> bool {
        offset >= self.request.offset
            && self.filter.as_ref().is_none_or(|filter| filter.wants(entry))
    }

    /// Sends the pull back to its connection.
    pub fn fire(self) {
        if let ReplyTo::Session(session) = &*self.back {
            session.do_send(Deliver(SessionEvent::PullDue(self.request)));
        }
    }
}

/// See the module's text.
#[derive(Default)]
pub struct HeldPulls(Vec<HeldPull>);

impl HeldPulls {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds a pull; fires it at once if the queue holds as many as it may.
    pub fn hold(&mut self, pull: HeldPull) {
        if self.0.len() >= HELD_MAX { pull.fire() } else { self.0.push(pull) }
    }

    /// Fires every pull that wants one of the new entries, each with its offset.
    pub fn arrived<'a>(&mut self, entries: impl Iterator<Item = (u64, &'a IndexEntry)> + Clone) {
        self.fire_where(|pull| entries.clone().any(|(offset, entry)| pull.wants(offset, entry)));
    }

    /// Fires every pull whose time is over; the time of the next one.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        self.fire_where(|pull| pull.deadline <= now);
        self.0.iter().map(|pull| pull.deadline).min()
    }

    /// Fires all, because the queue stops or is deleted.
    pub fn fire_all(&mut self) {
        self.fire_where(|_| true);
    }

    fn fire_where(&mut self, due: impl Fn(&HeldPull) -> bool) {
        let mut i = 0;
        while let Some(pull) = self.0.get(i) {
            if due(pull) {
                self.0.swap_remove(i).fire();
            } else {
                i += 1;
            }
        }
    }
}

impl Drop for HeldPulls {
    fn drop(&mut self) {
        self.fire_all();
    }
}
