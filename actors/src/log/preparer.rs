//! The preparer: has zeros written ahead of the log's end, so that syncs that messages wait for take half
//! the time ([`gantry_storage::LogPreparer`] says why).
//!
//! Lives on the allocator's thread, and only with `SYNC_FLUSH`: elsewhere nobody waits for a sync, and
//! writing everything twice would cost more than it brings. It looks often while the log grows, and
//! seldom otherwise, and goes the further ahead the faster that is: a log that hardly grows costs
//! hardly anything. Nobody waits for it, and when the log overtakes it, syncs are as slow as they are
//! without it.
//! Failure policy: an error is logged once, and it tries again later; restart empty.

use std::time::Duration;

use actix::{AsyncContext, Message};
use gantry_storage::{LogPreparer, PhysicalOffset};
use gantry_supervisor::{Ctx, Logic, Receive, Reply};
use slog::{Logger, warn};

/// So much is prepared ahead of the log's end at most: some tenths of a second at the rate of a fast disk.
const AHEAD_BYTES_MAX: u64 = 64 << 20;
/// So many times as much is prepared as the log has grown by since the last look.
const AHEAD_GROWTHS: u64 = 16;
/// Pieces in which it is: a sync that comes behind one in the disk's queue waits for no more than that.
pub const PIECE_BYTES: u64 = 1 << 20;

/// Between looks while the log grows.
const PERIOD: Duration = Duration::from_millis(50);
/// Between looks while it does not, and after an error.
const REST: Duration = Duration::from_secs(1);

/// Time to look.
#[derive(Message)]
#[rtype(result = "()")]
struct Look;

/// See the module's text.
pub struct Preparer {
    preparer: LogPreparer,
    /// Where the log ended at the last look.
    seen: PhysicalOffset,
    is_failing: bool,
    log: Logger,
}

impl Preparer {
    /// Prepares what `preparer` finds to do.
    pub fn new(preparer: LogPreparer, log: Logger) -> Self {
        Self { seen: preparer.log_end(), preparer, is_failing: false, log }
    }

    /// Prepares as much as should be; how long to rest then.
    fn look(&mut self) -> Duration {
        let end = self.preparer.log_end();
        let grown = end.since(std::mem::replace(&mut self.seen, end));
        let ahead = grown.saturating_mul(AHEAD_GROWTHS).clamp(PIECE_BYTES, AHEAD_BYTES_MAX);
        // As many pieces as there can be to do, lest a log that grows as fast keeps the thread.
        for _ in 0..AHEAD_BYTES_MAX / PIECE_BYTES {
            match self.preparer.prepare(ahead) {
                Ok(true) => self.is_failing = false,
                Ok(false) => break,
                Err(e) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        warn!(self.log, "blocks cannot be prepared, flushes are slower"; "error" => %e);
                    }
                    return REST;
                }
            }
        }
        if grown > 0 { PERIOD } else { REST }
    }
}

impl Logic for Preparer {
    const NAME: &'static str = "preparer";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.notify(Look);
    }
}

impl Receive<Look> for Preparer {
    fn receive(&mut self, _: Look, ctx: &mut Ctx<Self>) -> Reply<()> {
        let rest = self.look();
        ctx.notify_later(Look, rest);
        Reply::Now(())
    }
}
