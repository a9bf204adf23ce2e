//! When each request of an open loop is meant to go out.
//!
//! A closed loop slows down with the broker it measures, and thereby hides every stall behind the
//! requests it did not send. An open loop fixes the send times beforehand and counts each latency
//! from the intended time, whether or not the request could leave then. The schedule knows nothing of
//! sockets: it maps a request's number to a time and a time to the count of requests due.

use std::num::NonZeroU64;
use std::time::Duration;

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Requests at a constant rate, spread evenly over several connections.
///
/// With `n` connections, connection `k` sends the requests `k`, `k + n`, `k + 2n`, … of the whole
/// run's schedule, so the connections interleave rather than fire together.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    per_second: NonZeroU64,
    first: u64,
    step: u64,
}

impl Schedule {
    /// The part of connection `index` out of `connections` in a schedule of `per_second` requests in
    /// all.
    pub fn new(per_second: NonZeroU64, index: u64, connections: NonZeroU64) -> Schedule {
        Schedule { per_second, first: index, step: connections.get() }
    }

    /// The intended time of this connection's request number `n` (from 0), counted from the start.
    pub fn intended(&self, n: u64) -> Duration {
        let number = u128::from(self.first) + u128::from(n) * u128::from(self.step);
        let nanos = number * NANOS_PER_SEC / u128::from(self.per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonzero(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).expect("not zero")
    }

    #[test]
    fn one_connection_sends_all() {
        let schedule = Schedule::new(nonzero(1_000), 0, nonzero(1));
        assert_eq!(schedule.intended(0), Duration::ZERO);
        assert_eq!(schedule.intended(1), Duration::from_millis(1));
        assert_eq!(schedule.intended(60_000), Duration::from_secs(60));
    }

    #[test]
    fn connections_interleave() {
        let parts: Vec<_> = (0..4).map(|k| Schedule::new(nonzero(4_000), k, nonzero(4))).collect();
        let mut times: Vec<_> =
            parts.iter().flat_map(|part| (0..3).map(|n| part.intended(n))).collect();
        times.sort();
        let expected: Vec<_> = (0..12).map(|n| Duration::from_micros(250 * n)).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn odd_rates_do_not_drift() {
        let schedule = Schedule::new(nonzero(7), 0, nonzero(1));
        assert_eq!(schedule.intended(7 * 3_600), Duration::from_secs(3_600));
    }
}
