//! Taking old files out of the log.
//!
//! Always from the front, so that what is left is without gaps; never the last file, nor one of which
//! something is not published yet. Files leave in two steps: first nobody finds them any more, all at
//! once; then they are unlinked, the oldest first, each made durable before the next. So a crash in
//! between, or a file that cannot be unlinked, leaves a log that begins earlier, and never one with a
//! hole. Whoever holds a slice of such a file keeps its mapping.
//!
//! Failure policy: what could not be unlinked is tried again with the next removal, before anything
//! else.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{MutexGuard, PoisonError},
};

use thiserror::Error;

use super::{CommitLog, LogConfig};
use crate::{disk::Disk, offset::PhysicalOffset};

/// A file that is out of the log and still on the disk.
#[derive(Debug, Error)]
#[error("{path}: {error}")]
pub struct RemoveError {
    /// The file.
    pub path: String,
    /// What the system said.
    pub error: io::Error,
}

/// What there is to know of a file before it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its first offset.
    pub start: PhysicalOffset,
    /// Its bytes.
    pub len: u64,
    /// When its newest record was stored, or a little later, in ms; `None` if that was not asked for
    /// or cannot be told.
    pub newest_ms: Option<i64>,
}

impl LogFile {
    /// The offset behind it.
    pub fn end(&self) -> PhysicalOffset {
        self.start.plus(self.len)
    }
}

impl CommitLog {
    /// The log's files, oldest first; the age of the first `aged` only, as it takes a look into each.
    ///
    /// The age is the store time of the first record of the next file: every record before it is as
    /// old or older. Java takes the time at which the file was changed, which a copy of the store or a
    /// careless tool moves; here that stands in only where the next file has no record yet.
    pub fn files(&self, disk: &dyn Disk, aged: usize) -> Vec<LogFile> {
        let segments = self.0.segments.load();
        let file = |(place, segment): (usize, &std::sync::Arc<crate::segment::Segment>)| {
            let (start, len) = (PhysicalOffset(segment.start()), segment.len());
            let age = (place < aged).then(|| self.newest_ms(disk, start, start.plus(len)));
            LogFile { start, len, newest_ms: age.flatten() }
        };
        segments.iter().enumerate().map(file).collect()
    }

    fn newest_ms(
        &self,
        disk: &dyn Disk,
        start: PhysicalOffset,
        end: PhysicalOffset,
    ) -> Option<i64> {
        let stored = (end < self.max_offset()).then(|| self.store_timestamp(end)).flatten();
        stored.filter(|time| *time > 0).or_else(|| {
            let path = LogConfig::find(disk, self.config().all_dirs(), start).ok().flatten()?;
            disk.modified_ms(&path).ok()
        })
    }

    /// Takes out the leading files that end at or before `limit`; where the removed ones lay. To be
    /// called by one owner at a time.
    ///
    /// # Errors
    /// If one cannot be unlinked. It is out of the log all the same.
    pub fn remove_before(
        &self,
        disk: &dyn Disk,
        limit: PhysicalOffset,
    ) -> Result<Vec<PathBuf>, RemoveError> {
        // Held to the end: files are unlinked in their order whoever else calls.
        let mut doomed = self.doomed();
        doomed.extend(self.detach_before(limit.min(self.max_offset())));
        let mut removed = Vec::new();
        while let Some(start) = doomed.front() {
            removed.extend(self.unlink(disk, *start)?);
            doomed.pop_front();
        }
        Ok(removed)
    }

    /// Publishes the log without the files; where they start.
    fn detach_before(&self, limit: PhysicalOffset) -> Vec<PhysicalOffset> {
        let may_go = |segments: &[std::sync::Arc<crate::segment::Segment>]| {
            let old = segments.iter().take_while(|segment| segment.end() <= limit.0).count();
            old.min(segments.len().saturating_sub(1))
        };
        let before = self.0.segments.rcu(|segments| {
            let count = may_go(segments);
            segments.iter().skip(count).cloned().collect::<Vec<_>>()
        });
        before.iter().take(may_go(&before)).map(|gone| PhysicalOffset(gone.start())).collect()
    }

    fn unlink(
        &self,
        disk: &dyn Disk,
        start: PhysicalOffset,
    ) -> Result<Option<PathBuf>, RemoveError> {
        let failed = |path: String| move |error| RemoveError { path, error };
        let found = LogConfig::find(disk, self.config().all_dirs(), start);
        let Some(path) = found.map_err(failed(format!("log file {start}")))? else {
            // An earlier try may have got no further than this.
            for folder in &self.config().dirs {
                let synced = disk.sync_dir(folder);
                synced.map_err(failed(folder.display().to_string()))?;
            }
            return Ok(None);
        };
        let folder = path.parent().unwrap_or(&path);
        let removed = disk.remove(&path).and_then(|()| disk.sync_dir(folder));
        removed.map_err(failed(path.display().to_string()))?;
        Ok(Some(path))
    }

    fn doomed(&self) -> MutexGuard<'_, VecDeque<PhysicalOffset>> {
        self.0.doomed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
