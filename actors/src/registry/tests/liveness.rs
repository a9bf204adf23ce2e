//! Brokers that go, fall silent or stand in for others, and actors that fail.

use super::*;

#[test]
fn a_version_query_says_whether_to_register() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let query = |counter| {
            let version = DataVersion { counter, ..DataVersion::default() };
            about(code::QUERY_DATA_VERSION, "a").with_body(to_json(&version))
        };
        let answer = bench.ask(query(1)).await;
        assert_eq!((answer.ext.get("changed"), text(&answer)), (Some("true"), ""));
        let mut broker = bench.connect(1);
        broker.ask(registration(&header(0, "a"), 1)).await;
        let answer = bench.ask(query(1)).await;
        assert_eq!(answer.ext.get("changed"), Some("false"));
        assert_eq!(text(&answer), r#"{"counter":1,"stateVersion":0,"timestamp":0}"#);
        assert_eq!(bench.ask(query(2)).await.ext.get("changed"), Some("true"));
    });
}

#[test]
fn a_broker_that_leaves_is_gone() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        bench.connect(1).ask(registration(&header(0, "a"), 1)).await;
        assert_eq!(bench.ask(about(code::UNREGISTER_BROKER, "b")).await.code, 0);
        assert_eq!(bench.route("t").await.code, 0);
        assert_eq!(bench.ask(about(code::UNREGISTER_BROKER, "a")).await.code, 0);
        assert_eq!(bench.route("t").await.code, 17);
        let info = bench.ask(Command::request(code::GET_BROKER_CLUSTER_INFO)).await;
        assert_eq!(text(&info), r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
    });
}

#[test]
fn the_end_of_its_connection_drops_a_broker_at_once() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let mut first = bench.connect(1);
        first.ask(registration(&header(0, "a"), 1)).await;
        let mut second = bench.connect(2);
        second.ask(registration(&header(0, "a"), 1)).await;
        first.close().await;
        assert_eq!(bench.route("t").await.code, 0, "it had registered on another one since");
        bench.connect(3).close().await;
        assert_eq!(bench.route("t").await.code, 0);
        second.close().await;
        assert_eq!(bench.route("t").await.code, 17);
    });
}

#[test]
fn a_silent_broker_is_dropped_and_its_connection_closed() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let mut broker = bench.connect(1);
        broker.ask(registration(&header(0, "a"), 1)).await;
        tokio::time::sleep(Duration::from_secs(119)).await;
        assert_eq!(bench.route("t").await.code, 0);
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(bench.route("t").await.code, 17);
        assert_eq!(*broker.orders.borrow(), ["the broker registered on it is silent"]);
    });
}

#[test]
fn signs_of_life_keep_a_broker_and_it_may_set_its_own_limit() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let mut broker = bench.connect(1);
        let limit =
            RegisterBrokerHeader { heartbeat_timeout_millis: Some(10_000), ..header(0, "a") };
        broker.ask(registration(&limit, 1)).await;
        for request in [code::BROKER_HEARTBEAT, code::QUERY_DATA_VERSION, code::BROKER_HEARTBEAT] {
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert_eq!(broker.ask(about(request, "a").with_body("{}")).await.code, 0);
        }
        assert_eq!(bench.route("t").await.code, 0);
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert_eq!(bench.route("t").await.code, 17);
        assert_eq!(broker.ask(about(code::BROKER_HEARTBEAT, "a")).await.code, 0);
    });
}

