//! The keys of a window: where their messages are, by hash and by age.
//!
//! Several places may have one hash: different keys with the same hash, or one key that was stored more than
//! once before there was a window. They are given from the oldest on; whoever asks reads the messages.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use gantry_storage::PhysicalOffset;

/// A key that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// When its message was stored, in ms.
    pub stored_ms: i64,
    /// Its hash.
    pub hash: u64,
    /// Where the message is.
    pub at: PhysicalOffset,
}

impl Key {
    /// The hash of a key's text.
    pub fn hash_of(text: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Keys {
    by_hash: BTreeSet<(u64, u64)>,
    /// Oldest first.
    by_age: VecDeque<Key>,
}

impl Keys {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// Forgets those that were stored at `time_ms` or before.
    pub fn expire(&mut self, time_ms: i64) {
        while self.by_age.front().is_some_and(|key| key.stored_ms <= time_ms) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.by_age.pop_front() {
            self.by_hash.remove(&(key.hash, key.at.0));
        }
    }

    /// Where messages are whose key has this hash, the oldest first.
    pub fn places(&self, hash: u64) -> impl Iterator<Item = PhysicalOffset> + '_ {
        let found = self.by_hash.range((hash, 0)..=(hash, u64::MAX));
        found.map(|(_, at)| PhysicalOffset(*at))
    }

    /// Remembers one that is younger than all others; whether others had to be forgotten for it, as there
    /// are to be `max` at most.
    pub fn insert(&mut self, key: Key, max: usize) -> bool {
        let is_full = self.by_age.len() >= max;
        while self.by_age.len() >= max.max(1) {
            self.forget_oldest();
        }
        if self.by_hash.insert((key.hash, key.at.0)) {
            self.by_age.push_back(key);
        }
        is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(stored_ms: i64, hash: u64, at: u64) -> Key {
        Key { stored_ms, hash, at: PhysicalOffset(at) }
    }

    fn places(keys: &Keys, hash: u64) -> Vec<u64> {
        keys.places(hash).map(|at| at.0).collect()
    }

    #[test]
    fn keys_are_forgotten_to_the_millisecond() {
        let mut keys = Keys::default();
        for one in [key(5, 1, 100), key(5, 2, 200), key(6, 1, 300)] {
            assert!(!keys.insert(one, 10));
        }
        keys.expire(4);
        assert_eq!(places(&keys, 1), [100, 300]);
        keys.expire(5);
        assert_eq!((places(&keys, 1), places(&keys, 2)), (vec![300], vec![]));
        keys.expire(6);
        assert!(keys.is_empty() && keys.by_hash.is_empty());
    }

    #[test]
    fn the_oldest_go_if_there_are_too_many() {
        let mut keys = Keys::default();
        assert!(!keys.insert(key(1, 1, 1), 2) && !keys.insert(key(1, 2, 2), 2));
        assert!(keys.insert(key(1, 3, 3), 2));
        assert_eq!((keys.len(), places(&keys, 1), places(&keys, 3)), (2, vec![], vec![3]));
        assert!(keys.insert(key(2, 4, 4), 1));
        assert_eq!((keys.len(), keys.by_hash.len()), (1, 1));
    }

    #[test]
    fn hashes_of_all_sizes_are_told_apart() {
        let mut keys = Keys::default();
        for hash in [0, 1, u64::MAX - 1, u64::MAX] {
            keys.insert(key(1, hash, hash), 10);
        }
        assert_eq!(places(&keys, 0), [0]);
        assert_eq!(places(&keys, u64::MAX), [u64::MAX]);
    }
}
