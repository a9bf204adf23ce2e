//! The lock of one queue, as its consumer sees it.
//!
//! A broker keeps a lock for 60 s from its last renewal. Here it counts for half of that, from before the
//! renewal was asked for: when the broker gives the queue to another member, this one has long stopped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a lock counts here.
const LASTS: Duration = Duration::from_secs(30);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Lease(Mutex<Option<Instant>>);

impl Lease {
    /// The broker has renewed what was asked for at `asked`.
    pub(super) fn renewed(&self, asked: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked + LASTS);
    }

    /// The broker has not: another member has the queue.
    pub(super) fn refused(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the queue may be worked on.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_time_and_by_refusal() {
        let (lease, start) = (Lease::default(), Instant::now());
        assert!(!lease.holds(start), "not asked for yet");
        lease.renewed(start);
        assert!(lease.holds(start + LASTS - Duration::from_millis(1)));
        assert!(!lease.holds(start + LASTS));
        lease.refused();
        assert!(!lease.holds(start));
    }
}
