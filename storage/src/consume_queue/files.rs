//! A queue's files, looked at and cut without mapping them: few small reads each.
//!
//! Used slots come first, so that every question about the end or the beginning of a queue is a
//! search: for the file by its first slot, then in steps that double from the file's beginning, then by
//! halves. Most queues of a store with very many are short, and then one read of a block answers all
//! questions. What breaks the rule is cleared away before anybody else looks: slots behind the end of a
//! queue that was cut, and holes left by a loss of power.

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
};

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

/// Slots that are read at a time.
const BLOCK_SLOTS: u64 = 200;
/// Slots of lost messages next to each other that are looked past.
const LOST_RUN_MAX: u64 = 64;

/// See the module's text.
pub(crate) struct QueueFiles<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    file_bytes: u64,
    /// Where the files start, in order and without a gap.
    starts: Vec<u64>,
    /// The block read last: its first slot, and its bytes.
    block: RefCell<(u64, Vec<u8>)>,
}

impl<'a> QueueFiles<'a> {
    /// Lists the folder of a queue. A file without length, left by an interrupted creation, was never
    /// flushed, so neither were those behind it: they are removed, from the last one on. Folders are
    /// passed over (store.md 1). Of files with a gap between them, only those behind it can be reached.
    pub(crate) fn list(
        disk: &'a dyn Disk,
        config: &ConsumeQueueConfig,
        dir: &Path,
    ) -> Result<Self, QueueError> {
        let mut files = list(disk, dir)?;
        let whole = files.iter().take_while(|(_, len)| *len > 0).count();
        for (name, _) in files.drain(whole..).rev() {
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
        files.truncate(files.iter().take_while(|(_, len)| *len > 0).count());
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
            // Behind that no queue has slots.
            let start = start.filter(|start| *start <= i64::MAX as u64 - file_bytes);
            let start = start.ok_or_else(|| QueueError::Foreign { path: path() })?;
            if len != file_bytes {
                return Err(QueueError::Length { path: path(), len, want: file_bytes });
            }
            if starts.last().is_some_and(|last| last + file_bytes != start) {
                starts.clear();
            }
            starts.push(start);
        }
        let block = RefCell::default();
        Ok(Self { disk, dir: dir.to_owned(), file_bytes, starts, block })
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
        self.partition(self.first(), self.last(), |offset| {
            Ok(match self.slot(offset)? {
                Slot::Entry(entry) => entry.offset < limit,
                Slot::PreBlank => true,
                Slot::Unused => false,
            })
        })
    }

    /// The first entry before `end` whose record starts at `limit` or later; `end`, if there is none.
    pub(crate) fn begin_at(
        &self,
        limit: PhysicalOffset,
        end: QueueOffset,
    ) -> Result<QueueOffset, QueueError> {
        // A queue that does not begin with its file has blanks before its first entry. Lost messages
        // further on look the same: a search that met them would pass over all that lies before.
        let is_blank = |offset: QueueOffset| Ok(self.slot(offset)? == Slot::PreBlank);
        let mut first = self.first();
        if first < end && is_blank(first)? {
            let file_end = first.plus(self.file_bytes / ENTRY_BYTES).min(end);
            first = self.partition(first, file_end, is_blank)?;
        }
        self.partition(first, end, |offset| {
            let last = end.0.min(offset.0 + LOST_RUN_MAX);
            for at in offset.0..last {
                match self.slot(QueueOffset(at))? {
                    Slot::Entry(entry) => return Ok(entry.offset < limit),
                    // Says nothing by itself: the next entry does.
                    Slot::PreBlank => {}
                    Slot::Unused => return Ok(true),
                }
            }
            Ok(true)
        })
    }

