//! The dispatcher: turns the log's new end into index entries of queues.
//!
//! Reads the log from where it stopped to the published end, in rounds of bounded size, and sends
//! each touched queue one [`IndexBatch`] per round. Pushed by the appender, never polled: the
//! appender raises [`DispatchSignal`] and sends a wake-up only if none is queued yet. Off the
//! producers' path altogether.
//!
//! Begins with the first wake-up, which the broker sends once the topics are published: before that,
//! every entry would look like one of a topic that was deleted.
//!
//! It knows which queues it has sent something to since the last checkpoint, so that the checkpointer
//! can have those confirm that they have written it ([`Mark`]).
//!
//! Invariants: entries of one queue leave in log order; the position moves only after the entries
//! have been sent, so a round that died is read again (queues skip what they have); before an orderly
//! stop ends, all entries have been sent.
//! Failure policy: restart from disk, at the last position.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use actix::{Addr, AsyncContext, Message};
use gantry_storage::{
    CommitLog, DelayLevels, DispatchEntry, DispatchMark, DispatchReader, IndexEntry,
    PhysicalOffset, QueueOffset,
};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, error, info};

use super::{
    checkpointer::{Checkpointer, Confirm, Confirmation},
    indexer::IndexerLink,
};
use crate::topic::{IndexBatch, LightTopics, QueueSlot, TopicTable, TopicView};

/// Entries per round: enough to make the hop cheap, few enough to let the queues run in between.
const ROUND_ENTRIES_MAX: usize = 2048;

/// The log has a new end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LogAdvanced;

/// Index the entries of `slot` behind `after` again, up to where the dispatcher is.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Redispatch {
    /// The queue with the gap.
    pub slot: Arc<QueueSlot>,
    /// End of the last record that it has.
    pub after: PhysicalOffset,
}

/// Has every queue that was sent something confirm that it wrote that; the last one's answer reaches
/// the checkpointer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Mark {
    /// Who wants to know.
    pub reply_to: Addr<Shell<Checkpointer>>,
}

/// Make the next handler panic; for tests of the supervision.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Panic;

/// What the appender, the dispatcher and those who wait for it share.
#[derive(Default)]
pub struct DispatchSignal {
    wake_queued: AtomicBool,
    position: AtomicU64,
    start_end: PhysicalOffset,
    progress: Mutex<Progress>,
}

/// What a checkpoint is made of; outlives the dispatcher's incarnations.
#[derive(Default)]
struct Progress {
    mark: DispatchMark,
    /// Queues that were sent something since they last confirmed.
    touched: Vec<Arc<QueueSlot>>,
    /// How often they were asked.
    round: u64,
}

impl DispatchSignal {
    /// A signal for a dispatcher that begins at `start`, once its first wake-up is sent, in a log that
    /// ends at `end` now.
    pub fn new(start: PhysicalOffset, end: PhysicalOffset) -> Self {
        let (wake_queued, position) = (AtomicBool::new(true), AtomicU64::new(start.0));
        let mark = DispatchMark { end: start, last_record: None };
        let progress = Mutex::new(Progress { mark, round: 1, ..Progress::default() });
        Self { wake_queued, position, start_end: end, progress }
    }

    /// How far the log has been dispatched.
    pub fn mark(&self) -> DispatchMark {
        self.progress().mark
    }

