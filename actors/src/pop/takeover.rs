//! Messages that were out when Java's broker stopped, found in its files (store.md 4.4).
//!
//! Java moves a group's offset on with each pop, and keeps in its log what was popped: checkpoints, and
//! acknowledgements of them, first as timers in `rmq_sys_wheel_timer`, then, when they fall due, in the
//! queues of `rmq_sys_REVIVE_LOG_<cluster>`. A checkpoint is settled if its message lies before the
//! offset of the reviving group there. Of all others, whatever is not acknowledged is out: it is
//! handed to the group's actor, which from then on treats it as popped here.
//!
//! Both topics are read once, at the start, from where the last start has read to; this broker never
//! writes such messages, nor delivers those that wait in the first one. On the way back Java needs nothing: the group's offset is not behind any message that
//! is out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use gantry_codec::{Record, fastjson, properties as names};
use gantry_storage::{CommitLog, QueueOffset};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use slog::{Logger, info, warn};

use super::{orders::Adopt, pops::Pops, queues::QueueKey, states::PopStates};
use crate::{
    group::OffsetView,
    topic::{Facts, names::WHEEL_TIMER_TOPIC},
};

/// The group by which Java's broker reads its checkpoints.
const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// Tags of the messages.
const CHECKPOINT: &str = "ck";
const ACK: &str = "ack";
const BATCH_ACK: &str = "bAck";

/// Up to where both topics have been read, by topic and queue.
pub type ReadTo = BTreeMap<String, BTreeMap<u32, u64>>;

/// What a pop took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Checkpoint {
    /// First offset.
    so: i64,
    /// Time of the pop.
    pt: i64,
    /// How long the messages are hidden.
    it: i64,
    /// Which of them are acknowledged, by place.
    bm: i64,
    /// How many they are.
    n: i32,
    q: i32,
    t: String,
    c: String,
    /// Distances of the messages from the first offset; none: they are consecutive.
    d: Option<Vec<i64>>,
}

/// Messages of a pop that are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Acked {
    #[serde(alias = "ackOffset")]
    ao: i64,
    #[serde(alias = "ackOffsetList")]
    aol: Option<Vec<i64>>,
    #[serde(alias = "startOffset")]
    so: i64,
    #[serde(alias = "popTime")]
    pt: i64,
    #[serde(alias = "queueId")]
    q: i32,
    #[serde(alias = "topic")]
    t: String,
    #[serde(alias = "consumerGroup")]
    c: String,
}

/// What tells a pop of a queue from all others: group, topic, queue, first offset, time.
type PopKey = (String, String, i32, i64, i64);

/// What is out: by group and queue, each message with the times of its pop and its return.
type OutByQueue = HashMap<(String, QueueKey), Vec<(u64, i64, i64)>>;

impl Checkpoint {
    fn key(&self) -> PopKey {
        (self.c.clone(), self.t.clone(), self.q, self.so, self.pt)
    }

    /// The offsets that nobody has acknowledged.
    fn open(&self, acked: Option<&HashSet<i64>>) -> Vec<u64> {
        let distances: Vec<i64> = match &self.d {
            Some(distances) if !distances.is_empty() => distances.clone(),
            _ => (0..i64::from(self.n)).collect(),
        };
        let is_open = |(place, offset): &(usize, i64)| {
            let by_bit = *place < 64 && self.bm >> place & 1 == 1;
            !by_bit && !acked.is_some_and(|acked| acked.contains(offset))
        };
        let offsets = distances.iter().map(|distance| self.so + distance).enumerate();
        offsets.filter(is_open).filter_map(|(_, offset)| u64::try_from(offset).ok()).collect()
    }
}

/// What the two topics hold.
#[derive(Debug, Default)]
struct Findings {
    checkpoints: HashMap<PopKey, Checkpoint>,
    settled: HashSet<PopKey>,
    acked: HashMap<PopKey, HashSet<i64>>,
}

impl Findings {
    /// Takes a message in; `is_settled`: Java has dealt with it.
    fn add(&mut self, properties: &str, body: &[u8], is_settled: bool) {
        match names::get(properties, names::TAGS) {
            Some(CHECKPOINT) => {
                let Some(checkpoint) = read::<Checkpoint>(body) else { return };
                if is_settled {
                    self.settled.insert(checkpoint.key());
                } else {
                    self.checkpoints.insert(checkpoint.key(), checkpoint);
                }
            }
            Some(ACK | BATCH_ACK) => {
                let Some(Acked { ao, aol, so, pt, q, t, c }) = read(body) else { return };
                let acked = self.acked.entry((c, t, q, so, pt)).or_default();
                acked.extend(aol.unwrap_or_else(|| vec![ao]));
            }
            _ => {}
        }
    }

    /// What is out.
    fn open(&self) -> OutByQueue {
        let mut open = OutByQueue::new();
        for (key, checkpoint) in &self.checkpoints {
            let offsets = checkpoint.open(self.acked.get(key));
            let Ok(queue) = u32::try_from(checkpoint.q) else { continue };
            if self.settled.contains(key) || offsets.is_empty() {
                continue;
            }
            let place = (checkpoint.c.clone(), (Arc::from(checkpoint.t.as_str()), queue));
            let due = checkpoint.pt.saturating_add(checkpoint.it);
            let messages = offsets.into_iter().map(|offset| (offset, checkpoint.pt, due));
            open.entry(place).or_default().extend(messages);
        }
        open
    }
}

/// Whether an entry with this code can be of such a message.
fn is_about_pops(tags_code: i64) -> bool {
    [CHECKPOINT, ACK, BATCH_ACK].iter().any(|tag| i64::from(names::tag_hash(tag)) == tags_code)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    fastjson::from_slice(body).ok()
}

