//! The bound on names: which counters are shown under their own names, and what all others add up to.
//!
//! A page must not grow with the number of topics. Of what counts, the most active ones are shown by
//! name, up to a limit; what the others gain from one page to the next is added to a sum that is shown
//! beside them, so that the sum never falls, whoever joins or leaves those with names. A counter that is
//! given a name later than with its first page brings all that it has, but what it has gained since the last
//! page still goes to the sum: a series that begins has no rate before its second value.
//!
//! Activity is what was gained lately, half as much with every page, and counts double for those that have
//! a name, which keeps them from taking turns. Counters that have never moved are not shown at all.

use std::{cmp::Reverse, collections::HashMap, hash::Hash};

/// As many counters go together under one name.
const WIDTH: usize = 2;

/// What is counted under one name: messages and bytes.
pub type Pair = [u64; WIDTH];

/// See the module's text.
pub struct Named<K> {
    max: usize,
    page: u64,
    known: HashMap<K, Known>,
    others: Pair,
}

#[derive(Clone, Copy, Default)]
struct Known {
    page: u64,
    last: Pair,
    activity: u64,
    gained: Pair,
    is_named: bool,
    /// Whether this is the first page that has it.
    is_new: bool,
}

impl Known {
    /// Takes the counters as they are now. One that has fallen began anew.
    fn take(&mut self, page: u64, now: Pair) {
        for ((gained, last), now) in self.gained.iter_mut().zip(&self.last).zip(&now) {
            *gained = now.checked_sub(*last).unwrap_or(*now);
        }
        self.is_new = self.page == 0;
        self.activity = self.activity / 2 + self.gained.iter().take(1).sum::<u64>();
        (self.page, self.last) = (page, now);
    }

    fn rank(&self) -> u64 {
        self.activity.saturating_mul(if self.is_named { 2 } else { 1 })
    }
}

impl<K: Clone + Eq + Hash + Ord> Named<K> {
    /// Shows as many by name at most.
    pub fn new(max: usize) -> Self {
        Self { max, page: 0, known: HashMap::new(), others: Pair::default() }
    }

    /// Takes all counters as they are now; returns those that are shown by name, in order.
    pub fn take(&mut self, now: impl IntoIterator<Item = (K, Pair)>) -> Vec<(K, Pair)> {
        self.page += 1;
        for (key, counts) in now.into_iter().filter(|(_, counts)| *counts != Pair::default()) {
            self.known.entry(key).or_default().take(self.page, counts);
        }
        self.known.retain(|_, known| known.page == self.page);
        let mut ranks: Vec<_> =
            self.known.iter().map(|(key, known)| (Reverse(known.rank()), key.clone())).collect();
        if ranks.len() > self.max {
            ranks.select_nth_unstable(self.max);
        }
        let rest = ranks.split_off(ranks.len().min(self.max));
        let mut named: Vec<_> = ranks.into_iter().map(|(_, key)| self.name(key)).collect();
        named.sort_unstable();
        rest.into_iter().for_each(|(_, key)| self.leave_out(&key));
        named
    }

    /// What those without a name have gained since the first page.
    pub fn others(&self) -> Pair {
        self.others
    }

    /// Whether there are any that have no name.
    pub fn has_others(&self) -> bool {
        self.known.len() > self.max || self.others != Pair::default()
    }

    fn name(&mut self, key: K) -> (K, Pair) {
        let known = self.known.entry(key.clone()).or_default();
        let was_named = std::mem::replace(&mut known.is_named, true);
        let known = *known;
        if !was_named && !known.is_new {
            self.add(known.gained);
        }
        (key, known.last)
    }

    fn leave_out(&mut self, key: &K) {
        let Some(known) = self.known.get_mut(key) else { return };
        known.is_named = false;
        let gained = known.gained;
        self.add(gained);
    }

    fn add(&mut self, gained: Pair) {
        for (sum, gained) in self.others.iter_mut().zip(gained) {
            *sum += gained;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn keys(shown: &[(u32, Pair)]) -> Vec<u32> {
        shown.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn all_have_names_as_long_as_they_fit() {
        let mut named = Named::new(3);
        let shown = named.take([(2, [5, 50]), (1, [3, 30]), (9, [0, 0])]);
        assert_eq!(shown, [(1, [3, 30]), (2, [5, 50])], "in order, without what never moved");
        assert!(!named.has_others());
        let shown = named.take([(2, [5, 50]), (1, [4, 40]), (9, [1, 10])]);
        assert_eq!(shown, [(1, [4, 40]), (2, [5, 50]), (9, [1, 10])]);
        assert_eq!(named.others(), [0, 0]);
    }

    #[test]
    fn the_most_active_have_names_and_the_others_a_sum_that_never_falls() {
        let mut named = Named::new(1);
        assert_eq!(keys(&named.take([(1, [10, 1]), (2, [4, 1]), (3, [2, 1])])), [1]);
        assert_eq!(named.others(), [6, 2]);
        // Three times as active as the one with the name: it takes its place.
        assert_eq!(keys(&named.take([(1, [10, 1]), (2, [40, 9]), (3, [3, 2])])), [2]);
        assert_eq!(named.others(), [6 + 36 + 1, 2 + 8 + 1], "its gain so far is in the sum");
        assert_eq!(named.take([(1, [11, 2]), (2, [41, 10]), (3, [3, 2])]), [(2, [41, 10])]);
        assert_eq!(named.others(), [44, 12]);
    }

    #[test]
    fn two_of_about_the_same_activity_do_not_take_turns() {
        let mut named = Named::new(1);
        let first = keys(&named.take([(1, [100, 0]), (2, [90, 0])]));
        for page in 1..10_u64 {
            let (one, two) = (100 + page * 100, 90 + page * 150);
            assert_eq!(keys(&named.take([(1, [one, 0]), (2, [two, 0])])), first);
        }
    }

    #[test]
    fn a_counter_that_begins_anew_gains_what_it_has() {
        let mut named = Named::new(0);
        named.take([(1, [10, 10])]);
        named.take([(1, [4, 4])]);
        assert_eq!(named.others(), [14, 14]);
    }

    #[test]
    fn those_that_are_gone_are_forgotten() {
        let mut named = Named::new(1);
        named.take((0..1_000).map(|key| (key, [1, 1])));
        named.take([(5_000, [1, 1])]);
        assert_eq!(named.known.len(), 1);
    }

    #[test]
    fn sums_over_all_are_right_whoever_has_a_name() {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut named = Named::new(5);
        let mut counters = [[0_u64; 2]; 40];
        named.take((0..40).map(|key| (key, counters[key])));
        let (mut total, mut seen) = (0, 0);
        let (mut before, mut known) = (HashMap::<usize, Pair>::new(), HashSet::new());
        let mut others_before = 0;
        for _ in 0..200 {
            for counter in &mut counters {
                let gain = dice.u64(0..3) * dice.u64(0..100);
                counter[0] += gain;
                total += gain;
            }
            let shown = named.take((0..40).map(|key| (key, counters[key])));
            assert!(shown.len() <= 5);
            let others = named.others()[0];
            assert!(others >= others_before);
            // As whoever reads the pages reckons: a series counts from its second value on, but for one
            // that nobody knew before.
            seen += others - others_before;
            for (key, counts) in &shown {
                let is_new = !known.contains(key);
                let last = before.get(key).map(|last| last[0]).or(is_new.then_some(0));
                seen += last.map_or(0, |last| counts[0] - last);
            }
            known.extend((0..40).filter(|key| counters[*key] != [0, 0]));
            before = shown.into_iter().collect();
            others_before = others;
        }
        assert_eq!(seen, total);
    }
}
