//! The configuration of a broker as a whole: its layers, what the machine adds, and the pairs of
//! values that cannot both be. The structs that its actors are given stand in `broker_parts`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    FlushConfig, GroupConfig, IdentityConfig, IndexConfig, LightConfig, LoadError, Loaded,
    LogConfig, MetricsConfig, MetricsExporter, NetworkConfig, PopConfig, PullConfig,
    RegistrationConfig, RetentionConfig, Sources, StoreConfig, Surroundings, TimerConfig,
    TopicConfig, TransactionConfig, Warning, effective::Effective, layer::Layer, merge::Merged,
    schema::Schema, surroundings::HomeFrom, values::int,
};

/// A message's record may be this much larger than its body (store.md 2.1).
const RECORD_OVERHEAD: u64 = 64 * 1024;

/// Which command a broker's configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `gantry broker`.
    Broker,
    /// `gantry standalone`: with a name server in the same process.
    Standalone,
}

/// A broker's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// Who the broker is.
    pub identity: IdentityConfig,
    /// Its sockets.
    pub network: NetworkConfig,
    /// Its name servers.
    pub registration: RegistrationConfig,
    /// Its files.
    pub store: StoreConfig,
    /// What goes from them, and when.
    pub retention: RetentionConfig,
    /// When the log is flushed.
    pub flush: FlushConfig,
    /// The index of keys.
    pub index: IndexConfig,
    /// How topics come to be.
    pub topics: TopicConfig,
    /// Consumer groups and clients.
    pub groups: GroupConfig,
    /// What a pull gets.
    pub pull: PullConfig,
    /// Queues that a message is in besides its own.
    pub light: LightConfig,
    /// Pops.
    pub pop: PopConfig,
    /// Transactions.
    pub transactions: TransactionConfig,
    /// Timed messages.
    pub timers: TimerConfig,
    /// Where its figures can be read.
    pub metrics: MetricsConfig,
    /// Its log.
    pub log: LogConfig,
    /// Port of the name server in the same process (`gantry standalone`); 0 takes a free one.
    pub namesrv_listen_port: u16,
    /// All of it, for people and admin tools.
    pub effective: Effective,
    /// The file of `-c`, where changes at run time are kept.
    pub file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StandaloneKeys {
    #[serde(deserialize_with = "int::<0, 65_535, _, _>")]
    namesrv_listen_port: u16,
}

impl BrokerConfig {
    /// Reads all layers.
    pub fn load(
        role: Role,
        sources: &Sources,
        surroundings: &Surroundings,
    ) -> Result<Loaded<Self>, LoadError> {
        let mut warnings = Vec::new();
        let schema = Schema::broker()?;
        let beneath = java_environment(role, surroundings);
        let mut all = Merged::read(&schema, beneath, sources, surroundings, &mut warnings)?;
        fill_from_machine(&mut all, surroundings);
        let mut config = Self::from_values(&all)?;
        config.check(role, &all)?;
        config.file.clone_from(&sources.file);
        warn_of_surprises(&config, sources, surroundings, &all, &mut warnings);
        Ok(Loaded { config, warnings })
    }

    /// The typed form of values that are all there.
    pub(crate) fn from_values(all: &Merged) -> Result<Self, LoadError> {
        Ok(Self {
            identity: all.view()?,
            network: all.view()?,
            registration: all.view()?,
            store: all.view()?,
            retention: all.view()?,
            flush: all.view()?,
            index: all.view()?,
            topics: all.view()?,
            groups: all.view()?,
            pull: all.view()?,
            light: all.view()?,
            pop: all.view()?,
            transactions: all.view()?,
            timers: all.view()?,
            metrics: all.view()?,
            log: all.view()?,
            namesrv_listen_port: all.view::<StandaloneKeys>()?.namesrv_listen_port,
            effective: all.effective(),
            file: None,
        })
    }

    /// The pairs of values that cannot both be.
    pub(crate) fn check(&self, role: Role, all: &Merged) -> Result<(), LoadError> {
        let port = self.network.listen_port;
        let namesrv_port = self.namesrv_listen_port;
        let ours = [port, port.saturating_sub(2)];
        if role == Role::Standalone
            && namesrv_port != 0
            && port != 0
            && ours.contains(&namesrv_port)
        {
            let other = all.origin("listenPort");
            let reason = format!("is taken by the broker, whose listenPort is {port} ({other})");
            return Err(all.wrong("namesrvListenPort", reason));
        }
        let IndexConfig { max_hash_slot_num: slots, max_index_num: entries, .. } = self.index;
        let file_bytes = self.index.file_bytes();
        if file_bytes > i32::MAX as u64 {
            let reason = format!(
                "with {slots} slots (maxHashSlotNum) and {entries} entries an index file has \
                 {file_bytes} bytes, more than {}, which the Java broker takes",
                i32::MAX
            );
            return Err(all.wrong("maxIndexNum", reason));
        }
        let StoreConfig { store_path_root_dir: root, store_path_commit_log: log, .. } = &self.store;
        let read_only = &self.store.read_only_commit_log_store_paths;
        for (key, dirs) in [("storePathCommitLog", log), ("readOnlyCommitLogStorePaths", read_only)]
        {
            if dirs.contains(root) {
                let reason = "must differ from storePathRootDir, which holds more than the log";
                return Err(all.wrong(key, reason.into()));
            }
        }
        if log.iter().all(|dir| read_only.contains(dir)) {
            let reason = "leaves no directory of storePathCommitLog that may be written";
            return Err(all.wrong("readOnlyCommitLogStorePaths", reason.into()));
        }
        Ok(())
    }
}

