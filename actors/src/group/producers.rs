//! The actor that knows all producers by their heartbeats.
//!
//! Sessions send it [`ProducerBeat`], [`ProducerLeave`] and [`ProducerGone`]; it publishes a
//! [`ProducerDirectory`] for actors that have to reach a producer, once per burst of changes, and answers
//! the admin's questions. Failure policy: restart from what was published; heartbeats bring the rest.

use std::{sync::Arc, time::Duration};

use actix::Message;
use gantry_codec::body::{ClientConnection, ProducerInfo, ProducerTable as ProducerTableBody};
use gantry_storage::Clock;
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply};
use slog::{Logger, info, warn};
use tokio::time::Instant;

use super::{
    client::Client,
    producer_table::{Entry, ProducerDirectory, ProducerTable},
};
use crate::net::{ConnectionHandle, ConnectionId};

/// How often silent producers are looked for.
const SCAN_PERIOD: Duration = Duration::from_secs(10);

/// A client is alive and produces for these groups.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ProducerBeat {
    /// The client and its connection.
    pub producer: Client,
    /// The groups.
    pub groups: Vec<Box<str>>,
}

/// A client no longer produces for a group.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ProducerLeave {
    /// The group.
    pub group: Box<str>,
    /// The client's connection.
    pub connection: ConnectionId,
}

/// A connection is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ProducerGone(pub ConnectionId);

/// Who produces for this group? None: nobody.
#[derive(Message)]
#[rtype(result = "Option<Vec<ClientConnection>>")]
pub struct ProducersOf(pub Box<str>);

/// On which connection is the producer with this client id? Asked by whoever does not find it in the
/// directory: a heartbeat that was answered just now is in the mailbox before this question.
#[derive(Message)]
#[rtype(result = "Option<ConnectionHandle>")]
pub struct FindProducer(pub Box<str>);

/// Who produces for any group?
#[derive(Clone, Copy, Message)]
#[rtype(result = "ProducerTableBody")]
pub struct AllProducers;

/// See the module's text.
pub struct Producers {
    table: ProducerTable,
    directory: ProducerDirectory,
    /// A producer that was silent for longer than this is taken to be gone (`channelExpiredTimeout`).
    expiry: Duration,
    clock: Arc<dyn Clock>,
    log: Logger,
}

impl Producers {
    /// The actor's state, as its predecessor published it.
    pub fn new(
        directory: ProducerDirectory,
        expiry: Duration,
        clock: Arc<dyn Clock>,
        log: Logger,
    ) -> Self {
        let table = ProducerTable::new(directory.clone(), Instant::now(), clock.now_ms());
        Self { table, directory, expiry, clock, log }
    }

    fn scan(&mut self) {
        for (group, producer) in self.table.expire(self.expiry, Instant::now()) {
            warn!(self.log, "producer expired"; "group" => &*group,
                "client" => &*producer.id, "remote" => %producer.connection.remote());
            producer.connection.close("no heartbeat");
        }
    }
}

fn describe(entry: &Entry) -> ProducerInfo {
    let Client { connection, id, language, version } = &entry.producer;
    ProducerInfo {
        client_id: id.to_string(),
        // With the slash that Java's text form of an address without a host name begins with.
        remote_ip: format!("/{}", connection.remote()),
        language: *language,
        version: *version,
        last_update_timestamp: entry.heard_ms,
    }
}

impl Logic for Producers {
    const NAME: &'static str = "producers";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.every(SCAN_PERIOD, |me, _| me.scan());
    }

    fn drained(&mut self, _: &mut Ctx<Self>) {
        self.table.publish();
    }
}

impl Receive<ProducerBeat> for Producers {
    fn receive(&mut self, beat: ProducerBeat, _: &mut Ctx<Self>) -> Reply<()> {
        let (now, now_ms) = (Instant::now(), self.clock.now_ms());
        for group in &beat.groups {
            if self.table.beat(group, beat.producer.clone(), now, now_ms) {
                info!(self.log, "producer joined"; "group" => &**group,
                    "client" => &*beat.producer.id,
                    "remote" => %beat.producer.connection.remote());
            }
        }
        Reply::Now(())
    }
}

impl Receive<ProducerLeave> for Producers {
    fn receive(&mut self, order: ProducerLeave, _: &mut Ctx<Self>) -> Reply<()> {
        if self.table.leave(&order.group, order.connection) {
            info!(self.log, "producer left"; "group" => &*order.group,
                "connection" => %order.connection);
        }
        Reply::Now(())
    }
}

impl Receive<ProducerGone> for Producers {
    fn receive(&mut self, ProducerGone(connection): ProducerGone, _: &mut Ctx<Self>) -> Reply<()> {
        if self.table.close(connection) {
            info!(self.log, "producer's connection is gone"; "connection" => %connection);
        }
        Reply::Now(())
    }
}

impl Receive<FindProducer> for Producers {
    fn receive(
        &mut self,
        FindProducer(client): FindProducer,
        _: &mut Ctx<Self>,
    ) -> Reply<Option<ConnectionHandle>> {
        self.table.publish();
        self.directory.of_client(&client).into()
    }
}

impl Receive<ProducersOf> for Producers {
    fn receive(
        &mut self,
        ProducersOf(group): ProducersOf,
        _: &mut Ctx<Self>,
    ) -> Reply<Option<Vec<ClientConnection>>> {
        self.table
            .group(&group)
            .map(|entries| entries.iter().map(|entry| entry.producer.describe()).collect())
            .into()
    }
}

impl Receive<AllProducers> for Producers {
    fn receive(&mut self, _: AllProducers, _: &mut Ctx<Self>) -> Reply<ProducerTableBody> {
        let groups = self.table.groups();
        let data = groups
            .map(|(group, entries)| (group.to_string(), entries.iter().map(describe).collect()));
        ProducerTableBody { data: data.collect() }.into()
    }
}
