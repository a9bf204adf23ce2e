//! Which place wins, what `-p` says about it, and what stops the start.

use std::{fs, net::Ipv4Addr, path::PathBuf, time::Duration};

use gantry_conf::{
    BrokerConfig, FlushDiskType, HomeFrom, LoadError, Loaded, NamesrvConfig, Role, Sources,
    Surroundings,
};
use tempfile::TempDir;

/// A file in a directory of its own; the directory goes when this does.
struct Written {
    path: PathBuf,
    _dir: TempDir,
}

fn written(name: &str, text: &str) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    Written { path, _dir: dir }
}

fn sources(file: &Written) -> Sources {
    Sources { file: Some(file.path.clone()), ..Sources::default() }
}

fn set(pairs: &[&str]) -> Sources {
    Sources { set: pairs.iter().map(|pair| (*pair).to_owned()).collect(), ..Sources::default() }
}

fn bare() -> Surroundings {
    Surroundings::bare("/home")
}

fn with_variables(variables: &[(&str, &str)]) -> Surroundings {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Surroundings { variables: variables.iter().map(owned).collect(), ..bare() }
}

fn load(sources: &Sources, surroundings: &Surroundings) -> Loaded<BrokerConfig> {
    BrokerConfig::load(Role::Broker, sources, surroundings).unwrap()
}

fn error(sources: &Sources) -> String {
    BrokerConfig::load(Role::Broker, sources, &bare()).unwrap_err().to_string()
}

/// The error of a TOML file, without the file's name.
fn toml_error(text: &str) -> String {
    let file = written("broker.toml", text);
    let error = error(&sources(&file));
    error.replace(&file.path.display().to_string(), "FILE")
}

/// `key = value # origin` as `-p` prints it.
fn line<T>(loaded: &Loaded<T>, effective: impl Fn(&T) -> String, key: &str) -> String {
    let text = effective(&loaded.config);
    let start = format!("{key} = ");
    text.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
}

fn broker_line(loaded: &Loaded<BrokerConfig>, key: &str) -> String {
    line(loaded, |config| config.effective.to_string(), key)
}

#[test]
fn the_stronger_place_wins_and_is_named() {
    let file =
        written("broker.toml", "listenPort = 2\nbrokerName = \"file\"\nmaxMessageSize = 2\n");
    let env = with_variables(&[("GANTRY_LISTEN_PORT", "3"), ("GANTRY_BROKER_NAME", " env ")]);
    let from_set = Sources { set: vec!["listenPort=4".into()], ..sources(&file) };

    let loaded = load(&from_set, &env);
    assert_eq!(loaded.config.network.listen_port, 4);
    assert_eq!(loaded.config.identity.broker_name, "env");
    assert_eq!(loaded.config.store.max_message_size, 2);
    assert_eq!(broker_line(&loaded, "listenPort"), "listenPort = 4 # --set");
    let from_env = "brokerName = \"env\" # environment variable GANTRY_BROKER_NAME";
    assert_eq!(broker_line(&loaded, "brokerName"), from_env);
    let from_file = format!("maxMessageSize = 2 # {}:3", file.path.display());
    assert_eq!(broker_line(&loaded, "maxMessageSize"), from_file);
    assert_eq!(broker_line(&loaded, "traceOn"), "traceOn = true # default");

    assert_eq!(load(&sources(&file), &env).config.network.listen_port, 3);
    assert_eq!(load(&sources(&file), &bare()).config.network.listen_port, 2);
    assert_eq!(load(&Sources::default(), &bare()).config.network.listen_port, 10911);
}

#[test]
fn of_several_sets_the_last_holds() {
    let loaded = load(&set(&["listenPort=1", "listenPort = 2"]), &bare());
    assert_eq!(loaded.config.network.listen_port, 2);
}

#[test]
fn name_servers_of_the_command_line_win() {
    let file = written("broker.toml", "namesrvAddr = \"file:1\"");
    let env = with_variables(&[("NAMESRV_ADDR", "java:1")]);
    let mut sources = sources(&file);
    assert_eq!(load(&sources, &env).config.registration.namesrv_addr, ["file:1"]);
    sources.set.push("namesrvAddr=set:1".into());
    assert_eq!(load(&sources, &env).config.registration.namesrv_addr, ["set:1"]);
    sources.namesrv_addr = Some("a:1; b:2".into());
    assert_eq!(load(&sources, &env).config.registration.namesrv_addr, ["a:1", "b:2"]);
    let wrong = Sources { namesrv_addr: Some("a".into()), ..Sources::default() };
    assert_eq!(error(&wrong), "-n: namesrvAddr = a: must be HOST:PORT where it is \"a\"");
}

