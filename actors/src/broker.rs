//! The broker: which actors there are, on which threads, and in which order they start and stop.
//!
//! [`Broker::start`] reads from top to bottom as the start order; the supervision tree stops them in
//! reverse. Nothing here is on a message's way.
//!
//! | thread | actors |
//! |---|---|
//! | the caller's | roots, topics, registrar, listeners |
//! | `io-N` | connections; with few cores the appender too |
//! | `log` | the appender, if it has a thread of its own |
//! | `dispatch` | dispatcher, queues, schedule, groups, pops |
//! | `cold-N`, `cold` | readers of what may have to come from the disk; look-ups of keys |
//! | `flush`, `files`, `cleaner`, `checkpoint`, `metadata` | what blocks on the disk: flusher; allocator, preparer; cleaner; checkpointer; offsets, group table |
//! | `index` | likewise: the indexer of keys |
//! | `watch` | the watch over the consumption, which reads indexes |

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::Addr;
use gantry_client::ClientConfig;
use gantry_codec::UniqueKeys;
use gantry_conf::{AppenderPlacement, BrokerConfig, FlushDiskType, RetentionConfig};
use gantry_storage::{
    Clock, CloseError, DelayLevels, Disk, Index, IndexError, JsonFile, LogConfig, OpenError,
    PhysicalOffset, PullLimits, QueueError, Store, StoreConfig, mappings_max,
    retention::RetentionPolicy,
};
use gantry_supervisor::{ChildSpec, Credits, Exit, Place, Placement, Policy, Shell, Tree, Verdict};
use slog::{Logger, error, info, o, warn};
use thiserror::Error;

use crate::{
    group::{
        self, ControlConfig, DiagnosisSettings, GroupSettings, Limits, Surroundings,
        groups::GroupsConfig,
    },
    log::{
        allocator::Allocator,
        appender::{Appender, AppenderParts},
        checkpointer::Checkpointer,
        cleaner::{Cleaner, CleanerParts},
        dispatcher::{DispatchSignal, Dispatcher, LogAdvanced},
        flusher::{FlushPace, FlushQueue, FlushWatch, Flusher},
        indexer::IndexerLink,
        key_index::{KeyIndex, KeyIndexParts},
        preparer::{AHEAD_BYTES, PIECE_BYTES, Preparer},
        state::{LogState, Refusal},
    },
    net::{Acceptor, Listener, Network, PortSpec, ServiceFactory, io_threads},
    pop::{
        PopStartError, PopSurroundings, Pops, modes::RequestModesParts, parts::PopParts,
        pops::load_states, routes::QueueRoutes, states::PopFiles, takeover::JavaPops,
        waiters::WaiterCount,
    },
    registrar::{LastTable, Registrar, RegistrarConfig},
    schedule::{Schedule, ScheduleParts},
    session::{About, ColdReader, ColdReaders, Session, SessionConfig, Shared},
    topic::{
        AllTopics, Catalog, CatalogConfig, Facts, OpenQueue, QueueSlot, Queues, TopicTable, Topics,
        TopicsParts, facts::RetryTopicMaker,
    },
    traffic::{Meter, Traffic},
};

/// The seams to the outside: what a simulator puts its own in place of.
#[derive(Clone)]
pub struct Seams {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Sockets to listen on.
    pub network: Arc<dyn Network>,
    /// How name servers are reached.
    pub client: ClientConfig,
    /// Threads.
    pub placement: Placement,
    /// Seed of every random choice that is not a matter of security.
    pub seed: u64,
    /// Cores that may be used.
    pub cores: usize,
    /// Bytes of memory of the machine.
    pub memory_bytes: u64,
}

/// Why a broker did not start.
#[derive(Debug, Error)]
pub enum BrokerStartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A queue that has to be built again cannot be.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A file of the key index is not as large as configured.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A file of metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] gantry_storage::JsonFileError),
    /// Pops cannot be served.
    #[error(transparent)]
    Pops(#[from] PopStartError),
    /// The advertised host is no address.
    #[error("brokerIP1: {host} cannot be resolved: {reason}")]
    Host {
        /// The host.
        host: String,
        /// Why not.
        reason: String,
    },
    /// A port cannot be opened.
    #[error("cannot listen on {addr}: {reason}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// An actor could not be started.
    #[error("{actor} cannot be started: {reason}")]
    Actor {
        /// Its name.
        actor: &'static str,
        /// Why not.
        reason: Exit,
    },
}

impl BrokerStartError {
    /// Whether it is the store that cannot be opened (exit code 3).
    pub fn is_store(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Queue(_) | Self::Index(_) | Self::Metadata(_))
    }
}

