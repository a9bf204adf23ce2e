//! The actor that makes the broker known to its name servers (wire.md 4.1).
//!
//! The topics' root sends it [`Register`] with the whole topic table at every change; it tells every name
//! server of `namesrvAddr`, at once and again every period, over connections of its own, and answers
//! when all of them that can be reached have answered. Changes that come while a name server is being
//! told are told together afterwards. In its orderly stop it takes the broker out again.
//!
//! A name server forgets a broker whose connection ends. So when a connection is lost, the name server is
//! told again after a second, and if it is away, in growing distances. Its going away and
//! its coming back are logged, each once.
//! Failure policy: restart empty; the last table is kept beside the incarnations and told again.

mod servers;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{AsyncContext, Message, SpawnHandle};
use bytes::Bytes;
use futures_util::future::join_all;
use gantry_client::{ClientConfig, Connection};
use gantry_codec::{
    Command,
    body::{self, DataVersion, RegisterBrokerBody, TopicConfigSerializeWrapper},
    record, request_code as rq,
    requests::route::{BrokerHeader, RegisterBrokerHeader},
    response_code as rs,
};
use gantry_supervisor::{ContextExt, Ctx, Health, Logic, Receive, Reply};
use slog::{Logger, info, warn};
use tokio::sync::oneshot;

use servers::{Outcome, Servers, Turn};

use crate::settings::Live;

/// How long a name server may take to take the broker out at its stop.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long after the loss of a connection its name server is told again.
const AFTER_LOSS: Duration = Duration::from_secs(1);
/// Read and write: permissions that `brokerPermission` takes nothing from.
const PERM_READ_WRITE: i32 = 6;

/// Who registers, where, how often.
#[derive(Clone, Debug)]
pub struct RegistrarConfig {
    /// Addresses of the name servers.
    pub namesrv: Vec<String>,
    /// The broker's cluster.
    pub cluster_name: String,
    /// The broker's name.
    pub broker_name: String,
    /// The broker's address for clients.
    pub broker_addr: String,
    /// 0 = master.
    pub broker_id: i64,
    /// The broker's address for slaves.
    pub ha_server_addr: String,
    /// What clients may do with the broker's topics at most (`brokerPermission`).
    pub permission: Live<i32>,
    /// Whether tables are sent compressed (`compressedRegister`).
    pub compressed: bool,
    /// How often the table is told again (`registerNameServerPeriod`).
    pub period: Duration,
    /// How long a name server may take to answer (`registerBrokerTimeoutMills`).
    pub timeout: Duration,
    /// How connections are made.
    pub client: ClientConfig,
}

/// Tell the name servers of these topics. Answered when all of them that can be reached know.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Register {
    /// All topics of the broker, with their version.
    pub topics: Arc<TopicConfigSerializeWrapper>,
}

/// The last topic table, kept beside the incarnations of the actor.
pub type LastTable = Arc<Mutex<Option<Arc<TopicConfigSerializeWrapper>>>>;

/// See the module's text.
pub struct Registrar {
    config: RegistrarConfig,
    servers: Servers,
    /// By server, the connection that it knows us by, while no request is under way on it.
    connections: Vec<Option<Connection>>,
    /// By server, the timer that will try again.
    retries: Vec<Option<SpawnHandle>>,
    last: LastTable,
    /// The request for `last`, once it has been needed.
    request: Option<Command>,
    /// Who waits, and for which table.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    log: Logger,
}

impl Registrar {
    /// A registrar that goes on from `last`.
    pub fn new(config: RegistrarConfig, last: LastTable, log: Logger) -> Self {
        let addrs = config.namesrv.iter().map(|addr| addr.as_str().into());
        let servers = Servers::new(addrs, config.period);
        let connections = vec![None; servers.len()];
        let retries = vec![None; servers.len()];
        let (request, waiting) = (None, Vec::new());
        Self { config, servers, connections, retries, last, request, waiting, log }
    }

