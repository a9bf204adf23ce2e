//! The appender: the only writer of the commit log's tail.
//!
//! Owns the tail (position, queue offsets, store timestamp). Connections send it one [`AppendBatch`]
//! per burst; it appends each message to the tail and, once its mailbox is empty or
//! a round is large enough, ends the round: publishes the new end once, wakes the dispatcher once,
//! and answers every batch, or hands it to the flusher if the answer has to wait for the disk.
//!
//! Invariants: messages of one queue get offsets in the order of their batches; nothing is answered
//! before it is published; a client batch is stored as a whole or not at all; store timestamps never
//! go back.
//! Failure policy: restart from disk after a panic (the tail is found again at the last published
//! end, so what was not answered is gone); an I/O error ends writing for good ([`LogState`]).

mod once;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use actix::{Addr, AsyncContext, Recipient};
use gantry_codec::{Record, record::sys_flag};
use gantry_storage::{AppendError, Clock, CommitLog, LogTail, Segment};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, error, warn};
use tokio::time::Instant;

use self::once::Unpublished;
use super::{
    allocator::{Allocate, Allocator, SegmentReady},
    batch::{AppendBatch, NewMessage, Send, SendBatch, SendResult},
    dispatcher::{DispatchSignal, Dispatcher, LogAdvanced},
    flusher::{Flush, FlushQueue, Flusher},
    light::LightPlaces,
    state::LogState,
};
use crate::{
    metrics::Metrics,
    topic::{LightTopics, QueueSlot},
};

/// A round ends at the latest after this many bytes or messages, so that the first batch of a flood
/// does not wait for the last.
const ROUND_BYTES_MAX: usize = 1 << 20;
const ROUND_MESSAGES_MAX: usize = 4096;

/// What the appender works with.
#[derive(Clone)]
pub struct AppenderParts {
    /// The shared view of the log.
    pub log: CommitLog,
    /// Wall clock for store timestamps.
    pub clock: Arc<dyn Clock>,
    /// The advertised address, written into every record.
    pub store_host: SocketAddr,
    /// Whether answers wait for the disk.
    pub sync_flush: bool,
    /// Told of every new end of the log, unless it knows already.
    pub dispatcher: Addr<Shell<Dispatcher>>,
    /// Whether it knows.
    pub signal: Arc<DispatchSignal>,
    /// Flushes, and answers batches that wait for it.
    pub flusher: Addr<Shell<Flusher>>,
    /// Where they wait.
    pub flush_queue: Arc<FlushQueue>,
    /// Makes the next file ahead of time.
    pub allocator: Addr<Shell<Allocator>>,
    /// Whether the log takes messages.
    pub state: Arc<LogState>,
    /// What is counted for figures.
    pub metrics: Arc<Metrics>,
    /// Queues that messages are in besides their own, if they are served.
    pub light: Option<Arc<LightTopics>>,
    /// The actor's logger.
    pub log_to: Logger,
}

/// See the module's text.
pub struct Appender {
    parts: AppenderParts,
    tail: LogTail,
    round: Round,
    /// The file after the current one, when it is there.
    spare: Option<Arc<Segment>>,
    /// Batches that wait for the next file, oldest first.
    waiting: VecDeque<Box<SendBatch>>,
    last_timestamp: i64,
    /// Keys of the round under way.
    unpublished: Unpublished,
}

/// Where and how a message is stored.
struct Place {
    /// Its offset in the queue.
    offset: u64,
    /// The time.
    now: i64,
    /// Whether more messages of its batch follow.
    continues: bool,
}

/// What has been written and not yet published.
#[derive(Default)]
struct Round {
    number: u64,
    bytes: usize,
    messages: usize,
    /// Light queues in which offsets were taken.
    light: Vec<Arc<QueueSlot>>,
    #[expect(clippy::vec_box, reason = "the boxes came through a mailbox and leave through one")]
    batches: Vec<Box<SendBatch>>,
}

/// Why a batch is not done.
enum Stop {
    /// It waits for the next file.
    NoFile,
    /// Writing has ended.
    Failed(String),
}