/// Connections open at once on one port.
const CONNECTIONS_MAX: usize = 100_000;
/// How long the end of a start-up dispatch is waited for before the ports open.
const CATCH_UP_STEP: Duration = Duration::from_millis(1);

/// A broker that serves.
pub struct Broker {
    tree: Tree,
    store: Arc<Store>,
    signal: Arc<DispatchSignal>,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it tells others.
    pub advertised: SocketAddr,
    /// What sessions share; tests look in here.
    pub shared: Arc<Shared>,
    /// The dispatcher, for tests of the supervision.
    pub dispatcher: Addr<Shell<Dispatcher>>,
    /// The indexer of keys if there is one, likewise.
    pub indexer: Option<IndexerLink>,
    log: Logger,
}

impl Broker {
    /// Starts a broker below `parent`; it serves when this returns, and registers with its name
    /// servers from then on.
    pub async fn start(
        config: &BrokerConfig,
        seams: Seams,
        parent: &Tree,
        log: Logger,
    ) -> Result<Self, BrokerStartError> {
        let tree = parent.subtree("broker");
        let started = Start { config, seams: &seams, tree: &tree, log: &log }.run().await;
        if started.is_err() {
            tree.stop().await;
        }
        started
    }

    /// The supervision tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Stops it in order: no new connections, what is in flight is answered, everything is flushed,
    /// the store is marked as left in order (unless writing had failed).
    pub async fn stop(&self) {
        self.tree.stop().await;
        // What is refused for want of room is not in the store; what is there is whole.
        if let Some(refusal) = self.shared.log_state.refusal()
            && let Refusal::Failed(_) = &*refusal
        {
            warn!(self.log, "the store is not marked as stopped in order";
                "reason" => refusal.reason().to_string());
            return;
        }
        match self.close() {
            Ok(()) => info!(self.log, "broker stopped"),
            Err(e) => error!(self.log, "the store cannot be closed"; "error" => %e),
        }
    }

    /// The queues flush when they stop: what they have been sent by then is on disk. If one of them
    /// lacks something all the same, the next start makes up for it, as after an abrupt stop.
    fn close(&self) -> Result<(), CloseError> {
        let topics = self.shared.topics.all();
        let mut slots = topics.values().flat_map(|topic| topic.queues.iter());
        // One that nobody has used lacks nothing.
        let lacks = |slot: &QueueSlot| {
            let next = slot.next_offset()?;
            let end = slot.range().map_or(0, |(_, max)| max);
            (end < next).then_some((end, next))
        };
        match slots.find_map(|slot| Some((slot, lacks(slot)?))) {
            Some((slot, (end, next))) => warn!(self.log, "a queue lacks messages";
                "topic" => &*slot.topic, "queue" => slot.queue_id, "has" => end, "of" => next),
            None => self.store.checkpoint(self.signal.mark())?,
        }
        self.store.close()
    }
}

/// A start under way.
struct Start<'a> {
    config: &'a BrokerConfig,
    seams: &'a Seams,
    tree: &'a Tree,
    log: &'a Logger,
}

/// The log's actors.
struct LogActors {
    state: Arc<LogState>,
    signal: Arc<DispatchSignal>,
    dispatcher: Addr<Shell<Dispatcher>>,
    appender: Addr<Shell<Appender>>,
}

