//! What the client tells brokers about itself, and the task that keeps telling them.
//!
//! Brokers learn of producer and consumer groups from heartbeats (code 34) alone, and forget a client
//! after 120 s without one. The groups are collected here; the upkeep task sends them to every broker
//! in the cached routes (a client with producers only: to the masters only) and refreshes the routes.
//! A broker that does not answer is tried again at the next beat; nothing is reported, since whoever
//! needs that broker gets the error of its own request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use gantry_codec::body::{ConsumerData, HeartbeatData, ProducerData, to_json};
use gantry_codec::{Command, request_code};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::client::Inner;
use crate::error::CallError;

const MASTER_ID: i64 = 0;

/// The groups of a client.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<Members>);

#[derive(Debug, Default)]
struct Members {
    producers: BTreeSet<String>,
    consumers: BTreeMap<String, ConsumerData>,
}

impl Groups {
    pub(crate) fn add_producer(&self, group: &str) {
        self.lock().producers.insert(group.to_owned());
    }

    pub(crate) fn add_consumer(&self, data: ConsumerData) {
        self.lock().consumers.insert(data.group_name.clone(), data);
    }

    pub(crate) fn remove_producer(&self, group: &str) {
        self.lock().producers.remove(group);
    }

    pub(crate) fn remove_consumer(&self, group: &str) {
        self.lock().consumers.remove(group);
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn heartbeat(&self, client_id: &str) -> HeartbeatData {
        let producers = self.producers.iter().cloned();
        HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: producers.map(|group_name| ProducerData { group_name }).collect(),
            consumer_data_set: self.consumers.values().cloned().collect(),
            ..HeartbeatData::default()
        }
    }
}

impl Inner {
    pub(crate) async fn heartbeat(&self) -> Result<(), CallError> {
        let (data, masters_only) = {
            let members = self.groups.lock();
            if members.producers.is_empty() && members.consumers.is_empty() {
                return Ok(());
            }
            let data = members.heartbeat(&self.remoting.config().client_id);
            (data, members.consumers.is_empty())
        };
        let request = Command::request(request_code::HEART_BEAT).with_body(to_json(&data));
        self.tell_brokers(&request, masters_only).await
    }

    /// Calls every broker in the cached routes, one after another; the first failure is returned.
    pub(crate) async fn tell_brokers(
        &self,
        request: &Command,
        masters_only: bool,
    ) -> Result<(), CallError> {
        let mut outcome = Ok(());
        for (id, address) in self.routes.broker_addresses() {
            if masters_only && id != MASTER_ID {
                continue;
            }
            let answered = self.remoting.call(&address, request.clone()).await;
            outcome = outcome.and(answered.map(|_| ()));
        }
        outcome
    }
}

/// Beats and refreshes until the client is gone.
pub(crate) async fn upkeep(client: Weak<Inner>, heartbeat: Duration, route: Duration) {
    let mut heartbeat = ticks(heartbeat);
    let mut route = ticks(route);
    loop {
        tokio::select! {
            biased;
            _ = route.tick() => match client.upgrade() {
                Some(client) => client.routes.refresh_all().await,
                None => return,
            },
            _ = heartbeat.tick() => match client.upgrade() {
                // A failure is the broker's; see the module's text.
                Some(client) => drop(client.heartbeat().await),
                None => return,
            },
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
