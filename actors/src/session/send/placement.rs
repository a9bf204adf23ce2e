//! Where a send is stored: in the queue that it names, or first in a topic of the broker's, where it
//! waits until something brings it to its real queue.

use std::{borrow::Cow, sync::Arc};

use gantry_codec::{IdText, properties as names, record::sys_flag};

use super::{
    super::{Session, properties::Scan},
    stored::with_properties,
};
use crate::{
    error_to_wire::SendRefusal,
    timer::Timing,
    topic::{
        QueueSlot, TopicView,
        names::{HALF_TOPIC, SCHEDULE_TOPIC},
    },
};

/// A queue for a send.
pub(super) struct Placement {
    /// The queue that it is stored in.
    pub slot: Arc<QueueSlot>,
    /// The queue that it is meant for, if that is another one for now.
    pub real: Option<Arc<QueueSlot>>,
    /// Whether it is a half message.
    pub half: bool,
    /// When it is due, if it is timed.
    pub timing: Option<Timing>,
}

impl Placement {
    /// The queue that the sender is told.
    pub fn asked_queue(&self) -> u32 {
        self.meant_for().queue_id
    }

    /// The queue that consumers will read it from.
    pub fn meant_for(&self) -> &Arc<QueueSlot> {
        self.real.as_ref().unwrap_or(&self.slot)
    }

    /// The message's flags as they are stored: a half message is kept like any other, so that it is in
    /// its queue's index.
    pub fn sys_flag(&self, given: i32) -> i32 {
        if self.half { given & !sys_flag::TRANSACTION } else { given }
    }

    /// `given` with what the message needs to find its way on; nothing if it is where it belongs.
    pub fn detour_properties(
        &self,
        given: &str,
        scan: &Scan,
        fresh_key: impl FnOnce() -> IdText,
    ) -> Option<String> {
        let real = self.real.as_ref()?;
        let (mut queue, mut out) = (itoa::Buffer::new(), itoa::Buffer::new());
        let way =
            [(names::REAL_TOPIC, &*real.topic), (names::REAL_QID, queue.format(real.queue_id))];
        let [topic, queue] = way;
        if let Some(timing) = self.timing {
            let out = (names::TIMER_OUT_MS, out.format(timing.out_ms));
            return Some(with_properties(given, &[out, topic, queue]));
        }
        if !self.half {
            return Some(with_properties(&without_times(given), &way));
        }
        let known = scan.unique_key.clone().and_then(|range| given.get(range));
        Some(match known {
            Some(key) => with_properties(given, &[(names::TRANSACTION_ID, key), topic, queue]),
            None => {
                let key = fresh_key();
                let key = key.as_str();
                let id = [(names::UNIQ_KEY, key), (names::TRANSACTION_ID, key)];
                with_properties(given, &[id[0], id[1], topic, queue])
            }
        })
    }
}

/// The properties of a message with a delay level, which counts for more than the times that it asks for.
fn without_times(given: &str) -> Cow<'_, str> {
    const TIMES: [&str; 3] =
        [names::TIMER_DELIVER_MS, names::TIMER_DELAY_SEC, names::TIMER_DELAY_MS];
    if !names::iter(given).any(|(name, _)| TIMES.contains(&name)) {
        return given.into();
    }
    let mut text = String::with_capacity(given.len());
    for (name, value) in names::iter(given).filter(|(name, _)| !TIMES.contains(name)) {
        names::append(&mut text, name, value);
    }
    text.into()
}

impl Session {
    /// Where a message for `queue_id` of `view` is stored; below 0 means any queue.
    pub(super) fn place(
        &self,
        view: &TopicView,
        queue_id: i32,
        scan: &Scan,
        properties: &str,
    ) -> Result<Placement, SendRefusal> {
        let slot = self.choose_queue(view, queue_id)?;
        let placed = |slot, real, timing| Placement { slot, real, half: false, timing };
        if scan.half {
            let half = Placement { half: true, ..placed(self.half_queue()?, Some(slot), None) };
            return Ok(half);
        }
        let timing = match scan.delay_level {
            0 if scan.timed => self.timing(properties)?,
            0 => None,
            level => return Ok(placed(self.schedule_queue(level)?, Some(slot), None)),
        };
        Ok(match timing {
            Some(_) => placed(self.timer_queue()?, Some(slot), timing),
            None => placed(slot, None, None),
        })
    }

    fn half_queue(&self) -> Result<Arc<QueueSlot>, SendRefusal> {
        let view = self.shared.topics.get(HALF_TOPIC);
        let slot = view.and_then(|view| view.queue(0).cloned());
        slot.ok_or_else(|| SendRefusal::NoQueue(HALF_TOPIC.into()))
    }

    pub(in crate::session) fn choose_queue(
        &self,
        view: &TopicView,
        queue_id: i32,
    ) -> Result<Arc<QueueSlot>, SendRefusal> {
        let id = match u32::try_from(queue_id) {
            Ok(id) => id,
            Err(_) => fastrand::u32(0..view.config.write_queue_nums.max(1) as u32),
        };
        view.queue(id).cloned().ok_or_else(|| SendRefusal::NoQueue(view.config.topic_name.clone()))
    }

    pub(in crate::session) fn schedule_queue(
        &self,
        level: u32,
    ) -> Result<Arc<QueueSlot>, SendRefusal> {
        let level = level.min(self.shared.config.delay_levels).max(1);
        self.shared
            .topics
            .get(SCHEDULE_TOPIC)
            .and_then(|view| view.queue(level - 1).cloned())
            .ok_or_else(|| SendRefusal::NoQueue(SCHEDULE_TOPIC.into()))
    }
}
