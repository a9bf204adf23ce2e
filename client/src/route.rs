//! Where a topic's queues are: what the name servers say, turned into queue lists, and a cache of it.
//!
//! Turning a route into queues is a set of plain functions on [`TopicRoute`]; [`RouteCache`] asks
//! (code 105), keeps the last answer, and keeps it also when asking again fails: old routes are
//! better than none while the name servers are away. A topic that nobody knows yet gets the queues of
//! the template topic TBW102, if that is there: brokers that carry it create topics on the first
//! send. Such a borrowed route is not kept, so the topic's own is found as soon as it exists.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_codec::body::{BrokerData, MessageQueue, QueueData, TopicRouteData};
use gantry_codec::requests::route::RouteHeader;
use gantry_codec::{Command, request_code, response_code};
use thiserror::Error;

use crate::error::CallError;
use crate::remoting::{Remoting, json_body};

/// The topic whose queues stand in for those of a topic yet to be created.
pub const TEMPLATE_TOPIC: &str = "TBW102";

const PERM_READ: i32 = 4;
const PERM_WRITE: i32 = 2;
const MASTER_ID: i64 = 0;

/// A queue or its broker could not be found.
#[derive(Debug, Clone, Error)]
pub enum RouteError {
    /// No name server gave an answer that can be used.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No broker carries the topic, and none would create it.
    #[error("no broker carries topic {topic}")]
    NoRoute {
        /// The topic.
        topic: String,
    },
    /// The broker is not among those of the topic.
    #[error("broker {broker_name} has no address in the route of topic {topic}")]
    NoBroker {
        /// The topic.
        topic: String,
        /// The broker's name.
        broker_name: String,
    },
}

impl RouteError {
    pub(crate) fn no_broker(queue: &MessageQueue) -> RouteError {
        RouteError::NoBroker { topic: queue.topic.clone(), broker_name: queue.broker_name.clone() }
    }
}

/// A topic's queues and the brokers that hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicRoute {
    /// Queues to send to, in the order of the name server's answer.
    pub publish: Vec<MessageQueue>,
    /// Queues to consume from.
    pub subscribe: Vec<MessageQueue>,
    /// The brokers: name to (id to address); id 0 is the master.
    pub brokers: HashMap<String, HashMap<i64, String>>,
    /// Whether this is the template's route, lent to a topic that does not exist yet.
    pub borrowed: bool,
}

impl TopicRoute {
    /// Reads a name server's answer.
    pub fn new(topic: &str, data: &TopicRouteData) -> TopicRoute {
        let brokers = broker_table(&data.broker_datas);
        let publish = match data.order_topic_conf.as_deref().filter(|conf| !conf.is_empty()) {
            Some(conf) => ordered_queues(topic, conf),
            None => publish_queues(topic, &data.queue_datas, &brokers),
        };
        let subscribe = subscribe_queues(topic, &data.queue_datas);
        TopicRoute { publish, subscribe, brokers, borrowed: false }
    }

    /// The template's route lent to `topic`: at most `queues` queues of each broker.
    pub fn lend(topic: &str, template: &TopicRouteData, queues: i32) -> TopicRoute {
        let mut data = template.clone();
        for queue_data in &mut data.queue_datas {
            let lent = queues.min(queue_data.read_queue_nums);
            queue_data.read_queue_nums = lent;
            queue_data.write_queue_nums = lent;
        }
        TopicRoute { borrowed: true, ..TopicRoute::new(topic, &data) }
    }

    /// The address of a broker's master.
    pub fn master(&self, broker_name: &str) -> Option<&str> {
        self.replica(broker_name, MASTER_ID)
    }

    /// The address of the broker with this id.
    pub fn replica(&self, broker_name: &str, broker_id: i64) -> Option<&str> {
        Some(self.brokers.get(broker_name)?.get(&broker_id)?.as_str())
    }

    /// The address to read from: the broker with this id if it is there, else the master, else
    /// whichever has the lowest id.
    pub fn reader(&self, broker_name: &str, broker_id: i64) -> Option<&str> {
        let replicas = self.brokers.get(broker_name)?;
        let lowest = || replicas.keys().min().and_then(|id| replicas.get(id));
        let found = replicas.get(&broker_id).or_else(|| replicas.get(&MASTER_ID)).or_else(lowest);
        found.map(String::as_str)
    }
}

