//! The broker: which actors there are, on which threads, and in which order they start and stop.
//!
//! [`Broker::start`] reads from top to bottom as the start order; the supervision tree stops them in
//! reverse. Nothing here is on a message's way. The files below this one start the parts: `ports`,
//! `log`, `topics`, `timers`, `consumption`, `figures`; `settings` gives them what they take from the
//! configuration.
//!
//! Failure policy: a start that fails stops what it has begun, and says why ([`BrokerStartError`]).
//!
//! | thread | actors |
//! |---|---|
//! | the caller's | roots, topics, registrar, listeners |
//! | `io-N` | connections; with few cores the appender too |
//! | `log` | the appender, if it has a thread of its own |
//! | `dispatch` | dispatcher, queues, schedule, groups, pops, undertaker |
//! | `transactions` | transactions; with few cores on `io-0`, beside the appender |
//! | `cold-N`, `cold` | readers of what may have to come from the disk; look-ups of keys |
//! | `flush`, `files`, `cleaner`, `checkpoint`, `metadata` | what blocks on the disk: flusher; allocator, preparer; cleaner; checkpointer; offsets, group table |
//! | `index` | likewise: the indexer of keys |
//! | `metrics` | the port of figures and health |
//! | `timer`, `timer-flush` | the timers, and what brings them to the disk |
//! | `watch` | the watch over the consumption, which reads indexes |

mod consumption;
mod error;
mod figures;
mod log;
mod ports;
mod settings;
mod timers;
mod topics;
mod transactions;

use std::{net::SocketAddr, sync::Arc};

use actix::Addr;
use gantry_client::ClientConfig;
use gantry_codec::UniqueKeys;
use gantry_conf::BrokerConfig;
use gantry_storage::{Clock, CloseError, Disk, Store};
use gantry_supervisor::{Credits, Placement, Shell, Tree};
use slog::{Logger, error, info, warn};

