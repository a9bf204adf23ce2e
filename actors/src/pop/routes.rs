//! All queues of a topic, those of other brokers too, for assignments (QUERY_ASSIGNMENT).
//!
//! A client asks one broker of a topic which queues are its share, so that broker has to know the others':
//! it asks the name servers, as clients do, and keeps an answer for a few seconds. Its own queues it
//! knows better. While no name server answers, old answers are used; without one there is no
//! assignment, since a client gives up what it is not assigned.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gantry_client::{Client, ClientConfig, TopicRoute};
use gantry_codec::body::MessageQueue;
use tokio::time::Instant;

/// How long an answer of the name servers is taken for the truth.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// Answers kept; clients of a broker use few topics.
const KEPT_MAX: usize = 10_000;

/// See the module's text. Clones are the same.
#[derive(Clone)]
pub struct QueueRoutes(Arc<Inner>);

struct Inner {
    /// None: there is no name server, and so no other broker.
    client: Option<Client>,
    broker_name: Arc<str>,
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Clone)]
struct Kept {
    at: Instant,
    others: Arc<[MessageQueue]>,
}

impl QueueRoutes {
    /// Asks the name servers of `config`, if there are any, for the broker of that name.
    pub fn new(config: ClientConfig, broker_name: Arc<str>) -> Self {
        let client = (!config.namesrv.is_empty()).then(|| Client::new(config));
        Self(Arc::new(Inner { client, broker_name, kept: Mutex::default() }))
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        // Entries are replaced whole.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All queues of the topic, given this broker's `own`, if it has the topic. None: nobody has it, or
    /// it is not known who does.
    pub async fn all(
        &self,
        topic: &str,
        own: Option<Vec<MessageQueue>>,
    ) -> Option<Vec<MessageQueue>> {
        let Some(client) = &self.0.client else { return own };
        let others = self.others(client, topic).await?;
        if own.is_none() && others.is_empty() {
            return None;
        }
        let mut all = own.unwrap_or_default();
        all.extend(others.iter().cloned());
        Some(all)
    }

    async fn others(&self, client: &Client, topic: &str) -> Option<Arc<[MessageQueue]>> {
        let kept = self.kept().get(topic).cloned();
        if let Some(kept) = &kept
            && kept.at.elapsed() < FRESH_FOR
        {
            return Some(kept.others.clone());
        }
        let Ok(route) = client.admin().route(topic).await else {
            return kept.map(|kept| kept.others);
        };
        let route = route.map(|route| TopicRoute::new(topic, &route)).unwrap_or_default();
        let others = others_of(route, &self.0.broker_name);
        let mut all = self.kept();
        if all.len() >= KEPT_MAX {
            all.clear();
        }
        all.insert(topic.to_owned(), Kept { at: Instant::now(), others: others.clone() });
        Some(others)
    }
}

/// The queues of a route that are on other brokers than this.
fn others_of(route: TopicRoute, broker_name: &str) -> Arc<[MessageQueue]> {
    let others = route.subscribe.into_iter().filter(|queue| queue.broker_name != broker_name);
    others.collect()
}

#[cfg(test)]
mod tests {
    use gantry_client::{Connecting, Connector};

    use super::*;

    /// Nobody can be reached.
    struct Nobody;

    impl Connector for Nobody {
        fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
            Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
        }
    }

    fn queue(broker: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: "t".into(), broker_name: broker.into(), queue_id }
    }

    #[test]
    fn a_route_tells_of_the_other_brokers() {
        let subscribe = vec![queue("a", 0), queue("b", 0), queue("b", 1)];
        let route = TopicRoute { subscribe, ..TopicRoute::default() };
        assert_eq!(*others_of(route, "b"), [queue("a", 0)]);
    }

    #[tokio::test]
    async fn a_broker_without_name_server_knows_its_own_queues_only() {
        let config = ClientConfig { namesrv: Vec::new(), ..ClientConfig::default() };
        let routes = QueueRoutes::new(config, "b".into());
        assert_eq!(routes.all("t", None).await, None);
        assert_eq!(routes.all("t", Some(vec![queue("b", 0)])).await, Some(vec![queue("b", 0)]));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_what_was_answered_before_counts_and_else_nothing() {
        let mut config = ClientConfig::with_namesrv("namesrv:9876");
        config.connector = Arc::new(Nobody);
        let routes = QueueRoutes::new(config, "b".into());
        let own = || Some(vec![queue("b", 0)]);
        assert_eq!(routes.all("t", own()).await, None, "a client keeps what it has");
        let others: Arc<[MessageQueue]> = Arc::new([queue("a", 0)]);
        let old = Kept { at: Instant::now(), others };
        routes.kept().insert("t".into(), old);
        let both = Some(vec![queue("b", 0), queue("a", 0)]);
        assert_eq!(routes.all("t", own()).await, both);
        tokio::time::advance(FRESH_FOR * 2).await;
        assert_eq!(routes.all("t", own()).await, both);
    }
}