    /// Queues that did not confirm are asked again the next time.
    pub fn touch_again(&self, slots: Vec<Arc<QueueSlot>>) {
        self.progress().touched.extend(slots);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller has to send the wake-up; at most one is queued.
    pub fn raise(&self) -> bool {
        !self.wake_queued.swap(true, Ordering::AcqRel)
    }

    /// Up to where entries have been sent to their queues.
    pub fn position(&self) -> PhysicalOffset {
        PhysicalOffset(self.position.load(Ordering::Acquire))
    }
}

/// Who gets something of each record.
#[derive(Clone)]
pub struct DispatchTargets {
    /// The topics with their queues.
    pub topics: Arc<TopicTable>,
    /// Queues that messages are in besides their own, if they are served.
    pub light: Option<Arc<LightTopics>>,
    /// The indexer of keys, if there is one.
    pub indexer: Option<IndexerLink>,
}

/// See the module's text.
pub struct Dispatcher {
    log: CommitLog,
    reader: DispatchReader,
    targets: DispatchTargets,
    levels: DelayLevels,
    signal: Arc<DispatchSignal>,
    round: Round,
    restarted: bool,
    log_to: Logger,
}

/// Entries of one round by queue.
#[derive(Default)]
struct Round {
    number: u64,
    batches: Vec<(Arc<QueueSlot>, IndexBatch)>,
    /// The topic of the last entry: neighbours in the log are often of one topic.
    topic: Option<Arc<TopicView>>,
    /// Where the log ended when the broker started.
    start_end: PhysicalOffset,
}

impl Round {
    fn add(&mut self, entry: &DispatchEntry<'_>, targets: &DispatchTargets, levels: &DelayLevels) {
        if !entry.is_indexed() {
            return;
        }
        let index = entry.index_entry(levels);
        if let Some(light) = &targets.light {
            for (topic, place) in entry.light_queues() {
                if let Some(slot) = light.slot(topic) {
                    self.put(&slot, place, index);
                }
            }
        }
        if self.topic.as_ref().is_none_or(|view| view.config.topic_name != entry.topic) {
            self.topic = targets.topics.get(entry.topic);
        }
        let Some(view) = &self.topic else { return };
        // A Java broker does not start with queues of this kind beside those that it has for the topic.
        if view.kind.is_batch_queue {
            return;
        }
        // A topic that was deleted, or a queue of a life before: its records have no reader.
        let slot = view.queue(entry.queue_id).filter(|slot| slot.is_alive()).cloned();
        if let Some(slot) = slot {
            self.put(&slot, entry.queue_offset, index);
        }
        // A compacted topic takes its copy of the record here: by the same rules, from the same reader, and
        // noted in `touched`, so that a checkpoint waits for it.
    }

    /// Gives a queue its entry.
    fn put(&mut self, slot: &Arc<QueueSlot>, offset: QueueOffset, index: IndexEntry) {
        // Of what was in the log at the start, the appender has to be told; the rest it wrote itself.
        if index.offset < self.start_end {
            slot.saw_offset(offset.0);
        }
        let place = slot.dispatch_place(self.number).unwrap_or(usize::MAX);
        match self.batches.get_mut(place) {
            Some((_, batch)) if batch.continues_at(offset) => batch.entries.push(index),
            // The first of this round, or of a later life of a topic that was deleted and made again.
            _ => {
                slot.set_dispatch_place(self.number, self.batches.len());
                self.batches.push((slot.clone(), IndexBatch::of(offset, index)));
            }
        }
    }

    /// Sends each queue its batch, having noted that it is touched.
    fn send(&mut self, progress: &mut Progress) {
        for (slot, batch) in self.batches.drain(..) {
            if slot.touch(progress.round) {
                progress.touched.push(slot.clone());
            }
            slot.actor().do_send(batch);
        }
        self.number += 1;
        self.topic = None;
    }
}

impl Dispatcher {
    /// A dispatcher that begins where `signal` says its predecessor stopped, and wakes the indexer.
    pub fn new(
        log: CommitLog,
        targets: DispatchTargets,
        levels: DelayLevels,
        signal: Arc<DispatchSignal>,
        incarnation: u64,
        log_to: Logger,
    ) -> Self {
        let reader = DispatchReader::new(log.clone(), signal.position());
        let start_end = signal.start_end;
        let number = (incarnation << 40) + 1;
        let round = Round { number, start_end, ..Round::default() };
        let restarted = incarnation > 0;
        Self { log, reader, targets, levels, signal, round, restarted, log_to }
    }