impl Appender {
    /// An appender that continues at `tail`. `incarnation` keeps the rounds of a predecessor that died
    /// apart from its own.
    pub fn new(parts: AppenderParts, tail: LogTail, incarnation: u64) -> Self {
        // Times go on from the newest record, whatever the clock did meanwhile.
        let last_timestamp = parts.log.last_timestamp();
        let round = Round { number: (incarnation << 40) + 1, ..Round::default() };
        let (waiting, unpublished) = (VecDeque::new(), Unpublished::new());
        Self { parts, tail, round, spare: None, waiting, last_timestamp, unpublished }
    }

    fn accept(&mut self, mut batch: Box<SendBatch>, me: &Recipient<SegmentReady>) {
        if let Some(refusal) = self.parts.state.refusal() {
            batch.refuse(refusal.reason());
            batch.answer();
        } else if self.waiting.is_empty() {
            self.write_or_park(batch, me);
        } else {
            self.waiting.push_back(batch);
        }
    }

    fn write_or_park(&mut self, mut batch: Box<SendBatch>, me: &Recipient<SegmentReady>) {
        match self.write(&mut batch, me) {
            Ok(()) => {
                self.round.batches.push(batch);
                if self.is_round_full() || self.finds_flusher_idle() {
                    self.end_round();
                }
            }
            Err(Stop::NoFile) => self.waiting.push_front(batch),
            Err(Stop::Failed(why)) => {
                error!(self.parts.log_to, "the log takes no more messages"; "reason" => &why);
                self.parts.state.fail(&why);
                self.end_round();
                batch.refuse(&why.into());
                batch.answer();
                self.refuse_waiting();
            }
        }
    }

    fn is_round_full(&self) -> bool {
        self.round.bytes >= ROUND_BYTES_MAX || self.round.messages >= ROUND_MESSAGES_MAX
    }

    /// Whether a sync can begin now: then it shall, and the rest of the mailbox is written during it.
    /// Otherwise all connections would wait for one sync, be answered together, send together, and
    /// wait again, with the disk idle while they work and the other way round.
    fn finds_flusher_idle(&self) -> bool {
        self.parts.sync_flush && self.parts.flush_queue.is_idle()
    }

    /// Writes every send of the batch that is not done yet.
    fn write(&mut self, batch: &mut SendBatch, me: &Recipient<SegmentReady>) -> Result<(), Stop> {
        let now = self.parts.clock.now_ms().max(self.last_timestamp);
        self.last_timestamp = now;
        let SendBatch { sends, messages, properties, done, windows, .. } = batch;
        for (at, send) in sends.iter_mut().enumerate().skip(*done) {
            let messages = messages.get_mut(send.messages.clone()).unwrap_or_default();
            let window = windows.binary_search_by_key(&at, |(of, _)| *of).ok();
            let window = window.and_then(|place| windows.get(place));
            send.result = loop {
                let stored = match window {
                    None => self.store(send, messages, properties, now),
                    Some((_, window)) => self.store_once(window, send, messages, properties, now),
                };
                match stored {
                    Err(AppendError::SegmentFull { .. }) => self.next_file(me)?,
                    Err(e @ AppendError::TooLarge { .. }) => {
                        break SendResult::TooLarge(e.to_string());
                    }
                    Err(e) => return Err(Stop::Failed(e.to_string())),
                    Ok(result) => break result,
                }
            };
            *done += 1;
        }
        Ok(())
    }

