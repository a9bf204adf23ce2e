//! The shipped files: every key has its comment, its default and a field that reads it.

use gantry_conf::{BrokerConfig, Effective, NamesrvConfig, Role, Sources, Surroundings};

const BROKER: &str = include_str!("../broker.toml");
const NAMESRV: &str = include_str!("../namesrv.toml");

/// Keys of a shipped file, with the comment above each and the text of the value.
fn keys(text: &str) -> Vec<(String, String, String)> {
    let mut comment = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        if let Some(more) = line.strip_prefix('#') {
            comment = format!("{comment}\n{}", more.trim());
        } else if let Some((key, value)) = line.split_once(" = ") {
            keys.push((key.to_owned(), comment.trim().to_owned(), value.to_owned()));
            comment.clear();
        } else {
            assert!(line.is_empty(), "neither comment nor key: {line}");
            comment.clear();
        }
    }
    keys
}

fn set(pair: String) -> Sources {
    Sources { set: vec![pair], ..Sources::default() }
}

fn broker(sources: &Sources) -> Result<BrokerConfig, String> {
    let loaded = BrokerConfig::load(Role::Standalone, sources, &Surroundings::bare("/home"));
    let without_text = |config| BrokerConfig { effective: Effective::default(), ..config };
    loaded.map(|loaded| without_text(loaded.config)).map_err(|error| error.to_string())
}

fn namesrv(sources: &Sources) -> Result<NamesrvConfig, String> {
    let loaded = NamesrvConfig::load(sources, &Surroundings::bare("/home"));
    let without_text = |config| NamesrvConfig { effective: Effective::default(), ..config };
    loaded.map(|loaded| without_text(loaded.config)).map_err(|error| error.to_string())
}

/// Another value that `key` may have.
fn another(key: &str, value: &str) -> String {
    let text = match key {
        "messageDelayLevel" => "7s",
        "flushDiskType" => "ASYNC_FLUSH",
        "appenderPlacement" => "own",
        "defaultMessageRequestMode" => "POP",
        "logLevel" => "debug",
        "logFormat" => "json",
        "bindAddress" | "metricsPromExporterHost" => "127.0.0.9",
        "metricsExporterType" => "DISABLE",
        "namesrvAddr" => "ns:1",
        "registerNameServerPeriod" => "20000",
        "timerPrecisionMs" => "500",
        "timerCongestNumEachSlot" => "5",
        "deleteWhen" => "05;23",
        "diskSpaceCleanForciblyRatio" => "80",
        "diskSpaceWarningLevelRatio" => "80",
        _ => match value {
            "true" => "false",
            "false" => "true",
            text if text.starts_with('"') => "other",
            number => return (number.parse::<i64>().unwrap() + 1).to_string(),
        },
    };
    text.to_owned()
}

/// Sets every key, one at a time, to another value; each must show in the typed structs.
fn check_each_key_is_read<T: PartialEq>(text: &str, load: fn(&Sources) -> Result<T, String>) {
    let defaults = load(&Sources::default()).unwrap();
    for (key, _, value) in keys(text) {
        let pair = format!("{key}={}", another(&key, &value));
        match load(&set(pair.clone())) {
            Ok(config) => assert!(config != defaults, "{pair} changes nothing"),
            Err(error) => assert!(error.contains("must be 0, the id of a master"), "{error}"),
        }
    }
}

#[test]
fn each_key_of_the_broker_is_read() {
    check_each_key_is_read(BROKER, broker);
}

#[test]
fn each_key_of_the_name_server_is_read() {
    check_each_key_is_read(NAMESRV, namesrv);
}

#[test]
fn what_is_in_effect_has_the_order_of_the_shipped_file() {
    let sources = set("brokerIP1=10.0.0.1".into());
    let loaded = BrokerConfig::load(Role::Broker, &sources, &Surroundings::bare("/home")).unwrap();
    let in_effect: Vec<String> = loaded.config.effective.0.into_iter().map(|s| s.key).collect();
    let shipped: Vec<String> = keys(BROKER).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(in_effect, shipped);
}

#[test]
fn each_number_has_a_range() {
    for (key, _, value) in keys(BROKER) {
        if value.parse::<i64>().is_err() {
            continue;
        }
        // One less than nothing means something to a single key.
        let too_low = if key == "defaultPopShareQueueNum" { -2 } else { -1 };
        let low = broker(&set(format!("{key}={too_low}"))).unwrap_err();
        assert!(low.starts_with(&format!("--set: {key} = {too_low}: must be ")), "{low}");
        if key != "registerNameServerPeriod" {
            let high = broker(&set(format!("{key}={}", i64::MAX))).unwrap_err();
            assert!(high.contains(": must be "), "{high}");
        }
    }
}

