//! The registrar against name servers in memory, on a clock that stands until everything waits for it.

use std::{collections::HashMap, io};

use bytes::BytesMut;
use futures_util::StreamExt;
use gantry_client::{BoxedStream, Connecting, Connector};
use gantry_codec::{CommandCodec, Header, body::TopicConfig};
use gantry_supervisor::{ChildSpec, Placement, Policy, Ref, Tree};
use slog::{Discard, o};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    task::{AbortHandle, LocalSet},
    time::Instant,
};
use tokio_util::codec::FramedRead;

use super::*;

/// Name servers by address; one that is not here refuses connections.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<HashMap<String, NameServer>>>);

/// What one name server does, and what it was sent.
#[derive(Default)]
struct NameServer {
    /// How long it takes to answer.
    delay: Duration,
    /// The code of its answers.
    code: i32,
    requests: Vec<Command>,
    connections: Vec<AbortHandle>,
}

impl Network {
    fn up(&self, addr: &str) {
        self.0.lock().unwrap().insert(addr.into(), NameServer::default());
    }

    /// It goes away with all its connections.
    fn down(&self, addr: &str) {
        if let Some(server) = self.0.lock().unwrap().remove(addr) {
            server.connections.iter().for_each(AbortHandle::abort);
        }
    }

    fn set(&self, addr: &str, change: impl FnOnce(&mut NameServer)) {
        change(self.0.lock().unwrap().get_mut(addr).unwrap());
    }

    /// The requests that it has been sent since this was asked last.
    fn requests(&self, addr: &str) -> Vec<Command> {
        std::mem::take(&mut self.0.lock().unwrap().get_mut(addr).unwrap().requests)
    }

