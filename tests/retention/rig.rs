//! Name server and broker in the test's own actix system: files in memory, a clock that is moved by
//! hand, small files so that a few messages fill several.

use std::{path::Path, sync::Arc};

use gantry::{
    broker::{Broker, Seams},
    net::{ConnectionLimits, TcpNetwork},
    registry::{self, NamesrvConfig, NamesrvRunning, Settings},
    topic::QueueSlot,
};
use gantry_client::{
    CallError, Client, ClientConfig, Message, MessageQueue, PullRequest, PullStatus, SendError,
    TcpConnector,
};
use gantry_codec::{Command, request_code, requests::admin::CreateTopicHeader};
use gantry_conf::{BrokerConfig, Role, Sources, Surroundings};
use gantry_storage::{Disk, ManualClock, MemDisk, Space};
use gantry_supervisor::{Place, Placement, Tree};
use slog::{Discard, Logger, o};
use tokio::time::timeout;

use crate::traffic::{PATIENCE, create_topic, eventually};

/// Bytes of a file of the log: about seven messages.
pub const FILE: u64 = 8192;
/// 22:13 on some day.
const START_MS: i64 = 1_700_000_000_000;
pub const HOUR_MS: i64 = 3_600_000;
/// Where everything lies.
pub const ROOT: &str = "/home/store";

/// What is there besides the broker.
pub struct Rig {
    pub disk: MemDisk,
    pub clock: Arc<ManualClock>,
    /// Always there, but for a moment in a restart.
    broker: Option<Broker>,
    pub client: Client,
    namesrv: NamesrvRunning,
    placement: Placement,
    settings: Vec<String>,
}

/// Runs a test against a broker of its own, and stops that in order.
pub fn with_broker(settings: &[&str], test: impl AsyncFnOnce(&mut Rig)) {
    actix::System::new().block_on(async {
        let mut rig = Rig::start(settings).await;
        test(&mut rig).await;
        rig.client.close();
        timeout(PATIENCE, rig.broker().stop()).await.expect("it stops");
        rig.namesrv.stop().await;
    });
}

