//! Files of the Java broker and name server: they work as they are, and nothing is passed over in
//! silence.

use std::{fs, path::PathBuf};

use gantry_conf::{
    BrokerConfig, FlushDiskType, HomeFrom, LoadError, Loaded, NamesrvConfig, Role, Sources,
    Surroundings,
};

/// Reads `bytes` as broker.conf. File names in texts come out as FILE.
fn read(bytes: &[u8], surroundings: &Surroundings) -> Result<Loaded<BrokerConfig>, LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.conf");
    fs::write(&path, bytes).unwrap();
    let sources = Sources { file: Some(path), ..Sources::default() };
    BrokerConfig::load(Role::Broker, &sources, surroundings)
}

fn load(text: &str) -> (BrokerConfig, Vec<String>) {
    let loaded = read(text.as_bytes(), &Surroundings::bare("/home")).unwrap();
    (loaded.config, loaded.warnings.iter().map(|warning| short(&warning.to_string())).collect())
}

fn error(text: &str) -> String {
    short(&read(text.as_bytes(), &Surroundings::bare("/home")).unwrap_err().to_string())
}

/// Without the directory of the file.
fn short(text: &str) -> String {
    let dir = std::env::temp_dir().display().to_string();
    let start = text.find(&dir);
    let end = text.find("/broker.conf");
    match (start, end) {
        (Some(start), Some(end)) => format!("{}{}", &text[..start], &text[end + 1..]),
        _ => text.to_owned(),
    }
}

fn origin(config: &BrokerConfig, key: &str) -> String {
    let setting = config.effective.0.iter().find(|setting| setting.key == key).unwrap();
    short(&setting.origin)
}

/// The sample file of the Java distribution, with a store.
#[test]
fn the_sample_file_works_as_it_is() {
    let (config, warnings) = load(
        "# Licensed to …\n\
         brokerClusterName = DefaultCluster\n\
         brokerName = broker-a\n\
         brokerId = 0\n\
         deleteWhen = 04\n\
         fileReservedTime = 48\n\
         brokerRole = ASYNC_MASTER\n\
         flushDiskType = ASYNC_FLUSH\n\
         storePathRootDir = /data/store\n\
         storePathIndex = /data/store/index\n",
    );
    assert_eq!(config.identity.broker_name, "broker-a");
    assert_eq!(config.store.store_path_commit_log, [PathBuf::from("/data/store/commitlog")]);
    assert_eq!(origin(&config, "brokerName"), "broker.conf:3");
    let expected = ["broker.conf:7: brokerRole has no effect here"];
    assert_eq!(warnings[..1], expected);
    assert!(warnings[1].starts_with("broker.conf:10: unknown key storePathIndex is ignored"));
    assert_eq!(warnings.len(), 2);
    assert_eq!((config.retention.file_reserved_time, config.retention.delete_when), (48, vec![4]));
}

#[test]
fn ratios_are_clamped_as_in_the_java_broker_and_that_is_told() {
    let (config, warnings) = load(
        "diskMaxUsedSpaceRatio=99\ndiskSpaceCleanForciblyRatio=95\ndiskSpaceWarningLevelRatio=20\n\
         storePathCommitLog=/a,/b\nreadOnlyCommitLogStorePaths=/b,/c\nbrokerName=a\n\
         storePathRootDir=/s",
    );
    let retention = &config.retention;
    assert_eq!(
        (
            retention.disk_max_used_space_ratio,
            retention.disk_space_clean_forcibly_ratio,
            retention.disk_space_warning_level_ratio,
        ),
        (95, 85, 35)
    );
    let clamped =
        warnings.iter().filter(|warning| warning.contains("nearest that the Java broker"));
    assert_eq!(clamped.count(), 3, "{warnings:?}");
    assert!(
        warnings.iter().any(|warning| warning.contains("diskMaxUsedSpaceRatio")
            && warning.contains("is taken as 95"))
    );
    assert_eq!(config.store.store_path_commit_log, ["/a", "/b"].map(PathBuf::from));
    assert_eq!(config.store.read_only_commit_log_store_paths, ["/b", "/c"].map(PathBuf::from));
    let says = error("storePathCommitLog=/a\nreadOnlyCommitLogStorePaths=/a\nbrokerName=a");
    assert!(says.contains("leaves no directory of storePathCommitLog"), "{says}");
}

