//! Queue locks of one group: which client may consume a queue in order (wire.md 5.7).
//!
//! A plain value. A lock is a lease: it lasts [`LEASE`] from the owner's last LOCK_BATCH_MQ and is free
//! afterwards. A client that loses its connection keeps its locks, as its messages may still be in work
//! and nobody can tell whether it is dead or cut off; but only for as long as it would go on consuming by
//! itself: clients stop [`CLIENT_LEASE`] after the last renewal that they got an answer to. The key is the
//! queue as the client wrote it.
//!
//! Who was refused a lock is remembered as a wish for the queue: when the queue becomes free, the group is
//! told to share out anew at once. Otherwise clients older than 5.x would leave it for up to 20 s, which
//! is when they look by themselves.

use std::sync::Arc;
use std::time::Duration;

use gantry_codec::body::MessageQueue;
use tokio::time::Instant;

use crate::net::ConnectionId;

/// How long a lock lasts without renewal. Clients renew every 20 s.
pub const LEASE: Duration = Duration::from_secs(60);

/// How long after its last renewal a client takes a lock to be its own (Java, Go, C++: 30 s), and some time
/// for the answer to reach it.
pub const CLIENT_LEASE: Duration = Duration::from_secs(35);

/// See the module's text. Persistent: a copy to change and publish costs nothing.
#[derive(Clone, Default)]
pub struct QueueLocks {
    leases: imbl::HashMap<MessageQueue, Lease>,
    /// Locked queues that another client has asked for.
    wanted: imbl::HashSet<MessageQueue>,
}

/// The answer to a wish for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// The client has the queue now.
    Granted,
    /// Another client has it.
    Refused {
        /// Nobody was refused it before, since it was locked.
        first: bool,
    },
}

#[derive(Clone)]
struct Lease {
    owner: Arc<str>,
    /// Where the last renewal came from.
    connection: ConnectionId,
    renewed: Instant,
    until: Instant,
}

impl QueueLocks {
    /// Locks `queue` for `client`, or renews its lock.
    pub fn lock(
        &mut self,
        queue: &MessageQueue,
        client: &Arc<str>,
        connection: ConnectionId,
        now: Instant,
    ) -> LockAnswer {
        let lease = self.leases.get(queue);
        if lease.is_some_and(|lease| lease.owner != *client && lease.until >= now) {
            let first = self.wanted.insert(queue.clone()).is_none();
            return LockAnswer::Refused { first };
        }
        // The wish of an owner that renews stays, as it is another's.
        if lease.is_none_or(|lease| lease.owner != *client) {
            self.wanted.remove(queue);
        }
        let (owner, until) = (client.clone(), now + LEASE);
        let lease = Lease { owner, connection, renewed: now, until };
        self.leases.insert(queue.clone(), lease);
        LockAnswer::Granted
    }

    /// Gives `queue` up, if `client` is the owner; whether another client waits for it.
    pub fn unlock(&mut self, queue: &MessageQueue, client: &str) -> bool {
        if self.leases.get(queue).is_none_or(|lease| *lease.owner != *client) {
            return false;
        }
        self.leases.remove(queue);
        self.wanted.remove(queue).is_some()
    }

