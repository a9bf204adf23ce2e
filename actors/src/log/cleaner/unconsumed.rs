//! What no file of the log may go without: messages that a group has not consumed yet.
//!
//! A group is known by the offsets that it has committed. In a queue of a topic that it consumes, it
//! needs everything from its offset on; where it has none, the whole queue, as it may just not have got
//! there. Groups that keep their offsets themselves (broadcasting) are not known here. Delayed and
//! timed messages are needed until they are due, whoever waits for them.

use std::{collections::HashMap, fmt, sync::Arc};

use gantry_storage::{
    ConsumeQueueView, IndexEntry, PhysicalOffset, QueueOffset, retention::topic::place_of,
};

use crate::{
    group::OffsetView,
    topic::{
        Queues, TopicRetention, TopicTable, TopicView,
        names::{SCHEDULE_TOPIC, WHEEL_TIMER_TOPIC},
    },
};

/// The oldest message that somebody needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconsumed {
    /// Its place in the log.
    pub place: PhysicalOffset,
    /// Its topic.
    pub topic: Arc<str>,
    /// Its queue.
    pub queue_id: u32,
    /// The group that needs it; none if it is a delayed message.
    pub group: Option<Arc<str>>,
    /// The offset from which on it needs the queue.
    pub offset: u64,
}

impl fmt::Display for Unconsumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, queue_id, offset, .. } = self;
        match &self.group {
            Some(group) => write!(
                f,
                "group {group} has not consumed topic {topic} queue {queue_id} from offset {offset} on"
            ),
            None => write!(f, "delayed messages are not due in {topic} queue {queue_id}"),
        }
    }
}

/// How far a group is in a topic.
struct Progress {
    group: Arc<str>,
    /// Its offsets by queue; none in queues where it has not begun.
    offsets: Vec<(i32, i64)>,
}

impl Progress {
    /// The offset from which on it needs the queue.
    fn needs(&self, queue_id: u32) -> u64 {
        let offset = self.offsets.iter().find(|(queue, _)| *queue as u32 == queue_id);
        offset.map_or(0, |(_, offset)| (*offset).max(0) as u64)
    }
}

/// What groups have consumed of the topics that keep what they have not.
pub struct Consumption {
    /// By topic the groups, each with its offsets by queue.
    topics: HashMap<Arc<str>, Vec<Progress>>,
    /// Whether every topic is one of those.
    all: bool,
}

impl Consumption {
    /// As the offsets are now; of `all` topics, or of those that say so themselves.
    pub fn now(topics: &TopicTable, offsets: &OffsetView, all: bool) -> Self {
        let (table, mut consumed) = (topics.all(), HashMap::<Arc<str>, Vec<Progress>>::new());
        let keeps = |view: &Arc<TopicView>| {
            all || TopicRetention::of(&view.config.attributes).keeps_unconsumed
        };
        // Commonly no topic does, and then the offsets need not be looked through.
        if !all && !table.values().any(keeps) {
            return Self { topics: consumed, all };
        }
        offsets.for_each(|group, topic, offsets| {
            if table.get(topic).is_some_and(keeps) {
                let progress = Progress { group: group.into(), offsets };
                consumed.entry(topic.into()).or_default().push(progress);
            }
        });
        Self { topics: consumed, all }
    }

    /// The offset from which on some group needs the queue; `None` if no group is known that does.
    pub fn needed_from(&self, topic: &str, queue_id: u32) -> Option<u64> {
        let groups = self.topics.get(topic)?;
        groups.iter().map(|progress| progress.needs(queue_id)).min()
    }

    /// The oldest message that somebody needs; of those that are timed, the oldest one lies at `timed`.
    pub fn oldest(
        &self,
        topics: &TopicTable,
        queues: &Queues,
        timed: PhysicalOffset,
        now_ms: i64,
    ) -> Option<Unconsumed> {
        let consumed = self.topics.iter().filter_map(|(topic, groups)| {
            let view = topics.get(topic)?;
            let needed = groups.iter().map(|progress| needed_by(progress, &view, queues));
            needed.flatten().min_by_key(|needed| needed.place)
        });
        let schedule = topics.get(SCHEDULE_TOPIC).filter(|_| self.all);
        let delayed = schedule.as_ref().and_then(|view| not_due(view, queues, now_ms));
        let timed = (self.all && timed < PhysicalOffset(u64::MAX)).then(|| Unconsumed {
            place: timed,
            topic: WHEEL_TIMER_TOPIC.into(),
            queue_id: 0,
            group: None,
            offset: 0,
        });
        consumed.chain(delayed).chain(timed).min_by_key(|needed| needed.place)
    }
}

/// The oldest message of a topic that a group has not consumed.
fn needed_by(progress: &Progress, view: &TopicView, queues: &Queues) -> Option<Unconsumed> {
    let needed = view.queues.iter().filter_map(|slot| {
        let offset = progress.needs(slot.queue_id);
        // Most queues are consumed to their ends: nothing has to be opened to see that.
        let end = slot.range().map_or(u64::MAX, |(_, max)| slot.next_offset().unwrap_or(max));
        if offset >= end {
            return None;
        }
        let place = queues.view(slot).map(|index| needed_place(&index, QueueOffset(offset)));
        let place = place.unwrap_or_default();
        let (topic, group) = (slot.topic.clone(), Some(progress.group.clone()));
        Some(Unconsumed { place, topic, queue_id: slot.queue_id, group, offset })
    });
    needed.min_by_key(|needed| needed.place)
}

/// Where the message at `offset` lies, or after what it lies if the index has not got there yet.
fn needed_place(index: &ConsumeQueueView, offset: QueueOffset) -> PhysicalOffset {
    place_of(index, offset).unwrap_or_else(|| {
        let last = index.max_offset().0.checked_sub(1).and_then(|at| index.entry(QueueOffset(at)));
        last.map_or(PhysicalOffset(0), |last| last.end())
    })
}

/// The oldest delayed message that is not due.
fn not_due(view: &TopicView, queues: &Queues, now_ms: i64) -> Option<Unconsumed> {
    let levels = view.queues.iter().filter_map(|slot| {
        let index = queues.view(slot)?;
        let offset = not_due_from(&index, now_ms);
        let (topic, queue_id) = (slot.topic.clone(), slot.queue_id);
        let place = place_of(&index, offset)?;
        Some(Unconsumed { place, topic, queue_id, group: None, offset: offset.0 })
    });
    levels.min_by_key(|level| level.place)
}

/// The first message of a delay level that is not due: a level's messages are due in their order.
fn not_due_from(index: &ConsumeQueueView, now_ms: i64) -> QueueOffset {
    let is_due = |entry: Option<IndexEntry>| entry.is_none_or(|entry| entry.tags_code <= now_ms);
    let (mut low, mut high) = (index.min_offset().0, index.max_offset().0);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_due(index.entry(QueueOffset(middle))) { low = middle + 1 } else { high = middle }
    }
    QueueOffset(low)
}
