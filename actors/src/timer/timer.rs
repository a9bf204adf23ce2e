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

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Addr, AsyncContext, Message, SpawnHandle};
use gantry_codec::{Record, properties as names};
use gantry_storage::{
    Clock, CommitLog, Disk, JsonFile, PhysicalOffset,
    timer::{FlushJob, Flushed, TimerConfig, TimerError, TimerStore},
};
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, debug, error, info, warn};

use super::{
    agenda::Item,
    delivery::{Dropped, Outgoing},
    figures::{Histogram, TimerFigures, TimingCounts},
    timers::{RollWindow, TakenIn, Timers},
    timing::timing_of_record,
};
use crate::{
    log::{
        appender::Appender,
        batch::{AppendBatch, BatchAppended, ReplyTo, SendBatch, SendResult},
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
/// Time between looks for files of the timer log that nobody needs.
const CLEAN_EVERY: Duration = Duration::from_secs(30);
/// Time between lines about how late messages were, and between writes of the counts.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// There is more to do.
#[derive(Message)]
#[rtype(result = "()")]
struct Step;

/// Bring this to the disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Flush {
    job: Option<FlushJob>,
    counts: Option<TimingCounts>,
    reply_to: Addr<Shell<Timer>>,
}

/// How that went.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FlushDone(Result<Flushed, TimerError>);

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
    spare: Vec<Box<SendBatch>>,
    reply_to: Option<Arc<ReplyTo>>,
    alarm: Option<SpawnHandle>,
    is_step_queued: bool,
    /// After a refusal, until it is tried again.
    is_blocked: bool,
    is_flush_failing: bool,
    /// How late the messages of this minute were.
    minute: Histogram,
    rated: (i64, u64, u64),
    saved_counter: i64,
}

impl Timer {
    /// Opens the files; the error says why they cannot be read.
    pub fn open(parts: TimerParts) -> Result<Self, String> {
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
            last_batch: 0,
            spare: Vec::new(),
            reply_to: None,
            alarm: None,
            is_step_queued: false,
            is_blocked: false,
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

    /// Puts a due message into the batch, or is done with it.
    fn put(&mut self, item: Item, now_ms: i64, batch: &mut SendBatch, items: &mut Vec<Item>) {
        match self.try_put(&item, now_ms, batch) {
            Ok(true) => items.push(item),
            Ok(false) => self.timers.done(&item),
            Err(why) => {
                if why != "" {
                    warn!(self.parts.log_to, "timed message is not delivered"; "reason" => why,
                        "offset" => item.offset);
                }
                self.timers.done(&item);
            }
        }
    }

    /// Whether it was put; it is not if it was taken back. The error says why it cannot be, in words.
    fn try_put(
        &self,
        item: &Item,
        now_ms: i64,
        batch: &mut SendBatch,
    ) -> Result<bool, &'static str> {
        let stored = self.parts.log.record_at(PhysicalOffset(item.offset));
        let bytes = stored.ok_or("it is gone or damaged")?.into_bytes();
        let record = Record::decode(&bytes).map_err(|_| "it cannot be read")?;
        if record.topic != WHEEL_TIMER_TOPIC || bytes.len() != item.size as usize {
            return Err("another message lies in its place");
        }
        let precision_ms = self.parts.config.layout.precision_ms;
        let timing = timing_of_record(record.properties, record.store_timestamp, precision_ms);
        let timing = timing.ok_or("it does not say when it is due")?;
        let enqueued_ms = self.timers.written_ms(item);
        let outgoing = Outgoing { record: &record, bytes: &bytes, enqueued_ms, now_ms };
        let topics = &self.parts.topics;
        let put = if item.rolls {
            outgoing.roll(timing, topics, batch)
        } else {
            let property = |name| names::get(record.properties, name).unwrap_or_default();
            let (topic, key) = (property(names::REAL_TOPIC), property(names::UNIQ_KEY));
            if self.timers.is_taken_back(timing, topic, key) {
                return Ok(false);
            }
            if names::get(record.properties, names::TIMER_DEL_UNIQKEY).is_some() {
                return Err("it was to take another one back");
            }
            outgoing.deliver(topics, batch)
        };
        put.map(|()| true).map_err(|dropped| match dropped {
            Dropped::Nowhere => "it does not say where to",
            Dropped::NoTopic => "its topic does not exist any more",
            Dropped::NotOurs => "",
        })
    }

