//! The listener: one actor per port; accepts connections and spreads them over the I/O threads.
//!
//! Owns the listening socket. Each accepted connection becomes a supervised [`Connection`] actor on
//! the next I/O thread in turn. A failure to accept (no file handles left, a peer that is gone) is
//! logged once per kind and waited out for a moment; it never ends the port.
//! Failure policy: restart from disk, that is listening on the same address again.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, Stream};
use gantry_conf::NetworkConfig;
use gantry_supervisor::{ChildSpec, Ctx, Logic, Place, Shell, StreamLogic, Tree};
use slog::{Logger, debug, o, warn};

use super::{
    Connection,
    connection::{ConnectionLimits, Opening},
    network::{Accepted, Acceptor},
    service::{ConnectionId, Service, ServiceFactory},
};

/// Wait after a failed accept: what fails is mostly that the process has no file handles left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a port serves and how.
pub struct PortSpec<S: Service> {
    /// Makes the service of each connection.
    pub factory: ServiceFactory<S>,
    /// Where connections are supervised.
    pub tree: Tree,
    /// The threads that connections are spread over.
    pub threads: Vec<Place>,
    /// Connections that are open at once; more are closed at once.
    pub connections_max: usize,
    /// What each connection may hold.
    pub limits: ConnectionLimits,
    /// Parent of the connections' loggers.
    pub log: Logger,
}

/// The threads that serve connections: as many as configured, or half the cores.
pub fn io_threads(config: &NetworkConfig, cores: usize) -> Vec<Place> {
    let count = if config.io_threads == 0 { (cores / 2).max(1) } else { config.io_threads };
    (0..count).map(|index| Place::numbered("io", index)).collect()
}

/// Numbers connections, across all ports of a process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// See the module's text.
pub struct Listener<S: Service> {
    spec: Arc<PortSpec<S>>,
    next_thread: usize,
    open: Arc<AtomicUsize>,
    last_failure: Option<io::ErrorKind>,
}

impl<S: Service> Listener<S> {
    /// Begins to accept from `acceptor` in the actor's context.
    pub fn new(spec: Arc<PortSpec<S>>, acceptor: Box<dyn Acceptor>, ctx: &mut Ctx<Self>) -> Self {
        Shell::<Self>::attach_stream(ctx, Accepting::new(acceptor));
        Self { spec, next_thread: 0, open: Arc::default(), last_failure: None }
    }

    fn serve(&mut self, accepted: Accepted) {
        if self.open.load(Ordering::Relaxed) >= self.spec.connections_max {
            warn!(self.spec.log, "connection refused, too many are open";
                "remote" => %accepted.remote, "max" => self.spec.connections_max);
            return;
        }
        let place = self.spec.threads.get(self.next_thread % self.spec.threads.len().max(1));
        self.next_thread = self.next_thread.wrapping_add(1);
        let id = ConnectionId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let Accepted { remote, local, attach } = accepted;
        let open = Open::one_more(self.open.clone());
        let log = self.spec.log.new(o!("connection" => id.0, "remote" => remote.to_string()));
        let opening = Opening { id, remote, local, limits: self.spec.limits, log, open };
        let spec = self.spec.clone();
        let child = ChildSpec::once(format!("connection/{id}"), move |ctx| {
            let stream = attach().map_err(|e| e.to_string())?;
            Ok(Connection::open(opening, stream, &spec.factory, ctx))
        });
        self.spec.tree.spawn(child.place(place.cloned().unwrap_or(Place::Here)));
    }
}

impl<S: Service> Logic for Listener<S> {
    const NAME: &'static str = "listener";
}

impl<S: Service> StreamLogic<io::Result<Accepted>> for Listener<S> {
    fn item(&mut self, item: io::Result<Accepted>, _: &mut Ctx<Self>) {
        match item {
            Ok(accepted) => {
                self.last_failure = None;
                self.serve(accepted);
            }
            Err(e) if self.last_failure == Some(e.kind()) => {
                debug!(self.spec.log, "accept failed again"; "error" => %e);
            }
            Err(e) => {
                self.last_failure = Some(e.kind());
                warn!(self.spec.log, "accept failed"; "error" => %e);
            }
        }
    }
}

/// Counts a connection as open for as long as it lives.
pub(super) struct Open(Arc<AtomicUsize>);

impl Open {
    pub(super) fn one_more(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepted connections as a stream that pauses after a failure and never ends.
pub(crate) struct Accepting {
    acceptor: Box<dyn Acceptor>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Accepting {
    /// The connections of `acceptor`.
    pub(crate) fn new(acceptor: Box<dyn Acceptor>) -> Self {
        Self { acceptor, pause: None }
    }
}

impl Stream for Accepting {
    type Item = io::Result<Accepted>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.poll_unpin(cx));
            self.pause = None;
        }
        let next = std::task::ready!(self.acceptor.poll_accept(cx));
        if next.is_err() {
            self.pause = Some(Box::pin(tokio::time::sleep(AFTER_FAILURE)));
        }
        Poll::Ready(Some(next))
    }
}
