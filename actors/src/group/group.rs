//! The actor of one consumer group: its members, their subscriptions, its queue locks.
//!
//! Owns the group's [`GroupSlot`] and is its only writer. Connections send it [`Heartbeat`], [`Leave`],
//! [`Lock`] and [`Unlock`]; `Groups` sends [`Expire`] now and then. When members or topics have changed it
//! publishes first and then tells its `Rebalancer`, so that whoever is notified finds the new state; the
//! answer to a message follows the publishing too.
//!
//! Failure policy: restart from what was published. A snapshot is never half made, so the message that
//! killed an incarnation is all that is lost, and its sender is told.

use std::{sync::Arc, time::Duration};

use actix::Message;
use gantry_codec::body::MessageQueue;
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Ref, Reply};
use slog::{Logger, info, warn};
use tokio::time::Instant;

use super::{
    diagnosis::Conflicts,
    locks::{LockAnswer, QueueLocks},
    rebalancer::{MembersChanged, Rebalancer},
    roster::{Beat, Effect, Roster},
    view::GroupSlot,
};
use crate::net::ConnectionId;

/// A client is alive and says what it consumes. The answer: whether it shall send its subscriptions
/// with the next one.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Heartbeat(pub Beat);

/// A client leaves, or its connection is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave(pub ConnectionId);

/// Lock queues for a client, or renew its locks. The answer: those that it holds now.
#[derive(Message)]
#[rtype(result = "Vec<MessageQueue>")]
pub struct Lock {
    /// The client's id.
    pub client_id: Arc<str>,
    /// Where it asks from.
    pub connection: ConnectionId,
    /// The queues that it asks for.
    pub queues: Vec<MessageQueue>,
}

/// Give queues up.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unlock {
    /// The client's id.
    pub client_id: Arc<str>,
    /// The queues that it no longer needs.
    pub queues: Vec<MessageQueue>,
}

/// Forget members that were silent for too long and locks that have run out.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Expire;

/// See the module's text.
pub struct Group {
    slot: Arc<GroupSlot>,
    roster: Roster,
    locks: QueueLocks,
    conflicts: Conflicts,
    /// How long a lock lasts after its last renewal once its owner's connection is gone.
    lock_lease: Duration,
    rebalancer: Ref<Rebalancer>,
    log: Logger,
}

impl Group {
    /// The actor's state, as its predecessor published it.
    pub fn new(
        slot: Arc<GroupSlot>,
        client_expiry: Duration,
        lock_lease: Duration,
        rebalancer: Ref<Rebalancer>,
        log: Logger,
    ) -> Self {
        let membership = slot.membership.load().as_ref().clone();
        let locks = slot.locks.load().as_ref().clone();
        Self {
            slot,
            roster: Roster::new(membership, client_expiry, Instant::now()),
            locks,
            conflicts: Conflicts::default(),
            lock_lease,
            rebalancer,
            log,
        }
    }

    fn apply(&self, effect: Effect) {
        if effect.changed {
            self.slot.membership.store(Arc::new(self.roster.membership().clone()));
        }
        if effect.rebalance {
            let now = self.roster.membership();
            info!(self.log, "members or topics changed"; "members" => now.members.len(),
                "topics" => now.subscriptions.len());
            self.rebalancer.do_send(MembersChanged);
        }
    }

    /// A client has said what it subscribes, or is gone: publishes who differs now.
    fn publish_conflicts(&self, is_news: bool) {
        if is_news {
            self.slot.conflicts.store(Arc::new(self.conflicts.find()));
        }
    }

    /// A connection is gone: its client's locks end earlier, and whoever waits for them is told then.
    fn shorten_locks(&mut self, connection: ConnectionId, ctx: &mut Ctx<Self>) {
        let ends = self.locks.disconnected(connection, self.lock_lease);
        if ends.is_empty() {
            return;
        }
        self.publish_locks();
        let now = Instant::now();
        for end in ends {
            // A lock is held up to its end.
            let wait = end.saturating_duration_since(now) + Duration::from_millis(1);
            ctx.after(wait, |me, _| me.expire_locks());
        }
    }

    fn expire_locks(&mut self) {
        let kept = self.locks.len();
        let is_waited_for = self.locks.expire(Instant::now());
        if self.locks.len() < kept {
            self.publish_locks();
        }
        if is_waited_for {
            self.rebalancer.do_send(MembersChanged);
        }
    }

    fn publish_locks(&self) {
        self.slot.locks.store(Arc::new(self.locks.clone()));
    }
}

impl Logic for Group {
    const NAME: &'static str = "group";
}

impl Receive<Heartbeat> for Group {
    fn receive(&mut self, Heartbeat(beat): Heartbeat, _: &mut Ctx<Self>) -> Reply<bool> {
        if let Some(subscriptions) = &beat.subscriptions {
            let is_news = self.conflicts.said(&beat.client, subscriptions);
            self.publish_conflicts(is_news);
        }
        let effect = self.roster.beat(beat, Instant::now());
        self.apply(effect);
        effect.send_subscriptions.into()
    }
}

impl Receive<Leave> for Group {
    fn receive(&mut self, Leave(connection): Leave, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.shorten_locks(connection, ctx);
        let was_known = self.conflicts.left(connection);
        self.publish_conflicts(was_known);
        let effect = self.roster.leave(connection);
        self.apply(effect);
        self.slot.handovers.left(connection);
        Reply::Now(())
    }
}

