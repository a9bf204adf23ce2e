//! The timers' actor: sleeps until something is due, has it stored, and keeps the files up to date.
//!
//! Lives on a thread of its own, since reading a slot ahead may have to wait for the disk. It goes on in
//! steps of bounded size, one message to itself for each, so that what is due never waits for more than
//! one of them. What is due goes to the appender in batches, several of which may be under way; so a
//! burst is stored as fast as the appender takes it, and never lies in memory as a whole.
//!
//! [`TimerFlusher`] waits for the disk in its place.
//!
//! Invariants: a timer is done when its message is stored under its real queue, and not before; time
//! is written down up to where that is on the disk. Messages of one queue that are due at different
//! times keep that order, unless the log refuses some of them meanwhile.
//! Failure policy: restart from disk. What was under way is delivered again.

mod due;
mod upkeep;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Addr, AsyncContext, Message, SpawnHandle};
use gantry_codec::properties as names;
use gantry_storage::{
    Clock, CommitLog, Disk, JsonFile,
    timer::{TimerConfig, TimerStore},
};
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, debug, error, info, warn};

use super::{
    agenda::Item,
    figures::{Histogram, TimerFigures, TimingCounts},
    flusher::{FlushDone, TimerFlusher},
    returns::{BatchesBack, ReturnBox, Returns},
    timers::{RollWindow, TakenIn, Timers},
};
use crate::{
    log::{
        appender::Appender,
        batch::{AppendBatch, ReplyTo, SendBatch, SendResult},
    },
    topic::{OpenQueue, QueueAdvanced, QueueSlot, TopicTable, names::WHEEL_TIMER_TOPIC},
};

/// Messages taken in, and units read ahead, in one step.
const TAKEN_IN_MAX: u64 = 2048;
const READ_AHEAD_MAX: usize = 4096;
/// Messages and bytes of a batch, and batches under way.
const BATCH_MESSAGES_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;
const BATCHES_MAX: usize = 8;
/// Wait after a delivery that was refused, or a unit that could not be written.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long an orderly end waits for what the appender has.
const RETURN_LIMIT: Duration = Duration::from_secs(3);
/// Time between looks for files of the timer log that nobody needs.
const CLEAN_EVERY: Duration = Duration::from_secs(30);
/// Time between lines about how late messages were, and between writes of the counts.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// There is more to do.
#[derive(Message)]
#[rtype(result = "()")]
struct Step;

/// What the actor works with.
#[derive(Clone)]
pub struct TimerParts {
    /// Where the files are, and how time is cut.
    pub config: TimerConfig,
    /// How far timers lie ahead at most.
    pub window: RollWindow,
    /// Whether timers are counted by slot, because there is a limit.
    pub counts_slots: bool,
    /// The files' layer.
    pub disk: Arc<dyn Disk>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// The log, to read.
    pub log: CommitLog,
    /// Published topics.
    pub topics: Arc<TopicTable>,
    /// The log's writer.
    pub appender: Addr<Shell<Appender>>,
    /// Waits for the disk.
    pub flusher: Addr<Shell<TimerFlusher>>,
    /// Where the appender gives batches back …
    pub returns: Addr<Shell<Returns>>,
    /// … and where they lie then.
    pub returned: Arc<ReturnBox>,
    /// Time between flushes.
    pub flush_interval: Duration,
    /// `config/timermetrics`.
    pub counts_file: JsonFile,
    /// What others may see.
    pub figures: Arc<TimerFigures>,
    /// The actor's logger.
    pub log_to: Logger,
}

