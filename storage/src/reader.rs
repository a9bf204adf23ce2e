//! Reading a queue for a consumer: which messages a pull gets, and where the next one begins.
//!
//! | the offset asked for | status | next begins at |
//! |---|---|---|
//! | any, of a queue that was never written | `NO_MESSAGE_IN_QUEUE` | 0 |
//! | before the minimum | `OFFSET_TOO_SMALL` | the minimum |
//! | the end | `OFFSET_OVERFLOW_ONE` | the end |
//! | behind the end | `OFFSET_OVERFLOW_BADLY` | the end |
//! | in an index file that cannot be read | `OFFSET_FOUND_NULL` | the next index file |
//! | of messages whose log file is gone | `MESSAGE_WAS_REMOVING` | behind those looked at |
//! | of a damaged message | `MESSAGE_DAMAGED` | behind that one |
//! | of messages that the filter refuses | `NO_MATCHED_MESSAGE` | behind those looked at |
//! | else | `FOUND` | behind those looked at |
//!
//! Conditions, their order and the limits are Java's (wire.md 2.4, store.md 3.7). Nothing is copied:
//! adjacent records come as one slice of the mapped log. Works on the published views alone, on any
//! thread.
//!
//! What was received in this life of the process was checked then; a record that may have been on the
//! disk meanwhile is checked against its CRC before it is given to anybody. One that does not match ends
//! the answer before it, and is told of, with its place, to who asks for it first: damage is an error
//! and never data. [`is_cold`] says which reads are of that kind before anything is read, as they may
//! wait for the disk.

use gantry_codec::record;
use thiserror::Error;

use crate::{
    commit_log::{Checked, CommitLog, check},
    consume_queue::{ConsumeQueueView, IndexEntry},
    offset::{PhysicalOffset, QueueOffset},
    segment::SegmentSlice,
};

/// What one pull gets at most. One message is always given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullLimits {
    /// Messages that the consumer wants.
    pub messages_max: u32,
    /// Messages and bytes while they are likely in memory.
    pub hot: (u32, u64),
    /// Messages and bytes when they have to come from the disk.
    pub cold: (u32, u64),
    /// Bytes behind the log's end that count as likely in memory.
    pub hot_bytes: u64,
    /// Where the log ended when the process began: what lies before was not received by it.
    pub started_at: PhysicalOffset,
}

/// So far behind its end, a queue's own entries may have to come from the disk.
const HOT_ENTRIES: u64 = 100_000;

/// Entries that a filtered read looks at, unless more messages are wanted.
const SCAN_ENTRIES_MAX: u64 = 800;

/// How a read came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// There are messages.
    Found,
    /// The first message is damaged; the outcome says where.
    MessageDamaged,
    /// Nothing within reach passed the filter.
    NoMatchedMessage,
    /// The messages' log file is gone.
    MessageWasRemoving,
    /// The queue's index file cannot be read.
    OffsetFoundNull,
    /// Behind the end.
    OffsetOverflowBadly,
    /// Exactly at the end.
    OffsetOverflowOne,
    /// Before the beginning.
    OffsetTooSmall,
    /// The queue was never written.
    NoMessageInQueue,
}

impl PullStatus {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::MessageDamaged => "MESSAGE_DAMAGED",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::OffsetFoundNull => "OFFSET_FOUND_NULL",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        }
    }
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct PullOutcome {
    /// How it came out.
    pub status: PullStatus,
    /// Where the next read begins.
    pub next_begin_offset: QueueOffset,
    /// The queue's first offset.
    pub min_offset: QueueOffset,
    /// One past the queue's last offset.
    pub max_offset: QueueOffset,
    /// The messages, back to back; adjacent ones in one slice.
    pub slices: Vec<SegmentSlice>,
    /// How many they are.
    pub count: u32,
    /// What is wrong with the first message, if that is the status.
    pub damage: Option<Damage>,
    /// A message whose tag is not known, as the unit that has it cannot be read: told once per queue.
    pub unknown_tag: Option<QueueOffset>,
}