    /// What lies at `offset`, for which there must be a file.
    pub(crate) fn slot(&self, offset: QueueOffset) -> Result<Slot, QueueError> {
        let per_file = self.file_bytes / ENTRY_BYTES;
        let (file, in_file) = (offset.0 / per_file, offset.0 % per_file);
        let first = file * per_file + in_file / BLOCK_SLOTS * BLOCK_SLOTS;
        let mut block = self.block.borrow_mut();
        if block.0 != first || block.1.is_empty() {
            *block = (first, self.read_block(file * self.file_bytes, first)?);
        }
        let at = (offset.0 - first) * ENTRY_BYTES;
        Ok(Slot::decode(block.1.get(at as usize..).unwrap_or_default()))
    }

    /// The slots from `first` on, as many as are read at a time, of the file that starts at `start`.
    fn read_block(&self, start: u64, first: u64) -> Result<Vec<u8>, QueueError> {
        let path = segment_path(&self.dir, start);
        let (at, len) = (first * ENTRY_BYTES - start, (BLOCK_SLOTS * ENTRY_BYTES) as usize);
        self.disk.read_at(&path, at, len).map_err(|e| io_error(&path, e))
    }

    /// Whether there is something at `offset`.
    pub(crate) fn is_used(&self, offset: QueueOffset) -> Result<bool, QueueError> {
        Ok(offset < self.last() && self.slot(offset)? != Slot::Unused)
    }

    /// Makes `end` the end: clears every slot from there on, and removes the files behind, but never the
    /// only one that is left of a queue that has had entries: its name says where that goes on. What was
    /// there may come back with a loss of power until [`sync_end`](Self::sync_end).
    pub(crate) fn clear_from(&mut self, end: QueueOffset) -> Result<(), QueueError> {
        self.block.take();
        let byte = end.0.saturating_mul(ENTRY_BYTES);
        let kept = usize::from(byte > 0);
        while self.starts.len() > kept
            && let Some(start) = self.starts.pop_if(|start| *start >= byte)
        {
            let path = segment_path(&self.dir, start);
            self.disk.remove(&path).map_err(|e| io_error(&path, e))?;
        }
        if let Some(start) = self.starts.last().filter(|start| *start + self.file_bytes > byte) {
            let path = segment_path(&self.dir, *start);
            self.disk
                .clear_from(&path, byte.saturating_sub(*start))
                .map_err(|e| io_error(&path, e))?;
        }
        Ok(())
    }

    /// Has the last file and the names of all be on the disk as they are.
    pub(crate) fn sync_end(&self) -> Result<(), QueueError> {
        if let Some(start) = self.starts.last() {
            let path = segment_path(&self.dir, *start);
            self.disk.sync_file(&path).map_err(|e| io_error(&path, e))?;
        }
        match self.disk.sync_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(&self.dir, e)),
            _ => Ok(()),
        }
    }

    /// The first offset in `low..high` that is not as `f` wants, while all before it are.
    fn partition(
        &self,
        low: QueueOffset,
        high: QueueOffset,
        f: impl Fn(QueueOffset) -> Result<bool, QueueError>,
    ) -> Result<QueueOffset, QueueError> {
        let wanted = |offset: u64| f(QueueOffset(offset));
        let per_file = self.file_bytes / ENTRY_BYTES;
        let (mut low, mut high) = (low.0, high.0);
        // By files, of which `low` begins the first.
        while low / per_file + 1 < high.div_ceil(per_file) {
            let middle = (low / per_file + high.div_ceil(per_file)) / 2 * per_file;
            if wanted(middle)? { low = middle } else { high = middle }
        }
        let mut step = BLOCK_SLOTS;
        while low + step < high {
            if wanted(low + step)? {
                low += step + 1;
                step *= 2;
            } else {
                high = low + step;
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if wanted(middle)? { low = middle + 1 } else { high = middle }
        }
        Ok(QueueOffset(low))
    }
}

/// Names and lengths of the files in a folder.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(String, u64)>, QueueError> {
    let listed = disk.list(dir).map_err(|e| io_error(dir, e))?;
    Ok(listed.into_iter().filter_map(|(name, len)| Some((name, len?))).collect())
}
