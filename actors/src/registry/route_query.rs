//! Questions about routes, answered from a published table with no message to anybody.
//!
//! [`RouteView`] is the atomic pointer between the registry, which alone stores to it, and the
//! connections, which load it. A route is put together from the topic's queue data and the groups
//! that it names: one look-up and a few hundred bytes of JSON, whatever the size of the table.
//!
//! All bodies are compact standard JSON with quoted keys in alphabetical order, which every client
//! reads: Java takes quoted and bare integer keys, Go cuts `brokerAddrs` apart at `,` and `:` and so
//! must not find blanks in it (wire.md 4.4).

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;

use super::{
    route_json::{self, Broker, ClusterInfo, MemberGroup, Queue, Route},
    table::{BrokerGroup, MASTER_ID, PERM_WRITE, RouteTable},
};

/// Topics whose route shows slaves as what they are, so that brokers find each other by it.
const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
const UNIT_FLAG: i32 = 1;
const UNIT_SUB_FLAG: i32 = 2;

/// The current route table, shared by all connections.
#[derive(Debug, Default)]
pub struct RouteView(ArcSwap<RouteTable>);

impl RouteView {
    /// The table as it is now.
    pub fn load(&self) -> Guard<Arc<RouteTable>> {
        self.0.load()
    }

    /// Replaces the table. For the registry alone.
    pub(super) fn publish(&self, table: &RouteTable) {
        self.0.store(Arc::new(table.clone()));
    }
}

/// Which topics a list of topics holds, by their flags (codes 311 to 313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitTopics {
    /// Topics of a unit.
    Unit,
    /// Topics with unit subscriptions.
    HasUnitSub,
    /// Topics with unit subscriptions that are not of a unit themselves.
    HasUnitSubNotUnit,
}

impl UnitTopics {
    fn holds(self, topic_sys_flag: i32) -> bool {
        let (unit, sub) = (topic_sys_flag & UNIT_FLAG != 0, topic_sys_flag & UNIT_SUB_FLAG != 0);
        match self {
            Self::Unit => unit,
            Self::HasUnitSub => sub,
            Self::HasUnitSubNotUnit => sub && !unit,
        }
    }
}

impl RouteTable {
    /// The body of a route answer; None if no broker carries the topic.
    ///
    /// `acting_master`: a group without master shows its smallest slave as master if it allows that
    /// and the topic cannot be written to there.
    pub fn route(
        &self,
        topic: &str,
        acting_master: bool,
        order_topic_conf: Option<&str>,
    ) -> Option<Bytes> {
        let acting_master = acting_master && !topic.starts_with(SYNC_BROKER_MEMBER_PREFIX);
        let queues = self.queues(topic)?;
        let mut route = Route::new(order_topic_conf);
        for (name, data) in queues {
            let Some(group) = self.group(name) else { continue };
            let acting = acting_master && data.perm & PERM_WRITE == 0;
            route.broker_datas.push(broker(name, group, acting));
            route.queue_datas.push(Queue::new(name, *data));
        }
        (!route.broker_datas.is_empty()).then(|| route_json::body(&route))
    }

    /// All clusters and groups (106).
    pub fn cluster_info(&self) -> Bytes {
        let brokers = self.groups().map(|(name, group)| (&**name, broker(name, group, false)));
        route_json::body(&ClusterInfo {
            broker_addr_table: brokers.collect(),
            cluster_addr_table: self.clusters(),
        })
    }

    /// The brokers of one group (901); an unknown group has none.
    pub fn member_group(&self, cluster: &str, broker_name: &str) -> Bytes {
        let broker_addrs = self.group(broker_name).map(|group| addrs(group)).unwrap_or_default();
        route_json::body(&MemberGroup::new(broker_addrs, broker_name, cluster))
    }

    /// All topics (206).
    pub fn topic_list(&self) -> Bytes {
        route_json::topic_list(self.topics().map(|(topic, _)| &**topic), None)
    }

    /// The topics that some group of a cluster carries (224).
    pub fn topics_by_cluster(&self, cluster: &str) -> Bytes {
        let inside = |name: &str| self.group(name).is_some_and(|group| &*group.cluster == cluster);
        let carried = self.topics().filter(|(_, queues)| queues.iter().any(|(n, _)| inside(n)));
        route_json::topic_list(carried.map(|(topic, _)| &**topic), None)
    }

    /// Topics by their flags (311 to 313); the flags of the first group count.
    pub fn unit_topics(&self, which: UnitTopics) -> Bytes {
        let fits = self.topics().filter(|(_, queues)| {
            queues.first().is_some_and(|(_, data)| which.holds(data.topic_sys_flag))
        });
        route_json::topic_list(fits.map(|(topic, _)| &**topic), None)
    }