#[test]
fn each_key_says_its_default() {
    for text in [BROKER, NAMESRV] {
        let keys = keys(text);
        assert!(keys.len() > 20);
        for (key, comment, value) in keys {
            let says = comment.lines().last().unwrap_or_default();
            let default = says.strip_prefix("Default: ").unwrap_or_else(|| panic!("{key}: {says}"));
            let rest = default.strip_prefix(&value).unwrap_or_else(|| panic!("{key}: {says}"));
            assert!(rest == "." || rest.starts_with(" (") && rest.ends_with(")."), "{key}: {says}");
            assert!(comment.lines().count() > 1, "{key} does not say what it is");
        }
    }
}

#[test]
fn a_key_that_both_daemons_have_means_the_same() {
    let broker = keys(BROKER);
    let own = ["listenPort", "logLevel"];
    for (key, comment, value) in keys(NAMESRV).iter().filter(|(key, ..)| !own.contains(&&**key)) {
        if let Some((_, other_comment, other_value)) = broker.iter().find(|(name, ..)| name == key)
        {
            assert_eq!((comment, value), (other_comment, other_value), "{key}");
        }
    }
}

/// Store.md 6.3 to 6.5. `flushDiskType` and `metricsExporterType` differ on purpose; names, addresses and paths come from the
/// machine.
#[test]
fn defaults_are_those_of_the_java_broker() {
    let java = [
        ("brokerClusterName", "\"DefaultCluster\""),
        ("brokerId", "0"),
        ("brokerPermission", "6"),
        ("regionId", "\"DefaultRegion\""),
        ("traceOn", "true"),
        ("bindAddress", "\"0.0.0.0\""),
        ("listenPort", "10911"),
        ("serverChannelMaxIdleTimeSeconds", "120"),
        ("registerNameServerPeriod", "30000"),
        ("registerBrokerTimeoutMills", "24000"),
        ("forceRegister", "true"),
        ("compressedRegister", "false"),
        ("mappedFileSizeCommitLog", "1073741824"),
        ("mappedFileSizeConsumeQueue", "6000000"),
        ("enableConsumeQueueExt", "false"),
        ("mappedFileSizeConsumeQueueExt", "50331648"),
        ("maxMessageSize", "4194304"),
        ("checkCRCOnRecover", "true"),
        ("fileReservedTime", "72"),
        ("deleteWhen", "\"04\""),
        ("diskMaxUsedSpaceRatio", "75"),
        ("diskSpaceCleanForciblyRatio", "85"),
        ("diskSpaceWarningLevelRatio", "90"),
        ("cleanFileForciblyEnable", "true"),
        ("cleanResourceInterval", "10000"),
        ("deleteCommitLogFilesInterval", "100"),
        ("deleteFileBatchMax", "10"),
        ("syncFlushTimeout", "5000"),
        ("flushIntervalCommitLog", "500"),
        ("flushCommitLogLeastPages", "4"),
        ("flushCommitLogThoroughInterval", "10000"),
        ("autoCreateTopicEnable", "true"),
        ("autoCreateSubscriptionGroup", "true"),
        ("defaultTopicQueueNums", "8"),
        ("traceTopicEnable", "false"),
        ("msgTraceTopicName", "\"RMQ_SYS_TRACE_TOPIC\""),
        ("storeReplyMessageEnable", "true"),
        ("enableLmq", "false"),
        ("enableMultiDispatch", "false"),
        ("enableLmqQuota", "false"),
        ("maxLmqConsumeQueueNum", "20000"),
        ("flushConsumerOffsetInterval", "5000"),
        ("flushDelayOffsetInterval", "10000"),
        ("notifyConsumerIdsChangedEnable", "true"),
        ("channelExpiredTimeout", "120000"),
        ("disconnectedLockMillis", "35000"),
        ("longPollingEnable", "true"),
        ("shortPollingTimeMills", "1000"),
        ("maxTransferBytesOnMessageInMemory", "262144"),
        ("maxTransferCountOnMessageInMemory", "32"),
        ("maxTransferBytesOnMessageInDisk", "65536"),
        ("maxTransferCountOnMessageInDisk", "8"),
        ("accessMessageInMemoryMaxRatio", "40"),
        ("enablePropertyFilter", "false"),
        ("metricsPromExporterPort", "5557"),
        ("transactionTimeOut", "6000"),
        ("transactionCheckMax", "15"),
        ("transactionCheckInterval", "30000"),
        ("messageDelayLevel", "\"1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h\""),
    ];
    let ours = keys(BROKER);
    for (key, default) in java {
        let (_, _, value) = ours.iter().find(|(name, ..)| name == key).unwrap();
        assert_eq!(value, default, "{key}");
    }
}
