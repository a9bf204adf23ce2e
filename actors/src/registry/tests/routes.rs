//! What brokers register and clients ask.

use super::*;

#[test]
fn a_registered_broker_is_in_every_answer() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let mut broker = bench.connect(1);
        let answer = broker.ask(registration(&header(0, "a"), 1)).await;
        assert_eq!((answer.code, answer.body.len(), answer.ext.len()), (0, 0, 0));
        let route = bench.route("t").await;
        assert_eq!(route.code, 0);
        assert!(text(&route).contains(r#""brokerAddrs":{"0":"a"}"#), "{}", text(&route));
        let info = bench.ask(Command::request(code::GET_BROKER_CLUSTER_INFO)).await;
        assert!(text(&info).contains(r#""clusterAddrTable":{"c":["g"]}"#), "{}", text(&info));
        for (request, list) in [
            (Command::request(206), r#"{"topicList":["t"]}"#),
            (Command::request(224).with_ext("cluster", "c"), r#"{"topicList":["t"]}"#),
            (Command::request(304), r#"{"brokerAddr":"a","topicList":["c","g"]}"#),
            (Command::request(311), r#"{"topicList":[]}"#),
            (Command::request(312), r#"{"topicList":[]}"#),
            (Command::request(313), r#"{"topicList":[]}"#),
        ] {
            let code = request.code;
            assert_eq!(text(&bench.ask(request).await), list, "{code}");
        }
        let members = Command::request(code::GET_BROKER_MEMBER_GROUP)
            .with_ext("clusterName", "c")
            .with_ext("brokerName", "g");
        assert!(text(&bench.ask(members).await).contains(r#""brokerAddrs":{"0":"a"}"#));
    });
}

#[test]
fn an_unknown_topic_is_code_17() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let answer = bench.route("t").await;
        assert_eq!(answer.code, 17);
        let start = "No topic route info in name server for the topic: t\nSee https://";
        assert!(remark(&answer).starts_with(start), "{}", remark(&answer));
    });
}

#[test]
fn bad_requests_are_answered() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let answer = bench.ask(Command::request(4711)).await;
        assert_eq!((answer.code, remark(&answer)), (3, " request type 4711 not supported"));
        let answer = bench.ask(Command::request(code::GET_ROUTEINFO_BY_TOPIC)).await;
        assert_eq!((answer.code, remark(&answer)), (1, "the header field topic is missing"));
        let bad_crc = RegisterBrokerHeader { body_crc32: 5, ..header(0, "a") };
        let answer = bench.ask(registration(&bad_crc, 1)).await;
        assert_eq!((answer.code, remark(&answer)), (1, "crc32 not match"));
        let answer = bench.ask(about(code::QUERY_DATA_VERSION, "a").with_body("nonsense")).await;
        assert_eq!(answer.code, 1);
        assert_eq!(bench.route("t").await.code, 17);
    });
}

#[test]
fn a_slave_is_told_its_master() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        bench.connect(1).ask(registration(&header(0, "a"), 1)).await;
        let answer = bench.connect(2).ask(registration(&header(1, "b"), 1)).await;
        assert_eq!(answer.ext.get("masterAddr"), Some("a"));
        assert_eq!(answer.ext.get("haServerAddr"), Some("ha-a"));
    });
}

#[test]
fn write_permission_is_taken_and_given() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        bench.connect(1).ask(registration(&header(0, "a"), 1)).await;
        for (request, field, perm) in
            [(205, "wipeTopicCount", r#""perm":4"#), (327, "addTopicCount", r#""perm":6"#)]
        {
            let answer = bench.ask(Command::request(request).with_ext("brokerName", "g")).await;
            assert_eq!(answer.ext.get(field), Some("1"));
            assert!(text(&bench.route("t").await).contains(perm));
        }
    });
}

#[test]
fn topics_are_deleted_and_added() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        bench.connect(1).ask(registration(&header(0, "a"), 1)).await;
        let delete = |cluster| {
            let cmd = Command::request(code::DELETE_TOPIC_IN_NAMESRV).with_ext("topic", "t");
            cmd.with_ext("clusterName", cluster)
        };
        assert_eq!(bench.ask(delete("other")).await.code, 0);
        assert_eq!(bench.route("t").await.code, 0);
        assert_eq!(bench.ask(delete("")).await.code, 0);
        assert_eq!(bench.route("t").await.code, 17);
        let add = |broker: &str| {
            let body = format!(r#"{{"queueDatas":[{{"brokerName":"{broker}","perm":6}}]}}"#);
            Command::request(code::REGISTER_TOPIC_IN_NAMESRV).with_ext("topic", "u").with_body(body)
        };
        let answer = bench.ask(add("other")).await;
        assert_eq!((answer.code, remark(&answer)), (1, "broker other is not registered"));
        assert_eq!(bench.ask(add("g")).await.code, 0);
        assert_eq!(bench.route("u").await.code, 0);
    });
}
