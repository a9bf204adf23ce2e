//! The cleaner: removes what the store need not keep, and says when the disk is too full to write.
//!
//! At start, then every `cleanResourceInterval`, it goes a round: moves up the queues of topics that
//! are over their own limits ([`limits`]), looks at the disks, and removes log files one by one, each
//! time deciding anew ([`RetentionPolicy`]), so that it stops as soon as there is room. At the end of
//! a round that removed something, every queue is trimmed to what the log still has: by its actor if it
//! has one, here if nobody has it open. Operators order rounds and single parts of them.
//!
//! Lives on a thread of its own, because removing large files blocks; it takes no part in a message's
//! way. Knows the log by its published view and the groups by their offsets ([`unconsumed`]).
//!
//! Invariants: nothing goes that the dispatcher has not passed and a checkpoint has not covered; with `neverDeleteUnconsumed` nothing
//! that a known group needs, and then a full disk refuses messages until there is room.
//! Failure policy: restart empty; what it counted is counted again. A file that cannot be removed is
//! told and tried again in the next round. While it restarts, the last word on the disk holds.

pub mod limits;
pub mod unconsumed;
mod unused;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{AsyncContext, Message, SpawnHandle};
use gantry_storage::{
    Clock, CommitLog, Disk, DispatchEntry, Index, PhysicalOffset, QueueId, QueueOffset,
    retention::{
        Decision, DiskLimit, DiskUse, Evidence, Removal, RetentionPolicy, wanted::WantedFrom,
    },
};
use gantry_supervisor::{ContextExt, Ctx, Health, Logic, Receive, Reply};
use slog::{Logger, error, info, warn};

use self::{
    limits::Limits,
    unconsumed::{Consumption, Unconsumed},
};
use super::{dispatcher::DispatchSignal, state::LogState};
use crate::{
    group::OffsetView,
    timer::TimerFigures,
    topic::{QueueSlot, Queues, TopicTable, TrimQueue},
};

/// Rounds that clean whatever the hour after an operator's order, as in the Java broker.
const ORDERED_ROUNDS: u32 = 20;
/// Records that are looked at in one round for whether anybody wants them.
const SEARCHED_RECORDS_MAX: usize = 1_000_000;
/// Queues that are trimmed before the mailbox has its turn.
const TRIMMED_QUEUES_MAX: usize = 1000;

/// Remove old log files now and in the next rounds, whatever the hour (DELETE_EXPIRED_COMMITLOG).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CleanLog;

/// Trim every queue to what the log still has and to what its topic still wants
/// (CLEAN_EXPIRED_CONSUMEQUEUE).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CleanQueues;

/// Remove the queues of topics that do not exist (CLEAN_UNUSED_TOPIC); which topics they were of.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<String>, String>")]
pub struct CleanUnusedTopics;

/// What the cleaner works with.
#[derive(Clone)]
pub struct CleanerParts {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// The log.
    pub log: CommitLog,
    /// Whether it takes messages.
    pub state: Arc<LogState>,
    /// How far the dispatcher is.
    pub signal: Arc<DispatchSignal>,
    /// Published topics.
    pub topics: Arc<TopicTable>,
    /// Reads queues that nobody has open.
    pub queues: Arc<Queues>,
    /// The key index, if there is one.
    pub index: Option<Index>,
    /// What groups have consumed.
    pub offsets: OffsetView,
    /// What goes when.
    pub policy: RetentionPolicy,
    /// `neverDeleteUnconsumed`.
    pub keeps_unconsumed: bool,
    /// Says where the oldest timed message lies.
    pub timers: Arc<TimerFigures>,
    /// Time between rounds.
    pub interval: Duration,
    /// Time between two files of a round.
    pub file_interval: Duration,
    /// The actor's logger.
    pub log_to: Logger,
}

/// See the module's text.
pub struct Cleaner {
    parts: CleanerParts,
    limits: Limits,
    wanted: WantedFrom,
    /// Files that went in this round.
    removed: usize,
    ordered_rounds: u32,
    /// Whether the disk refuses messages, and whether they were told what keeps files from going.
    refuses: bool,
    is_held: bool,
    /// Where the log began when the queues were trimmed last, or began to be.
    trimmed_to: PhysicalOffset,
    /// Those that still have to be.
    untrimmed: Vec<Arc<QueueSlot>>,
    timer: Option<SpawnHandle>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Perhaps another file of this round.
    File,
    /// More queues, now that the files are gone.
    Queues,
    /// Another round.
    Round,
}

impl Cleaner {
    /// A cleaner that has counted nothing yet; the queues were trimmed to `trimmed_to`.
    pub fn new(parts: CleanerParts, trimmed_to: PhysicalOffset) -> Self {
        Self {
            refuses: parts.state.is_disk_full(),
            is_held: false,
            trimmed_to,
            untrimmed: Vec::new(),
            limits: Limits::default(),
            wanted: WantedFrom::default(),
            removed: 0,
            ordered_rounds: 0,
            timer: None,
            parts,
        }
    }