pub use self::error::BrokerStartError;
use self::{log::store_signal, ports::resolve};
use crate::{
    log::{
        appender::Appender,
        dispatcher::{DispatchSignal, DispatchTargets, Dispatcher},
        indexer::IndexerLink,
        state::{LogState, Refusal},
    },
    metrics::{Metrics, Sources, deliveries::Deliveries, scrape::Scrape},
    net::Network,
    pop::{parts::PopParts, pops::load_states, waiters::WaiterCount},
    session::Shared,
    settings::{FollowSettings, InEffect},
    topic::{Facts, QueueSlot, TopicTable},
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
    /// Its figures, and the port where they can be read.
    pub figures: Arc<Scrape>,
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
        let now_ms = seams.clock.now_ms();
        let live = Arc::new(InEffect::new(config.clone(), seams.memory_bytes, now_ms));
        let start = Start {
            config,
            live,
            seams: &seams,
            tree: &tree,
            metrics: Arc::default(),
            sources: Arc::default(),
            log: &log,
        };
        let started = start.run().await;
        if started.is_err() {
            tree.stop().await;
        }
        started
    }

    /// The supervision tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Calls `follower` with the configuration after each change from now on.
    pub fn follow_settings(&self, follower: impl Fn(&BrokerConfig) + Send + 'static) {
        self.shared.settings.do_send(FollowSettings(Box::new(follower)));
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
    /// The part of it that may change.
    live: Arc<InEffect>,
    seams: &'a Seams,
    tree: &'a Tree,
    /// What is counted for figures.
    metrics: Arc<Metrics>,
    /// Where parts register the figures that they have.
    sources: Arc<Sources>,
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
        let figures = self.start_figures().await?;
        let host = resolve(&self.config.identity.broker_ip1)?;
        let advertised = SocketAddr::new(host, addr.port());

        let levels = self.delay_levels();
        let store = Store::open(self.store_config(&levels), self.seams.disk.clone())?;
        let store = Arc::new(store);
        self.live.set_started_at(store.report().log_end);
        info!(self.log, "store opened"; "report" => %store.report());
        self.warn_of_mappings(store.report().queues as u64);
        let table = Arc::new(TopicTable::default());

        // Before the log's actors, so that queues end after them and have everything.
        let queue_tree = self.tree.pool("queues");
        let signal = store_signal(&store);
        let key_index = self.start_index(&store, &signal)?;
        let indexer = key_index.link();
        let light = self.light_topics(&table);
        let targets = DispatchTargets { topics: table.clone(), light: light.clone(), indexer };
        let actors = self.start_log(&store, targets, &levels, advertised, signal).await?;
        let queues = self.queues(queue_tree, &store, &actors);
        let topics = self.start_topics(&store, &table, &queues, advertised).await?;
        if let Some(light) = &light {
            light.begin(&queues);
        }
        self.verify_queues(&store, &table)?;
        self.catch_up(&store, &table, &actors).await;
        self.refill_windows(&table, &queues, &store);
        self.start_checkpointer(&store, &actors).await?;
        let facts = Arc::new(Facts {
            topics: table.clone(),
            queues,
            log: store.log().clone(),
            hot_bytes: self.live.session.load().pull.hot_bytes,
        });
        let control = self.start_groups(&store, &facts, &topics, advertised).await?;
        self.start_schedule(&store, &table, &levels, &actors.appender).await?;
        let timers = self.start_timers(&store, &table, &actors.appender).await?;
        let session = self.session_config(advertised, &levels);
        let cold = self.start_cold_readers().await?;
        let undertaker = self.start_undertaker(&store, &table, &topics, &actors.appender).await?;
        let parts = PopParts {
            facts: facts.clone(),
            topics_root: topics.clone(),
            log: store.log().clone(),
            limits: self.live.session.load().pull,
            appender: actors.appender.clone(),
            cold: cold.clone(),
            broker_name: session.broker_name.clone(),
            store_host: advertised,
            undertaker: undertaker.clone(),
            states: load_states(&self.pop_files(&store))?,
            deliveries: Deliveries {
                groups: control.directory().clone(),
                metrics: self.metrics.clone(),
            },
            settings: self.pop_settings(),
            waiting: WaiterCount::new(self.waiter_limits()),
            clock: self.seams.clock.clone(),
            seed: self.seams.seed,
            log_to: self.log.clone(),
        };
        self.register_pops(&parts.waiting);
        let pops = self.start_pops(&store, parts, &control).await?;
        let transactions = self
            .start_transactions(&store, &facts, &topics, &control, &actors, &session, &cold)
            .await?;
        let cleaner = self.start_cleaner(
            &store,
            &facts,
            &control,
            &actors,
            key_index.index(),
            timers.clone(),
        );
        let cleaner = cleaner.await?;

        let about = self.start_about(&actors.signal).await?;
        let (statistics, counters) = self.start_statistics(&table, &control, &about).await?;
        let shared = Arc::new(Shared {
            config: session,
            limits: self.live.session.clone(),
            settings: self.start_settings(&topics).await?,
            about,
            statistics,
            counters,
            topics: table,
            light,
            topics_root: topics,
            facts,
            control,
            pops,
            transactions,
            timers,
            log: store.log().clone(),
            key_queries: key_index.queries.clone(),
            log_state: actors.state.clone(),
            appender: actors.appender.clone(),
            undertaker,
            cleaner,
            credits: Credits::new(self.config.network.memory_budget),
            clock: self.seams.clock.clone(),
            unique_keys: UniqueKeys::new(host, std::process::id(), self.seams.seed as u32),
            cold,
            metrics: self.metrics.clone(),
            log_to: self.log.clone(),
        });
        key_index.begin(&self.config.index, &store).await;
        self.serve_figures(&figures, &shared, &actors);
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
            figures,
            dispatcher: actors.dispatcher,
            indexer: key_index.link(),
            log: self.log.clone(),
        })
    }
}