    fn last(&self) -> Option<Arc<TopicConfigSerializeWrapper>> {
        // The table is replaced whole, so a panic elsewhere cannot have left a part of it.
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a table, unless a younger one came before: senders do not wait for each other.
    fn take(&mut self, topics: Arc<TopicConfigSerializeWrapper>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.as_ref().is_some_and(|last| is_older(&topics.data_version, &last.data_version)) {
            *last = Some(topics);
            self.request = None;
        }
    }

    /// Tells all servers that are not being told already. Nothing happens before the first table.
    fn tell_all(&mut self, ctx: &mut Ctx<Self>) {
        for server in 0..self.servers.len() {
            self.tell(server, ctx);
        }
        self.release();
    }

    fn tell(&mut self, server: usize, ctx: &mut Ctx<Self>) {
        let Some(table) = self.last() else { return };
        if !self.servers.begin(server) {
            return;
        }
        let request = match &self.request {
            Some(request) => request.clone(),
            None => self.request.insert(register_request(&self.config, &table)).clone(),
        };
        let call = Call {
            addr: self.servers.addr(server).clone(),
            open: self.connections[server].take(),
            client: self.config.client.clone(),
            timeout: self.config.timeout,
        };
        ctx.spawn_then(call.make(request), move |me, told, ctx| me.told(server, told, ctx));
    }

    fn told(&mut self, server: usize, told: Told, ctx: &mut Ctx<Self>) {
        let Told { outcome, connection } = told;
        if let Some((connection, is_new)) = connection {
            if is_new {
                self.watch(server, connection.clone(), ctx);
            }
            self.connections[server] = Some(connection);
        }
        let addr = self.servers.addr(server).clone();
        match self.servers.end(server, outcome) {
            Turn::Same => {}
            Turn::Known => info!(self.log, "registered with name server"; "namesrv" => &*addr),
            Turn::Away(reason) => {
                warn!(self.log, "not registered with name server, will keep trying";
                    "namesrv" => &*addr, "reason" => reason);
            }
        }
        if let Some(wait) = self.servers.retry_after(server) {
            self.repeat_after(wait, server, ctx);
        }
        self.tell(server, ctx);
        self.release();
    }

    /// Notices the end of a connection, which is when its name server forgets this broker.
    fn watch(&self, server: usize, connection: Connection, ctx: &mut Ctx<Self>) {
        ctx.spawn_then(async move { connection.closed().await }, move |me, reason, ctx| {
            if me.servers.knows(server) {
                let addr = &**me.servers.addr(server);
                info!(me.log, "connection to name server lost"; "namesrv" => addr,
                    "reason" => %reason);
                me.repeat_after(AFTER_LOSS, server, ctx);
            }
        });
    }

    /// Tries again after `wait`; an earlier plan to do so is dropped.
    fn repeat_after(&mut self, wait: Duration, server: usize, ctx: &mut Ctx<Self>) {
        let timer = ctx.after(wait, move |me, ctx| {
            me.servers.repeat(server);
            me.tell(server, ctx);
        });
        if let Some(earlier) = self.retries[server].replace(timer) {
            ctx.cancel_future(earlier);
        }
    }

    /// Answers those whose table is known wherever it can be.
    fn release(&mut self) {
        let servers = &self.servers;
        let (settled, waiting): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|(number, _)| servers.settled(*number));
        self.waiting = waiting;
        for (_, waiter) in settled {
            // Whoever no longer waits needs no answer.
            let _ = waiter.send(());
        }
    }

    /// Takes the broker out of every name server that knows it, all at the same time.
    fn unregister(&mut self) -> impl Future<Output = ()> + 'static {
        let config = &self.config;
        let header = BrokerHeader {
            broker_name: config.broker_name.clone(),
            broker_addr: config.broker_addr.clone(),
            cluster_name: config.cluster_name.clone(),
            broker_id: config.broker_id,
        };
        let request = Command::request(rq::UNREGISTER_BROKER).with_header(&header);
        let connections: Vec<_> = self.connections.drain(..).flatten().collect();
        let calls = connections.into_iter().map(move |connection| {
            let request = request.clone();
            async move {
                // A name server that does not answer now forgets the broker by itself.
                let _ = connection.request(request, UNREGISTER_TIMEOUT).await;
            }
        });
        async move {
            join_all(calls).await;
        }
    }
}