/// A message that cannot be given to anybody.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// Its record is there and not whole.
    #[error("the record at {at} of the log is damaged: {why}")]
    Record {
        /// Where it starts.
        at: PhysicalOffset,
        /// What is wrong with it.
        why: String,
    },
    /// Its record could not be found among damage when the queue was built.
    #[error("its record was lost in damage of the log")]
    Lost,
}

impl PullOutcome {
    /// Of a queue that was never written.
    pub fn never_written() -> Self {
        Self::nothing(PullStatus::NoMessageInQueue, QueueOffset(0), QueueOffset(0), QueueOffset(0))
    }

    fn nothing(
        status: PullStatus,
        next_begin_offset: QueueOffset,
        min_offset: QueueOffset,
        max_offset: QueueOffset,
    ) -> Self {
        let slices = Vec::new();
        let (count, damage, unknown_tag) = (0, None, None);
        Self {
            status,
            next_begin_offset,
            min_offset,
            max_offset,
            slices,
            count,
            damage,
            unknown_tag,
        }
    }

    /// Bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// The messages one by one: the place in the log and the bytes of each.
    pub fn records(&self) -> impl Iterator<Item = (PhysicalOffset, &[u8])> {
        self.slices.iter().flat_map(|slice| {
            let mut rest: &[u8] = slice;
            std::iter::from_fn(move || {
                let offset = slice.offset() + (slice.len() - rest.len()) as u64;
                let (len, _) = record::record_len(rest)?;
                let (record, behind) = rest.split_at_checked(len)?;
                rest = behind;
                Some((PhysicalOffset(offset), record))
            })
        })
    }
}

/// Whether an entry may be given to the consumer. It is asked with the real code of the entry, and not
/// at all if that is not known: the message passes, as consumers filter once more.
pub type EntryFilter<'a> = &'a dyn Fn(&IndexEntry) -> bool;

/// Whether a record may be given to the consumer, by what the record itself says.
pub type RecordFilter<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Reads from `offset`; `None` as filter lets everything pass.
pub fn pull(
    view: &ConsumeQueueView,
    log: &CommitLog,
    offset: QueueOffset,
    limits: &PullLimits,
    filter: Option<EntryFilter<'_>>,
) -> PullOutcome {
    pull_by(view, log, offset, limits, Filters { entries: filter, records: None })
}

/// Reads from `offset` what passes a filter that has to see the whole record, in place.
pub fn pull_records(
    view: &ConsumeQueueView,
    log: &CommitLog,
    offset: QueueOffset,
    limits: &PullLimits,
    filter: RecordFilter<'_>,
) -> PullOutcome {
    pull_by(view, log, offset, limits, Filters { entries: None, records: Some(filter) })
}

/// What a read lets pass: what both let pass that are there.
#[derive(Clone, Copy, Default)]
pub struct Filters<'a> {
    /// By the index entry.
    pub entries: Option<EntryFilter<'a>>,
    /// By the record; asked in the order of the queue, once for each record that the entries' filter
    /// lets pass and that is whole.
    pub records: Option<RecordFilter<'a>>,
}

/// Reads from `offset` what passes these filters.
pub fn pull_by(
    view: &ConsumeQueueView,
    log: &CommitLog,
    offset: QueueOffset,
    limits: &PullLimits,
    filters: Filters<'_>,
) -> PullOutcome {
    // The minimum first: it never overtakes a maximum that is loaded later.
    let (min, max) = (view.min_offset(), view.max_offset());
    let nothing = |status, next| PullOutcome::nothing(status, next, min, max);
    if max.0 == 0 {
        nothing(PullStatus::NoMessageInQueue, QueueOffset(0))
    } else if offset < min {
        nothing(PullStatus::OffsetTooSmall, min)
    } else if offset == max {
        nothing(PullStatus::OffsetOverflowOne, offset)
    } else if offset > max {
        nothing(PullStatus::OffsetOverflowBadly, max)
    } else {
        let outcome = nothing(PullStatus::NoMatchedMessage, offset);
        Pull {
            log,
            limits,
            filters,
            log_end: log.max_offset(),
            bytes: 0,
            gone_before: None,
            damage: None,
            outcome,
        }
        .read(view)
    }
}

