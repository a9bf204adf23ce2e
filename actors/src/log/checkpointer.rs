//! The checkpointer: brings queues to the disk and writes down how far that has got.
//!
//! Lives on a thread of its own, because it syncs. Once a second, if anything was dispatched since, it
//! asks the dispatcher for a [`Mark`]: every queue that was sent entries confirms that it has written
//! them, behind them in its mailbox. When all have, and the flusher has brought the log to the disk as
//! far, the store flushes the queues and moves the checkpoint to the mark. So a start after an abrupt stop reads a second or two of the log, however
//! long it is and however many queues there are.
//!
//! Invariants: the checkpoint never covers an entry that its queue has not written; a queue that could
//! not confirm, because it waits for a gap to be filled or died with the question, is asked again and
//! holds the checkpoint back until then.
//! Failure policy: restart empty; a question that was under way is asked again. A flush that failed
//! leaves the checkpoint where it is, so that the next start makes up for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Addr, AsyncContext, Message};
use gantry_storage::{DispatchMark, Store};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, debug, error};

use super::dispatcher::{DispatchSignal, Dispatcher, Mark};
use crate::topic::QueueSlot;

/// A question that is not answered for so many periods has been lost.
const PATIENCE_PERIODS: u32 = 10;

/// Time for the next checkpoint.
#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// All queues have answered, or will not.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Marked {
    /// How far the log had been dispatched when they were asked.
    mark: DispatchMark,
    /// Those that did not confirm.
    missing: Vec<Arc<QueueSlot>>,
}

/// To a queue: confirm that you have written what you were sent, by [`Answer::confirm`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Confirm(pub Answer);

/// One question to all touched queues. When the last answer is given or lost, the checkpointer is told.
pub struct Confirmation {
    mark: DispatchMark,
    missing: Mutex<Vec<Arc<QueueSlot>>>,
    reply_to: Addr<Shell<Checkpointer>>,
}

/// The answer of one queue; dropping it says no.
pub struct Answer {
    slot: Arc<QueueSlot>,
    is_yes: bool,
    question: Arc<Confirmation>,
}

impl Confirmation {
    /// A question about everything before `mark`, to `count` queues.
    pub fn new(mark: DispatchMark, count: usize, reply_to: Addr<Shell<Checkpointer>>) -> Arc<Self> {
        let missing = Mutex::new(Vec::with_capacity(count.min(16)));
        Arc::new(Self { mark, missing, reply_to })
    }

    /// What a queue answers with.
    pub fn ask(self: &Arc<Self>, slot: Arc<QueueSlot>) -> Answer {
        Answer { slot, is_yes: false, question: self.clone() }
    }
}

impl Drop for Confirmation {
    fn drop(&mut self) {
        let missing = self.missing.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.reply_to.do_send(Marked { mark: self.mark, missing: std::mem::take(missing) });
    }
}

impl Answer {
    /// Says yes.
    pub fn confirm(mut self) {
        self.is_yes = true;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // A queue that was deleted lacks nothing.
        if !self.is_yes && self.slot.is_alive() {
            let missing = self.question.missing.lock();
            missing.unwrap_or_else(PoisonError::into_inner).push(self.slot.clone());
        }
    }
}

/// See the module's text.
pub struct Checkpointer {
    store: Arc<Store>,
    signal: Arc<DispatchSignal>,
    dispatcher: Addr<Shell<Dispatcher>>,
    period: Duration,
    written: DispatchMark,
    /// A mark that all queues have confirmed, and the log is not flushed up to.
    confirmed: Option<DispatchMark>,
    /// Periods since an unanswered question.
    asked: Option<u32>,
    failing: bool,
    log: Logger,
}

impl Checkpointer {
    /// Makes checkpoints of `store` every `period`.
    pub fn new(
        store: Arc<Store>,
        signal: Arc<DispatchSignal>,
        dispatcher: Addr<Shell<Dispatcher>>,
        period: Duration,
        log: Logger,
    ) -> Self {
        let written = DispatchMark { end: store.report().dispatch_from, last_record: None };
        let (confirmed, asked, failing) = (None, None, false);
        Self { store, signal, dispatcher, period, written, confirmed, asked, failing, log }
    }

    fn tick(&mut self, ctx: &mut Ctx<Self>) {
        self.write();
        if self.confirmed.is_some() {
            return;
        }
        let waited = self.asked.map_or(PATIENCE_PERIODS, |waited| waited + 1);
        if waited < PATIENCE_PERIODS {
            self.asked = Some(waited);
        } else if self.signal.mark().end != self.written.end {
            self.asked = Some(0);
            self.dispatcher.do_send(Mark { reply_to: ctx.address() });
        }
    }

    /// Writes the confirmed mark down, once the log is flushed up to there.
    fn write(&mut self) {
        let flushed = self.store.log().flushed_offset();
        let Some(mark) = self.confirmed.take_if(|mark| mark.end <= flushed) else { return };
        match self.store.checkpoint(mark) {
            Ok(()) => {
                debug!(self.log, "checkpoint written"; "end" => mark.end.0);
                self.written = mark;
                self.failing = false;
            }
            Err(e) => {
                if !std::mem::replace(&mut self.failing, true) {
                    error!(self.log, "checkpoint cannot be written, a start would begin earlier";
                        "written" => self.written.end.0, "error" => %e);
                }
            }
        }
    }
}

impl Logic for Checkpointer {
    const NAME: &'static str = "checkpointer";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.notify_later(Tick, self.period);
    }
}

impl Receive<Tick> for Checkpointer {
    fn receive(&mut self, _: Tick, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.tick(ctx);
        ctx.notify_later(Tick, self.period);
        Reply::Now(())
    }
}

impl Receive<Marked> for Checkpointer {
    fn receive(&mut self, marked: Marked, _: &mut Ctx<Self>) -> Reply<()> {
        self.asked = None;
        if marked.missing.is_empty() {
            // Not the late answer to a question that was given up.
            if marked.mark.end > self.written.end {
                self.confirmed = Some(marked.mark);
                self.write();
            }
        } else {
            debug!(self.log, "queues are not up to date, no checkpoint";
                "queues" => marked.missing.len());
            self.signal.touch_again(marked.missing);
        }
        Reply::Now(())
    }
}
