//! The consume queue: where the messages of one queue lie in the log, 20 bytes each.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | position of the record in the log |
//! | 8 | 4 | its bytes; 0 marks an unused slot |
//! | 12 | 8 | hash of its tag, or what its topic puts in that place |
//!
//! Entry *k* is at byte 20·*k* of a row of files of one size, named by the byte at which they start.
//! [`ConsumeQueue`] writes and belongs to the queue's actor; [`ConsumeQueueView`] reads, on any thread.
//! It is derived from the log: what is missing is written again, what is too much is cut off.
//!
//! Files are sparse, and blocks are reserved in pieces before they are written, so that many small
//! queues need little room and a full disk is an error instead of a fault.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use thiserror::Error;

use crate::{
    disk::Disk,
    offset::{PhysicalOffset, QueueId, QueueOffset},
    segment::{Segment, SegmentWriter},
};

/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 20;
/// Blocks are reserved in pieces of this size.
const RESERVE_BYTES: u64 = 64 * 1024;
/// Size field of slots before the first entry of a queue that does not begin at 0 (store.md 2.2).
const PRE_BLANK_SIZE: u32 = 0x7FFF_FFFF;

/// Where queues lie and how large their files are.
#[derive(Clone, Debug)]
pub struct ConsumeQueueConfig {
    /// The folder with one folder per topic.
    pub dir: PathBuf,
    /// Bytes of a file, a multiple of 20.
    pub segment_bytes: u64,
}

impl ConsumeQueueConfig {
    /// Files of `segment_bytes`, rounded up to whole entries.
    pub fn new(dir: PathBuf, segment_bytes: u64) -> Self {
        Self { dir, segment_bytes: segment_bytes.div_ceil(ENTRY_BYTES).max(1) * ENTRY_BYTES }
    }

    /// The folder of a queue.
    pub fn queue_dir(&self, topic: &str, queue: QueueId) -> PathBuf {
        self.dir.join(topic).join(queue.to_string())
    }
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Position of the record in the log.
    pub offset: PhysicalOffset,
    /// Bytes of the record.
    pub size: u32,
    /// Hash of its tag; see the module's text.
    pub tags_code: i64,
}

impl IndexEntry {
    /// As it lies in the file; `None` for an unused slot and for those before the first entry.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (tags_code, _) = rest.split_first_chunk()?;
        let (offset, size) = (i64::from_be_bytes(*offset), i32::from_be_bytes(*size));
        let used = offset >= 0 && size > 0 && size as u32 != PRE_BLANK_SIZE;
        used.then(|| Self {
            offset: PhysicalOffset(offset as u64),
            size: size as u32,
            tags_code: i64::from_be_bytes(*tags_code),
        })
    }

    fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let mut bytes = [0; ENTRY_BYTES as usize];
        let (offset, rest) = bytes.split_at_mut(8);
        let (size, tags_code) = rest.split_at_mut(4);
        offset.copy_from_slice(&self.offset.0.to_be_bytes());
        size.copy_from_slice(&self.size.to_be_bytes());
        tags_code.copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// One past its record's last byte.
    pub fn end(&self) -> PhysicalOffset {
        self.offset.plus(u64::from(self.size))
    }
}

/// Why a queue could not be opened, written or removed.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A file of another length than configured.
    #[error("{path} has {len} bytes, {want} are configured (mappedFileSizeConsumeQueue)")]
    Length {
        /// The file.
        path: String,
        /// Its bytes.
        len: u64,
        /// What they should be.
        want: u64,
    },
    /// Entries that do not continue the queue.
    #[error("entries from {first} do not continue the queue, which ends at {end}")]
    Gap {
        /// Offset of the first entry given.
        first: QueueOffset,
        /// The queue's end.
        end: QueueOffset,
    },
}

fn io_error(path: &Path, error: io::Error) -> QueueError {
    QueueError::Io { path: path.display().to_string(), error }
}

struct Shared {
    config: ConsumeQueueConfig,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    min: AtomicU64,
    max: AtomicU64,
}

