//! The commit log: every message of every queue, one behind the other, in files of one size.
//!
//! Three handles to one log, each for one owner: [`CommitLog`] reads (clones, any thread),
//! [`LogTail`] appends (the appender alone), [`LogFlusher`] syncs (the flusher alone). Files lie in
//! one folder, named by the offset of their first byte, 20 digits. A record never crosses a file:
//! where it does not fit, a blank record fills the rest (store.md 2.1).
//!
//! Invariants: the published end only rises; everything before it can be read and never changes; a
//! record is published as a whole. The tail makes no files: it says when it needs the next one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use gantry_codec::record::{self, BLANK_MAGIC, Record};
use thiserror::Error;

use crate::{
    disk::Disk,
    offset::PhysicalOffset,
    segment::{Segment, SegmentSlice, SegmentWriter},
};

/// Bytes of a blank record: a size and a magic. That many are always kept free at a file's end.
pub const BLANK_BYTES: u64 = 8;

/// Where the log lies and how large its files are.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The folder of the files.
    pub dir: PathBuf,
    /// Bytes of a file.
    pub segment_bytes: u64,
}

/// The file of the log that starts at `start`.
pub fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}"))
}

/// Makes the log file that starts at `start`, with all its blocks reserved.
pub fn allocate_segment(
    disk: &dyn Disk,
    config: &LogConfig,
    start: PhysicalOffset,
) -> std::io::Result<Arc<Segment>> {
    disk.create_segment(&segment_path(&config.dir, start.0), start.0, config.segment_bytes)
}

struct Shared {
    config: LogConfig,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    end: AtomicU64,
    flushed: AtomicU64,
    /// Store time of the newest published record.
    last_timestamp: AtomicI64,
    poisoned: AtomicBool,
    tail_taken: AtomicBool,
}

/// The log, to be read.
#[derive(Clone)]
pub struct CommitLog(Arc<Shared>);

impl CommitLog {
    /// A log of these files, in order, published up to `end`; all of it is on disk.
    pub(crate) fn new(config: LogConfig, segments: Vec<Arc<Segment>>, end: PhysicalOffset) -> Self {
        for segment in &segments {
            segment.set_readable(end.0.saturating_sub(segment.start()).min(segment.len()));
        }
        Self(Arc::new(Shared {
            config,
            segments: ArcSwap::from_pointee(segments),
            end: AtomicU64::new(end.0),
            flushed: AtomicU64::new(end.0),
            last_timestamp: AtomicI64::new(0),
            poisoned: AtomicBool::new(false),
            tail_taken: AtomicBool::new(false),
        }))
    }

    /// Where it lies and how large its files are.
    pub fn config(&self) -> &LogConfig {
        &self.0.config
    }

