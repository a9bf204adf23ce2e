//! The appender's part of light queues ([`crate::topic::light`]): a message's offsets in them, and the property
//! that keeps these in its record.
//!
//! Done at the append and nowhere else, so that it holds for whatever brings a message into its topic: a
//! send, a delay that is over, a commit. Offsets are taken only when nothing can fail any more, or a queue would
//! have a hole.

use std::sync::Arc;

use gantry_codec::{
    properties::{self as names, INNER_MULTI_QUEUE_OFFSET, WAIT},
    record::PROPERTIES_BYTES_MAX,
};

use crate::topic::{LightTopics, QueueSlot, light::names_in};

/// An offset in text, and what stands between two.
const PLACE_BYTES_MAX: usize = 21;

/// The light queues of one message.
pub(super) struct LightPlaces {
    /// In the order of their names; none for names that are no light queue's.
    slots: Vec<Option<Arc<QueueSlot>>>,
    /// The message's properties, without what is set here.
    properties: String,
}

impl LightPlaces {
    /// The light queues of a message for `topic` with these properties, looked at so that offsets can be
    /// taken in them; `None` if it is in none.
    ///
    /// # Errors
    /// Why a queue's files cannot be read.
    pub(super) fn of(
        light: &LightTopics,
        topic: &str,
        properties: &str,
    ) -> Result<Option<Self>, String> {
        let slots: Vec<_> = names_in(topic, properties)
            .map(|name| light.slot(name).filter(|_| LightTopics::is_light(name)))
            .collect();
        if slots.iter().all(Option::is_none) {
            return Ok(None);
        }
        for slot in slots.iter().flatten() {
            slot.settle()?;
        }
        let mut kept = String::with_capacity(properties.len());
        for (name, value) in names::iter(properties) {
            // As in the Java broker, whoever reads the record is not told how its sender waited.
            if name != INNER_MULTI_QUEUE_OFFSET && name != WAIT {
                names::append(&mut kept, name, value);
            }
        }
        Ok(Some(Self { slots, properties: kept }))
    }

    /// Bytes that the properties have at most, whatever the offsets.
    pub(super) fn properties_max(&self) -> usize {
        let places = self.slots.len() * PLACE_BYTES_MAX;
        self.properties.len() + INNER_MULTI_QUEUE_OFFSET.len() + 2 + places
    }

    /// What is wrong with the properties, if they can grow too long.
    pub(super) fn too_long(&self) -> Option<String> {
        let len = self.properties_max();
        (len > PROPERTIES_BYTES_MAX).then(|| {
            format!("properties of {len} bytes are over the limit of {PROPERTIES_BYTES_MAX}")
        })
    }

    /// Takes an offset in each queue; the properties with them. The queues go to `taken`.
    pub(super) fn take(self, round: u64, taken: &mut Vec<Arc<QueueSlot>>) -> String {
        let mut places = String::new();
        let mut given: Vec<(Arc<QueueSlot>, u64)> = Vec::new();
        for (number, slot) in self.slots.into_iter().enumerate() {
            if number > 0 {
                places.push(',');
            }
            let Some(slot) = slot else { continue };
            // Whoever is named twice has one place. It was settled, so that it has an offset to give.
            let known = given.iter().find(|(before, _)| Arc::ptr_eq(before, &slot));
            let offset =
                known.map_or_else(|| slot.take_offsets(round, 1).ok(), |(_, at)| Some(*at));
            if let Some(offset) = offset {
                places.push_str(itoa::Buffer::new().format(offset));
                given.push((slot, offset));
            }
        }
        taken.extend(given.into_iter().map(|(slot, _)| slot));
        let mut properties = self.properties;
        names::append(&mut properties, INNER_MULTI_QUEUE_OFFSET, &places);
        properties
    }
}
