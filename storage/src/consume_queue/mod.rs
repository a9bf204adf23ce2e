//! The consume queue: where the messages of one queue lie in the log, 20 bytes each.
//!
//! Entry *k* is at byte 20·*k* of a row of files of one size, named by the byte at which they start
//! ([`entry`] has the layout). [`ConsumeQueue`] writes and belongs to the queue's actor;
//! [`ConsumeQueueView`] reads, on any thread. It is derived from the log: what is missing is written
//! again, what is too much is cut off.
//!
//! Files are sparse, and blocks are reserved in pieces before they are written, so that many small
//! queues need little room and a full disk is an error instead of a SIGBUS.
//!
//! Invariants: entries are consecutive, and once readable they do not change; behind the end, slots
//! are zeros.
//! Failure policy: an entry that cannot be written is an error to the caller, who may try again. After
//! a failed flush every later one fails too, because nobody knows what is on the disk then; the entries
//! stay readable. [`QueueFlusher`] flushes, on a thread that may wait.

pub(crate) mod entry;
mod error;
pub(crate) mod ext;
pub(crate) mod files;
mod flusher;
mod naming;
mod trim;
mod view;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

pub use entry::IndexEntry;
pub use error::QueueError;
pub use ext::ExtConfig;
pub use flusher::QueueFlusher;
pub use trim::trim_unopened;
pub use view::ConsumeQueueView;

use self::{
    entry::{ENTRY_BYTES, SLOTS_MAX, Slot},
    error::io_error,
    ext::{Ext, ExtWriter},
    files::QueueFiles,
    flusher::FlushState,
    view::{QueueFile, Shared},
};
use crate::{
    commit_log::segment_path,
    disk::Disk,
    offset::{PhysicalOffset, QueueId, QueueOffset},
    segment::SegmentWriter,
};

/// Blocks are reserved in pieces of this size.
const RESERVE_BYTES: u64 = 64 * 1024;

/// The least that a record takes in the log.
pub(crate) const RECORD_BYTES_MIN: u64 = 91;

/// A queue is flushed more often than it fills as many files.
const UNFLUSHED_FILES_MAX: usize = 4;

/// Where queues lie and how large their files are.
#[derive(Clone, Debug)]
pub struct ConsumeQueueConfig {
    /// The folder with one folder per topic.
    pub dir: PathBuf,
    /// Bytes of a file, a multiple of 20.
    pub segment_bytes: u64,
    /// The extensions.
    pub ext: ExtConfig,
}

impl ConsumeQueueConfig {
    /// Files of `segment_bytes`, rounded up to whole entries.
    pub fn new(dir: PathBuf, segment_bytes: u64) -> Self {
        let segment_bytes = segment_bytes.div_ceil(ENTRY_BYTES).max(1) * ENTRY_BYTES;
        let ext = ExtConfig::off(dir.with_file_name("consumequeue_ext"));
        Self { dir, segment_bytes, ext }
    }

    /// The folder of a queue.
    pub fn queue_dir(&self, topic: &str, queue: QueueId) -> PathBuf {
        self.dir.join(topic).join(queue.to_string())
    }

    /// The folder of a queue's extension.
    pub fn ext_dir(&self, topic: &str, queue: QueueId) -> PathBuf {
        self.ext.dir.join(topic).join(queue.to_string())
    }
}

/// A queue's files, to be written; see the module's text.
pub struct ConsumeQueue {
    shared: Arc<Shared>,
    /// The file of the end; none if the last one is full or there is none.
    writer: Option<SegmentWriter>,
    /// Bytes of that file whose blocks are reserved.
    reserved: u64,
    max_physical: PhysicalOffset,
    /// Gives new entries units, if they get some.
    ext: Option<ExtWriter>,
    /// Why they began to get none, until that is told.
    ext_failure: Option<QueueError>,
    /// Whether the last ones got none.
    is_ext_failing: bool,
}

