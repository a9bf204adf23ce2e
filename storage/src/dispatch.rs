//! Reading the log as what the queues need: one entry per record, in the order of the log.
//!
//! The dispatcher goes from where it stopped to the published end in steps of bounded size. A record
//! that cannot be read is reported and passed over, by its size if another follows there, else to the
//! next one that is certainly one, or with the rest of its file; it does not stop the queues.

use std::{sync::Arc, time::Duration};

use gantry_codec::{
    properties::{self, INNER_MULTI_DISPATCH, INNER_MULTI_QUEUE_OFFSET, TAGS},
    record::{self, BLANK_MAGIC, RecordError, RecordHead, sys_flag},
};
use thiserror::Error;

use crate::{
    checkpoint::DispatchMark,
    commit_log::{CommitLog, next_sound_record},
    consume_queue::{IndexEntry, entry::SLOTS_MAX},
    offset::{PhysicalOffset, QueueOffset},
};

/// Topic of the messages that wait for their delay level's time.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Queues of topics with this prefix refer to records of other topics.
pub const LIGHT_QUEUE_PREFIX: &str = "%LMQ%";

/// The delays of the levels 1, 2, …: entries of the schedule topic carry the time of delivery where
/// others have the hash of their tag (store.md 4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayLevels(Arc<[i64]>);

impl DelayLevels {
    /// These delays, in the order of their levels.
    pub fn new(delays: &[Duration]) -> Self {
        Self(delays.iter().map(|delay| delay.as_millis() as i64).collect())
    }

    /// Those of a broker that is not configured otherwise (`messageDelayLevel`), Java's or ours.
    pub fn usual() -> Self {
        const SECONDS: [i64; 18] =
            [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
        Self(SECONDS.iter().map(|seconds| seconds * 1000).collect())
    }

    /// How many there are; they count from 1.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// The delay of a level in ms; levels above the last have the last one's.
    pub fn delay_ms(&self, level: u32) -> i64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((level.max(1) as usize - 1).min(last)).copied().unwrap_or(1000)
    }
}

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
    /// Its property string.
    pub properties: &'a str,
}

