//! Appending: records go straight into the mapped file, and are published by the burst.
//!
//! A record's fields are written to their place in the mapping, which is the only copy of a body on
//! its way to the disk. What has been appended cannot be read before [`LogTail::publish`]. A tail that
//! is dropped with something unpublished, as when its owner panics, makes that zeros again, so that no
//! later recovery takes it for records.

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
    writer: Option<SegmentWriter>,
    /// Where the next record goes; at or behind the published end.
    next: PhysicalOffset,
    /// Files that were filled since the last publish, with the place behind their blank record.
    filled: Vec<(SegmentWriter, u64)>,
}

impl LogTail {
    pub(super) fn new(log: CommitLog) -> Self {
        let next = log.max_offset();
        let writer = log.at(next, |segment, _| segment.writer());
        Self { log, writer, next, filled: Vec::new() }
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

    /// Writes the record straight into the file, having set its place in the log. It can be read once
    /// it is [published](Self::publish). On an error nothing has changed.
    pub fn append(&mut self, record: &mut Record<'_>) -> Result<Appended, AppendError> {
        check_len("topic", record.topic.len() as u64, TOPIC_BYTES_MAX as u64)?;
        check_len("properties", record.properties.len() as u64, PROPERTIES_BYTES_MAX as u64)?;
        let len = record.encoded_len() as u64;
        self.check_room(len)?;
        let full = AppendError::SegmentFull { len, next: self.next_segment_start() };
        let (offset, log) = (self.next, &self.log);
        let out = self.writer.as_mut().and_then(|w| w.bytes(log.place(offset), len)).ok_or(full)?;
        record.physical_offset = offset.0 as i64;
        record.write_to(out);
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
        let place = self.log.place(self.next);
        if let Some(mut full) = self.writer.replace(writer) {
            let rest = full.segment().len() - place;
            if let Some(out) = full.bytes(place, BLANK_BYTES) {
                out.copy_from_slice(&blank(rest));
            }
            self.filled.push((full, place + BLANK_BYTES));
        }
        self.next = start;
    }

    /// Lets everybody read what was appended, and returns the new end. `store_timestamp` is that of
    /// the last record.
    pub fn publish(&mut self, store_timestamp: i64) -> PhysicalOffset {
        for (mut full, _) in self.filled.drain(..) {
            let end = full.segment().len();
            full.publish(end);
        }
        if let Some(writer) = &mut self.writer {
            writer.publish(self.next.0 - writer.segment().start());
        }
        let shared = &self.log.0;
        shared.end.store(self.next.0, Ordering::Release);
        shared.last_timestamp.store(store_timestamp, Ordering::Release);
        self.next
    }

    fn segment(&self) -> Option<&Arc<Segment>> {
        self.writer.as_ref().map(SegmentWriter::segment)
    }
}

impl Drop for LogTail {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            let end = self.next.0 - writer.segment().start();
            self.filled.push((writer, end));
        }
        for (mut writer, end) in self.filled.drain(..) {
            let from = writer.segment().readable();
            if let Some(unpublished) = writer.bytes(from, end - from) {
                unpublished.fill(0);
            }
        }
        self.log.0.has_tail.store(false, Ordering::Release);
    }
}

impl CommitLog {
    /// The place of `offset` within its file.
    fn place(&self, offset: PhysicalOffset) -> u64 {
        offset.0 % self.0.config.segment_bytes
    }
}

fn check_len(what: &'static str, len: u64, max: u64) -> Result<(), AppendError> {
    if len > max { Err(AppendError::TooLarge { what, len, max }) } else { Ok(()) }
}

/// The head of the blank record that takes the `rest` of a file.
fn blank(rest: u64) -> [u8; BLANK_BYTES as usize] {
    (rest << 32 | u64::from(BLANK_MAGIC)).to_be_bytes()
}
