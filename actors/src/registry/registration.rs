//! What a broker's registration and its end do to the route table (wire.md 4.1).
//!
//! Pure functions over [`RouteTable`]; the registry calls them and publishes the result. In short:
//!
//! | who registers | what becomes of its topics |
//! |---|---|
//! | master, new or with a changed version | every topic is taken as it says |
//! | master, version unchanged | topics missing here are added, the rest stays (a wiped write permission too) |
//! | slave of a group without master that sent `enableActingMaster` | as a master; without write permission if that was true |
//! | any other slave | nothing |
//!
//! Topics that a broker no longer names stay, unless `deleteTopicWithBrokerRegistration` is on. A first
//! registration may hold a single topic (5.x refuses it; brokers of ours and of others need no such rule).

use std::{collections::HashSet, sync::Arc, time::Duration};

use gantry_codec::body::DataVersion;

use super::table::{BrokerGroup, MASTER_ID, Member, PERM_READ, PERM_WRITE, QueueData, RouteTable};
use crate::net::ConnectionId;

/// A decoded REGISTER_BROKER request.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The cluster.
    pub cluster: Arc<str>,
    /// The name of the group.
    pub broker_name: Arc<str>,
    /// The address for clients.
    pub addr: Arc<str>,
    /// The id within the group, 0 = master.
    pub broker_id: i64,
    /// The address for slaves.
    pub ha_server_addr: Arc<str>,
    /// The zone, if the broker named one.
    pub zone_name: Option<Arc<str>>,
    /// None: a broker of 4.x, which knows nothing of acting masters.
    pub enable_acting_master: Option<bool>,
    /// How long it may be silent; None = the server's default.
    pub heartbeat_timeout: Option<Duration>,
    /// Its topics.
    pub topics: Vec<(Arc<str>, QueueData)>,
    /// Whether it has static topics, whose table may be given in parts.
    pub has_static_topics: bool,
    /// The version of its topic table.
    pub version: DataVersion,
    /// The connection on which it registered.
    pub connection: ConnectionId,
}

/// What a registration did.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The number of the registration.
    pub registration: u64,
    /// For a slave: its master.
    pub master: Option<Master>,
    /// The address that had this id before, now gone.
    pub replaced: Option<Arc<str>>,
    /// How many topics got other queues than before, or are gone.
    pub topics_changed: usize,
    /// Set if the group has got a smaller minimum id.
    pub min_id_changed: Option<MinIdChanged>,
}

/// Another broker holds the id with a newer state; nothing was taken from the registration.
#[derive(Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The address that holds the id.
    pub holder: Arc<str>,
    /// Its state version.
    pub holder_state_version: i64,
}

/// A slave's master, as told in the answer to its registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// The master's address for clients.
    pub addr: Arc<str>,
    /// The master's address for slaves.
    pub ha_server_addr: Arc<str>,
}

/// The brokers of a group have to learn that its smallest id is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinIdChanged {
    /// The group.
    pub broker_name: Arc<str>,
    /// The smallest id.
    pub min_id: i64,
    /// Its address.
    pub min_addr: Arc<str>,
    /// The broker that has gone.
    pub offline_addr: Option<Arc<str>>,
    /// The address for slaves of the broker that has come.
    pub ha_server_addr: Option<Arc<str>>,
    /// Whom to tell.
    pub targets: Vec<Arc<str>>,
}

/// What the end of a broker did.
#[derive(Debug, PartialEq, Eq)]
pub struct Unregistered {
    /// Whether its group went with it.
    pub group_gone: bool,
    /// Set if the group wants to know of its new minimum id.
    pub min_id_changed: Option<MinIdChanged>,
}