impl<'a> DispatchEntry<'a> {
    /// The light queues that the record is in besides its own, and its place in each of them: queue 0 of
    /// topics whose names begin with [`LIGHT_QUEUE_PREFIX`] (store.md 4.7). An entry there is the same as
    /// in the record's own queue.
    pub fn light_queues(&self) -> impl Iterator<Item = (&'a str, QueueOffset)> + use<'a> {
        light_queues(self.topic, self.properties)
    }

    /// The record's place in that queue, be it its own or a light one; nothing if it is not in it.
    pub fn place_in(&self, topic: &str, queue_id: u32) -> Option<QueueOffset> {
        if !topic.starts_with(LIGHT_QUEUE_PREFIX) {
            let is_own = self.queue_id == queue_id && self.topic == topic;
            return is_own.then_some(self.queue_offset);
        }
        let mut light = self.light_queues();
        light.find(|(name, _)| queue_id == 0 && *name == topic).map(|(_, place)| place)
    }

    /// The entry's slot in its queue.
    pub fn index_entry(&self, levels: &DelayLevels) -> IndexEntry {
        let tags_code = if self.topic == SCHEDULE_TOPIC {
            self.store_timestamp.saturating_add(levels.delay_ms(self.queue_id.saturating_add(1)))
        } else {
            self.tags_code
        };
        IndexEntry { offset: self.offset, size: self.size, tags_code }
    }

    /// Whether its queue has an entry for it: half messages and rollbacks are in no queue.
    pub fn is_indexed(&self) -> bool {
        matches!(self.sys_flag & sys_flag::TRANSACTION, 0 | sys_flag::COMMIT)
    }
}

/// The light queues that a record of `topic` with these properties is in, as the dispatcher makes them.
pub(crate) fn light_queues<'a>(
    topic: &str,
    properties: &'a str,
) -> impl Iterator<Item = (&'a str, QueueOffset)> + use<'a> {
    let value = |name| properties::get(properties, name);
    let is_served = !is_on_its_way(topic);
    let names = value(INNER_MULTI_DISPATCH).filter(|_| is_served);
    let both = names.and_then(|names| Some((names, value(INNER_MULTI_QUEUE_OFFSET)?)));
    both.into_iter().flat_map(|(names, places)| {
        names.split(',').zip(places.split(',')).enumerate().filter_map(
            move |(at, (name, place))| {
                // Whoever is named twice has one entry.
                if names.split(',').take(at).any(|before| before == name) {
                    return None;
                }
                let place = place.parse().ok().filter(|place| *place < SLOTS_MAX)?;
                name.starts_with(LIGHT_QUEUE_PREFIX).then_some((name, QueueOffset(place)))
            },
        )
    })
}

/// Whether messages of this topic are only on their way to another one.
fn is_on_its_way(topic: &str) -> bool {
    topic.starts_with("%RETRY%") || topic.starts_with("rmq_sys_") || topic == SCHEDULE_TOPIC
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

    /// What has been read, to be written down as dispatched.
    pub fn mark(&self) -> DispatchMark {
        DispatchMark { end: self.0.position, last_record: self.0.last_record }
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
    /// Where the last record that could be read starts.
    last_record: Option<PhysicalOffset>,
}

impl LogReader {
    /// A reader that begins at `from`, or where the log begins if that is gone.
    pub(crate) fn new(log: CommitLog, from: PhysicalOffset) -> Self {
        let position = from.max(log.min_offset());
        Self { log, position, last_record: None }
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
            self.last_record = run.last_record.or(self.last_record);
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
    /// Where the last record that could be read starts.
    last_record: Option<PhysicalOffset>,
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
    let mut run = Run { count: 0, last_record: None, end: End::At(from), bad: None };
    let (mut offset, mut rest) = (from, bytes);
    while run.count < max
        && offset < end
        && let Some((len, magic)) = record::record_len(rest)
    {
        if magic == BLANK_MAGIC {
            run.end = End::NextFile;
            return run;
        }
        let read = record::decode_head(rest).and_then(|head| f(&head, rest, offset));
        let behind = match read {
            Ok(()) => {
                run.last_record = Some(offset);
                run.count += 1;
                rest.get(len..).map(|behind| (offset.plus(len as u64), behind))
            }
            Err(error) => {
                run.bad = Some(BadRecord { offset, error });
                behind_bad_record(rest, offset, len)
            }
        };
        let Some((next, behind)) = behind else {
            run.end = End::NextFile;
            return run;
        };
        (offset, rest) = (next, behind);
        run.end = End::At(offset);
        if run.bad.is_some() {
            break;
        }
    }
    run
}

/// Where to go on behind a record that cannot be read: behind its own size if something follows there,
/// else at the next one that is certainly one; `None` if there is none in this file.
fn behind_bad_record(
    bytes: &[u8],
    offset: PhysicalOffset,
    len: usize,
) -> Option<(PhysicalOffset, &[u8])> {
    let by_size = bytes.get(len..).filter(|behind| {
        let is_blank = record::record_len(behind).is_some_and(|(_, magic)| magic == BLANK_MAGIC);
        len > 0 && (behind.is_empty() || is_blank || record::decode_head(behind).is_ok())
    });
    match by_size {
        Some(behind) => Some((offset.plus(len as u64), behind)),
        None => next_sound_record(bytes, offset),
    }
}

fn entry<'a>(
    head: &RecordHead,
    bytes: &'a [u8],
    offset: PhysicalOffset,
) -> Result<DispatchEntry<'a>, RecordError> {
    let text = head.properties(bytes)?;
    let tag = properties::get(text, TAGS);
    let entry = DispatchEntry {
        topic: head.topic(bytes)?,
        queue_id: head.queue_id as u32,
        queue_offset: QueueOffset(head.queue_offset as u64),
        offset,
        size: head.total_size,
        tags_code: tag.map_or(0, |tag| i64::from(properties::tag_hash(tag))),
        sys_flag: head.sys_flag,
        store_timestamp: head.store_timestamp,
        properties: text,
    };
    let has_place = head.queue_id >= 0 && entry.queue_offset.0 < SLOTS_MAX;
    if entry.is_indexed() && !has_place {
        return Err(RecordError::Place { queue: head.queue_id, offset: head.queue_offset });
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_queues_are_named_once_and_have_a_place() {
        let found = |topic: &str, names: &str, places: &str| {
            let mut text = String::new();
            properties::append(&mut text, INNER_MULTI_DISPATCH, names);
            properties::append(&mut text, INNER_MULTI_QUEUE_OFFSET, places);
            light_queues(topic, &text)
                .map(|(name, at)| format!("{name} {}", at.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(found("t", "%LMQ%a,x,%LMQ%b", "5,,7"), ["%LMQ%a 5", "%LMQ%b 7"]);
        assert_eq!(found("t", "%LMQ%a,%LMQ%b,%LMQ%a", "5,7,5"), ["%LMQ%a 5", "%LMQ%b 7"]);
        assert_eq!(found("t", "%LMQ%a,%LMQ%b", "x"), [""; 0]);
        for topic in ["%RETRY%g", "rmq_sys_x", SCHEDULE_TOPIC] {
            assert_eq!(found(topic, "%LMQ%a", "5"), [""; 0], "{topic}");
        }
    }

    #[test]
    fn levels_beyond_the_last_have_its_delay() {
        let levels = DelayLevels::new(&[1, 5, 60].map(Duration::from_secs));
        let delays: Vec<i64> = (0..6).map(|level| levels.delay_ms(level)).collect();
        assert_eq!(delays, [1000, 1000, 5000, 60_000, 60_000, 60_000]);
        let usual = DelayLevels::usual();
        assert_eq!((usual.count(), usual.delay_ms(3), usual.delay_ms(19)), (18, 10_000, 7_200_000));
    }
}