    /// A connection is gone: locks that were renewed by it last `lease` from then, unless their owner comes
    /// back and renews them. Returns when they end.
    pub fn disconnected(&mut self, connection: ConnectionId, lease: Duration) -> Vec<Instant> {
        let mut ends = Vec::new();
        for (_, held) in self.leases.iter_mut().filter(|(_, held)| held.connection == connection) {
            held.until = held.until.min(held.renewed + lease);
            ends.push(held.until);
        }
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Who holds a queue, by the topic and number that clients know it by.
    pub fn owner(&self, topic: &str, queue_id: i32, now: Instant) -> Option<&Arc<str>> {
        let held = |queue: &MessageQueue| queue.queue_id == queue_id && queue.topic == topic;
        let mut leases =
            self.leases.iter().filter(|(queue, lease)| held(queue) && lease.until >= now);
        leases.next().map(|(_, lease)| &lease.owner)
    }

    /// Whether any queue is locked: messages of an orderly group past their retries then stay in place.
    pub fn any_held(&self, now: Instant) -> bool {
        self.leases.values().any(|lease| lease.until >= now)
    }

    /// Forgets the leases that have run out; whether a client waits for one of those queues.
    pub fn expire(&mut self, now: Instant) -> bool {
        self.leases.retain(|_, lease| lease.until >= now);
        let waiting = self.wanted.len();
        let leases = &self.leases;
        self.wanted.retain(|queue| leases.contains_key(queue));
        self.wanted.len() < waiting
    }

    /// How many leases are kept, run out or not.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether no lease is kept.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
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

    impl QueueLocks {
        fn asks(&mut self, queue_id: i32, client: &Arc<str>, now: Instant) -> LockAnswer {
            let connection = ConnectionId(if **client == *"one" { 1 } else { 2 });
            self.lock(&queue(queue_id), client, connection, now)
        }

        fn locks(&mut self, queue_id: i32, client: &Arc<str>, now: Instant) -> bool {
            self.asks(queue_id, client, now) == LockAnswer::Granted
        }
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_given_up() {
        let ((one, two), now) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.locks(0, &one, now));
        assert!(locks.locks(0, &one, now), "the owner renews");
        assert!(!locks.locks(0, &two, now));
        assert!(locks.locks(1, &two, now), "another queue is another lock");
        locks.unlock(&queue(0), &two);
        assert!(!locks.locks(0, &two, now), "only the owner unlocks");
        locks.unlock(&queue(0), &one);
        assert!(locks.locks(0, &two, now));
    }

    #[test]
    fn a_lease_without_renewal_can_be_taken_over() {
        let ((one, two), start) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.locks(0, &one, start));
        assert!(!locks.locks(0, &two, start + LEASE));
        assert!(locks.any_held(start + LEASE));
        let late = start + LEASE + Duration::from_millis(1);
        assert!(!locks.any_held(late));
        assert!(locks.locks(0, &two, late));
        assert!(!locks.locks(0, &one, late));
    }

    #[test]
    fn renewal_moves_the_end() {
        let ((one, two), start) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.locks(0, &one, start));
        assert!(locks.locks(0, &one, start + LEASE / 2));
        assert!(!locks.locks(0, &two, start + LEASE + Duration::from_secs(1)));
    }

    #[test]
    fn who_is_cut_off_keeps_its_locks_for_as_long_as_it_goes_on_by_itself() {
        let ((one, two), start) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        let after = |secs| start + Duration::from_secs(secs);
        assert!(locks.locks(0, &one, start));
        assert!(locks.locks(1, &one, after(5)));
        assert!(locks.locks(2, &two, start));
        let ends = locks.disconnected(ConnectionId(1), Duration::from_secs(30));
        assert_eq!(ends, [after(30), after(35)]);
        assert!(!locks.locks(0, &two, after(30)));
        assert!(locks.locks(0, &two, after(31)));
        assert!(!locks.locks(1, &two, after(31)), "renewed later");
        assert!(!locks.locks(2, &one, after(59)), "two is still there");
        assert!(locks.locks(1, &one, after(32)), "it has come back");
        assert!(!locks.locks(1, &two, after(91)));
    }

    #[test]
    fn expired_leases_are_forgotten() {
        let ((one, _), start) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        assert!(locks.locks(0, &one, start));
        assert!(locks.locks(1, &one, start + LEASE));
        locks.expire(start + LEASE + Duration::from_secs(1));
        assert_eq!(locks.len(), 1);
        assert!(!locks.is_empty());
    }

    #[test]
    fn a_queue_that_becomes_free_is_told_to_those_who_were_refused() {
        let ((one, two), now) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        locks.asks(0, &one, now);
        locks.asks(1, &one, now);
        let refused = |first| LockAnswer::Refused { first };
        assert_eq!(locks.asks(0, &two, now), refused(true));
        assert_eq!(locks.asks(0, &two, now), refused(false), "once is enough to say");
        assert!(locks.locks(0, &one, now), "a renewal does not make it forgotten");
        assert!(!locks.unlock(&queue(0), &two), "it is not two's");
        assert!(!locks.unlock(&queue(1), &one), "nobody asked for this one");
        assert!(locks.unlock(&queue(0), &one));
        assert!(locks.locks(0, &two, now));
        assert!(!locks.unlock(&queue(0), &two), "the wish was granted");
    }

    #[test]
    fn a_lease_that_ends_is_told_as_well() {
        let ((one, two), now) = (clients(), Instant::now());
        let mut locks = QueueLocks::default();
        locks.asks(0, &one, now);
        locks.asks(0, &two, now);
        assert!(!locks.expire(now + LEASE));
        let late = now + LEASE + Duration::from_millis(1);
        assert!(locks.expire(late));
        assert!(!locks.expire(late), "once");
    }
}