impl RouteTable {
    /// Takes a registration in; `delete_missing`: topics that the broker does not name are removed.
    pub fn register(
        &mut self,
        new: &Registration,
        delete_missing: bool,
    ) -> Result<Accepted, Outdated> {
        let known = self.group(&new.broker_name).cloned();
        let before = known.as_deref().and_then(|group| group.at(&new.addr)).cloned();
        let min_before = known.as_deref().and_then(BrokerGroup::min_member).map(|(id, _)| id);
        let mut group = known.as_deref().cloned().unwrap_or_else(|| empty_group(new));
        // One address stands in a group once: it gives up the id that it had in another role.
        group.members.retain(|id, member| *id == new.broker_id || member.addr != new.addr);
        if let Some(holder) = newer_holder(&group, new) {
            let (holder, holder_state_version) =
                (holder.addr.clone(), holder.version.state_version);
            self.put_group(new.broker_name.clone(), group);
            return Err(Outdated { holder, holder_state_version });
        }
        let registration = self.take_registration();
        group.cluster = new.cluster.clone();
        group.enable_acting_master = new.enable_acting_master == Some(true);
        group.zone_name = new.zone_name.clone();
        let replaced = group.members.insert(new.broker_id, new.member(registration));
        let take_all =
            replaced.is_none() || before.is_none_or(|before| before.version != new.version);
        let mut topics_changed = 0;
        if let Some(perm_mask) = topics_taken_from(new, &group) {
            topics_changed += self.take_topics(new, take_all, perm_mask);
            if delete_missing && !new.has_static_topics {
                topics_changed += self.drop_missing(new);
            }
        }
        let accepted = Accepted {
            registration,
            master: master_for(new.broker_id, &group),
            replaced: replaced.map(|member| member.addr).filter(|addr| *addr != new.addr),
            topics_changed,
            min_id_changed: min_before
                .is_some_and(|min| new.broker_id < min)
                .then(|| arrival(new, &group)),
        };
        self.put_group(new.broker_name.clone(), group);
        Ok(accepted)
    }

    /// Takes the broker at `addr` out of its group; None if it is not there.
    pub fn unregister(&mut self, broker_name: &str, addr: &str) -> Option<Unregistered> {
        let (name, group) = self.groups().find(|(name, _)| &***name == broker_name)?;
        let (name, mut group) = (name.clone(), BrokerGroup::clone(group));
        let id = *group.members.iter().find(|(_, member)| &*member.addr == addr)?.0;
        let was_min = group.min_member().is_some_and(|(min, _)| min == id);
        group.members.remove(&id);
        if group.members.is_empty() {
            self.drop_group(&name);
            return Some(Unregistered { group_gone: true, min_id_changed: None });
        }
        if group.enable_acting_master && group.lacks_master() {
            self.wipe_write_perm(&name);
        }
        let min_id_changed =
            (was_min && group.enable_acting_master).then(|| departure(&name, addr, &group));
        self.put_group(name, group);
        Some(Unregistered { group_gone: false, min_id_changed })
    }

    /// Takes the write permission from all topics of a group; returns how many topics it carries.
    pub fn wipe_write_perm(&mut self, broker_name: &str) -> usize {
        self.set_perms(broker_name, |perm| perm & !PERM_WRITE)
    }

    /// Gives read and write permission to all topics of a group; returns how many topics it carries.
    pub fn add_write_perm(&mut self, broker_name: &str) -> usize {
        self.set_perms(broker_name, |_| PERM_READ | PERM_WRITE)
    }

    fn set_perms(&mut self, broker_name: &str, perm: impl Fn(i32) -> i32) -> usize {
        let topics = self.topics_of(broker_name);
        let broker_name: Arc<str> = broker_name.into();
        for topic in &topics {
            if let Some(now) = self.queue_data(topic, &broker_name) {
                self.put_queues(topic, &broker_name, QueueData { perm: perm(now.perm), ..now });
            }
        }
        topics.len()
    }