    /// Writes the messages of one send: all of them, next to each other in one file, or none.
    fn store(
        &mut self,
        send: &Send,
        messages: &mut [NewMessage],
        properties: &str,
        now: i64,
    ) -> Result<SendResult, AppendError> {
        if !send.slot.is_alive() {
            return Ok(SendResult::QueueGone);
        }
        let host = self.parts.store_host;
        let mut light = match self.light_places(send, messages, properties) {
            Ok(light) => light,
            Err(refused) => return Ok(refused),
        };
        let bytes = messages.iter().map(|m| record(send, m, properties, host).encoded_len() as u64);
        let more = light.iter().map(|(_, places)| places.properties_max() as u64);
        self.tail.check_room(bytes.chain(more).sum())?;
        let first = match send.slot.take_offsets(self.round.number, messages.len() as u64) {
            Ok(first) => first,
            Err(why) => return Ok(SendResult::Refused(why.into())),
        };
        let end = first + messages.len() as u64;
        let before = self.round.bytes;
        let mut in_light = light.drain(..).peekable();
        for (message, offset) in messages.iter_mut().zip(first..) {
            let light = in_light.next_if(|(of, _)| *of == offset - first);
            // A recovery that finds the log to end within a batch takes all of it out.
            let place = Place { offset, now, continues: offset + 1 < end };
            self.store_new(send, message, properties, place, light.map(|(_, places)| places))?;
        }
        send.slot.count_written(messages.len() as u64, (self.round.bytes - before) as u64);
        self.round.messages += messages.len();
        Ok(SendResult::Stored(first))
    }

    /// Writes one message to its offset.
    fn store_new(
        &mut self,
        send: &Send,
        message: &mut NewMessage,
        properties: &str,
        place: Place,
        light: Option<LightPlaces>,
    ) -> Result<(), AppendError> {
        let with_places = light.map(|light| light.take(self.round.number, &mut self.round.light));
        let mut record = record(send, message, properties, self.parts.store_host);
        if let Some(properties) = &with_places {
            record.properties = properties;
        }
        if place.continues {
            record.sys_flag |= sys_flag::BATCH_CONTINUES;
        }
        record.queue_offset = place.offset as i64;
        record.store_timestamp = place.now;
        let appended = self.tail.append(&mut record)?;
        message.offset = appended.offset;
        self.round.bytes += appended.len as usize;
        Ok(())
    }

    /// The light queues of each message that is in some, by its number. An error is the send's result.
    fn light_places(
        &self,
        send: &Send,
        messages: &[NewMessage],
        properties: &str,
    ) -> Result<Vec<(u64, LightPlaces)>, SendResult> {
        let Some(light) = &self.parts.light else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (number, message) in (0..).zip(messages) {
            let text = properties.get(message.properties.clone()).unwrap_or_default();
            let places = LightPlaces::of(light, &send.slot.topic, text);
            let places = places.map_err(|why| SendResult::Refused(why.into()))?;
            if let Some(why) = places.as_ref().and_then(LightPlaces::too_long) {
                return Err(SendResult::TooLarge(why));
            }
            found.extend(places.map(|places| (number, places)));
        }
        Ok(found)
    }

    /// Continues in the next file, or says that it is not there yet.
    fn next_file(&mut self, me: &Recipient<SegmentReady>) -> Result<(), Stop> {
        if self.tail.advance() {
            self.order_file(me);
            return Ok(());
        }
        let start = self.tail.next_segment_start();
        match self.spare.take().filter(|spare| spare.start() == start.0) {
            Some(segment) => {
                self.tail.install(segment).map_err(|e| Stop::Failed(e.to_string()))?;
                self.order_file(me);
                Ok(())
            }
            None => {
                warn!(self.parts.log_to, "waiting for the next log file"; "start" => start.0);
                Err(Stop::NoFile)
            }
        }
    }

    fn order_file(&self, me: &Recipient<SegmentReady>) {
        let start = self.tail.next_segment_start();
        self.parts.allocator.do_send(Allocate { start, reply_to: me.clone() });
    }

