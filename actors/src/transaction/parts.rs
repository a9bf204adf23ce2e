//! What the transactions' actor works with.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix::Addr;
use gantry_storage::{Clock, CommitLog};
use gantry_supervisor::Shell;
use slog::Logger;

use super::ledger::CheckLimits;
use crate::{
    group::Control,
    log::appender::Appender,
    session::ColdReaders,
    topic::{Facts, Topics},
};

/// See the module's text.
#[derive(Clone)]
pub struct TransactionParts {
    /// When producers are asked.
    pub limits: CheckLimits,
    /// Topics and queues.
    pub facts: Arc<Facts>,
    /// The root of the topics, for the topic of those given up.
    pub topics_root: Addr<Shell<Topics>>,
    /// The log, to read.
    pub log: CommitLog,
    /// Bytes behind the log's end that are likely in memory.
    pub hot_bytes: u64,
    /// The log's writer.
    pub appender: Addr<Shell<Appender>>,
    /// Reads that may wait for the disk.
    pub cold: ColdReaders,
    /// Producers, and the progress.
    pub control: Control,
    /// The broker's name.
    pub broker_name: Arc<str>,
    /// Its address, the origin of messages that it stores itself.
    pub store_host: SocketAddr,
    /// How many delay levels there are.
    pub delay_levels: u32,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// The actor's logger.
    pub log_to: Logger,
}

impl CheckLimits {
    /// How long half messages may lie before they are taken in: always before one could be due.
    pub fn take_in_delay(&self) -> Duration {
        Duration::from_millis((self.timeout_ms / 2).clamp(1, 500) as u64)
    }
}