    /// Takes a topic out, of the groups of one cluster or of all; returns whether there was any.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) -> bool {
        let Some(cluster) = cluster else { return self.remove_topic(topic) };
        let names: Vec<_> = self
            .groups()
            .filter(|(_, group)| &*group.cluster == cluster)
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().fold(false, |any, name| self.remove_queues(topic, name) | any)
    }

    /// Adds what some groups offer of a topic. All of them must be registered, else nothing changes
    /// and the unknown name is returned.
    pub fn add_topic(
        &mut self,
        topic: &Arc<str>,
        queues: &[(Arc<str>, QueueData)],
    ) -> Result<bool, Arc<str>> {
        if let Some((unknown, _)) = queues.iter().find(|(name, _)| self.group(name).is_none()) {
            return Err(unknown.clone());
        }
        Ok(queues.iter().fold(false, |any, (name, data)| self.put_queues(topic, name, *data) | any))
    }

    fn take_topics(&mut self, new: &Registration, take_all: bool, perm_mask: i32) -> usize {
        let mut changed = 0;
        for (topic, data) in &new.topics {
            if take_all || self.queue_data(topic, &new.broker_name).is_none() {
                let data = QueueData { perm: data.perm & perm_mask, ..*data };
                changed += usize::from(self.put_queues(topic, &new.broker_name, data));
            }
        }
        changed
    }

    fn drop_missing(&mut self, new: &Registration) -> usize {
        let named: HashSet<&str> = new.topics.iter().map(|(topic, _)| &**topic).collect();
        let mut missing = self.topics_of(&new.broker_name);
        missing.retain(|topic| !named.contains(&**topic));
        for topic in &missing {
            self.remove_queues(topic, &new.broker_name);
        }
        missing.len()
    }
}

impl Registration {
    fn member(&self, registration: u64) -> Member {
        Member {
            addr: self.addr.clone(),
            ha_server_addr: self.ha_server_addr.clone(),
            version: self.version.clone(),
            registration,
            heartbeat_timeout: self.heartbeat_timeout,
            connection: self.connection,
        }
    }
}

fn empty_group(new: &Registration) -> BrokerGroup {
    BrokerGroup {
        cluster: new.cluster.clone(),
        enable_acting_master: false,
        zone_name: None,
        members: Default::default(),
    }
}

/// The other broker that holds the id of `new` with a newer state.
fn newer_holder<'a>(group: &'a BrokerGroup, new: &Registration) -> Option<&'a Member> {
    group.members.get(&new.broker_id).filter(|holder| {
        holder.addr != new.addr && holder.version.state_version > new.version.state_version
    })
}

/// Whether topics are taken from this broker, and if so the permission bits that they keep.
fn topics_taken_from(new: &Registration, group: &BrokerGroup) -> Option<i32> {
    if new.broker_id == MASTER_ID {
        return Some(!0);
    }
    let smallest = group.min_member().is_some_and(|(id, _)| id == new.broker_id);
    match new.enable_acting_master {
        Some(true) if smallest => Some(!PERM_WRITE),
        Some(false) if smallest => Some(!0),
        _ => None,
    }
}

fn master_for(broker_id: i64, group: &BrokerGroup) -> Option<Master> {
    let master = group.members.get(&MASTER_ID).filter(|_| broker_id != MASTER_ID)?;
    Some(Master { addr: master.addr.clone(), ha_server_addr: master.ha_server_addr.clone() })
}

fn arrival(new: &Registration, group: &BrokerGroup) -> MinIdChanged {
    let others = group.members.iter().filter(|(id, _)| **id != new.broker_id);
    let mut targets: Vec<_> = others.map(|(_, member)| member.addr.clone()).collect();
    if targets.is_empty() {
        targets.push(new.addr.clone());
    }
    MinIdChanged {
        broker_name: new.broker_name.clone(),
        min_id: new.broker_id,
        min_addr: new.addr.clone(),
        offline_addr: None,
        ha_server_addr: Some(new.ha_server_addr.clone()),
        targets,
    }
}