/// What everybody may read of a queue.
#[derive(Clone)]
pub struct ConsumeQueueView(Arc<Shared>);

impl ConsumeQueueView {
    /// The first entry that is still of use.
    pub fn min_offset(&self) -> QueueOffset {
        QueueOffset(self.0.min.load(Ordering::Acquire))
    }

    /// One past the last entry.
    pub fn max_offset(&self) -> QueueOffset {
        QueueOffset(self.0.max.load(Ordering::Acquire))
    }

    /// The entry at `offset`; `None` outside of the queue.
    pub fn entry(&self, offset: QueueOffset) -> Option<IndexEntry> {
        if offset < self.min_offset() || offset >= self.max_offset() {
            return None;
        }
        let (segment, at) = self.place(offset)?;
        segment.read(at, ENTRY_BYTES).and_then(IndexEntry::decode)
    }

    /// Calls `f` with the entries from `offset` on, at most `count` and not beyond the file's end,
    /// until it says to stop; the offset behind the last one that was given.
    pub fn each(
        &self,
        offset: QueueOffset,
        count: u64,
        mut f: impl FnMut(QueueOffset, IndexEntry) -> bool,
    ) -> QueueOffset {
        let left = self.max_offset().0.saturating_sub(offset.0).min(count);
        let Some((segment, at)) = self.place(offset) else { return offset };
        let bytes = (left * ENTRY_BYTES).min(segment.readable().saturating_sub(at));
        let mut next = offset;
        for slot in segment.read(at, bytes).unwrap_or_default().chunks_exact(ENTRY_BYTES as usize) {
            let Some(entry) = IndexEntry::decode(slot) else { break };
            next = next.plus(1);
            if !f(QueueOffset(next.0 - 1), entry) {
                break;
            }
        }
        next
    }

    fn place(&self, offset: QueueOffset) -> Option<(Arc<Segment>, u64)> {
        let segments = self.0.segments.load();
        let byte = offset.0.checked_mul(ENTRY_BYTES)?;
        let first = segments.first()?.start();
        let index = byte.checked_sub(first)? / self.0.config.segment_bytes;
        let segment = segments.get(index as usize)?.clone();
        let at = byte - segment.start();
        Some((segment, at))
    }
}

/// A queue's files, to be written; see the module's text.
pub struct ConsumeQueue {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    writer: Option<SegmentWriter>,
    /// Bytes of the current file whose blocks are reserved.
    reserved: u64,
    max_physical: PhysicalOffset,
}

