//! The flusher: brings the log to the disk, for everyone who waits at once.
//!
//! Lives on a thread of its own, because a sync blocks. With `SYNC_FLUSH` the appender leaves the
//! batches of a round in the [`FlushQueue`], with the offset up to which they need the disk, and wakes
//! the flusher unless it knows; one sync answers every batch that was left before it began. A lone
//! writer waits for nobody but the disk. With `ASYNC_FLUSH` the flusher syncs on its own clock, if
//! enough has come together or enough time has passed.
//!
//! A sync that takes too long cannot answer anybody, so [`FlushWatch`], which never blocks, takes
//! batches out of the queue that have waited for longer than `syncFlushTimeout`, and answers them as
//! stored and not flushed.
//!
//! Invariant: a batch is answered as stored and flushed only after a sync that covers it has succeeded.
//! Failure policy: fail stop. After a failed sync nobody knows what is on the disk; writing ends for
//! good, the waiting batches are refused, and the sync is never tried again.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{AsyncContext, Message};
use gantry_storage::{CommitLog, LogFlusher, PhysicalOffset};
use gantry_supervisor::{ContextExt, Ctx, Health, Logic, Receive, Reply};
use slog::{Logger, error, warn};
use tokio::time::Instant;

use super::{
    batch::SendBatch,
    state::{LogState, Refusal},
};
use crate::{metrics::Metrics, settings::Live};

/// The unit in which `flushCommitLogLeastPages` counts.
const PAGE_BYTES: u64 = 4096;

/// Flush for those who wait; at most one of these is queued.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Flush;

/// Time to see whether an asynchronous log is to be flushed.
#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// Batches that wait for the disk, oldest first.
#[derive(Default)]
pub struct FlushQueue {
    waiting: Mutex<VecDeque<Waiting>>,
    wake_queued: AtomicBool,
    is_syncing: AtomicBool,
}

struct Waiting {
    end: PhysicalOffset,
    since: Instant,
    batch: Box<SendBatch>,
}

impl FlushQueue {
    /// Leaves batches that need the disk up to `end`; whether the flusher has to be woken.
    pub fn push(
        &self,
        end: PhysicalOffset,
        batches: impl IntoIterator<Item = Box<SendBatch>>,
    ) -> bool {
        let since = Instant::now();
        let waiting = batches.into_iter().map(|batch| Waiting { end, since, batch });
        self.lock().extend(waiting);
        !self.wake_queued.swap(true, Ordering::AcqRel)
    }

    /// Whether the flusher has nothing to do, so that what is left now begins its way to the disk at once.
    pub fn is_idle(&self) -> bool {
        !self.wake_queued.load(Ordering::Acquire) && !self.is_syncing.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those out that are first in line, as far as `is_due`.
    fn take(&self, is_due: impl Fn(&Waiting) -> bool) -> VecDeque<Waiting> {
        let mut waiting = self.lock();
        let due = waiting.iter().take_while(|waiting| is_due(waiting)).count();
        let rest = waiting.split_off(due);
        std::mem::replace(&mut waiting, rest)
    }

    /// Answers everybody whose part of the log is on the disk.
    fn answer_flushed(&self, flushed: PhysicalOffset, metrics: &Metrics) {
        let now = Instant::now();
        for waiting in self.take(|waiting| waiting.end <= flushed) {
            let took = now.saturating_duration_since(waiting.since);
            metrics.flushed.record(took, waiting.batch.sends.len() as u64);
            waiting.batch.answer();
        }
    }

    /// Answers those who came before `limit` as not flushed; how many.
    fn answer_overdue(&self, limit: Instant) -> usize {
        let overdue = self.take(|waiting| waiting.since < limit);
        let count = overdue.len();
        for mut waiting in overdue {
            waiting.batch.flush_timed_out = true;
            waiting.batch.answer();
        }
        count
    }

    fn refuse_all(&self, why: &Arc<str>) {
        for mut waiting in self.take(|_| true) {
            waiting.batch.done = 0;
            waiting.batch.refuse(why);
            waiting.batch.answer();
        }
    }
}

/// When an asynchronous log is flushed.
#[derive(Clone, Copy, Debug)]
pub struct FlushPace {
    /// Time between looks.
    pub interval: Duration,
    /// Pages that must have come together for a flush to be worth it.
    pub least_pages: u64,
    /// Time after which fewer are flushed too.
    pub thorough_interval: Duration,
}

impl FlushPace {
    /// Whether to flush now, `unflushed` bytes being there and the last flush that long ago.
    fn is_due(&self, unflushed: u64, since: Duration) -> bool {
        let enough = unflushed / PAGE_BYTES >= self.least_pages;
        unflushed > 0 && (enough || since >= self.thorough_interval)
    }
}

/// See the module's text.
pub struct Flusher {
    log: CommitLog,
    flusher: LogFlusher,
    queue: Arc<FlushQueue>,
    state: Arc<LogState>,
    pace: Live<FlushPace>,
    flushed_at: Instant,
    metrics: Arc<Metrics>,
    log_to: Logger,
}

impl Flusher {
    /// Flushes `log` for those in `queue`, and on its own account at `pace`.
    pub fn new(
        log: CommitLog,
        queue: Arc<FlushQueue>,
        state: Arc<LogState>,
        pace: Live<FlushPace>,
        metrics: Arc<Metrics>,
        log_to: Logger,
    ) -> Self {
        let flusher = log.flusher();
        Self { log, flusher, queue, state, pace, flushed_at: Instant::now(), metrics, log_to }
    }