impl Rig {
    async fn start(settings: &[&str]) -> Self {
        let disk = MemDisk::new();
        let clock = Arc::new(ManualClock::new(START_MS));
        let placement = Placement::threads();
        let namesrv = namesrv(&disk, &placement).await;
        let settings: Vec<String> = [
            "listenPort=0",
            "metricsExporterType=DISABLE",
            "bindAddress=127.0.0.1",
            "brokerIP1=127.0.0.1",
            "mappedFileSizeCommitLog=8192",
            "mappedFileSizeConsumeQueue=200",
            "maxMessageSize=1000",
            "maxHashSlotNum=100",
            "maxIndexNum=100",
            "flushDiskType=ASYNC_FLUSH",
            "cleanResourceInterval=5",
            "flushIntervalConsumeQueue=5",
            "deleteCommitLogFilesInterval=0",
        ]
        .iter()
        .chain(settings)
        .map(|setting| (*setting).to_owned())
        .collect();
        let addr = namesrv.addr.to_string();
        let broker = start_broker(&disk, &clock, &placement, &settings, &addr).await;
        let client = Client::new(ClientConfig::with_namesrv(&addr));
        Self { disk, clock, broker: Some(broker), client, namesrv, placement, settings }
    }

    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("only a restart takes it")
    }

    /// Stops the broker in order and starts one on the same files.
    pub async fn restart(&mut self) {
        self.restart_after(|_| {}).await;
    }

    /// The same, after something was done to the files.
    pub async fn restart_after(&mut self, done: impl FnOnce(&MemDisk)) {
        timeout(PATIENCE, self.broker().stop()).await.expect("it stops");
        // With it goes the store's lock.
        self.broker = None;
        done(&self.disk);
        let addr = self.namesrv.addr.to_string();
        let (placement, settings) = (&self.placement, &self.settings);
        let started = start_broker(&self.disk, &self.clock, placement, settings, &addr).await;
        self.broker = Some(started);
    }

    /// Makes a topic of one queue with these changes of attributes.
    pub async fn topic(&self, topic: &str, attributes: &str) -> MessageQueue {
        create_topic(&self.client, &self.broker().addr.to_string(), topic, 1).await;
        if !attributes.is_empty() {
            self.change_topic(topic, attributes).await.unwrap();
        }
        self.queue(topic).await
    }

    /// The topic's queue, as clients find it now.
    pub async fn queue(&self, topic: &str) -> MessageQueue {
        let addr = self.broker().addr.port();
        eventually("the topic's route", async || {
            let route = self.client.routes().refresh(topic).await;
            route.is_ok_and(|route| format!("{route:?}").contains(&addr.to_string()))
        })
        .await;
        self.client.routes().refresh(topic).await.unwrap().publish[0].clone()
    }

    pub async fn change_topic(&self, topic: &str, attributes: &str) -> Result<(), CallError> {
        let header = CreateTopicHeader {
            topic: topic.into(),
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm: 6,
            attributes: Some(attributes.into()),
            ..CreateTopicHeader::default()
        };
        let request = Command::request(request_code::UPDATE_AND_CREATE_TOPIC).with_header(&header);
        self.call(request).await
    }

    /// Has an operator's request carried out.
    pub async fn order(&self, code: i32) {
        self.call(Command::request(code)).await.unwrap();
    }

    async fn call(&self, request: Command) -> Result<(), CallError> {
        self.client.remoting().call(&self.broker().addr.to_string(), request).await.map(drop)
    }

    /// Sends messages numbered from `from`, each of about a seventh of a file.
    pub async fn send(&self, queue: &MessageQueue, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.try_send(queue, number).await.unwrap();
        }
    }

    pub async fn try_send(&self, queue: &MessageQueue, number: usize) -> Result<(), SendError> {
        let mut body = format!("{number}:").into_bytes();
        body.resize(900, b'x');
        let message = Message::new(queue.topic.as_str(), body);
        self.client.producer("senders").send_to(queue, &message).await.map(drop)
    }

    /// Until a checkpoint covers the log: nothing is removed before.
    pub async fn checkpointed(&self) {
        let shared = &self.broker().shared;
        let store = &shared.facts.queues.store;
        eventually("a checkpoint", async || store.checkpointed() >= shared.log.max_offset()).await;
    }

    /// The numbers of all messages that a consumer gets who begins at offset 0.
    pub async fn read(&self, queue: &MessageQueue) -> Vec<usize> {
        let slot = self.slot(queue);
        eventually("the index", async || slot.range().unwrap().1 == slot.next_offset().unwrap())
            .await;
        let consumer = self.client.pull_consumer("readers");
        let (mut numbers, mut next) = (Vec::new(), 0);
        loop {
            let pulled = consumer.pull(&PullRequest::new(queue.clone(), next)).await.unwrap();
            match pulled.status {
                PullStatus::NoNewMessage => return numbers,
                PullStatus::OffsetMoved if pulled.next_begin_offset == next => return numbers,
                _ => {}
            }
            for message in &pulled.messages {
                let text = String::from_utf8_lossy(&message.body);
                numbers.push(text.split(':').next().unwrap().parse().unwrap());
            }
            next = pulled.next_begin_offset;
        }
    }

    pub async fn min_offset(&self, queue: &MessageQueue) -> i64 {
        self.client.min_offset(queue).await.unwrap()
    }

    /// Where the log begins.
    pub fn log_min(&self) -> u64 {
        self.broker().shared.log.min_offset().0
    }

    pub fn log_end(&self) -> u64 {
        self.broker().shared.log.max_offset().0
    }

    pub fn slot(&self, queue: &MessageQueue) -> Arc<QueueSlot> {
        let topic = self.broker().shared.topics.get(&queue.topic).unwrap();
        topic.queue(queue.queue_id as u32).unwrap().clone()
    }

    /// Waits until the log begins where `has_gone` wants it and the queue at its first message there.
    pub async fn trimmed(&self, queue: &MessageQueue, has_gone: impl Fn(&Self) -> bool) {
        eventually("files to go", async || has_gone(self)).await;
        let slot = self.slot(queue);
        let first = || slot.view().and_then(|view| view.entry(view.min_offset()));
        let follows = async || first().is_some_and(|entry| entry.offset.0 >= self.log_min());
        eventually("the queue to follow", follows).await;
    }

    /// How many files lie in a folder of the store.
    pub fn files(&self, dir: &str) -> usize {
        self.disk.list(&Path::new(ROOT).join(dir)).unwrap().len()
    }

    /// Has the store's disk used to so many percent.
    pub fn fill(&self, percent: u64) {
        let free = (100 - percent) << 20;
        let space = Space { total: 100 << 20, free, available: free };
        self.disk.set_space(Path::new(ROOT), Some(space));
    }
}

async fn start_broker(
    disk: &MemDisk,
    clock: &Arc<ManualClock>,
    placement: &Placement,
    settings: &[String],
    namesrv: &str,
) -> Broker {
    let seams = Seams {
        disk: Arc::new(disk.clone()),
        clock: clock.clone(),
        network: Arc::new(TcpNetwork),
        client: ClientConfig::default(),
        placement: placement.clone(),
        seed: 1,
        cores: 2,
        memory_bytes: 1 << 30,
    };
    let sources = Sources {
        set: settings.to_vec(),
        namesrv_addr: Some(namesrv.to_owned()),
        ..Sources::default()
    };
    let loaded = BrokerConfig::load(Role::Broker, &sources, &Surroundings::bare("/home"));
    let log = Logger::root(Discard, o!());
    let root = Tree::root("gantry", placement.clone(), log.clone(), 1);
    Broker::start(&loaded.unwrap().config, seams, &root, log).await.unwrap()
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
