//! Where a send is stored: in the queue that it names, or first in a topic of the broker's, where it
//! waits until something brings it to its real queue.

use std::sync::Arc;

use gantry_codec::properties as names;

use super::{
    super::{Session, properties::Scan},
    stored::with_properties,
};
use crate::{
    error_to_wire::SendRefusal,
    topic::{QueueSlot, TopicView, names::SCHEDULE_TOPIC},
};

/// A queue for a send.
pub(super) struct Placement {
    /// The queue that it is stored in.
    pub slot: Arc<QueueSlot>,
    /// The queue that it is meant for, if that is another one for now.
    pub real: Option<Arc<QueueSlot>>,
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

    /// `given` with what the message needs to find its way on; nothing if it is where it belongs.
    pub fn detour_properties(&self, given: &str) -> Option<String> {
        let real = self.real.as_ref()?;
        let mut queue = itoa::Buffer::new();
        let pairs =
            [(names::REAL_TOPIC, &*real.topic), (names::REAL_QID, queue.format(real.queue_id))];
        Some(with_properties(given, &pairs))
    }
}

impl Session {
    /// Where a message for `queue_id` of `view` is stored; below 0 means any queue.
    pub(super) fn place(
        &self,
        view: &TopicView,
        queue_id: i32,
        scan: &Scan,
    ) -> Result<Placement, SendRefusal> {
        let slot = self.choose_queue(view, queue_id)?;
        Ok(match scan.delay_level {
            0 => Placement { slot, real: None },
            level => Placement { slot: self.schedule_queue(level)?, real: Some(slot) },
        })
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