impl Start<'_> {
    async fn run(self) -> Result<Broker, BrokerStartError> {
        // The sockets first: a port that is taken is told before anything is touched.
        let (acceptor, addr) = self.listen()?;
        let vip = self.listen_vip(addr);
        let host = resolve(&self.config.identity.broker_ip1)?;
        let advertised = SocketAddr::new(host, addr.port());

        let levels = self.delay_levels();
        let store = Store::open(self.store_config(&levels), self.seams.disk.clone())?;
        let store = Arc::new(store);
        info!(self.log, "store opened"; "report" => %store.report());
        self.warn_of_mappings(store.report().queues as u64);
        let table = Arc::new(TopicTable::default());

        // Before the log's actors, so that queues end after them and have everything.
        let queue_tree = self.tree.pool("queues");
        let signal = store_signal(&store);
        let key_index = self.start_index(&store, &signal)?;
        let indexer = key_index.link();
        let actors = self.start_log(&store, &table, &levels, advertised, signal, indexer).await?;
        let queues = self.queues(queue_tree, &store, &actors);
        let topics = self.start_topics(&store, &table, &queues, advertised).await?;
        self.verify_queues(&store, &table)?;
        self.catch_up(&store, &table, &actors).await;
        self.start_checkpointer(&store, &actors).await?;
        let facts = Arc::new(Facts {
            topics: table.clone(),
            queues,
            log: store.log().clone(),
            hot_bytes: self.pull_limits().hot_bytes,
        });
        let control = self.start_groups(&store, &facts, &topics, advertised).await?;
        self.start_schedule(&store, &table, &levels, &actors.appender).await?;
        let session = self.session_config(advertised, &levels, store.report().log_end);
        let cold = self.start_cold_readers().await?;
        let parts = PopParts {
            facts: facts.clone(),
            topics_root: topics.clone(),
            log: store.log().clone(),
            limits: session.limits,
            appender: actors.appender.clone(),
            cold: cold.clone(),
            broker_name: session.broker_name.clone(),
            store_host: advertised,
            states: load_states(&self.pop_files(&store))?,
            waiting: WaiterCount::default(),
            clock: self.seams.clock.clone(),
            seed: self.seams.seed,
            log_to: self.log.clone(),
        };
        let pops = self.start_pops(&store, parts, &control).await?;
        let cleaner =
            self.start_cleaner(&store, &facts, &control, &actors, key_index.index()).await?;

        let shared = Arc::new(Shared {
            config: session,
            about: self.start_about(&actors.signal).await?,
            topics: table,
            topics_root: topics,
            facts,
            control,
            pops,
            log: store.log().clone(),
            key_queries: key_index.queries.clone(),
            log_state: actors.state,
            appender: actors.appender,
            cleaner,
            credits: Credits::new(self.config.network.memory_budget),
            clock: self.seams.clock.clone(),
            unique_keys: UniqueKeys::new(host, std::process::id(), self.seams.seed as u32),
            cold,
            log_to: self.log.clone(),
        });
        key_index.begin(&self.config.index, &store).await;
        self.open_port("vip", vip, &shared).await?;
        self.open_port("main", Some(acceptor), &shared).await?;
        info!(self.log, "broker serves"; "addr" => %addr, "advertised" => %advertised);
        Ok(Broker {
            tree: self.tree.clone(),
            store,
            signal: actors.signal,
            addr,
            advertised,
            shared,
            dispatcher: actors.dispatcher,
            indexer: key_index.link(),
            log: self.log.clone(),
        })
    }

    fn listen(&self) -> Result<(Box<dyn Acceptor>, SocketAddr), BrokerStartError> {
        let wanted = self.config.network.listen_addr();
        let failed =
            |e: std::io::Error| BrokerStartError::Listen { addr: wanted, reason: e.to_string() };
        let acceptor = self.seams.network.listen(wanted).map_err(failed)?;
        let addr = acceptor.local_addr().map_err(failed)?;
        Ok((acceptor, addr))
    }

    /// The second port (main − 2), to which 4.3 clients send by default. Without it only they fail, so
    /// it is missed with a warning.
    fn listen_vip(&self, main: SocketAddr) -> Option<Box<dyn Acceptor>> {
        let port = main.port().checked_sub(2).filter(|port| *port > 0)?;
        let addr = SocketAddr::new(main.ip(), port);
        match self.seams.network.listen(addr) {
            Ok(acceptor) => Some(acceptor),
            Err(e) => {
                warn!(self.log, "the port for 4.3 clients cannot be opened"; "addr" => %addr,
                    "error" => %e);
                None
            }
        }
    }

    fn store_config(&self, levels: &DelayLevels) -> StoreConfig {
        let store = &self.config.store;
        let root = store.store_path_root_dir.clone();
        let (log_bytes, queue_bytes) =
            (store.mapped_file_size_commit_log, store.mapped_file_size_consume_queue);
        let mut config = StoreConfig::new(root, log_bytes, queue_bytes);
        config.log = LogConfig {
            full_percent: self.config.retention.disk_space_clean_forcibly_ratio,
            ..LogConfig::over(
                &store.store_path_commit_log,
                &store.read_only_commit_log_store_paths,
                log_bytes,
            )
        };
        config.queues.ext.is_on = store.enable_consume_queue_ext;
        config.queues.ext.segment_bytes = store.mapped_file_size_consume_queue_ext;
        config.delay_levels = levels.clone();
        config.check_crc = store.check_crc_on_recover;
        config
    }

    fn delay_levels(&self) -> DelayLevels {
        DelayLevels::new(&self.config.topics.message_delays)
    }

    fn pull_limits(&self) -> PullLimits {
        let pull = &self.config.pull;
        let limit = |count: usize, bytes: usize| (count as u32, bytes as u64);
        PullLimits {
            messages_max: 32,
            hot: limit(
                pull.max_transfer_count_on_message_in_memory,
                pull.max_transfer_bytes_on_message_in_memory,
            ),
            cold: limit(
                pull.max_transfer_count_on_message_in_disk,
                pull.max_transfer_bytes_on_message_in_disk,
            ),
            hot_bytes: self.seams.memory_bytes / 100 * pull.access_message_in_memory_max_ratio,
            started_at: PhysicalOffset(0),
        }
    }

    fn session_config(
        &self,
        advertised: SocketAddr,
        levels: &DelayLevels,
        started_at: PhysicalOffset,
    ) -> SessionConfig {
        let identity = &self.config.identity;
        let mut suffix = String::new();
        for (name, value) in [
            (gantry_codec::properties::CLUSTER, identity.broker_cluster_name.as_str()),
            (gantry_codec::properties::MSG_REGION, identity.region_id.as_str()),
            (gantry_codec::properties::TRACE_ON, if identity.trace_on { "true" } else { "false" }),
        ] {
            gantry_codec::properties::append(&mut suffix, name, value);
        }
        SessionConfig {
            store_host: advertised,
            broker_name: identity.broker_name.as_str().into(),
            region: identity.region_id.clone(),
            trace_on: identity.trace_on,
            property_suffix: suffix,
            message_bytes_max: self.config.store.max_message_size,
            permission: identity.broker_permission,
            long_polling: self.config.pull.long_polling_enable,
            short_polling_ms: self.config.pull.short_polling_time.as_millis() as i64,
            delay_levels: levels.count(),
            limits: PullLimits { started_at, ..self.pull_limits() },
            skip_damaged: self.config.pull.skip_damaged_messages,
        }
    }

    /// With few cores the appender shares the connections' thread: a hop within a thread wakes nobody.
    fn appender_place(&self) -> Place {
        let alone = match self.config.store.appender_placement {
            AppenderPlacement::Own => true,
            AppenderPlacement::Shared => false,
            AppenderPlacement::Auto => self.seams.cores > 2,
        };
        if alone { Place::named("log") } else { Place::numbered("io", 0) }
    }

    /// Before the log's actors as well: the indexer stops after them and has everything.
    fn start_index(
        &self,
        store: &Arc<Store>,
        dispatched: &Arc<DispatchSignal>,
    ) -> Result<KeyIndex, BrokerStartError> {
        let parts = KeyIndexParts {
            tree: self.tree,
            store,
            disk: &self.seams.disk,
            clock: &self.seams.clock,
            dispatched,
            log: self.child_log("indexer"),
        };
        Ok(KeyIndex::start(&self.config.index, parts)?)
    }

    async fn start_log(
        &self,
        store: &Arc<Store>,
        table: &Arc<TopicTable>,
        levels: &DelayLevels,
        advertised: SocketAddr,
        signal: Arc<DispatchSignal>,
        indexer: Option<IndexerLink>,
    ) -> Result<LogActors, BrokerStartError> {
        let tree = self.tree.subtree("log");
        let state = Arc::new(LogState::default());
        fail_stop(&tree, &state);
        let dispatcher = {
            let (log, table, levels) = (store.log().clone(), table.clone(), levels.clone());
            let (signal, logger) = (signal.clone(), self.child_log("dispatcher"));
            let spec = ChildSpec::new("dispatcher", Policy::RestartFromDisk, move |incarnation| {
                let (log, table, levels) = (log.clone(), table.clone(), levels.clone());
                let (signal, indexer) = (signal.clone(), indexer.clone());
                let (incarnation, logger) = (incarnation.into(), logger.clone());
                Ok(Dispatcher::new(log, table, levels, signal, indexer, incarnation, logger))
            });
            tree.spawn(spec.place(dispatch_place()))
        };
        let flush_queue = Arc::new(FlushQueue::default());
        let flusher = self.start_flusher(&tree, store, &flush_queue, &state).await?;
        let allocator = {
            let (disk, config) = (self.seams.disk.clone(), store.log().config().clone());
            let logger = self.child_log("allocator");
            let spec = ChildSpec::new("allocator", Policy::RestartEmpty, move |_| {
                Ok(Allocator::new(disk.clone(), config.clone(), logger.clone()))
            });
            self.started("allocator", tree.start(spec.place(Place::named("files"))).await)?
        };
        if self.config.flush.flush_disk_type == FlushDiskType::SyncFlush {
            self.start_preparer(&tree, store);
        }
        let parts = AppenderParts {
            log: store.log().clone(),
            clock: self.seams.clock.clone(),
            store_host: advertised,
            sync_flush: self.config.flush.flush_disk_type == FlushDiskType::SyncFlush,
            dispatcher: dispatcher.clone(),
            signal: signal.clone(),
            flusher,
            flush_queue,
            allocator,
            state: state.clone(),
            log_to: self.child_log("appender"),
        };
        let spec = ChildSpec::new("appender", Policy::RestartFromDisk, move |incarnation| {
            let tail = parts.log.tail().ok_or("the log's tail is still in use")?;
            Ok(Appender::new(parts.clone(), tail, incarnation.into()))
        });
        let appender =
            self.started("appender", tree.start(spec.place(self.appender_place())).await)?;
        Ok(LogActors { state, signal, dispatcher, appender })
    }

    fn start_preparer(&self, tree: &Tree, store: &Arc<Store>) {
        let (log, disk) = (store.log().clone(), self.seams.disk.clone());
        let logger = self.child_log("preparer");
        let spec = ChildSpec::new("preparer", Policy::RestartEmpty, move |_| {
            let preparer = log.preparer(disk.clone(), AHEAD_BYTES, PIECE_BYTES);
            Ok(Preparer::new(preparer, logger.clone()))
        });
        tree.spawn(spec.place(Place::named("files")));
    }

    /// Queues are mapped when they are used, which may be long from now.
    fn warn_of_mappings(&self, queues: u64) {
        // Some are left for the log, the index, and what a second file of a queue takes.
        let max = mappings_max().map_or(u64::MAX, |max| max / 10 * 9);
        if queues > max {
            warn!(self.log, "not all queues can be in use at a time; raise vm.max_map_count";
                "queues" => queues, "at_a_time" => max);
        }
    }

    async fn start_flusher(
        &self,
        tree: &Tree,
        store: &Arc<Store>,
        queue: &Arc<FlushQueue>,
        state: &Arc<LogState>,
    ) -> Result<Addr<Shell<Flusher>>, BrokerStartError> {
        let flush = &self.config.flush;
        let (timeout, watched) = (flush.sync_flush_timeout, queue.clone());
        let logger = self.child_log("flush watch");
        let watch = ChildSpec::new("flush watch", Policy::RestartEmpty, move |_| {
            Ok(FlushWatch::new(watched.clone(), timeout, logger.clone()))
        });
        self.started("flush watch", tree.start(watch.place(dispatch_place())).await)?;
        let pace = FlushPace {
            interval: flush.flush_interval_commit_log,
            least_pages: flush.flush_commit_log_least_pages,
            thorough_interval: flush.flush_commit_log_thorough_interval,
        };
        let (log, queue, state) = (store.log().clone(), queue.clone(), state.clone());
        let logger = self.child_log("flusher");
        let spec = ChildSpec::new("flusher", Policy::FailStop, move |_| {
            let (queue, state) = (queue.clone(), state.clone());
            Ok(Flusher::new(log.clone(), queue, state, pace, logger.clone()))
        });
        self.started("flusher", tree.start(spec.place(Place::named("flush"))).await)
    }

    fn queues(&self, tree: Tree, store: &Arc<Store>, actors: &LogActors) -> Arc<Queues> {
        Arc::new(Queues {
            tree,
            place: dispatch_place(),
            store: store.clone(),
            dispatcher: actors.dispatcher.clone(),
            log: self.log.clone(),
        })
    }

    async fn start_topics(
        &self,
        store: &Arc<Store>,
        table: &Arc<TopicTable>,
        queues: &Arc<Queues>,
        advertised: SocketAddr,
    ) -> Result<Addr<Shell<Topics>>, BrokerStartError> {
        let registrar = self.start_registrar(advertised);
        let topic_tree = self.tree.pool("topics");
        let config = self.catalog_config();
        let path = store.config().config_dir().join("topics.json");
        let (disk, clock) = (self.seams.disk.clone(), self.seams.clock.clone());
        // Read once here, so that a file that cannot be read is told as such.
        Catalog::open(config.clone(), path.clone(), disk.clone(), clock.clone())?;
        let (table, queues) = (table.clone(), queues.clone());
        let (log, logger) = (self.log.clone(), self.child_log("topics"));
        let spec = ChildSpec::new("topics", Policy::RestartFromDisk, move |_| {
            let catalog = Catalog::open(config.clone(), path.clone(), disk.clone(), clock.clone());
            let parts = TopicsParts {
                tree: topic_tree.clone(),
                queues: queues.clone(),
                table: table.clone(),
                registrar: registrar.clone(),
                topic_log: log.clone(),
                log: logger.clone(),
            };
            Ok(Topics::new(parts, catalog.map_err(|e| e.to_string())?))
        });
        let topics = self.started("topics", self.tree.start(spec).await)?;
        // It answers once all topics are published.
        let published = topics.send(AllTopics).await;
        let failed =
            |_| BrokerStartError::Actor { actor: "topics", reason: Exit::Failed("lost".into()) };
        published.map(|_| topics).map_err(failed)
    }

    fn catalog_config(&self) -> CatalogConfig {
        let (identity, topics) = (&self.config.identity, &self.config.topics);
        CatalogConfig {
            cluster: identity.broker_cluster_name.clone(),
            broker: identity.broker_name.clone(),
            auto_create: topics.auto_create_topic_enable,
            default_queues: topics.default_topic_queue_nums as i32,
            delay_levels: topics.message_delays.len() as i32,
            trace_topic: topics.trace_topic_enable,
        }
    }

    fn start_registrar(&self, advertised: SocketAddr) -> Addr<Shell<Registrar>> {
        let (identity, registration) = (&self.config.identity, &self.config.registration);
        let ha = format!("{}:{}", identity.broker_ip2, advertised.port().saturating_add(1));
        let config = RegistrarConfig {
            namesrv: registration.namesrv_addr.clone(),
            cluster_name: identity.broker_cluster_name.clone(),
            broker_name: identity.broker_name.clone(),
            broker_addr: advertised.to_string(),
            broker_id: identity.broker_id as i64,
            ha_server_addr: ha,
            permission: identity.broker_permission,
            compressed: registration.compressed_register,
            period: registration.register_name_server_period,
            timeout: registration.register_broker_timeout,
            client: self.seams.client.clone(),
        };
        let (last, logger) = (LastTable::new(Mutex::new(None)), self.child_log("registrar"));
        self.tree.spawn(ChildSpec::new("registrar", Policy::RestartEmpty, move |_| {
            Ok(Registrar::new(config.clone(), last.clone(), logger.clone()))
        }))
    }

    /// Has queues built again that lost something. Nobody is served yet, so this thread may read.
    fn verify_queues(&self, store: &Store, table: &TopicTable) -> Result<(), QueueError> {
        let topics = table.all();
        for queue in store.verify_queues(|topic| topics.contains_key(topic))? {
            warn!(self.log, "queue had lost files, built again from the log";
                "topic" => &*queue.topic, "queue" => queue.queue.0);
        }
        Ok(())
    }

    /// Makes checkpoints from now on: until here, queues are behind the log.
    async fn start_checkpointer(
        &self,
        store: &Arc<Store>,
        actors: &LogActors,
    ) -> Result<(), BrokerStartError> {
        let (store, signal) = (store.clone(), actors.signal.clone());
        let (dispatcher, log) = (actors.dispatcher.clone(), self.child_log("checkpointer"));
        let period = self.config.flush.flush_interval_consume_queue;
        let spec = ChildSpec::new("checkpointer", Policy::RestartEmpty, move |_| {
            let (store, signal) = (store.clone(), signal.clone());
            Ok(Checkpointer::new(store, signal, dispatcher.clone(), period, log.clone()))
        });
        let spec = spec.place(Place::named("checkpoint"));
        self.started("checkpointer", self.tree.start(spec).await)?;
        Ok(())
    }

    /// Has the dispatcher begin, and waits until every queue has what the log has: offsets continue
    /// where they were, and consumers find what was there.
    async fn catch_up(&self, store: &Arc<Store>, table: &TopicTable, actors: &LogActors) {
        actors.dispatcher.do_send(LogAdvanced);
        while actors.signal.position() < store.log().max_offset() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
        for topic in table.all().values() {
            for queue in topic.queues.iter().filter_map(|slot| slot.started_actor()) {
                // Answered behind the entries. A queue that just failed reads them again by itself.
                let _ = queue.send(OpenQueue).await;
            }
        }
    }

    async fn start_groups(
        &self,
        store: &Arc<Store>,
        facts: &Arc<Facts>,
        topics: &Addr<Shell<Topics>>,
        advertised: SocketAddr,
    ) -> Result<group::Control, BrokerStartError> {
        let (identity, groups) = (&self.config.identity, &self.config.groups);
        let settings = GroupSettings {
            control: ControlConfig {
                broker_name: identity.broker_name.as_str().into(),
                broker_addr: advertised.to_string().into(),
                server_side_reset: true,
                sql92: self.config.pull.enable_property_filter,
            },
            groups: GroupsConfig {
                auto_create: groups.auto_create_subscription_group,
                notify: groups.notify_consumer_ids_changed_enable,
                client_expiry: groups.channel_expired_timeout,
                place: dispatch_place(),
            },
            offsets_interval: groups.flush_consumer_offset_interval,
            file_place: Place::named("metadata"),
            diagnosis: DiagnosisSettings {
                limits: Limits {
                    stuck_ms: groups.stuck_queue_seconds * 1000,
                    commit_ms: groups.missing_commit_seconds * 1000,
                },
                place: Place::named("watch"),
            },
        };
        let retry_topics = RetryTopicMaker { table: facts.topics.clone(), topics: topics.clone() };
        let around = Surroundings {
            tree: self.tree,
            config_dir: &store.config().config_dir(),
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
            facts: facts.clone(),
            retry_topics: Arc::new(retry_topics),
            log: self.log,
        };
        let started = group::start(settings, around).await;
        started.map_err(|(actor, reason)| BrokerStartError::Actor { actor, reason })
    }

    fn pop_files(&self, store: &Store) -> PopFiles {
        let file = |name: &str| JsonFile::new(store.config().config_dir().join(name));
        PopFiles {
            states: file("popState.json"),
            orders: file("consumerOrderInfo.json"),
            disk: self.seams.disk.clone(),
        }
    }

    async fn start_pops(
        &self,
        store: &Store,
        parts: PopParts,
        control: &group::Control,
    ) -> Result<Pops, BrokerStartError> {
        let modes = RequestModesParts {
            file: JsonFile::new(store.config().config_dir().join("messageRequestMode.json")),
            disk: self.seams.disk.clone(),
            log: self.child_log("request modes"),
        };
        // Read once here, so that a file that cannot be read is told as such.
        modes.load()?;
        let mut client = self.seams.client.clone();
        client.namesrv.clone_from(&self.config.registration.namesrv_addr);
        let around = PopSurroundings {
            tree: self.tree,
            files: self.pop_files(store),
            modes,
            file_place: Place::named("metadata"),
            place: dispatch_place(),
            routes: QueueRoutes::new(client, parts.broker_name.clone()),
            log: self.log,
        };
        let (facts, states) = (parts.facts.clone(), parts.states.clone());
        let pops = Pops::start(parts, control.clone(), around).await?;
        // Nobody is served yet, so this thread may read.
        let java = JavaPops {
            cluster: &self.config.identity.broker_cluster_name,
            facts: &facts,
            log: store.log(),
            offsets: control.offsets(),
            log_to: self.log,
        };
        java.take_over(&pops, &states);
        Ok(pops)
    }

    async fn start_about(
        &self,
        dispatched: &Arc<DispatchSignal>,
    ) -> Result<About, BrokerStartError> {
        let (traffic, clock) = (Arc::new(Traffic::default()), self.seams.clock.clone());
        let counted = traffic.clone();
        let spec = ChildSpec::new("meter", Policy::RestartEmpty, move |_| {
            Ok(Meter::new(counted.clone(), clock.clone()))
        });
        self.started("meter", self.tree.start(spec).await)?;
        Ok(About {
            effective: self.config.effective.clone(),
            started_ms: self.seams.clock.now_ms(),
            traffic,
            dispatched: dispatched.clone(),
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
        })
    }

    /// More than one, so that one slow read does not hold up all others.
    async fn start_cold_readers(&self) -> Result<ColdReaders, BrokerStartError> {
        let tree = self.tree.pool("cold");
        let mut readers = Vec::new();
        for number in 0..self.seams.cores.clamp(2, 8) {
            let spec =
                ChildSpec::new(format!("cold reader {number}"), Policy::RestartEmpty, |_| {
                    Ok(ColdReader)
                });
            let started = tree.start(spec.place(Place::numbered("cold", number))).await;
            readers.push(self.started("cold reader", started)?);
        }
        Ok(ColdReaders::new(readers))
    }

    async fn start_schedule(
        &self,
        store: &Arc<Store>,
        table: &Arc<TopicTable>,
        levels: &DelayLevels,
        appender: &Addr<Shell<Appender>>,
    ) -> Result<(), BrokerStartError> {
        let parts = ScheduleParts {
            levels: levels.clone(),
            topics: table.clone(),
            log: store.log().clone(),
            appender: appender.clone(),
            clock: self.seams.clock.clone(),
            disk: self.seams.disk.clone(),
            file: JsonFile::new(store.config().config_dir().join("delayOffset.json")),
            save_interval: self.config.topics.flush_delay_offset_interval,
            log_to: self.child_log("schedule"),
        };
        let spec = ChildSpec::new("schedule", Policy::RestartFromDisk, move |_| {
            Schedule::open(parts.clone())
        });
        self.started("schedule", self.tree.start(spec.place(dispatch_place())).await)?;
        Ok(())
    }

    async fn start_cleaner(
        &self,
        store: &Arc<Store>,
        facts: &Arc<Facts>,
        control: &group::Control,
        actors: &LogActors,
        index: Option<Index>,
    ) -> Result<Addr<Shell<Cleaner>>, BrokerStartError> {
        let retention = &self.config.retention;
        let parts = CleanerParts {
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
            log: store.log().clone(),
            state: actors.state.clone(),
            signal: actors.signal.clone(),
            topics: facts.topics.clone(),
            queues: facts.queues.clone(),
            index,
            offsets: control.offsets().clone(),
            policy: retention_policy(retention),
            keeps_unconsumed: retention.never_delete_unconsumed,
            interval: retention.clean_resource_interval,
            file_interval: retention.delete_commit_log_files_interval,
            log_to: self.child_log("cleaner"),
        };
        // Recovery has the queues begin where the log does; a predecessor may have left off anywhere.
        let found = store.report().log_min;
        let spec = ChildSpec::new("cleaner", Policy::RestartEmpty, move |incarnation| {
            let trimmed_to = if incarnation == 0 { found } else { PhysicalOffset(0) };
            Ok(Cleaner::new(parts.clone(), trimmed_to))
        });
        self.started("cleaner", self.tree.start(spec.place(Place::named("cleaner"))).await)
    }

    async fn open_port(
        &self,
        name: &'static str,
        acceptor: Option<Box<dyn Acceptor>>,
        shared: &Arc<Shared>,
    ) -> Result<(), BrokerStartError> {
        let Some(first) = acceptor else { return Ok(()) };
        let addr = first.local_addr().map_err(|e| BrokerStartError::Listen {
            addr: self.config.network.listen_addr(),
            reason: e.to_string(),
        })?;
        let network = &self.config.network;
        let shared = shared.clone();
        let factory: ServiceFactory<Session> = Arc::new(move |_| Session::new(shared.clone()));
        let spec = Arc::new(PortSpec {
            factory,
            tree: self.tree.pool(&format!("connections-{name}")),
            threads: io_threads(network, self.seams.cores),
            connections_max: CONNECTIONS_MAX,
            limits: network.into(),
            log: self.log.new(o!("port" => name)),
        });
        // The first incarnation takes the socket that is open already, later ones open it again.
        let (network, mut first) = (self.seams.network.clone(), Some(first));
        let child = ChildSpec::in_context(name, Policy::RestartFromDisk, move |_, ctx| {
            let acceptor = match first.take() {
                Some(first) => first,
                None => network.listen(addr).map_err(|e| e.to_string())?,
            };
            Ok(Listener::new(spec.clone(), acceptor, ctx))
        });
        self.started("listener", self.tree.start(child).await)?;
        Ok(())
    }

    fn child_log(&self, actor: &'static str) -> Logger {
        self.log.new(o!("actor" => actor))
    }

    fn started<T>(
        &self,
        actor: &'static str,
        started: Result<T, Exit>,
    ) -> Result<T, BrokerStartError> {
        started.map_err(|reason| BrokerStartError::Actor { actor, reason })
    }
}

