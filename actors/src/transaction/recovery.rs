//! Where transactions stand at a start, found in the topics of half and op messages.
//!
//! Both are read from where the group `CID_RMQ_SYS_TRANS` has committed that it needs nothing before:
//! Java's broker goes by the same offsets, so either goes on where the other has stopped. They are read
//! here alone; from then on the ledger knows.
//!
//! A broker that was killed may have stored a message and not the note that its half message is done;
//! Java's broker may lack the notes of its last three seconds even after an orderly stop. Such a message
//! lies in the newest part of its queue, as its half message was open until then. So the last seconds of
//! the queues that open half messages are meant for, and of those of delays and of the given up, are
//! looked through for them. Whoever is asked for a transaction that consumers have seen would have
//! them see it twice.

use std::{collections::BTreeSet, sync::Arc};

use gantry_codec::{
    Record,
    record::{decode_head, sys_flag},
};
use gantry_storage::{CommitLog, ConsumeQueueView, QueueOffset};
use slog::{Logger, warn};

use super::{
    half::{Half, HalfKey},
    ledger::{CheckLimits, Ledger},
    op,
    settlement::Settlement,
};
use crate::{
    group::OffsetView,
    topic::{
        Facts,
        names::{
            HALF_TOPIC, OP_HALF_TOPIC, SCHEDULE_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC,
            WHEEL_TIMER_TOPIC,
        },
    },
};

/// The group whose offsets tell what of both topics is needed no more.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";
/// For so long before its end the log may lack notes, ms.
const NOTES_LACK_MS: i64 = 10_000;

/// What is there at a start.
pub trait Past {
    /// The half messages that have to be looked at: the first, and one past the last.
    fn halves(&self) -> (u64, u64);
    /// The same of op messages.
    fn ops(&self) -> (u64, u64);
    /// A half message.
    fn half(&self, offset: u64) -> Option<Half>;
    /// The half messages that an op message names.
    fn op(&self, offset: u64) -> Vec<u64>;
    /// Calls `f` with the newest messages of these topics, and of those of delays and of the given up.
    fn newest(&self, topics: BTreeSet<Arc<str>>, f: &mut dyn FnMut(&Record<'_>));
}

/// Where transactions stand.
pub fn recover(past: &impl Past, limits: CheckLimits, now_ms: i64) -> Settlement {
    let ((start, end), (first_op, op_end)) = (past.halves(), past.ops());
    let mut ledger = Ledger::new(limits, start, first_op);
    for offset in first_op..op_end {
        let named = past.op(offset);
        named.iter().for_each(|half| ledger.was_ended(*half));
        ledger.op_stored(offset, &named);
    }
    let mut done = ledger.take_in(end, now_ms, |offset| past.half(offset));
    for half in ended_without_note(past, &ledger) {
        ledger.ended(half);
        done.push(half);
    }
    Settlement::new(ledger, done)
}

/// Open half messages that became something else, although no note says so.
fn ended_without_note(past: &impl Past, ledger: &Ledger) -> BTreeSet<u64> {
    let mut ended = BTreeSet::new();
    if !ledger.is_empty() {
        let topics = ledger.iter().filter_map(|(_, half)| half.topic.clone()).collect();
        past.newest(topics, &mut |record| ended.extend(ended_by(ledger, record)));
    }
    ended
}

/// The open half message that this record tells to be done.
fn ended_by(ledger: &Ledger, record: &Record<'_>) -> Option<u64> {
    let is_committed = record.sys_flag & sys_flag::TRANSACTION == sys_flag::COMMIT;
    if !is_committed && record.topic != TRANS_CHECK_MAX_TIME_TOPIC {
        return None;
    }
    let prepared = if is_committed { record.prepared_transaction_offset } else { 0 };
    ledger.ended_by(prepared as u64, &HalfKey::of(record), record.physical_offset as u64)
}

/// The past in the store's files. Reading it may wait for the disk.
pub struct StoredPast<'a> {
    facts: &'a Facts,
    log: &'a CommitLog,
    log_to: &'a Logger,
    half_view: Option<Arc<ConsumeQueueView>>,
    op_view: Option<Arc<ConsumeQueueView>>,
    half_range: (u64, u64),
    op_range: (u64, u64),
}

impl<'a> StoredPast<'a> {
    /// The past as these tell it now.
    pub fn new(
        facts: &'a Facts,
        log: &'a CommitLog,
        offsets: &OffsetView,
        log_to: &'a Logger,
    ) -> Self {
        let view = |topic: &str| {
            let slot = facts.topics.get(topic)?.queue(0).cloned()?;
            facts.queues.view(&slot)
        };
        let (half_view, op_view) = (view(HALF_TOPIC), view(OP_HALF_TOPIC));
        let half_range = needed(HALF_TOPIC, half_view.as_deref(), offsets);
        let op_range = needed(OP_HALF_TOPIC, op_view.as_deref(), offsets);
        Self { facts, log, log_to, half_view, op_view, half_range, op_range }
    }

