//! The root of the name server: which actors there are, and the order in which they start.
//!
//! ```text
//! namesrv ─┬─ connections/… stop: a connection ends alone
//!          ├─ kv            restart from disk
//!          ├─ entries/…     one per registered broker address; restart empty
//!          ├─ registry      restart from the published table
//!          └─ listener      restart: listens again on the same port
//! ```
//!
//! They start in this order and stop in reverse: nobody new is let in; then the registry ends, before
//! the connections do, so that the end of all connections does not look like the end of all brokers,
//! of which brokers would be told. Everything outside of memory comes through [`Seams`], so a
//! simulator runs the same tree on one thread.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gantry_client::Connector;
use gantry_storage::{Disk, JsonFile};
use gantry_supervisor::{Budget, ChildSpec, Exit, Place, Placement, Policy, Tree, Verdict};
use slog::{Logger, info, o};
use thiserror::Error;

use super::{
    kv::{Kv, KvView},
    registry::Registry,
    route_query::RouteView,
    service::{NamesrvService, Served},
    settings::{Settings, SettingsView},
    views::{EntryView, Views},
};
use crate::net::{Acceptor, ConnectionLimits, Listener, Network, PortSpec};

/// A restart costs the registry nothing but the order that felled it, and without it no broker gets
/// in: some brokers that send such an order with every registration must not end it for all.
const REGISTRY_BUDGET: Budget = Budget {
    restarts: 120,
    window: Duration::from_secs(60),
    backoff_first: Duration::from_millis(10),
    backoff_max: Duration::from_millis(200),
};

/// What a name server has to know at its start.
#[derive(Clone, Debug)]
pub struct NamesrvConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file of the key-value configuration.
    pub kv_config_path: PathBuf,
    /// What can change later.
    pub settings: Settings,
    /// Keys that GET_NAMESRV_CONFIG shows beside the settings; they are read at start only.
    pub shown: BTreeMap<String, String>,
    /// Connections open at once.
    pub connections_max: usize,
    /// What each of them may hold.
    pub limits: ConnectionLimits,
    /// The threads that serve connections.
    pub io_threads: Vec<Place>,
}

/// The outside world.
#[derive(Clone)]
pub struct Seams {
    /// To listen.
    pub network: Arc<dyn Network>,
    /// To reach brokers.
    pub connector: Arc<dyn Connector>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Threads.
    pub placement: Placement,
    /// Seed of the waits before restarts.
    pub seed: u64,
}

/// Why the name server does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// The key-value configuration cannot be read.
    #[error("{path}: {exit}")]
    Kv {
        /// The file.
        path: PathBuf,
        /// What its actor died of.
        exit: Exit,
    },
    /// The registry did not start.
    #[error("the registry does not start: {0}")]
    Registry(Exit),
    /// The port cannot be listened on.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The listener did not start.
    #[error("the listener does not start: {0}")]
    Listener(Exit),
}

/// A name server that serves.
pub struct NamesrvRunning {
    /// Where it listens.
    pub addr: SocketAddr,
    tree: Tree,
}

impl NamesrvRunning {
    /// Stops it in order.
    pub async fn stop(&self) {
        self.tree.stop().await;
    }
}

/// Starts a name server; returns when it serves.
pub async fn start(
    config: NamesrvConfig,
    seams: Seams,
    log: Logger,
) -> Result<NamesrvRunning, StartError> {
    let tree = Tree::root("namesrv", seams.placement.clone(), log.clone(), seams.seed);
    match start_in(&tree, config, seams, &log).await {
        Ok(addr) => {
            info!(log, "name server runs"; "addr" => %addr);
            Ok(NamesrvRunning { addr, tree })
        }
        Err(e) => {
            tree.stop().await;
            Err(e)
        }
    }
}

