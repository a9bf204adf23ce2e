//! Broker and name server with the real world around them: files, clock, sockets, threads.
//!
//! Both run in one set of threads, so that `gantry standalone` has no more of them than a broker.

use std::{collections::BTreeMap, sync::Arc, thread};

use futures_util::FutureExt;
use gantry_client::{ClientConfig, TcpConnector};
use gantry_conf::{BrokerConfig, NamesrvConfig};
use gantry_storage::{RealDisk, SystemClock};
use gantry_supervisor::{Placement, Tree};
use slog::{Logger, o};

use super::{
    failure::Failure,
    log_levels::LevelSwitch,
    run::{Services, Started},
};
use crate::{
    broker::{Broker, BrokerStartError, Seams},
    net::{TcpNetwork, io_threads},
    registry,
};

/// Connections that a name server has open at once.
const CONNECTIONS_MAX: usize = 100_000;

/// The real world.
pub(super) struct Real {
    placement: Placement,
    seed: u64,
    cores: usize,
    levels: LevelSwitch,
}

impl Real {
    /// What this process runs on, and how its log is turned up and down. Must be called on a thread of an
    /// actix system.
    pub fn new(levels: LevelSwitch) -> Self {
        Self {
            placement: Placement::threads(),
            seed: fastrand::u64(..),
            levels,
            cores: thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Services for Real {
    async fn namesrv(&self, config: NamesrvConfig, log: &Logger) -> Result<Started, Failure> {
        let seams = registry::Seams {
            network: Arc::new(TcpNetwork),
            connector: Arc::new(TcpConnector),
            disk: Arc::new(RealDisk),
            placement: self.placement.clone(),
            seed: self.seed,
        };
        let shown: BTreeMap<String, String> =
            config.effective.0.iter().map(|set| (set.key.clone(), set.value())).collect();
        let network = &config.network;
        let settings = registry::NamesrvConfig {
            listen: network.listen_addr(),
            kv_config_path: config.routes.kv_config_path.clone(),
            settings: registry::Settings {
                file: config.file.clone(),
                ..registry::Settings::from(&config.routes)
            },
            shown,
            connections_max: CONNECTIONS_MAX,
            limits: network.into(),
            io_threads: io_threads(network, self.cores),
        };
        let log = log.new(o!("service" => "namesrv"));
        let running = registry::start(settings, seams, log)
            .await
            .map_err(|error| Failure::Start(error.to_string()))?;
        let addr = running.addr;
        let stop = move || async move { running.stop().await }.boxed_local();
        Ok(Started { service: "namesrv", addr, stop: Box::new(stop) })
    }

    async fn broker(&self, config: BrokerConfig, log: &Logger) -> Result<Started, Failure> {
        let log = log.new(o!("service" => "broker"));
        let seams = Seams {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
            network: Arc::new(TcpNetwork),
            client: ClientConfig::default(),
            placement: self.placement.clone(),
            seed: self.seed,
            cores: self.cores,
            memory_bytes: memory_bytes(),
        };
        let root = Tree::root("gantry", self.placement.clone(), log.clone(), self.seed);
        let broker = Broker::start(&config, seams, &root, log).await.map_err(failure)?;
        let levels = self.levels.clone();
        broker.follow_settings(move |config| levels.set(&config.log.levels));
        let addr = broker.addr;
        let stop = move || async move { broker.stop().await }.boxed_local();
        Ok(Started { service: "broker", addr, stop: Box::new(stop) })
    }
}

fn failure(error: BrokerStartError) -> Failure {
    match error {
        error if error.is_store() => Failure::Store(error.to_string()),
        BrokerStartError::Host { .. } => Failure::Environment(error.to_string()),
        error => Failure::Start(error.to_string()),
    }
}

/// Bytes of memory of the machine.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}
