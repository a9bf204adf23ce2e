//! The task that keeps a member's share of the queues, and the locks of an orderly group.
//!
//! It shares out anew when a broker says that members have changed, when a pull has failed (the connection
//! may be a new one, on which the broker does not know the member yet), and every so often; soon again when
//! something stood in the way. Each round begins with a heartbeat, so that the broker counts this
//! member when it tells who the members are.
//!
//! In a broadcasting group every member has all queues, and asks nobody.
//!
//! A queue that goes to another member is given up by its worker first; in order its lock is given
//! up after that. A queue that comes is begun at once, in order once its lock was granted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_codec::body::{ConsumeType, ConsumerData, LockBatchRequest, MessageModel, MessageQueue};
use gantry_codec::filter::SubscriptionData;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::allocation::share;
use super::notices::Notices;
use super::worker::{Common, End, Held, Worker};
use crate::consumer::Filter;
use crate::route::TopicRoute;

/// After a round that something stood in the way of.
const SOON: Duration = Duration::from_secs(1);
/// Between two rounds at least; notifications come in bursts.
const PAUSE: Duration = Duration::from_millis(20);

/// A queue that is consumed.
struct Running {
    held: Arc<Held>,
    end: watch::Sender<End>,
    task: JoinHandle<()>,
}

/// What is ours of a topic.
struct Share {
    queues: BTreeSet<MessageQueue>,
    /// The brokers count us among the members.
    is_member: bool,
    /// Nobody else is a member.
    alone: bool,
}

/// See the module's text.
pub(super) struct Membership {
    common: Common,
    notices: Arc<Notices>,
    owned: Arc<Mutex<Vec<MessageQueue>>>,
    /// Topic to filter, the retry topic's among them.
    topics: BTreeMap<String, Filter>,
    running: BTreeMap<MessageQueue, Running>,
    next_renewal: Instant,
}