/// See the module's text.
pub struct Timer {
    parts: TimerParts,
    timers: Timers,
    /// Batches that the appender has, by number.
    under_way: HashMap<u32, Vec<Item>>,
    last_batch: u32,
    #[expect(clippy::vec_box, reason = "the boxes came through a mailbox and leave through one")]
    spare: Vec<Box<SendBatch>>,
    reply_to: Option<Arc<ReplyTo>>,
    alarm: Option<SpawnHandle>,
    is_step_queued: bool,
    /// After a refusal, until it is tried again.
    is_blocked: bool,
    /// Whether the last delivery was refused.
    is_refused: bool,
    is_flush_failing: bool,
    /// How late the messages of this minute were.
    minute: Histogram,
    rated: (i64, u64, u64),
    saved_counter: i64,
}

impl Timer {
    /// Opens the files; the error says why they cannot be read. `incarnation` keeps the batches of a
    /// predecessor that died apart from its own.
    pub fn open(parts: TimerParts, incarnation: u32) -> Result<Self, String> {
        let counts = parts.counts_file.load::<TimingCounts>(&*parts.disk);
        let mut counts = counts.map_err(|e| e.to_string())?.unwrap_or_default();
        let end = parts.log.max_offset();
        let (store, catch_up, report) =
            TimerStore::open(parts.disk.clone(), parts.config.clone(), end)
                .map_err(|e| e.to_string())?;
        info!(parts.log_to, "timers opened"; "report" => %report);
        if report.timers == 0 {
            // Counts drift with every crash.
            counts.timing_count.clear();
        }
        parts.figures.set_checkpoint(*store.checkpoint());
        if parts.counts_slots {
            let slots = std::iter::successors(store.next_slot(0), |(at, _)| store.slot_after(*at));
            let slots = slots.map(|(slot_ms, slot)| (slot_ms, i64::from(slot.count)));
            *parts.figures.slots() = slots.collect();
        }
        let now_ms = parts.clock.now_ms();
        let saved_counter = counts.data_version.counter;
        *parts.figures.counts() = counts;
        parts.figures.waiting.store(report.timers, Ordering::Relaxed);
        let (log, log_to) = (parts.log.clone(), parts.log_to.clone());
        let timers = Timers::new(store, catch_up, log, parts.window, now_ms, log_to);
        Ok(Self {
            parts,
            timers,
            under_way: HashMap::new(),
            last_batch: incarnation << 24,
            spare: Vec::new(),
            reply_to: None,
            alarm: None,
            is_step_queued: false,
            is_blocked: false,
            is_refused: false,
            is_flush_failing: false,
            minute: Histogram::default(),
            rated: (now_ms, 0, 0),
            saved_counter,
        })
    }

    fn queue(&self) -> Option<Arc<QueueSlot>> {
        self.parts.topics.get(WHEEL_TIMER_TOPIC)?.queue(0).cloned()
    }

    /// Does some of what there is to do, and sees to it that the rest follows.
    fn step(&mut self, ctx: &mut Ctx<Self>) {
        let now_ms = self.parts.clock.now_ms();
        let has_more = self.take_in(now_ms, ctx) | self.timers.read_ahead(READ_AHEAD_MAX, now_ms);
        self.send_due(now_ms);
        self.timers.advance(now_ms);
        self.publish();
        if has_more {
            self.step_again(ctx);
        } else {
            self.set_alarm(now_ms, ctx);
        }
    }

    fn step_again(&mut self, ctx: &mut Ctx<Self>) {
        if !std::mem::replace(&mut self.is_step_queued, true) {
            ctx.notify(Step);
        }
    }

    fn take_in(&mut self, now_ms: i64, ctx: &mut Ctx<Self>) -> bool {
        if self.is_blocked {
            return false;
        }
        let Some(view) = self.queue().and_then(|slot| slot.view()) else { return false };
        let (figures, counts_slots) = (self.parts.figures.clone(), self.parts.counts_slots);
        let taken = self.timers.take_in(&view, TAKEN_IN_MAX, now_ms, |taken| {
            count_in(&figures, &taken, counts_slots, now_ms);
        });
        match taken {
            Ok(has_more) => has_more,
            Err(e) => {
                error!(self.parts.log_to, "timer cannot be written, trying again"; "error" => %e);
                self.block(ctx);
                false
            }
        }
    }

