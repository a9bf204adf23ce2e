//! Reading a queue, on any thread and without a message to its owner.
//!
//! Older files are mapped when somebody reads them first, so that a queue with a long past costs no
//! more to open than a new one.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::{
    entry::{ENTRY_BYTES, IndexEntry, Slot},
    ext::Ext,
    flusher::{FlushState, QueueFlusher},
};
use crate::{commit_log::segment_path, disk::Disk, offset::QueueOffset, segment::Segment};

/// What the owner of a queue and its readers share.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) ext: Arc<Ext>,
    pub(super) file_bytes: u64,
    /// In order, without gaps.
    pub(super) files: ArcSwap<Vec<Arc<QueueFile>>>,
    pub(super) min: AtomicU64,
    /// Stored after the entries before it are readable.
    pub(super) max: AtomicU64,
    pub(super) flush: Mutex<FlushState>,
}

/// One file, mapped at the latest when it is read.
pub(super) struct QueueFile {
    start: u64,
    segment: OnceLock<Arc<Segment>>,
}

impl QueueFile {
    /// A file that is full.
    pub(super) fn full(start: u64) -> Self {
        Self { start, segment: OnceLock::new() }
    }

    /// The file that is written.
    pub(super) fn current(segment: Arc<Segment>) -> Self {
        Self { start: segment.start(), segment: OnceLock::from(segment) }
    }

    /// The byte of the queue at which it starts.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    fn map(&self, shared: &Shared) -> io::Result<&Arc<Segment>> {
        if let Some(segment) = self.segment.get() {
            return Ok(segment);
        }
        let (path, len) = (segment_path(&shared.dir, self.start), shared.file_bytes);
        let opened = shared.disk.open_segment(&path, self.start, len, len)?;
        // If another reader was faster, its mapping is as good.
        Ok(self.segment.get_or_init(|| opened))
    }
}

impl Shared {
    /// One past the last entry.
    pub(super) fn max_offset(&self) -> QueueOffset {
        QueueOffset(self.max.load(Ordering::Acquire))
    }

    /// Brings the bytes `from..to` of the queue to the disk.
    pub(super) fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        for file in self.files.load().iter() {
            let end = file.start + self.file_bytes;
            if file.start < to && end > from {
                let segment = file.map(self)?;
                segment.sync(from.saturating_sub(file.start), to.min(end) - file.start)?;
            }
        }
        Ok(())
    }
}

/// What everybody may read of a queue; clones are the same view.
#[derive(Clone)]
pub struct ConsumeQueueView(pub(super) Arc<Shared>);

impl ConsumeQueueView {
    /// The first entry whose record is still in the log.
    pub fn min_offset(&self) -> QueueOffset {
        QueueOffset(self.0.min.load(Ordering::Acquire))
    }

    /// One past the last entry.
    pub fn max_offset(&self) -> QueueOffset {
        self.0.max_offset()
    }

    /// What brings the queue to the disk.
    pub(crate) fn flusher(&self) -> QueueFlusher {
        QueueFlusher(self.0.clone())
    }

    /// Whether there is something that has not been flushed.
    pub(crate) fn is_dirty(&self) -> bool {
        let state = self.0.flush_state();
        state.has_new_names || state.flushed != self.max_offset()
    }

    /// Whether the message at `offset` was lost with its record: others follow.
    pub fn is_lost(&self, offset: QueueOffset) -> bool {
        let mut is_lost = false;
        if (self.min_offset()..self.max_offset()).contains(&offset) {
            self.with_slots(offset, 1, |slot| is_lost = Slot::decode(slot) == Slot::PreBlank);
        }
        is_lost
    }

    /// The entry at `offset`, with the code that its unit has if it names one that can be read; `None`
    /// outside of the queue, or if its file cannot be read.
    pub fn entry(&self, offset: QueueOffset) -> Option<IndexEntry> {
        let mut found = None;
        self.each(offset, 1, |_, entry| {
            found = Some(entry);
            true
        });
        found.map(|entry| self.with_code(entry))
    }

    /// The first entry at `offset` or behind it, and its offset: slots that hold none although entries
    /// follow are passed over. `None` if there is none, or if its file cannot be read.
    pub(crate) fn entry_from(&self, offset: QueueOffset) -> Option<(QueueOffset, IndexEntry)> {
        let mut at = offset.max(self.min_offset());
        while at < self.max_offset() {
            let mut slot = Slot::Unused;
            self.with_slots(at, 1, |bytes| slot = Slot::decode(bytes));
            match slot {
                Slot::Entry(entry) => return Some((at, entry)),
                Slot::PreBlank => at = at.plus(1),
                Slot::Unused => return None,
            }
        }
        None
    }

    /// Calls `f` with the entries as they are on disk (see [`tags_code`](Self::tags_code)) from `offset` on, at most `count` and not beyond their file's end,
    /// until it says to stop by returning false. Returns the offset behind the last entry that `f`
    /// accepted: `offset` itself if there is none.
    pub fn each(
        &self,
        offset: QueueOffset,
        count: u64,
        mut f: impl FnMut(QueueOffset, IndexEntry) -> bool,
    ) -> QueueOffset {
        if offset < self.min_offset() {
            return offset;
        }
        let count = self.max_offset().since(offset).min(count);
        let mut next = offset;
        self.with_slots(offset, count, |slots| {
            for slot in slots.chunks_exact(ENTRY_BYTES as usize) {
                match Slot::decode(slot).entry() {
                    Some(entry) if f(next, entry) => next = next.plus(1),
                    _ => break,
                }
            }
        });
        next
    }

    /// Calls `f` with the bytes of up to `count` slots.
    pub(super) fn with_slots(
        &self,
        offset: QueueOffset,
        count: u64,
        f: impl FnOnce(&[u8]),
    ) -> Option<()> {
        let (shared, files) = (&*self.0, self.0.files.load());
        let byte = offset.0.checked_mul(ENTRY_BYTES)?;
        let ahead = byte.checked_sub(files.first()?.start)?;
        let file = files.get((ahead / shared.file_bytes) as usize)?;
        let at = ahead % shared.file_bytes;
        let bytes = count.saturating_mul(ENTRY_BYTES).min(shared.file_bytes - at);
        // An index that cannot be mapped counts as not there; the next reader tries again.
        f(file.map(shared).ok()?.read(at, bytes)?);
        Some(())
    }

    /// The first offset of the file behind that of `offset`.
    pub(crate) fn next_file_after(&self, offset: QueueOffset) -> QueueOffset {
        let per_file = self.0.file_bytes / ENTRY_BYTES;
        QueueOffset((offset.0 / per_file + 1).saturating_mul(per_file))
    }
}
