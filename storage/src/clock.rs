//! The seam to the wall clock. Timers go through the runtime's own (pausable) clock; this is for
//! timestamps that are stored or compared with stored ones.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, Local, TimeZone};

/// Where timestamps come from.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64;

    /// What local clocks show then, as milliseconds since 1970 on them; UTC, if nobody knows better.
    fn local_ms(&self) -> i64 {
        self.now_ms()
    }

    /// The hour of the day that they show, 0 to 23.
    fn local_hour(&self) -> u8 {
        self.local_ms().div_euclid(3_600_000).rem_euclid(24) as u8
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that all others go through")]
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn local_ms(&self) -> i64 {
        let now = self.now_ms();
        let utc = DateTime::from_timestamp_millis(now).unwrap_or_default();
        let zone = Local.offset_from_utc_datetime(&utc.naive_utc());
        now + i64::from(zone.local_minus_utc()) * 1000
    }
}

/// A clock that stands until it is moved; for tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Moves it on.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_begin_on_the_hour() {
        let clock = ManualClock::new(4 * 3_600_000 - 1);
        assert_eq!(clock.local_hour(), 3);
        clock.advance(1);
        assert_eq!(clock.local_hour(), 4);
        clock.advance(20 * 3_600_000);
        assert_eq!(clock.local_hour(), 0);
        assert_eq!(ManualClock::new(-1).local_hour(), 23);
        assert!(SystemClock.local_hour() < 24);
    }
}
