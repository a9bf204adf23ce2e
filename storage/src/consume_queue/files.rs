//! A queue's files, looked at and cut without mapping them: few small reads each.
//!
//! Used slots come first, so that every question about the end or the beginning of a queue is a
//! binary search. What breaks that rule is cleared away by recovery before anybody else looks: slots
//! behind the end of a queue that was cut, and holes left by a loss of power.

use std::path::{Path, PathBuf};

use super::{
    ConsumeQueueConfig, QueueError,
    entry::{ENTRY_BYTES, Slot},
    io_error,
};
use crate::{
    commit_log::segment_path,
    disk::Disk,
    offset::{PhysicalOffset, QueueOffset},
};

/// See the module's text.
pub(crate) struct QueueFiles<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    file_bytes: u64,
    /// Where the files start, in order and without a gap.
    starts: Vec<u64>,
}

impl<'a> QueueFiles<'a> {
    /// Lists the folder of a queue. A last file without length, left by an interrupted creation, is
    /// removed; folders are passed over (store.md 1). Of files with a gap between them, only those
    /// behind it can be reached.
    pub(crate) fn list(
        disk: &'a dyn Disk,
        config: &ConsumeQueueConfig,
        dir: &Path,
    ) -> Result<Self, QueueError> {
        let mut files = list(disk, dir)?;
        if let Some((name, _)) = files.pop_if(|(_, len)| *len == 0) {
            let path = dir.join(name);
            disk.remove(&path).map_err(|e| io_error(&path, e))?;
        }
        Self::of(disk, config, dir, files)
    }

    /// As [`list`](Self::list), but nothing is removed: the owner may be at work.
    pub(crate) fn look(
        disk: &'a dyn Disk,
        config: &ConsumeQueueConfig,
        dir: &Path,
    ) -> Result<Self, QueueError> {
        let mut files = list(disk, dir)?;
        files.pop_if(|(_, len)| *len == 0);
        Self::of(disk, config, dir, files)
    }

    fn of(
        disk: &'a dyn Disk,
        config: &ConsumeQueueConfig,
        dir: &Path,
        files: Vec<(String, u64)>,
    ) -> Result<Self, QueueError> {
        let (file_bytes, mut starts) = (config.segment_bytes, Vec::new());
        for (name, len) in files {
            let path = || dir.join(&name).display().to_string();
            let start = name.parse::<u64>().ok().filter(|start| start % file_bytes == 0);
            let start = start.ok_or_else(|| QueueError::Foreign { path: path() })?;
            if len != file_bytes {
                return Err(QueueError::Length { path: path(), len, want: file_bytes });
            }
            if starts.last().is_some_and(|last| last + file_bytes != start) {
                starts.clear();
            }
            starts.push(start);
        }
        Ok(Self { disk, dir: dir.to_owned(), file_bytes, starts })
    }

    /// Where the files start.
    pub(crate) fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// The first slot that there is a file for.
    pub(crate) fn first(&self) -> QueueOffset {
        QueueOffset(self.starts.first().map_or(0, |start| start / ENTRY_BYTES))
    }

    /// One past the last slot that there is a file for.
    fn last(&self) -> QueueOffset {
        QueueOffset(self.starts.last().map_or(0, |start| (start + self.file_bytes) / ENTRY_BYTES))
    }

    /// One past the last entry whose record starts before `limit`.
    pub(crate) fn end_before(&self, limit: PhysicalOffset) -> Result<QueueOffset, QueueError> {
        self.partition(self.first(), self.last(), |slot| match slot {
            Slot::Entry(entry) => entry.offset < limit,
            Slot::PreBlank => true,
            Slot::Unused => false,
        })
    }

    /// The first entry before `end` whose record starts at `limit` or later; `end`, if there is none.
    pub(crate) fn begin_at(
        &self,
        limit: PhysicalOffset,
        end: QueueOffset,
    ) -> Result<QueueOffset, QueueError> {
        self.partition(self.first(), end, |slot| match slot {
            Slot::Entry(entry) => entry.offset < limit,
            Slot::PreBlank | Slot::Unused => true,
        })
    }

    /// What lies at `offset`, for which there must be a file.
    pub(crate) fn slot(&self, offset: QueueOffset) -> Result<Slot, QueueError> {
        let byte = offset.0 * ENTRY_BYTES;
        let at = byte % self.file_bytes;
        let path = segment_path(&self.dir, byte - at);
        let bytes = self.disk.read_at(&path, at, ENTRY_BYTES as usize);
        Ok(Slot::decode(&bytes.map_err(|e| io_error(&path, e))?))
    }

    /// Whether there is something at `offset`.
    pub(crate) fn is_used(&self, offset: QueueOffset) -> Result<bool, QueueError> {
        Ok(offset < self.last() && self.slot(offset)? != Slot::Unused)
    }

    /// Makes `end` the end: clears every slot from there on, and removes the files behind.
    pub(crate) fn clear_from(&mut self, end: QueueOffset) -> Result<(), QueueError> {
        let byte = end.0 * ENTRY_BYTES;
        while let Some(start) = self.starts.pop_if(|start| *start >= byte) {
            let path = segment_path(&self.dir, start);
            self.disk.remove(&path).map_err(|e| io_error(&path, e))?;
        }
        if let Some(start) = self.starts.last().filter(|start| *start + self.file_bytes > byte) {
            let path = segment_path(&self.dir, *start);
            self.disk.clear_from(&path, byte - start).map_err(|e| io_error(&path, e))?;
        }
        Ok(())
    }

    /// The first offset in `low..high` whose slot is not as `f` wants, while all before it are.
    fn partition(
        &self,
        low: QueueOffset,
        high: QueueOffset,
        f: impl Fn(Slot) -> bool,
    ) -> Result<QueueOffset, QueueError> {
        let (mut low, mut high) = (low.0, high.0);
        while low < high {
            let middle = low + (high - low) / 2;
            if f(self.slot(QueueOffset(middle))?) { low = middle + 1 } else { high = middle }
        }
        Ok(QueueOffset(low))
    }
}

/// Names and lengths of the files in a folder.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(String, u64)>, QueueError> {
    let listed = disk.list(dir).map_err(|e| io_error(dir, e))?;
    Ok(listed.into_iter().filter_map(|(name, len)| Some((name, len?))).collect())
}