    /// Goes on with the round, or with a new one.
    pub fn go_on(&mut self, next: Next) -> Next {
        match next {
            Next::File => self.step(),
            Next::Queues => self.trim_some(),
            Next::Round => self.begin_round(),
        }
    }

    fn begin_round(&mut self) -> Next {
        self.removed = 0;
        self.apply_limits();
        self.step()
    }

    /// Moves up the queues of topics that are over their own limits.
    fn apply_limits(&mut self) {
        let (parts, now) = (&self.parts, self.parts.clock.now_ms());
        let consumption = self.consumption();
        let over = self.limits.over(&parts.topics, &parts.queues, &parts.log, &consumption, now);
        for (slot, min) in over {
            self.trim(&slot, parts.log.min_offset(), min);
        }
    }

    /// Looks at the disks, and removes one file if one has to go.
    fn step(&mut self) -> Next {
        let (files, mut decision) = self.decide(None);
        // What has to stay is searched for only if something is to go.
        let unconsumed = if decision.removals.is_empty() { None } else { self.unconsumed() };
        if unconsumed.is_some() {
            decision = self.decide(unconsumed.as_ref()).1;
        }
        self.tell_of_hold(&decision, unconsumed.as_ref());
        self.refuse(decision.refusal.as_ref(), unconsumed.as_ref().filter(|_| decision.is_held));
        match (decision.removals.first(), files) {
            (Some(removal), Some(end)) if self.remove(end, *removal) => {
                self.removed += 1;
                Next::File
            }
            _ => self.end_round(),
        }
    }

    fn end_round(&mut self) -> Next {
        self.ordered_rounds = self.ordered_rounds.saturating_sub(1);
        let log_min = self.parts.log.min_offset();
        if log_min > self.trimmed_to {
            self.untrimmed = self.slots();
            self.trimmed_to = log_min;
            self.trim_index(log_min);
        }
        if self.untrimmed.is_empty() { Next::Round } else { Next::Queues }
    }

    /// The decision, and the end of the first file.
    fn decide(&mut self, unconsumed: Option<&Unconsumed>) -> (Option<PhysicalOffset>, Decision) {
        let parts = &self.parts;
        let files = parts.log.files(&*parts.disk, parts.policy.batch_max);
        let dispatched = parts.signal.position().min(parts.queues.store.checkpointed());
        let wanted_from = if self.limits.exist() {
            let is_wanted = |entry: &DispatchEntry<'_>| limits::is_wanted(&parts.topics, entry);
            self.wanted.advance(&parts.log, dispatched, SEARCHED_RECORDS_MAX, is_wanted)
        } else {
            PhysicalOffset(0)
        };
        let disk_use = |dir: PathBuf| DiskUse { space: parts.disk.space(&dir).ok(), dir };
        let log_disks: Vec<_> = parts.log.config().dirs.iter().cloned().map(disk_use).collect();
        let decision = parts.policy.decide(&Evidence {
            now_ms: parts.clock.now_ms(),
            local_hour: parts.clock.local_hour(),
            ordered: self.ordered_rounds > 0,
            files: &files,
            log_disks: &log_disks,
            queue_disk: &disk_use(parts.queues.store.config().queues.dir.clone()),
            refuses: self.refuses,
            keep_from: unconsumed.map_or(dispatched, |needed| needed.place.min(dispatched)),
            wanted_from,
            removed: self.removed,
        });
        (files.first().map(gantry_storage::LogFile::end), decision)
    }

    fn consumption(&self) -> Consumption {
        let parts = &self.parts;
        Consumption::now(&parts.topics, &parts.offsets, parts.keeps_unconsumed)
    }

    /// The oldest message that has to stay, if that is for the sake of those who need it.
    fn unconsumed(&self) -> Option<Unconsumed> {
        let (parts, now) = (&self.parts, self.parts.clock.now_ms());
        let timed = PhysicalOffset(parts.timers.oldest.load(Ordering::Relaxed));
        let oldest = self.consumption().oldest(&parts.topics, &parts.queues, timed, now);
        oldest.filter(|needed| needed.place < parts.signal.position())
    }

    /// Removes the first file, which ends at `end`; whether it is gone.
    fn remove(&self, end: PhysicalOffset, removal: Removal) -> bool {
        let parts = &self.parts;
        match parts.log.remove_before(&*parts.disk, end) {
            Ok(removed) => {
                for path in removed {
                    info!(parts.log_to, "log file removed"; "file" => %path.display(),
                        "why" => %removal);
                }
                true
            }
            Err(e) => {
                error!(parts.log_to, "log file cannot be removed"; "error" => %e);
                false
            }
        }
    }

