//! Reading a queue for a consumer: which messages a pull gets, and where the next one begins.
//!
//! The outcomes and their order are Java's (wire.md 2.4, store.md 3.7). Nothing is copied: adjacent
//! records come as one slice of the mapped log.

use crate::{
    commit_log::CommitLog,
    consume_queue::{ConsumeQueueView, IndexEntry},
    offset::{PhysicalOffset, QueueOffset},
    segment::SegmentSlice,
};

/// What one pull gets at most.
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
}

/// Entries that a filtered read looks at, unless more messages are wanted.
const SCAN_ENTRIES_MAX: u64 = 800;

/// How a read came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// There are messages.
    Found,
    /// Nothing within reach passed the filter.
    NoMatchedMessage,
    /// The messages' log file is gone.
    MessageWasRemoving,
    /// The queue's index has no file there.
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
        Self { status, next_begin_offset, min_offset, max_offset, slices, count: 0 }
    }

    /// Bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }
}

/// Whether an entry may be given to the consumer.
pub type EntryFilter<'a> = &'a dyn Fn(&IndexEntry) -> bool;

/// Reads from `offset`; `None` as filter lets everything pass.
pub fn pull(
    view: &ConsumeQueueView,
    log: &CommitLog,
    offset: QueueOffset,
    limits: &PullLimits,
    filter: Option<EntryFilter<'_>>,
) -> PullOutcome {
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
        collect(view, log, offset, limits, filter, nothing(PullStatus::NoMatchedMessage, offset))
    }
}

fn collect(
    view: &ConsumeQueueView,
    log: &CommitLog,
    offset: QueueOffset,
    limits: &PullLimits,
    filter: Option<EntryFilter<'_>>,
    mut outcome: PullOutcome,
) -> PullOutcome {
    let end = log.max_offset();
    let scan = SCAN_ENTRIES_MAX.max(u64::from(limits.messages_max));
    let mut bytes = 0;
    let mut removed_until: Option<PhysicalOffset> = None;
    let mut next = offset;
    let stop = offset.plus(scan).min(outcome.max_offset);
    while next < stop {
        let from = next;
        let mut full = false;
        next = view.each(from, stop.0 - from.0, |_, entry| {
            if removed_until.is_some_and(|until| entry.offset < until) {
                return true;
            }
            if !filter.is_none_or(|wanted| wanted(&entry)) {
                return true;
            }
            if is_full(&outcome, bytes, &entry, end, limits) {
                full = true;
                return false;
            }
            if take(&mut outcome, log, &entry) {
                bytes += u64::from(entry.size);
            } else if outcome.count == 0 {
                outcome.status = PullStatus::MessageWasRemoving;
                removed_until = Some(log.min_offset().max(entry.end()));
            }
            true
        });
        if full {
            next = QueueOffset(next.0 - 1);
            break;
        }
        if next == from {
            if outcome.count == 0 {
                outcome.status = PullStatus::OffsetFoundNull;
            }
            break;
        }
        if outcome.count >= limits.messages_max {
            break;
        }
    }
    if outcome.count > 0 {
        outcome.status = PullStatus::Found;
    }
    outcome.next_begin_offset = next;
    outcome
}

/// One message is always given; then the limits hold.
fn is_full(
    outcome: &PullOutcome,
    bytes: u64,
    entry: &IndexEntry,
    end: PhysicalOffset,
    limits: &PullLimits,
) -> bool {
    if outcome.count == 0 {
        return false;
    }
    let is_hot = end.0.saturating_sub(entry.offset.0) <= limits.hot_bytes;
    let (count_max, bytes_max) = if is_hot { limits.hot } else { limits.cold };
    outcome.count >= limits.messages_max
        || outcome.count >= count_max
        || bytes + u64::from(entry.size) > bytes_max
}

fn take(outcome: &mut PullOutcome, log: &CommitLog, entry: &IndexEntry) -> bool {
    if let Some(last) = outcome.slices.last_mut()
        && last.offset() + last.len() as u64 == entry.offset.0
        && last.extend(u64::from(entry.size))
    {
        outcome.count += 1;
        return true;
    }
    let Some(slice) = log.read(entry.offset, u64::from(entry.size)) else { return false };
    outcome.slices.push(slice);
    outcome.count += 1;
    true
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
