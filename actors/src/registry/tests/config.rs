//! The key-value configuration and the settings.

use super::*;

#[test]
fn key_values_survive_a_restart() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let missing = bench.ask(kv(code::GET_KV_CONFIG, "t", None)).await;
        let words = "No config item, Namespace: ORDER_TOPIC_CONFIG Key: t";
        assert_eq!((missing.code, remark(&missing)), (22, words));
        assert_eq!(bench.ask(kv(code::PUT_KV_CONFIG, "t", Some("g:4"))).await.code, 0);
        assert_eq!(bench.ask(kv(code::PUT_KV_CONFIG, "u", Some("g:2"))).await.code, 0);
        assert_eq!(bench.ask(kv(code::DELETE_KV_CONFIG, "u", None)).await.code, 0);
        let again = Bench::start_on(Settings::default(), bench.home.clone()).await;
        let answer = again.ask(kv(code::GET_KV_CONFIG, "t", None)).await;
        assert_eq!(answer.ext.get("value"), Some("g:4"));
        let list = |namespace| {
            Command::request(code::GET_KVLIST_BY_NAMESPACE).with_ext("namespace", namespace)
        };
        let answer = again.ask(list("ORDER_TOPIC_CONFIG")).await;
        assert_eq!(text(&answer), r#"{"table":{"t":"g:4"}}"#);
        let answer = again.ask(list("other")).await;
        assert_eq!((answer.code, remark(&answer)), (22, "No config item, Namespace: other"));
    });
}

#[test]
fn a_key_value_that_cannot_be_written_is_refused() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        // A file where the directory shall be.
        RealDisk.write_atomic(&bench.home.path().join("namesrv"), b"").unwrap();
        let answer = bench.ask(kv(code::PUT_KV_CONFIG, "t", Some("g:4"))).await;
        assert_eq!(answer.code, 1);
        assert!(remark(&answer).contains("kvConfig.json"), "{}", remark(&answer));
        assert_eq!(bench.ask(kv(code::GET_KV_CONFIG, "t", None)).await.code, 22);
    });
}

#[test]
fn order_configuration_goes_to_brokers_and_if_asked_into_routes() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        bench.ask(kv(code::PUT_KV_CONFIG, "t", Some("g:4"))).await;
        let mut broker = bench.connect(1);
        let answer = broker.ask(registration(&header(0, "a"), 1)).await;
        assert_eq!(text(&answer), r#"{"table":{"t":"g:4"}}"#);
        assert!(!text(&bench.route("t").await).contains("orderTopicConf"));
        let update = Command::request(code::UPDATE_NAMESRV_CONFIG)
            .with_body("orderMessageEnable=true\nreturnOrderTopicConfigToBroker = false\n");
        assert_eq!(bench.ask(update).await.code, 0);
        let route = bench.route("t").await;
        assert!(text(&route).contains(r#""orderTopicConf":"g:4""#), "{}", text(&route));
        assert_eq!(text(&broker.ask(registration(&header(0, "a"), 1)).await), "");
    });
}

#[test]
fn settings_are_shown_and_changed() {
    run(async {
        let bench = Bench::start(Settings::default()).await;
        let update = |text: &'static str| {
            Command::request(code::UPDATE_NAMESRV_CONFIG).with_body(text.as_bytes())
        };
        let show = Command::request(code::GET_NAMESRV_CONFIG);
        let shown = bench.ask(show.clone()).await;
        assert!(
            text(&shown).contains("enableTopicList=true\nlistenPort=9876\n"),
            "{}",
            text(&shown)
        );
        let refused = bench.ask(update("kvConfigPath=/x\nenableTopicList=false")).await;
        assert_eq!(refused.code, 16);
        assert!(remark(&refused).contains("kvConfigPath"));
        assert_eq!(bench.ask(update("listenPort=1")).await.code, 29);
        assert_eq!(bench.ask(update("enableTopicList=maybe")).await.code, 29);
        assert_eq!(bench.ask(update("enableTopicList=\\u12")).await.code, 29);
        assert_eq!(text(&bench.ask(show.clone()).await), text(&shown));
        assert_eq!(
            bench.ask(update("enableTopicList=false\nenableAllTopicList=false")).await.code,
            0
        );
        assert!(text(&bench.ask(show).await).contains("enableTopicList=false\n"));
        for request in [206, 311, 312, 313] {
            let answer = bench.ask(Command::request(request)).await;
            assert_eq!((answer.code, remark(&answer)), (1, "disable"));
        }
    });
}

#[test]
fn changes_are_kept_in_the_configuration_file() {
    run(async {
        let home = Rc::new(tempfile::tempdir().unwrap());
        let path = home.path().join("namesrv.toml");
        RealDisk.write_atomic(&path, b"# ours\nenableTopicList = true # lists\n").unwrap();
        let settings = Settings { file: Some(path.clone()), ..Settings::default() };
        let bench = Bench::start_on(settings, home.clone()).await;
        let update = Command::request(code::UPDATE_NAMESRV_CONFIG)
            .with_body("enableTopicList=false\norderMessageEnable=true\n");
        assert_eq!(bench.ask(update).await.code, 0);
        let kept = String::from_utf8(RealDisk.read(&path).unwrap().unwrap()).unwrap();
        let wanted = "# ours\nenableTopicList = false # lists\norderMessageEnable = true\n";
        assert_eq!(kept, wanted);
        RealDisk.remove(&path).unwrap();
        let update =
            Command::request(code::UPDATE_NAMESRV_CONFIG).with_body("enableTopicList=true");
        let answer = bench.ask(update).await;
        assert_eq!(answer.code, 1);
        assert!(remark(&answer).ends_with("is not there any more"), "{}", remark(&answer));
        let shown = bench.ask(Command::request(code::GET_NAMESRV_CONFIG)).await;
        assert!(text(&shown).contains("enableTopicList=false\n"), "{}", text(&shown));
    });
}

#[test]
fn routes_wait_for_the_brokers_if_asked_to() {
    run(async {
        let settings = Settings { need_wait_for_service: true, ..Settings::default() };
        let bench = Bench::start(settings).await;
        bench.connect(1).ask(registration(&header(0, "a"), 1)).await;
        let answer = bench.route("t").await;
        assert_eq!((answer.code, remark(&answer)), (1, "name server not ready"));
        tokio::time::sleep(Duration::from_secs(45)).await;
        assert_eq!(bench.route("t").await.code, 0);
    });
}
