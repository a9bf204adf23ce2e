//! The route table: which brokers there are and which topics they carry.
//!
//! A plain value without actors or clocks. The registry owns the current one, changes a copy of it
//! and publishes that; all maps are persistent, so a copy costs nothing and a change costs what it
//! changes, however many topics there are. Connections read the published value ([`RouteView`]).
//!
//! Invariants: a group has at least one member; an address stands in a group once; a topic has at
//! least one broker, each once, ordered by name, and each of them is a group of this table.
//!
//! [`RouteView`]: super::route_query::RouteView

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gantry_codec::body::DataVersion;
use imbl::OrdMap;

use crate::net::ConnectionId;

/// The broker id of a master.
pub const MASTER_ID: i64 = 0;
/// Permission bit: consumers may read.
pub const PERM_READ: i32 = 4;
/// Permission bit: producers may write.
pub const PERM_WRITE: i32 = 2;

/// What one broker group offers of a topic (wire.md 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueData {
    /// Queues for consumers.
    pub read_queue_nums: i32,
    /// Queues for producers.
    pub write_queue_nums: i32,
    /// Permission bits.
    pub perm: i32,
    /// Topic flags: 1 unit, 2 unit subscription.
    pub topic_sys_flag: i32,
}

/// One broker of a group, under one broker id.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Where clients reach it, `host:port`.
    pub addr: Arc<str>,
    /// Where its slaves reach it.
    pub ha_server_addr: Arc<str>,
    /// The version of the topic table that it registered last.
    pub version: DataVersion,
    /// Which registration this is; numbers are never used twice.
    pub registration: u64,
    /// How long it may be silent; None = the server's default.
    pub heartbeat_timeout: Option<Duration>,
    /// The connection on which it registered.
    pub connection: ConnectionId,
}

/// The brokers that share one name: a master and its slaves.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerGroup {
    /// The cluster that it belongs to.
    pub cluster: Arc<str>,
    /// Whether the smallest slave may stand in for a missing master.
    pub enable_acting_master: bool,
    /// The zone that its brokers named, if any.
    pub zone_name: Option<Arc<str>>,
    /// The brokers by id.
    pub members: BTreeMap<i64, Member>,
}

impl BrokerGroup {
    /// The smallest broker id and its broker.
    pub fn min_member(&self) -> Option<(i64, &Member)> {
        self.members.first_key_value().map(|(id, member)| (*id, member))
    }

    /// Whether the group has brokers, none of them a master.
    pub fn lacks_master(&self) -> bool {
        self.min_member().is_some_and(|(id, _)| id != MASTER_ID)
    }

    /// The member at `addr`.
    pub fn at(&self, addr: &str) -> Option<&Member> {
        self.members.values().find(|member| &*member.addr == addr)
    }
}

/// The groups that carry a topic, ordered by name.
pub type TopicQueues = Vec<(Arc<str>, QueueData)>;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    groups: OrdMap<Arc<str>, Arc<BrokerGroup>>,
    topics: OrdMap<Arc<str>, Arc<TopicQueues>>,
    /// The number that the next registration gets.
    next_registration: u64,
}

impl RouteTable {
    /// The group of that broker name.
    pub fn group(&self, broker_name: &str) -> Option<&Arc<BrokerGroup>> {
        self.groups.get(broker_name)
    }

