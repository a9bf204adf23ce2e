//! What pulls leave behind for the diagnosis: by group and queue, when it was pulled last, from which
//! offset, on which connection, and how many messages have gone out.
//!
//! Noting a pull costs some stores without order between them, so readers may see the time of one pull
//! with the offset of the one before; nothing that is judged here minds. A session finds the place to
//! note it in a table of its own ([`ActivityPort`]) and asks the group's table, behind a lock, only for
//! queues that it has not pulled before. Both tables are bounded; what does not fit is not noted.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use super::super::view::GroupSlot;
use crate::{expiry::Account, net::ConnectionId};

/// Queues that are noted for one group.
const QUEUES_MAX: usize = 65_536;
/// Queues that a session remembers.
const REMEMBERED_MAX: usize = 1024;

/// The pulls of one group from one queue.
#[derive(Debug, Default)]
pub struct Activity {
    /// 0: never.
    pulled_at_ms: AtomicI64,
    offset: AtomicI64,
    connection: AtomicU64,
    /// Whether that was a pop.
    is_pop: AtomicBool,
    delivered: AtomicU64,
    delivered_bytes: AtomicU64,
    /// Whether the client on that connection has committed since it pulled or asked for the offset.
    committed: AtomicBool,
    /// Messages per second, as bits; written by the watch.
    rate: AtomicU64,
    expired: Account,
}

/// The last pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPull {
    /// When it came, in ms.
    pub at_ms: i64,
    /// The first message that it asked for: those before were delivered.
    pub offset: i64,
    /// Where it came from; or who has asked for the queue's offset since.
    pub connection: ConnectionId,
    /// Whether it was a pop: then messages before the offset may be given out again.
    pub is_pop: bool,
}

impl Activity {
    /// A pull has come.
    pub fn pulled(&self, now_ms: i64, offset: i64, connection: ConnectionId) {
        self.offset.store(offset, Relaxed);
        self.connection.store(connection.0, Relaxed);
        self.committed.store(false, Relaxed);
        self.is_pop.store(false, Relaxed);
        self.pulled_at_ms.store(now_ms, Relaxed);
    }

    /// A pop has looked, and everything before `offset` has been given out. Nobody has to wait for its client
    /// to commit: the broker does that.
    pub fn popped(&self, now_ms: i64, offset: i64, connection: ConnectionId) {
        self.offset.store(offset, Relaxed);
        self.connection.store(connection.0, Relaxed);
        self.committed.store(true, Relaxed);
        self.is_pop.store(true, Relaxed);
        self.pulled_at_ms.store(now_ms, Relaxed);
    }

    /// The client on that connection has committed.
    pub fn committed(&self, connection: ConnectionId) {
        if self.connection.load(Relaxed) == connection.0 {
            self.committed.store(true, Relaxed);
        }
    }

    /// The client on that connection wants to know where to begin: it is the one to commit from now on.
    /// Returns which one was, if that has not committed since it asked or pulled.
    pub fn asked(&self, connection: ConnectionId) -> Option<ConnectionId> {
        let before = ConnectionId(self.connection.swap(connection.0, Relaxed));
        let committed = self.committed.swap(false, Relaxed);
        (!committed && before != connection && before != ConnectionId(0)).then_some(before)
    }

    /// So many messages have been delivered.
    pub fn delivered(&self, messages: u64) {
        self.delivered.fetch_add(messages, Relaxed);
    }

    /// So many bytes of records have been delivered.
    pub fn delivered_bytes(&self, bytes: u64) {
        self.delivered_bytes.fetch_add(bytes, Relaxed);
    }

    /// The last pull, if there was one.
    pub fn last(&self) -> Option<LastPull> {
        let at_ms = Some(self.pulled_at_ms.load(Relaxed)).filter(|at_ms| *at_ms > 0)?;
        let connection = ConnectionId(self.connection.load(Relaxed));
        let (offset, is_pop) = (self.offset.load(Relaxed), self.is_pop.load(Relaxed));
        Some(LastPull { at_ms, offset, connection, is_pop })
    }

    /// Messages delivered so far.
    pub fn total(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// Bytes of records delivered so far.
    pub fn total_bytes(&self) -> u64 {
        self.delivered_bytes.load(Relaxed)
    }

    /// Expired messages that were passed over.
    pub fn expired(&self) -> &Account {
        &self.expired
    }

    /// Messages per second, as last computed.
    pub fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Relaxed))
    }

    pub(super) fn set_rate(&self, rate: f64) {
        self.rate.store(rate.to_bits(), Relaxed);
    }
}

type Key = (Arc<str>, i32);

/// The pulls of one group by queue.
#[derive(Debug, Default)]
pub struct Activities(Mutex<HashMap<Key, Arc<Activity>>>);

impl Activities {
    /// Where pulls from this queue are noted.
    pub fn of(&self, topic: &Arc<str>, queue_id: i32) -> Arc<Activity> {
        let mut known = self.lock();
        let key = (topic.clone(), queue_id);
        if let Some(activity) = known.get(&key) {
            return activity.clone();
        }
        let fresh = Arc::<Activity>::default();
        if known.len() < QUEUES_MAX {
            known.insert(key, fresh.clone());
        }
        fresh
    }