#[test]
fn the_name_server_variable_of_java_is_for_brokers() {
    let env = with_variables(&[("NAMESRV_ADDR", "java:1")]);
    let loaded = load(&Sources::default(), &env);
    assert_eq!(loaded.config.registration.namesrv_addr, ["java:1"]);
    let standalone = BrokerConfig::load(Role::Standalone, &Sources::default(), &env).unwrap();
    assert!(standalone.config.registration.namesrv_addr.is_empty());
}

#[test]
fn the_machine_gives_what_nobody_gave() {
    let mut host = bare();
    host.host_name = "host-1".into();
    host.ipv4 = Some(Ipv4Addr::new(10, 0, 0, 7));
    let loaded = load(&Sources::default(), &host);
    let identity = &loaded.config.identity;
    assert_eq!(identity.broker_name, "host-1");
    assert_eq!((&*identity.broker_ip1, &*identity.broker_ip2), ("10.0.0.7", "10.0.0.7"));
    assert_eq!(loaded.config.store.store_path_root_dir, PathBuf::from("/home/store"));
    assert_eq!(loaded.config.store.store_path_commit_log, [PathBuf::from("/home/store/commitlog")]);
    assert_eq!(broker_line(&loaded, "brokerName"), "brokerName = \"host-1\" # name of the host");
    let log = "storePathCommitLog = \"/home/store/commitlog\" # storePathRootDir";
    assert_eq!(broker_line(&loaded, "storePathCommitLog"), log);

    let loaded = load(&set(&["brokerIP1=b.example", "storePathRootDir=/s"]), &host);
    assert_eq!(loaded.config.identity.broker_ip2, "b.example");
    assert_eq!(loaded.config.store.store_path_commit_log, [PathBuf::from("/s/commitlog")]);
}

#[test]
fn clients_are_told_the_address_that_is_listened_on() {
    let mut host = bare();
    host.ipv4 = Some(Ipv4Addr::new(10, 0, 0, 7));
    for (bind, told) in [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("10.0.0.8", "10.0.0.8"),
        ("0.0.0.0", "10.0.0.7"),
        ("::", "10.0.0.7"),
    ] {
        let loaded = load(&set(&[&format!("bindAddress={bind}")]), &host);
        assert_eq!(loaded.config.identity.broker_ip1, told, "{bind}");
    }
    let alone = load(&Sources::default(), &bare());
    assert_eq!(alone.config.identity.broker_ip1, "127.0.0.1");
}

#[test]
fn values_are_typed() {
    let loaded = load(
        &set(&[
            "serverChannelMaxIdleTimeSeconds=0",
            "registerNameServerPeriod=1000",
            "mappedFileSizeConsumeQueue=101",
            "messageDelayLevel=1s 2m",
            "logLevel=warn,appender=trace",
            "logFile=/log",
        ]),
        &bare(),
    );
    let config = loaded.config;
    assert_eq!(config.network.idle_time_max, None);
    assert_eq!(config.network.listen_addr().to_string(), "0.0.0.0:10911");
    assert_eq!(config.registration.register_name_server_period, Duration::from_secs(10));
    assert_eq!(config.store.mapped_file_size_consume_queue, 120);
    assert_eq!(config.topics.message_delays, [1, 120].map(Duration::from_secs));
    assert_eq!(config.log.levels.components.len(), 1);
    assert_eq!(config.log.file, Some("/log".into()));
    assert_eq!(config.flush.flush_disk_type, FlushDiskType::SyncFlush);
}

