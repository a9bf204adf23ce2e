//! Pops and notifications that found nothing and wait (wire.md 2.5).
//!
//! A plain list owned by the group's [`super::group::PopGroup`]: per topic and queue asked for, in the
//! order in which they came. Bounded twice, per topic and queue and, by a counter that all groups
//! share, in all; who finds it full is told so and asks again later. Those whose client has gone away
//! are dropped when they are met.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many may wait.
#[derive(Clone, Copy, Debug)]
pub struct WaiterLimits {
    /// Per topic, group and queue (`popPollingSize`).
    pub per_queue: usize,
    /// In all (`maxPopPollingSize`).
    pub all: usize,
}

/// How many wait at all groups.
#[derive(Clone)]
pub struct WaiterCount {
    count: Arc<AtomicUsize>,
    limits: WaiterLimits,
}

impl WaiterCount {
    /// Nobody waits, and so many may.
    pub fn new(limits: WaiterLimits) -> Self {
        Self { count: Arc::default(), limits }
    }

    /// How many wait now.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Something that waits.
pub trait Waiting {
    /// When it is told that nothing came, ms.
    fn deadline(&self) -> i64;
    /// Whether nobody waits for its answer any more.
    fn is_gone(&self) -> bool;
}

type Key = (Arc<str>, i32);

/// See the module's text.
pub struct Waiters<W> {
    lists: HashMap<Key, VecDeque<W>>,
    all: WaiterCount,
}

impl<W: Waiting> Waiters<W> {
    /// A list whose waiters count in `all`.
    pub fn new(all: WaiterCount) -> Self {
        Self { lists: HashMap::new(), all }
    }

    /// Holds a waiter for a queue of a topic, or any of its queues (-1). One that comes back after it was
    /// looked at keeps its place before the others. Given back if there is no room.
    pub fn hold(
        &mut self,
        topic: &Arc<str>,
        queue_id: i32,
        waiter: W,
        first: bool,
    ) -> Result<(), W> {
        let list = self.lists.entry((topic.clone(), queue_id)).or_default();
        list.retain(|waiter| {
            let stays = list_stays(waiter);
            if !stays {
                self.all.count.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
        let limits = self.all.limits;
        let is_full = || self.all.count.load(Ordering::Relaxed) >= limits.all;
        if !first && (list.len() >= limits.per_queue || is_full()) {
            return Err(waiter);
        }
        self.all.count.fetch_add(1, Ordering::Relaxed);
        if first {
            list.push_front(waiter)
        } else {
            list.push_back(waiter)
        }
        Ok(())
    }

    /// Takes the waiter out that has waited longest for this queue.
    pub fn take_first(&mut self, topic: &Arc<str>, queue_id: i32) -> Option<W> {
        let key = (topic.clone(), queue_id);
        loop {
            let list = self.lists.get_mut(&key)?;
            let waiter = list.pop_front();
            if list.is_empty() {
                self.lists.remove(&key);
            }
            let waiter = waiter?;
            self.all.count.fetch_sub(1, Ordering::Relaxed);
            if !waiter.is_gone() {
                return Some(waiter);
            }
        }
    }

    /// The queues of `topic` that somebody waits for; -1 among them for any.
    pub fn queues_of(&self, topic: &str) -> Vec<i32> {
        let of_topic = self.lists.keys().filter(|(of, _)| **of == *topic);
        of_topic.map(|(_, queue_id)| *queue_id).collect()
    }

    /// How many wait for this queue.
    pub fn count(&self, topic: &Arc<str>, queue_id: i32) -> usize {
        let list = self.lists.get(&(topic.clone(), queue_id));
        list.map_or(0, |list| list.iter().filter(|waiter| !waiter.is_gone()).count())
    }

    /// Takes out those for which `is_due` holds.
    pub fn take_where(&mut self, is_due: impl Fn(&Arc<str>, &W) -> bool) -> Vec<W> {
        let mut due = Vec::new();
        for ((topic, _), list) in &mut self.lists {
            let mut place = 0;
            while let Some(waiter) = list.get(place) {
                if is_due(topic, waiter) {
                    due.extend(list.remove(place));
                } else {
                    place += 1;
                }
            }
        }
        self.lists.retain(|_, list| !list.is_empty());
        self.all.count.fetch_sub(due.len(), Ordering::Relaxed);
        due
    }

    /// When the time of the first one is over.
    pub fn first_deadline(&self) -> Option<i64> {
        self.lists.values().flatten().map(Waiting::deadline).min()
    }
}

fn list_stays<W: Waiting>(waiter: &W) -> bool {
    !waiter.is_gone()
}

impl<W> Drop for Waiters<W> {
    fn drop(&mut self) {
        let waiting = self.lists.values().map(VecDeque::len).sum();
        self.all.count.fetch_sub(waiting, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WaiterLimits = WaiterLimits { per_queue: 3, all: 5 };

    #[derive(Debug, PartialEq)]
    struct Waiter(i64, bool);

    impl Waiting for Waiter {
        fn deadline(&self) -> i64 {
            self.0
        }

        fn is_gone(&self) -> bool {
            self.1
        }
    }

    fn topic() -> Arc<str> {
        "t".into()
    }

    #[test]
    fn who_came_first_is_served_first_and_who_is_gone_never() {
        let mut waiters = Waiters::new(WaiterCount::new(LIMITS));
        for waiter in [Waiter(1, true), Waiter(2, false), Waiter(3, false)] {
            waiters.hold(&topic(), -1, waiter, false).unwrap();
        }
        assert_eq!(waiters.take_first(&topic(), -1), Some(Waiter(2, false)));
        waiters.hold(&topic(), -1, Waiter(2, false), true).unwrap();
        assert_eq!((waiters.count(&topic(), -1), waiters.count(&topic(), 0)), (2, 0));
        assert_eq!(waiters.take_first(&topic(), -1), Some(Waiter(2, false)));
        assert_eq!(waiters.first_deadline(), Some(3));
        assert_eq!(waiters.take_first(&topic(), 0), None);
    }

    #[test]
    fn the_room_is_limited_by_queue_and_in_all() {
        let count = WaiterCount::new(LIMITS);
        let mut waiters = Waiters::new(count.clone());
        for _ in 0..LIMITS.per_queue {
            waiters.hold(&topic(), 0, Waiter(1, false), false).unwrap();
        }
        assert!(waiters.hold(&topic(), 0, Waiter(1, false), false).is_err());
        waiters.hold(&topic(), 1, Waiter(1, false), false).unwrap();
        assert_eq!(count.count.load(Ordering::Relaxed), LIMITS.per_queue + 1);
        let mut others = Waiters::new(count.clone());
        others.hold(&topic(), 1, Waiter(1, false), false).unwrap();
        assert!(waiters.hold(&topic(), 1, Waiter(1, false), false).is_err());
        waiters.hold(&topic(), 1, Waiter(1, false), true).unwrap();
        drop((waiters, others));
        assert_eq!(count.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn those_whose_time_is_over_are_taken() {
        let mut waiters = Waiters::new(WaiterCount::new(LIMITS));
        for deadline in [5, 1, 9] {
            waiters.hold(&topic(), -1, Waiter(deadline, false), false).unwrap();
        }
        let due = waiters.take_where(|_, waiter| waiter.deadline() <= 5);
        assert_eq!(due, [Waiter(5, false), Waiter(1, false)]);
        assert_eq!(waiters.queues_of("t"), [-1]);
        assert_eq!(waiters.first_deadline(), Some(9));
    }
}
