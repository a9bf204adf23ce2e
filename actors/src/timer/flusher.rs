//! Brings timers to the disk, on a thread that may wait for it.
//!
//! The timers' actor hands it what is to be written, as it is then, and goes on meanwhile. Jobs are done
//! in their order, one at a time.
//!
//! Failure policy: restart empty. A flush that died with it counts as under way for good, so the
//! timers' checkpoint stays where it is, and the next start makes the rest again.

use std::sync::Arc;

use actix::{Addr, Message};
use gantry_storage::{
    Disk, JsonFile,
    timer::{FlushJob, Flushed, TimerError},
};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, error, warn};

use super::{figures::TimingCounts, timer::Timer};

/// Bring this to the disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Flush {
    /// Units, slots and the checkpoint.
    pub job: Option<FlushJob>,
    /// How many timers of which topic wait.
    pub counts: Option<TimingCounts>,
    /// Who is told how the job went.
    pub reply_to: Addr<Shell<Timer>>,
}

/// How that went.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FlushDone(pub Result<Flushed, TimerError>);

/// See the module's text.
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
