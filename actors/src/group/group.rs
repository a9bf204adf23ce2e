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
use gantry_supervisor::{Ctx, Logic, Receive, Ref, Reply};
use slog::{Logger, info, warn};
use tokio::time::Instant;

use super::{
    locks::QueueLocks,
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
    rebalancer: Ref<Rebalancer>,
    log: Logger,
}

impl Group {
    /// The actor's state, as its predecessor published it.
    pub fn new(
        slot: Arc<GroupSlot>,
        client_expiry: Duration,
        rebalancer: Ref<Rebalancer>,
        log: Logger,
    ) -> Self {
        let membership = slot.membership.load().as_ref().clone();
        let locks = slot.locks.load().as_ref().clone();
        Self {
            slot,
            roster: Roster::new(membership, client_expiry, Instant::now()),
            locks,
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

    fn publish_locks(&self) {
        self.slot.locks.store(Arc::new(self.locks.clone()));
    }
}

impl Logic for Group {
    const NAME: &'static str = "group";
}

impl Receive<Heartbeat> for Group {
    fn receive(&mut self, Heartbeat(beat): Heartbeat, _: &mut Ctx<Self>) -> Reply<bool> {
        let effect = self.roster.beat(beat, Instant::now());
        self.apply(effect);
        effect.send_subscriptions.into()
    }
}

impl Receive<Leave> for Group {
    fn receive(&mut self, Leave(connection): Leave, _: &mut Ctx<Self>) -> Reply<()> {
        let effect = self.roster.leave(connection);
        self.apply(effect);
        Reply::Now(())
    }
}

impl Receive<Lock> for Group {
    fn receive(&mut self, order: Lock, _: &mut Ctx<Self>) -> Reply<Vec<MessageQueue>> {
        let Lock { client_id, mut queues } = order;
        let (now, asked) = (Instant::now(), queues.len());
        queues.retain(|queue| self.locks.lock(queue, &client_id, now));
        self.publish_locks();
        if queues.len() < asked {
            info!(self.log, "queues are locked by other clients"; "client" => &*client_id,
                "asked" => asked, "granted" => queues.len());
        }
        queues.into()
    }
}

impl Receive<Unlock> for Group {
    fn receive(&mut self, order: Unlock, _: &mut Ctx<Self>) -> Reply<()> {
        for queue in &order.queues {
            self.locks.unlock(queue, &order.client_id);
        }
        self.publish_locks();
        Reply::Now(())
    }
}

impl Receive<Expire> for Group {
    fn receive(&mut self, _: Expire, _: &mut Ctx<Self>) -> Reply<()> {
        let now = Instant::now();
        let (late, effect) = self.roster.expire(now);
        for member in late {
            warn!(self.log, "consumer expired"; "client" => &*member.id,
                "remote" => %member.connection.remote());
            member.connection.close("no heartbeat");
        }
        self.apply(effect);
        let kept = self.locks.len();
        self.locks.expire(now);
        if self.locks.len() < kept {
            self.publish_locks();
        }
        Reply::Now(())
    }
}
