//! Finds the brokers, topics and queues that a run works on, and creates topics that are not there.
//!
//! With a name server every master that carries a topic gets load, and a topic that no broker carries
//! is created on every master. With one broker's address that broker alone is asked, which also works
//! where there is no name server. A topic that exists is left as it is: if it has fewer queues than
//! asked for, those are used.

use std::collections::BTreeMap;

use gantry_client::{Admin, Client, ClientConfig, TopicSpec};
use gantry_codec::body::TopicRouteData;

use crate::args::TargetArgs;
use crate::error::BenchError;

const MASTER_ID: i64 = 0;

/// One queue, on the broker that [`Target`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Topic.
    pub topic: String,
    /// Number within the topic.
    pub queue_id: i32,
}

/// One broker and the queues to use there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// Its queues, topic by topic in turn: neighbours in the list belong to different topics.
    pub queues: Vec<Queue>,
}

/// [`find`] on a runtime of its own.
///
/// # Errors
/// As [`find`].
pub fn find_blocking(args: &TargetArgs) -> Result<Vec<Target>, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(BenchError::Thread)?.block_on(find(args))
}

/// Finds the targets. Must be called inside a runtime.
///
/// # Errors
/// Servers that do not answer or refuse, or no broker at all.
pub async fn find(args: &TargetArgs) -> Result<Vec<Target>, BenchError> {
    let config = match &args.namesrv {
        Some(addresses) => ClientConfig::with_namesrv(addresses),
        None => ClientConfig::default(),
    };
    let client = Client::new(config);
    let admin = client.admin();
    let mut found = QueueCounts::default();
    for topic in args.topic_names() {
        match &args.broker {
            Some(broker) => found.ask_broker(&admin, broker, &topic, args.queue_count()).await?,
            None => found.ask_name_server(&admin, &topic, args.queue_count()).await?,
        }
    }
    Ok(found.into_targets())
}

impl TargetArgs {
    /// The topics that the options name.
    fn topic_names(&self) -> Vec<String> {
        match self.topics {
            Some(count) => (0..count.get()).map(|n| format!("{}-{n}", self.topic_prefix)).collect(),
            None if self.topic.is_empty() => vec![self.topic_prefix.clone()],
            None => self.topic.clone(),
        }
    }

    fn queue_count(&self) -> i32 {
        i32::try_from(self.queues.get()).unwrap_or(i32::MAX)
    }
}

/// By broker address: each topic with the number of queues to use.
#[derive(Debug, Default)]
struct QueueCounts(BTreeMap<String, Vec<(String, i32)>>);

impl QueueCounts {
    async fn ask_broker(
        &mut self,
        admin: &Admin,
        broker: &str,
        topic: &str,
        queues: i32,
    ) -> Result<(), BenchError> {
        let there = match admin.topic_stats(broker, topic).await? {
            Some(stats) => i32::try_from(stats.offset_table.0.len()).unwrap_or(i32::MAX),
            None => {
                admin.create_topic(broker, &TopicSpec::new(topic, queues)).await?;
                queues
            }
        };
        self.add(broker, topic, queues.min(there));
        Ok(())
    }

    async fn ask_name_server(
        &mut self,
        admin: &Admin,
        topic: &str,
        queues: i32,
    ) -> Result<(), BenchError> {
        if let Some(route) = admin.route(topic).await? {
            for (broker, there) in masters_of(&route) {
                self.add(&broker, topic, queues.min(there));
            }
            return Ok(());
        }
        let cluster = admin.cluster_info().await?;
        let brokers = cluster.broker_addr_table.values();
        let masters: Vec<_> =
            brokers.filter_map(|broker| broker.broker_addrs.get(&MASTER_ID)).collect();
        if masters.is_empty() {
            return Err(BenchError::NoBroker { topic: topic.to_owned() });
        }
        for broker in masters {
            admin.create_topic(broker, &TopicSpec::new(topic, queues)).await?;
            self.add(broker, topic, queues);
        }
        Ok(())
    }

    fn add(&mut self, broker: &str, topic: &str, queues: i32) {
        self.0.entry(broker.to_owned()).or_default().push((topic.to_owned(), queues));
    }

    fn into_targets(self) -> Vec<Target> {
        let targets = self.0.into_iter();
        targets.map(|(address, topics)| Target { address, queues: in_turn(&topics) }).collect()
    }
}

/// Masters in a route, with the queues that can be both written and read.
fn masters_of(route: &TopicRouteData) -> Vec<(String, i32)> {
    let address = |name: &str| {
        let broker = route.broker_datas.iter().find(|broker| broker.broker_name == name)?;
        broker.broker_addrs.get(&MASTER_ID).cloned()
    };
    let queues = route.queue_datas.iter();
    queues
        .filter_map(|data| {
            let count = data.write_queue_nums.min(data.read_queue_nums);
            Some((address(&data.broker_name)?, count))
        })
        .collect()
}

/// The first queue of every topic, then the second of every topic, and so on.
fn in_turn(topics: &[(String, i32)]) -> Vec<Queue> {
    let most = topics.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let queue = |topic: &String, queue_id| Queue { topic: topic.clone(), queue_id };
    (0..most)
        .flat_map(|id| {
            topics.iter().filter(move |(_, n)| id < *n).map(move |(topic, _)| queue(topic, id))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use gantry_codec::body::{BrokerData, QueueData};

    use super::*;

    #[test]
    fn queues_come_topic_by_topic() {
        let queues = in_turn(&[("a".into(), 1), ("b".into(), 2)]);
        let names: Vec<_> =
            queues.iter().map(|queue| (queue.topic.as_str(), queue.queue_id)).collect();
        assert_eq!(names, [("a", 0), ("b", 0), ("b", 1)]);
    }

    #[test]
    fn slaves_get_no_load() {
        let broker = |name: &str, id, address: &str| BrokerData {
            broker_name: name.into(),
            broker_addrs: BTreeMap::from([(id, address.to_owned())]),
            ..BrokerData::default()
        };
        let queue = |name: &str| QueueData {
            broker_name: name.into(),
            perm: 6,
            read_queue_nums: 4,
            write_queue_nums: 8,
            ..QueueData::default()
        };
        let route = TopicRouteData {
            broker_datas: vec![broker("a", 0, "a:1"), broker("b", 1, "b:1")],
            queue_datas: vec![queue("a"), queue("b")],
            ..TopicRouteData::default()
        };
        assert_eq!(masters_of(&route), [("a:1".to_owned(), 4)]);
    }
}
