//! The commit log: every message of every queue, one behind the other, in files of one size.
//!
//! Handles to one log, each for one owner: [`CommitLog`] reads (clones, any thread),
//! [`LogTail`] appends (the appender alone), [`LogFlusher`] syncs; [`LogPreparer`] writes zeros ahead of
//! the end where syncs are waited for. Files lie in one folder or several
//! ([`LogConfig`]), named by the offset of their first byte in 20 digits. A record never crosses a file: where it does not fit, a
//! blank record fills the rest (store.md 2.1), and 8 bytes for that are always kept free.
//!
//! Invariants: the published end only rises; everything before it can be read and never changes; a
//! record is published as a whole; behind the published end, files are zeros, but for what a write that
//! failed or was interrupted has left. The tail makes no files: it says when it needs the next one, which
//! [`allocate_segment`] has made ahead of time. The beginning only rises too, by whole files
//! ([`CommitLog::remove_before`]).
//!
//! Failure policy: a failed sync closes the log for writing, for good; reading goes on.

mod config;
mod flusher;
mod preparer;
mod removal;
mod scan;
mod tail;

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use gantry_codec::record;

pub use config::LogConfig;
pub(crate) use config::segment_path;
pub use flusher::{FlushError, LogFlusher};
pub use preparer::LogPreparer;
pub use removal::{LogFile, RemoveError};
pub(crate) use scan::{Checked, check, is_certainly_record, lacks_sector, next_sound_record};
pub use tail::{AppendError, Appended, LogTail, WrongSegment};

use crate::{
    disk::Disk,
    offset::PhysicalOffset,
    segment::{Segment, SegmentSlice},
};

/// Bytes of a blank record: a size and a magic. That many are always kept free at a file's end.
pub(crate) const BLANK_BYTES: u64 = 8;

/// Makes the log file that starts at `start`, with all its blocks reserved. A file that is there
/// already was made for a tail that died before it used it; it is taken as it is, zeros.
pub fn allocate_segment(
    disk: &dyn Disk,
    config: &LogConfig,
    start: PhysicalOffset,
) -> io::Result<Arc<Segment>> {
    let len = config.segment_bytes;
    match LogConfig::find(disk, config.dirs.iter().map(PathBuf::as_path), start)? {
        Some(path) => disk.open_segment_to_write(&path, start.0, len, 0),
        None => disk.create_segment(&config.path_of_new(disk, start), start.0, len),
    }
}

struct Shared {
    config: LogConfig,
    /// In order, without gaps.
    segments: ArcSwap<Vec<Arc<Segment>>>,
    /// Where the files start that are out of `segments` and not unlinked yet, oldest first.
    doomed: Mutex<VecDeque<PhysicalOffset>>,
    end: AtomicU64,
    /// Store time of the newest record before `end`; stored after it.
    last_timestamp: AtomicI64,
    flushed: AtomicU64,
    /// Store time of some record before `flushed`; stored after it.
    flushed_timestamp: AtomicI64,
    is_poisoned: AtomicBool,
    has_tail: AtomicBool,
    /// The tail may write before this without a look at `preparing`.
    prepared: AtomicU64,
    preparing: Mutex<()>,
}

/// The log, to be read.
#[derive(Clone)]
pub struct CommitLog(Arc<Shared>);

impl CommitLog {
    /// A log of these files, in order, published up to `end`; all of it is on disk.
    pub(crate) fn new(
        config: LogConfig,
        segments: Vec<Arc<Segment>>,
        end: PhysicalOffset,
        last_timestamp: i64,
    ) -> Self {
        Self(Arc::new(Shared {
            config,
            segments: ArcSwap::from_pointee(segments),
            doomed: Mutex::default(),
            end: AtomicU64::new(end.0),
            last_timestamp: AtomicI64::new(last_timestamp),
            flushed: AtomicU64::new(end.0),
            flushed_timestamp: AtomicI64::new(last_timestamp),
            is_poisoned: AtomicBool::new(false),
            has_tail: AtomicBool::new(false),
            prepared: AtomicU64::new(end.0),
            preparing: Mutex::default(),
        }))
    }

    /// Where it lies and how large its files are.
    pub fn config(&self) -> &LogConfig {
        &self.0.config
    }

