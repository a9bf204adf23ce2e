//! The notes of where counters stood, and sums and rates from them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use gantry_codec::body::{BrokerStatsData, BrokerStatsItem};

use super::Key;

/// A window: how far it reaches back, and how far apart its notes are at least, in ms.
struct Window {
    reach: i64,
    step: i64,
}

const MINUTE: Window = Window { reach: 60_000, step: 10_000 };
const HOUR: Window = Window { reach: 3_600_000, step: 600_000 };
const DAY: Window = Window { reach: 86_400_000, step: 3_600_000 };

/// Ticks of the sampler may come this much early.
const EARLY_MS: i64 = 1_000;

/// Where a counter stood.
#[derive(Clone, Copy, Debug)]
struct Note {
    at_ms: i64,
    value: u64,
}

/// The notes of one window, the oldest first.
#[derive(Debug, Default)]
struct Notes(VecDeque<Note>);

impl Notes {
    fn take(&mut self, window: &Window, note: Note) {
        let due = |last: &Note| note.at_ms - last.at_ms >= window.step - EARLY_MS;
        if self.0.back().is_none_or(due) {
            self.0.push_back(note);
        }
        // One stays that is as old as the window or older: the window begins there.
        while self.0.get(1).is_some_and(|next| note.at_ms - next.at_ms >= window.reach) {
            self.0.pop_front();
        }
    }

    /// From the youngest note that is as old as the window, or else the oldest, to `now`.
    fn item(&self, window: &Window, now: Note) -> BrokerStatsItem {
        let old = self.0.iter().rev().find(|note| now.at_ms - note.at_ms >= window.reach);
        let Some(first) = old.or(self.0.front()) else { return BrokerStatsItem::default() };
        let sum = now.value.saturating_sub(first.value);
        let ms = (now.at_ms - first.at_ms).max(1);
        BrokerStatsItem {
            sum: i64::try_from(sum).unwrap_or(i64::MAX),
            tps: sum as f64 * 1000.0 / ms as f64,
            // How many calls it were is not counted.
            avgpt: 0.0,
        }
    }
}

/// One counter.
#[derive(Debug)]
struct Track {
    /// Where it stood at the last tick.
    last: u64,
    /// The tick that it was seen in.
    tick: u64,
    /// Its notes, once it has moved.
    moved: Option<Box<[Notes; 3]>>,
}

impl Track {
    fn take(&mut self, before_ms: i64, now: Note) {
        if now.value < self.last {
            // The counter began anew, with a topic that was made again say.
            (self.last, self.moved) = (0, None);
        }
        if self.moved.is_none() && now.value == self.last {
            return;
        }
        let last = Note { at_ms: before_ms, value: self.last };
        let moved = self
            .moved
            .get_or_insert_with(|| Box::new([(); 3].map(|()| Notes(VecDeque::from([last])))));
        for (notes, window) in moved.iter_mut().zip([MINUTE, HOUR, DAY]) {
            notes.take(&window, now);
        }
        self.last = now.value;
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<Tracks>);

#[derive(Debug, Default)]
struct Tracks {
    all: HashMap<Key, Track>,
    ticks: u64,
    /// When the last tick was; 0 before the first.
    ticked_ms: i64,
}

impl Statistics {
    /// Notes where all counters stand. One that is not among them is forgotten.
    pub fn tick(&self, now_ms: i64, counters: impl Iterator<Item = (Key, u64)>) {
        let mut tracks = self.lock();
        let Tracks { all, ticks, ticked_ms } = &mut *tracks;
        *ticks += 1;
        let before_ms = if *ticked_ms == 0 { now_ms } else { *ticked_ms };
        for (key, value) in counters {
            // A counter that is new began at 0 after the last tick.
            let track = all.entry(key).or_insert(Track { last: 0, tick: 0, moved: None });
            track.tick = *ticks;
            track.take(before_ms, Note { at_ms: now_ms, value });
        }
        all.retain(|_, track| track.tick == *ticks);
        *ticked_ms = now_ms;
    }

