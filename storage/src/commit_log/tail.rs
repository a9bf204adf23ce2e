//! Appending: records are encoded behind each other, and written and published by the burst.
//!
//! A burst's records come together in a buffer that is used again and again, and go to the file by one
//! system call when they are published. Writing them straight into the mapped file would save that copy,
//! and was slower: each first touch of a page, and each one after a sync, is a fault that the appender
//! has to wait for, behind the sync itself if that is under way; and a page fault marks the whole folio,
//! of up to 2 MiB, to be written out by the next sync. Readers read the mapping all the same.
//!
//! What has been appended cannot be read before [`LogTail::publish`], nor does the file have it. A tail
//! that is dropped with something unpublished, as when its owner panics, leaves nothing behind.

use std::sync::{Arc, atomic::Ordering};

use gantry_codec::record::{BLANK_MAGIC, PROPERTIES_BYTES_MAX, Record};
use thiserror::Error;

use super::{BLANK_BYTES, CommitLog};
use crate::{
    offset::PhysicalOffset,
    segment::{Segment, SegmentWriter},
};

/// Lengths in a record are 31-bit numbers.
const RECORD_BYTES_MAX: u64 = i32::MAX as u64;
/// The longest topic (store.md 2.1).
const TOPIC_BYTES_MAX: usize = 255;

/// What [`LogTail::append`] gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the record starts.
    pub offset: PhysicalOffset,
    /// Its bytes.
    pub len: u32,
}

/// Why a record was not appended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// It needs the next file: [`LogTail::install`] it and append again.
    #[error("{len} bytes do not fit into the file, the next one starts at {next}")]
    SegmentFull {
        /// Bytes of what did not fit.
        len: u64,
        /// Where the next file has to start.
        next: PhysicalOffset,
    },
    /// It fits into no file, or a part of it not into a record.
    #[error("{what} of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// The record or its part.
        what: &'static str,
        /// Its bytes.
        len: u64,
        /// What fits.
        max: u64,
    },
    /// A flush has failed: the log takes nothing any more.
    #[error("the log is closed for writing after a failed flush")]
    Poisoned,
    /// The file could not be written; nobody knows how much of it was, so the log takes nothing any more.
    #[error("log file {file} cannot be written: {error}")]
    Io {
        /// The file, by its first offset.
        file: PhysicalOffset,
        /// What the system said.
        error: String,
    },
}

/// The file given to [`LogTail::install`] does not continue the log, or somebody writes it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the file starts at {start} and has {len} bytes, one that starts at {next} is wanted")]
pub struct WrongSegment {
    /// Where it starts.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
    /// Where the wanted one starts.
    pub next: PhysicalOffset,
}

/// The log's end, to be written; see the module's text.
pub struct LogTail {
    log: CommitLog,
    /// The file of `next`; none before the log's first file, or if the last one is full.
    file: Option<OpenFile>,
    /// Where the next record goes; at or behind the published end.
    next: PhysicalOffset,
    /// Files that were filled since the last publish.
    filled: Vec<OpenFile>,
    /// A buffer that is not in use.
    spare: Vec<u8>,
}

/// A file that is written, and what it has not been given yet.
struct OpenFile {
    writer: SegmentWriter,
    /// Bytes for behind the readable mark.
    unwritten: Vec<u8>,
}

/// A buffer that grew beyond this is given back.
const BUFFER_BYTES_MAX: usize = 8 << 20;

impl OpenFile {
    /// Writes what it has not been given yet, and lets everybody read up to `end`.
    fn publish(&mut self, log: &CommitLog, end: u64) -> Result<(), AppendError> {
        let segment = self.writer.segment();
        log.0.claim(segment.start() + end);
        let (at, file) = (segment.readable(), PhysicalOffset(segment.start()));
        let written = self.writer.write(at, &self.unwritten);
        written.map_err(|e| AppendError::Io { file, error: e.to_string() })?;
        self.writer.publish(end);
        self.unwritten.clear();
        Ok(())
    }
}

impl LogTail {
    pub(super) fn new(log: CommitLog) -> Self {
        let next = log.max_offset();
        let writer = log.at(next, |segment, _| segment.writer());
        let file = writer.map(|writer| OpenFile { writer, unwritten: Vec::new() });
        Self { log, file, next, filled: Vec::new(), spare: Vec::new() }
    }

    /// Whether records of `len` bytes together fit into the current file. A batch that is to be stored
    /// as a whole or not at all is checked in one go, and then appended one by one.
    pub fn check_room(&self, len: u64) -> Result<(), AppendError> {
        if self.log.is_poisoned() {
            return Err(AppendError::Poisoned);
        }
        let max = (self.log.0.config.segment_bytes - BLANK_BYTES).min(RECORD_BYTES_MAX);
        check_len("record", len, max)?;
        let room = self.segment().map_or(0, |segment| segment.end().saturating_sub(self.next.0));
        if len + BLANK_BYTES > room {
            return Err(AppendError::SegmentFull { len, next: self.next_segment_start() });
        }
        Ok(())
    }

