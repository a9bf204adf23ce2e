//! Reading the log as what the queues need: one entry per record, in the order of the log.
//!
//! The dispatcher goes from where it stopped to the published end in steps of bounded size. A record
//! that cannot be read is reported and passed over by its size, or, if that makes no sense, with the
//! rest of its file (store.md 3.4); it does not stop the queues.

use gantry_codec::{
    properties::{self, TAGS},
    record::{self, BLANK_MAGIC, RecordError, RecordHead},
};
use thiserror::Error;

use crate::{
    commit_log::CommitLog,
    offset::{PhysicalOffset, QueueOffset},
};

/// What a queue has to know of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchEntry<'a> {
    /// The record's topic.
    pub topic: &'a str,
    /// The record's queue.
    pub queue_id: u32,
    /// Its place in the queue.
    pub queue_offset: QueueOffset,
    /// Its place in the log.
    pub offset: PhysicalOffset,
    /// Its bytes.
    pub size: u32,
    /// The hash of its tag, sign-extended; 0 without one.
    pub tags_code: i64,
    /// Its flags.
    pub sys_flag: i32,
    /// When it was stored, in ms.
    pub store_timestamp: i64,
}

/// A record that cannot be read; the reader goes on behind it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("record at {offset}: {error}")]
pub struct BadRecord {
    /// Where it starts.
    pub offset: PhysicalOffset,
    /// What is wrong with it.
    pub error: RecordError,
}

/// Goes through the log for the queues, from an offset to its published end, piece by piece.
pub struct DispatchReader(LogReader);

impl DispatchReader {
    /// A reader that begins at `from`, or where the log begins if that is gone.
    pub fn new(log: CommitLog, from: PhysicalOffset) -> Self {
        Self(LogReader::new(log, from))
    }

    /// Where the next record starts; the log's end when all has been read.
    pub fn position(&self) -> PhysicalOffset {
        self.0.position()
    }

    /// Gives `f` up to `max` entries, in order; how many.
    ///
    /// # Errors
    /// At a record that cannot be read, having given `f` those before it and gone past it.
    pub fn read(
        &mut self,
        max: usize,
        mut f: impl FnMut(&DispatchEntry<'_>),
    ) -> Result<usize, BadRecord> {
        let end = PhysicalOffset(u64::MAX);
        self.0.read(max, end, |head, bytes, offset| entry(head, bytes, offset).map(|e| f(&e)))
    }
}

/// Goes through the log for whoever makes something of each record.
pub(crate) struct LogReader {
    log: CommitLog,
    position: PhysicalOffset,
}

impl LogReader {
    /// A reader that begins at `from`, or where the log begins if that is gone.
    pub(crate) fn new(log: CommitLog, from: PhysicalOffset) -> Self {
        let position = from.max(log.min_offset());
        Self { log, position }
    }

    /// Where the next record starts.
    pub(crate) fn position(&self) -> PhysicalOffset {
        self.position
    }

    /// The log.
    pub(crate) fn log(&self) -> &CommitLog {
        &self.log
    }

    /// Gives `f` up to `max` records that start before `end`, in order, with the bytes that begin with
    /// the record; how many.
    ///
    /// # Errors
    /// At a record that cannot be read, which `f` may say too, having gone past it.
    pub(crate) fn read(
        &mut self,
        max: usize,
        end: PhysicalOffset,
        mut f: impl FnMut(&RecordHead, &[u8], PhysicalOffset) -> Result<(), RecordError>,
    ) -> Result<usize, BadRecord> {
        let mut count = 0;
        while count < max && self.position < self.log.max_offset().min(end) {
            let from = self.position;
            let run =
                self.log.with_rest(from, |bytes| read_run(bytes, from, max - count, end, &mut f));
            let Some(run) = run else {
                // The file is gone: what removes old files has overtaken this reader.
                self.position = from.max(self.log.min_offset());
                if self.position == from {
                    break;
                }
                continue;
            };
            count += run.count;
            self.position = match run.end {
                End::At(offset) => offset,
                End::NextFile => self.log.next_segment_after(from).min(self.log.max_offset()),
            };
            if let Some(bad) = run.bad {
                return Err(bad);
            }
            if self.position == from {
                break;
            }
        }
        Ok(count)
    }
}

/// Records read in one go.
struct Run {
    count: usize,
    end: End,
    bad: Option<BadRecord>,
}

enum End {
    At(PhysicalOffset),
    NextFile,
}

/// The records at the start of `bytes`, which reach to the end of what can be read of their file, as far
/// as they start before `end`.
fn read_run(
    bytes: &[u8],
    from: PhysicalOffset,
    max: usize,
    end: PhysicalOffset,
    f: &mut impl FnMut(&RecordHead, &[u8], PhysicalOffset) -> Result<(), RecordError>,
) -> Run {
    let (mut offset, mut rest, mut count) = (from, bytes, 0);
    while count < max
        && offset < end
        && let Some((len, magic)) = record::record_len(rest)
    {
        if magic == BLANK_MAGIC {
            return Run { count, end: End::NextFile, bad: None };
        }
        let read = record::decode_head(rest).and_then(|head| f(&head, rest, offset));
        let bad = read.err().map(|error| BadRecord { offset, error });
        let Some(behind) = rest.get(len..).filter(|_| len > 0) else {
            return Run { count, end: End::NextFile, bad };
        };
        (offset, rest) = (offset.plus(len as u64), behind);
        if bad.is_some() {
            return Run { count, end: End::At(offset), bad };
        }
        count += 1;
    }
    Run { count, end: End::At(offset), bad: None }
}

fn entry<'a>(
    head: &RecordHead,
    bytes: &'a [u8],
    offset: PhysicalOffset,
) -> Result<DispatchEntry<'a>, RecordError> {
    let tag = properties::get(head.properties(bytes)?, TAGS);
    Ok(DispatchEntry {
        topic: head.topic(bytes)?,
        queue_id: head.queue_id as u32,
        queue_offset: QueueOffset(head.queue_offset as u64),
        offset,
        size: head.total_size,
        tags_code: tag.map_or(0, |tag| i64::from(properties::tag_hash(tag))),
        sys_flag: head.sys_flag,
        store_timestamp: head.store_timestamp,
    })
}
