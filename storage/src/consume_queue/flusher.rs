//! Bringing a queue to the disk, on any thread: syncs block, and the queue's owner must not.

use std::{
    io,
    sync::{Arc, MutexGuard, PoisonError},
};

use super::{QueueError, entry::ENTRY_BYTES, io_error, view::Shared};
use crate::offset::QueueOffset;

/// How much of a queue is on the disk.
pub(super) struct FlushState {
    /// Entries before this are.
    pub(super) flushed: QueueOffset,
    /// Whether files were made whose names may not be.
    pub(super) has_new_names: bool,
    /// Whether a sync has failed.
    pub(super) is_poisoned: bool,
}

/// See the module's text. Clones are for the same queue, and wait for each other.
#[derive(Clone)]
pub struct QueueFlusher(pub(super) Arc<Shared>);

impl QueueFlusher {
    /// Brings everything written so far to the disk; the offset before which all entries are there.
    ///
    /// # Errors
    /// If the system cannot, or once could not: nobody knows then what is on the disk. The queue can
    /// still be read and written, and has to be built again from the log at the next start.
    pub fn sync(&self) -> Result<QueueOffset, QueueError> {
        let shared = &*self.0;
        let mut state = shared.flush_state();
        if state.is_poisoned {
            return Err(QueueError::Poisoned { path: shared.dir.display().to_string() });
        }
        let synced = sync(shared, &mut state);
        state.is_poisoned = synced.is_err();
        synced.map_err(|e| io_error(&shared.dir, e))?;
        Ok(state.flushed)
    }
}

fn sync(shared: &Shared, state: &mut FlushState) -> io::Result<()> {
    let end = shared.max_offset();
    // What entries name goes first.
    shared.ext.sync()?;
    shared.sync(state.flushed.0 * ENTRY_BYTES, end.0 * ENTRY_BYTES)?;
    if state.has_new_names {
        // The folders of the queue and of its topic may be new as well.
        shared.dir.ancestors().take(3).try_for_each(|dir| shared.disk.sync_dir(dir))?;
        state.has_new_names = false;
    }
    state.flushed = end;
    Ok(())
}

impl Shared {
    pub(super) fn flush_state(&self) -> MutexGuard<'_, FlushState> {
        self.flush.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