#[test]
fn without_flush_disk_type_a_file_means_async() {
    let (config, _) = load("brokerName=a");
    assert_eq!(config.flush.flush_disk_type, FlushDiskType::AsyncFlush);
    let from = "broker.conf, by leaving it out as in the Java broker";
    assert_eq!(origin(&config, "flushDiskType"), from);
    let (config, _) = load("flushDiskType=SYNC_FLUSH ");
    assert_eq!(config.flush.flush_disk_type, FlushDiskType::SyncFlush);
    let says = error("\nflushDiskType=SYNC");
    assert_eq!(says, "broker.conf:2: flushDiskType = SYNC: must be SYNC_FLUSH or ASYNC_FLUSH");
}

#[test]
fn both_spellings_of_the_file_sizes() {
    let (config, warnings) = load("mapedFileSizeCommitLog=8388608\nmappedFileSizeConsumeQueue=40");
    assert_eq!(config.store.mapped_file_size_commit_log, 8_388_608);
    assert_eq!(config.store.mapped_file_size_consume_queue, 40);
    assert!(warnings.is_empty(), "{warnings:?}");
    let (config, _) = load("mapedFileSizeConsumeQueue=60\nmappedFileSizeConsumeQueue=60");
    assert_eq!(config.store.mapped_file_size_consume_queue, 60);
    let says = error("mapedFileSizeConsumeQueue=60\n\nmappedFileSizeConsumeQueue=80");
    let (place, reason) = says.split_once(": mappedFileSizeConsumeQueue = 80: ").unwrap();
    assert_eq!(place, "broker.conf:3");
    assert!(reason.starts_with("contradicts mapedFileSizeConsumeQueue = 60 ("), "{reason}");
}

#[test]
fn the_last_of_several_values_holds() {
    let (config, _) = load("listenPort=1\nlistenPort=2");
    assert_eq!(config.network.listen_port, 2);
    assert_eq!(origin(&config, "listenPort"), "broker.conf:2");
}

#[test]
fn what_java_ignores_in_silence_is_told() {
    let (config, warnings) =
        load("flushIntervalCommitLog=100 \nlistenPort=\ntraceOn=yes\nbrokerId=2\n");
    assert_eq!(config.flush.flush_interval_commit_log.as_millis(), 500);
    assert_eq!(config.network.listen_port, 10911);
    assert!(!config.identity.trace_on);
    assert_eq!(config.identity.broker_id, 0);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert_eq!(
        warnings[0],
        "broker.conf:1: flushIntervalCommitLog = 100 : passed over for the blanks behind it, as by \
         the Java broker"
    );
}

#[test]
fn what_cannot_be_meant_stops_the_start() {
    for (text, says) in [
        ("#\nlistenPort=70000", "broker.conf:2: listenPort = 70000: must be from 0 to 65535"),
        ("listenPort=10k", "broker.conf:1: listenPort = 10k: must be a whole number"),
        ("a=\\\n b\nc=\\u12", "broker.conf:3: \\u must be followed by four hexadecimal digits"),
        ("brokerRole=SLAVE", "broker.conf:1: brokerRole = SLAVE: cannot be a slave yet"),
    ] {
        assert_eq!(error(text), says);
    }
}

#[test]
fn bytes_are_iso_8859_1() {
    let loaded = read(b"brokerName=caf\xe9", &Surroundings::bare("/home")).unwrap();
    assert_eq!(loaded.config.identity.broker_name, "caf\u{e9}");
}

#[test]
fn a_store_that_java_would_keep_elsewhere_is_told() {
    let here = Surroundings { home_from: HomeFrom::Default, ..Surroundings::bare("gantry-data") };
    let told = |text: &str, surroundings| {
        let warnings = read(text.as_bytes(), surroundings).unwrap().warnings;
        warnings.iter().any(|warning| warning.to_string().contains("store in the user's home"))
    };
    assert!(told("brokerName=a", &here));
    assert!(!told("storePathRootDir=/s", &here));
    assert!(!told("brokerName=a", &Surroundings::bare("/home")));
}

#[test]
fn files_of_name_servers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("namesrv.properties");
    fs::write(&path, "listenPort : 1\nclusterTest true\nkvConfigPath=/kv.json").unwrap();
    let sources = Sources { file: Some(path), ..Sources::default() };
    let loaded = NamesrvConfig::load(&sources, &Surroundings::bare("/home")).unwrap();
    assert_eq!(loaded.config.network.listen_port, 1);
    assert_eq!(loaded.config.routes.kv_config_path, PathBuf::from("/kv.json"));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].to_string().ends_with(":2: clusterTest has no effect here"));
}