    /// All groups, ordered by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<BrokerGroup>)> {
        self.groups.iter()
    }

    /// The member of group `broker_name` at `addr`.
    pub fn member(&self, broker_name: &str, addr: &str) -> Option<&Member> {
        self.group(broker_name)?.at(addr)
    }

    /// The groups that carry `topic`.
    pub fn queues(&self, topic: &str) -> Option<&TopicQueues> {
        self.topics.get(topic).map(|queues| &**queues)
    }

    /// What the group offers of the topic.
    pub fn queue_data(&self, topic: &str, broker_name: &str) -> Option<QueueData> {
        let queues = self.queues(topic)?;
        let at = position(queues, broker_name).ok()?;
        queues.get(at).map(|(_, data)| *data)
    }

    /// All topics, ordered by name.
    pub fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &TopicQueues)> {
        self.topics.iter().map(|(topic, queues)| (topic, &**queues))
    }

    /// A number for a new registration.
    pub(super) fn take_registration(&mut self) -> u64 {
        self.next_registration += 1;
        self.next_registration
    }

    pub(super) fn put_group(&mut self, broker_name: Arc<str>, group: BrokerGroup) {
        assert!(!group.members.is_empty(), "group {broker_name} without members");
        self.groups.insert(broker_name, Arc::new(group));
    }

    /// Takes a group and all that it carries out of the table.
    pub(super) fn drop_group(&mut self, broker_name: &str) {
        self.groups.remove(broker_name);
        for topic in self.topics_of(broker_name) {
            self.remove_queues(&topic, broker_name);
        }
    }

    /// Sets what a group offers of a topic; returns whether that is a change.
    pub(super) fn put_queues(
        &mut self,
        topic: &Arc<str>,
        broker_name: &Arc<str>,
        data: QueueData,
    ) -> bool {
        let Some(queues) = self.topics.get(topic) else {
            self.topics.insert(topic.clone(), Arc::new(vec![(broker_name.clone(), data)]));
            return true;
        };
        let place = position(queues, broker_name);
        if place.is_ok_and(|at| queues.get(at).is_some_and(|(_, now)| *now == data)) {
            return false;
        }
        let mut changed = TopicQueues::clone(queues);
        match place {
            Ok(at) => changed[at].1 = data,
            Err(at) => changed.insert(at, (broker_name.clone(), data)),
        }
        self.topics.insert(topic.clone(), Arc::new(changed));
        true
    }

    /// Removes what a group offers of a topic; a topic without any group left is gone.
    pub(super) fn remove_queues(&mut self, topic: &str, broker_name: &str) -> bool {
        let Some(queues) = self.topics.get(topic) else { return false };
        let Ok(at) = position(queues, broker_name) else { return false };
        if queues.len() == 1 {
            self.topics.remove(topic);
            return true;
        }
        let mut rest = TopicQueues::clone(queues);
        rest.remove(at);
        if let Some(queues) = self.topics.get_mut(topic) {
            *queues = Arc::new(rest);
        }
        true
    }

    /// Removes a topic from every group.
    pub(super) fn remove_topic(&mut self, topic: &str) -> bool {
        self.topics.remove(topic).is_some()
    }

    /// The topics that a group carries.
    pub(super) fn topics_of(&self, broker_name: &str) -> Vec<Arc<str>> {
        self.topics()
            .filter(|(_, queues)| position(queues, broker_name).is_ok())
            .map(|(topic, _)| topic.clone())
            .collect()
    }
}

fn position(queues: &TopicQueues, broker_name: &str) -> Result<usize, usize> {
    queues.binary_search_by(|(name, _)| (**name).cmp(broker_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(perm: i32) -> QueueData {
        QueueData { read_queue_nums: 4, write_queue_nums: 4, perm, topic_sys_flag: 0 }
    }

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn queues_of_a_topic_are_kept_once_per_group_and_in_order() {
        let mut table = RouteTable::default();
        assert!(table.put_queues(&name("t"), &name("b"), data(6)));
        assert!(table.put_queues(&name("t"), &name("a"), data(6)));
        assert!(!table.put_queues(&name("t"), &name("a"), data(6)));
        assert!(table.put_queues(&name("t"), &name("a"), data(4)));
        let queues = table.queues("t").unwrap();
        assert_eq!(*queues, vec![(name("a"), data(4)), (name("b"), data(6))]);
        assert_eq!(table.queue_data("t", "b"), Some(data(6)));
        assert_eq!(table.queue_data("t", "c"), None);
    }

    #[test]
    fn a_topic_goes_with_its_last_group() {
        let mut table = RouteTable::default();
        table.put_queues(&name("t"), &name("a"), data(6));
        table.put_queues(&name("t"), &name("b"), data(6));
        table.put_queues(&name("u"), &name("b"), data(6));
        table.drop_group("b");
        assert_eq!(table.topics().map(|(t, _)| t.to_string()).collect::<Vec<_>>(), ["t"]);
        assert!(!table.remove_queues("t", "b"));
        assert!(table.remove_queues("t", "a"));
        assert_eq!(table.topics().count(), 0);
    }

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut table = RouteTable::default();
        table.put_queues(&name("t"), &name("a"), data(6));
        let published = table.clone();
        table.put_queues(&name("t"), &name("a"), data(4));
        table.put_queues(&name("u"), &name("a"), data(4));
        assert_eq!(published.queue_data("t", "a"), Some(data(6)));
        assert_eq!(published.topics().count(), 1);
    }
}