fn retention_policy(config: &RetentionConfig) -> RetentionPolicy {
    RetentionPolicy {
        reserved_ms: i64::from(config.file_reserved_time) * 3_600_000,
        delete_hours: config.delete_when.clone(),
        max_used_percent: config.disk_max_used_space_ratio,
        forcible_percent: config.disk_space_clean_forcibly_ratio,
        warning_percent: config.disk_space_warning_level_ratio,
        cleans_forcibly: config.clean_file_forcibly_enable,
        batch_max: config.delete_file_batch_max,
        log_bytes: config.retention_bytes,
    }
}

fn store_signal(store: &Store) -> Arc<DispatchSignal> {
    Arc::new(DispatchSignal::new(store.report().dispatch_from, store.log().max_offset()))
}

fn dispatch_place() -> Place {
    Place::named("dispatch")
}

/// A child of the log that is beyond its budget ends writing for good; reads go on.
fn fail_stop(tree: &Tree, state: &Arc<LogState>) {
    let state = state.clone();
    tree.on_escalate(move |escalation| {
        state.fail(&format!("the {} has failed: {}", escalation.child, escalation.exit));
        Verdict::Leave
    });
}

fn resolve(host: &str) -> Result<IpAddr, BrokerStartError> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let failed = |reason: String| BrokerStartError::Host { host: host.into(), reason };
    let mut found = (host, 0).to_socket_addrs().map_err(|e| failed(e.to_string()))?;
    let v4_first = found.clone().find(|addr| addr.is_ipv4()).or_else(|| found.next());
    v4_first.map(|addr| addr.ip()).ok_or_else(|| failed("no address".into()))
}
