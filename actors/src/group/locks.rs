//! Queue locks of one group: which client may consume a queue in order (wire.md 5.7).
//!
//! A plain value. A lock is a lease: it lasts [`LEASE`] from the owner's last LOCK_BATCH_MQ and is free
//! afterwards. Locks do not depend on membership: a client that loses its connection keeps its locks
//! until they run out, as its messages may still be in work. The key is the queue as the client wrote it.

use std::sync::Arc;
use std::time::Duration;

use gantry_codec::body::MessageQueue;
use tokio::time::Instant;

/// How long a lock lasts without renewal. Clients renew every 20 s.
pub const LEASE: Duration = Duration::from_secs(60);

/// See the module's text. Persistent: a copy to change and publish costs nothing.
#[derive(Clone, Default)]
pub struct QueueLocks(imbl::HashMap<MessageQueue, Lease>);

#[derive(Clone)]
struct Lease {
    owner: Arc<str>,
    until: Instant,
}

impl QueueLocks {
    /// Locks `queue` for `client`, or renews its lock. False: another client holds it.
    pub fn lock(&mut self, queue: &MessageQueue, client: &Arc<str>, now: Instant) -> bool {
        let taken =
            self.0.get(queue).is_some_and(|lease| lease.owner != *client && lease.until >= now);
        if !taken {
            self.0.insert(queue.clone(), Lease { owner: client.clone(), until: now + LEASE });
        }
        !taken
    }

    /// Gives `queue` up, if `client` is the owner.
    pub fn unlock(&mut self, queue: &MessageQueue, client: &str) {
        if self.0.get(queue).is_some_and(|lease| *lease.owner == *client) {
            self.0.remove(queue);
        }
    }

    /// Who holds a queue, by the topic and number that clients know it by.
    pub fn owner(&self, topic: &str, queue_id: i32, now: Instant) -> Option<&Arc<str>> {
        let held = |queue: &MessageQueue| queue.queue_id == queue_id && queue.topic == topic;
        let mut leases = self.0.iter().filter(|(queue, lease)| held(queue) && lease.until >= now);
        leases.next().map(|(_, lease)| &lease.owner)
    }

    /// Whether any queue is locked: messages of an orderly group past their retries then stay in place.
    pub fn any_held(&self, now: Instant) -> bool {
        self.0.values().any(|lease| lease.until >= now)
    }

    /// Forgets the leases that have run out.
    pub fn expire(&mut self, now: Instant) {
        self.0.retain(|_, lease| lease.until >= now);
    }

    /// How many leases are kept, run out or not.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no lease is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { topic: "t".into(), broker_name: "broker-a".into(), queue_id }
    }

    fn clients() -> (Arc<str>, Arc<str>) {
        ("one".into(), "two".into())
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_given_up() {
        let ((one, two), now) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.lock(&queue(0), &one, now));
        assert!(locks.lock(&queue(0), &one, now), "the owner renews");
        assert!(!locks.lock(&queue(0), &two, now));
        assert!(locks.lock(&queue(1), &two, now), "another queue is another lock");
        locks.unlock(&queue(0), &two);
        assert!(!locks.lock(&queue(0), &two, now), "only the owner unlocks");
        locks.unlock(&queue(0), &one);
        assert!(locks.lock(&queue(0), &two, now));
    }

    #[test]
    fn a_lease_without_renewal_can_be_taken_over() {
        let ((one, two), start) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.lock(&queue(0), &one, start));
        assert!(!locks.lock(&queue(0), &two, start + LEASE));
        assert!(locks.any_held(start + LEASE));
        let late = start + LEASE + Duration::from_millis(1);
        assert!(!locks.any_held(late));
        assert!(locks.lock(&queue(0), &two, late));
        assert!(!locks.lock(&queue(0), &one, late));
    }

    #[test]
    fn renewal_moves_the_end() {
        let ((one, two), start) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.lock(&queue(0), &one, start));
        assert!(locks.lock(&queue(0), &one, start + LEASE / 2));
        assert!(!locks.lock(&queue(0), &two, start + LEASE + Duration::from_secs(1)));
    }

    #[test]
    fn expired_leases_are_forgotten() {
        let ((one, _), start) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.lock(&queue(0), &one, start));
        assert!(locks.lock(&queue(1), &one, start + LEASE));
        locks.expire(start + LEASE + Duration::from_secs(1));
        assert_eq!(locks.len(), 1);
        assert!(!locks.is_empty());
    }
}
