//! The flusher: brings the log to the disk, for everyone who waits at once.
//!
//! Lives on a thread of its own, because a sync blocks. With `SYNC_FLUSH` the appender hands over the
//! batches of a round with the offset up to which they need the disk; one sync answers every batch
//! that was handed over before it began. With `ASYNC_FLUSH` the flusher syncs on its own clock.
//!
//! Invariant: a batch is answered as stored only after a sync that covers it has succeeded.
//! Failure policy: fail stop. After a failed sync nobody knows what is on the disk; writing ends for
//! good, the waiting batches are refused, and the sync is never tried again.

use std::{sync::Arc, time::Duration};

use actix::{AsyncContext, Message};
use gantry_storage::{LogFlusher, PhysicalOffset};
use gantry_supervisor::{Ctx, Health, Logic, Receive, Reply};
use slog::{Logger, error};

use super::{batch::SendBatch, state::LogState};

/// Answer these batches once the log is on disk up to `end`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FlushBatches {
    /// The end of the last batch.
    pub end: PhysicalOffset,
    /// Who waits.
    pub batches: Vec<Box<SendBatch>>,
}

/// Flush now, whoever waits; answers when it is done or has failed.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub struct FlushNow;

/// Time for the next flush of an asynchronous log.
#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// See the module's text.
pub struct Flusher {
    flusher: LogFlusher,
    state: Arc<LogState>,
    interval: Duration,
    #[expect(clippy::vec_box, reason = "the boxes came through a mailbox and leave through one")]
    waiting: Vec<Box<SendBatch>>,
    log: Logger,
}

impl Flusher {
    /// Flushes through `flusher`, on its own account every `interval`.
    pub fn new(flusher: LogFlusher, state: Arc<LogState>, interval: Duration, log: Logger) -> Self {
        Self { flusher, state, interval, waiting: Vec::new(), log }
    }

    fn flush(&mut self) -> Result<(), String> {
        if let Some(refusal) = self.state.refusal()
            && matches!(*refusal, super::state::Refusal::Failed(_))
        {
            return Err(refusal.reason().to_string());
        }
        self.flusher.sync().map(|_| ()).map_err(|e| {
            let why = format!("the log cannot be flushed: {e}");
            error!(self.log, "flush failed, the log takes no more messages"; "error" => %e);
            self.state.fail(&why);
            why
        })
    }

    fn flush_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let outcome = self.flush();
        for mut batch in self.waiting.drain(..) {
            if let Err(why) = &outcome {
                batch.done = 0;
                batch.refuse(&why.as_str().into());
            }
            batch.answer();
        }
    }
}

impl Logic for Flusher {
    const NAME: &'static str = "flusher";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.notify_later(Tick, self.interval);
    }

    /// Everything that came while the last sync ran is answered by the next one.
    fn drained(&mut self, _: &mut Ctx<Self>) {
        self.flush_waiting();
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.flush_waiting();
        let _ = self.flush();
    }

    fn health(&self) -> Health {
        match self.state.refusal() {
            None => Health::Up,
            Some(refusal) => Health::Degraded(refusal.reason().to_string()),
        }
    }
}

impl Receive<FlushBatches> for Flusher {
    fn receive(&mut self, mut order: FlushBatches, _: &mut Ctx<Self>) -> Reply<()> {
        self.waiting.append(&mut order.batches);
        Reply::Now(())
    }
}

impl Receive<FlushNow> for Flusher {
    fn receive(&mut self, _: FlushNow, _: &mut Ctx<Self>) -> Reply<Result<(), String>> {
        Reply::Now(self.flush())
    }
}

impl Receive<Tick> for Flusher {
    fn receive(&mut self, _: Tick, ctx: &mut Ctx<Self>) -> Reply<()> {
        let _ = self.flush();
        ctx.notify_later(Tick, self.interval);
        Reply::Now(())
    }
}