    /// What a counter that stands at `value` now has come to over the last minute, hour and day.
    pub fn of(&self, key: &Key, now_ms: i64, value: u64) -> BrokerStatsData {
        let tracks = self.lock();
        let now = Note { at_ms: now_ms, value };
        let before = Note {
            at_ms: if tracks.ticked_ms == 0 { now_ms } else { tracks.ticked_ms },
            value: tracks.all.get(key).map_or(0, |track| track.last),
        };
        let since_tick = [(); 3].map(|()| Notes(VecDeque::from([before])));
        let moved = tracks.all.get(key).and_then(|track| track.moved.as_deref());
        let [minute, hour, day] = moved.unwrap_or(&since_tick);
        BrokerStatsData {
            stats_day: day.item(&DAY, now),
            stats_hour: hour.item(&HOUR, now),
            stats_minute: minute.item(&MINUTE, now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tracks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn key() -> Key {
        Key { name: super::super::names::TOPIC_PUT_NUMS, of: "t".into() }
    }

    /// Ticks every ten seconds from `from` to before `to` (s), with the counter as `value` says.
    fn run(stats: &Statistics, from: i64, to: i64, value: impl Fn(i64) -> u64) {
        for second in (from..to).step_by(10) {
            stats.tick(START + second * 1000, [(key(), value(second))].into_iter());
        }
    }

    fn sums(stats: &Statistics, second: i64, value: u64) -> [i64; 3] {
        let data = stats.of(&key(), START + second * 1000, value);
        [data.stats_minute.sum, data.stats_hour.sum, data.stats_day.sum]
    }

    #[test]
    fn a_minute_an_hour_and_a_day() {
        let stats = Statistics::default();
        run(&stats, 0, 90_000, |second| second as u64);
        let second = 90_000;
        assert_eq!(sums(&stats, second, 90_000), [60, 3_600, 86_400]);
        let data = stats.of(&key(), START + second * 1000, 90_000);
        assert_eq!((data.stats_minute.tps, data.stats_day.tps), (1.0, 1.0));
    }

    #[test]
    fn what_came_since_the_last_tick_counts() {
        let stats = Statistics::default();
        run(&stats, 0, 20, |_| 0);
        assert_eq!(sums(&stats, 11, 5), [5; 3], "nothing has moved at a tick yet");
        run(&stats, 20, 30, |_| 7);
        assert_eq!(sums(&stats, 21, 9), [9; 3], "all since it stood still");
    }

    #[test]
    fn a_counter_that_is_new_began_at_nothing() {
        let stats = Statistics::default();
        stats.tick(START, [].into_iter());
        assert_eq!(sums(&stats, 5, 4), [4; 3]);
        run(&stats, 10, 20, |_| 6);
        assert_eq!(sums(&stats, 12, 6), [6; 3]);
    }

    #[test]
    fn what_stands_still_runs_out_of_the_window() {
        let stats = Statistics::default();
        run(&stats, 0, 20, |second| second as u64);
        run(&stats, 20, 200, |_| 10);
        assert_eq!(sums(&stats, 200, 10), [0, 10, 10]);
    }

    #[test]
    fn a_counter_that_begins_anew_is_not_taken_for_a_loss() {
        let stats = Statistics::default();
        run(&stats, 0, 30, |second| 100 * second as u64);
        run(&stats, 30, 40, |_| 3);
        assert_eq!(sums(&stats, 41, 4), [4; 3]);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_what_never_moved_has_no_notes() {
        let stats = Statistics::default();
        run(&stats, 0, 50, |_| 0);
        assert!(stats.lock().all[&key()].moved.is_none());
        stats.tick(START + 60_000, [].into_iter());
        assert!(stats.lock().all.is_empty());
    }
}