/// The variable that the Java tools and images use. It would be no surprise to them in a broker;
/// `standalone` brings its own name server.
fn java_environment(role: Role, surroundings: &Surroundings) -> Layer {
    match surroundings.variable("NAMESRV_ADDR") {
        Some(addresses) if role == Role::Broker => {
            Layer::single("namesrvAddr", addresses, "environment variable NAMESRV_ADDR")
        }
        _ => Layer::default(),
    }
}

fn fill_from_machine(all: &mut Merged, surroundings: &Surroundings) {
    all.fill("brokerName", &surroundings.host_name, "name of the host");
    let (ip1, from) = advertised_address(&all.text("bindAddress"), surroundings);
    all.fill("brokerIP1", &ip1, from);
    let ip1 = all.text("brokerIP1");
    all.fill("brokerIP2", &ip1, "brokerIP1");
    let root = surroundings.home.join("store");
    all.fill("storePathRootDir", &root.to_string_lossy(), "home directory");
    let log = Path::new(&all.text("storePathRootDir")).join("commitlog");
    all.fill("storePathCommitLog", &log.to_string_lossy(), "storePathRootDir");
}

/// The address that clients can most likely reach: the only one that is listened on, or the first
/// that others can see at all.
fn advertised_address(bind: &str, surroundings: &Surroundings) -> (String, &'static str) {
    match (bind, surroundings.ipv4) {
        ("localhost" | "127.0.0.1", _) => ("127.0.0.1".into(), "bindAddress"),
        ("0.0.0.0" | "::", Some(ip)) => (ip.to_string(), "first address of the host"),
        ("0.0.0.0" | "::", None) => ("127.0.0.1".into(), "the host has no other address"),
        (bind, _) => (bind.into(), "bindAddress"),
    }
}

fn warn_of_surprises(
    config: &BrokerConfig,
    sources: &Sources,
    surroundings: &Surroundings,
    all: &Merged,
    warnings: &mut Vec<Warning>,
) {
    let mut warn = |key: &str, reason: String| {
        let at = all.origin(key).to_owned();
        warnings.push(Warning::Value { at, key: key.into(), value: all.text(key), reason });
    };
    let from_home = all.origin("storePathRootDir") == "home directory";
    if sources.is_properties() && from_home && surroundings.home_from == HomeFrom::Default {
        warn("storePathRootDir", "the Java broker would use store in the user's home".into());
    }
    if config.metrics.exporter == MetricsExporter::Pushing {
        warn(
            "metricsExporterType",
            "figures are not sent, but can be scraped, as with PROM".into(),
        );
    }
    let retention = &config.retention;
    for (key, taken) in [
        ("diskMaxUsedSpaceRatio", retention.disk_max_used_space_ratio),
        ("diskSpaceCleanForciblyRatio", retention.disk_space_clean_forcibly_ratio),
        ("diskSpaceWarningLevelRatio", retention.disk_space_warning_level_ratio),
    ] {
        if all.text(key) != taken.to_string() {
            warn(key, format!("is taken as {taken}, the nearest that the Java broker allows"));
        }
    }
    let precision = config.timers.timer_precision_ms;
    if all.text("timerPrecisionMs") != precision.to_string() {
        let reason = format!("is taken as {precision}, the nearest that the Java broker allows");
        warn("timerPrecisionMs", reason);
    }
    if config.light.enable_lmq != config.light.enable_multi_dispatch {
        let on = if config.light.enable_lmq { "enableLmq" } else { "enableMultiDispatch" };
        warn(on, "has no effect unless enableLmq and enableMultiDispatch are both true".into());
    }
    let record_max = config.store.max_message_size as u64 + RECORD_OVERHEAD;
    if config.store.mapped_file_size_commit_log < record_max {
        let reason = "a message that does not fit into one file of the log is refused".into();
        warn("mappedFileSizeCommitLog", reason);
    }
}
