//! Moving the beginning of a queue up: entries whose records are gone from the log, or too old for
//! their topic.
//!
//! The minimum offset says where consumers may begin; whole files before it are removed, but never the
//! last one, so that offsets go on where they were when every message is gone (the minimum is then the
//! end, as in Java 5.x). The minimum is not written down: it is found again from the log when a queue
//! is opened. Nor are removals synced: a file that comes back after a crash is removed once more.
//!
//! A running queue is trimmed by its owner. A queue that nobody has open is trimmed by
//! [`trim_unopened`], which only looks at slots and removes leading files: should its owner open it
//! meanwhile, it finds a file gone at worst, and opens it again.

use std::{
    path::Path,
    sync::{TryLockError, atomic::Ordering},
};

use super::{
    ConsumeQueue, ConsumeQueueConfig, QueueError, entry::ENTRY_BYTES, ext, files::QueueFiles,
    io_error,
};
use crate::{
    commit_log::segment_path,
    disk::Disk,
    offset::{PhysicalOffset, QueueId, QueueOffset},
};

impl ConsumeQueue {
    /// Lets the queue begin at the first entry whose record starts at `log_min` or later: where it
    /// begins then.
    ///
    /// # Errors
    /// If an entry cannot be read, and then nothing has changed; or if a file cannot be removed.
    pub fn trim_before(&mut self, log_min: PhysicalOffset) -> Result<QueueOffset, QueueError> {
        let view = self.view();
        let (mut low, mut high) = (view.min_offset().0, view.max_offset().0);
        let end = high;
        while low < high {
            let middle = low + (high - low) / 2;
            match view.entry_from(QueueOffset(middle)) {
                // A slot without a message is as old as the one that follows.
                Some((at, entry)) if entry.offset < log_min => low = at.0 + 1,
                Some(_) => high = middle,
                None => {
                    let (path, offset) =
                        (self.shared.dir.display().to_string(), QueueOffset(middle));
                    return Err(QueueError::Unreadable { path, offset });
                }
            }
        }
        let low = low.min(end);
        self.raise_min(QueueOffset(low))
    }

    /// Lets the queue begin at `min`, or at its end if that comes before; never earlier than it does.
    /// Where it begins then.
    ///
    /// # Errors
    /// If a file cannot be removed; the queue begins behind it all the same.
    pub fn raise_min(&mut self, min: QueueOffset) -> Result<QueueOffset, QueueError> {
        let shared = &self.shared;
        let min = min.min(shared.max_offset()).0;
        let min = shared.min.fetch_max(min, Ordering::AcqRel).max(min);
        // A flush that is under way may be about to map one of the files: they go the next time.
        let _state = match shared.flush.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(QueueOffset(min)),
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Ok(state) => state,
        };
        let files = shared.files.load_full();
        let starts: Vec<u64> = files.iter().map(|file| file.start()).collect();
        let gone = leading(&starts, shared.file_bytes, QueueOffset(min));
        if gone > 0 {
            shared.files.store(files.iter().skip(gone).cloned().collect::<Vec<_>>().into());
        }
        let gone = starts.into_iter().take(gone);
        remove(&*shared.disk, &shared.dir, gone)?;
        if let Some(first) = self.view().first_unit() {
            self.shared.ext.trim(first)?;
        }
        Ok(QueueOffset(min))
    }
}

/// Trims a queue that nobody has open to records from `log_min` on and to offsets from `min` on: where
/// it begins then; `None` if it has no files.
///
/// # Errors
/// If files cannot be read or removed, or are none of a queue.
pub fn trim_unopened(
    disk: &dyn Disk,
    config: &ConsumeQueueConfig,
    (topic, queue): (&str, QueueId),
    (log_min, min): (PhysicalOffset, QueueOffset),
) -> Result<Option<QueueOffset>, QueueError> {
    let dir = config.queue_dir(topic, queue);
    let files = QueueFiles::look(disk, config, &dir)?;
    if files.starts().is_empty() {
        return Ok(None);
    }
    let end = files.end_before(PhysicalOffset(u64::MAX))?;
    let begin = files.begin_at(log_min, end)?.max(min.min(end));
    let gone = leading(files.starts(), config.segment_bytes, begin);
    remove(disk, &dir, files.starts().iter().copied().take(gone))?;
    let first = if begin < end { files.slot(begin)?.entry() } else { None };
    if let Some(at) = first.and_then(|entry| ext::position(entry.tags_code)) {
        ext::trim(disk, &config.ext_dir(topic, queue), at)?;
    }
    Ok(Some(begin))
}

/// How many files lie before `min` as a whole; the last one is not counted.
fn leading(starts: &[u64], file_bytes: u64, min: QueueOffset) -> usize {
    let old = starts.iter().take_while(|start| **start + file_bytes <= min.0 * ENTRY_BYTES);
    old.count().min(starts.len().saturating_sub(1))
}

fn remove(
    disk: &dyn Disk,
    dir: &Path,
    mut starts: impl Iterator<Item = u64>,
) -> Result<(), QueueError> {
    starts.try_for_each(|start| {
        let path = segment_path(dir, start);
        disk.remove(&path).map_err(|e| io_error(&path, e))
    })
}
