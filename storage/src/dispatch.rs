//! Reading the log as what the queues need: one entry per record, in the order of the log.

use gantry_codec::{
    properties::{self, TAGS},
    record::{self, BLANK_MAGIC, RecordError, RecordHead},
};
use thiserror::Error;

use crate::{commit_log::CommitLog, offset::{PhysicalOffset, QueueOffset}};

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

/// Goes through the log from an offset to its published end, piece by piece.
pub struct DispatchReader {
    log: CommitLog,
    position: PhysicalOffset,
}

impl DispatchReader {
    /// A reader that begins at `from`, or where the log begins if that is gone.
    pub fn new(log: CommitLog, from: PhysicalOffset) -> Self {
        let position = from.max(log.min_offset());
        Self { log, position }
    }

    /// Where the next record starts; the log's end when all has been read.
    pub fn position(&self) -> PhysicalOffset {
        self.position
    }

    /// Gives `f` up to `max` entries. Stops early at a record that cannot be read, having gone past it
    /// by its size or, if that makes no sense, to the next file.
    pub fn read(
        &mut self,
        max: usize,
        mut f: impl FnMut(&DispatchEntry<'_>),
    ) -> Result<usize, BadRecord> {
        let mut count = 0;
        while count < max && self.position < self.log.max_offset() {
            let from = self.position;
            let log = self.log.clone();
            let step = log.with_rest(from, |bytes| read_run(bytes, from, max - count, &mut f));
            let Some(run) = step else {
                // The file is gone: retention has overtaken this reader.
                self.position = self.position.max(log.min_offset());
                if self.position == from {
                    break;
                }
                continue;
            };
            count += run.count;
            self.position = match run.end {
                End::At(bytes) => from.plus(bytes),
                End::NextFile => log.next_segment_after(from),
            };
            if let Some(error) = run.error {
                return Err(error);
            }
            if self.position == from {
                break;
            }
        }
        Ok(count)
    }
}

struct Run {
    count: usize,
    end: End,
    error: Option<BadRecord>,
}

enum End {
    At(u64),
    NextFile,
}

/// The records at the start of `bytes`, which reach to the end of what can be read of their file.
fn read_run(
    bytes: &[u8],
    from: PhysicalOffset,
    max: usize,
    f: &mut impl FnMut(&DispatchEntry<'_>),
) -> Run {
    let mut at = 0;
    let mut count = 0;
    while count < max {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((len, magic)) = record::record_len(rest) else { break };
        if magic == BLANK_MAGIC {
            return Run { count, end: End::NextFile, error: None };
        }
        let offset = from.plus(at as u64);
        let entry = record::decode_head(rest).and_then(|head| entry(&head, rest, offset));
        match entry {
            Ok(entry) => f(&entry),
            Err(error) => {
                let believable = len > 8 && len <= rest.len();
                let end = if believable { End::At((at + len) as u64) } else { End::NextFile };
                return Run { count, end, error: Some(BadRecord { offset, error }) };
            }
        }
        at += len;
        count += 1;
    }
    Run { count, end: End::At(at as u64), error: None }
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