#[test]
fn an_acting_master_is_shown_and_brokers_are_told() {
    run(async {
        let settings = Settings {
            support_acting_master: true,
            notify_min_broker_id_changed: true,
            ..Settings::default()
        };
        let bench = Bench::start(settings).await;
        let acting = |id, addr| RegisterBrokerHeader {
            enable_acting_master: Some(true),
            ..header(id, addr)
        };
        let mut master = bench.connect(1);
        master.ask(registration(&acting(0, "a"), 1)).await;
        bench.connect(2).ask(registration(&acting(1, "b"), 1)).await;
        bench.connect(3).ask(registration(&acting(2, "x"), 1)).await;
        assert!(bench.notes.take().await.is_empty());
        master.close().await;
        let route = bench.route("t").await;
        assert!(text(&route).contains(r#""brokerAddrs":{"0":"b","2":"x"}"#), "{}", text(&route));
        let notes = bench.notes.take().await;
        let told: Vec<_> = notes.iter().map(|(addr, _)| addr.as_str()).collect();
        assert_eq!(told, ["b", "x"]);
        for (_, notice) in &notes {
            assert_eq!((notice.code, notice.is_oneway()), (905, true));
            assert_eq!(notice.ext.get("minBrokerId"), Some("1"));
            assert_eq!(notice.ext.get("minBrokerAddr"), Some("b"));
            assert_eq!(notice.ext.get("offlineBrokerAddr"), Some("a"));
        }
        bench.connect(4).ask(registration(&acting(0, "a"), 1)).await;
        let notes = bench.notes.take().await;
        assert_eq!(notes.len(), 2);
        assert_eq!(notes[0].1.ext.get("haBrokerAddr"), Some("ha-a"));
        assert!(text(&bench.route("t").await).contains(r#""perm":6"#));
    });
}

#[test]
fn routes_outlive_the_registry() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        bench.connect(1).ask(registration(&header(0, "a"), 1)).await;
        assert!(bench.served.registry.send(Panic).await.is_err());
        assert_eq!(bench.route("t").await.code, 0);
        bench.connect(2).ask(registration(&header(1, "b"), 1)).await;
        let route = bench.route("t").await;
        assert!(text(&route).contains(r#"{"0":"a","1":"b"}"#), "{}", text(&route));
        tokio::time::sleep(Duration::from_secs(126)).await;
        assert_eq!(bench.route("t").await.code, 17, "silence is still noticed");
    });
}

#[test]
fn an_entry_that_failed_still_notices_silence() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let limit =
            RegisterBrokerHeader { heartbeat_timeout_millis: Some(60_000), ..header(0, "a") };
        bench.connect(1).ask(registration(&limit, 1)).await;
        assert!(bench.entry("g", "a").send(Panic).await.is_err());
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(bench.route("t").await.code, 0);
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert_eq!(bench.route("t").await.code, 17);
    });
}

#[test]
fn a_port_is_served() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let home = tempfile::tempdir().unwrap();
        let config = config(Settings::default(), &home);
        let log = Logger::root(Discard, o!());
        let namesrv = start(config, seams(&Notes::default()), log).await.unwrap();
        let (read, mut write) =
            tokio::net::TcpStream::connect(namesrv.addr).await.unwrap().into_split();
        let mut frames = FramedRead::new(read, CommandCodec);
        // One is answered at once, one when another actor has done its work.
        let order = kv(code::PUT_KV_CONFIG, "t", Some("g:4"));
        for (opaque, mut question) in [(7, Command::request(code::GET_NAMESRV_CONFIG)), (8, order)]
        {
            question.opaque = opaque;
            let mut frame = BytesMut::new();
            question.encode(&mut frame);
            write.write_all(&frame).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(10), frames.next()).await;
            let answer = answer.unwrap().unwrap().unwrap();
            assert_eq!((answer.code, answer.opaque, answer.is_response()), (0, opaque, true));
            if opaque == 7 {
                let port = format!("listenPort={}\n", namesrv.addr.port());
                assert!(text(&answer).contains(&port), "{}", text(&answer));
            }
        }
        namesrv.stop().await;
        assert!(frames.next().await.is_none(), "the connection ends with the server");
    });
}

#[test]
fn a_port_that_is_taken_is_told_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let home = tempfile::tempdir().unwrap();
        let listen = taken.local_addr().unwrap();
        let config = NamesrvConfig { listen, ..config(Settings::default(), &home) };
        let log = Logger::root(Discard, o!());
        let error = start(config, seams(&Notes::default()), log).await.err().unwrap();
        assert!(error.to_string().starts_with(&format!("cannot listen on {listen}: ")), "{error}");
    });
}