fn broker_table(brokers: &[BrokerData]) -> HashMap<String, HashMap<i64, String>> {
    brokers
        .iter()
        .map(|broker| {
            let addresses = broker.broker_addrs.iter().map(|(id, address)| (*id, address.clone()));
            (broker.broker_name.clone(), addresses.collect())
        })
        .collect()
}

/// The write queues of every broker that may be written to and has a master.
fn publish_queues(
    topic: &str,
    queue_datas: &[QueueData],
    brokers: &HashMap<String, HashMap<i64, String>>,
) -> Vec<MessageQueue> {
    let has_master =
        |name: &str| brokers.get(name).is_some_and(|broker| broker.contains_key(&MASTER_ID));
    queue_datas
        .iter()
        .filter(|data| data.perm & PERM_WRITE != 0 && has_master(&data.broker_name))
        .flat_map(|data| queues(topic, &data.broker_name, data.write_queue_nums))
        .collect()
}

fn subscribe_queues(topic: &str, queue_datas: &[QueueData]) -> Vec<MessageQueue> {
    queue_datas
        .iter()
        .filter(|data| data.perm & PERM_READ != 0)
        .flat_map(|data| queues(topic, &data.broker_name, data.read_queue_nums))
        .collect()
}

/// The queues of an order configuration: `broker-a:4;broker-b:2`. Parts that are not of this form are
/// left out.
fn ordered_queues(topic: &str, conf: &str) -> Vec<MessageQueue> {
    conf.split(';')
        .filter_map(|part| part.split_once(':'))
        .filter_map(|(broker_name, count)| Some((broker_name, count.trim().parse().ok()?)))
        .flat_map(|(broker_name, count)| queues(topic, broker_name, count))
        .collect()
}

fn queues(topic: &str, broker_name: &str, count: i32) -> impl Iterator<Item = MessageQueue> {
    (0..count).map(move |queue_id| MessageQueue {
        topic: topic.to_owned(),
        broker_name: broker_name.to_owned(),
        queue_id,
    })
}

/// The routes in use.
#[derive(Debug)]
pub struct RouteCache {
    remoting: Arc<Remoting>,
    routes: Mutex<HashMap<String, Arc<TopicRoute>>>,
}

impl RouteCache {
    pub(crate) fn new(remoting: Arc<Remoting>) -> RouteCache {
        RouteCache { remoting, routes: Mutex::default() }
    }

    /// The topic's route: the cached one, else what the name servers say.
    ///
    /// # Errors
    /// NoRoute, or the name servers' failure.
    pub async fn get(&self, topic: &str) -> Result<Arc<TopicRoute>, RouteError> {
        match self.cached(topic) {
            Some(route) => Ok(route),
            None => self.refresh(topic).await,
        }
    }

    /// The topic's route for sending: the template's if the topic does not exist yet.
    ///
    /// # Errors
    /// NoRoute when the template is not there either, or the name servers' failure.
    pub async fn get_or_borrow(&self, topic: &str) -> Result<Arc<TopicRoute>, RouteError> {
        match self.get(topic).await {
            Err(RouteError::NoRoute { .. }) => {}
            found => return found,
        }
        let Some(template) = self.fetch(TEMPLATE_TOPIC).await? else {
            return Err(RouteError::NoRoute { topic: topic.to_owned() });
        };
        let queues = self.remoting.config().default_topic_queues;
        Ok(Arc::new(TopicRoute::lend(topic, &template, queues)))
    }

    /// Asks for the topic's route and keeps the answer. A cached route stays if asking fails, and goes
    /// if the topic is gone.
    ///
    /// # Errors
    /// NoRoute, or the name servers' failure.
    pub async fn refresh(&self, topic: &str) -> Result<Arc<TopicRoute>, RouteError> {
        match self.fetch(topic).await? {
            Some(data) => {
                let route = Arc::new(TopicRoute::new(topic, &data));
                self.lock().insert(topic.to_owned(), Arc::clone(&route));
                Ok(route)
            }
            None => {
                self.lock().remove(topic);
                Err(RouteError::NoRoute { topic: topic.to_owned() })
            }
        }
    }