    fn flush(&mut self) -> Result<PhysicalOffset, String> {
        if let Some(refusal) = self.state.refusal()
            && matches!(*refusal, Refusal::Failed(_))
        {
            return Err(refusal.reason().to_string());
        }
        self.flushed_at = Instant::now();
        let flushed = self.flusher.sync().map_err(|e| {
            let why = format!("the log cannot be flushed: {e}");
            error!(self.log_to, "flush failed, the log takes no more messages"; "error" => %e);
            self.state.fail(&why);
            why
        })?;
        self.metrics.synced.record(self.flushed_at.elapsed(), 1);
        Ok(flushed)
    }

    fn flush_waiting(&mut self) {
        match self.flush() {
            Ok(flushed) => self.queue.answer_flushed(flushed, &self.metrics),
            Err(why) => self.queue.refuse_all(&why.into()),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue.refuse_all(&"nobody flushes the log any more".into());
    }
}

impl Logic for Flusher {
    const NAME: &'static str = "flusher";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.notify_later(Tick, self.pace.get().interval);
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.flush_waiting();
    }

    fn health(&self) -> Health {
        match self.state.refusal() {
            None => Health::Up,
            Some(refusal) => Health::Degraded(refusal.reason().to_string()),
        }
    }
}

impl Receive<Flush> for Flusher {
    fn receive(&mut self, _: Flush, _: &mut Ctx<Self>) -> Reply<()> {
        self.queue.is_syncing.store(true, Ordering::Release);
        // Lowered first: who comes from here on wakes it again.
        self.queue.wake_queued.store(false, Ordering::Release);
        self.flush_waiting();
        self.queue.is_syncing.store(false, Ordering::Release);
        Reply::Now(())
    }
}

impl Receive<Tick> for Flusher {
    fn receive(&mut self, _: Tick, ctx: &mut Ctx<Self>) -> Reply<()> {
        let unflushed = self.log.max_offset().since(self.log.flushed_offset());
        if self.pace.get().is_due(unflushed, self.flushed_at.elapsed()) {
            // Who waits meanwhile is refused if this fails; the reason is logged and kept.
            self.flush_waiting();
        }
        ctx.notify_later(Tick, self.pace.get().interval);
        Reply::Now(())
    }
}

/// See the module's text.
pub struct FlushWatch {
    queue: Arc<FlushQueue>,
    timeout: Live<Duration>,
    log: Logger,
}

impl FlushWatch {
    /// Lets nobody in `queue` wait for much longer than `timeout`.
    pub fn new(queue: Arc<FlushQueue>, timeout: Live<Duration>, log: Logger) -> Self {
        Self { queue, timeout, log }
    }

    fn look(&mut self) {
        let timeout = self.timeout.get();
        let Some(limit) = Instant::now().checked_sub(timeout) else { return };
        let count = self.queue.answer_overdue(limit);
        if count > 0 {
            warn!(self.log, "the disk is slow, messages are stored and not flushed in time";
                "batches" => count, "timeout_ms" => timeout.as_millis() as u64);
        }
    }

    fn look_later(&self, ctx: &mut Ctx<Self>) {
        let period = self.timeout.get() / 4;
        let period = period.clamp(Duration::from_millis(1), Duration::from_secs(1));
        ctx.after(period, |watch, ctx| {
            watch.look();
            watch.look_later(ctx);
        });
    }
}

impl Logic for FlushWatch {
    const NAME: &'static str = "flush watch";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.look_later(ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(tag: u32) -> Box<SendBatch> {
        Box::new(SendBatch { tag, ..SendBatch::default() })
    }

    fn tags(waiting: VecDeque<Waiting>) -> Vec<u32> {
        waiting.into_iter().map(|waiting| waiting.batch.tag).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn batches_leave_in_line_when_they_are_flushed_or_overdue() {
        let queue = FlushQueue::default();
        assert!(queue.push(PhysicalOffset(100), [batch(1), batch(2)]), "the flusher is woken");
        assert!(!queue.push(PhysicalOffset(200), [batch(3)]), "once");
        assert!(queue.take(|waiting| waiting.end <= PhysicalOffset(99)).is_empty());
        assert_eq!(tags(queue.take(|waiting| waiting.end <= PhysicalOffset(100))), [1, 2]);
        tokio::time::advance(Duration::from_secs(5)).await;
        queue.push(PhysicalOffset(300), [batch(4)]);
        assert_eq!(queue.answer_overdue(Instant::now()), 1, "the third");
        assert_eq!(tags(queue.take(|_| true)), [4]);
    }

    #[test]
    fn an_asynchronous_log_is_flushed_for_enough_pages_or_after_enough_time() {
        let pace = FlushPace {
            interval: Duration::from_millis(500),
            least_pages: 4,
            thorough_interval: Duration::from_secs(10),
        };
        let (soon, late) = (Duration::from_millis(500), Duration::from_secs(10));
        assert!(!pace.is_due(0, late), "there is nothing to flush");
        assert!(!pace.is_due(4 * PAGE_BYTES - 1, soon));
        assert!(pace.is_due(4 * PAGE_BYTES, soon));
        assert!(pace.is_due(1, late));
        let eager = FlushPace { least_pages: 0, ..pace };
        assert!(eager.is_due(1, soon) && !eager.is_due(0, late));
    }
}
