//! The name server's actors together, asked through the [`Service`] of its port by made-up
//! connections, on one thread with a clock that moves only when everything waits.

mod config;
mod liveness;
mod routes;

use std::{
    cell::RefCell,
    future::Future,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Context, Handler, Message};
use bytes::BytesMut;
use futures_util::StreamExt;
use gantry_client::{Connecting, Connector};
use gantry_codec::{
    Command, CommandCodec,
    body::{DataVersion, RegisterBrokerBody, TopicConfig, to_json},
    request_code as code,
    requests::route::{BrokerHeader, RegisterBrokerHeader},
};
use gantry_storage::{Disk, RealDisk};
use gantry_supervisor::{Ctx, Placement, Receive, Reply, Tree};
use slog::{Discard, Logger, o};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::codec::FramedRead;

use super::{
    Settings,
    entry::{Entry, EntryKey},
    namesrv::{NamesrvConfig, Seams, start, start_owners},
    registry::Registry,
    service::{NamesrvService, Served},
};
use crate::net::{
    ConnectionHandle, ConnectionId, ConnectionLimits, Outbox, Outcome, Service, TcpNetwork,
    service::Push,
};

fn run<F: Future>(test: F) -> F::Output {
    gantry_supervisor::quiet_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Lets everything that can run without the clock run.
async fn settle() {
    tokio::time::sleep(Duration::from_nanos(1)).await;
}

/// Takes the connections that the name server opens, and what it wrote into them.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<(String, DuplexStream)>>>);

impl Connector for Notes {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        let (near, far) = tokio::io::duplex(4096);
        self.0.lock().unwrap().push((address.to_owned(), far));
        Box::pin(async move { Ok(Box::new(near) as _) })
    }
}

impl Notes {
    /// The requests that were sent since the last call, by address.
    async fn take(&self) -> Vec<(String, Command)> {
        settle().await;
        let connections = std::mem::take(&mut *self.0.lock().unwrap());
        let mut notes = Vec::new();
        for (address, mut stream) in connections {
            let mut frame = Vec::new();
            stream.read_to_end(&mut frame).await.unwrap();
            notes.push((address, Command::decode(frame.into()).unwrap()));
        }
        notes.sort_by(|a, b| a.0.cmp(&b.0));
        notes
    }
}

/// A name server without a port.
struct Bench {
    served: Arc<Served>,
    notes: Notes,
    home: Rc<TempDir>,
}

fn config(settings: Settings, home: &TempDir) -> NamesrvConfig {
    NamesrvConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        kv_config_path: home.path().join("namesrv/kvConfig.json"),
        settings,
        shown: [("listenPort".to_owned(), "9876".to_owned())].into(),
        connections_max: 10,
        limits: ConnectionLimits::default(),
        io_threads: vec![],
    }
}

fn seams(notes: &Notes) -> Seams {
    Seams {
        network: Arc::new(TcpNetwork),
        connector: Arc::new(notes.clone()),
        disk: Arc::new(RealDisk),
        placement: Placement::single(),
        seed: 1,
    }
}

impl Bench {
    async fn start(settings: Settings) -> Self {
        Self::start_on(settings, Rc::new(tempfile::tempdir().unwrap())).await
    }

    async fn start_on(settings: Settings, home: Rc<TempDir>) -> Self {
        let log = Logger::root(Discard, o!());
        let notes = Notes::default();
        let (config, seams) = (config(settings, &home), seams(&notes));
        let tree = Tree::root("namesrv", Placement::single(), log.clone(), 1);
        let served = start_owners(&tree, &config, &seams, &log).await.unwrap();
        Self { served, notes, home }
    }

    fn connect(&self, id: u64) -> Peer {
        let orders = Rc::new(RefCell::new(Vec::new()));
        let push = FakeConnection(orders.clone()).start().recipient();
        let remote = "10.0.0.9:5000".parse().unwrap();
        let handle = ConnectionHandle::new(ConnectionId(id), remote, remote, push);
        Peer { service: NamesrvService::new(self.served.clone()), handle, orders }
    }

    async fn ask(&self, cmd: Command) -> Command {
        self.connect(99).ask(cmd).await
    }

    async fn route(&self, topic: &str) -> Command {
        self.ask(Command::request(code::GET_ROUTEINFO_BY_TOPIC).with_ext("topic", topic)).await
    }

    fn entry(&self, broker_name: &str, addr: &str) -> gantry_supervisor::Ref<Entry> {
        let key = EntryKey { broker_name: broker_name.into(), addr: addr.into() };
        self.served.views.entries.get(&key).unwrap()
    }
}

/// A made-up connection with its service.
struct Peer {
    service: NamesrvService,
    handle: ConnectionHandle,
    orders: Rc<RefCell<Vec<String>>>,
}

impl Peer {
    async fn ask(&mut self, cmd: Command) -> Command {
        match self.service.request(cmd, &self.handle, &mut Outbox::default()) {
            Outcome::Reply(answer) => answer,
            Outcome::Later(work) => work.await,
            Outcome::Again(_) | Outcome::None => panic!("every request is answered"),
        }
    }

    async fn close(mut self) {
        self.service.closed(&self.handle);
        settle().await;
    }
}

struct FakeConnection(Rc<RefCell<Vec<String>>>);

impl Actor for FakeConnection {
    type Context = Context<Self>;
}

impl Handler<Push> for FakeConnection {
    type Result = ();

    fn handle(&mut self, push: Push, _: &mut Self::Context) {
        let Push::Close(reason) = push else { panic!("a name server only closes") };
        self.0.borrow_mut().push(reason.to_owned());
    }
}

/// Makes an actor fail.
#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Receive<Panic> for Registry {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("told to")
    }
}

impl Receive<Panic> for Entry {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("told to")
    }
}

/// Broker `id` of group `g` at `addr`, with topic `t`.
fn header(id: i64, addr: &str) -> RegisterBrokerHeader {
    RegisterBrokerHeader {
        broker_name: "g".into(),
        broker_addr: addr.into(),
        cluster_name: "c".into(),
        ha_server_addr: format!("ha-{addr}"),
        broker_id: id,
        ..RegisterBrokerHeader::default()
    }
}

fn registration(header: &RegisterBrokerHeader, counter: i64) -> Command {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = DataVersion { counter, ..DataVersion::default() };
    let topic = TopicConfig { topic_name: "t".into(), ..TopicConfig::default() };
    wrapper.topic_config_table.insert("t".into(), topic);
    Command::request(code::REGISTER_BROKER).with_header(header).with_body(to_json(&body))
}

fn about(request: i32, addr: &str) -> Command {
    Command::request(request).with_header(&BrokerHeader {
        broker_name: "g".into(),
        broker_addr: addr.into(),
        cluster_name: "c".into(),
        broker_id: 0,
    })
}

fn text(cmd: &Command) -> &str {
    std::str::from_utf8(&cmd.body).unwrap()
}

fn remark(cmd: &Command) -> &str {
    cmd.remark.as_deref().unwrap_or_default()
}

fn kv(request: i32, key: &str, value: Option<&str>) -> Command {
    let cmd = Command::request(request).with_ext("namespace", "ORDER_TOPIC_CONFIG");
    let cmd = cmd.with_ext("key", key);
    match value {
        Some(value) => cmd.with_ext("value", value),
        None => cmd,
    }
}