impl Receive<Lock> for Group {
    fn receive(&mut self, order: Lock, _: &mut Ctx<Self>) -> Reply<Vec<MessageQueue>> {
        let Lock { client_id, connection, mut queues } = order;
        let (now, asked) = (Instant::now(), queues.len());
        let mut newly_refused = 0;
        queues.retain(|queue| match self.locks.lock(queue, &client_id, connection, now) {
            LockAnswer::Granted => true,
            LockAnswer::Refused { first } => {
                newly_refused += usize::from(first);
                false
            }
        });
        self.publish_locks();
        if newly_refused > 0 {
            info!(self.log, "queues are locked by other clients"; "client" => &*client_id,
                "asked" => asked, "granted" => queues.len());
        }
        queues.into()
    }
}

impl Receive<Unlock> for Group {
    fn receive(&mut self, order: Unlock, _: &mut Ctx<Self>) -> Reply<()> {
        let mut is_waited_for = false;
        for queue in &order.queues {
            is_waited_for |= self.locks.unlock(queue, &order.client_id);
        }
        self.publish_locks();
        if is_waited_for {
            self.rebalancer.do_send(MembersChanged);
        }
        Reply::Now(())
    }
}

impl Receive<Expire> for Group {
    fn receive(&mut self, _: Expire, _: &mut Ctx<Self>) -> Reply<()> {
        let now = Instant::now();
        let (late, effect) = self.roster.expire(now);
        for member in late {
            let was_known = self.conflicts.left(member.connection.id());
            self.publish_conflicts(was_known);
            warn!(self.log, "consumer expired"; "client" => &*member.id,
                "remote" => %member.connection.remote());
            self.slot.handovers.left(member.connection.id());
            member.connection.close("no heartbeat");
        }
        self.apply(effect);
        self.expire_locks();
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::body::{ConsumeFromWhere, ConsumeType, MessageModel};
    use gantry_supervisor::{ChildSpec, Placement, Policy, Tree, quiet_panics};
    use slog::{Discard, o};

    use super::*;
    use crate::group::{
        locks::CLIENT_LEASE,
        testing::{client, pass, run, subscription},
        view::GroupDirectory,
    };

    /// A message that kills its actor.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Poison;

    impl Receive<Poison> for Group {
        fn receive(&mut self, _: Poison, _: &mut Ctx<Self>) -> Reply<()> {
            panic!("poisoned");
        }
    }

    fn start(tree: &Tree, slot: &Arc<GroupSlot>) -> Ref<Group> {
        let log = Logger::root(Discard, o!());
        let slot = slot.clone();
        let rebalancer = tree.spawn(ChildSpec::new("rebalancer", Policy::RestartEmpty, |_| {
            Ok(Rebalancer::new("g".into(), GroupDirectory::default(), true))
        }));
        let expiry = Duration::from_secs(120);
        tree.spawn(ChildSpec::new("group", Policy::RestartEmpty, move |_| {
            Ok(Group::new(slot.clone(), expiry, CLIENT_LEASE, rebalancer.clone(), log.clone()))
        }))
    }

    fn lock_from(connection: u64, client: &str, queue: &MessageQueue) -> Lock {
        let (client_id, queues) = (client.into(), vec![queue.clone()]);
        Lock { client_id, connection: ConnectionId(connection), queues }
    }

    fn beat() -> Heartbeat {
        Heartbeat(Beat {
            client: client(1, "one"),
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
            subscriptions: Some(vec![subscription("t", "*", 1)]),
            fingerprint: 0,
        })
    }

    #[test]
    fn the_end_of_a_connection_shortens_its_clients_locks() {
        run(async {
            let log = Logger::root(Discard, o!());
            let tree = Tree::root("test", Placement::single(), log, 1);
            let slot = Arc::new(GroupSlot::default());
            let group = start(&tree, &slot);
            group.send(beat()).await.unwrap();
            let queue = MessageQueue { topic: "t".into(), ..MessageQueue::default() };
            let lock =
                |client: &str| lock_from(if client == "one" { 1 } else { 2 }, client, &queue);
            assert_eq!(group.send(lock("one")).await.unwrap().len(), 1);
            group.send(Leave(ConnectionId(1))).await.unwrap();
            pass(CLIENT_LEASE - Duration::from_secs(1)).await;
            assert_eq!(group.send(lock("two")).await.unwrap().len(), 0);
            assert_eq!(slot.locks.load().len(), 1);
            pass(Duration::from_secs(1) + Duration::from_millis(2)).await;
            assert!(slot.locks.load().is_empty(), "ended by itself");
            assert_eq!(group.send(lock("two")).await.unwrap().len(), 1);
        });
    }

    #[test]
    fn a_panic_loses_neither_members_nor_locks() {
        quiet_panics();
        run(async {
            let log = Logger::root(Discard, o!());
            let tree = Tree::root("test", Placement::single(), log, 1);
            let slot = Arc::new(GroupSlot::default());
            let group = start(&tree, &slot);
            assert!(group.send(beat()).await.unwrap());
            let queue = MessageQueue { topic: "t".into(), ..MessageQueue::default() };
            let lock =
                |client: &str| lock_from(if client == "one" { 1 } else { 2 }, client, &queue);
            assert_eq!(group.send(lock("one")).await.unwrap().len(), 1);
            assert!(group.send(Poison).await.is_err(), "its sender is told");
            assert!(slot.membership.load().is_online(), "readers notice nothing");
            assert_eq!(group.send(lock("two")).await.unwrap().len(), 0, "still locked");
            assert_eq!(group.send(lock("one")).await.unwrap().len(), 1);
            pass(Duration::from_secs(100)).await;
            group.send(Expire).await.unwrap();
            assert!(slot.membership.load().is_online(), "members get the full time once more");
            group.send(Leave(ConnectionId(1))).await.unwrap();
            assert!(!slot.membership.load().is_online());
        });
    }
}
