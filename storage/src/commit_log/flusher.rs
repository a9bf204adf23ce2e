//! Bringing the log to the disk.

use std::sync::atomic::Ordering;

use thiserror::Error;

use super::CommitLog;
use crate::offset::PhysicalOffset;

/// A flush failed, or one before it; the log takes nothing any more.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlushError {
    /// This flush failed.
    #[error("file {file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        error: String,
    },
    /// An earlier one failed; nobody knows what of that is on the disk.
    #[error("an earlier flush has failed")]
    Poisoned,
}

/// See the module's text. Several of them do no harm, but each syncs for itself.
pub struct LogFlusher {
    log: CommitLog,
}

impl LogFlusher {
    pub(super) fn new(log: CommitLog) -> Self {
        Self { log }
    }

    /// Syncs everything published so far; the offset up to which the log is on disk then.
    ///
    /// # Errors
    /// If the system cannot. From then on the log is closed for writing, and no sync is tried again:
    /// after a failed one the kernel may count pages as clean that never reached the disk.
    pub fn sync(&mut self) -> Result<PhysicalOffset, FlushError> {
        let log = &self.log;
        if log.is_poisoned() {
            return Err(FlushError::Poisoned);
        }
        // The time before the end, as the tail stores them the other way round: so the time is never
        // that of a record behind the end.
        let timestamp = log.last_timestamp();
        let (from, end) = (log.flushed_offset(), log.max_offset());
        let segments = log.0.segments.load_full();
        for segment in segments.iter().filter(|s| s.start() < end.0 && s.end() > from.0) {
            let from = from.0.saturating_sub(segment.start());
            let to = segment.len().min(end.0 - segment.start());
            if let Err(e) = segment.sync(from, to) {
                log.poison();
                let file = format!("{:020}", segment.start());
                return Err(FlushError::Io { file, error: e.to_string() });
            }
        }
        log.0.flushed.fetch_max(end.0, Ordering::AcqRel);
        log.0.flushed_timestamp.fetch_max(timestamp, Ordering::AcqRel);
        Ok(end)
    }
}