    /// The first byte that is still there.
    pub fn min_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.0.segments.load().first().map_or(0, |first| first.start()))
    }

    /// One past the last byte that can be read.
    pub fn max_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.0.end.load(Ordering::Acquire))
    }

    /// Everything before this is on disk.
    pub fn flushed_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.0.flushed.load(Ordering::Acquire))
    }

    /// Store time of the newest record in ms; 0 before the first of this process.
    pub fn last_timestamp(&self) -> i64 {
        self.0.last_timestamp.load(Ordering::Acquire)
    }

    fn segment_of(&self, offset: u64) -> Option<Arc<Segment>> {
        let segments = self.0.segments.load();
        let first = segments.first()?.start();
        let index = offset.checked_sub(first)? / self.0.config.segment_bytes;
        segments.get(index as usize).cloned()
    }

    /// The published bytes `offset..offset + len`; `None` if they are gone, not there yet, or cross
    /// a file's end.
    pub fn read(&self, offset: PhysicalOffset, len: u64) -> Option<SegmentSlice> {
        let segment = self.segment_of(offset.0)?;
        segment.slice(offset.0 - segment.start(), len)
    }

    /// Calls `f` with the published bytes from `offset` to the end of its file.
    pub fn with_rest<T>(&self, offset: PhysicalOffset, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let segment = self.segment_of(offset.0)?;
        let at = offset.0 - segment.start();
        let len = segment.readable().checked_sub(at)?;
        segment.read(at, len).map(f)
    }

    /// The whole record at `offset`.
    pub fn record_at(&self, offset: PhysicalOffset) -> Option<SegmentSlice> {
        let (len, magic) = self.with_rest(offset, record::record_len)??;
        if !matches!(magic, record::RECORD_MAGIC_V1 | record::RECORD_MAGIC_V2) {
            return None;
        }
        self.read(offset, len as u64)
    }

    /// Store time of the record at `offset`, in ms.
    pub fn store_timestamp(&self, offset: PhysicalOffset) -> Option<i64> {
        self.with_rest(offset, |bytes| record::decode_head(bytes).ok())?
            .map(|head| head.store_timestamp)
    }

    /// Where the file behind the one of `offset` starts.
    pub fn next_segment_after(&self, offset: PhysicalOffset) -> PhysicalOffset {
        let len = self.0.config.segment_bytes;
        PhysicalOffset(offset.0 / len * len + len)
    }

    /// The right to append, at the published end; `None` if somebody has it. What a tail that was
    /// dropped had written and not published is overwritten.
    pub fn tail(&self) -> Option<LogTail> {
        if self.0.tail_taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        let end = self.max_offset();
        let writer = self.segment_of(end.0).and_then(|segment| segment.writer());
        Some(LogTail { log: self.clone(), writer, next: end.0, filled: Vec::new() })
    }

    /// The right to sync.
    pub fn flusher(&self) -> LogFlusher {
        LogFlusher { log: self.clone() }
    }
}

/// What [`LogTail::append`] gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the record starts.
    pub offset: PhysicalOffset,
    /// Its bytes.
    pub len: u32,
}

/// Why a record was not appended.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// It needs the next file: [`LogTail::install`] it and append again.
    #[error("{len} bytes do not fit into the file, the next one starts at {next}")]
    SegmentFull {
        /// Bytes of what did not fit.
        len: u64,
        /// Where the next file has to start.
        next: PhysicalOffset,
    },
    /// It fits into no file.
    #[error("record of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// Its bytes.
        len: u64,
        /// What fits.
        max: u64,
    },
    /// A flush has failed: the log takes nothing any more.
    #[error("the log is closed for writing after a failed flush")]
    Poisoned,
}

/// The file given to [`LogTail::install`] does not continue the log.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("file starts at {got} and has {len} bytes, wanted {want}")]
pub struct WrongSegment {
    got: u64,
    len: u64,
    want: u64,
}

/// The log's end, to be written.
pub struct LogTail {
    log: CommitLog,
    /// The file of `next`, if it is there.
    writer: Option<SegmentWriter>,
    /// Where the next record goes; at or behind the published end.
    next: u64,
    /// Files that were filled since the last publish.
    filled: Vec<Arc<Segment>>,
}

impl LogTail {
    /// Whether `len` bytes of records fit into the current file, all of them.
    pub fn check_room(&self, len: u64) -> Result<(), AppendError> {
        if self.log.0.poisoned.load(Ordering::Acquire) {
            return Err(AppendError::Poisoned);
        }
        let max = self.log.0.config.segment_bytes - BLANK_BYTES;
        if len > max {
            return Err(AppendError::TooLarge { len, max });
        }
        let room = self.writer.as_ref().map_or(0, |w| {
            let segment = w.segment();
            (segment.start() + segment.len()).saturating_sub(self.next)
        });
        if len + BLANK_BYTES > room {
            return Err(AppendError::SegmentFull { len, next: self.next_segment_start() });
        }
        Ok(())
    }

    /// Writes the record straight into the file, with its place in the log. It can be read once it is
    /// [published](Self::publish).
    pub fn append(&mut self, record: &mut Record<'_>) -> Result<Appended, AppendError> {
        let len = record.encoded_len() as u64;
        self.check_room(len)?;
        let offset = self.next;
        record.physical_offset = offset as i64;
        let writer = self.writer.as_mut().and_then(|w| {
            let at = offset - w.segment().start();
            w.bytes(at, len)
        });
        let Some(out) = writer else {
            return Err(AppendError::SegmentFull { len, next: self.next_segment_start() });
        };
        record.write_to(out);
        self.next += len;
        Ok(Appended { offset: PhysicalOffset(offset), len: len as u32 })
    }