impl ConsumeQueue {
    /// Opens the queue's files, none if it was never written. Entries of records outside of the log
    /// (`log_min` to `log_end`) are left out: those before by the minimum offset, those behind by
    /// cutting them off.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &ConsumeQueueConfig,
        topic: &str,
        queue: QueueId,
        (log_min, log_end): (PhysicalOffset, PhysicalOffset),
    ) -> Result<Self, QueueError> {
        let dir = config.queue_dir(topic, queue);
        let found = scan(&*disk, config, &dir, log_min, log_end)?;
        let mut segments = Vec::new();
        for &start in &found.files {
            let path = dir.join(format!("{start:020}"));
            let segment = disk
                .open_segment(&path, start, config.segment_bytes)
                .map_err(|e| io_error(&path, e))?;
            let end = (found.max.0 * ENTRY_BYTES).saturating_sub(start).min(config.segment_bytes);
            segment.publish(end);
            segments.push(segment);
        }
        let end_byte = found.max.0 * ENTRY_BYTES;
        let writer = segments
            .iter()
            .find(|s| (s.start()..s.start() + s.len()).contains(&end_byte))
            .and_then(|s| s.writer());
        let shared = Arc::new(Shared {
            config: config.clone(),
            segments: ArcSwap::from_pointee(segments),
            min: AtomicU64::new(found.min.0),
            max: AtomicU64::new(found.max.0),
        });
        // What lies behind the end is reserved anew: it may be a hole.
        let reserved = writer.as_ref().map_or(0, |w| end_byte - w.segment().start());
        Ok(Self { shared, disk, dir, writer, reserved, max_physical: found.max_physical })
    }

    /// What others may read.
    pub fn view(&self) -> ConsumeQueueView {
        ConsumeQueueView(self.shared.clone())
    }

    /// One past the last entry.
    pub fn max_offset(&self) -> QueueOffset {
        QueueOffset(self.shared.max.load(Ordering::Acquire))
    }

    /// One past the last byte of the newest record in the queue.
    pub fn max_physical(&self) -> PhysicalOffset {
        self.max_physical
    }

    /// Writes entries at the end, which `first` must be (or any place, in an empty queue), and lets
    /// everybody read them.
    pub fn append(&mut self, first: QueueOffset, entries: &[IndexEntry]) -> Result<(), QueueError> {
        let end = self.max_offset();
        let is_new = self.shared.segments.load().is_empty() && end.0 == 0;
        if first != end && !is_new {
            return Err(QueueError::Gap { first, end });
        }
        let mut next = first.0;
        for entry in entries {
            let byte = next * ENTRY_BYTES;
            self.make_room(byte)?;
            if let Some(writer) = &mut self.writer {
                let at = byte - writer.segment().start();
                if let Some(out) = writer.bytes(at, ENTRY_BYTES) {
                    out.copy_from_slice(&entry.encode());
                }
            }
            next += 1;
            self.max_physical = entry.end();
            self.publish_segment(next * ENTRY_BYTES);
        }
        if is_new && !entries.is_empty() {
            self.shared.min.store(first.0, Ordering::Release);
        }
        self.shared.max.store(next, Ordering::Release);
        Ok(())
    }

    fn publish_segment(&self, end_byte: u64) {
        if let Some(writer) = &self.writer {
            let segment = writer.segment();
            segment.publish(end_byte - segment.start());
        }
    }

    /// Sees to it that the entry at `byte` has a file and blocks.
    fn make_room(&mut self, byte: u64) -> Result<(), QueueError> {
        let size = self.shared.config.segment_bytes;
        let start = byte / size * size;
        let here = self.writer.as_ref().is_some_and(|w| w.segment().start() == start);
        if !here {
            self.next_file(start, byte - start)?;
        }
        let at = byte - start;
        if at + ENTRY_BYTES > self.reserved
            && let Some(writer) = &self.writer
        {
            let from = self.reserved.min(at);
            let len = RESERVE_BYTES.min(size - from).max(ENTRY_BYTES);
            writer.segment().reserve(from, len).map_err(|e| io_error(&self.dir, e))?;
            self.reserved = from + len;
        }
        Ok(())
    }

    /// Goes on in the file that starts at `start`; in a new queue, slots before `at` are marked.
    fn next_file(&mut self, start: u64, at: u64) -> Result<(), QueueError> {
        let path = self.dir.join(format!("{start:020}"));
        let size = self.shared.config.segment_bytes;
        let segment = self
            .disk
            .create_sparse_segment(&path, start, size)
            .map_err(|e| io_error(&path, e))?;
        let mut writer = segment.writer();
        self.reserved = 0;
        if at > 0 {
            segment.reserve(0, at).map_err(|e| io_error(&path, e))?;
            self.reserved = at;
            let blank = IndexEntry { offset: PhysicalOffset(0), size: PRE_BLANK_SIZE, tags_code: 0 };
            if let Some(out) = writer.as_mut().and_then(|w| w.bytes(0, at)) {
                out.chunks_exact_mut(ENTRY_BYTES as usize)
                    .for_each(|slot| slot.copy_from_slice(&blank.encode()));
            }
            segment.publish(at);
        }
        self.writer = writer;
        self.shared.segments.rcu(|segments| {
            let mut segments = Vec::clone(segments);
            segments.push(segment.clone());
            segments
        });
        Ok(())
    }

    /// Brings the queue to the disk.
    pub fn flush(&mut self) -> Result<(), QueueError> {
        match self.shared.segments.load().last() {
            Some(last) => last.sync().map_err(|e| io_error(&self.dir, e)),
            None => Ok(()),
        }
    }

    /// Removes the queue's files; whoever holds slices of them goes on reading.
    pub fn delete(&mut self) -> Result<(), QueueError> {
        self.writer = None;
        self.shared.segments.store(Arc::default());
        self.shared.min.store(0, Ordering::Release);
        self.shared.max.store(0, Ordering::Release);
        self.disk.remove_dir(&self.dir).map_err(|e| io_error(&self.dir, e))
    }
}

