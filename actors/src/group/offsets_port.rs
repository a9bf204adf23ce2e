//! One connection's way to the offsets: gathers commits, keeps their order before queries.
//!
//! Commits come with pulls and with UPDATE_CONSUMER_OFFSET, many per burst of requests and often for the
//! same queues. A port keeps the last one per queue and sends them as one [`CommitBurst`] when the
//! connection's burst ends.
//!
//! Order: a client that reads its offset must find what was committed before, also on another
//! connection: a consumer that takes over from one that has just ended asks within a millisecond of
//! its last commit. So a question follows the commits through the actor's mailbox; questions are
//! few, one per queue and rebalancing. Bursts under way are counted by [`Ticket`]s; one that dies with
//! its message counts as done, since nothing more will come of it.
//!
//! With several bursts under way (the actor is waiting for its disk) the port goes on gathering
//! instead of sending, so what one connection can have under way is bounded.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix::MailboxError;
use futures_util::future::LocalBoxFuture;
use gantry_supervisor::Ref;

use super::{
    handover::Wait,
    offset_table::{Commit, OffsetView},
    offsets::{CommitBurst, OffsetOf, Offsets, ResetDelivered},
};

/// Bursts under way from which on the port waits with sending.
const UNDER_WAY_MAX: usize = 4;
/// Commits gathered from which on the port sends nevertheless.
const GATHERED_MAX: usize = 1024;
/// Names kept for use in commits; a client uses few.
const NAMES_MAX: usize = 1024;

/// A burst of one port that is under way.
pub struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn new(under_way: &Arc<AtomicUsize>) -> Self {
        under_way.fetch_add(1, Ordering::Relaxed);
        Self(under_way.clone())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Whoever sees the lower count sees what was published before.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A committed offset, if there is one.
pub type Committed = LocalBoxFuture<'static, Result<Option<i64>, MailboxError>>;

/// See the module's text.
pub struct OffsetsPort {
    actor: Ref<Offsets>,
    view: OffsetView,
    gathered: Vec<Commit>,
    under_way: Arc<AtomicUsize>,
    names: HashSet<Arc<str>>,
}

impl OffsetsPort {
    /// A port to the actor that publishes `view`.
    pub fn new(actor: Ref<Offsets>, view: OffsetView) -> Self {
        Self { actor, view, gathered: Vec::new(), under_way: Arc::default(), names: HashSet::new() }
    }

    /// The published offsets, without regard to this port's own commits.
    pub fn view(&self) -> &OffsetView {
        &self.view
    }

    /// Takes a commit. Ignored while a reset of the queue waits for the next pull.
    pub fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.gather(group, topic, queue_id, offset, false);
    }

    fn gather(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64, only_forward: bool) {
        let same =
            |c: &&mut Commit| c.queue_id == queue_id && *c.topic == *topic && *c.group == *group;
        if let Some(commit) = self.gathered.iter_mut().find(same) {
            if only_forward {
                commit.offset = commit.offset.max(offset);
            } else {
                (commit.offset, commit.only_forward) = (offset, false);
            }
            return;
        }
        let (group, topic) = (self.name(group), self.name(topic));
        self.gathered.push(Commit { group, topic, queue_id, offset, only_forward });
        if self.gathered.len() >= GATHERED_MAX {
            self.send_all();
        }
    }

    /// Takes a commit that came along with a pull, unless it goes back: a consumer that was frozen, or has
    /// not heard yet that another one has its queue, still says where it was. Who means to go back says so
    /// with UPDATE_CONSUMER_OFFSET.
    pub fn commit_forward(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        // What the view has need not be all: commits may be under way to the actor, which decides.
        if self.view.get(group, topic, queue_id).is_none_or(|known| known <= offset) {
            self.gather(group, topic, queue_id, offset, true);
        }
    }

    /// The connection's burst has ended: sends what was gathered.
    pub fn burst_end(&mut self) {
        if !self.gathered.is_empty() && self.under_way.load(Ordering::Relaxed) < UNDER_WAY_MAX {
            self.send_all();
        }
    }

    /// Sends what was gathered; the future is done when it can be read by everybody.
    pub fn flush(&mut self) -> LocalBoxFuture<'static, Result<(), MailboxError>> {
        let burst = self.take_burst();
        let sent = self.actor.send(burst);
        Box::pin(sent)
    }

    /// The committed offset, all commits that any connection sent before included.
    pub fn committed(&mut self, group: &str, topic: &str, queue_id: i32) -> Committed {
        self.send_all();
        let (group, topic) = (self.name(group), self.name(topic));
        Box::pin(self.actor.send(OffsetOf { group, topic, queue_id }))
    }

    /// As [`committed`](Self::committed), but asked once `wait` is over.
    pub fn committed_after(
        &mut self,
        wait: Wait,
        group: &str,
        topic: &str,
        queue_id: i32,
    ) -> Committed {
        self.send_all();
        let (group, topic) = (self.name(group), self.name(topic));
        let actor = self.actor.clone();
        Box::pin(async move {
            wait.over().await;
            actor.send(OffsetOf { group, topic, queue_id }).await
        })
    }

    /// The answer to a pull tells the client of the reset that the view showed.
    pub fn reset_delivered(&mut self, group: &str, topic: &str, queue_id: i32) {
        self.send_all();
        let (group, topic) = (self.name(group), self.name(topic));
        self.actor.do_send(ResetDelivered { group, topic, queue_id });
    }

    /// Sends what was gathered, however much is under way.
    pub fn send_all(&mut self) {
        if !self.gathered.is_empty() {
            let burst = self.take_burst();
            self.actor.do_send(burst);
        }
    }

    fn take_burst(&mut self) -> CommitBurst {
        let commits = std::mem::take(&mut self.gathered);
        CommitBurst { commits, ticket: Ticket::new(&self.under_way) }
    }

    /// The name as commits carry it: shared, so that a commit allocates nothing.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let shared: Arc<str> = name.into();
        self.names.insert(shared.clone());
        shared
    }
}
