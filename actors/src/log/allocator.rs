//! The file allocator: makes the log's next file ahead of its need.
//!
//! Lives on a thread of its own, because reserving a file blocks. The appender asks
//! for the file behind the current one as soon as it begins the current one. A full disk is an error
//! here, told to the appender, which refuses messages only once it has no room left; the allocator
//! goes on trying while it is wanted, so that writing resumes by itself when space returns.
//! Failure policy: restart empty; the appender asks again when it needs the file.

use std::{sync::Arc, time::Duration};

use actix::{AsyncContext, Message, Recipient};
use gantry_storage::{Disk, LogConfig, PhysicalOffset, Segment, allocate_segment};
use gantry_supervisor::{Ctx, Logic, Receive, Reply};
use slog::{Logger, error, info};

/// How long after a failure the next attempt comes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Make the log file that starts at `start`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Allocate {
    /// Its first offset.
    pub start: PhysicalOffset,
    /// Who waits for it.
    pub reply_to: Recipient<SegmentReady>,
}

/// The file, or why there is none (the allocator tries again by itself).
#[derive(Message)]
#[rtype(result = "()")]
pub struct SegmentReady {
    /// The file, reserved in full.
    pub segment: Result<Arc<Segment>, String>,
}

/// See the module's text.
pub struct Allocator {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    log: Logger,
    failing: bool,
}

impl Allocator {
    /// An allocator of files for the log of `config`.
    pub fn new(disk: Arc<dyn Disk>, config: LogConfig, log: Logger) -> Self {
        Self { disk, config, log, failing: false }
    }
}

impl Logic for Allocator {
    const NAME: &'static str = "allocator";
}

impl Receive<Allocate> for Allocator {
    fn receive(&mut self, order: Allocate, ctx: &mut Ctx<Self>) -> Reply<()> {
        let start = order.start;
        let segment = match allocate_segment(&*self.disk, &self.config, start) {
            Ok(segment) => {
                info!(self.log, "log file ready"; "start" => start.0);
                self.failing = false;
                Ok(segment)
            }
            Err(e) => {
                let why = format!("no room for the log file that starts at {start}: {e}");
                if !std::mem::replace(&mut self.failing, true) {
                    error!(self.log, "log file cannot be made"; "start" => start.0, "error" => %e);
                }
                ctx.notify_later(Allocate { start, reply_to: order.reply_to.clone() }, RETRY_AFTER);
                Err(why)
            }
        };
        order.reply_to.do_send(SegmentReady { segment });
        Reply::Now(())
    }
}
