//! What one connection counts, and how the counts of all connections become one.
//!
//! Latencies go into a histogram with three significant digits, from one nanosecond to ten minutes;
//! what lies beyond is counted as the limit, never dropped. Only what is answered while the run is in
//! its measuring phase is recorded here; the running total for the progress bar and the rate is kept
//! in [`crate::run::Run`].

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_codec::response_code;
use hdrhistogram::Histogram;

const LATENCY_NANOS_MAX: u64 = 600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let bounds = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, SIGNIFICANT_DIGITS);
        Latencies(bounds.expect("the bounds are constants that the histogram accepts"))
    }
}

impl Latencies {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos.max(1));
    }

    /// Takes in what another connection counted.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// The usual percentiles, None when nothing was recorded.
    pub fn summary(&self) -> Option<LatencySummary> {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| LatencySummary {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(self.0.max()),
        })
    }
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LatencySummary {
    /// How many latencies were recorded.
    pub count: u64,
    /// Half were at most this.
    pub p50_us: f64,
    /// Nine of ten were at most this.
    pub p90_us: f64,
    /// 99 of 100 were at most this.
    pub p99_us: f64,
    /// 999 of 1000 were at most this.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// Answers with one code other than success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many came.
    pub count: u64,
    /// The header of the first one, where the remark stands.
    pub example: String,
}

/// The counts of one connection, or of several together.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// From the intended send time to the answer.
    pub latency: Latencies,
    /// From the intended send time to the arrival at a consumer (end-to-end runs only).
    pub end_to_end: Latencies,
    /// Answers other than success, by code.
    pub refused: BTreeMap<i32, Refusals>,
    /// Requests without an answer when the run had ended and its grace was over.
    pub unanswered: u64,
    /// Connections that ended before the run did, and why.
    pub lost: Vec<String>,
}

impl Tally {
    /// Counts an answer with an error code; `header` is asked for its text once per code.
    pub fn refuse(&mut self, code: i32, header: impl FnOnce() -> String) {
        let refusals = self.refused.entry(code).or_default();
        if refusals.count == 0 {
            refusals.example = header();
        }
        refusals.count += 1;
    }

    /// Takes in the counts of another connection.
    pub fn add(&mut self, other: Tally) {
        self.latency.add(&other.latency);
        self.end_to_end.add(&other.end_to_end);
        for (code, refusals) in other.refused {
            let mine = self.refused.entry(code).or_default();
            if mine.count == 0 {
                mine.example = refusals.example;
            }
            mine.count += refusals.count;
        }
        self.unanswered += other.unanswered;
        self.lost.extend(other.lost);
    }

    /// What went wrong, in one line; empty when nothing did.
    pub fn trouble(&self) -> String {
        let refused = self.refused.iter().map(|(code, refusals)| {
            let name = response_code::name(*code).unwrap_or("unknown code");
            format!("{name} ({code}) {} times, first: {}", refusals.count, refusals.example)
        });
        let unanswered = (self.unanswered > 0).then(|| format!("{} unanswered", self.unanswered));
        refused.chain(unanswered).chain(self.lost.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    /// Whether every request was answered with success on connections that lasted.
    pub fn is_clean(&self) -> bool {
        self.refused.is_empty() && self.unanswered == 0 && self.lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), None);
        for micros in 1..=1_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let summary = latencies.summary().expect("values were recorded");
        let close = |value: f64, expected: f64| (value - expected).abs() <= expected / 500.0;
        assert_eq!(summary.count, 1_000);
        assert!(close(summary.p50_us, 500.0), "{summary:?}");
        assert!(close(summary.p99_us, 990.0), "{summary:?}");
        assert!(close(summary.max_us, 1_000.0), "{summary:?}");
    }

    #[test]
    fn extremes_are_counted_at_the_limits() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(86_400));
        assert_eq!(latencies.summary().expect("two values").count, 2);
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally::default();
        assert!(sum.is_clean());
        for (code, text) in [(2, "first"), (2, "second"), (14, "third")] {
            let mut tally = Tally::default();
            tally.refuse(code, || text.to_owned());
            tally.latency.record(Duration::from_micros(5));
            tally.unanswered = 1;
            sum.add(tally);
        }
        assert_eq!(sum.refused[&2], Refusals { count: 2, example: "first".into() });
        assert_eq!(sum.refused[&14].count, 1);
        assert_eq!(sum.unanswered, 3);
        assert_eq!(sum.latency.summary().expect("three values").count, 3);
        assert!(!sum.is_clean());
        assert_eq!(
            sum.trouble(),
            "SYSTEM_BUSY (2) 2 times, first: first; \
             SERVICE_NOT_AVAILABLE (14) 1 times, first: third; 3 unanswered"
        );
    }
}
