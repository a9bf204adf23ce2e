//! The JSON bodies of the name server's answers, written from borrowed data.
//!
//! The same shapes as the bodies that `gantry_codec` reads, but without a string of their own for
//! every name: a list of 50,000 topics is written straight from the table. Field order is the
//! alphabetical order of the official server.

use std::{cell::Cell, collections::BTreeMap};

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::table::QueueData;

/// TopicRouteData.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route<'a> {
    /// The groups that carry the topic.
    pub broker_datas: Vec<Broker<'a>>,
    filter_server_table: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_topic_conf: Option<&'a str>,
    /// What each of them offers.
    pub queue_datas: Vec<Queue<'a>>,
}

/// An object without members; clients expect `filterServerTable` to be there.
#[derive(Serialize)]
struct Empty {}

impl<'a> Route<'a> {
    /// A route without brokers yet.
    pub fn new(order_topic_conf: Option<&'a str>) -> Self {
        Self {
            broker_datas: Vec::new(),
            filter_server_table: Empty {},
            order_topic_conf,
            queue_datas: Vec::new(),
        }
    }
}

/// BrokerData.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Broker<'a> {
    /// Addresses by broker id.
    pub broker_addrs: BTreeMap<i64, &'a str>,
    /// Name of the group.
    pub broker_name: &'a str,
    /// Its cluster.
    pub cluster: &'a str,
    /// Whether a slave may stand in for its master.
    pub enable_acting_master: bool,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<&'a str>,
}

/// QueueData.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue<'a> {
    broker_name: &'a str,
    perm: i32,
    read_queue_nums: i32,
    topic_sys_flag: i32,
    write_queue_nums: i32,
}

impl<'a> Queue<'a> {
    /// What the group of that name offers.
    pub fn new(broker_name: &'a str, data: QueueData) -> Self {
        Self {
            broker_name,
            perm: data.perm,
            read_queue_nums: data.read_queue_nums,
            topic_sys_flag: data.topic_sys_flag,
            write_queue_nums: data.write_queue_nums,
        }
    }
}

/// ClusterInfo.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo<'a> {
    /// Groups by name.
    pub broker_addr_table: BTreeMap<&'a str, Broker<'a>>,
    /// Names of groups by cluster.
    pub cluster_addr_table: BTreeMap<&'a str, Vec<&'a str>>,
}

/// The answer to GET_BROKER_MEMBER_GROUP.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberGroup<'a> {
    broker_member_group: Members<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    broker_addrs: BTreeMap<i64, &'a str>,
    broker_name: &'a str,
    cluster: &'a str,
}

impl<'a> MemberGroup<'a> {
    /// The brokers of a group by id.
    pub fn new(
        broker_addrs: BTreeMap<i64, &'a str>,
        broker_name: &'a str,
        cluster: &'a str,
    ) -> Self {
        Self { broker_member_group: Members { broker_addrs, broker_name, cluster } }
    }
}

/// The body of a TopicList.
pub fn topic_list<'a>(topics: impl Iterator<Item = &'a str>, broker_addr: Option<&str>) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct TopicList<'b, S: Serialize> {
        #[serde(skip_serializing_if = "Option::is_none")]
        broker_addr: Option<&'b str>,
        topic_list: S,
    }
    body(&TopicList { broker_addr, topic_list: Sequence(Cell::new(Some(topics))) })
}

/// The body of a KVTable.
pub fn key_values(pairs: &BTreeMap<String, String>) -> Bytes {
    #[derive(Serialize)]
    struct KvTable<'a> {
        table: &'a BTreeMap<String, String>,
    }
    body(&KvTable { table: pairs })
}

/// An iterator as a JSON array; it can be written once.
struct Sequence<I>(Cell<Option<I>>);

impl<I: Iterator<Item: Serialize>> Serialize for Sequence<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

/// Compact JSON.
pub fn body<T: Serialize>(value: &T) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(json) => json.into(),
        Err(e) => panic!("writing maps and strings as JSON cannot fail, but: {e}"),
    }
}
