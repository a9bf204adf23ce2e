//! Name server and broker in the test's own actix system, with files in memory, and an HTTP client that
//! knows one method.

use std::{net::SocketAddr, sync::Arc};

use gantry::{
    broker::{Broker, Seams},
    net::{ConnectionLimits, TcpNetwork},
    registry::{self, NamesrvConfig, NamesrvRunning, Settings},
};
use gantry_client::{Client, ClientConfig, MessageQueue, TcpConnector};
use gantry_conf::{BrokerConfig, Role, Sources, Surroundings};
use gantry_storage::{MemDisk, SystemClock};
use gantry_supervisor::{Place, Placement, Tree};
use slog::{Discard, Logger, o};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    exposition::{self, Page},
    traffic::{PATIENCE, create_topic, eventually},
};

/// What is there.
pub struct Rig {
    pub broker: Broker,
    pub client: Client,
    namesrv: NamesrvRunning,
}

/// An answer of the port.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Runs a test against a broker of its own, and stops that in order.
pub fn with_broker(settings: &[&str], test: impl AsyncFnOnce(&Rig)) {
    actix::System::new().block_on(async {
        let rig = Rig::start(settings).await;
        test(&rig).await;
        rig.stop().await;
    });
}

impl Rig {
    pub async fn stop(&self) {
        self.client.close();
        timeout(PATIENCE, self.broker.stop()).await.expect("it stops");
        self.namesrv.stop().await;
    }

    pub async fn start(settings: &[&str]) -> Self {
        let (disk, placement) = (MemDisk::new(), Placement::threads());
        let namesrv = namesrv(&disk, &placement).await;
        let addr = namesrv.addr.to_string();
        let own = [
            "listenPort=0",
            "bindAddress=127.0.0.1",
            "brokerIP1=127.0.0.1",
            "metricsPromExporterPort=0",
            "mappedFileSizeCommitLog=1048576",
            "maxMessageSize=65536",
            "maxHashSlotNum=100",
            "maxIndexNum=100",
        ];
        let set = own.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let sources = Sources { set, namesrv_addr: Some(addr.clone()), ..Sources::default() };
        let config = BrokerConfig::load(Role::Broker, &sources, &Surroundings::bare("/home"));
        let seams = Seams {
            disk: Arc::new(disk),
            clock: Arc::new(SystemClock),
            network: Arc::new(TcpNetwork),
            client: ClientConfig::default(),
            placement: placement.clone(),
            seed: 1,
            cores: 2,
            memory_bytes: 1 << 30,
        };
        let log = Logger::root(Discard, o!());
        let root = Tree::root("gantry", placement, log.clone(), 1);
        let broker = Broker::start(&config.unwrap().config, seams, &root, log).await.unwrap();
        let client = Client::new(ClientConfig::with_namesrv(&addr));
        Self { broker, client, namesrv }
    }

    /// Makes a topic of so many queues.
    pub async fn topic(&self, topic: &str, queues: i32) -> Vec<MessageQueue> {
        create_topic(&self.client, &self.broker.addr.to_string(), topic, queues).await;
        eventually("the topic's route", async || self.client.routes().refresh(topic).await.is_ok())
            .await;
        self.client.routes().refresh(topic).await.unwrap().publish.clone()
    }

    pub fn addr(&self) -> SocketAddr {
        *self.broker.figures.addr.get().expect("the port is open")
    }

    pub async fn get(&self, target: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(self.addr()).await.unwrap();
        let head =
            format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an answer").unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.expect("a status"), head: head.into(), body: body.into() }
    }

    /// The page of figures, read strictly.
    pub async fn page(&self, target: &str) -> Page {
        let Answer { status, head, body } = self.get(target, "").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        exposition::parse(&body, false).unwrap_or_else(|why| panic!("{why}\n{body}"))
    }
}

async fn namesrv(disk: &MemDisk, placement: &Placement) -> NamesrvRunning {
    let seams = registry::Seams {
        network: Arc::new(TcpNetwork),
        connector: Arc::new(TcpConnector),
        disk: Arc::new(disk.clone()),
        placement: placement.clone(),
        seed: 1,
    };
    let config = NamesrvConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        kv_config_path: "/home/kvConfig.json".into(),
        settings: Settings::default(),
        shown: Default::default(),
        connections_max: 100,
        limits: ConnectionLimits::default(),
        io_threads: vec![Place::numbered("io", 0)],
    };
    registry::start(config, seams, Logger::root(Discard, o!())).await.unwrap()
}