    async fn serve(self, addr: String, stream: DuplexStream) {
        let (input, mut output) = tokio::io::split(stream);
        let mut frames = FramedRead::new(input, CommandCodec);
        while let Some(Ok(request)) = frames.next().await {
            let (delay, code) = {
                let servers = self.0.lock().unwrap();
                let Some(server) = servers.get(&addr) else { return };
                (server.delay, server.code)
            };
            tokio::time::sleep(delay).await;
            let mut answer = BytesMut::new();
            Command::response(code, &request).with_remark("so be it").encode(&mut answer);
            self.set(&addr, |server| server.requests.push(request));
            if output.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

impl Connector for Network {
    #[expect(clippy::disallowed_methods, reason = "the far end is no actor")]
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            if !self.0.lock().unwrap().contains_key(address) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let task = tokio::task::spawn_local(self.clone().serve(address.to_owned(), theirs));
            self.set(address, |server| server.connections.push(task.abort_handle()));
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

const ONE: &str = "ns-1:9876";
const TWO: &str = "ns-2:9876";
const MOMENT: Duration = Duration::from_millis(100);

struct Bench {
    network: Network,
    tree: Tree,
    registrar: Ref<Registrar>,
}

impl Bench {
    fn start(network: &Network, change: impl FnOnce(&mut RegistrarConfig)) -> Self {
        let mut config = config(network);
        change(&mut config);
        let log = Logger::root(Discard, o!());
        let tree = Tree::root("test", Placement::single(), log.clone(), 1);
        let last = LastTable::default();
        let spec = ChildSpec::new("registrar", Policy::RestartEmpty, move |_| {
            Ok(Registrar::new(config.clone(), last.clone(), log.clone()))
        });
        Self { network: network.clone(), registrar: tree.spawn(spec), tree }
    }

    /// How long it takes until the table is known wherever it can be.
    async fn register(&self, version: i64, topics: &[&str]) -> Duration {
        let start = Instant::now();
        self.registrar.send(table(version, topics)).await.unwrap();
        start.elapsed()
    }

    /// The versions of the tables that a name server has been told since this was asked last.
    fn told(&self, addr: &str) -> Vec<i64> {
        let version = |cmd: &Command| {
            assert_eq!(cmd.code, rq::REGISTER_BROKER);
            let body = RegisterBrokerBody::decode(&cmd.body).unwrap();
            body.topic_config_serialize_wrapper.data_version.counter
        };
        self.network.requests(addr).iter().map(version).collect()
    }
}

fn config(network: &Network) -> RegistrarConfig {
    RegistrarConfig {
        namesrv: vec![ONE.into(), TWO.into()],
        cluster_name: "DefaultCluster".into(),
        broker_name: "broker-a".into(),
        broker_addr: "10.0.0.2:10911".into(),
        broker_id: 0,
        ha_server_addr: "10.0.0.2:10912".into(),
        permission: Live::new(6),
        compressed: false,
        period: Duration::from_secs(30),
        timeout: Duration::from_secs(24),
        client: ClientConfig { connector: Arc::new(network.clone()), ..ClientConfig::default() },
    }
}

fn table(version: i64, topics: &[&str]) -> Register {
    let topic = |name: &&str| {
        ((*name).to_owned(), TopicConfig { topic_name: (*name).into(), ..TopicConfig::default() })
    };
    Register {
        topics: Arc::new(TopicConfigSerializeWrapper {
            data_version: DataVersion { counter: version, state_version: 0, timestamp: version },
            topic_config_table: topics.iter().map(topic).collect(),
            ..TopicConfigSerializeWrapper::default()
        }),
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn both_up() -> Network {
    let network = Network::default();
    network.up(ONE);
    network.up(TWO);
    network
}

#[test]
fn every_name_server_is_told_at_once_and_again_each_period() {
    run(async {
        let bench = Bench::start(&both_up(), |_| {});
        bench.register(1, &["t"]).await;
        assert_eq!((bench.told(ONE), bench.told(TWO)), (vec![1], vec![1]));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!((bench.told(ONE), bench.told(TWO)), (vec![1, 1], vec![1, 1]));
        let connections = bench.network.0.lock().unwrap()[ONE].connections.len();
        assert_eq!(connections, 1, "always on the same connection");
    });
}

#[test]
fn the_request_is_what_java_sends() {
    run(async {
        let bench = Bench::start(&both_up(), |_| {});
        bench.register(3, &["t"]).await;
        let request = &bench.network.requests(ONE)[0];
        let header = RegisterBrokerHeader::decode(&request.ext).unwrap();
        assert_eq!(header.body_crc32, record::body_crc(&request.body) as i32);
        let expected = RegisterBrokerHeader {
            broker_name: "broker-a".into(),
            broker_addr: "10.0.0.2:10911".into(),
            cluster_name: "DefaultCluster".into(),
            ha_server_addr: "10.0.0.2:10912".into(),
            broker_id: 0,
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: header.body_crc32,
            zone_name: None,
        };
        assert_eq!(header, expected);
        let text = concat!(
            r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"#,
            r#""dataVersion":{"counter":3,"stateVersion":0,"timestamp":3},"#,
            r#""topicConfigTable":{"t":{"attributes":{},"order":false,"perm":6,"#,
            r#""readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"t","#,
            r#""topicSysFlag":0,"writeQueueNums":16}}}}"#,
        );
        assert_eq!(std::str::from_utf8(&request.body).unwrap(), text);
    });
}

#[test]
fn tables_can_be_compressed_and_permissions_taken_away() {
    run(async {
        let bench = Bench::start(&both_up(), |config| {
            config.compressed = true;
            config.permission = Live::new(4);
        });
        bench.register(3, &["t"]).await;
        let request = &bench.network.requests(ONE)[0];
        let header = RegisterBrokerHeader::decode(&request.ext).unwrap();
        assert!(header.compressed);
        let body = RegisterBrokerBody::decode(&request.body).unwrap();
        assert_eq!(body.topic_config_serialize_wrapper.topic_config_table["t"].perm, 4);
    });
}

#[test]
fn changes_during_an_attempt_are_told_together() {
    run(async {
        let bench = Bench::start(&both_up(), |_| {});
        bench.register(1, &["t"]).await;
        bench.network.set(ONE, |server| server.delay = Duration::from_secs(1));
        let (second, third, fourth) =
            tokio::join!(bench.register(2, &[]), bench.register(3, &[]), bench.register(4, &[]));
        assert_eq!(second.as_secs(), 1);
        assert_eq!((third.as_secs(), fourth.as_secs()), (2, 2), "both with one attempt");
        assert_eq!(bench.told(ONE), [1, 2, 4]);
    });
}

#[test]
fn a_table_that_comes_late_does_not_replace_a_younger_one() {
    run(async {
        let bench = Bench::start(&both_up(), |_| {});
        bench.register(5, &[]).await;
        bench.register(4, &[]).await;
        assert_eq!(bench.told(ONE), [5, 5]);
    });
}

#[test]
fn a_name_server_that_is_away_is_not_waited_for_and_told_when_it_comes() {
    run(async {
        let network = Network::default();
        network.up(ONE);
        let bench = Bench::start(&network, |_| {});
        assert!(bench.register(1, &[]).await < MOMENT);
        let health = bench.tree.check(MOMENT).await[0].health.clone();
        assert!(matches!(health, Health::Degraded(why) if why.contains(TWO)));
        tokio::time::sleep(Duration::from_secs(10)).await;
        network.up(TWO);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(bench.told(TWO), [1], "well before the period");
        assert_eq!(bench.tree.check(MOMENT).await[0].health, Health::Up);
    });
}

#[test]
fn a_name_server_that_hangs_is_waited_for_once() {
    run(async {
        let network = both_up();
        network.set(TWO, |server| server.delay = Duration::from_secs(3600));
        let bench = Bench::start(&network, |config| config.timeout = Duration::from_secs(5));
        assert_eq!(bench.register(1, &[]).await.as_secs(), 5);
        assert!(bench.register(2, &[]).await < MOMENT, "it is known to be away");
    });
}

#[test]
fn a_name_server_that_was_restarted_is_told_within_seconds() {
    run(async {
        let bench = Bench::start(&both_up(), |_| {});
        bench.register(1, &[]).await;
        bench.network.down(TWO);
        bench.network.up(TWO);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.told(TWO), [1]);
        assert_eq!(bench.told(ONE), [1], "the other one was left alone");
    });
}

#[test]
fn a_refusal_counts_as_away() {
    run(async {
        let network = both_up();
        network.set(TWO, |server| server.code = 1);
        let bench = Bench::start(&network, |_| {});
        assert!(bench.register(1, &[]).await < MOMENT);
        let health = bench.tree.check(MOMENT).await[0].health.clone();
        assert!(matches!(health, Health::Degraded(why) if why.contains("so be it")));
        let attempts = bench.told(TWO).len();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let more = bench.told(TWO).len();
        assert_eq!(attempts, 1);
        assert!((5..15).contains(&more), "{more} further attempts, less and less often");
    });
}

#[test]
fn at_the_stop_the_broker_is_taken_out() {
    run(async {
        let bench = Bench::start(&both_up(), |_| {});
        bench.register(1, &[]).await;
        bench.network.requests(ONE);
        bench.network.set(TWO, |server| server.delay = Duration::from_secs(3600));
        bench.tree.stop().await;
        let requests = bench.network.requests(ONE);
        assert_eq!(requests[0].code, rq::UNREGISTER_BROKER);
        let header = BrokerHeader::decode(&requests[0].ext).unwrap();
        assert_eq!((&*header.broker_name, header.broker_id), ("broker-a", 0));
    });
}

#[test]
fn without_name_servers_nobody_waits() {
    run(async {
        let bench = Bench::start(&Network::default(), |config| config.namesrv.clear());
        assert!(bench.register(1, &[]).await < MOMENT);
    });
}
