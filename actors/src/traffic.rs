//! How many messages come and go: counters that sessions raise, and the actor that remembers them.
//!
//! [`Traffic`] holds two counters, raised once per batch stored and per pull answered. The [`Meter`] notes
//! their values every ten seconds, so that rates over 10, 60 and 600 seconds can be told, and at the turn of
//! the day (UTC), since tools show what came today and yesterday. Counting begins with the process.
//! Failure policy: restart empty; the counters and what was noted live on, outside of the actor.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gantry_storage::Clock;
use gantry_supervisor::{ContextExt, Ctx, Logic};

/// How often the counters are noted.
const PERIOD: Duration = Duration::from_secs(10);
/// As many notes as the longest window needs.
const NOTES_MAX: usize = 61;
const DAY_MS: i64 = 86_400_000;

/// How long messages take to be stored, as the Java broker sorts them: up to so many ms, and its name.
pub const PUT_TIMES: [(u64, &str); 13] = [
    (0, "<=0ms"),
    (10, "0~10ms"),
    (50, "10~50ms"),
    (100, "50~100ms"),
    (200, "100~200ms"),
    (500, "200~500ms"),
    (1_000, "500ms~1s"),
    (2_000, "1~2s"),
    (3_000, "2~3s"),
    (4_000, "3~4s"),
    (5_000, "4~5s"),
    (10_000, "5~10s"),
    (u64::MAX, "10s~"),
];

/// Messages stored for clients and delivered to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored.
    pub stored: u64,
    /// Delivered.
    pub delivered: u64,
}