    fn tell_of_hold(&mut self, decision: &Decision, unconsumed: Option<&Unconsumed>) {
        let is_held = decision.is_held && unconsumed.is_some();
        if let Some(needed) = unconsumed.filter(|_| is_held && !self.is_held) {
            warn!(self.parts.log_to, "old log files are kept"; "because" => %needed);
        }
        self.is_held = is_held;
    }

    /// Has messages refused, or taken again.
    fn refuse(&mut self, limit: Option<&DiskLimit>, kept_for: Option<&Unconsumed>) {
        let (state, log) = (&self.parts.state, &self.parts.log_to);
        match limit {
            Some(limit) => {
                let mut why = limit.to_string();
                if let Some(needed) = kept_for {
                    why.push_str(&format!("; no file can go, as {needed} (neverDeleteUnconsumed)"));
                }
                if !self.refuses {
                    error!(log, "messages are refused"; "reason" => &why);
                }
                state.disk_full(&why);
            }
            None => {
                if self.refuses {
                    info!(log, "the disk has room again, messages are taken");
                }
                state.disk_has_room();
            }
        }
        self.refuses = limit.is_some();
    }

    fn trim_index(&self, log_min: PhysicalOffset) {
        let parts = &self.parts;
        let Some(index) = &parts.index else { return };
        match index.trim_before(&*parts.disk, log_min) {
            Ok(0) => {}
            Ok(files) => info!(parts.log_to, "files of the key index removed"; "files" => files),
            Err(e) => warn!(parts.log_to, "key index cannot be trimmed"; "error" => %e),
        }
    }

    /// Every queue of every topic.
    fn slots(&self) -> Vec<Arc<QueueSlot>> {
        let topics = self.parts.topics.all();
        topics.values().flat_map(|topic| topic.queues.iter().cloned()).collect()
    }

    /// Trims some of the queues that have to be trimmed to what the log has.
    fn trim_some(&mut self) -> Next {
        let log_min = self.parts.log.min_offset();
        let rest = self.untrimmed.len().saturating_sub(TRIMMED_QUEUES_MAX);
        for slot in self.untrimmed.split_off(rest) {
            self.trim(&slot, log_min, QueueOffset(0));
        }
        if self.untrimmed.is_empty() { Next::Round } else { Next::Queues }
    }

    /// Lets a queue begin no earlier than `min` and the log's beginning.
    fn trim(&self, slot: &Arc<QueueSlot>, log_min: PhysicalOffset, min: QueueOffset) {
        if let Some(actor) = slot.started_actor() {
            actor.do_send(TrimQueue { log_min, min });
            return;
        }
        let parts = &self.parts;
        match parts.queues.store.trim_queue(&slot.topic, QueueId(slot.queue_id), min) {
            Ok(begin) => begin.into_iter().for_each(|begin| slot.raise_settled_min(begin.0)),
            Err(e) => warn!(parts.log_to, "queue cannot be trimmed"; "topic" => &*slot.topic,
                "queue" => slot.queue_id, "error" => %e),
        }
    }

    /// Goes on when it is time.
    fn arm(&mut self, next: Next, ctx: &mut Ctx<Self>) {
        let delay = match next {
            Next::File => self.parts.file_interval,
            Next::Queues => Duration::ZERO,
            Next::Round => self.parts.interval,
        };
        let timer = ctx.after(delay, move |cleaner, ctx| {
            let next = cleaner.go_on(next);
            cleaner.arm(next, ctx);
        });
        if let Some(last) = self.timer.replace(timer) {
            ctx.cancel_future(last);
        }
    }
}

impl Logic for Cleaner {
    const NAME: &'static str = "cleaner";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let next = self.begin_round();
        self.arm(next, ctx);
    }

    fn health(&self) -> Health {
        match self.parts.state.refusal() {
            Some(refusal) if self.refuses => Health::Degraded(refusal.reason().to_string()),
            _ => Health::Up,
        }
    }
}

impl Receive<CleanLog> for Cleaner {
    fn receive(&mut self, _: CleanLog, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.ordered_rounds = ORDERED_ROUNDS;
        let next = self.begin_round();
        self.arm(next, ctx);
        Reply::Now(())
    }
}

impl Receive<CleanQueues> for Cleaner {
    fn receive(&mut self, _: CleanQueues, _: &mut Ctx<Self>) -> Reply<()> {
        self.untrimmed = self.slots();
        while self.trim_some() == Next::Queues {}
        self.apply_limits();
        Reply::Now(())
    }
}

impl Receive<CleanUnusedTopics> for Cleaner {
    fn receive(
        &mut self,
        _: CleanUnusedTopics,
        _: &mut Ctx<Self>,
    ) -> Reply<Result<Vec<String>, String>> {
        let Self { parts, .. } = self;
        Reply::Now(unused::remove(&*parts.disk, &parts.queues.store, &parts.topics, &parts.log_to))
    }
}
