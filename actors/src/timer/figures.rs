//! What others may see of the timers without a message: how far they are, how late they deliver, and
//! how many wait for what.
//!
//! Written by the timers' actor, read by sessions and tools. *Lateness* is the time between when a
//! message asked to be delivered and when it could be read. It is kept as a histogram with buckets of
//! an eighth of their power of two, so a percentile is told at most an eighth too high.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use gantry_codec::body::DataVersion;
use gantry_storage::timer::TimerCheckpoint;
use serde::{Deserialize, Serialize};

/// Buckets per power of two.
const STEPS: u64 = 8;
/// Buckets for all that 32 bits can tell; longer is not told apart.
const BUCKETS: usize = (STEPS * 30) as usize;

/// Waiting timers by topic, as the Java broker keeps and tells them (`config/timermetrics`, code 61).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimingCounts {
    /// Changes with every count.
    pub data_version: DataVersion,
    /// By topic.
    pub timing_count: BTreeMap<String, TimingCount>,
}

/// Waiting timers of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimingCount {
    /// How many.
    pub count: i64,
    /// When that last changed, ms.
    pub time_stamp: i64,
}

impl TimingCounts {
    /// So many more of a topic wait, or fewer.
    pub fn add(&mut self, topic: &str, change: i64, now_ms: i64) {
        if !self.timing_count.contains_key(topic) {
            self.timing_count.insert(topic.to_owned(), TimingCount::default());
        }
        let Some(count) = self.timing_count.get_mut(topic) else { return };
        count.count += change;
        count.time_stamp = now_ms;
        self.data_version.counter += 1;
        self.data_version.timestamp = now_ms;
    }
}

/// How late messages were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// How many there were.
    pub count: u64,
    /// Half of them no later, ms.
    pub p50_ms: i64,
    /// 99 of 100 no later.
    pub p99_ms: i64,
    /// None later.
    pub max_ms: i64,
}

/// See the module's text.
#[derive(Debug)]
pub struct TimerFigures {
    /// All slots before it have been delivered, ms.
    pub read_time_ms: AtomicI64,
    /// Messages of the timer topic before it have been taken in.
    pub queue_offset: AtomicU64,
    /// Timers that wait.
    pub waiting: AtomicI64,
    /// Messages taken in since the start.
    pub taken_in: AtomicU64,
    /// Messages delivered since the start.
    pub delivered: AtomicU64,
    /// Where the oldest message lies that waits; beyond everything if none does.
    pub oldest: AtomicU64,
    /// Timers per second, taken in and delivered, in thousandths.
    pub rates: [AtomicU64; 2],
    lateness: Histogram,
    checkpoint: ArcSwap<TimerCheckpoint>,
    counts: Mutex<TimingCounts>,
    /// By slot, if there is a limit.
    slots: Mutex<HashMap<i64, i64>>,
}

impl Default for TimerFigures {
    fn default() -> Self {
        Self {
            read_time_ms: AtomicI64::new(0),
            queue_offset: AtomicU64::new(0),
            waiting: AtomicI64::new(0),
            taken_in: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            oldest: AtomicU64::new(u64::MAX),
            rates: Default::default(),
            lateness: Histogram::default(),
            checkpoint: ArcSwap::default(),
            counts: Mutex::default(),
            slots: Mutex::default(),
        }
    }
}

impl TimerFigures {
    /// A message was delivered, so late.
    pub fn note_lateness(&self, late_ms: i64) {
        self.lateness.note(late_ms);
    }

    /// How late all since the start were.
    pub fn lateness(&self) -> Lateness {
        self.lateness.told()
    }

    /// What is on the disk.
    pub fn checkpoint(&self) -> Arc<TimerCheckpoint> {
        self.checkpoint.load_full()
    }

    /// The checkpoint has moved.
    pub fn set_checkpoint(&self, checkpoint: TimerCheckpoint) {
        self.checkpoint.store(Arc::new(checkpoint));
    }

    /// Waiting timers by topic.
    pub fn counts(&self) -> MutexGuard<'_, TimingCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waiting timers by slot.
    pub fn slots(&self) -> MutexGuard<'_, HashMap<i64, i64>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often each value was met.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    max: AtomicI64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, max: AtomicI64::new(0) }
    }
}

impl Histogram {
    /// Takes a value in.
    pub fn note(&self, value: i64) {
        let value = value.max(0);
        let bucket = bucket_of(value as u64).min(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// What was taken in.
    pub fn told(&self) -> Lateness {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let (count, max_ms) = (counts.iter().sum::<u64>(), self.max.load(Ordering::Relaxed));
        let percentile = |percent: u64| {
            let mut left = (count * percent).div_ceil(100);
            let bucket = counts.iter().position(|in_bucket| {
                let is_here = *in_bucket >= left;
                left = left.saturating_sub(*in_bucket);
                is_here
            });
            bucket.map_or(0, |bucket| last_of(bucket) as i64).min(max_ms)
        };
        Lateness { count, p50_ms: percentile(50), p99_ms: percentile(99), max_ms }
    }
}

/// The bucket of a value: values below [`STEPS`] have one each.
fn bucket_of(value: u64) -> usize {
    let Some(power) = value.checked_ilog2().filter(|power| *power >= 3) else {
        return value as usize;
    };
    let step = (value >> (power - 3)) - STEPS;
    ((u64::from(power) - 2) * STEPS + step) as usize
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let (group, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    match group {
        0 => step,
        _ => ((STEPS + step + 1) << (group - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_that_ends_no_earlier() {
        for value in (0..5000).chain([60_000, 1 << 20, 1 << 31]) {
            let bucket = bucket_of(value);
            assert!(last_of(bucket) >= value && last_of(bucket) <= value + value / 8, "{value}");
            assert!(bucket == 0 || last_of(bucket - 1) < value, "{value}");
        }
    }

    #[test]
    fn percentiles_are_told_from_the_buckets() {
        let figures = TimerFigures::default();
        assert_eq!(figures.lateness(), Lateness::default());
        (0..98).for_each(|_| figures.note_lateness(2));
        figures.note_lateness(500);
        figures.note_lateness(-3);
        let lateness = figures.lateness();
        assert_eq!((lateness.count, lateness.p50_ms, lateness.max_ms), (100, 2, 500));
        assert_eq!(lateness.p99_ms, 2);
        figures.note_lateness(400);
        assert_eq!(figures.lateness().p99_ms, last_of(bucket_of(400)) as i64);
    }

    #[test]
    fn counts_are_written_as_java_writes_them() {
        let mut counts = TimingCounts::default();
        counts.add("t", 2, 5);
        counts.add("t", -1, 7);
        assert_eq!(
            serde_json::to_string(&counts).unwrap(),
            r#"{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":7},"timingCount":{"t":{"count":1,"timeStamp":7}}}"#
        );
    }
}