    fn block(&mut self, ctx: &mut Ctx<Self>) {
        if !std::mem::replace(&mut self.is_blocked, true) {
            ctx.after(RETRY_AFTER, |timer, ctx| {
                timer.is_blocked = false;
                timer.step(ctx);
            });
        }
    }

    /// Sends what is due to the appender, as much as may be under way.
    fn send_due(&mut self, now_ms: i64) {
        while !self.is_blocked && self.under_way.len() < BATCHES_MAX {
            let mut batch = self.spare.pop().unwrap_or_default();
            let mut items = Vec::new();
            while batch.messages.len() < BATCH_MESSAGES_MAX
                && batch.bytes < BATCH_BYTES_MAX
                && let Some(item) = self.timers.pop_due(now_ms)
            {
                self.put(item, now_ms, &mut batch, &mut items);
            }
            if items.is_empty() {
                self.spare.push(batch);
                return;
            }
            debug!(self.parts.log_to, "delivering timed messages"; "count" => items.len());
            self.last_batch = self.last_batch.wrapping_add(1);
            batch.tag = self.last_batch;
            batch.reply_to.clone_from(&self.reply_to);
            self.under_way.insert(self.last_batch, items);
            self.parts.appender.do_send(AppendBatch(batch));
        }
    }

    /// Takes in what became of a batch; whether all of it is done.
    fn settle(&mut self, batch: &SendBatch) -> bool {
        let now_ms = self.parts.clock.now_ms();
        // None: of an incarnation before this one, whose timers have been read anew.
        let Some(items) = self.under_way.remove(&batch.tag) else { return true };
        let (mut all, mut counts) = (true, self.parts.figures.counts());
        for (item, send) in items.into_iter().zip(&batch.sends) {
            match &send.result {
                SendResult::Stored(_) => {
                    if !item.rolls {
                        self.parts.figures.note_lateness(now_ms - item.due_ms);
                        self.minute.note(now_ms - item.due_ms);
                        self.parts.figures.delivered.fetch_add(1, Ordering::Relaxed);
                    }
                    counts.add(topic_of(batch, send), -1, now_ms);
                }
                // A topic that was deleted meanwhile takes its messages with it.
                SendResult::QueueGone | SendResult::Duplicate(_) => {
                    counts.add(topic_of(batch, send), -1, now_ms)
                }
                SendResult::TooLarge(why) => {
                    error!(self.parts.log_to, "timed message is dropped, the log cannot take it";
                        "reason" => why, "offset" => item.offset);
                }
                SendResult::Refused(_) | SendResult::Open => {
                    all = false;
                    self.timers.put_back(item);
                    continue;
                }
            }
            self.timers.done(&item);
        }
        all
    }

    /// Lets others see how far it is.
    fn publish(&self) {
        let figures = &self.parts.figures;
        figures.read_time_ms.store(self.timers.read_time_ms(), Ordering::Relaxed);
        figures.queue_offset.store(self.timers.queue_offset(), Ordering::Relaxed);
    }

    /// Sleeps until the next thing is due, or a slot has to be read.
    fn set_alarm(&mut self, now_ms: i64, ctx: &mut Ctx<Self>) {
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        let can_send = !self.is_blocked && self.under_way.len() < BATCHES_MAX;
        let due = self.timers.agenda().next_due().filter(|_| can_send);
        let next = due.into_iter().chain(self.timers.next_read_ms()).min();
        if let Some(next) = next {
            let wait = Duration::from_millis((next - now_ms).max(1) as u64);
            self.alarm = Some(ctx.after(wait, |timer, ctx| {
                timer.alarm = None;
                timer.step(ctx);
            }));
        }
    }

    /// Takes in what has come back, if anything has; whether all of it is done.
    fn settle_returned(&mut self) -> Option<bool> {
        let mut all = None;
        for mut batch in self.parts.returned.take() {
            all = Some(self.settle(&batch) & all.unwrap_or(true));
            batch.clear();
            self.spare.push(batch);
        }
        all
    }
}

