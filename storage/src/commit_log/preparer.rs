//! Writing zeros ahead of the log's end, so that a sync need not wait for the file system's journal.
//!
//! Blocks that are reserved and were never written are marked so in the file's inode. The first write of
//! one changes the inode, and then a sync of a few records has to commit the journal as well: about twice
//! the time of a sync into blocks that were written before. With messages that wait for their sync, that
//! is what the disk's share of a broker's rate hangs on; others need not pay for the second writing.
//!
//! Zeros never meet records: the log keeps a mark up to which blocks are prepared. The tail writes
//! before the mark as it likes; to write beyond, it moves the mark first, under a lock. Zeros go from the
//! mark on, under the same lock, and the mark moves when they are there.
//!
//! Failure policy: what fails is told once to the owner, and nothing is lost: the log goes on in blocks
//! that are not prepared.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{CommitLog, LogConfig, Shared};
use crate::{disk::Disk, offset::PhysicalOffset};

/// See the module's text. For one owner.
pub struct LogPreparer {
    log: CommitLog,
    disk: Arc<dyn Disk>,
    /// Bytes that are prepared at a time.
    piece: u64,
}

impl LogPreparer {
    pub(super) fn new(log: CommitLog, disk: Arc<dyn Disk>, piece: u64) -> Self {
        Self { log, disk, piece: piece.max(1) }
    }

    /// Where the log ends.
    pub fn log_end(&self) -> PhysicalOffset {
        self.log.max_offset()
    }

    /// Prepares the next piece, and brings it to the disk; `false` if `ahead` bytes behind the log's end
    /// are prepared, or the log has no file there yet. Blocks.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn prepare(&mut self, ahead: u64) -> io::Result<bool> {
        let shared = &self.log.0;
        if self.log.is_poisoned() {
            return Ok(false);
        }
        let path = {
            let _guard = shared.lock_prepared();
            let from = PhysicalOffset(shared.prepared.load(Ordering::Acquire));
            let goal = self.log.max_offset().plus(ahead);
            let file_end = self.log.at(from, |segment, _| Some(segment.end()));
            let Some(file_end) = file_end.filter(|_| from < goal) else { return Ok(false) };
            // Up to the end of a piece, so that later ones begin where blocks do.
            let piece_end = (from.0 / self.piece + 1) * self.piece;
            let to = piece_end.min(file_end);
            let start = self.log.config().segment_start(from);
            let dirs = self.log.config().all_dirs();
            let Some(path) = LogConfig::find(&*self.disk, dirs, start)? else { return Ok(false) };
            self.disk.write_zeros(&path, from.since(start), to - from.0)?;
            shared.prepared.fetch_max(to, Ordering::AcqRel);
            path
        };
        self.disk.sync_file(&path)?;
        Ok(true)
    }
}

impl Shared {
    /// Sees to it that nobody writes zeros before `end` from now on.
    pub(super) fn claim(&self, end: u64) {
        if self.prepared.load(Ordering::Acquire) < end {
            let _guard = self.lock_prepared();
            self.prepared.fetch_max(end, Ordering::AcqRel);
        }
    }

    fn lock_prepared(&self) -> std::sync::MutexGuard<'_, ()> {
        self.preparing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
