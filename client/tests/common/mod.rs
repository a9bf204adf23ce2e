//! A network in memory: servers by address, each a function from a request to its answer.
//!
//! Together with tokio's paused clock and a fixed seed this makes every test the same each time.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use gantry_client::{BoxedStream, Client, ClientConfig, Connecting, Connector, WallClock};
use gantry_codec::body::{BrokerData, QueueData, TopicRouteData, to_json};
use gantry_codec::{Command, CommandCodec, SendHeader, request_code, response_code};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_util::codec::Framed;

/// What a server does with a request; None leaves it unanswered.
pub type Handler = Arc<dyn Fn(&Command) -> Option<Command> + Send + Sync>;

/// Bytes under way in each direction of a connection.
const PIPE_BYTES: usize = 64 * 1024;

/// See the file's text.
#[derive(Default)]
pub struct Network {
    servers: Mutex<HashMap<String, Handler>>,
    log: Arc<Mutex<Vec<(String, Command)>>>,
}

impl Network {
    pub fn new() -> Arc<Network> {
        Arc::default()
    }

    /// Puts a server at `address`, in place of an earlier one.
    pub fn serve(
        &self,
        address: &str,
        handler: impl Fn(&Command) -> Option<Command> + Send + Sync + 'static,
    ) {
        self.servers.lock().unwrap().insert(address.to_owned(), Arc::new(handler));
    }

    /// Takes a server away: connecting to it fails from now on.
    pub fn remove(&self, address: &str) {
        self.servers.lock().unwrap().remove(address);
    }

    /// All requests so far, with the address that they came to.
    pub fn log(&self) -> Vec<(String, Command)> {
        self.log.lock().unwrap().clone()
    }

    /// The addresses that requests with this code came to, in order.
    pub fn asked(&self, code: i32) -> Vec<String> {
        self.requests(code).into_iter().map(|(address, _)| address).collect()
    }

    /// The requests with this code, in order.
    pub fn requests(&self, code: i32) -> Vec<(String, Command)> {
        self.log().into_iter().filter(|(_, request)| request.code == code).collect()
    }

    /// A client of this network with a fixed seed and calendar.
    pub fn client(self: &Arc<Network>) -> Client {
        Client::new(self.config())
    }

    pub fn config(self: &Arc<Network>) -> ClientConfig {
        ClientConfig {
            connector: Arc::clone(self) as Arc<dyn Connector>,
            client_id: "client".to_owned(),
            clock: WallClock::Derived { start_ms: 1_700_000_000_000, at: Instant::now() },
            seed: 7,
            ..ClientConfig::with_namesrv("ns:1")
        }
    }
}

impl Connector for Network {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let handler = self.servers.lock().unwrap().get(address).cloned();
            let Some(handler) = handler else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(serve(far, address.to_owned(), handler, Arc::clone(&self.log)));
            Ok(Box::new(near) as BoxedStream)
        })
    }
}

async fn serve(
    stream: DuplexStream,
    address: String,
    handler: Handler,
    log: Arc<Mutex<Vec<(String, Command)>>>,
) {
    let mut frames = Framed::new(stream, CommandCodec);
    while let Some(Ok(request)) = frames.next().await {
        log.lock().unwrap().push((address.clone(), request.clone()));
        let answer = handler(&request);
        let answer = answer.filter(|_| !request.is_oneway());
        if let Some(answer) = answer
            && frames.send(&answer).await.is_err()
        {
            return;
        }
    }
}

/// SUCCESS without anything else.
pub fn success(request: &Command) -> Command {
    Command::response(response_code::SUCCESS, request)
}

/// A refusal.
pub fn refusal(code: i32, request: &Command) -> Command {
    Command::response(code, request).with_remark("not today")
}

/// The answer to a send, at this place of the queue asked for.
pub fn stored(request: &Command, queue_offset: i64) -> Command {
    let header = SendHeader::decode(request).expect("a send header");
    success(request)
        .with_ext("msgId", "7F00000100002A9F0000000000000100")
        .with_ext("queueId", header.queue_id)
        .with_ext("queueOffset", queue_offset)
}

/// A name server's handler that knows these routes.
pub fn name_server(
    routes: Vec<(&'static str, TopicRouteData)>,
) -> impl Fn(&Command) -> Option<Command> + Send + Sync {
    move |request| {
        assert_eq!(request.code, request_code::GET_ROUTEINFO_BY_TOPIC);
        let topic = request.ext.get("topic").expect("a topic");
        let found = routes.iter().find(|(name, _)| *name == topic);
        Some(match found {
            Some((_, route)) => success(request).with_body(to_json(route)),
            None => refusal(response_code::TOPIC_NOT_EXIST, request),
        })
    }
}

/// A broker in a route: name, addresses by id, queues.
pub type RouteBroker<'a> = (&'a str, &'a [(i64, &'a str)], i32);

/// A route over these brokers.
pub fn route(brokers: &[RouteBroker<'_>]) -> TopicRouteData {
    let broker_datas = brokers.iter().map(|(name, addresses, _)| BrokerData {
        broker_name: (*name).to_owned(),
        broker_addrs: addresses.iter().map(|(id, address)| (*id, (*address).into())).collect(),
        cluster: "c".to_owned(),
        ..BrokerData::default()
    });
    let queue_datas = brokers.iter().map(|(name, _, queues)| QueueData {
        broker_name: (*name).to_owned(),
        perm: 6,
        read_queue_nums: *queues,
        write_queue_nums: *queues,
        ..QueueData::default()
    });
    TopicRouteData {
        broker_datas: broker_datas.collect(),
        queue_datas: queue_datas.collect(),
        ..TopicRouteData::default()
    }
}