fn count_in(figures: &TimerFigures, taken: &TakenIn, counts_slots: bool, now_ms: i64) {
    figures.taken_in.fetch_add(1, Ordering::Relaxed);
    figures.counts().add(&taken.topic, taken.weight, now_ms);
    if counts_slots {
        let mut slots = figures.slots();
        *slots.entry(taken.slot_ms).or_default() += taken.weight;
        if slots.len() > 1 << 16 {
            slots.retain(|slot_ms, _| *slot_ms >= now_ms - 60_000);
        }
    }
}

/// The topic that a message is for.
fn topic_of<'a>(batch: &'a SendBatch, send: &'a crate::log::batch::Send) -> &'a str {
    if *send.slot.topic != *WHEEL_TIMER_TOPIC {
        return &send.slot.topic;
    }
    let message = batch.messages.get(send.messages.start);
    let properties = message.and_then(|m| batch.properties.get(m.properties.clone()));
    properties.and_then(|text| names::get(text, names::REAL_TOPIC)).unwrap_or_default()
}

impl Logic for Timer {
    const NAME: &'static str = "timer";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.reply_to = Some(Arc::new(ReplyTo::Actor(self.parts.returns.clone().recipient())));
        self.parts.returned.tell(ctx.address());
        ctx.every(self.parts.flush_interval, Self::flush);
        ctx.every(CLEAN_EVERY, |timer, _| timer.clean());
        ctx.every(TELL_EVERY, Self::tell);
        let Some(slot) = self.queue() else { return };
        slot.watch(ctx.address().recipient());
        if slot.range().is_ok_and(|(_, max)| max > 0) {
            let opened = slot.actor().send(OpenQueue);
            ctx.spawn_then(opened, |timer, _, ctx| timer.step(ctx));
        }
    }

    fn stopping(&mut self, ctx: &mut Ctx<Self>) {
        self.settle_returned();
        let (returned, missing) = (self.parts.returned.clone(), self.under_way.len());
        let all_back = async move {
            let _ = tokio::time::timeout(RETURN_LIMIT, returned.wait_for(missing)).await;
        };
        ctx.wait_then(all_back, |timer, (), ctx| timer.leave_in_order(ctx));
    }
}

impl Receive<Step> for Timer {
    fn receive(&mut self, _: Step, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.is_step_queued = false;
        self.step(ctx);
        Reply::Now(())
    }
}

impl Receive<QueueAdvanced> for Timer {
    fn receive(&mut self, _: QueueAdvanced, ctx: &mut Ctx<Self>) -> Reply<()> {
        // Several may have come: one step takes them all in.
        self.step_again(ctx);
        Reply::Now(())
    }
}

impl Receive<BatchesBack> for Timer {
    fn receive(&mut self, _: BatchesBack, ctx: &mut Ctx<Self>) -> Reply<()> {
        let Some(all) = self.settle_returned() else { return Reply::Now(()) };
        // Told once, however long it takes.
        if !all && !std::mem::replace(&mut self.is_refused, true) {
            warn!(
                self.parts.log_to,
                "timed messages were refused, trying again until they are not"
            );
        } else if all && std::mem::replace(&mut self.is_refused, false) {
            info!(self.parts.log_to, "timed messages are stored again");
        }
        if !all {
            self.block(ctx);
        }
        self.step_again(ctx);
        Reply::Now(())
    }
}

impl Receive<FlushDone> for Timer {
    fn receive(&mut self, FlushDone(result): FlushDone, _: &mut Ctx<Self>) -> Reply<()> {
        self.timers.flushed(&result);
        match result {
            Ok(_) => self.parts.figures.set_checkpoint(*self.timers.store().checkpoint()),
            Err(e) => self.flush_failed(&e),
        }
        Reply::Now(())
    }
}
