//! What is to happen when an incarnation dies: [`Policy`], [`Budget`], and [`Exit`], the reason.
//!
//! The supervisor does not read disks. "From disk" and "empty" both call the factory again; the names
//! say what the factory promises and what an operator reading the log has lost.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What to do with a child whose incarnation has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Make it again within its budget; the factory rebuilds the state from disk.
    RestartFromDisk,
    /// Make it again within its budget; what it held in memory is lost.
    RestartEmpty,
    /// Let it end alone, e.g. a connection. Its mailbox closes, nobody else is told.
    Stop,
    /// Its state can no longer be trusted: hand it to the parent at once.
    FailStop,
}

/// How often a child may be made again before its parent is asked, and how long to wait in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Restarts allowed within `window`; one more escalates. 0 escalates at the first failure.
    pub restarts: u32,
    /// Failures older than this are forgotten.
    pub window: Duration,
    /// Wait before the first restart of a window; it doubles with every further one.
    pub backoff_first: Duration,
    /// Upper bound of the wait.
    pub backoff_max: Duration,
}

impl Default for Budget {
    /// Five restarts a minute, 50 ms to 5 s apart.
    fn default() -> Self {
        Self {
            restarts: 5,
            window: Duration::from_secs(60),
            backoff_first: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
        }
    }
}

impl Budget {
    /// Wait before the `nth` restart of a window (from 1): between half of the doubled wait and all of
    /// it, so that children felled by one cause do not all come back at once.
    fn backoff(&self, nth: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = nth.saturating_sub(1).min(31);
        let full = self.backoff_first.saturating_mul(1 << doublings).min(self.backoff_max);
        full.mul_f64(0.5 + rng.f64() / 2.0)
    }
}

/// The failures of one child that still count.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    recent: VecDeque<Instant>,
}

impl Tally {
    /// Counts a failure: how long to wait before the restart, or `None` if the budget is spent.
    pub fn charge(
        &mut self,
        budget: &Budget,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Duration> {
        while self.recent.front().is_some_and(|&at| now - at >= budget.window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= budget.restarts as usize {
            return None;
        }
        self.recent.push_back(now);
        Some(budget.backoff(self.recent.len() as u32, rng))
    }

    /// Forgets all failures, after an order from above to start afresh.
    pub fn clear(&mut self) {
        self.recent = VecDeque::new();
    }
}

/// Why an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// A handler, future or stream item panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// The panic's text.
        message: String,
        /// `file:line`, known if [`quiet_panics`](crate::quiet_panics) is installed.
        site: Option<String>,
    },
    /// The logic gave up with [`ContextExt::fail`](crate::ContextExt::fail).
    #[error("failed: {0}")]
    Failed(String),
    /// The factory could not make the incarnation.
    #[error("could not be made: {0}")]
    NotMade(String),
    /// It stopped in an orderly way, by itself or told to.
    #[error("stopped")]
    Stopped,
    /// It did not stop in time, or its thread ended under it.
    #[error("killed")]
    Killed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget {
        restarts: 4,
        window: Duration::from_secs(10),
        backoff_first: Duration::from_millis(100),
        backoff_max: Duration::from_millis(500),
    };

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (nth, full_ms) in [(1, 100), (2, 200), (3, 400), (4, 500), (40, 500)] {
            let wait = BUDGET.backoff(nth, &mut rng).as_millis();
            assert!((full_ms / 2..=full_ms).contains(&wait), "wait {nth} is {wait} ms");
        }
    }

    #[test]
    fn same_seed_same_waits() {
        let waits = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            (1..5).map(|nth| BUDGET.backoff(nth, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn budget_is_spent_and_recovers_with_time() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut tally = Tally::default();
        let start = Instant::now();
        for _ in 0..4 {
            assert!(tally.charge(&BUDGET, start, &mut rng).is_some());
        }
        assert_eq!(tally.charge(&BUDGET, start, &mut rng), None);
        let later = start + BUDGET.window;
        let wait = tally.charge(&BUDGET, later, &mut rng).expect("a new window has begun");
        assert!(wait <= BUDGET.backoff_first, "the wait starts over: {wait:?}");
    }

    #[test]
    fn no_restarts_means_escalate_at_once() {
        let budget = Budget { restarts: 0, ..BUDGET };
        let mut rng = fastrand::Rng::with_seed(7);
        assert_eq!(Tally::default().charge(&budget, Instant::now(), &mut rng), None);
    }
}
