//! The queue actor: one per queue in use; the only writer of its consume queue.
//!
//! Owns the queue's index files and the pulls that wait for its next message. The dispatcher sends it
//! one [`IndexBatch`] per round; it writes the entries, publishes the new end and wakes the pulls
//! that want them. Connections read through the [`QueueSlot`]'s view and never ask the actor, except
//! to park a pull.
//!
//! Invariants: entries are consecutive; a batch that begins behind the end (its predecessor was lost
//! with a panic) is dropped and the gap is ordered again from the dispatcher; entries already there
//! are skipped.
//! Failure policy: restart from disk. The files are opened again, and what the lost message held is
//! indexed again from the log.

use std::{sync::Arc, time::Duration};

use actix::{ActorContext, Addr, AsyncContext, Message};
use gantry_storage::{ConsumeQueue, IndexEntry, PhysicalOffset, QueueOffset};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, error, info, warn};
use tokio::time::Instant;

use super::{
    held_pulls::{HeldPull, HeldPulls},
    view::QueueSlot,
};
use crate::log::{
    checkpointer::Confirm,
    dispatcher::{Dispatcher, Redispatch},
};

/// An order that was not answered for this long died with the dispatcher, and is given again.
const GAP_PATIENCE: Duration = Duration::from_secs(2);

/// Entries of one dispatch round for one queue.
#[derive(Default, Message)]
#[rtype(result = "()")]
pub struct IndexBatch {
    /// Offset of the first entry.
    pub first: QueueOffset,
    /// Consecutive entries.
    pub entries: Vec<IndexEntry>,
    /// Whether this answers a [`Redispatch`].
    pub again: bool,
    /// Where the log began, if this is part of such an answer.
    pub log_begin: Option<PhysicalOffset>,
}

impl IndexBatch {
    /// A batch of one entry, to be continued.
    pub fn of(first: QueueOffset, entry: IndexEntry) -> Self {
        Self { first, entries: vec![entry], ..Self::default() }
    }

    /// Whether an entry at `offset` would follow the last one.
    pub fn continues_at(&self, offset: QueueOffset) -> bool {
        self.first.0 + self.entries.len() as u64 == offset.0
    }
}

/// Let the queue begin later: its older messages are gone from the log, or over their topic's limits.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct TrimQueue {
    /// Where the log begins.
    pub log_min: PhysicalOffset,
    /// The first offset that its topic still wants.
    pub min: QueueOffset,
}

/// Hold this pull until there is something for it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ParkPull(pub HeldPull);

/// Answered once the queue's files are open and its view is published.
#[derive(Message)]
#[rtype(result = "()")]
pub struct OpenQueue;

/// The topic is deleted: remove the files and stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeleteQueue;

/// Make the next handler panic; for tests of the supervision.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Panic;

/// The earliest held pull is due.
#[derive(Message)]
#[rtype(result = "()")]
struct Expire;

/// See the module's text.
pub struct Queue {
    slot: Arc<QueueSlot>,
    index: ConsumeQueue,
    held: HeldPulls,
    timer_at: Option<Instant>,
    /// When a gap was last ordered again; until it is filled, later entries are dropped.
    awaits_gap: Option<Instant>,
    /// Whether entries could not be written.
    lacks_entries: bool,
    restarted: bool,
    dispatcher: Addr<Shell<Dispatcher>>,
    log: Logger,
}

impl Queue {
    /// The actor of `slot` over its opened index; `restarted` if a predecessor died, perhaps with a
    /// batch.
    pub fn new(
        slot: Arc<QueueSlot>,
        index: ConsumeQueue,
        dispatcher: Addr<Shell<Dispatcher>>,
        restarted: bool,
        log: Logger,
    ) -> Self {
        slot.publish(index.view());
        Self {
            slot,
            index,
            held: HeldPulls::default(),
            timer_at: None,
            awaits_gap: None,
            lacks_entries: false,
            restarted,
            dispatcher,
            log,
        }
    }

    fn index(&mut self, batch: &IndexBatch) {
        if batch.again {
            self.awaits_gap = None;
        }
        let end = self.index.max_offset();
        let Some((first, fresh)) = self.fresh(batch) else { return };
        // What a look at the whole log brought is all there is. A queue may begin anywhere, and begins
        // anew if what it had is gone from the log together with what it lacks.
        let begins_here = batch.log_begin.is_some_and(|begin| self.index.max_physical() <= begin);
        if first > end && !begins_here && !self.fill_gap(batch, first, fresh) {
            return;
        }
        let end = self.index.max_offset();
        if first != end && end.0 > 0 {
            // Younger records with lower offsets: the topic was deleted and made again. With higher
            // ones: those between were removed from the log before they were indexed.
            warn!(self.log, "index of what is no more dropped"; "end" => end.0, "begin" => first.0);
            if let Err(e) = self.index.delete() {
                error!(self.log, "queue files cannot be removed"; "error" => %e);
                return;
            }
        }
        if let Err(e) = self.index.append(first, fresh) {
            // Derived data: nothing is lost, but consumers do not see these messages until it works.
            self.lacks_entries = true;
            error!(self.log, "queue index cannot be written"; "offset" => end.0, "error" => %e);
            return;
        }
        self.lacks_entries = false;
        if let Some(e) = self.index.ext_failure() {
            warn!(self.log, "entries have no units of the extension"; "error" => %e);
        }
        self.slot.advanced();
        if !self.held.is_empty() {
            self.held.arrived((first.0..).zip(fresh));
        }
    }