/// Messages per second over the last 10, 60 and 600 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Stored.
    pub stored: [f64; 3],
    /// Delivered.
    pub delivered: [f64; 3],
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Traffic {
    stored: AtomicU64,
    delivered: AtomicU64,
    notes: Mutex<Notes>,
    put_times: [AtomicU64; PUT_TIMES.len()],
    put_max_ms: AtomicU64,
    read_max_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Notes {
    /// By time (ms), oldest first.
    last: VecDeque<(i64, Counts)>,
    day: i64,
    this_morning: Counts,
    yesterday_morning: Counts,
}

impl Traffic {
    /// So many messages were stored.
    pub fn stored(&self, messages: u64) {
        self.stored.fetch_add(messages, Ordering::Relaxed);
    }

    /// So many messages are on their way to a consumer.
    pub fn delivered(&self, messages: u64) {
        self.delivered.fetch_add(messages, Ordering::Relaxed);
    }

    /// So many messages were stored, and answered, after this time.
    pub fn put_took(&self, time: Duration, messages: u64) {
        let ms = time.as_millis() as u64;
        let place = PUT_TIMES.iter().position(|(most, _)| ms <= *most);
        if let Some(counter) = place.and_then(|at| self.put_times.get(at)) {
            counter.fetch_add(messages, Ordering::Relaxed);
        }
        self.put_max_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// A pull had to wait for so long for the disk.
    pub fn read_took(&self, time: Duration) {
        self.read_max_ms.fetch_max(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// How many messages were stored in which time, in the order of [`PUT_TIMES`].
    pub fn put_times(&self) -> [u64; PUT_TIMES.len()] {
        std::array::from_fn(|at| self.put_times[at].load(Ordering::Relaxed))
    }

    /// The longest times of a send and of a pull that had to wait for the disk, in ms.
    pub fn longest_ms(&self) -> (u64, u64) {
        let load = |max: &AtomicU64| max.load(Ordering::Relaxed);
        (load(&self.put_max_ms), load(&self.read_max_ms))
    }

    /// All since the start.
    pub fn now(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { stored: load(&self.stored), delivered: load(&self.delivered) }
    }

    /// What the counters were when yesterday and today began.
    pub fn mornings(&self) -> (Counts, Counts) {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        (notes.yesterday_morning, notes.this_morning)
    }

    /// The rates up to now. A window that reaches back further than the notes is as long as they are.
    pub fn rates(&self, now_ms: i64) -> Rates {
        let (now, notes) = (self.now(), self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        let windows = [10_000, 60_000, 600_000].map(|window| {
            let old = notes.last.iter().rev().find(|(at, _)| *at <= now_ms - window);
            let (at, then) = *old.or(notes.last.front())?;
            let seconds = (now_ms - at) as f64 / 1_000.0;
            let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
            (seconds > 0.0).then(|| {
                (per_second(now.stored, then.stored), per_second(now.delivered, then.delivered))
            })
        });
        let windows = windows.map(Option::unwrap_or_default);
        Rates { stored: windows.map(|(stored, _)| stored), delivered: windows.map(|(_, got)| got) }
    }

    /// Notes the counters.
    pub fn note(&self, now_ms: i64) {
        let now = self.now();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now_ms.div_euclid(DAY_MS);
        if notes.last.is_empty() {
            notes.day = day;
        } else if notes.day != day {
            let one_day = day == notes.day + 1;
            notes.yesterday_morning = if one_day { notes.this_morning } else { now };
            (notes.day, notes.this_morning) = (day, now);
        }
        notes.last.push_back((now_ms, now));
        if notes.last.len() > NOTES_MAX {
            notes.last.pop_front();
        }
    }
}

/// Notes the counters now and then.
pub struct Meter {
    traffic: Arc<Traffic>,
    clock: Arc<dyn Clock>,
}

impl Meter {
    /// A meter of this traffic.
    pub fn new(traffic: Arc<Traffic>, clock: Arc<dyn Clock>) -> Self {
        Self { traffic, clock }
    }
}

impl Logic for Meter {
    const NAME: &'static str = "meter";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.traffic.note(self.clock.now_ms());
        ctx.every(PERIOD, |me, _| me.traffic.note(me.clock.now_ms()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_their_windows() {
        let traffic = Traffic::default();
        assert_eq!(traffic.rates(5), Rates::default(), "nothing was noted yet");
        for second in (0..700).step_by(10) {
            traffic.note(second * 1_000);
            traffic.stored(if second < 650 { 100 } else { 1_000 });
        }
        let rates = traffic.rates(700_000);
        assert_eq!(rates.stored[0], 100.0);
        assert!((rates.stored[1] - 5_100.0 / 60.0).abs() < 0.01, "{rates:?}");
        assert!((rates.stored[2] - (55.0 * 100.0 + 5_000.0) / 600.0).abs() < 0.01, "{rates:?}");
        assert_eq!(rates.delivered, [0.0; 3]);
    }

    #[test]
    fn times_are_sorted_as_in_java() {
        let traffic = Traffic::default();
        for (ms, messages) in [(0, 5), (1, 2), (10, 1), (11, 3), (60_000, 4)] {
            traffic.put_took(Duration::from_millis(ms), messages);
        }
        traffic.read_took(Duration::from_millis(7));
        let times = traffic.put_times();
        assert_eq!((times[0], times[1], times[2], times[12]), (5, 3, 3, 4));
        assert_eq!(times.iter().sum::<u64>(), 15);
        assert_eq!(traffic.longest_ms(), (60_000, 7));
    }

    #[test]
    fn a_young_process_tells_the_rate_since_its_start() {
        let traffic = Traffic::default();
        traffic.note(0);
        traffic.delivered(50);
        assert_eq!(traffic.rates(5_000).delivered, [10.0; 3]);
    }

    #[test]
    fn days_are_told_apart() {
        let traffic = Traffic::default();
        let counts = |stored| Counts { stored, delivered: 0 };
        traffic.note(DAY_MS - 1);
        traffic.stored(5);
        traffic.note(DAY_MS);
        assert_eq!(traffic.mornings(), (counts(0), counts(5)));
        traffic.stored(2);
        traffic.note(2 * DAY_MS);
        assert_eq!(traffic.mornings(), (counts(5), counts(7)));
        traffic.stored(1);
        traffic.note(4 * DAY_MS);
        assert_eq!(traffic.mornings(), (counts(8), counts(8)), "nothing came yesterday");
    }
}