    /// One round; whether there is more to do.
    pub fn dispatch(&mut self) -> bool {
        let Self { reader, round, targets, levels, .. } = self;
        let read = reader.read(ROUND_ENTRIES_MAX, |entry| round.add(entry, targets, levels));
        {
            let mut progress = self.signal.progress();
            self.round.send(&mut progress);
            progress.mark = self.reader.mark();
        }
        if let Err(e) = read {
            error!(self.log_to, "record cannot be indexed, skipped"; "error" => %e);
        }
        self.signal.position.store(self.reader.position().0, Ordering::Release);
        if let Some(indexer) = &self.targets.indexer {
            indexer.wake();
        }
        self.reader.position() < self.log.max_offset()
    }

    fn redispatch(&mut self, order: &Redispatch) {
        let end = self.reader.position();
        info!(self.log_to, "indexing a queue again from the log"; "topic" => &*order.slot.topic,
            "queue" => order.slot.queue_id, "from" => order.after.0, "to" => end.0);
        let log_begin = Some(self.log.min_offset());
        let mut reader = DispatchReader::new(self.log.clone(), order.after);
        let mut batches: Vec<IndexBatch> = Vec::new();
        while reader.position() < end {
            let before = reader.position();
            let slot = &order.slot;
            let read = reader.read(ROUND_ENTRIES_MAX, |entry| {
                let is_wanted = entry.offset < end && entry.is_indexed();
                let place = entry.place_in(&slot.topic, slot.queue_id).filter(|_| is_wanted);
                let Some(place) = place else { return };
                let index = entry.index_entry(&self.levels);
                match batches.last_mut() {
                    Some(last) if last.continues_at(place) => last.entries.push(index),
                    _ => batches.push(IndexBatch::of(place, index)),
                }
            });
            if let Err(e) = read {
                error!(self.log_to, "record cannot be indexed, skipped"; "error" => %e);
            }
            if reader.position() == before {
                break;
            }
        }
        let mut batches = batches.into_iter();
        let last = batches.next_back();
        for batch in batches {
            order.slot.actor().do_send(IndexBatch { log_begin, ..batch });
        }
        let last = last.unwrap_or_default();
        order.slot.actor().do_send(IndexBatch { again: true, log_begin, ..last });
    }
}

impl DispatchSignal {
    /// Asks the touched queues, in mailboxes that have their entries already.
    fn ask_touched(&self, reply_to: Addr<Shell<Checkpointer>>) {
        let mut progress = self.progress();
        progress.round += 1;
        let touched = std::mem::take(&mut progress.touched);
        let confirmation = Confirmation::new(progress.mark, touched.len(), reply_to);
        for slot in touched {
            let answer = confirmation.ask(slot.clone());
            slot.actor().do_send(Confirm(answer));
        }
    }
}

impl Logic for Dispatcher {
    const NAME: &'static str = "dispatcher";

    /// After a restart the wake-up that died is made up for.
    fn started(&mut self, ctx: &mut Ctx<Self>) {
        if self.restarted {
            self.signal.wake_queued.store(true, Ordering::Release);
            ctx.notify(LogAdvanced);
        }
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        while self.dispatch() {}
    }
}

impl Receive<LogAdvanced> for Dispatcher {
    fn receive(&mut self, _: LogAdvanced, ctx: &mut Ctx<Self>) -> Reply<()> {
        // Lowered first: an end that is published from here on queues a wake-up of its own.
        self.signal.wake_queued.store(false, Ordering::Release);
        if self.dispatch() && self.signal.raise() {
            ctx.notify(LogAdvanced);
        }
        Reply::Now(())
    }
}

impl Receive<Redispatch> for Dispatcher {
    fn receive(&mut self, order: Redispatch, _: &mut Ctx<Self>) -> Reply<()> {
        self.redispatch(&order);
        Reply::Now(())
    }
}

impl Receive<Mark> for Dispatcher {
    fn receive(&mut self, order: Mark, _: &mut Ctx<Self>) -> Reply<()> {
        self.signal.ask_touched(order.reply_to);
        Reply::Now(())
    }
}

impl Receive<Panic> for Dispatcher {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("panic on request in the dispatcher")
    }
}
