//! How the log and the disks under it are doing.

use std::{fmt, sync::Arc};

use gantry_storage::{Clock, CommitLog, Disk};

use super::page::{Labels, Page, Source};
use crate::log::{
    dispatcher::DispatchSignal,
    state::{LogState, Refusal},
};

/// The causes for which a log takes no messages, by the names that they have here.
const CAUSES: [&str; 3] = ["failed", "disk_full", "no_space"];

/// See the module's text.
pub struct LogFigures {
    /// The log.
    pub log: CommitLog,
    /// Whether it takes messages.
    pub state: Arc<LogState>,
    /// How far the queues are behind it.
    pub dispatched: Arc<DispatchSignal>,
    /// Where it lies.
    pub disk: Arc<dyn Disk>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Source for LogFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        self.write_log(page)?;
        self.write_state(page)?;
        self.write_disks(page)
    }
}

impl LogFigures {
    fn write_log(&self, page: &mut Page<'_>) -> fmt::Result {
        let (min, max) = (self.log.min_offset(), self.log.max_offset());
        let medium: Labels<'_> =
            vec![("storage_type", "local".into()), ("storage_medium", "disk".into())];
        let behind = |offset: u64| max.0.saturating_sub(offset) as f64;
        page.gauges(
            "rocketmq_storage_size",
            "Bytes of the log.",
            [(medium.clone(), behind(min.0))],
        )?;
        page.gauges(
            "rocketmq_storage_flush_behind_bytes",
            "Bytes of the log that are not on the disk yet.",
            [(medium.clone(), behind(self.log.flushed_offset().0))],
        )?;
        page.gauges(
            "rocketmq_storage_dispatch_behind_bytes",
            "Bytes of the log that are not in the queues yet.",
            [(medium.clone(), behind(self.dispatched.position().0))],
        )?;
        let oldest = self.log.store_timestamp(min);
        let age_ms = oldest.map_or(0, |stored| (self.clock.now_ms() - stored).max(0));
        page.gauges(
            "rocketmq_storage_message_reserve_time",
            "Age of the log's oldest message in milliseconds.",
            [(medium, age_ms as f64)],
        )
    }

    fn write_state(&self, page: &mut Page<'_>) -> fmt::Result {
        let refusal = self.state.refusal();
        page.gauge(
            "gantry_log_writable",
            "Whether the log takes messages.",
            if refusal.is_none() { 1.0 } else { 0.0 },
        )?;
        let cause = refusal.map(|refusal| match *refusal {
            Refusal::Failed(_) => "failed",
            Refusal::DiskFull(_) => "disk_full",
            Refusal::NoSpace(_) => "no_space",
        });
        let rows = CAUSES.map(|name| {
            let holds = if cause == Some(name) { 1.0 } else { 0.0 };
            (vec![("cause", name.into())], holds)
        });
        page.gauges("gantry_log_refusing", "Why the log takes no messages, if it takes none.", rows)
    }

    fn write_disks(&self, page: &mut Page<'_>) -> fmt::Result {
        let dirs = self.log.config().all_dirs();
        let spaces: Vec<_> = dirs
            .filter_map(|dir| Some((dir.to_string_lossy(), self.disk.space(dir).ok()?)))
            .collect();
        let rows = |of: fn(&gantry_storage::Space) -> u64| {
            spaces.iter().map(move |(dir, space)| {
                let labels: Labels<'_> = vec![("dir", (&**dir).into())];
                (labels, of(space) as f64)
            })
        };
        page.gauges(
            "gantry_disk_size_bytes",
            "Size of the file system under a directory of the log.",
            rows(|space| space.total),
        )?;
        page.gauges(
            "gantry_disk_available_bytes",
            "Bytes that can still be written there.",
            rows(|space| space.available),
        )
    }
}
