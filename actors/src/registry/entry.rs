//! One registered broker address: whether it is still there.
//!
//! Owns the time of its broker's last sign of life, how long it may be silent, and the connection on
//! which it registered. Told of registrations by the [`Registry`], of heartbeats and version queries
//! by connections, and asked at each scan whether the broker is still alive; when it is not, it closes
//! the broker's connection and reports [`BrokerSilent`]. What the broker carries is not its affair:
//! that is merged with other brokers' topics in the registry's table.
//!
//! Silence is measured on the monotonic clock, so a step of the wall clock drops nobody.
//! Failure policy: restart empty. The factory reads the registration from the published table and
//! grants a full time limit from then on; only the connection is forgotten, so an entry that expires
//! after that does not close it.
//!
//! [`Registry`]: super::registry::Registry

use std::{sync::Arc, time::Duration};

use actix::{Message, Recipient};
use gantry_supervisor::{Ctx, Logic, Receive, Reply};
use slog::{Logger, warn};
use tokio::time::Instant;

use crate::net::ConnectionHandle;

/// How long a broker may be silent that did not say so itself (wire.md 4.1).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Names an entry: a broker address within its group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey {
    /// The group.
    pub broker_name: Arc<str>,
    /// The address.
    pub addr: Arc<str>,
}

/// The broker has registered, for the first time or again.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct BrokerRegistered {
    /// The number of the registration.
    pub registration: u64,
    /// How long it may be silent from now on.
    pub timeout: Duration,
    /// The connection on which it did.
    pub connection: ConnectionHandle,
}

/// A sign of life: a heartbeat or a version query.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct BrokerSeen;

/// See whether the broker has been silent for too long.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CheckSilence;

/// The broker has been silent for too long since its registration of that number.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct BrokerSilent {
    /// Which broker.
    pub key: EntryKey,
    /// The last registration that the entry knew of. A later one makes this report void.
    pub registration: u64,
}

/// See the module's text.
pub struct Entry {
    key: EntryKey,
    registration: u64,
    timeout: Duration,
    last_seen: Instant,
    connection: Option<ConnectionHandle>,
    registry: Recipient<BrokerSilent>,
    log: Logger,
}

impl Entry {
    /// An entry whose broker was seen just now.
    pub fn new(
        key: EntryKey,
        registration: u64,
        timeout: Duration,
        registry: Recipient<BrokerSilent>,
        log: Logger,
    ) -> Self {
        let last_seen = Instant::now();
        Self { key, registration, timeout, last_seen, connection: None, registry, log }
    }

    fn registered(&mut self, news: BrokerRegistered) {
        self.registration = news.registration;
        self.timeout = news.timeout;
        self.connection = Some(news.connection);
        self.last_seen = Instant::now();
    }

    /// Whether the broker has been silent for longer than it may be.
    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_seen) > self.timeout
    }
}

impl Logic for Entry {
    const NAME: &'static str = "entry";
}

impl Receive<BrokerRegistered> for Entry {
    fn receive(&mut self, news: BrokerRegistered, _: &mut Ctx<Self>) -> Reply<()> {
        self.registered(news);
        Reply::Now(())
    }
}

impl Receive<BrokerSeen> for Entry {
    fn receive(&mut self, _: BrokerSeen, _: &mut Ctx<Self>) -> Reply<()> {
        self.last_seen = Instant::now();
        Reply::Now(())
    }
}

impl Receive<CheckSilence> for Entry {
    fn receive(&mut self, _: CheckSilence, _: &mut Ctx<Self>) -> Reply<()> {
        if self.is_silent(Instant::now()) {
            warn!(self.log, "broker is silent"; "limit_ms" => self.timeout.as_millis() as u64);
            if let Some(connection) = self.connection.take() {
                connection.close("the broker registered on it is silent");
            }
            self.registry
                .do_send(BrokerSilent { key: self.key.clone(), registration: self.registration });
        }
        Reply::Now(())
    }
}
