//! What all sessions share: published views, addresses of actors, and settings.

use std::{net::SocketAddr, sync::Arc};

use actix::Addr;
use gantry_codec::UniqueKeys;
use gantry_storage::{Clock, CommitLog};
use gantry_supervisor::{Credits, Shell};

use slog::Logger;

use super::{About, ColdReaders};
use crate::{
    expiry::Undertaker,
    group::Control,
    log::{appender::Appender, cleaner::Cleaner, key_lookup::KeyQueries, state::LogState},
    metrics::Metrics,
    pop::Pops,
    settings::{Live, SessionLimits, Settings},
    statistics::{Sources, Statistics},
    timer::{TimerFigures, TimerRules},
    topic::{Facts, LightTopics, TopicTable, TopicView, Topics},
    transaction::Transactions,
};

/// Settings of the data path.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The advertised address: part of message ids and of every record.
    pub store_host: SocketAddr,
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The broker's name, part of every message queue's.
    pub broker_name: Arc<str>,
    /// Name of the region, in every answer to a send.
    pub region: String,
    /// Whether clients trace, in every answer to a send.
    pub trace_on: bool,
    /// What the broker adds to a message's properties, encoded.
    pub property_suffix: String,
    /// Number of delay levels.
    pub delay_levels: u32,
    /// Whether replies of request-reply are stored besides being pushed.
    pub stores_replies: bool,
    /// Whether half messages are refused.
    pub reject_transactions: bool,
    /// What timed messages may ask for.
    pub timers: TimerRules,
}

/// See the module's text.
pub struct Shared {
    /// Settings that stay as they are.
    pub config: SessionConfig,
    /// Settings that may change.
    pub limits: Live<SessionLimits>,
    /// What came and went over the last minute, hour and day.
    pub statistics: Arc<Statistics>,
    /// The counters that it is told by.
    pub counters: Arc<Sources>,
    /// Changes settings.
    pub settings: Addr<Shell<Settings>>,
    /// The broker as a whole.
    pub about: About,
    /// Published topics.
    pub topics: Arc<TopicTable>,
    /// Queues that messages are in besides their own, if they are served.
    pub light: Option<Arc<LightTopics>>,
    /// The root of the topics, for changes.
    pub topics_root: Addr<Shell<Topics>>,
    /// What topics and queues are like.
    pub facts: Arc<Facts>,
    /// Groups, producers and offsets.
    pub control: Control,
    /// Pops.
    pub pops: Pops,
    /// Ends transactions.
    pub transactions: Addr<Shell<Transactions>>,
    /// How the timers are doing.
    pub timers: Arc<TimerFigures>,
    /// The log, to read.
    pub log: CommitLog,
    /// How queries by key are answered.
    pub key_queries: KeyQueries,
    /// Whether the log takes messages.
    pub log_state: Arc<LogState>,
    /// The log's writer.
    pub appender: Addr<Shell<Appender>>,
    /// Makes dead letters of what has expired.
    pub undertaker: Addr<Shell<Undertaker>>,
    /// Removes old files.
    pub cleaner: Addr<Shell<Cleaner>>,
    /// The memory budget of messages on their way to the log.
    pub credits: Credits,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Makes unique keys for messages without one.
    pub unique_keys: UniqueKeys,
    /// Reads that may wait for the disk.
    pub cold: ColdReaders,
    /// What is counted for figures.
    pub metrics: Arc<Metrics>,
    /// For what operators have to know.
    pub log_to: Logger,
}

impl Shared {
    /// The topic's current view; a light queue is there as soon as somebody asks for it.
    pub fn topic(&self, name: &str) -> Option<Arc<TopicView>> {
        match &self.light {
            Some(light) if LightTopics::is_light(name) => light.get(name),
            _ => self.topics.get(name),
        }
    }

    /// How often a message of `group` may be tried: as the request says if its client is new enough to
    /// say so, else as the group is configured. `None`: there is no such group.
    pub fn retry_times_max(&self, group: &str, version: i32, asked: Option<i32>) -> Option<i32> {
        /// The first client version whose word counts (wire.md 1.5).
        const ASKS_ITSELF: i32 = 121;
        let configured = self.control.group(group)?.config.retry_max_times;
        Some(asked.filter(|_| version >= ASKS_ITSELF).unwrap_or(configured))
    }
}
