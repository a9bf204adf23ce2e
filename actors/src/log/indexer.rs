//! The indexer: makes the key index of what the dispatcher has gone through.
//!
//! Lives on a thread of its own, because opening the index after a crash, syncing it and reading the log
//! far behind its end block. It reads the log by itself, in rounds of bounded size, up to where the
//! dispatcher is; that wakes it at the end of a round, with at most one wake-up queued. Having found
//! something it rests a moment and looks again by itself, so that under load it is woken by no message
//! and goes through many at a time. What the index lacks at the start is made the same way, while the
//! broker serves.
//!
//! Every few seconds it syncs what is new and has the store write down how far that is, so a crash costs
//! the entries of those seconds, to be made again.
//!
//! Failure policy: restart from disk, but nobody else is disturbed whatever happens here. An error is
//! logged once and what failed is tried again at every tick; messages are taken meanwhile, whereas the
//! Java broker takes none after an error of its index. Key queries then lack the newest messages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Addr, AsyncContext, Message};
use gantry_storage::{
    AdvanceError, Clock, Disk, Index, IndexError, IndexPoint, IndexWriter, PhysicalOffset, Store,
};
use gantry_supervisor::{Ctx, Health, Logic, Receive, Reply, Shell};
use slog::{Logger, error, info};

use super::dispatcher::DispatchSignal;

/// Records per round: after one, other messages have their turn.
const ROUND_RECORDS_MAX: usize = 4096;
/// Rest after a round that found something: the most that a message waits to be found by key.
const REST: Duration = Duration::from_millis(10);
/// Rounds that an orderly stop waits for at most: what is left then is indexed by the next start.
const STOP_ROUNDS_MAX: usize = 256;
/// Time between syncs of the index, and between attempts after an error.
pub const INDEX_TICK: Duration = Duration::from_secs(3);

/// The dispatcher has gone on, or the broker is ready.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LogDispatched;

/// Time to sync, or to try again.
#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// Make the next handler panic; for tests of the supervision.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Panic;

/// What the indexer and those who wake it or wait for it share.
pub struct IndexSignal {
    /// A wake-up is queued, or the indexer is going to look by itself.
    wake_queued: AtomicBool,
    is_failing: AtomicBool,
}

impl Default for IndexSignal {
    /// As if a wake-up were queued: the first one is sent by the broker once it serves.
    fn default() -> Self {
        Self { wake_queued: AtomicBool::new(true), is_failing: AtomicBool::new(false) }
    }
}

impl IndexSignal {
    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }
}

/// How the indexer is woken.
#[derive(Clone)]
pub struct IndexerLink {
    /// The indexer.
    pub indexer: Addr<Shell<Indexer>>,
    /// See there.
    pub signal: Arc<IndexSignal>,
}

impl IndexerLink {
    /// Tells the indexer that there may be more, unless that is on its way already.
    pub fn wake(&self) {
        if !self.signal.wake_queued.swap(true, Ordering::AcqRel) {
            self.indexer.do_send(LogDispatched);
        }
    }

    /// Sends the first wake-up.
    pub fn begin(&self) {
        self.indexer.do_send(LogDispatched);
    }
}

/// What an indexer works with.
#[derive(Clone)]
pub struct IndexerParts {
    /// The store: its log is read, its checkpoint says how far the index is on disk.
    pub store: Arc<Store>,
    /// The index.
    pub index: Index,
    /// Where it lies.
    pub disk: Arc<dyn Disk>,
    /// Names its files.
    pub clock: Arc<dyn Clock>,
    /// How far the dispatcher is.
    pub dispatched: Arc<DispatchSignal>,
    /// See there.
    pub signal: Arc<IndexSignal>,
    /// Its log.
    pub log_to: Logger,
}

/// How a round went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// There is more to do.
    More,
    /// Everything was done.
    Done,
    /// There was nothing to do.
    Idle,
    /// It failed, and is to be tried again later.
    Failed,
}

/// See the module's text.
pub struct Indexer {
    parts: IndexerParts,
    /// Up to where the last round was to go.
    seen: PhysicalOffset,
    /// None until the index is open.
    writer: Option<IndexWriter>,
    /// Why the last attempt failed.
    failure: Option<String>,
    restarted: bool,
}

impl Indexer {
    /// An indexer that opens the index when it is first woken.
    pub fn new(parts: IndexerParts, incarnation: u32) -> Self {
        let (seen, restarted) = (PhysicalOffset(0), incarnation > 0);
        Self { parts, seen, writer: None, failure: None, restarted }
    }