    /// The first byte that is still there; the end, if there is no file.
    pub fn min_offset(&self) -> PhysicalOffset {
        let segments = self.0.segments.load();
        segments.first().map_or(self.max_offset(), |first| PhysicalOffset(first.start()))
    }

    /// One past the last byte that can be read.
    pub fn max_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.0.end.load(Ordering::Acquire))
    }

    /// Everything before this is on disk.
    pub fn flushed_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.0.flushed.load(Ordering::Acquire))
    }

    /// Store time of the newest record, in ms: the next one's must not be earlier.
    pub fn last_timestamp(&self) -> i64 {
        self.0.last_timestamp.load(Ordering::Acquire)
    }

    /// Store time up to which records are on disk, in ms.
    pub fn flushed_timestamp(&self) -> i64 {
        self.0.flushed_timestamp.load(Ordering::Acquire)
    }

    /// Whether a failed sync has closed the log for writing.
    pub fn is_poisoned(&self) -> bool {
        self.0.is_poisoned.load(Ordering::Acquire)
    }

    /// Closes the log for writing, for good.
    pub(crate) fn poison(&self) {
        self.0.is_poisoned.store(true, Ordering::Release);
    }

    /// The published bytes `offset..offset + len`; `None` if they are gone, not there yet, or cross
    /// a file's end.
    pub fn read(&self, offset: PhysicalOffset, len: u64) -> Option<SegmentSlice> {
        self.at(offset, |segment, at| segment.slice(at, len))
    }

    /// Calls `f` with the published bytes from `offset` to the end of its file.
    pub fn with_rest<T>(&self, offset: PhysicalOffset, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.at(offset, |segment, at| segment.read_from(at).map(f))
    }

    /// The whole record at `offset`; `None` if no sound record starts there. Offsets come from clients
    /// too, so the lengths in it are checked, and its body against its CRC.
    pub fn record_at(&self, offset: PhysicalOffset) -> Option<SegmentSlice> {
        self.at(offset, |segment, at| match check(segment.read_from(at)?, true) {
            Checked::Record { len, .. } => segment.slice(at, len),
            Checked::Blank | Checked::Nothing | Checked::Broken(_) => None,
        })
    }

    /// What is wrong with what lies at `offset`, if it looks like a record that is damaged.
    pub fn damage_at(&self, offset: PhysicalOffset) -> Option<String> {
        self.at(offset, |segment, at| match check(segment.read_from(at)?, true) {
            Checked::Broken(why) => Some(why),
            Checked::Record { .. } | Checked::Blank | Checked::Nothing => None,
        })
    }

    /// Store time of the record at `offset`, in ms.
    pub fn store_timestamp(&self, offset: PhysicalOffset) -> Option<i64> {
        let head = self.with_rest(offset, record::decode_head)?.ok()?;
        Some(head.store_timestamp)
    }

    /// Where the file behind the one of `offset` starts.
    pub fn next_segment_after(&self, offset: PhysicalOffset) -> PhysicalOffset {
        self.0.config.segment_start(offset).plus(self.0.config.segment_bytes)
    }

    /// The right to append, at the published end; `None` while somebody has it. What a tail that was
    /// dropped had written and not published is gone.
    pub fn tail(&self) -> Option<LogTail> {
        let had_tail = self.0.has_tail.swap(true, Ordering::AcqRel);
        (!had_tail).then(|| LogTail::new(self.clone()))
    }

    /// The right to sync.
    pub fn flusher(&self) -> LogFlusher {
        LogFlusher::new(self.clone())
    }

    /// What writes zeros ahead of the end, in pieces of `piece` bytes; one at a time.
    pub fn preparer(&self, disk: Arc<dyn Disk>, piece: u64) -> LogPreparer {
        LogPreparer::new(self.clone(), disk, piece)
    }

    /// Calls `f` with the file of `offset`, if there is one, and the place within.
    fn at<T>(
        &self,
        offset: PhysicalOffset,
        f: impl FnOnce(&Arc<Segment>, u64) -> Option<T>,
    ) -> Option<T> {
        let segments = self.0.segments.load();
        let ahead = offset.0.checked_sub(segments.first()?.start())?;
        let segment = segments.get((ahead / self.0.config.segment_bytes) as usize)?;
        f(segment, ahead % self.0.config.segment_bytes)
    }
}
