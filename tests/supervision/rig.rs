//! Name server and broker in the test's own actix system, on the real disk, clock and network.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use gantry::{
    broker::{Broker, Seams},
    net::{ConnectionLimits, TcpNetwork},
    registry::{self, NamesrvConfig, NamesrvRunning, Settings},
};
use gantry_client::{
    Client, ClientConfig, Message, MessageExt, MessageQueue, PullRequest, TcpConnector,
};
use gantry_conf::{BrokerConfig, Role, Sources, Surroundings};
use gantry_storage::{RealDisk, SystemClock};
use gantry_supervisor::{ChildState, Place, Placement, State, Tree};
use slog::{Drain, Logger, o};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::traffic::{Ledger, PATIENCE, Sender, Stamp, create_topic};

/// The topic of the traffic, and its queues.
pub const TOPIC: &str = "traffic";
pub const QUEUES: i32 = 3;
/// Messages of each sender; the strike comes after about a third of all.
const MESSAGES: u64 = 1500;
const SENDERS: u32 = 2;
/// The sender of the last message of each queue.
const LAST: u32 = 99;
/// How long pulls are held: so long that one that is forgotten fails the test.
pub const HOLD: Duration = Duration::from_secs(60);

/// The broker and what is around it.
pub struct Rig {
    pub broker: Broker,
    pub client: Client,
    namesrv: NamesrvRunning,
    log: Lines,
    _dir: TempDir,
}

/// Runs a test against a broker of its own, and stops that in order.
pub fn with_broker(test: impl AsyncFnOnce(&Rig)) {
    with_broker_of(&[], test);
}

/// The same with settings `key=value`.
pub fn with_broker_of(settings: &[&str], test: impl AsyncFnOnce(&Rig)) {
    gantry_supervisor::quiet_panics();
    actix::System::new().block_on(async {
        let rig = Rig::start(settings).await;
        test(&rig).await;
        rig.client.close();
        timeout(PATIENCE, rig.broker.stop()).await.expect("it stops");
        rig.namesrv.stop().await;
    });
}

impl Rig {
    async fn start(settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lines = Lines::default();
        let drain = Mutex::new(slog_json::Json::default(lines.clone())).map(slog::Fuse);
        let log = Logger::root(drain, o!());
        let placement = Placement::threads();
        let namesrv = namesrv(&dir, &placement, &log).await;
        let namesrv_addr = namesrv.addr.to_string();
        let seams = Seams {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
            network: Arc::new(TcpNetwork),
            client: ClientConfig::default(),
            placement: placement.clone(),
            seed: 1,
            cores: 2,
            memory_bytes: 1 << 30,
        };
        let root = Tree::root("gantry", placement, log.clone(), 1);
        let config = config(&dir, &namesrv_addr, settings);
        let broker = Broker::start(&config, seams, &root, log).await.unwrap();
        let client = Client::new(ClientConfig::with_namesrv(&namesrv_addr));
        create_topic(&client, &broker.addr.to_string(), TOPIC, QUEUES).await;
        Self { broker, client, namesrv, log: lines, _dir: dir }
    }

    /// A client with connections of its own.
    pub fn another_client(&self) -> Client {
        Client::new(ClientConfig::with_namesrv(&self.namesrv.addr.to_string()))
    }

    /// The queues of the traffic, as many as there are now.
    pub async fn queues(&self) -> Vec<MessageQueue> {
        self.client.routes().refresh(TOPIC).await.unwrap().publish.clone()
    }

    /// Senders send and readers read, `strike` falls in between; then every queue must hold what was
    /// acknowledged, in order.
    pub async fn traffic(&self, strike: impl AsyncFnOnce()) {
        let queues = self.queues().await;
        let ledger = RefCell::new(Ledger::new(queues.clone()));
        let sent = async {
            let mut senders: Vec<_> =
                (0..SENDERS).map(|sender| Sender::new(&self.client, sender, 0)).collect();
            let sent = senders.iter_mut().map(|sender| sender.run(MESSAGES, &ledger));
            for outcome in join_all(sent).await {
                outcome.unwrap();
            }
            self.send_last(&ledger).await;
        };
        let struck = async {
            while ledger.borrow().count() < MESSAGES as usize * SENDERS as usize / 3 {
                sleep(Duration::from_millis(1)).await;
            }
            strike().await;
        };
        let reader = self.another_client();
        let read = join_all(queues.iter().map(|queue| read_to_last(&reader, queue)));
        let all = async { tokio::join!(sent, struck, read) };
        let ((), (), read) = timeout(PATIENCE, all).await.expect("traffic goes on");
        let expected = MESSAGES as usize * SENDERS as usize + queues.len();
        assert_eq!(ledger.borrow().count(), expected, "every send was acknowledged");
        for (place, messages) in read.iter().enumerate() {
            ledger.borrow().check(place, messages);
        }
    }