/// The files of Java's broker, as far as they concern pops.
pub struct JavaPops<'a> {
    /// The cluster, part of the revive topic's name.
    pub cluster: &'a str,
    /// Topics and queues.
    pub facts: &'a Facts,
    /// The log.
    pub log: &'a CommitLog,
    /// The groups' offsets.
    pub offsets: &'a OffsetView,
    /// For what operators have to know.
    pub log_to: &'a Logger,
}

impl JavaPops<'_> {
    /// Hands what is out to the groups' actors. May wait for the disk.
    pub fn take_over(&self, pops: &Pops, states: &PopStates) {
        let mut read_to = states.read_to();
        let before = read_to.clone();
        let open = self.findings(&mut read_to).open();
        for ((group, (topic, queue_id)), messages) in open {
            info!(self.log_to, "messages that were popped from the broker before are taken over";
                "group" => &group, "topic" => &*topic, "queue" => queue_id,
                "count" => messages.len());
            pops.group(&group).do_send(Adopt { topic, queue_id, messages });
        }
        if read_to != before {
            states.set_read_to(read_to);
        }
    }

    fn findings(&self, read_to: &mut ReadTo) -> Findings {
        let revive_topic = format!("rmq_sys_REVIVE_LOG_{}", self.cluster);
        let mut findings = Findings::default();
        self.each(WHEEL_TIMER_TOPIC, read_to, |_, _, record| {
            if names::get(record.properties, names::REAL_TOPIC) == Some(&revive_topic) {
                findings.add(record.properties, record.body, false);
            }
        });
        self.each(&revive_topic, read_to, |queue, offset, record| {
            let done = self.offsets.get(REVIVE_GROUP, &revive_topic, queue as i32).unwrap_or(0);
            findings.add(record.properties, record.body, (offset as i64) < done);
        });
        findings
    }

    /// Calls `f` with queue, offset and message for all that have not been read before.
    fn each(&self, topic: &str, read_to: &mut ReadTo, mut f: impl FnMut(u32, u64, &Record<'_>)) {
        let Some(view) = self.facts.topics.get(topic) else { return };
        for slot in &view.queues {
            let Some(queue) = self.facts.queues.view(slot) else { continue };
            let ends = read_to.entry(topic.to_owned()).or_default();
            let end = ends.entry(slot.queue_id).or_default();
            for offset in queue.min_offset().0.max(*end)..queue.max_offset().0 {
                let entry = queue.entry(QueueOffset(offset));
                // The timer topic holds users' messages too, perhaps very many of them.
                if entry.is_some_and(|entry| !is_about_pops(entry.tags_code)) {
                    continue;
                }
                let stored = entry.and_then(|entry| self.log.record_at(entry.offset));
                match stored.as_deref().map(Record::decode) {
                    Some(Ok(record)) => f(slot.queue_id, offset, &record),
                    _ => warn!(self.log_to, "message about pops cannot be read"; "topic" => topic,
                        "queue" => slot.queue_id, "offset" => offset),
                }
            }
            *end = queue.max_offset().0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: &str) -> String {
        format!("TAGS\u{1}{tag}\u{2}")
    }

    fn checkpoint(start: i64, distances: &str) -> String {
        format!(
            r#"{{"bm":0,"bn":"b","c":"g","d":{distances},"it":60000,"n":3,"pt":5,"q":1,"ro":-1,"so":{start},"t":"t"}}"#
        )
    }

    fn open_of(messages: &[(&str, String, bool)]) -> Vec<(u64, i64, i64)> {
        let mut findings = Findings::default();
        for (tag, body, is_settled) in messages {
            findings.add(&tagged(tag), body.as_bytes(), *is_settled);
        }
        let mut open = findings.open();
        let messages = open.remove(&("g".into(), ("t".into(), 1))).unwrap_or_default();
        assert!(open.is_empty());
        messages
    }

    fn ack(start: i64, offset: i64) -> String {
        format!(r#"{{"ao":{offset},"bn":"b","c":"g","pt":5,"q":1,"so":{start},"t":"t"}}"#)
    }

    #[test]
    fn what_is_not_acknowledged_is_out() {
        let batch = r#"{"aol":[10,11],"ao":-1,"c":"g","pt":5,"q":1,"so":10,"t":"t"}"#.to_owned();
        let all = |distances| ("ck", checkpoint(10, distances), false);
        assert_eq!(open_of(&[all("[0,2,5]")]).len(), 3);
        let left = open_of(&[("ack", ack(10, 12), false), all("[0,2,5]")]);
        assert_eq!(left, [(10, 5, 60_005), (15, 5, 60_005)]);
        assert_eq!(open_of(&[all("[]"), ("bAck", batch, false)]), [(12, 5, 60_005)]);
    }

    #[test]
    fn what_java_has_settled_is_not() {
        let first = ("ck", checkpoint(10, "[0,1,2]"), false);
        assert_eq!(open_of(&[first.clone(), ("ck", checkpoint(10, "[0,1,2]"), true)]), []);
        let other = ("ck", checkpoint(20, "[0,1,2]"), true);
        assert_eq!(open_of(&[first.clone(), other]).len(), 3);
        let acks = (10..13).map(|offset| ("ack", ack(10, offset), true));
        assert_eq!(open_of(&acks.chain([first]).collect::<Vec<_>>()), []);
    }

    #[test]
    fn acknowledged_bits_and_bad_bodies_are_understood() {
        let bits = checkpoint(10, "[0,1,2]").replace("\"bm\":0", "\"bm\":5");
        assert_eq!(open_of(&[("ck", bits, false)]), [(11, 5, 60_005)]);
        assert_eq!(open_of(&[("ck", "{".into(), false), ("other", "{}".into(), false)]), []);
    }
}