    /// Takes in what became of a batch; whether all of it is done.
    fn settle(&mut self, batch: &SendBatch) -> bool {
        let now_ms = self.parts.clock.now_ms();
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
                SendResult::QueueGone => counts.add(topic_of(batch, send), -1, now_ms),
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

    fn flush(&mut self, ctx: &mut Ctx<Self>) {
        let now_ms = self.parts.clock.now_ms();
        self.timers.advance(now_ms);
        self.rate(now_ms);
        let job = match self.timers.flush(now_ms) {
            Ok(job) => job,
            Err(e) => return self.flush_failed(&e),
        };
        if let Some(job) = job {
            let flush = Flush { job: Some(job), counts: None, reply_to: ctx.address() };
            self.parts.flusher.do_send(flush);
        }
    }

    fn flush_failed(&mut self, e: &TimerError) {
        if !std::mem::replace(&mut self.is_flush_failing, true) {
            error!(self.parts.log_to, "timers cannot be brought to the disk, a start would deliver \
                some again"; "error" => %e);
        }
    }

    fn rate(&mut self, now_ms: i64) {
        let figures = &self.parts.figures;
        let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let now = (now_ms, load(&figures.taken_in), load(&figures.delivered));
        let ms = (now_ms - self.rated.0).max(1) as u64;
        let per_second = |new: u64, old: u64| (new - old) * 1_000_000 / ms;
        figures.rates[0].store(per_second(now.1, self.rated.1), Ordering::Relaxed);
        figures.rates[1].store(per_second(now.2, self.rated.2), Ordering::Relaxed);
        self.rated = now;
        figures
            .waiting
            .store(self.timers.store().count(self.timers.read_time_ms()), Ordering::Relaxed);
    }

    fn clean(&mut self) {
        match self.timers.remove_old() {
            Ok(0) => {}
            Ok(files) => {
                info!(self.parts.log_to, "files of the timer log removed"; "count" => files)
            }
            Err(e) => warn!(self.parts.log_to, "file of the timer log not removed"; "error" => %e),
        }
        let oldest = self.timers.store().oldest_message(self.timers.read_time_ms());
        self.parts.figures.oldest.store(oldest.map_or(u64::MAX, |at| at.0), Ordering::Relaxed);
    }

    /// Tells how late the messages of the last minute were, if there were any; keeps the counts.
    fn tell(&mut self, ctx: &mut Ctx<Self>) {
        let lateness = std::mem::take(&mut self.minute).told();
        if lateness.count > 0 {
            info!(self.parts.log_to, "timed messages delivered"; "count" => lateness.count,
                "late_p50_ms" => lateness.p50_ms, "late_p99_ms" => lateness.p99_ms,
                "late_max_ms" => lateness.max_ms);
        }
        let counts = self.changed_counts();
        if counts.is_some() {
            self.parts.flusher.do_send(Flush { job: None, counts, reply_to: ctx.address() });
        }
    }

    /// The counts, if they have changed since they were saved.
    fn changed_counts(&mut self) -> Option<TimingCounts> {
        let counts = self.parts.figures.counts();
        let counter = counts.data_version.counter;
        let is_new = std::mem::replace(&mut self.saved_counter, counter) != counter;
        is_new.then(|| counts.clone())
    }

    /// What is to be written before an orderly end.
    fn leave(&mut self) -> Result<Option<FlushJob>, String> {
        let now_ms = self.parts.clock.now_ms();
        // What was delivered must be on the disk before that is written down.
        self.parts.log.flusher().sync().map_err(|e| e.to_string())?;
        self.timers.advance(now_ms);
        let view = self.queue().and_then(|slot| slot.view());
        let under_way: Vec<Item> = self.under_way.values().flatten().copied().collect();
        self.timers.leave(view.as_deref(), &under_way, now_ms).map_err(|e| e.to_string())
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
        self.reply_to = Some(Arc::new(ReplyTo::Actor(ctx.address().recipient())));
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
        let job = self.leave().unwrap_or_else(|e| {
            error!(self.parts.log_to, "timers are not left in order, a start delivers some again";
                "error" => e);
            None
        });
        let counts = self.changed_counts();
        let flush = Flush { job, counts, reply_to: ctx.address() };
        // Behind a flush that may be under way.
        ctx.wait_then(self.parts.flusher.send(flush), |_, _, _| {});
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

impl Receive<BatchAppended> for Timer {
    fn receive(
        &mut self,
        BatchAppended(mut batch): BatchAppended,
        ctx: &mut Ctx<Self>,
    ) -> Reply<()> {
        let all = self.settle(&batch);
        batch.clear();
        self.spare.push(batch);
        if !all {
            warn!(self.parts.log_to, "timed messages were refused, trying again");
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

/// Brings timers to the disk, on a thread that may wait for it. Failure policy: restart empty; a flush
/// that died with it counts as under way for good, so that the timers' checkpoint stays where it is.
pub struct TimerFlusher {
    disk: Arc<dyn Disk>,
    counts_file: JsonFile,
    log_to: Logger,
}

impl TimerFlusher {
    /// What keeps the counts in `counts_file`.
    pub fn new(disk: Arc<dyn Disk>, counts_file: JsonFile, log_to: Logger) -> Self {
        Self { disk, counts_file, log_to }
    }
}

impl Logic for TimerFlusher {
    const NAME: &'static str = "timer flusher";
}

impl Receive<Flush> for TimerFlusher {
    fn receive(&mut self, flush: Flush, _: &mut Ctx<Self>) -> Reply<()> {
        if let Some(counts) = &flush.counts
            && let Err(e) = self.counts_file.save(&*self.disk, counts)
        {
            warn!(self.log_to, "counts of timers cannot be saved"; "error" => %e);
        }
        if let Some(job) = flush.job {
            let done = job.run();
            if let Err(e) = &done {
                error!(self.log_to, "timers cannot be flushed"; "error" => %e);
            }
            flush.reply_to.do_send(FlushDone(done));
        }
        Reply::Now(())
    }
}