    /// Takes the record, having set its place in the log. It is written and can be read once it is
    /// [published](Self::publish). On an error nothing has changed.
    pub fn append(&mut self, record: &mut Record<'_>) -> Result<Appended, AppendError> {
        check_len("topic", record.topic.len() as u64, TOPIC_BYTES_MAX as u64)?;
        check_len("properties", record.properties.len() as u64, PROPERTIES_BYTES_MAX as u64)?;
        let len = record.encoded_len() as u64;
        self.check_room(len)?;
        let full = AppendError::SegmentFull { len, next: self.next_segment_start() };
        let offset = self.next;
        let unwritten = &mut self.file.as_mut().ok_or(full)?.unwritten;
        let at = unwritten.len();
        unwritten.resize(at + len as usize, 0);
        record.physical_offset = offset.0 as i64;
        record.write_to(unwritten.get_mut(at..).unwrap_or_default());
        self.next = offset.plus(len);
        Ok(Appended { offset, len: len as u32 })
    }

    /// Where the file behind the current one starts; where the current one starts if it is missing.
    pub fn next_segment_start(&self) -> PhysicalOffset {
        match self.segment() {
            Some(segment) => PhysicalOffset(segment.end()),
            None => self.log.0.config.segment_start(self.next),
        }
    }

    /// Goes on in the next file if the log knows it already, because a tail that was dropped had begun
    /// it; whether it does.
    pub fn advance(&mut self) -> bool {
        let next = self.next_segment_start();
        let Some(writer) = self.log.at(next, |segment, _| segment.writer()) else { return false };
        self.go_on_in(writer, next);
        true
    }

    /// Fills the current file with a blank record and goes on in `segment`.
    pub fn install(&mut self, segment: Arc<Segment>) -> Result<(), WrongSegment> {
        let next = self.next_segment_start();
        let wrong = WrongSegment { start: segment.start(), len: segment.len(), next };
        let is_known = self.log.at(next, |_, _| Some(())).is_some();
        let fits = segment.start() == next.0 && segment.len() == self.log.0.config.segment_bytes;
        let writer = segment.writer().filter(|_| fits && !is_known).ok_or(wrong)?;
        self.log.0.segments.rcu(|segments| {
            let mut segments = Vec::clone(segments);
            segments.push(segment.clone());
            segments
        });
        self.go_on_in(writer, next);
        Ok(())
    }

    fn go_on_in(&mut self, writer: SegmentWriter, start: PhysicalOffset) {
        let file = OpenFile { writer, unwritten: std::mem::take(&mut self.spare) };
        if let Some(mut full) = self.file.replace(file) {
            let rest = full.writer.segment().end() - self.next.0;
            full.unwritten.extend_from_slice(&blank(rest));
            self.filled.push(full);
        }
        self.next = start;
    }

    /// Writes what was appended and lets everybody read it; the new end. `store_timestamp` is that of
    /// the last record.
    ///
    /// # Errors
    /// If a file cannot be written. Nothing of this burst can be read then, and the log is closed for
    /// writing.
    pub fn publish(&mut self, store_timestamp: i64) -> Result<PhysicalOffset, AppendError> {
        if self.log.is_poisoned() {
            return Err(AppendError::Poisoned);
        }
        self.write_all().inspect_err(|_| self.log.poison())?;
        let shared = &self.log.0;
        shared.end.store(self.next.0, Ordering::Release);
        shared.last_timestamp.store(store_timestamp, Ordering::Release);
        Ok(self.next)
    }

    fn write_all(&mut self) -> Result<(), AppendError> {
        for mut full in self.filled.drain(..) {
            let end = full.writer.segment().len();
            full.publish(&self.log, end)?;
            self.spare = full.unwritten;
        }
        if let Some(file) = &mut self.file {
            file.publish(&self.log, self.next.0 - file.writer.segment().start())?;
            file.unwritten.shrink_to(BUFFER_BYTES_MAX);
        }
        Ok(())
    }

    fn segment(&self) -> Option<&Arc<Segment>> {
        self.file.as_ref().map(|file| file.writer.segment())
    }
}

impl Drop for LogTail {
    fn drop(&mut self) {
        // The files' right to be written goes first, so that a successor finds it.
        self.file = None;
        self.filled.clear();
        self.log.0.has_tail.store(false, Ordering::Release);
    }
}

fn check_len(what: &'static str, len: u64, max: u64) -> Result<(), AppendError> {
    if len > max { Err(AppendError::TooLarge { what, len, max }) } else { Ok(()) }
}

/// The head of the blank record that takes the `rest` of a file.
fn blank(rest: u64) -> [u8; BLANK_BYTES as usize] {
    (rest << 32 | u64::from(BLANK_MAGIC)).to_be_bytes()
}