impl ConsumeQueue {
    /// Opens the queue's files, none if it was never written. Entries whose records start before
    /// `log_min` are passed over by the minimum offset; those at `log_end` or behind are not opened.
    ///
    /// # Errors
    /// If files cannot be read or are none of a queue.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &ConsumeQueueConfig,
        topic: &str,
        queue: QueueId,
        (log_min, log_end): (PhysicalOffset, PhysicalOffset),
    ) -> Result<Self, QueueError> {
        let dir = config.queue_dir(topic, queue);
        let files = QueueFiles::list(&*disk, config, &dir)?;
        let max = files.end_before(log_end)?;
        let min = files.begin_at(log_min, max)?;
        let last =
            if max > files.first() { files.slot(QueueOffset(max.0 - 1))?.entry() } else { None };
        let (end_byte, len) = (max.0 * ENTRY_BYTES, config.segment_bytes);
        let mut opened = Vec::with_capacity(files.starts().len());
        let mut writer = None;
        for &start in files.starts().iter().take_while(|start| **start <= end_byte) {
            if start + len <= end_byte {
                opened.push(Arc::new(QueueFile::full(start)));
                continue;
            }
            let path = segment_path(&dir, start);
            let segment = disk.open_segment(&path, start, len, end_byte - start);
            let segment = segment.map_err(|e| io_error(&path, e))?;
            writer = segment.writer();
            opened.push(Arc::new(QueueFile::current(segment)));
        }
        // A predecessor may not have flushed what it wrote last, nor the names of new files.
        let unflushed = files.starts().len().saturating_sub(UNFLUSHED_FILES_MAX);
        let unflushed = files.starts().get(unflushed);
        let flushed = QueueOffset(unflushed.map_or(0, |start| start / ENTRY_BYTES)).min(max);
        let has_new_names = !files.starts().is_empty();
        let flush = FlushState { flushed, has_new_names, is_poisoned: false };
        let ext = Arc::new(Ext::new(disk.clone(), config.ext_dir(topic, queue)));
        let shared = Arc::new(Shared {
            disk,
            ext,
            dir,
            file_bytes: len,
            files: ArcSwap::from_pointee(opened),
            min: AtomicU64::new(min.0),
            max: AtomicU64::new(max.0),
            flush: Mutex::new(flush),
        });
        Ok(Self {
            shared,
            writer,
            // Blocks behind the end may be reserved or a hole; they are reserved again.
            reserved: end_byte % len,
            max_physical: last.map_or(PhysicalOffset(0), |entry| entry.end()),
            ext: None,
            ext_failure: None,
            is_ext_failing: false,
        })
    }

    /// What others may read.
    pub fn view(&self) -> ConsumeQueueView {
        ConsumeQueueView(self.shared.clone())
    }

    /// What brings it to the disk.
    pub fn flusher(&self) -> QueueFlusher {
        QueueFlusher(self.shared.clone())
    }

    /// One past the last entry.
    pub fn max_offset(&self) -> QueueOffset {
        self.shared.max_offset()
    }

    /// One past the last byte of the newest record in the queue; 0 without one.
    pub fn max_physical(&self) -> PhysicalOffset {
        self.max_physical
    }

    /// Writes entries at the end, which `first` must be, and lets everybody read them. A queue that has
    /// no files yet may begin anywhere.
    ///
    /// # Errors
    /// [`QueueError::Gap`] if they do not continue the queue; [`QueueError::Beyond`] if no queue can have
    /// them, and then nothing has changed; [`QueueError::Io`] if a file or its blocks cannot be had. The
    /// queue then ends behind the entries that could be written.
    pub fn append(&mut self, first: QueueOffset, entries: &[IndexEntry]) -> Result<(), QueueError> {
        self.check_room(first, entries.len() as u64)?;
        let end = self.max_offset();
        if first != end {
            if !self.shared.files.load().is_empty() {
                return Err(QueueError::Gap { first, end });
            }
            self.shared.min.store(first.0, Ordering::Release);
            self.shared.flush_state().flushed = first;
        }
        let named = self.name_units(entries);
        let (mut next, mut rest) = (first, named.as_deref().unwrap_or(entries));
        while !rest.is_empty() {
            let written = self.write_some(next, rest)?;
            rest = rest.get(written..).unwrap_or_default();
            next = next.plus(written as u64);
            self.shared.max.store(next.0, Ordering::Release);
        }
        Ok(())
    }

    /// Whether messages up to `first` may be lost, if the record of that one starts at `record`: only if
    /// the log has room for them behind the queue's newest record. Else the offset is damaged.
    pub fn may_lack(&self, first: QueueOffset, record: PhysicalOffset) -> bool {
        let room = record.since(self.max_physical) / RECORD_BYTES_MIN;
        first.since(self.max_offset()) <= room
    }

    /// Writes `count` slots at the end that stand for messages whose records are lost, so that later ones
    /// keep their offsets. A Java broker passes over such slots.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_lost(&mut self, count: u64) -> Result<(), QueueError> {
        // Before any is written: a false count would fill the disk first.
        self.check_room(self.max_offset(), count)?;
        for _ in 0..count {
            let next = self.max_offset();
            self.write_some(next, &[Slot::PreBlank])?;
            self.shared.max.store(next.0 + 1, Ordering::Release);
        }
        Ok(())
    }

    /// Has a queue that was never written begin at `offset`, empty: its earlier messages are gone.
    ///
    /// # Errors
    /// [`QueueError::Gap`] if it has files already; else as [`append`](Self::append).
    pub fn begin_at(&mut self, offset: QueueOffset) -> Result<(), QueueError> {
        if !self.shared.files.load().is_empty() {
            return Err(QueueError::Gap { first: offset, end: self.max_offset() });
        }
        self.check_room(offset, 1)?;
        let byte = offset.0 * ENTRY_BYTES;
        let at = byte % self.shared.file_bytes;
        self.begin_file(byte - at, at)?;
        self.shared.min.store(offset.0, Ordering::Release);
        self.shared.flush_state().flushed = QueueOffset((byte - at) / ENTRY_BYTES);
        self.shared.max.store(offset.0, Ordering::Release);
        Ok(())
    }

    /// Whether a queue can have `count` slots from `first` on, and the files that they lie in.
    fn check_room(&self, first: QueueOffset, count: u64) -> Result<(), QueueError> {
        let room = SLOTS_MAX - self.shared.file_bytes.min(i64::MAX as u64) / ENTRY_BYTES;
        if first.0.checked_add(count).is_some_and(|end| end <= room) {
            return Ok(());
        }
        Err(QueueError::Beyond { path: self.shared.dir.display().to_string(), first, count })
    }

    /// Writes as many slots at `next` as lie in one reserved stretch; how many.
    fn write_some<E: Copy + Into<Slot>>(
        &mut self,
        next: QueueOffset,
        entries: &[E],
    ) -> Result<usize, QueueError> {
        let byte = next.0 * ENTRY_BYTES;
        let at = byte % self.shared.file_bytes;
        if self.writer.as_ref().is_none_or(|w| w.segment().start() != byte - at) {
            self.begin_file(byte - at, at)?;
        }
        if at + ENTRY_BYTES > self.reserved {
            self.reserve(byte - at, at)?;
        }
        let room = (self.reserved - at) / ENTRY_BYTES;
        let entries = entries.get(..room as usize).unwrap_or(entries);
        let bytes = entries.len() as u64 * ENTRY_BYTES;
        let out = self.writer.as_mut().and_then(|w| w.bytes(at, bytes)).unwrap_or_default();
        assert_eq!(out.len() as u64, bytes, "a queue's file has one writer and room up to its end");
        for (slot, entry) in out.chunks_exact_mut(ENTRY_BYTES as usize).zip(entries) {
            let filled: Slot = (*entry).into();
            filled.encode(slot);
            if let Slot::Entry(entry) = filled {
                self.max_physical = entry.end();
            }
        }
        self.publish(at + bytes);
        Ok(entries.len())
    }

    fn publish(&mut self, end: u64) {
        if let Some(writer) = &mut self.writer {
            writer.publish(end);
        }
    }

    /// Reserves the next piece of the current file.
    fn reserve(&mut self, start: u64, at: u64) -> Result<(), QueueError> {
        let len = RESERVE_BYTES.min(self.shared.file_bytes - at);
        let path = segment_path(&self.shared.dir, start);
        self.shared.disk.reserve(&path, at, len).map_err(|e| io_error(&path, e))?;
        self.reserved = at + len;
        Ok(())
    }

    /// Goes on in a new file; in a queue that does not begin with it, the slots before `at` are marked.
    fn begin_file(&mut self, start: u64, at: u64) -> Result<(), QueueError> {
        let (disk, len) = (self.shared.disk.clone(), self.shared.file_bytes);
        let path = segment_path(&self.shared.dir, start);
        let segment =
            disk.create_sparse_segment(&path, start, len).map_err(|e| io_error(&path, e))?;
        let mut writer = segment.writer();
        if at > 0 {
            if let Err(e) = disk.reserve(&path, 0, at) {
                // A file without its marks must not be found by the next attempt.
                let _ = disk.remove(&path);
                return Err(io_error(&path, e));
            }
            let blank = writer.as_mut().and_then(|w| w.bytes(0, at)).unwrap_or_default();
            blank.chunks_exact_mut(ENTRY_BYTES as usize).for_each(|s| Slot::PreBlank.encode(s));
        }
        self.writer = writer;
        self.publish(at);
        self.reserved = at;
        self.shared.flush_state().has_new_names = true;
        self.shared.files.rcu(|files| {
            let mut files = Vec::clone(files);
            files.push(Arc::new(QueueFile::current(segment.clone())));
            files
        });
        Ok(())
    }

    /// Brings the queue to the disk; see [`QueueFlusher::sync`].
    ///
    /// # Errors
    /// If the system cannot, or once could not.
    pub fn flush(&mut self) -> Result<(), QueueError> {
        self.flusher().sync().map(drop)
    }

    /// Removes the queue's files, for good. Whoever holds a view reads an empty queue from now on.
    ///
    /// # Errors
    /// If the system cannot; some files may be left then.
    pub fn delete(&mut self) -> Result<(), QueueError> {
        self.writer = None;
        self.max_physical = PhysicalOffset(0);
        let shared = &self.shared;
        // Held to the end: a flush meets the files either all there or all gone.
        let mut state = shared.flush_state();
        (state.flushed, state.has_new_names) = (QueueOffset(0), false);
        shared.max.store(0, Ordering::Release);
        shared.min.store(0, Ordering::Release);
        shared.files.store(Arc::default());
        if let Some(ext) = &mut self.ext {
            ext.forget();
        }
        // The queue first: nothing may be left that names what is gone.
        let mut removed = shared.disk.remove_dir(&shared.dir);
        if let Some(topic_dir) = shared.dir.parent() {
            // Or its messages would be there again after a loss of power; also if an earlier try has
            // removed the files and got no further.
            removed = removed.and_then(|()| match shared.disk.sync_dir(topic_dir) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                synced => synced,
            });
        }
        removed.map_err(|e| io_error(&shared.dir, e))?;
        shared.ext.delete()
    }
}
