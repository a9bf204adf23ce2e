//! The counters, where they are raised.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Key, names};
use crate::{
    group::{Control, GroupView},
    topic::{TopicTable, TopicView},
    traffic::Traffic,
};

/// Pairs of topic and group whose messages that came back are counted.
const PAIRS_MAX: usize = 65_536;

/// Messages that consumers sent back, by `topic@group`. This happens seldom enough for a lock.
#[derive(Debug, Default)]
pub struct SendBacks(Mutex<HashMap<Box<str>, u64>>);

impl SendBacks {
    /// One more.
    pub fn note(&self, topic: &str, group: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = pair(topic, group);
        if counts.len() < PAIRS_MAX || counts.contains_key(&pair) {
            *counts.entry(pair).or_default() += 1;
        }
    }

    fn all(&self) -> Vec<(Box<str>, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(pair, count)| (pair.clone(), *count)).collect()
    }
}

fn pair(topic: &str, group: &str) -> Box<str> {
    format!("{topic}@{group}").into()
}

/// See the module's text.
pub struct Sources {
    /// What is stored.
    pub topics: Arc<TopicTable>,
    /// What is pulled.
    pub control: Control,
    /// What came back.
    pub send_backs: Arc<SendBacks>,
    /// All together.
    pub traffic: Arc<Traffic>,
    /// The name for all together.
    pub cluster: Box<str>,
}

impl Sources {
    /// Every counter as it is now.
    pub fn all(&self) -> Vec<(Key, u64)> {
        let mut all = Vec::new();
        let mut add = |name, of: &str, value| all.push((Key { name, of: of.into() }, value));
        for (topic, view) in self.topics.all().iter() {
            let [messages, bytes] = written(view);
            add(names::TOPIC_PUT_NUMS, topic, messages);
            add(names::TOPIC_PUT_SIZE, topic, bytes);
        }
        for (group, view) in self.control.directory().all().iter() {
            for (topic, [messages, bytes]) in pulled(view) {
                let pair = pair(&topic, group);
                add(names::GROUP_GET_NUMS, &pair, messages);
                add(names::GROUP_GET_SIZE, &pair, bytes);
            }
        }
        for (pair, count) in self.send_backs.all() {
            add(names::SNDBCK_PUT_NUMS, &pair, count);
        }
        let traffic = self.traffic.now();
        add(names::BROKER_PUT_NUMS, &self.cluster, traffic.stored);
        add(names::BROKER_GET_NUMS, &self.cluster, traffic.delivered);
        all
    }

    /// One counter as it is now; `None` if there is none of that name or of that topic, group or cluster.
    pub fn one(&self, name: &str, of: &str) -> Option<(Key, u64)> {
        let (name, value) = match name {
            names::TOPIC_PUT_NUMS => (names::TOPIC_PUT_NUMS, written(&*self.topics.get(of)?)[0]),
            names::TOPIC_PUT_SIZE => (names::TOPIC_PUT_SIZE, written(&*self.topics.get(of)?)[1]),
            names::GROUP_GET_NUMS => (names::GROUP_GET_NUMS, self.pulled_of(of)?[0]),
            names::GROUP_GET_SIZE => (names::GROUP_GET_SIZE, self.pulled_of(of)?[1]),
            names::SNDBCK_PUT_NUMS => {
                let known = self.send_backs.all().into_iter().find(|(pair, _)| **pair == *of);
                (names::SNDBCK_PUT_NUMS, known?.1)
            }
            names::BROKER_PUT_NUMS if of == &*self.cluster => {
                (names::BROKER_PUT_NUMS, self.traffic.now().stored)
            }
            names::BROKER_GET_NUMS if of == &*self.cluster => {
                (names::BROKER_GET_NUMS, self.traffic.now().delivered)
            }
            _ => return None,
        };
        Some((Key { name, of: of.into() }, value))
    }

    fn pulled_of(&self, pair: &str) -> Option<[u64; 2]> {
        let (topic, group) = pair.split_once('@')?;
        pulled(&*self.control.group(group)?).remove(topic)
    }
}

fn written(view: &TopicView) -> [u64; 2] {
    view.queues.iter().fold([0; 2], |sum, slot| add(sum, slot.written()))
}

/// By topic, what the group has got.
fn pulled(view: &GroupView) -> BTreeMap<Arc<str>, [u64; 2]> {
    let mut by_topic: BTreeMap<Arc<str>, [u64; 2]> = BTreeMap::new();
    view.slot().activities.each(|topic, activity| {
        let counted = [activity.total(), activity.total_bytes()];
        let sum = by_topic.entry(topic.clone()).or_default();
        *sum = add(*sum, counted);
    });
    by_topic
}

fn add([a, b]: [u64; 2], [more_a, more_b]: [u64; 2]) -> [u64; 2] {
    [a + more_a, b + more_b]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        group::{bench::Bench, testing::run},
        net::ConnectionId,
    };

    #[test]
    fn counters_are_found_by_name_and_key() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            peer.beat("one", "g", &["t"]).await;
            let group = bench.control.group("g").unwrap();
            let activity = group.slot().activities.of(&"t".into(), 0);
            activity.pulled(1, 0, ConnectionId(1));
            activity.delivered(5);
            activity.delivered_bytes(700);
            let traffic = Arc::new(Traffic::default());
            traffic.stored(3);
            let sources = Sources {
                topics: Arc::default(),
                control: bench.control.clone(),
                send_backs: Arc::default(),
                traffic,
                cluster: "c".into(),
            };
            sources.send_backs.note("t", "g");
            sources.send_backs.note("t", "g");
            let one = |name, of: &str| sources.one(name, of).map(|(_, value)| value);
            assert_eq!(one("GROUP_GET_NUMS", "t@g"), Some(5));
            assert_eq!(one("GROUP_GET_SIZE", "t@g"), Some(700));
            assert_eq!(one("SNDBCK_PUT_NUMS", "t@g"), Some(2));
            assert_eq!(one("BROKER_PUT_NUMS", "c"), Some(3));
            for (name, of) in [
                ("GROUP_GET_NUMS", "u@g"),
                ("GROUP_GET_NUMS", "g"),
                ("TOPIC_PUT_NUMS", "none"),
                ("BROKER_PUT_NUMS", "d"),
                ("NO_SUCH", "t"),
            ] {
                assert_eq!(one(name, of), None, "{name} {of}");
            }
            let all = sources.all();
            assert_eq!(all.len(), 5);
            for (key, value) in all {
                assert_eq!(sources.one(key.name, &key.of), Some((key, value)));
            }
        });
    }
}