/// A read under way.
struct Pull<'a> {
    log: &'a CommitLog,
    limits: &'a PullLimits,
    filters: Filters<'a>,
    log_end: PhysicalOffset,
    bytes: u64,
    /// Records before this are in a log file that is gone.
    gone_before: Option<PhysicalOffset>,
    /// What the read has run into.
    damage: Option<Damage>,
    outcome: PullOutcome,
}

impl Pull<'_> {
    fn read(mut self, view: &ConsumeQueueView) -> PullOutcome {
        let begin = self.outcome.next_begin_offset;
        let stop = begin.plus(SCAN_ENTRIES_MAX.max(self.limits.messages_max.into()));
        let stop = stop.min(self.outcome.max_offset);
        let mut next = begin;
        while next < stop {
            let (from, mut is_full) = (next, false);
            next = view.each(from, stop.since(from), |at, entry| {
                is_full = self.is_full(&entry);
                !is_full && self.take(view, at, &entry)
            });
            if self.damage.is_none() && view.is_lost(next) {
                self.damage = Some(Damage::Lost);
            }
            if is_full || self.damage.is_some() {
                break;
            }
            if next == from {
                if next == begin {
                    self.outcome.status = PullStatus::OffsetFoundNull;
                    next = view.next_file_after(next).min(self.outcome.max_offset);
                }
                break;
            }
        }
        // Who was given something, or led past something, meets the damage when he asks again.
        if next == begin && self.damage.is_some() {
            self.outcome.status = PullStatus::MessageDamaged;
            self.outcome.damage = self.damage;
            next = begin.plus(1);
        }
        self.outcome.next_begin_offset = next;
        self.outcome
    }

    fn is_full(&self, entry: &IndexEntry) -> bool {
        let (limits, count) = (self.limits, self.outcome.count);
        if count == 0 {
            return false;
        }
        let is_hot = self.log_end.since(entry.offset) <= limits.hot_bytes;
        let (count_max, bytes_max) = if is_hot { limits.hot } else { limits.cold };
        count >= limits.messages_max.min(count_max)
            || self.bytes.saturating_add(entry.size.into()) > bytes_max
    }

    /// Takes the entry's message, if the filter lets it pass and its log file is still there; false if
    /// it is damaged.
    fn take(&mut self, view: &ConsumeQueueView, at: QueueOffset, entry: &IndexEntry) -> bool {
        if self.gone_before.is_some_and(|gone| entry.offset < gone) {
            return true;
        }
        let status = if self.refuses(view, at, entry) {
            PullStatus::NoMatchedMessage
        } else if self.is_damaged(entry) {
            return false;
        } else if self.refuses_record(entry) {
            PullStatus::NoMatchedMessage
        } else if self.push(entry) {
            self.bytes += u64::from(entry.size);
            self.outcome.count += 1;
            self.gone_before = None;
            PullStatus::Found
        } else {
            self.gone_before = Some(self.log.next_segment_after(entry.offset));
            PullStatus::MessageWasRemoving
        };
        if self.outcome.count == 0 || status == PullStatus::Found {
            self.outcome.status = status;
        }
        true
    }

    /// Whether the filter does not let the entry pass.
    #[inline]
    fn refuses(&mut self, view: &ConsumeQueueView, at: QueueOffset, entry: &IndexEntry) -> bool {
        let Some(wants) = self.filters.entries else { return false };
        match view.tags_code(entry) {
            Some(tags_code) => !wants(&IndexEntry { tags_code, ..*entry }),
            None => {
                if view.tells_unknown_tag() {
                    self.outcome.unknown_tag = Some(at);
                }
                false
            }
        }
    }

    /// Whether the filter does not let the record pass. One that is gone passes, to be found missing.
    fn refuses_record(&self, entry: &IndexEntry) -> bool {
        let Some(wants) = self.filters.records else { return false };
        let size = entry.size as usize;
        let wanted = self.log.with_rest(entry.offset, |rest| rest.get(..size).is_none_or(wants));
        wanted == Some(false)
    }

    /// Whether the entry's record was not received by this process and is not whole.
    fn is_damaged(&mut self, entry: &IndexEntry) -> bool {
        if is_hot(self.log_end, entry.offset, self.limits) {
            return false;
        }
        let damage = self.log.with_rest(entry.offset, |bytes| record_damage(bytes, entry.size));
        let Some(why) = damage.flatten() else { return false };
        self.damage = Some(Damage::Record { at: entry.offset, why });
        true
    }

    fn push(&mut self, entry: &IndexEntry) -> bool {
        let slices = &mut self.outcome.slices;
        if let Some(last) = slices.last_mut()
            && last.offset() + last.len() as u64 == entry.offset.0
            && last.extend(entry.size.into())
        {
            return true;
        }
        let slice = self.log.read(entry.offset, entry.size.into());
        slices.extend(slice);
        slices.last().is_some_and(|last| last.offset() == entry.offset.0)
    }
}

