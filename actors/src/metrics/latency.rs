//! A histogram of times with fixed buckets, written without a lock and without allocation.
//!
//! One entry costs two additions to counters that writers on several threads may share; it stands for as
//! many messages or requests as it is told, so that a burst is one entry. Readers take a [`Snapshot`],
//! whose count is the sum of its buckets: they agree whatever is written meanwhile, and the sum of the
//! times is at most some entries ahead or behind.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Buckets of one histogram at most, without that for everything above the last bound.
const BOUNDS_MAX: usize = 20;

/// Bounds of buckets, in microseconds, for what is over in fractions of a second.
pub const SHORT_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Bounds, in microseconds, for what is over in milliseconds or after days.
pub const LONG_US: &[u64] = &[
    1_000,
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];

/// See the module's text.
pub struct Latency {
    bounds_us: &'static [u64],
    /// As many as there are bounds, and one.
    counts: [AtomicU64; BOUNDS_MAX + 1],
    sum_us: AtomicU64,
}

/// A histogram at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Upper bounds in seconds, the last one infinite, and the entries of each bucket alone.
    pub buckets: Vec<(f64, u64)>,
    /// All entries.
    pub count: u64,
    /// All times, in seconds.
    pub sum: f64,
}

impl Latency {
    /// An empty histogram with these bounds, which rise; those over the limit are not used.
    pub fn new(bounds_us: &'static [u64]) -> Self {
        let bounds_us = bounds_us.get(..BOUNDS_MAX).unwrap_or(bounds_us);
        Self { bounds_us, counts: Default::default(), sum_us: AtomicU64::new(0) }
    }

    /// So many took this long.
    pub fn record(&self, took: Duration, times: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds_us.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times, Relaxed);
        }
        self.sum_us.fetch_add(us.saturating_mul(times), Relaxed);
    }

    /// What has been recorded so far.
    pub fn snapshot(&self) -> Snapshot {
        let bounds = self.bounds_us.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Snapshot { buckets, count, sum: self.sum_us.load(Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_under_the_first_bound_that_is_not_below_it() {
        let latency = Latency::new(&[10, 100]);
        for (us, times) in [(0, 1), (10, 2), (11, 4), (100, 8), (101, 16), (1_000_000, 32)] {
            latency.record(Duration::from_micros(us), times);
        }
        let snapshot = latency.snapshot();
        let counts: Vec<u64> = snapshot.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [3, 12, 48]);
        assert_eq!(snapshot.buckets.last().map(|(bound, _)| *bound), Some(f64::INFINITY));
        assert_eq!(snapshot.count, 63);
        let sum = (2 * 10 + 4 * 11 + 8 * 100 + 16 * 101) as f64 / 1e6 + 32.0;
        assert!((snapshot.sum - sum).abs() < 1e-9, "{}", snapshot.sum);
    }

    #[test]
    fn bounds_rise_and_all_have_a_bucket() {
        for bounds in [SHORT_US, LONG_US] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(Latency::new(bounds).snapshot().buckets.len(), bounds.len() + 1);
        }
    }

    #[test]
    fn a_time_without_end_does_not_overflow() {
        let latency = Latency::new(SHORT_US);
        latency.record(Duration::MAX, 3);
        assert_eq!(latency.snapshot().count, 3);
    }
}
