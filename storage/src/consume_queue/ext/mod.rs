//! A queue's extension: what does not fit into an entry, in files beside the queue's.
//!
//! With `enableConsumeQueueExt` an entry has, where its tag's hash was, the address of a [unit](mod@unit) that
//! holds the hash and the time of storing. Units lie one behind the other in a row of files of one size;
//! one that would not leave four bytes free at the end of a file goes to the next.
//!
//! Reading needs no key: whatever entries name is looked up. A folder is looked at when the first entry
//! names something in it, so that queues without an extension cost nothing. Readers share the mapped
//! files; the queue's owner appends through the [`writer`].
//!
//! Invariants: a unit is readable before the entry that names it, and on the disk before it.
//! Failure policy: it holds nothing that the log does not have. A unit that is missing or damaged leaves
//! its message's tag unknown, which hides the message from nobody; one that cannot be written leaves the
//! hash in the entry. An extension that is gone altogether is made again together with its queue.

mod unit;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) use unit::{ADDRESS_MAX, UNIT_BYTES, Unit, position};
pub(super) use writer::ExtWriter;

use super::{QueueError, io_error};
use crate::{commit_log::segment_path, disk::Disk, segment::Segment};

/// Where extensions lie, and how new ones are made.
#[derive(Clone, Debug)]
pub struct ExtConfig {
    /// The folder with one folder per topic.
    pub dir: PathBuf,
    /// Bytes of a file; an extension that has files goes on in theirs.
    pub segment_bytes: u64,
    /// Whether new entries get units.
    pub is_on: bool,
}

impl ExtConfig {
    /// Bytes of a file, unless configured otherwise.
    const SEGMENT_BYTES: u64 = 48 << 20;

    /// No units for new entries; those that are in `dir` are read.
    pub(super) fn off(dir: PathBuf) -> Self {
        Self { dir, segment_bytes: Self::SEGMENT_BYTES, is_on: false }
    }
}

/// The extension of one queue, as its owner and its readers share it.
pub(super) struct Ext {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: Mutex<Option<Files>>,
    /// Whether it has been told that a unit cannot be read.
    is_told: AtomicBool,
}

/// Its files, once somebody has asked for them.
struct Files {
    file_bytes: u64,
    /// In order, without gaps.
    segments: Vec<Arc<Segment>>,
    /// Bytes before this are on the disk.
    flushed: u64,
    /// Whether files were made whose names may not be on the disk.
    has_new_names: bool,
}

impl Ext {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, files: Mutex::default(), is_told: AtomicBool::new(false) }
    }

    fn files(&self) -> MutexGuard<'_, Option<Files>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash in the unit at `position`.
    pub(super) fn tags_code(&self, position: u64) -> Option<i64> {
        let mut files = self.files();
        if files.is_none() {
            *files = Some(Files::open(&*self.disk, &self.dir, None).ok()?);
        }
        files.as_ref()?.unit(position).map(|(unit, _)| unit.tags_code)
    }

    /// True once: when it is to be told that a unit cannot be read.
    pub(super) fn tells(&self) -> bool {
        !self.is_told.load(Ordering::Relaxed) && !self.is_told.swap(true, Ordering::Relaxed)
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        // Without holding up readers; flushes of a queue wait for each other.
        let Some(unflushed) = self.files().as_mut().map(Files::unflushed) else { return Ok(()) };
        for (segment, from, to) in unflushed.stretches {
            segment.sync(from, to)?;
        }
        if unflushed.has_new_names {
            // The folders above it may be new as well.
            self.dir.ancestors().take(4).try_for_each(|dir| self.disk.sync_dir(dir))?;
        }
        Ok(())
    }

    /// Removes the files that lie before `position` as a whole, but never the last one.
    pub(super) fn trim(&self, position: u64) -> Result<(), QueueError> {
        if let Some(files) = &mut *self.files() {
            let whole = |segment: &&Arc<Segment>| segment.end() <= position;
            let old = files.segments.iter().take_while(whole).count();
            drop(files.segments.drain(..old.min(files.segments.len().saturating_sub(1))));
        }
        trim(&*self.disk, &self.dir, position)
    }

    /// Removes all files.
    pub(super) fn delete(&self) -> Result<(), QueueError> {
        let mut files = self.files();
        *files = None;
        self.disk.remove_dir(&self.dir).map_err(|e| io_error(&self.dir, e))
    }
}

