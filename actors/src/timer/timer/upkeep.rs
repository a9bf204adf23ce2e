//! What the timers' actor does now and then: flushes, figures, lines in the log, and its orderly end.

use std::sync::atomic::Ordering;

use actix::AsyncContext;
use gantry_storage::timer::{FlushJob, TimerError};
use gantry_supervisor::{ContextExt, Ctx};
use slog::{error, info, warn};

use super::{
    super::{agenda::Item, figures::TimingCounts, flusher::Flush},
    Timer,
};

impl Timer {
    pub(super) fn flush(&mut self, ctx: &mut Ctx<Self>) {
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

    pub(super) fn flush_failed(&mut self, e: &TimerError) {
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

    pub(super) fn clean(&mut self) {
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
    pub(super) fn tell(&mut self, ctx: &mut Ctx<Self>) {
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

    /// Leaves the files as the next start wants them, once nothing is under way any more.
    pub(super) fn leave_in_order(&mut self, ctx: &mut Ctx<Self>) {
        self.settle_returned();
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
