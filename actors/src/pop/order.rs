//! The messages of one queue that a group has popped in order: it gets no others until they are done.
//!
//! A plain value, owned by the group's [`super::group::PopGroup`], with the members and the meaning that
//! `consumerOrderInfo.json` has for Java's broker (store.md 2.9), so that either goes on where the other
//! was. A queue is blocked while one of its messages is neither acknowledged nor visible again; then it
//! is popped from its first message that is not acknowledged. The same try of a client (its attempt
//! id) may pop again at once: the answer to the first has not reached it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Messages of one pop at most: as many as there are bits.
const MESSAGES_MAX: usize = 64;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBatch {
    /// When they were popped, ms.
    #[serde(rename = "popTime")]
    pop_time: i64,
    /// How long they are hidden, ms.
    #[serde(rename = "i", default, deserialize_with = "or_default")]
    invisible_time: i64,
    /// The first offset, then the distance of each other one from it.
    #[serde(rename = "o", default, deserialize_with = "or_default")]
    offsets: Vec<i64>,
    /// When a message is visible again, if that was changed.
    #[serde(rename = "ot", default, deserialize_with = "or_default")]
    visible_at: BTreeMap<i64, i64>,
    /// How often a message was popped before.
    #[serde(rename = "oc", default, deserialize_with = "or_default")]
    times: BTreeMap<i64, i32>,
    /// When the group last popped, ms.
    #[serde(rename = "l", default)]
    last_pop: i64,
    /// Which are acknowledged, by place.
    #[serde(rename = "cm", default)]
    acked: i64,
    /// The try of the client.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    attempt_id: Option<String>,
}

fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// What an acknowledgement of an ordered message comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderAck {
    /// The group's offset is this now.
    Offset(i64),
    /// From another pop: nothing changes.
    OtherPop,
    /// Not one of the messages.
    Unknown,
}

impl OrderBatch {
    /// What a pop at `pop_time` took, after `before`.
    pub fn new(
        offsets: &[u64],
        pop_time: i64,
        invisible_time: i64,
        attempt_id: Option<&str>,
        before: Option<&Self>,
    ) -> Self {
        let first = offsets.first().copied().unwrap_or(0) as i64;
        let distance = |(place, offset): (usize, &u64)| {
            if place == 0 { first } else { *offset as i64 - first }
        };
        let mut batch = Self {
            pop_time,
            invisible_time,
            offsets: offsets.iter().take(MESSAGES_MAX).enumerate().map(distance).collect(),
            last_pop: pop_time,
            attempt_id: attempt_id.map(str::to_owned),
            ..Self::default()
        };
        batch.times = before.map(|before| batch.times_after(before)).unwrap_or_default();
        batch
    }

    fn times_after(&self, before: &Self) -> BTreeMap<i64, i32> {
        if self.is_attempt(before.attempt_id.as_deref()) {
            return before.times.clone();
        }
        let again = self.all().filter(|offset| before.all().any(|other| other == *offset));
        again.map(|o| (o, before.times.get(&o).map_or(1, |times| times + 1))).collect()
    }

    fn is_attempt(&self, attempt_id: Option<&str>) -> bool {
        attempt_id.is_some() && self.attempt_id.as_deref() == attempt_id
    }

