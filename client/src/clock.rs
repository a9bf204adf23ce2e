//! Wall-clock time for message headers.
//!
//! Time limits and intervals run on `tokio::time`; only the timestamps written into messages need
//! the calendar. A simulator with a paused clock must not see the real one, so it derives the
//! calendar from the paused one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Where a client takes the calendar time from.
#[derive(Debug, Clone, Copy, Default)]
pub enum WallClock {
    /// The machine's clock.
    #[default]
    System,
    /// A fixed calendar time at a fixed instant of `tokio::time`; it advances with that clock, also
    /// while that is paused.
    Derived {
        /// Milliseconds since 1970 at `at`.
        start_ms: i64,
        /// The instant to which `start_ms` belongs.
        at: Instant,
    },
}

impl WallClock {
    /// Milliseconds since 1970; 0 for a clock set before that.
    #[expect(clippy::disallowed_methods, reason = "this is the seam that everything else uses")]
    pub fn now_ms(&self) -> i64 {
        match self {
            WallClock::System => {
                millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
            }
            WallClock::Derived { start_ms, at } => {
                start_ms.saturating_add(millis(Instant::now().saturating_duration_since(*at)))
            }
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn derived_clock_follows_the_paused_one() {
        let clock = WallClock::Derived { start_ms: 1_000, at: Instant::now() };
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.now_ms(), 1_250);
    }
}