/// What a queue's files hold, found with few small reads.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Start bytes of the files, in order.
    pub files: Vec<u64>,
    /// First entry within the log.
    pub min: QueueOffset,
    /// One past the last entry within the log.
    pub max: QueueOffset,
    /// End of the last entry's record.
    pub max_physical: PhysicalOffset,
}

/// Looks at a queue's folder without mapping its files.
pub(crate) fn scan(
    disk: &dyn Disk,
    config: &ConsumeQueueConfig,
    dir: &Path,
    log_min: PhysicalOffset,
    log_end: PhysicalOffset,
) -> Result<Found, QueueError> {
    let mut found = Found::default();
    for (name, len) in disk.list(dir).map_err(|e| io_error(dir, e))? {
        let (Some(len), Ok(start)) = (len, name.parse::<u64>()) else { continue };
        if len != config.segment_bytes {
            let path = dir.join(name).display().to_string();
            return Err(QueueError::Length { path, len, want: config.segment_bytes });
        }
        found.files.push(start);
    }
    let (Some(&first), Some(&last)) = (found.files.first(), found.files.last()) else {
        return Ok(found);
    };
    let files = Files { disk, config, dir };
    let (low, high) = (first / ENTRY_BYTES, (last + config.segment_bytes) / ENTRY_BYTES);
    // Slots before the first entry count as used, so that used ones come first.
    let used_end = files.partition(low, high, |slot| slot != Slot::Unused)?;
    let inside = |slot: Slot| match slot {
        Slot::Entry(entry) => entry.end() <= log_end,
        Slot::PreBlank => true,
        Slot::Unused => false,
    };
    let end = files.partition(low, used_end, inside)?;
    let begin = files.partition(low, end, |slot| match slot {
        Slot::Entry(entry) => entry.offset < log_min,
        _ => true,
    })?;
    found.max = QueueOffset(end);
    found.min = QueueOffset(begin);
    if end > low
        && let Slot::Entry(entry) = files.slot(end - 1)?
    {
        found.max_physical = entry.end();
    }
    Ok(found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Unused,
    PreBlank,
    Entry(IndexEntry),
}

struct Files<'a> {
    disk: &'a dyn Disk,
    config: &'a ConsumeQueueConfig,
    dir: &'a Path,
}

impl Files<'_> {
    fn slot(&self, offset: u64) -> Result<Slot, QueueError> {
        let byte = offset * ENTRY_BYTES;
        let start = byte / self.config.segment_bytes * self.config.segment_bytes;
        let path = self.dir.join(format!("{start:020}"));
        let bytes = self
            .disk
            .read_at(&path, byte - start, ENTRY_BYTES as usize)
            .map_err(|e| io_error(&path, e))?;
        Ok(match IndexEntry::decode(&bytes) {
            Some(entry) => Slot::Entry(entry),
            None if bytes.iter().any(|b| *b != 0) => Slot::PreBlank,
            None => Slot::Unused,
        })
    }

    /// The first offset in `low..high` whose slot does not fulfil `f`, which those before it do.
    fn partition(
        &self,
        mut low: u64,
        mut high: u64,
        f: impl Fn(Slot) -> bool,
    ) -> Result<u64, QueueError> {
        while low < high {
            let middle = low + (high - low) / 2;
            if f(self.slot(middle)?) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}