/// Versions rise with every change and with time; one that is behind in both is older.
fn is_older(new: &DataVersion, known: &DataVersion) -> bool {
    new.counter < known.counter && new.timestamp <= known.timestamp
}

/// REGISTER_BROKER (103) with all topics, as far as the broker's permission lets clients use them.
fn register_request(config: &RegistrarConfig, table: &TopicConfigSerializeWrapper) -> Command {
    let mut topics = table.clone();
    let permission = config.permission.get();
    if permission & PERM_READ_WRITE != PERM_READ_WRITE {
        topics.topic_config_table.values_mut().for_each(|topic| topic.perm &= permission);
    }
    let content = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: topics,
    };
    let compressed = config.compressed.then(|| content.compress().ok()).flatten();
    let header = RegisterBrokerHeader {
        broker_name: config.broker_name.clone(),
        broker_addr: config.broker_addr.clone(),
        cluster_name: config.cluster_name.clone(),
        ha_server_addr: config.ha_server_addr.clone(),
        broker_id: config.broker_id,
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        compressed: compressed.is_some(),
        body_crc32: 0,
        zone_name: None,
    };
    let body = Bytes::from(compressed.unwrap_or_else(|| body::to_json(&content)));
    let body_crc32 = record::body_crc(&body) as i32;
    let header = RegisterBrokerHeader { body_crc32, ..header };
    Command::request(rq::REGISTER_BROKER).with_header(&header).with_body(body)
}

/// What one attempt with one name server brought.
struct Told {
    outcome: Outcome,
    /// The connection, if the name server knows us by it, and whether it was opened for this attempt.
    connection: Option<(Connection, bool)>,
}

impl Told {
    fn without_connection(outcome: Outcome) -> Self {
        Self { outcome, connection: None }
    }
}

/// One attempt with one name server.
struct Call {
    addr: Arc<str>,
    open: Option<Connection>,
    client: ClientConfig,
    timeout: Duration,
}

impl Call {
    /// Sends the request on the open connection, or else on a new one. A connection on which it failed
    /// is closed; the next attempt starts afresh.
    async fn make(self, request: Command) -> Told {
        let open = self.open.filter(|connection| connection.close_reason().is_none());
        let is_new = open.is_none();
        let connection = match open {
            Some(connection) => connection,
            None => match Connection::open(&self.addr, &self.client).await {
                Ok(connection) => connection,
                Err(e) => return Told::without_connection(Outcome::Silent(e.to_string())),
            },
        };
        let outcome = match connection.request(request, self.timeout).await {
            Ok(answer) if answer.code == rs::SUCCESS => {
                return Told { outcome: Outcome::Taken, connection: Some((connection, is_new)) };
            }
            Ok(answer) => {
                let remark = answer.remark.as_deref().unwrap_or("no reason given");
                Outcome::Refused(format!("refused with code {}: {remark}", answer.code))
            }
            Err(e) => Outcome::Silent(e.to_string()),
        };
        connection.close();
        Told::without_connection(outcome)
    }
}

impl Logic for Registrar {
    const NAME: &'static str = "registrar";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.servers.want();
        self.tell_all(ctx);
        ctx.every(self.config.period, |me, ctx| {
            me.servers.want();
            me.tell_all(ctx);
        });
    }

    fn stopping(&mut self, ctx: &mut Ctx<Self>) {
        ctx.wait_then(self.unregister(), |me, (), _| {
            info!(me.log, "unregistered from the name servers");
        });
    }

    fn health(&self) -> Health {
        match self.servers.away() {
            Some(reason) => Health::Degraded(reason),
            None => Health::Up,
        }
    }
}

impl Receive<Register> for Registrar {
    fn receive(&mut self, Register { topics }: Register, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.take(topics);
        let (sender, told) = oneshot::channel();
        self.waiting.push((self.servers.want(), sender));
        self.tell_all(ctx);
        Reply::Later(Box::pin(async move {
            // The sender is dropped only with this actor, and then so is this answer.
            let _ = told.await;
        }))
    }
}

#[cfg(test)]
mod tests;