    /// The entries of records behind those that the index has, and the queue offset of the first.
    fn fresh<'a>(&self, batch: &'a IndexBatch) -> Option<(QueueOffset, &'a [IndexEntry])> {
        let known_until = self.index.max_physical();
        let known = batch.entries.iter().take_while(|e| e.offset < known_until).count();
        let fresh = batch.entries.get(known..).filter(|fresh| !fresh.is_empty())?;
        Some((QueueOffset(batch.first.0 + known as u64), fresh))
    }

    /// Fills the gap before `first` if the log has been read again and has nothing of it: the records
    /// are damaged. Otherwise orders that; whether the gap is filled. Not if the log never had room for
    /// the records: then `first` itself is damaged, and would have the disk filled.
    fn fill_gap(&mut self, batch: &IndexBatch, first: QueueOffset, fresh: &[IndexEntry]) -> bool {
        if batch.log_begin.is_none() {
            self.order_gap();
            return false;
        }
        let end = self.index.max_offset();
        if fresh.first().is_some_and(|entry| !self.index.may_lack(first, entry.offset)) {
            error!(self.log, "message passed over, its queue offset is damaged";
                "end" => end.0, "offset" => first.0);
            return false;
        }
        error!(self.log, "messages are lost, their records are damaged";
            "from" => end.0, "to" => first.0);
        let filled = self.index.append_lost(first.since(end));
        if let Err(e) = &filled {
            error!(self.log, "queue index cannot be written"; "offset" => end.0, "error" => %e);
        }
        filled.is_ok()
    }

    fn order_gap(&mut self) {
        if self.awaits_gap.is_some_and(|ordered| ordered.elapsed() < GAP_PATIENCE) {
            return;
        }
        self.awaits_gap = Some(Instant::now());
        warn!(self.log, "index entries may be missing, reading them from the log again";
            "end" => self.index.max_offset().0);
        self.dispatcher
            .do_send(Redispatch { slot: self.slot.clone(), after: self.index.max_physical() });
    }

    fn arm_timer(&mut self, at: Option<Instant>, ctx: &mut Ctx<Self>) {
        let Some(at) = at else { return };
        if self.timer_at.is_none_or(|armed| at < armed) {
            self.timer_at = Some(at);
            ctx.notify_later(Expire, at.saturating_duration_since(Instant::now()));
        }
    }
}

impl Logic for Queue {
    const NAME: &'static str = "queue";

    fn started(&mut self, _: &mut Ctx<Self>) {
        if self.restarted {
            self.order_gap();
        }
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.held.fire_all();
        if self.slot.is_alive()
            && let Err(e) = self.index.flush()
        {
            error!(self.log, "queue index cannot be flushed"; "error" => %e);
        }
    }
}

impl Receive<IndexBatch> for Queue {
    fn receive(&mut self, batch: IndexBatch, _: &mut Ctx<Self>) -> Reply<()> {
        self.index(&batch);
        Reply::Now(())
    }
}

impl Receive<Confirm> for Queue {
    fn receive(&mut self, Confirm(answer): Confirm, _: &mut Ctx<Self>) -> Reply<()> {
        if self.awaits_gap.is_none() && !self.lacks_entries {
            answer.confirm();
        }
        Reply::Now(())
    }
}

impl Receive<ParkPull> for Queue {
    fn receive(&mut self, ParkPull(pull): ParkPull, ctx: &mut Ctx<Self>) -> Reply<()> {
        // The end may have moved, or been opened, since the connection looked: no wake-up is lost.
        if self.index.max_offset().0 > pull.request.offset {
            pull.fire();
        } else {
            let deadline = pull.deadline;
            self.held.hold(pull);
            self.arm_timer(Some(deadline), ctx);
        }
        Reply::Now(())
    }
}

impl Receive<TrimQueue> for Queue {
    fn receive(&mut self, order: TrimQueue, _: &mut Ctx<Self>) -> Reply<()> {
        let trimmed = self.index.trim_before(order.log_min);
        if let Err(e) = trimmed.and_then(|_| self.index.raise_min(order.min)) {
            warn!(self.log, "queue cannot be trimmed"; "error" => %e);
        }
        self.slot.trimmed();
        Reply::Now(())
    }
}

impl Receive<OpenQueue> for Queue {
    fn receive(&mut self, _: OpenQueue, _: &mut Ctx<Self>) -> Reply<()> {
        Reply::Now(())
    }
}

impl Receive<Expire> for Queue {
    fn receive(&mut self, _: Expire, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.timer_at = None;
        let next = self.held.expire(Instant::now());
        self.arm_timer(next, ctx);
        Reply::Now(())
    }
}

impl Receive<DeleteQueue> for Queue {
    fn receive(&mut self, _: DeleteQueue, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.held.fire_all();
        match self.index.delete() {
            Ok(()) => info!(self.log, "queue deleted"),
            Err(e) => error!(self.log, "queue files cannot be removed"; "error" => %e),
        }
        ctx.stop();
        Reply::Now(())
    }
}

impl Receive<Panic> for Queue {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("panic on request in queue {} of {}", self.slot.queue_id, self.slot.topic)
    }
}
