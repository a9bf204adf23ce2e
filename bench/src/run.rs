//! The phases of a run, shared by the coordinator and all connections.
//!
//! Warm-up, then measuring, then stop. The coordinator alone moves the phase; connections look at it
//! once per turn and add to the totals once per turn, so that none of this shows in a profile.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Phase {
    /// Load is on, nothing is recorded.
    WarmUp,
    /// Load is on, everything is recorded.
    Measure,
    /// No new requests; answers under way are awaited for a grace period.
    Stop,
}

/// The shared state of one run.
#[derive(Debug)]
pub struct Run {
    /// When the schedule of an open loop begins.
    pub start: Instant,
    phase: AtomicU8,
    messages: AtomicU64,
}

impl Run {
    /// A run in its warm-up.
    pub fn new(start: Instant) -> Run {
        Run { start, phase: AtomicU8::new(Phase::WarmUp as u8), messages: AtomicU64::new(0) }
    }

    /// Where the run stands now.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::WarmUp,
            1 => Phase::Measure,
            _ => Phase::Stop,
        }
    }

    /// Moves on.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Messages answered since the start, warm-up included.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Adds messages that were answered.
    pub fn add_messages(&self, count: u64) {
        self.messages.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other() {
        let run = Run::new(Instant::now());
        for phase in [Phase::WarmUp, Phase::Measure, Phase::Stop] {
            run.enter(phase);
            assert_eq!(run.phase(), phase);
        }
    }
}