    /// Calls `f` with the messages of a queue that were stored since then, the last one first.
    fn look_back(&self, view: &ConsumeQueueView, since_ms: i64, f: &mut dyn FnMut(&Record<'_>)) {
        for offset in (view.min_offset().0..view.max_offset().0).rev() {
            let Some(entry) = view.entry(QueueOffset(offset)) else { continue };
            let head = self.log.with_rest(entry.offset, decode_head).and_then(Result::ok);
            match head {
                Some(head) if head.store_timestamp < since_ms => break,
                Some(_) => {
                    let read = |bytes: &[u8]| Record::decode(bytes).ok().map(|record| f(&record));
                    self.log.with_rest(entry.offset, read);
                }
                None => {}
            }
        }
    }
}

impl Past for StoredPast<'_> {
    fn halves(&self) -> (u64, u64) {
        self.half_range
    }

    fn ops(&self) -> (u64, u64) {
        self.op_range
    }

    fn half(&self, offset: u64) -> Option<Half> {
        let half = read_half(self.half_view.as_ref()?, self.log, offset);
        if half.is_none() {
            warn!(self.log_to, "half message cannot be read"; "offset" => offset);
        }
        half
    }

    fn op(&self, offset: u64) -> Vec<u64> {
        let view = self.op_view.as_ref();
        let named = view.and_then(|view| read_at(view, self.log, offset, op::halves));
        named.unwrap_or_default()
    }

    fn newest(&self, topics: BTreeSet<Arc<str>>, f: &mut dyn FnMut(&Record<'_>)) {
        let broker = [SCHEDULE_TOPIC, WHEEL_TIMER_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC];
        let since = self.log.last_timestamp() - NOTES_LACK_MS;
        for topic in topics.iter().map(|topic| &**topic).chain(broker) {
            let Some(topic) = self.facts.topics.get(topic) else { continue };
            for slot in &topic.queues {
                if let Some(view) = self.facts.queues.view(slot) {
                    self.look_back(&view, since, f);
                }
            }
        }
    }
}

/// What of a topic is needed. An offset from before a crash may be behind what is left.
fn needed(topic: &str, view: Option<&ConsumeQueueView>, offsets: &OffsetView) -> (u64, u64) {
    let (min, end) = view.map_or((0, 0), |view| (view.min_offset().0, view.max_offset().0));
    let committed = offsets.get(TRANSACTION_GROUP, topic, 0);
    let committed = committed.and_then(|offset| u64::try_from(offset).ok());
    (committed.unwrap_or(min).clamp(min, end.max(min)), end)
}

/// The half message at an offset of its queue.
pub fn read_half(view: &ConsumeQueueView, log: &CommitLog, offset: u64) -> Option<Half> {
    read_at(view, log, offset, Half::of)
}

fn read_at<T>(
    view: &ConsumeQueueView,
    log: &CommitLog,
    offset: u64,
    read: impl FnOnce(&Record<'_>) -> T,
) -> Option<T> {
    let entry = view.entry(QueueOffset(offset))?;
    log.with_rest(entry.offset, |bytes| Record::decode(bytes).ok().map(|record| read(&record)))?
}