    fn all(&self) -> impl Iterator<Item = i64> + '_ {
        let first = self.offsets.first().copied().unwrap_or(0);
        let offset = move |(place, offset): (usize, &i64)| {
            if place == 0 { first } else { first + offset }
        };
        self.offsets.iter().enumerate().map(offset)
    }

    fn is_acked(&self, place: usize) -> bool {
        self.acked >> place & 1 == 1
    }

    fn unacked(&self) -> impl Iterator<Item = i64> + '_ {
        self.all().enumerate().filter(|(place, _)| !self.is_acked(*place)).map(|(_, offset)| offset)
    }

    fn visible_at(&self, offset: i64) -> i64 {
        let at = self.visible_at.get(&offset).copied();
        at.unwrap_or_else(|| self.pop_time.saturating_add(self.invisible_time))
    }

    /// When the last of them that is not acknowledged becomes visible, if it is not yet.
    pub fn blocked_until(&self, now: i64) -> Option<i64> {
        let times = self.unacked().map(|offset| self.visible_at(offset));
        times.filter(|at| now < *at).max()
    }

    /// Whether a pop of this try gets nothing now.
    pub fn blocks(&self, attempt_id: Option<&str>, now: i64) -> bool {
        !self.is_attempt(attempt_id) && self.blocked_until(now).is_some()
    }

    /// The first message that is not acknowledged, or the one behind all.
    pub fn next_offset(&self) -> i64 {
        let behind = self.all().last().map_or(0, |last| last + 1);
        self.unacked().next().unwrap_or(behind)
    }

    /// A client has done a message that it got by the pop of that time.
    pub fn ack(&mut self, offset: i64, pop_time: i64) -> OrderAck {
        if pop_time != self.pop_time {
            return OrderAck::OtherPop;
        }
        let Some(place) = self.all().position(|other| other == offset) else {
            return OrderAck::Unknown;
        };
        self.acked |= 1 << place;
        OrderAck::Offset(self.next_offset())
    }

    /// A client wants a message of the pop of that time to be visible at another time; whether that
    /// counts.
    pub fn hide(&mut self, offset: i64, pop_time: i64, visible_at: i64) -> bool {
        let counts = pop_time == self.pop_time;
        if counts {
            self.visible_at.insert(offset, visible_at);
        }
        counts
    }

    /// How often the messages were popped before: those that were, and the least of all.
    pub fn times(&self) -> (impl Iterator<Item = (i64, i32)> + '_, i32) {
        let is_new = self.times.len() != self.offsets.len();
        let least = if is_new { 0 } else { self.times.values().copied().min().unwrap_or(0) };
        (self.times.iter().map(|(offset, times)| (*offset, *times)), least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offsets: &[u64]) -> OrderBatch {
        OrderBatch::new(offsets, 1000, 500, Some("a1"), None)
    }

    #[test]
    fn a_queue_is_blocked_until_all_is_acknowledged_or_visible() {
        let mut batch = batch(&[7, 9]);
        assert!(batch.blocks(None, 1400) && batch.blocks(Some("a2"), 1499));
        assert!(!batch.blocks(Some("a1"), 1400), "the same try may pop again");
        assert!(!batch.blocks(None, 1500), "the time is over");
        assert_eq!(batch.ack(9, 1000), OrderAck::Offset(7));
        assert!(batch.blocks(None, 1400));
        assert_eq!(batch.ack(7, 1000), OrderAck::Offset(10));
        assert!(!batch.blocks(None, 1400));
    }

    #[test]
    fn acknowledgements_of_others_change_nothing() {
        let mut batch = batch(&[7, 9]);
        assert_eq!(batch.ack(7, 999), OrderAck::OtherPop);
        assert_eq!(batch.ack(8, 1000), OrderAck::Unknown);
        assert!(!batch.hide(7, 999, 9000));
        assert_eq!(batch.next_offset(), 7);
    }

    #[test]
    fn a_changed_time_holds_for_its_message() {
        let mut batch = batch(&[7, 9]);
        assert!(batch.hide(7, 1000, 3000));
        assert_eq!(batch.blocked_until(1600), Some(3000));
        assert!(batch.hide(7, 1000, 1100) && batch.hide(9, 1000, 1200));
        assert_eq!(batch.blocked_until(1150), Some(1200));
    }

    #[test]
    fn tries_are_counted_unless_it_is_the_same_one() {
        let again = OrderBatch::new(&[7, 9, 10], 2000, 500, Some("a2"), Some(&batch(&[7, 9])));
        let (times, least) = again.times();
        assert_eq!((times.collect::<Vec<_>>(), least), (vec![(7, 1), (9, 1)], 0));
        let third = OrderBatch::new(&[7, 9], 3000, 500, Some("a3"), Some(&again));
        assert_eq!(third.times().1, 2);
        let same = OrderBatch::new(&[7, 9], 4000, 500, Some("a3"), Some(&third));
        assert_eq!(same.times().1, 2);
    }

    #[test]
    fn javas_form_is_read_and_written() {
        let java = r#"{"popTime":1000,"i":500,"o":[7,2],"ot":{"9":3000},"oc":{"7":2},"l":1000,"cm":1,"a":"x"}"#;
        let read: OrderBatch = serde_json::from_str(java).unwrap();
        assert_eq!((read.next_offset(), read.blocked_until(1)), (9, Some(3000)));
        assert_eq!(serde_json::to_string(&read).unwrap(), java);
        let sparse = r#"{"popTime":1,"i":null,"o":[4],"ot":null,"oc":null,"l":1,"cm":0}"#;
        let read: OrderBatch = serde_json::from_str(sparse).unwrap();
        assert_eq!((read.next_offset(), read.blocked_until(0)), (4, Some(1)));
    }
}
