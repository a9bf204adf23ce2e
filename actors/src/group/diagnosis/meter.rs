//! A rate over the last minute, from a counter that is looked at now and then.

use std::collections::VecDeque;

/// The time that a rate is over.
const SPAN_MS: i64 = 60_000;
/// Samples are this far apart at least, which bounds how many there are.
const STEP_MS: i64 = 5_000;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Meter {
    /// Time and count, the oldest first.
    samples: VecDeque<(i64, u64)>,
    /// What was looked at last, whether it is a sample or not.
    latest: (i64, u64),
}

impl Meter {
    /// The counter stands at `count` at `now_ms`.
    pub fn take(&mut self, now_ms: i64, count: u64) {
        self.latest = (now_ms, count);
        if self.samples.back().is_none_or(|(at_ms, _)| now_ms - at_ms >= STEP_MS) {
            self.samples.push_back((now_ms, count));
        }
        while self.samples.get(1).is_some_and(|(at_ms, _)| now_ms - at_ms >= SPAN_MS) {
            self.samples.pop_front();
        }
    }

    /// Counts per second.
    pub fn rate(&self) -> f64 {
        let (Some((from_ms, first)), (to_ms, last)) = (self.samples.front(), self.latest) else {
            return 0.0;
        };
        match to_ms - from_ms {
            0 => 0.0,
            // Milliseconds and messages of a minute are far from what an f64 cannot hold.
            ms => last.saturating_sub(*first) as f64 * 1000.0 / ms as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(), 0.0);
        for second in 0..=30 {
            meter.take(second * 1000, second as u64 * 10);
        }
        assert!((meter.rate() - 10.0).abs() < 1e-9);
        for second in 31..=100 {
            meter.take(second * 1000, 300);
        }
        assert_eq!(meter.rate(), 0.0, "nothing came for a minute");
        assert!(meter.samples.len() <= 14, "{}", meter.samples.len());
    }

    #[test]
    fn a_counter_that_begins_anew_is_no_rate() {
        let mut meter = Meter::default();
        meter.take(0, 100);
        meter.take(1000, 5);
        assert_eq!(meter.rate(), 0.0);
    }
}