    /// One round, up to where the dispatcher is.
    pub fn round(&mut self) -> Went {
        let end = self.parts.dispatched.position();
        self.seen = end;
        let went = match self.open() {
            Ok(writer) => writer.advance(end, ROUND_RECORDS_MAX),
            Err(e) => Err(e.into()),
        };
        match went {
            Ok(records) => {
                self.works();
                let is_behind = self.writer.as_ref().is_some_and(|w| w.position() < end);
                match records {
                    0 => Went::Idle,
                    _ if is_behind => Went::More,
                    _ => Went::Done,
                }
            }
            Err(AdvanceError::Record(bad)) => {
                error!(self.parts.log_to, "record cannot be indexed by key, skipped"; "error" => %bad);
                Went::More
            }
            Err(AdvanceError::Index(e)) => {
                self.fails(&e.to_string());
                Went::Failed
            }
        }
    }

    fn open(&mut self) -> Result<&mut IndexWriter, IndexError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let IndexerParts { store, index, disk, clock, log_to, .. } = &self.parts;
                let (disk, clock, evidence) = (disk.clone(), clock.clone(), store.index_evidence());
                let (writer, report) =
                    IndexWriter::open(index, disk, clock, store.log(), &evidence)?;
                info!(log_to, "key index opened"; "report" => %report);
                writer
            }
        };
        Ok(self.writer.insert(writer))
    }

    /// Syncs what is new, and has it written down.
    fn flush(&mut self) {
        let Some(writer) = self.writer.as_mut().filter(|writer| writer.is_dirty()) else { return };
        let flushed = writer.flush();
        self.write_down(flushed);
    }

    fn write_down(&mut self, flushed: Result<IndexPoint, IndexError>) {
        let point = match flushed {
            Ok(point) => point,
            Err(e) => {
                self.fails(&e.to_string());
                // That the index is suspect from its last point on has to be known to the next start.
                match &self.writer {
                    Some(writer) if !matches!(e, IndexError::Suspect) => writer.durable(),
                    _ => return,
                }
            }
        };
        if let Err(e) = self.parts.store.checkpoint_index(point) {
            self.fails(&e.to_string());
        }
    }

    fn works(&mut self) {
        // After a failed sync it is not, whatever rounds in memory do.
        let is_suspect = self.writer.as_ref().is_some_and(|writer| writer.durable().suspect);
        if !is_suspect && self.failure.take().is_some() {
            info!(self.parts.log_to, "the key index is written again");
            self.parts.signal.is_failing.store(false, Ordering::Release);
        }
    }

    fn fails(&mut self, why: &str) {
        if self.failure.as_deref() != Some(why) {
            error!(self.parts.log_to, "the key index cannot be written, trying again";
                "error" => why);
            self.failure = Some(why.to_owned());
            self.parts.signal.is_failing.store(true, Ordering::Release);
        }
    }

    fn work(&mut self, ctx: &mut Ctx<Self>) {
        match self.round() {
            Went::More => ctx.notify(LogDispatched),
            Went::Done => {
                ctx.notify_later(LogDispatched, REST);
            }
            Went::Idle => self.wait_for_wake_up(ctx),
            // The tick looks again; to be woken by every message would not help.
            Went::Failed => {}
        }
    }

    fn wait_for_wake_up(&self, ctx: &mut Ctx<Self>) {
        let IndexerParts { signal, dispatched, .. } = &self.parts;
        signal.wake_queued.store(false, Ordering::Release);
        // What was dispatched before the flag was lowered has woken nobody.
        if dispatched.position() != self.seen && !signal.wake_queued.swap(true, Ordering::AcqRel) {
            ctx.notify(LogDispatched);
        }
    }
}

impl Logic for Indexer {
    const NAME: &'static str = "indexer";

    /// After a restart the wake-up that died is made up for.
    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.notify_later(Tick, INDEX_TICK);
        if self.restarted {
            self.parts.signal.wake_queued.store(true, Ordering::Release);
            ctx.notify(LogDispatched);
        }
    }

    /// Brings the index up to the log's end, unless that is far, and all of it to the disk. Left in order
    /// are only files of which the slots are there too.
    fn stopping(&mut self, _: &mut Ctx<Self>) {
        for _ in 0..STOP_ROUNDS_MAX {
            if self.round() != Went::More {
                break;
            }
        }
        if let Some(writer) = &mut self.writer {
            let flushed = writer.flush_all();
            self.write_down(flushed);
        }
    }

    fn health(&self) -> Health {
        self.failure.clone().map_or(Health::Up, Health::Degraded)
    }
}

impl Receive<LogDispatched> for Indexer {
    fn receive(&mut self, _: LogDispatched, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.work(ctx);
        Reply::Now(())
    }
}

impl Receive<Tick> for Indexer {
    fn receive(&mut self, _: Tick, ctx: &mut Ctx<Self>) -> Reply<()> {
        if self.failure.is_some() {
            self.work(ctx);
        }
        self.flush();
        ctx.notify_later(Tick, INDEX_TICK);
        Reply::Now(())
    }
}

impl Receive<Panic> for Indexer {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("panic on request in the indexer")
    }
}

#[cfg(test)]
mod tests;