#[test]
fn toml_errors_name_file_line_key_and_reason() {
    for (text, says) in [
        ("\n\nlistenPort = 70000", "FILE:3: listenPort = 70000: must be from 0 to 65535"),
        ("listenPort = \"1\"", "FILE:1: listenPort = 1: must be a whole number"),
        ("listenPort = 1.5", "FILE:1: listenPort = 1.5: must be a whole number"),
        ("traceOn = 1", "FILE:1: traceOn = 1: must be true or false"),
        ("# x\nbrokerName = 1", "FILE:2: brokerName = 1: must be text in quotes"),
        ("brokerName = []", "FILE:1: brokerName = []: is of type array, which no key has"),
        ("\n[store]\na = 1", "FILE:2: store = [store]: is a table, but all keys stand at the top"),
        ("brokerId = 1", "FILE:1: brokerId = 1: must be 0, the id of a master"),
        (
            "flushDiskType = \"SYNC\"",
            "FILE:1: flushDiskType = SYNC: must be SYNC_FLUSH or ASYNC_FLUSH",
        ),
        (
            "brokerIP1 = \"0.0.0.0\"",
            "FILE:1: brokerIP1 = 0.0.0.0: must be an address that others can connect to",
        ),
        ("bindAddress = \"h\"", "FILE:1: bindAddress = h: must be an IP address"),
        (
            "storePathCommitLog = \"/a,,/b\"",
            "FILE:1: storePathCommitLog = /a,,/b: \
             must be directories separated by commas, none of them empty",
        ),
        ("brokerRole = \"SLAVE\"", "FILE:1: brokerRole = SLAVE: cannot be a slave yet"),
    ] {
        assert_eq!(toml_error(text), says);
    }
}

#[test]
fn toml_stops_at_unknown_keys_and_names_the_nearest() {
    let says = toml_error("brokerName = \"a\"\nflushDiskTyp = \"SYNC_FLUSH\"");
    assert_eq!(says, "FILE:2: unknown key flushDiskTyp (did you mean flushDiskType?)");
    assert_eq!(toml_error("xyzzy = 1"), "FILE:1: unknown key xyzzy");
    assert_eq!(toml_error("\"a.b\" = 1"), "FILE:1: unknown key a.b");
}

#[test]
fn toml_that_is_none_is_refused_with_its_line() {
    let says = toml_error("listenPort = 1\nlistenPort = 2");
    assert!(says.starts_with("FILE:2: duplicate key"), "{says}");
    let says = toml_error("a = 1\n\nb = = 2\n");
    assert!(says.starts_with("FILE:3: "), "{says}");
    assert_eq!(says.lines().count(), 1);
    let says = toml_error("listenPort = 99999999999999999999");
    assert!(says.starts_with("FILE:1: listenPort = 99999999999999999999: "), "{says}");
}

#[test]
fn toml_must_be_utf_8() {
    let file = written("broker.toml", "");
    fs::write(&file.path, b"# ok\nbrokerName = \"caf\xe9\"").unwrap();
    let says = error(&sources(&file)).replace(&file.path.display().to_string(), "FILE");
    assert_eq!(says, "FILE:2: is not UTF-8");
}

#[test]
fn a_java_key_without_effect_is_a_warning_everywhere() {
    let file = written("broker.toml", "slaveTimeout = 48");
    let from_set = Sources { set: vec!["useABSLock=true".into()], ..sources(&file) };
    let warnings: Vec<String> =
        load(&from_set, &bare()).warnings.iter().map(ToString::to_string).collect();
    let in_file = format!("{}:1: slaveTimeout has no effect here", file.path.display());
    assert_eq!(warnings, [in_file, "--set: useABSLock has no effect here".into()]);
}

#[test]
fn command_line_errors() {
    assert_eq!(error(&set(&["listenPort"])), "--set listenPort: must be key=value");
    let says = error(&set(&["listenport=1"]));
    assert_eq!(says, "--set: unknown key listenport (did you mean listenPort?)");
    let says = error(&set(&["listenPort=x"]));
    assert_eq!(says, "--set: listenPort = x: must be a whole number");
}

#[test]
fn environment_errors_and_strangers() {
    let env = with_variables(&[("GANTRY_TRACE_ON", "maybe")]);
    let says = BrokerConfig::load(Role::Broker, &Sources::default(), &env).unwrap_err();
    let expected = "environment variable GANTRY_TRACE_ON: traceOn = maybe: must be true or false";
    assert_eq!(says.to_string(), expected);

    let strangers = with_variables(&[
        ("GANTRY_HOME", "/x"),
        ("GANTRY_BROKER_NMAE", "x"),
        ("GANTRY_NEED_WAIT_FOR_SERVICE", "true"),
        ("OTHER", "x"),
    ]);
    let warnings = load(&Sources::default(), &strangers).warnings;
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let ignored = "environment: unknown key GANTRY_BROKER_NMAE is ignored \
                   (did you mean GANTRY_BROKER_NAME?)";
    assert_eq!(texts, [ignored]);
}