impl Membership {
    pub(super) fn new(
        common: Common,
        notices: Arc<Notices>,
        owned: Arc<Mutex<Vec<MessageQueue>>>,
    ) -> Membership {
        let mut topics: BTreeMap<_, _> = common.config.subscriptions.iter().cloned().collect();
        if common.local.is_none() {
            topics.insert(common.config.retry_topic(), Filter::all());
        }
        let next_renewal = Instant::now() + common.config.lock_interval;
        Membership { common, notices, owned, topics, running: BTreeMap::new(), next_renewal }
    }

    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        self.common.client.inner().groups.add_consumer(self.consumer_data());
        let mut next_round = Instant::now();
        loop {
            let troubled = Arc::clone(&self.common.troubled);
            tokio::select! {
                biased;
                // A consumer that was dropped is aborted; a sender that is gone means the same as a word.
                _ = &mut stopped => break,
                () = self.notices.wake.notified() => next_round = Instant::now() + PAUSE,
                () = troubled.notified() => next_round = Instant::now() + PAUSE,
                () = sleep_until(next_round.min(self.next_renewal)) => {}
            }
            self.take_resets().await;
            if Instant::now() >= self.next_renewal {
                self.renew().await;
            }
            if Instant::now() >= next_round {
                let settled = self.round().await;
                let wait = if settled { self.common.config.rebalance_interval } else { SOON };
                next_round = Instant::now() + wait;
            }
        }
        self.leave().await;
    }

    /// What heartbeats say of this member.
    fn consumer_data(&self) -> ConsumerData {
        let version = self.common.client.config().clock.now_ms();
        let subscriptions = self.topics.iter().map(|(topic, filter)| SubscriptionData {
            sub_version: version,
            ..subscription(topic, filter)
        });
        ConsumerData {
            group_name: self.common.config.group.clone(),
            consume_type: ConsumeType::Passively,
            message_model: match self.common.local {
                None => MessageModel::Clustering,
                Some(_) => MessageModel::Broadcasting,
            },
            consume_from_where: self.common.config.start,
            subscription_data_set: subscriptions.collect(),
            ..ConsumerData::default()
        }
    }

    /// Shares out; whether all is as it should be.
    async fn round(&mut self) -> bool {
        let mut settled = self.common.client.heartbeat().await.is_ok();
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            settled &= match self.our_share(&topic).await {
                // Who is no member gives everything up: others have it.
                Some(Share { queues, is_member, alone }) => {
                    self.take_over(&topic, queues, !alone).await && is_member
                }
                // The brokers do not say: what we have stays.
                None => false,
            };
        }
        settled
    }

    /// Our queues of a topic; None if that cannot be told now. A topic that is not there has none; that
    /// of retries comes with the first heartbeat.
    async fn our_share(&self, topic: &str) -> Option<Share> {
        let client = &self.common.client;
        let route = client.routes().get(topic).await.ok()?;
        if self.common.local.is_some() {
            let queues = route.subscribe.iter().cloned().collect();
            return Some(Share { queues, is_member: true, alone: true });
        }
        let broker = any_broker(&route)?;
        let group = &self.common.config.group;
        let members = client.admin().consumers(&broker, group).await.ok()?;
        let me = &client.config().client_id;
        let is_member = members.contains(me);
        let alone = is_member && members.len() == 1;
        let queues = share(route.subscribe.clone(), members, me).into_iter().collect();
        Some(Share { queues, is_member, alone })
    }

    /// Brings what is consumed of a topic in line with our share; false if some lock was not granted.
    async fn take_over(
        &mut self,
        topic: &str,
        share: BTreeSet<MessageQueue>,
        others: bool,
    ) -> bool {
        let ours = self.running.keys().filter(|queue| queue.topic == topic);
        let gone: Vec<_> = ours.filter(|queue| !share.contains(queue)).cloned().collect();
        if !gone.is_empty() {
            self.end(gone, End::HandOver).await;
        }
        let new: Vec<_> =
            share.into_iter().filter(|queue| !self.running.contains_key(queue)).collect();
        if new.is_empty() {
            return true;
        }
        let asked = Instant::now();
        let granted = match self.common.config.needs_lock() {
            true => self.lock(new.clone()).await,
            false => new.clone(),
        };
        let all = granted.len() == new.len();
        for queue in granted {
            self.begin(queue, asked, others);
        }
        self.publish();
        all
    }

    fn begin(&mut self, queue: MessageQueue, locked: Instant, taken_over: bool) {
        let held = Arc::new(Held::new(queue.clone()));
        held.lease.renewed(locked);
        let filter = self.topics.get(&queue.topic).cloned().unwrap_or_else(Filter::all);
        let (end, ended) = watch::channel(End::No);
        let worker = Worker::new(self.common.clone(), Arc::clone(&held), filter, taken_over, ended);
        let task = tokio::spawn(worker.run());
        self.running.insert(queue, Running { held, end, task });
    }

    /// Ends the workers of these queues, all at the same time, and gives their locks up.
    async fn end(&mut self, queues: Vec<MessageQueue>, why: End) {
        let ending: Vec<_> = queues.iter().filter_map(|queue| self.running.remove(queue)).collect();
        self.publish();
        for running in &ending {
            // A worker that has ended by itself needs no word.
            let _ = running.end.send(why);
        }
        for running in ending {
            let _ = running.task.await;
        }
        if self.common.config.needs_lock() {
            self.unlock(queues).await;
        }
    }

    async fn take_resets(&mut self) {
        let resets = self.notices.take_resets();
        if resets.is_empty() {
            return;
        }
        let ours = resets.keys().filter(|queue| self.running.contains_key(queue));
        let ours: Vec<_> = ours.cloned().collect();
        self.end(ours.clone(), End::Moved).await;
        for queue in ours {
            let Some(offset) = resets.get(&queue) else { continue };
            // Should this fail, the offset is still the one that the broker has set.
            let _ = self.common.commit(&queue, *offset).await;
        }
        self.common.troubled.notify_one();
    }

    /// Asks for locks; those that were granted.
    async fn lock(&self, queues: Vec<MessageQueue>) -> Vec<MessageQueue> {
        let mut granted = Vec::new();
        for (broker, request) in self.by_broker(queues).await {
            let locked = self.common.client.admin().lock_queues(&broker, &request).await;
            granted.extend(locked.unwrap_or_default());
        }
        granted
    }

    async fn unlock(&self, queues: Vec<MessageQueue>) {
        for (broker, request) in self.by_broker(queues).await {
            // A lock that cannot be given up ends by itself.
            let _ = self.common.client.admin().unlock_queues(&broker, &request).await;
        }
    }

    async fn renew(&mut self) {
        self.next_renewal = Instant::now() + self.common.config.lock_interval;
        if !self.common.config.needs_lock() {
            return;
        }
        let asked = Instant::now();
        let queues: Vec<_> = self.running.keys().cloned().collect();
        for (broker, request) in self.by_broker(queues).await {
            let locked = self.common.client.admin().lock_queues(&broker, &request).await;
            // Without an answer they last as long as they did before.
            let Ok(granted) = locked else { continue };
            for queue in &request.mq_set {
                let Some(running) = self.running.get(queue) else { continue };
                match granted.contains(queue) {
                    true => running.held.lease.renewed(asked),
                    false => running.held.lease.refused(),
                }
            }
        }
    }

    /// What to ask which broker for.
    async fn by_broker(&self, queues: Vec<MessageQueue>) -> Vec<(String, LockBatchRequest)> {
        let mut requests: BTreeMap<String, LockBatchRequest> = BTreeMap::new();
        for queue in queues {
            let Ok(broker) = self.common.client.master_of(&queue).await else { continue };
            let request = requests.entry(broker).or_insert_with(|| LockBatchRequest {
                client_id: self.common.client.config().client_id.clone(),
                consumer_group: self.common.config.group.clone(),
                ..LockBatchRequest::default()
            });
            request.mq_set.push(queue);
        }
        requests.into_iter().collect()
    }

    fn publish(&self) {
        let queues = self.running.keys().cloned().collect();
        *self.owned.lock().unwrap_or_else(PoisonError::into_inner) = queues;
        let held = self.running.values().map(|running| Arc::downgrade(&running.held));
        self.notices.publish(held.collect(), &self.common.handler);
    }

    async fn leave(&mut self) {
        let queues = self.running.keys().cloned().collect();
        self.end(queues, End::Stop).await;
        // Brokers that cannot be told find out when the connection ends.
        let _ = self.common.puller.unregister().await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
    }
}

/// The broker to ask for the members: all of them know all members.
fn any_broker(route: &TopicRoute) -> Option<String> {
    let names: BTreeSet<_> = route.subscribe.iter().map(|queue| &queue.broker_name).collect();
    names.into_iter().find_map(|name| route.reader(name, 0)).map(str::to_owned)
}

fn subscription(topic: &str, filter: &Filter) -> SubscriptionData {
    let plain = |expression: &str, expression_type: &str| SubscriptionData {
        topic: topic.to_owned(),
        sub_string: expression.to_owned(),
        expression_type: expression_type.to_owned(),
        ..SubscriptionData::default()
    };
    match filter {
        // An expression without a tag is refused by the broker, in its own words.
        Filter::Tags(tags) => {
            SubscriptionData::build(topic, tags).unwrap_or_else(|_| plain(tags, "TAG"))
        }
        Filter::Sql92(expression) => plain(expression, "SQL92"),
    }
}
