//! Opening the index: the files as the decision in [`start`](super::start) leaves them, and where the
//! writer goes on.
//!
//! Can be interrupted anywhere and begun again, as the decision comes out the same: files are removed
//! newest first, and cutting a file changes neither its entries nor, before it is synced, its header.

use std::{fmt, sync::Arc};

use super::{
    IndexConfig, IndexError, IndexEvidence,
    file::IndexFile,
    found, io_error,
    layout::file_name_of,
    start::{Found, Plan, decide},
};
use crate::{commit_log::CommitLog, disk::Disk, offset::PhysicalOffset};

/// What opening the index found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexReport {
    /// Files that stayed.
    pub files: usize,
    /// Files that were removed.
    pub removed: usize,
    /// Whether the last file was made again from its entries.
    pub rebuilt: bool,
    /// From where the log is indexed.
    pub from: PhysicalOffset,
}

impl fmt::Display for IndexReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, removed, from, .. } = self;
        write!(f, "{files} index files, {removed} removed, indexing from {from}")?;
        if self.rebuilt { write!(f, ", the last file made again from its entries") } else { Ok(()) }
    }
}

/// The opened files, and where the writer goes on.
pub(super) struct Opened {
    pub(super) files: Vec<Arc<IndexFile>>,
    pub(super) from: PhysicalOffset,
    /// That record has so many entries already.
    pub(super) done: usize,
    /// Whether an entry or a file was dropped, so that a point that was written for them does not count
    /// any more.
    pub(super) changed: bool,
    pub(super) report: IndexReport,
}

/// Carries the decision out; see the module's text.
pub(super) fn open(
    disk: &dyn Disk,
    config: &IndexConfig,
    log: &CommitLog,
    evidence: &IndexEvidence,
) -> Result<Opened, IndexError> {
    let mut files = open_files(disk, config)?;
    let found: Vec<_> = files.iter().map(|file| found_file(file)).collect();
    let Plan { keep, cut, from } = decide(evidence, &found);
    let before = files.len();
    while files.len() > keep {
        remove_last(disk, config, &mut files)?;
    }
    let (mut rebuilt, mut from) = (false, from);
    if let (Some(next), Some(last)) = (cut, files.last()) {
        cut_file(disk, last, next, log)?;
        rebuilt = true;
        // Fewer entries than the point promises: only the entries tell what there is.
        from = from.filter(|_| last.next_entry() == next);
    }
    rebuilt |= cut_at_log_end(disk, config, &mut files, log)?;
    let (from, done) = match from {
        Some(from) if from <= log.max_offset() => (from, 0),
        _ => end_of(&files),
    };
    // If that record is gone, nothing of the one that indexing goes on with has been done.
    let log_min = log.min_offset();
    let (from, done) = if from < log_min { (log_min, 0) } else { (from, done) };
    let removed = before - files.len();
    let report = IndexReport { files: files.len(), removed, rebuilt, from };
    Ok(Opened { files, from, done, changed: rebuilt || removed > 0, report })
}

fn open_files(disk: &dyn Disk, config: &IndexConfig) -> Result<Vec<Arc<IndexFile>>, IndexError> {
    let mut files = Vec::new();
    for (number, is_without_length) in found(disk, config)? {
        let path = config.dir.join(file_name_of(number));
        let io = |e| io_error(&path, e);
        if is_without_length {
            disk.remove(&path).map_err(io)?;
        } else {
            let file = IndexFile::open(disk, &config.dir, number, config.layout);
            files.push(Arc::new(file.map_err(io)?));
        }
    }
    Ok(files)
}

fn found_file(file: &IndexFile) -> Found {
    let header = file.header();
    let (next_entry, end_timestamp) = (header.next_entry, header.end_timestamp);
    Found { number: file.number(), next_entry, end_timestamp }
}

fn remove_last(
    disk: &dyn Disk,
    config: &IndexConfig,
    files: &mut Vec<Arc<IndexFile>>,
) -> Result<(), IndexError> {
    if let Some(last) = files.pop() {
        let removed = disk.remove(last.path()).and_then(|()| disk.sync_dir(&config.dir));
        removed.map_err(|e| io_error(last.path(), e))?;
    }
    Ok(())
}

/// Cuts a file, having had its blocks reserved, since slots and links are written all over it.
fn cut_file(
    disk: &dyn Disk,
    file: &IndexFile,
    next: u32,
    log: &CommitLog,
) -> Result<(), IndexError> {
    let reserved = disk.reserve(file.path(), 0, file.next_entry_end().min(file.len()));
    reserved.map_err(|e| io_error(file.path(), e))?;
    file.cut(next, |offset| log.store_timestamp(offset));
    Ok(())
}

/// Drops entries of records at or behind the log's end; whether there were any.
fn cut_at_log_end(
    disk: &dyn Disk,
    config: &IndexConfig,
    files: &mut Vec<Arc<IndexFile>>,
    log: &CommitLog,
) -> Result<bool, IndexError> {
    let end = log.max_offset();
    while let Some(last) = files.last().filter(|last| last.header().end_offset >= end) {
        let next = last.first_at(end);
        if next > super::layout::FIRST_ENTRY {
            cut_file(disk, last, next, log)?;
            return Ok(true);
        }
        if last.header() == Default::default() {
            break;
        }
        remove_last(disk, config, files)?;
    }
    Ok(false)
}

/// The place of the newest record that has an entry, and how many entries it has.
fn end_of(files: &[Arc<IndexFile>]) -> (PhysicalOffset, usize) {
    let mut files = files.iter().rev().filter(|file| !file.is_empty()).peekable();
    let Some(last) = files.peek() else { return (PhysicalOffset(0), 0) };
    let end = last.header().end_offset;
    let mut done = 0;
    for file in files {
        let trailing = file.trailing(end);
        done += trailing;
        if trailing + 1 < file.next_entry() as usize {
            break;
        }
    }
    (end, done)
}