    /// Those noted for this queue, if it was ever pulled.
    pub fn get(&self, topic: &str, queue_id: i32) -> Option<Arc<Activity>> {
        self.lock().get(&(topic.into(), queue_id)).cloned()
    }

    /// The queues that were pulled; those of topics that are gone are forgotten.
    pub(super) fn all(&self, exists: impl Fn(&str, i32) -> bool) -> Vec<(Key, Arc<Activity>)> {
        let mut known = self.lock();
        known.retain(|(topic, queue_id), _| exists(topic, *queue_id));
        known.iter().map(|(key, activity)| (key.clone(), activity.clone())).collect()
    }

    /// Calls `f` with the topic and the pulls of each queue, in no order.
    pub fn each(&self, mut f: impl FnMut(&Arc<str>, &Activity)) {
        self.lock().iter().for_each(|((topic, _), activity)| f(topic, activity));
    }

    /// Messages per second that the group gets of these topics, over the last minute.
    pub fn rate(&self, topics: &[Arc<str>]) -> f64 {
        let known = self.lock();
        let wanted = known.iter().filter(|((topic, _), _)| topics.contains(topic));
        wanted.map(|(_, activity)| activity.rate()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Activity>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session remembers of where it notes its pulls.
#[derive(Default)]
pub struct ActivityPort(HashMap<PortKey, Remembered>);

/// Addresses of the group's slot and of the topic's name, which what is remembered keeps in use.
type PortKey = (usize, usize, i32);

struct Remembered {
    _slot: Arc<GroupSlot>,
    _topic: Arc<str>,
    activity: Arc<Activity>,
}

impl ActivityPort {
    /// Where a pull of this group from this queue is noted.
    pub fn of(&mut self, slot: &Arc<GroupSlot>, topic: &Arc<str>, queue_id: i32) -> &Arc<Activity> {
        let key = (Arc::as_ptr(slot) as usize, topic.as_ptr() as usize, queue_id);
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&key) {
            self.0.clear();
        }
        let remembered = self.0.entry(key).or_insert_with(|| Remembered {
            activity: slot.activities.of(topic, queue_id),
            _slot: slot.clone(),
            _topic: topic.clone(),
        });
        &remembered.activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_note_in_one_place_per_group_and_queue() {
        let (slot, other) = (Arc::<GroupSlot>::default(), Arc::<GroupSlot>::default());
        let topic: Arc<str> = "t".into();
        let (mut one, mut two) = (ActivityPort::default(), ActivityPort::default());
        one.of(&slot, &topic, 0).pulled(5, 7, ConnectionId(1));
        // Another session may hold the name of the topic's next life.
        two.of(&slot, &"t".into(), 0).delivered(3);
        let found = slot.activities.get("t", 0).unwrap();
        let last = LastPull { at_ms: 5, offset: 7, connection: ConnectionId(1), is_pop: false };
        assert_eq!((found.last(), found.total()), (Some(last), 3));
        assert_eq!(one.of(&slot, &topic, 1).last(), None);
        assert_eq!(one.of(&other, &topic, 0).last(), None);
    }

    #[test]
    fn who_asks_is_the_next_to_commit() {
        let (one, two, three) = (ConnectionId(1), ConnectionId(2), ConnectionId(3));
        let activity = Activity::default();
        assert_eq!(activity.asked(one), None, "nobody before");
        activity.pulled(5, 7, one);
        assert_eq!(activity.asked(two), Some(one));
        activity.committed(one);
        assert_eq!(activity.asked(three), Some(two), "which has not pulled yet");
        activity.committed(three);
        assert_eq!(activity.asked(two), None);
        assert_eq!(activity.asked(two), None, "nobody waits for itself");
    }

    #[test]
    fn a_session_that_has_forgotten_notes_in_the_same_place() {
        let (slot, topic) = (Arc::<GroupSlot>::default(), Arc::<str>::from("t"));
        let mut port = ActivityPort::default();
        port.of(&slot, &topic, 0).delivered(1);
        for queue_id in 1..=REMEMBERED_MAX as i32 {
            port.of(&slot, &topic, queue_id);
        }
        assert!(port.0.len() <= REMEMBERED_MAX);
        assert_eq!(port.of(&slot, &topic, 0).total(), 1);
    }

    #[test]
    fn queues_of_topics_that_are_gone_are_forgotten() {
        let activities = Activities::default();
        activities.of(&"gone".into(), 0);
        activities.of(&"t".into(), 0).set_rate(2.5);
        assert_eq!(activities.all(|topic, _| topic == "t").len(), 1);
        assert!(activities.get("gone", 0).is_none());
        assert!((activities.rate(&["t".into(), "gone".into()]) - 2.5).abs() < 1e-9);
        assert_eq!(activities.rate(&["u".into()]), 0.0);
    }
}