    /// Asks for the routes of all topics in use again. Failures leave what is cached.
    pub async fn refresh_all(&self) {
        let mut topics: Vec<String> = self.lock().keys().cloned().collect();
        // The table's own order differs from run to run.
        topics.sort();
        for topic in topics {
            let _ = self.refresh(&topic).await;
        }
    }

    /// Every broker address in the cached routes, with its id; each address once.
    pub fn broker_addresses(&self) -> Vec<(i64, String)> {
        let routes = self.lock();
        let brokers = routes.values().flat_map(|route| route.brokers.values());
        let mut addresses: Vec<_> =
            brokers.flatten().map(|(id, address)| (*id, address.clone())).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// A name server's answer for `topic`; None when it knows no route.
    ///
    /// # Errors
    /// The name servers' failure.
    pub async fn fetch(&self, topic: &str) -> Result<Option<TopicRouteData>, CallError> {
        let code = request_code::GET_ROUTEINFO_BY_TOPIC;
        let header = RouteHeader { topic: topic.to_owned(), accept_standard_json_only: true };
        let request = Command::request(code).with_header(&header);
        match self.remoting.call_namesrv(request).await {
            Ok(answer) => json_body("the name server", code, &answer).map(Some),
            Err(error) if error.code() == Some(response_code::TOPIC_NOT_EXIST) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn cached(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        self.lock().get(topic).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<TopicRoute>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(perm: i32, order_topic_conf: Option<&str>) -> TopicRouteData {
        let broker = |name: &str, id| BrokerData {
            broker_name: name.into(),
            broker_addrs: [(id, format!("{name}:{id}"))].into(),
            ..BrokerData::default()
        };
        let queues = |name: &str| QueueData {
            broker_name: name.into(),
            perm,
            read_queue_nums: 2,
            write_queue_nums: 1,
            ..QueueData::default()
        };
        TopicRouteData {
            broker_datas: vec![broker("a", 0), broker("b", 1)],
            queue_datas: vec![queues("a"), queues("b")],
            order_topic_conf: order_topic_conf.map(str::to_owned),
            ..TopicRouteData::default()
        }
    }

    fn names(queues: &[MessageQueue]) -> Vec<(&str, i32)> {
        queues.iter().map(|queue| (queue.broker_name.as_str(), queue.queue_id)).collect()
    }

    #[test]
    fn only_masters_are_written_to_and_slaves_are_read() {
        let route = TopicRoute::new("T", &data(6, None));
        assert_eq!(names(&route.publish), [("a", 0)]);
        assert_eq!(names(&route.subscribe), [("a", 0), ("a", 1), ("b", 0), ("b", 1)]);
    }

    #[test]
    fn permissions_rule_both_lists() {
        assert!(TopicRoute::new("T", &data(PERM_READ, None)).publish.is_empty());
        assert!(TopicRoute::new("T", &data(PERM_WRITE, None)).subscribe.is_empty());
    }

    #[test]
    fn an_order_configuration_alone_says_where_to_publish() {
        let route = TopicRoute::new("T", &data(6, Some("b:2;nonsense;a:x;c:1")));
        assert_eq!(names(&route.publish), [("b", 0), ("b", 1), ("c", 0)]);
        assert_eq!(names(&TopicRoute::new("T", &data(6, Some(""))).publish), [("a", 0)]);
    }

    #[test]
    fn readers_go_where_they_are_told_or_else_to_the_master_or_else_anywhere() {
        let mut route = TopicRoute::new("T", &data(6, None));
        assert_eq!(route.reader("a", 1), Some("a:0"));
        assert_eq!(route.reader("b", 0), Some("b:1"));
        assert_eq!(route.reader("c", 0), None);
        assert_eq!(route.master("b"), None);
        let replicas = route.brokers.get_mut("a").expect("broker a");
        replicas.insert(1, "a:1".into());
        assert_eq!(route.reader("a", 1), Some("a:1"));
    }
}