    /// One message more for every queue, which tells its reader that it was the last.
    async fn send_last(&self, ledger: &RefCell<Ledger>) {
        let producer = self.client.producer("last");
        let queues = ledger.borrow().queues().to_vec();
        for (number, queue) in (0..).zip(&queues) {
            let stamp = Stamp { sender: LAST, number };
            let message = Message::new(TOPIC, stamp.body());
            let receipt = producer.send_to(queue, &message).await.unwrap();
            ledger.borrow_mut().acknowledge(stamp, &receipt);
        }
    }

    /// One actor of this name has been made again after one panic, and nothing else has happened.
    pub fn assert_restarted(&self, name: &str) {
        let counters = self.broker.tree().counters();
        assert_eq!((counters.restarts, counters.panics), (1, 1), "{}", self.log.text());
        let child = self.child(name).expect("it is still there");
        assert_eq!((child.restarts, child.panics), (1, 1), "{child:?}");
        assert_eq!(child.state, State::Running, "{child:?}");
        self.assert_logged("actor panicked", name);
        self.assert_logged("actor will be made again", name);
    }

    /// The actor whose name ends like this.
    pub fn child(&self, name: &str) -> Option<ChildState> {
        self.broker.tree().snapshot().into_iter().find(|child| child.name.ends_with(name))
    }

    /// There is a log line with this text about this actor.
    pub fn assert_logged(&self, what: &str, actor: &str) {
        let log = self.log.text();
        let found = log.lines().any(|line| line.contains(what) && line.contains(actor));
        assert!(found, "no line \"{what}\" about {actor} in\n{log}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of the broker\n{}---", self.log.text());
        }
    }
}

/// Everything in a queue up to its last message, with pulls that are held.
async fn read_to_last(client: &Client, queue: &MessageQueue) -> Vec<MessageExt> {
    let consumer = client.pull_consumer("readers");
    let mut messages: Vec<MessageExt> = Vec::new();
    let is_last = |message: &MessageExt| Stamp::of(&message.body).is_some_and(|s| s.sender == LAST);
    while !messages.last().is_some_and(is_last) {
        let request = PullRequest::new(queue.clone(), messages.len() as i64).held(HOLD);
        messages.extend(consumer.pull(&request).await.unwrap().messages);
    }
    messages
}

async fn namesrv(dir: &TempDir, placement: &Placement, log: &Logger) -> NamesrvRunning {
    let seams = registry::Seams {
        network: Arc::new(TcpNetwork),
        connector: Arc::new(TcpConnector),
        disk: Arc::new(RealDisk),
        placement: placement.clone(),
        seed: 1,
    };
    let config = NamesrvConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        kv_config_path: dir.path().join("kvConfig.json"),
        settings: Settings::default(),
        shown: Default::default(),
        connections_max: 100,
        limits: ConnectionLimits::default(),
        io_threads: vec![Place::numbered("io", 0)],
    };
    registry::start(config, seams, log.clone()).await.unwrap()
}

fn config(dir: &TempDir, namesrv: &str, settings: &[&str]) -> BrokerConfig {
    let own = [
        "listenPort=0",
        "bindAddress=127.0.0.1",
        "brokerIP1=127.0.0.1",
        "metricsExporterType=DISABLE",
    ];
    let sources = Sources {
        set: own.iter().chain(settings).map(|setting| setting.to_string()).collect(),
        namesrv_addr: Some(namesrv.to_owned()),
        ..Sources::default()
    };
    let loaded = BrokerConfig::load(Role::Broker, &sources, &Surroundings::bare(dir.path()));
    loaded.unwrap().config
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