fn departure(broker_name: &Arc<str>, addr: &str, group: &BrokerGroup) -> MinIdChanged {
    let (min_id, min) = group.min_member().expect("a group that lost one of several members");
    MinIdChanged {
        broker_name: broker_name.clone(),
        min_id,
        min_addr: min.addr.clone(),
        offline_addr: Some(addr.into()),
        ha_server_addr: None,
        targets: group.members.values().map(|member| member.addr.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(counter: i64, state_version: i64) -> DataVersion {
        DataVersion { timestamp: 1, counter, state_version }
    }

    fn data(perm: i32) -> QueueData {
        QueueData { read_queue_nums: 8, write_queue_nums: 8, perm, topic_sys_flag: 0 }
    }

    /// Broker `id` of group `g` at address `addr` with topics t1 and t2.
    fn broker(id: i64, addr: &str) -> Registration {
        Registration {
            cluster: "c".into(),
            broker_name: "g".into(),
            addr: addr.into(),
            broker_id: id,
            ha_server_addr: format!("ha-{addr}").into(),
            zone_name: None,
            enable_acting_master: None,
            heartbeat_timeout: None,
            topics: vec![("t1".into(), data(6)), ("t2".into(), data(7))],
            has_static_topics: false,
            version: version(1, 0),
            connection: ConnectionId(1),
        }
    }

    fn acting(id: i64, addr: &str) -> Registration {
        Registration { enable_acting_master: Some(true), ..broker(id, addr) }
    }

    fn register(table: &mut RouteTable, new: &Registration) -> Accepted {
        table.register(new, false).unwrap()
    }

    fn perm(table: &RouteTable, topic: &str) -> Option<i32> {
        table.queue_data(topic, "g").map(|data| data.perm)
    }

    fn ids(table: &RouteTable) -> Vec<(i64, String)> {
        let members = &table.group("g").unwrap().members;
        members.iter().map(|(id, member)| (*id, member.addr.to_string())).collect()
    }

    #[test]
    fn a_master_brings_its_topics() {
        let mut table = RouteTable::default();
        let first = register(&mut table, &broker(0, "a"));
        assert_eq!((first.topics_changed, first.master), (2, None));
        assert_eq!((first.replaced, first.min_id_changed), (None, None));
        assert_eq!((perm(&table, "t1"), perm(&table, "t2")), (Some(6), Some(7)));
        assert_eq!(table.member("g", "a").unwrap().version, version(1, 0));
    }

    #[test]
    fn a_first_registration_may_hold_one_topic_or_none() {
        let mut table = RouteTable::default();
        let one = Registration { topics: vec![("t1".into(), data(6))], ..broker(0, "a") };
        assert_eq!(register(&mut table, &one).topics_changed, 1);
        let none = Registration { topics: vec![], broker_name: "h".into(), ..broker(0, "b") };
        assert_eq!(register(&mut table, &none).topics_changed, 0);
        assert!(table.group("h").is_some());
    }

    #[test]
    fn the_same_version_changes_nothing() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        let mut again = broker(0, "a");
        again.topics[0].1.perm = 4;
        assert_eq!(register(&mut table, &again).topics_changed, 0);
        assert_eq!(perm(&table, "t1"), Some(6));
    }

    #[test]
    fn the_same_version_brings_back_a_deleted_topic() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        table.delete_topic("t1", None);
        assert_eq!(register(&mut table, &broker(0, "a")).topics_changed, 1);
        assert_eq!(perm(&table, "t1"), Some(6));
    }

    #[test]
    fn a_changed_version_replaces_only_what_changed() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        let mut newer = Registration { version: version(2, 0), ..broker(0, "a") };
        newer.topics[1].1.perm = 6;
        newer.topics.push(("t3".into(), data(6)));
        assert_eq!(register(&mut table, &newer).topics_changed, 2);
        assert_eq!(perm(&table, "t2"), Some(6));
        assert_eq!(perm(&table, "t3"), Some(6));
    }

    #[test]
    fn topics_that_are_not_named_any_more_stay_unless_configured() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        let mut fewer = Registration { version: version(2, 0), ..broker(0, "a") };
        fewer.topics.pop();
        register(&mut table, &fewer);
        assert_eq!(perm(&table, "t2"), Some(7));
        let fixed = Registration { has_static_topics: true, ..fewer.clone() };
        table.register(&fixed, true).unwrap();
        assert_eq!(perm(&table, "t2"), Some(7));
        assert_eq!(table.register(&fewer, true).unwrap().topics_changed, 1);
        assert_eq!(perm(&table, "t2"), None);
    }

    #[test]
    fn a_slave_brings_no_topics_and_is_told_its_master() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        let slave = Registration { topics: vec![("x".into(), data(6))], ..broker(1, "b") };
        let slave = register(&mut table, &slave);
        let told = Master { addr: "a".into(), ha_server_addr: "ha-a".into() };
        assert_eq!((slave.master, slave.topics_changed), (Some(told), 0));
        assert_eq!(table.queues("x"), None);
    }

    #[test]
    fn a_slave_of_4x_without_master_brings_no_topics() {
        let mut table = RouteTable::default();
        assert_eq!(register(&mut table, &broker(1, "b")).topics_changed, 0);
        let willing = Registration { enable_acting_master: Some(false), ..broker(1, "b") };
        assert_eq!(register(&mut table, &willing).topics_changed, 2);
        assert_eq!(perm(&table, "t1"), Some(6));
    }

    #[test]
    fn an_acting_master_brings_its_topics_without_write_permission() {
        let mut table = RouteTable::default();
        register(&mut table, &acting(2, "c"));
        assert_eq!((perm(&table, "t1"), perm(&table, "t2")), (Some(4), Some(5)));
        register(&mut table, &acting(0, "a"));
        assert_eq!((perm(&table, "t1"), perm(&table, "t2")), (Some(6), Some(7)));
        let more = Registration { topics: vec![("x".into(), data(6))], ..acting(1, "b") };
        assert_eq!(register(&mut table, &more).topics_changed, 0);
    }

    #[test]
    fn an_address_that_switches_its_role_gives_up_its_old_id() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        register(&mut table, &broker(1, "b"));
        table.unregister("g", "a");
        let switched = register(&mut table, &broker(0, "b"));
        assert_eq!(switched.replaced, None);
        assert_eq!(switched.min_id_changed.unwrap().targets, [Arc::from("b")]);
        assert_eq!(ids(&table), [(0, "b".into())]);
        register(&mut table, &broker(1, "a"));
        assert_eq!(ids(&table), [(0, "b".into()), (1, "a".into())]);
    }

    #[test]
    fn a_new_address_takes_an_id_over_from_one_of_the_same_state() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        let new = register(&mut table, &broker(0, "b"));
        assert_eq!(new.replaced, Some("a".into()));
        assert_eq!(ids(&table), [(0, "b".into())]);
    }

    #[test]
    fn a_registration_with_an_older_state_is_ignored() {
        let mut table = RouteTable::default();
        let newer = Registration { version: version(1, 5), ..broker(0, "a") };
        register(&mut table, &newer);
        let older = Registration {
            version: version(9, 4),
            topics: vec![("x".into(), data(6))],
            ..broker(0, "b")
        };
        let refused = table.register(&older, false).unwrap_err();
        assert_eq!(refused, Outdated { holder: "a".into(), holder_state_version: 5 });
        assert_eq!(ids(&table), [(0, "a".into())]);
        assert_eq!(table.queues("x"), None);
    }

    #[test]
    fn an_ignored_switch_of_role_still_gives_up_the_old_id() {
        let mut table = RouteTable::default();
        register(&mut table, &Registration { version: version(1, 5), ..broker(0, "a") });
        register(&mut table, &broker(1, "b"));
        assert!(table.register(&broker(0, "b"), false).is_err());
        assert_eq!(ids(&table), [(0, "a".into())]);
    }

    #[test]
    fn the_last_broker_takes_its_group_cluster_and_topics_along() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        register(&mut table, &broker(1, "b"));
        assert_eq!(table.unregister("g", "x"), None);
        assert_eq!(table.unregister("x", "a"), None);
        assert!(!table.unregister("g", "a").unwrap().group_gone);
        assert_eq!(perm(&table, "t1"), Some(6));
        assert!(table.unregister("g", "b").unwrap().group_gone);
        assert_eq!((table.groups().count(), table.topics().count()), (0, 0));
    }

    #[test]
    fn a_master_that_leaves_acting_slaves_takes_the_write_permission_along() {
        let mut table = RouteTable::default();
        register(&mut table, &acting(0, "a"));
        register(&mut table, &acting(1, "b"));
        register(&mut table, &acting(2, "c"));
        let left = table.unregister("g", "a").unwrap();
        assert_eq!((perm(&table, "t1"), perm(&table, "t2")), (Some(4), Some(5)));
        let notice = left.min_id_changed.unwrap();
        assert_eq!((notice.min_id, &*notice.min_addr), (1, "b"));
        assert_eq!(notice.offline_addr.as_deref(), Some("a"));
        assert_eq!(notice.targets, [Arc::from("b"), Arc::from("c")]);
        assert_eq!(table.unregister("g", "c").unwrap().min_id_changed, None);
    }

    #[test]
    fn a_smaller_id_is_told_to_the_others() {
        let mut table = RouteTable::default();
        assert_eq!(register(&mut table, &broker(2, "c")).min_id_changed, None);
        assert_eq!(register(&mut table, &broker(3, "d")).min_id_changed, None);
        let notice = register(&mut table, &broker(1, "b")).min_id_changed.unwrap();
        assert_eq!((notice.min_id, &*notice.min_addr), (1, "b"));
        assert_eq!((notice.offline_addr, notice.ha_server_addr), (None, Some("ha-b".into())));
        assert_eq!(notice.targets, [Arc::from("c"), Arc::from("d")]);
    }

    #[test]
    fn wiped_write_permission_comes_back_with_the_next_change_only() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        assert_eq!(table.wipe_write_perm("g"), 2);
        register(&mut table, &broker(0, "a"));
        assert_eq!((perm(&table, "t1"), perm(&table, "t2")), (Some(4), Some(5)));
        register(&mut table, &Registration { version: version(2, 0), ..broker(0, "a") });
        assert_eq!((perm(&table, "t1"), perm(&table, "t2")), (Some(6), Some(7)));
        assert_eq!(table.wipe_write_perm("unknown"), 0);
    }

    #[test]
    fn added_write_permission_is_read_and_write() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        table.wipe_write_perm("g");
        assert_eq!(table.add_write_perm("g"), 2);
        assert_eq!((perm(&table, "t1"), perm(&table, "t2")), (Some(6), Some(6)));
    }

    #[test]
    fn a_topic_is_deleted_everywhere_or_in_one_cluster() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        let other = Registration { cluster: "d".into(), broker_name: "h".into(), ..broker(0, "b") };
        register(&mut table, &other);
        assert!(!table.delete_topic("t1", Some("no such cluster")));
        assert!(table.delete_topic("t1", Some("c")));
        assert_eq!(perm(&table, "t1"), None);
        assert_eq!(table.queue_data("t1", "h"), Some(data(6)));
        assert!(table.delete_topic("t1", None));
        assert!(!table.delete_topic("t1", None));
    }

    #[test]
    fn a_topic_is_added_for_registered_groups_only() {
        let mut table = RouteTable::default();
        register(&mut table, &broker(0, "a"));
        let queues = vec![("g".into(), data(6)), ("x".into(), data(6))];
        assert_eq!(table.add_topic(&"new".into(), &queues), Err("x".into()));
        assert_eq!(table.queues("new"), None);
        assert_eq!(table.add_topic(&"new".into(), &queues[..1]), Ok(true));
        assert_eq!(table.add_topic(&"new".into(), &queues[..1]), Ok(false));
        assert_eq!(perm(&table, "new"), Some(6));
    }
}