    /// The topics named after clusters and groups, and one broker to ask for the others (304).
    pub fn system_topics(&self) -> Bytes {
        let clusters = self.clusters();
        let names = clusters
            .iter()
            .flat_map(|(cluster, groups)| std::iter::once(*cluster).chain(groups.iter().copied()));
        let first = self.groups().next().and_then(|(_, group)| group.min_member());
        route_json::topic_list(names, first.map(|(_, member)| &*member.addr))
    }

    fn clusters(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut clusters = BTreeMap::<&str, Vec<&str>>::new();
        for (name, group) in self.groups() {
            clusters.entry(&*group.cluster).or_default().push(&**name);
        }
        clusters
    }
}

fn addrs(group: &BrokerGroup) -> BTreeMap<i64, &str> {
    group.members.iter().map(|(id, member)| (*id, &*member.addr)).collect()
}

fn broker<'a>(name: &'a str, group: &'a BrokerGroup, acting_master: bool) -> Broker<'a> {
    let mut broker_addrs = addrs(group);
    if acting_master
        && group.enable_acting_master
        && group.lacks_master()
        && let Some((_, smallest)) = broker_addrs.pop_first()
    {
        broker_addrs.insert(MASTER_ID, smallest);
    }
    Broker {
        broker_addrs,
        broker_name: name,
        cluster: &group.cluster,
        enable_acting_master: group.enable_acting_master,
        zone_name: group.zone_name.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::{
        body::{BrokerMemberGroupBody, ClusterInfo, DataVersion, TopicList, TopicRouteData},
        fastjson,
    };

    use super::*;
    use crate::{
        net::ConnectionId,
        registry::{registration::Registration, table::QueueData},
    };

    fn data(perm: i32, topic_sys_flag: i32) -> QueueData {
        QueueData { read_queue_nums: 8, write_queue_nums: 4, perm, topic_sys_flag }
    }

    fn broker(cluster: &str, name: &str, id: i64, addr: &str) -> Registration {
        Registration {
            cluster: cluster.into(),
            broker_name: name.into(),
            addr: addr.into(),
            broker_id: id,
            ha_server_addr: "ha".into(),
            zone_name: None,
            enable_acting_master: Some(false),
            heartbeat_timeout: None,
            topics: vec![("t".into(), data(6, 0)), (format!("only-{name}").into(), data(6, 0))],
            has_static_topics: false,
            version: DataVersion::default(),
            connection: ConnectionId(1),
        }
    }

    fn table(brokers: &[Registration]) -> RouteTable {
        let mut table = RouteTable::default();
        for broker in brokers {
            table.register(broker, false).unwrap();
        }
        table
    }

    fn text(body: Bytes) -> String {
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_route_is_compact_and_in_the_official_order() {
        let table =
            table(&[broker("c", "a", 0, "10.0.0.1:10911"), broker("c", "a", 1, "10.0.0.2:10911")]);
        assert_eq!(
            text(table.route("t", false, None).unwrap()),
            concat!(
                r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"#,
                r#""brokerName":"a","cluster":"c","enableActingMaster":false}],"#,
                r#""filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"#,
                r#""readQueueNums":8,"topicSysFlag":0,"writeQueueNums":4}]}"#
            )
        );
    }

    #[test]
    fn what_is_written_can_be_read() {
        let zoned = Registration { zone_name: Some("z".into()), ..broker("c", "b", 3, "y") };
        let table = table(&[broker("c", "a", 0, "x"), zoned]);
        fn read<T: serde::de::DeserializeOwned>(body: Bytes) -> T {
            fastjson::from_slice(&body).unwrap()
        }
        let route: TopicRouteData = read(table.route("t", false, Some("a:4")).unwrap());
        assert_eq!(route.broker_datas[0].broker_addrs[&0], "x");
        assert_eq!(route.queue_datas[0].write_queue_nums, 4);
        assert_eq!(route.order_topic_conf.as_deref(), Some("a:4"));
        let info: ClusterInfo = read(table.cluster_info());
        assert_eq!(info.broker_addr_table["b"].zone_name.as_deref(), Some("z"));
        assert_eq!(info.broker_addr_table["b"].broker_addrs[&3], "y");
        let list: TopicList = read(table.system_topics());
        assert_eq!(list.broker_addr.as_deref(), Some("x"));
        let group: BrokerMemberGroupBody = read(table.member_group("c", "b"));
        assert_eq!(group.broker_member_group.unwrap().broker_addrs[&3], "y");
    }

    #[test]
    fn a_route_names_every_group_that_carries_the_topic() {
        let zoned = Registration { zone_name: Some("z".into()), ..broker("c", "b", 0, "y") };
        let table = table(&[broker("c", "a", 0, "x"), zoned]);
        let route = text(table.route("t", false, Some("a:4;b:2")).unwrap());
        assert!(route.contains(r#""orderTopicConf":"a:4;b:2""#), "{route}");
        assert!(route.contains(r#""zoneName":"z""#), "{route}");
        assert_eq!(route.matches("readQueueNums").count(), 2);
        let route = text(table.route("only-b", false, None).unwrap());
        assert!(!route.contains(r#""a""#) && !route.contains("orderTopicConf"), "{route}");
    }

    #[test]
    fn an_unknown_topic_has_no_route() {
        assert_eq!(table(&[broker("c", "a", 0, "x")]).route("u", true, None), None);
    }

    #[test]
    fn the_smallest_slave_stands_in_for_the_master_where_nobody_can_write() {
        let acting = |id, addr| Registration {
            enable_acting_master: Some(true),
            topics: vec![
                ("t".into(), data(6, 0)),
                ("rmq_sys_SYNC_BROKER_MEMBER_a".into(), data(4, 0)),
            ],
            ..broker("c", "a", id, addr)
        };
        let mut table = table(&[acting(1, "x"), acting(2, "y")]);
        let addrs = |table: &RouteTable, topic: &str, support| {
            let route: serde_json::Value =
                serde_json::from_slice(&table.route(topic, support, None).unwrap()).unwrap();
            route["brokerDatas"][0]["brokerAddrs"].to_string()
        };
        assert_eq!(addrs(&table, "t", true), r#"{"0":"x","2":"y"}"#);
        assert_eq!(addrs(&table, "t", false), r#"{"1":"x","2":"y"}"#);
        assert_eq!(addrs(&table, "rmq_sys_SYNC_BROKER_MEMBER_a", true), r#"{"1":"x","2":"y"}"#);
        table.add_write_perm("a");
        assert_eq!(addrs(&table, "t", true), r#"{"1":"x","2":"y"}"#);
    }

    #[test]
    fn clusters_list_their_groups() {
        let table =
            table(&[broker("c", "a", 0, "x"), broker("c", "b", 0, "y"), broker("d", "e", 3, "z")]);
        let info: serde_json::Value = serde_json::from_slice(&table.cluster_info()).unwrap();
        assert_eq!(info["clusterAddrTable"].to_string(), r#"{"c":["a","b"],"d":["e"]}"#);
        assert_eq!(
            info["brokerAddrTable"]["e"].to_string(),
            r#"{"brokerAddrs":{"3":"z"},"brokerName":"e","cluster":"d","enableActingMaster":false}"#
        );
    }

    #[test]
    fn topics_are_listed_all_by_cluster_and_by_name() {
        let table = table(&[broker("c", "a", 0, "x"), broker("d", "b", 0, "y")]);
        assert_eq!(text(table.topic_list()), r#"{"topicList":["only-a","only-b","t"]}"#);
        assert_eq!(text(table.topics_by_cluster("d")), r#"{"topicList":["only-b","t"]}"#);
        assert_eq!(text(table.topics_by_cluster("e")), r#"{"topicList":[]}"#);
        assert_eq!(
            text(table.system_topics()),
            r#"{"brokerAddr":"x","topicList":["c","a","d","b"]}"#
        );
        assert_eq!(text(RouteTable::default().system_topics()), r#"{"topicList":[]}"#);
    }

    #[test]
    fn topics_are_listed_by_their_unit_flags() {
        let topics = (0..4).map(|flag| (format!("f{flag}").into(), data(6, flag))).collect();
        let table = table(&[Registration { topics, ..broker("c", "a", 0, "x") }]);
        let list = |which| text(table.unit_topics(which));
        assert_eq!(list(UnitTopics::Unit), r#"{"topicList":["f1","f3"]}"#);
        assert_eq!(list(UnitTopics::HasUnitSub), r#"{"topicList":["f2","f3"]}"#);
        assert_eq!(list(UnitTopics::HasUnitSubNotUnit), r#"{"topicList":["f2"]}"#);
    }

    #[test]
    fn the_members_of_a_group_are_told_by_id() {
        let table = table(&[broker("c", "a", 0, "x"), broker("c", "a", 2, "y")]);
        assert_eq!(
            text(table.member_group("c", "a")),
            r#"{"brokerMemberGroup":{"brokerAddrs":{"0":"x","2":"y"},"brokerName":"a","cluster":"c"}}"#
        );
        assert_eq!(
            text(table.member_group("c", "u")),
            r#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"u","cluster":"c"}}"#
        );
    }
}