    /// Publishes what was written and answers it, or leaves the answering to the flusher.
    fn end_round(&mut self) {
        if self.round.batches.is_empty() && self.round.messages == 0 {
            return;
        }
        let end = match self.tail.publish(self.last_timestamp) {
            Ok(end) => end,
            Err(e) => return self.fail_round(&e.to_string()),
        };
        let now = Instant::now();
        for batch in &self.round.batches {
            for send in &batch.sends {
                send.slot.commit_round(self.round.number);
            }
            if let Some(accepted) = batch.accepted {
                let took = now.saturating_duration_since(accepted);
                self.parts.metrics.stored.record(took, batch.sends.len() as u64);
            }
        }
        // Sends of a batch that waits for the next file are final too: they have been written.
        for send in self.waiting.front().iter().flat_map(|b| b.sends.iter().take(b.done)) {
            send.slot.commit_round(self.round.number);
        }
        for slot in self.round.light.drain(..) {
            slot.commit_round(self.round.number);
        }
        self.unpublished.clear();
        self.round.number += 1;
        self.round.bytes = 0;
        self.round.messages = 0;
        if self.parts.signal.raise() {
            self.parts.dispatcher.do_send(LogAdvanced);
        }
        let (waiting, done): (Vec<_>, Vec<_>) = self
            .round
            .batches
            .drain(..)
            .partition(|batch| self.parts.sync_flush && batch.wait_flush);
        for batch in done {
            batch.answer();
        }
        if !waiting.is_empty() && self.parts.flush_queue.push(end, waiting) {
            self.parts.flusher.do_send(Flush);
        }
    }

    /// Ends writing for good: nobody knows how much of this round reached the file.
    fn fail_round(&mut self, why: &str) {
        error!(self.parts.log_to, "the log takes no more messages"; "reason" => why);
        self.parts.state.fail(why);
        let why: Arc<str> = why.into();
        for mut batch in self.round.batches.drain(..).chain(self.waiting.drain(..)) {
            batch.done = 0;
            batch.refuse(&why);
            batch.answer();
        }
        self.round = Round { number: self.round.number + 1, ..Round::default() };
    }

    fn refuse_waiting(&mut self) {
        let Some(refusal) = self.parts.state.refusal() else { return };
        for mut batch in self.waiting.drain(..) {
            batch.refuse(refusal.reason());
            batch.answer();
        }
    }
}

/// The record of a message; its places in log and queue and its store time are for the tail to set.
fn record<'a>(
    send: &'a Send,
    message: &'a NewMessage,
    properties: &'a str,
    store_host: SocketAddr,
) -> Record<'a> {
    Record {
        queue_id: send.slot.queue_id as i32,
        flag: message.flag,
        queue_offset: 0,
        physical_offset: 0,
        // Whoever stores a message again took the flags as they were in the log.
        sys_flag: send.sys_flag & !sys_flag::BATCH_CONTINUES,
        born_timestamp: send.born_timestamp,
        born_host: send.born_host,
        store_timestamp: 0,
        store_host,
        reconsume_times: send.reconsume_times,
        prepared_transaction_offset: send.prepared_transaction_offset,
        body_crc: message.body_crc,
        body: &message.body,
        topic: &send.slot.topic,
        properties: properties.get(message.properties.clone()).unwrap_or_default(),
    }
}

impl Logic for Appender {
    const NAME: &'static str = "appender";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.order_file(&ctx.address().recipient());
    }

    fn drained(&mut self, _: &mut Ctx<Self>) {
        self.end_round();
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.end_round();
        let why: Arc<str> = "the broker is stopping".into();
        for mut batch in self.waiting.drain(..) {
            batch.refuse(&why);
            batch.answer();
        }
    }
}

impl Receive<AppendBatch> for Appender {
    fn receive(&mut self, AppendBatch(batch): AppendBatch, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.accept(batch, &ctx.address().recipient());
        Reply::Now(())
    }
}

impl Receive<SegmentReady> for Appender {
    fn receive(&mut self, ready: SegmentReady, ctx: &mut Ctx<Self>) -> Reply<()> {
        match ready.segment {
            Ok(segment) => {
                self.spare = Some(segment);
                self.parts.state.space_again();
                let me = ctx.address().recipient();
                while self.spare.is_some()
                    && let Some(batch) = self.waiting.pop_front()
                {
                    self.write_or_park(batch, &me);
                }
            }
            Err(why) => {
                // The file in use may have room yet; only what needs the next one is refused.
                if !self.waiting.is_empty() {
                    self.parts.state.no_space(&why);
                    self.refuse_waiting();
                }
            }
        }
        Reply::Now(())
    }
}