async fn start_in(
    tree: &Tree,
    mut config: NamesrvConfig,
    seams: Seams,
    log: &Logger,
) -> Result<SocketAddr, StartError> {
    // The socket first: a port that is taken is told before anything else is touched.
    let wanted = config.listen;
    let failed = |error| StartError::Listen { addr: wanted, error };
    let acceptor = seams.network.listen(wanted).map_err(failed)?;
    let addr = acceptor.local_addr().map_err(failed)?;
    config.shown.insert("listenPort".into(), addr.port().to_string());
    // Declared before the registry, so that connections that end with the server take no broker out.
    let connections = tree.pool("connections");
    let served = start_owners(tree, &config, &seams, log).await?;
    let port = PortSpec {
        factory: Arc::new(move |_| NamesrvService::new(served.clone())),
        tree: connections,
        threads: config.io_threads,
        connections_max: config.connections_max,
        limits: config.limits,
        log: log.clone(),
    };
    tree.start(listener_spec(port, acceptor, addr, seams.network))
        .await
        .map_err(StartError::Listener)?;
    Ok(addr)
}

/// Starts everything but the port.
pub(super) async fn start_owners(
    tree: &Tree,
    config: &NamesrvConfig,
    seams: &Seams,
    log: &Logger,
) -> Result<Arc<Served>, StartError> {
    let views = Arc::new(Views {
        routes: Arc::new(RouteView::default()),
        entries: Arc::new(EntryView::default()),
        settings: Arc::new(SettingsView::new(config.settings.clone())),
    });
    let kv_view = Arc::new(KvView::default());
    let kv = tree
        .start(kv_spec(&config.kv_config_path, &seams.disk, &kv_view, log))
        .await
        .map_err(|exit| StartError::Kv { path: config.kv_config_path.clone(), exit })?;
    let entries = tree.pool("entries");
    entries.on_escalate(|_| Verdict::Leave);
    let registry = tree
        .start(registry_spec(&views, &entries, seams, log))
        .await
        .map_err(StartError::Registry)?;
    Ok(Arc::new(Served::new(views, kv_view, registry, kv, config.shown.clone())))
}

fn kv_spec(path: &Path, disk: &Arc<dyn Disk>, view: &Arc<KvView>, log: &Logger) -> ChildSpec<Kv> {
    let (path, disk, view) = (path.to_owned(), disk.clone(), view.clone());
    let log = log.new(o!("actor" => "kv"));
    ChildSpec::new("kv", Policy::RestartFromDisk, move |_| {
        let file = JsonFile::new(path.clone());
        Kv::open(file, disk.clone(), view.clone(), log.clone()).map_err(|e| e.to_string())
    })
    .place(Place::named("registry"))
}

fn registry_spec(
    views: &Arc<Views>,
    entries: &Tree,
    seams: &Seams,
    log: &Logger,
) -> ChildSpec<Registry> {
    let (views, entries) = (views.clone(), entries.clone());
    let (connector, disk) = (seams.connector.clone(), seams.disk.clone());
    let log = log.new(o!("actor" => "registry"));
    ChildSpec::new("registry", Policy::RestartFromDisk, move |_| {
        let (connector, disk) = (connector.clone(), disk.clone());
        Ok(Registry::new(views.clone(), entries.clone(), connector, disk, log.clone()))
    })
    .budget(REGISTRY_BUDGET)
    .place(Place::named("registry"))
}

/// The first incarnation takes the socket that is open already, later ones open it again.
fn listener_spec(
    port: PortSpec<NamesrvService>,
    acceptor: Box<dyn Acceptor>,
    addr: SocketAddr,
    network: Arc<dyn Network>,
) -> ChildSpec<Listener<NamesrvService>> {
    let (port, mut first) = (Arc::new(port), Some(acceptor));
    ChildSpec::in_context("listener", Policy::RestartFromDisk, move |_, ctx| {
        let acceptor = match first.take() {
            Some(first) => first,
            None => network.listen(addr).map_err(|e| e.to_string())?,
        };
        Ok(Listener::new(port.clone(), acceptor, ctx))
    })
}