    /// Where the file behind the current one starts; where the current one starts if it is missing.
    pub fn next_segment_start(&self) -> PhysicalOffset {
        match &self.writer {
            Some(writer) => PhysicalOffset(writer.segment().start() + writer.segment().len()),
            None => {
                let len = self.log.0.config.segment_bytes;
                PhysicalOffset(self.next / len * len)
            }
        }
    }

    /// Goes on in the next file if the log knows it already: a spare one found at start, or one that
    /// a tail which was dropped had begun.
    pub fn advance(&mut self) -> bool {
        let start = self.next_segment_start();
        let Some(writer) = self.log.segment_of(start.0).and_then(|s| s.writer()) else {
            return false;
        };
        self.fill_up();
        self.writer = Some(writer);
        self.next = start.0;
        true
    }

    /// Fills the current file with a blank record and goes on in `segment`.
    pub fn install(&mut self, segment: Arc<Segment>) -> Result<(), WrongSegment> {
        let want = self.next_segment_start().0;
        let wrong = WrongSegment { got: segment.start(), len: segment.len(), want };
        if segment.start() != want || segment.len() != self.log.0.config.segment_bytes {
            return Err(wrong);
        }
        let Some(writer) = segment.writer() else { return Err(wrong) };
        self.fill_up();
        self.log.0.segments.rcu(|segments| {
            let mut segments = Vec::clone(segments);
            segments.push(segment.clone());
            segments
        });
        self.writer = Some(writer);
        self.next = want;
        Ok(())
    }

    fn fill_up(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let segment = writer.segment().clone();
        let at = self.next - segment.start();
        let rest = segment.len() - at;
        if let Some(out) = writer.bytes(at, BLANK_BYTES) {
            let (size, magic) = out.split_at_mut(4);
            size.copy_from_slice(&(rest as u32).to_be_bytes());
            magic.copy_from_slice(&BLANK_MAGIC.to_be_bytes());
        }
        self.filled.push(segment);
    }

    /// Lets everybody read what was appended; the new end.
    pub fn publish(&mut self, store_timestamp: i64) -> PhysicalOffset {
        for segment in self.filled.drain(..) {
            segment.publish(segment.len());
        }
        if let Some(writer) = &self.writer {
            let segment = writer.segment();
            segment.publish(self.next - segment.start());
        }
        self.log.0.last_timestamp.store(store_timestamp, Ordering::Release);
        self.log.0.end.store(self.next, Ordering::Release);
        PhysicalOffset(self.next)
    }
}

impl Drop for LogTail {
    fn drop(&mut self) {
        self.log.0.tail_taken.store(false, Ordering::Release);
    }
}

/// A flush failed; the log takes nothing any more.
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

/// Brings the log to the disk.
pub struct LogFlusher {
    log: CommitLog,
}

impl LogFlusher {
    /// Syncs everything published so far; the offset up to which the log is on disk then. After a
    /// failure the log is closed for writing, and no sync is tried again.
    pub fn sync(&mut self) -> Result<PhysicalOffset, FlushError> {
        let shared = &self.log.0;
        if shared.poisoned.load(Ordering::Acquire) {
            return Err(FlushError::Poisoned);
        }
        let end = self.log.max_offset();
        let from = self.log.flushed_offset();
        if end == from {
            return Ok(end);
        }
        let segments = shared.segments.load_full();
        let dirty = segments
            .iter()
            .filter(|s| s.start() < end.0 && s.start() + s.len() > from.0);
        for segment in dirty {
            if let Err(e) = segment.sync() {
                shared.poisoned.store(true, Ordering::Release);
                let file = format!("{:020}", segment.start());
                return Err(FlushError::Io { file, error: e.to_string() });
            }
        }
        shared.flushed.store(end.0, Ordering::Release);
        Ok(end)
    }
}