impl Files {
    /// Maps what is there, of which the bytes from `end` on are not to be read. Files without length,
    /// left by an interrupted creation, and what lies behind a gap cannot be named by any entry.
    fn open(disk: &dyn Disk, dir: &Path, end: Option<u64>) -> io::Result<Self> {
        let row = row(disk, dir)?;
        let file_bytes = row.first().map_or(0, |(_, len)| *len);
        let mut segments = Vec::with_capacity(row.len());
        for (start, len) in row {
            let readable = end.map_or(len, |end| end.saturating_sub(start).min(len));
            segments.push(disk.open_segment(&segment_path(dir, start), start, len, readable)?);
        }
        // A predecessor may not have flushed what it wrote last, nor the name of a new file.
        let unflushed = segments.iter().rev().nth(1).or(segments.last());
        let flushed = unflushed.map_or(0, |segment: &Arc<Segment>| segment.start());
        Ok(Self { file_bytes, segments, flushed, has_new_names: true })
    }

    /// The unit at `position`, and its bytes.
    fn unit(&self, position: u64) -> Option<(Unit, u64)> {
        let first = self.segments.first()?.start();
        let file = position.checked_sub(first)?.checked_div(self.file_bytes)?;
        let segment = self.segments.get(usize::try_from(file).ok()?)?;
        Unit::decode(segment.read(position - segment.start(), UNIT_BYTES)?)
    }

    /// What has to be synced. After a failure nobody asks again: the queue does not flush any more.
    fn unflushed(&mut self) -> Unflushed {
        let mut stretches = Vec::new();
        for segment in &self.segments {
            let (start, readable) = (segment.start(), segment.readable());
            if start + readable > self.flushed {
                stretches.push((segment.clone(), self.flushed.saturating_sub(start), readable));
                self.flushed = start + readable;
            }
        }
        let has_new_names = self.has_new_names && !self.segments.is_empty();
        self.has_new_names = false;
        Unflushed { stretches, has_new_names }
    }
}

/// What is not on the disk.
struct Unflushed {
    stretches: Vec<(Arc<Segment>, u64, u64)>,
    has_new_names: bool,
}

/// Starts and lengths of the files of an extension, in order; those of one length without a gap that
/// come last.
fn row(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut row: Vec<(u64, u64)> = Vec::new();
    for (name, len) in disk.list(dir)? {
        let (Ok(start), Some(len)) = (name.parse::<u64>(), len.filter(|len| *len > 0)) else {
            continue;
        };
        if row.last().is_some_and(|last| (last.0 + last.1, last.1) != (start, len)) {
            row.clear();
        }
        row.push((start, len));
    }
    Ok(row)
}

/// Removes the files in `dir` that lie before `position` as a whole, but never the last one.
pub(super) fn trim(disk: &dyn Disk, dir: &Path, position: u64) -> Result<(), QueueError> {
    let row = row(disk, dir).map_err(|e| io_error(dir, e))?;
    let old = row.iter().take_while(|(start, len)| start + len <= position).count();
    for (start, _) in row.iter().take(old.min(row.len().saturating_sub(1))) {
        let path = segment_path(dir, *start);
        disk.remove(&path).map_err(|e| io_error(&path, e))?;
    }
    Ok(())
}

/// The unit at `position`, looked up without mapping anything.
pub(crate) fn look(disk: &dyn Disk, dir: &Path, position: u64) -> io::Result<Option<(Unit, u64)>> {
    for (start, len) in row(disk, dir)? {
        if (start..start.saturating_add(len)).contains(&position) {
            let bytes =
                disk.read_at(&segment_path(dir, start), position - start, UNIT_BYTES as usize)?;
            return Ok(Unit::decode(&bytes));
        }
    }
    Ok(None)
}
