//! What the actors of all groups' pops are given.

use std::sync::Arc;

use actix::Addr;
use gantry_codec::body::MessageRequestMode;
use gantry_storage::{Clock, CommitLog, PullLimits};
use gantry_supervisor::Shell;
use slog::Logger;

use super::{states::PopStates, waiters::WaiterCount};
use crate::{
    expiry::Undertaker,
    log::appender::Appender,
    metrics::deliveries::Deliveries,
    session::ColdReaders,
    topic::{Facts, Topics},
};

/// What the configuration says of pops.
#[derive(Clone, Copy, Debug)]
pub struct PopSettings {
    /// Of a hundred pops, so many look at the retry topics first.
    pub retry_first_percent: u32,
    /// Retry topics have the newer names.
    pub retry_v2: bool,
    /// How a group consumes that nobody has told.
    pub mode: MessageRequestMode,
    /// With how many others its clients share their queues then, if they pop.
    pub share_queue_num: i32,
}

/// What the actors of all groups work with.
#[derive(Clone)]
pub struct PopParts {
    /// Topics and queues.
    pub facts: Arc<Facts>,
    /// The root of the topics, for retry topics.
    pub topics_root: Addr<Shell<Topics>>,
    /// The log, to read.
    pub log: CommitLog,
    /// What one read gets.
    pub limits: PullLimits,
    /// The log's writer.
    pub appender: Addr<Shell<Appender>>,
    /// Makes dead letters of what has expired.
    pub undertaker: Addr<Shell<Undertaker>>,
    /// Reads that may wait for the disk.
    pub cold: ColdReaders,
    /// The broker's name.
    pub broker_name: Arc<str>,
    /// Its address, the origin of messages that it stores itself.
    pub store_host: std::net::SocketAddr,
    /// Where what is out is kept.
    pub states: Arc<PopStates>,
    /// Where deliveries are noted.
    pub deliveries: Deliveries,
    /// See there.
    pub settings: PopSettings,
    /// How many wait at all groups.
    pub waiting: WaiterCount,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Seed of the dice.
    pub seed: u64,
    /// Parent of the actors' loggers.
    pub log_to: Logger,
}