/// What is wrong with the record of `size` bytes at the start of `bytes`.
fn record_damage(bytes: &[u8], size: u32) -> Option<String> {
    match check(bytes, true) {
        Checked::Record { len, .. } if len == u64::from(size) => None,
        Checked::Record { len, .. } => Some(format!("it has {len} bytes, its queue says {size}")),
        Checked::Broken(why) => Some(why),
        Checked::Blank | Checked::Nothing => Some("no record starts there".into()),
    }
}

/// Whether a record was received by this process, not too long ago.
fn is_hot(log_end: PhysicalOffset, offset: PhysicalOffset, limits: &PullLimits) -> bool {
    offset >= limits.started_at && log_end.since(offset) <= limits.hot_bytes
}

/// Whether a read from `offset` may have to wait for the disk.
pub fn is_cold(
    view: &ConsumeQueueView,
    log: &CommitLog,
    offset: QueueOffset,
    limits: &PullLimits,
) -> bool {
    let (min, max) = (view.min_offset(), view.max_offset());
    if !(min..max).contains(&offset) {
        return false;
    }
    max.since(offset) > HOT_ENTRIES
        || view.entry(offset).is_none_or(|e| !is_hot(log.max_offset(), e.offset, limits))
}

/// Which of two neighbours a time between them stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first message at or after the time; behind the last one if there is none.
    Lower,
    /// The last message at or before the time; the first one if there is none.
    Upper,
}

/// The offset of the message that was stored around `timestamp` (ms), within the queue's range.
pub fn offset_by_time(
    view: &ConsumeQueueView,
    log: &CommitLog,
    timestamp: i64,
    boundary: Boundary,
) -> QueueOffset {
    let (min, max) = (view.min_offset(), view.max_offset());
    // A message that is gone from the log is older than all that are there.
    let is_before = |offset: u64| {
        let stored = view.entry(QueueOffset(offset)).and_then(|e| log.store_timestamp(e.offset));
        match boundary {
            Boundary::Lower => stored.is_none_or(|stored| stored < timestamp),
            Boundary::Upper => stored.is_none_or(|stored| stored <= timestamp),
        }
    };
    let (mut low, mut high) = (min.0, max.0);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    match boundary {
        Boundary::Lower => QueueOffset(low),
        Boundary::Upper => QueueOffset(low.saturating_sub(1).max(min.0)),
    }
}