#[test]
fn files_that_cannot_be_read() {
    let missing = Sources { file: Some("/no/such/broker.toml".into()), ..Sources::default() };
    let says = error(&missing);
    assert!(says.starts_with("/no/such/broker.toml: cannot be read: "), "{says}");
    let named = Sources { file: Some("broker.yaml".into()), ..Sources::default() };
    let refused = BrokerConfig::load(Role::Broker, &named, &bare()).unwrap_err();
    assert!(matches!(refused, LoadError::UnknownFormat(_)));
}

#[test]
fn values_that_contradict_each_other() {
    let standalone = |pairs: &[&str]| {
        BrokerConfig::load(Role::Standalone, &set(pairs), &bare()).map_err(|e| e.to_string())
    };
    for port in ["10911", "10909"] {
        let says = standalone(&[&format!("namesrvListenPort={port}")]).unwrap_err();
        let expected = format!(
            "--set: namesrvListenPort = {port}: is taken by the broker, whose listenPort is 10911 \
             (default)"
        );
        assert_eq!(says, expected);
    }
    assert!(standalone(&["namesrvListenPort=0", "listenPort=0"]).is_ok());
    assert!(BrokerConfig::load(Role::Broker, &set(&["namesrvListenPort=10911"]), &bare()).is_ok());
    let says = error(&set(&["storePathRootDir=/s", "storePathCommitLog=/s"]));
    assert!(says.contains("must differ from storePathRootDir"), "{says}");
}

#[test]
fn index_files_are_no_larger_than_java_takes() {
    let says = error(&set(&["maxIndexNum=107000000"]));
    assert!(says.starts_with("--set: maxIndexNum = 107000000: "), "{says}");
    assert!(says.contains("2160000040 bytes, more than 2147483647"), "{says}");
    let usual = load(&Sources::default(), &bare()).config.index;
    assert_eq!(usual.file_bytes(), 420_000_040);
}

#[test]
fn a_log_file_too_small_for_the_largest_message_is_a_warning() {
    let loaded = load(&set(&["mappedFileSizeCommitLog=1048576"]), &bare());
    let texts: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let expected = "--set: mappedFileSizeCommitLog = 1048576: a message that does not fit into one \
                    file of the log is refused";
    assert_eq!(texts, [expected]);
}

#[test]
fn name_servers_have_the_same_layers() {
    let file = written("namesrv.toml", "listenPort = 2\n\nneedWaitForService = true");
    let env = with_variables(&[("GANTRY_LISTEN_PORT", "3"), ("GANTRY_BROKER_NAME", "b")]);
    let loaded = NamesrvConfig::load(&sources(&file), &env).unwrap();
    assert_eq!(loaded.config.network.listen_port, 3);
    assert!(loaded.config.routes.need_wait_for_service);
    assert_eq!(loaded.config.routes.kv_config_path, PathBuf::from("/home/namesrv/kvConfig.json"));
    assert!(loaded.warnings.is_empty());
    let from_file = format!("needWaitForService = true # {}:3", file.path.display());
    let printed = line(&loaded, |config| config.effective.to_string(), "needWaitForService");
    assert_eq!(printed, from_file);
    let says = NamesrvConfig::load(&set(&["brokerName=x"]), &bare()).unwrap_err().to_string();
    assert_eq!(says, "--set: unknown key brokerName");
}

#[test]
fn the_name_server_beside_a_broker_shares_its_sockets() {
    let pairs = ["bindAddress=127.0.0.1", "namesrvListenPort=7", "logLevel=warn"];
    let env = with_variables(&[("GANTRY_ORDER_MESSAGE_ENABLE", "true")]);
    let broker = BrokerConfig::load(Role::Standalone, &set(&pairs), &env).unwrap().config;
    let namesrv = NamesrvConfig::beside(&broker, &env).unwrap();
    assert_eq!(namesrv.network.listen_addr().to_string(), "127.0.0.1:7");
    assert_eq!(namesrv.log, broker.log);
    let text = namesrv.effective.to_string();
    assert!(text.contains("listenPort = 7 # --set\n") && !text.contains("10911"), "{text}");
    assert!(!namesrv.routes.order_message_enable);
    assert_eq!(namesrv.routes.kv_config_path, PathBuf::from("/home/namesrv/kvConfig.json"));
}

#[test]
fn the_home_of_a_process() {
    let named = Surroundings::of_process(Some("/x".into()));
    assert_eq!((named.home, named.home_from), (PathBuf::from("/x"), HomeFrom::Flag));
    assert!(!named.host_name.is_empty());
}
