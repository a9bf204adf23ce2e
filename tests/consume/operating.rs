//! What operators change while the broker serves, and the figures that they watch it by.

use gantry_client::{Message, SendError};
use gantry_codec::{
    Command,
    body::{
        BrokerConsumeStats, BrokerStatsData, HaRuntimeInfo, KvTable, TopicConfig, TopicConfigList,
        TopicList, to_json,
    },
    fastjson, request_code as rq, response_code as rs,
};

use crate::{Inbox, Stage, config, harness::traffic::eventually, names};

impl Stage {
    /// The answer to a change of these settings: its code and remark.
    async fn set(&self, text: &str) -> (i32, String) {
        let request = Command::request(rq::UPDATE_BROKER_CONFIG).with_body(text.to_owned());
        let answer = self.ask(request).await;
        (answer.code, answer.remark.as_deref().unwrap_or_default().to_owned())
    }

    /// Whether a body of so many bytes is taken for a topic.
    async fn takes(&self, topic: &str, bytes: usize) -> Result<(), SendError> {
        let message = Message::new(topic, "x".repeat(bytes));
        self.client.producer("operators").send(&message).await.map(drop)
    }
}

#[tokio::test]
async fn settings_take_effect_at_once() {
    let stage = Stage::new(1).await;
    assert_eq!(stage.set("maxMessageSize=100\nfileReservedTime=48\n").await, (0, String::new()));
    assert!(stage.takes("t", 101).await.is_err());
    stage.takes("t", 100).await.unwrap();
    let shown = stage.ask(Command::request(rq::GET_BROKER_CONFIG)).await;
    let text = String::from_utf8(shown.body.to_vec()).unwrap();
    for line in ["maxMessageSize=100", "fileReservedTime=48", "brokerRole=ASYNC_MASTER"] {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    assert!(shown.ext.get("version").is_some_and(|version| version.contains(r#""counter":1"#)));

    assert_eq!(stage.set("autoCreateTopicEnable=false").await.0, rs::SUCCESS);
    assert!(stage.takes("made-by-a-send", 1).await.is_err());
    assert_eq!(stage.set("autoCreateTopicEnable=true\ndefaultTopicQueueNums=3").await.0, 0);
    eventually("the template with three queues", async || {
        let route = stage.client.routes().refresh("TBW102").await;
        route.is_ok_and(|route| route.publish.len() == 3)
    })
    .await;

    // Nobody writes to a broker that is only to be read, and the name server says so.
    assert_eq!(stage.set("brokerPermission=4").await.0, rs::SUCCESS);
    let route = stage.client.routes().refresh("t").await.unwrap();
    assert!(route.publish.is_empty(), "{:?}", route.publish);
    assert_eq!(stage.set("brokerPermission=6").await.0, rs::SUCCESS);
    let route = stage.client.routes().refresh("t").await.unwrap();
    assert_eq!(route.publish.len(), 1);
}

#[tokio::test]
async fn settings_that_cannot_change_are_named() {
    let stage = Stage::new(1).await;
    for (text, reason) in [
        ("listenPort=1\nmaxMessageSize=7", "restart: listenPort"),
        (
            "transientStorePoolEnable=true",
            "the Java broker alone knows them: transientStorePoolEnable",
        ),
        ("maxMesageSize=7", "did you mean maxMessageSize?"),
        ("maxMessageSize=many", "maxMessageSize = many: must be a whole number"),
        ("# nothing", "it names no key"),
    ] {
        let (code, remark) = stage.set(text).await;
        assert_eq!(code, rs::INVALID_PARAMETER, "{text}");
        assert!(remark.contains(reason), "{text}: {remark}");
    }
    stage.takes("t", 1000).await.unwrap();
}

#[tokio::test]
async fn figures_of_what_came_and_went() {
    let stage = Stage::new(1).await;
    let inbox = Inbox::default();
    let consumer = stage.join(config(false), inbox.handler()).await;
    stage.send(names(0..6)).await;
    inbox.sorted(6).await;
    let view = |name: &str, key: &str| {
        Command::request(rq::VIEW_BROKER_STATS_DATA)
            .with_ext("statsName", name)
            .with_ext("statsKey", key)
    };
    for (name, key) in
        [("TOPIC_PUT_NUMS", "t"), ("GROUP_GET_NUMS", "t@g"), ("BROKER_PUT_NUMS", "DefaultCluster")]
    {
        let answer = stage.ask(view(name, key)).await;
        let data: BrokerStatsData = fastjson::from_slice(&answer.body).unwrap();
        let sums = [data.stats_minute.sum, data.stats_hour.sum, data.stats_day.sum];
        assert_eq!(sums, [6; 3], "{name}");
        assert!(data.stats_minute.tps > 0.0, "{name}");
    }
    let answer = stage.ask(view("TOPIC_PUT_SIZE", "t")).await;
    let data: BrokerStatsData = fastjson::from_slice(&answer.body).unwrap();
    assert!(data.stats_day.sum > 6 * 4, "{data:?}");
    let answer = stage.ask(view("TOPIC_PUT_NUMS", "absent")).await;
    let remark = answer.remark.as_deref();
    assert_eq!(remark, Some("The stats <TOPIC_PUT_NUMS> <absent> not exist"));
    consumer.stop().await;

    stage.send(names(6..8)).await;
    eventually("two messages behind", async || {
        let request = Command::request(rq::GET_BROKER_CONSUME_STATS).with_ext("isOrder", false);
        let answer = stage.ask(request).await;
        let stats: BrokerConsumeStats = fastjson::from_slice(&answer.body).unwrap();
        stats.total_diff == 2 && stats.consume_stats_list.iter().any(|one| one.contains_key("g"))
    })
    .await;
    let answer = stage.ask(Command::request(rq::GET_BROKER_RUNTIME_INFO)).await;
    let table = fastjson::from_slice::<KvTable>(&answer.body).unwrap().table;
    assert!(table["putMessageSizeTotal"].parse::<u64>().unwrap() > 8 * 4);
    assert!(table["brokerVersionDesc"].starts_with('V'));
    let sorted = table["putMessageDistributeTime"].split(' ');
    let counts = sorted.map(|part| part.rsplit_once(':').unwrap().1.parse::<u64>().unwrap());
    assert_eq!(counts.sum::<u64>(), 8);
}

#[tokio::test]
async fn several_topics_at_once_or_none() {
    let stage = Stage::new(1).await;
    let topic = |name: &str| TopicConfig {
        topic_name: name.into(),
        read_queue_nums: 3,
        write_queue_nums: 2,
        ..TopicConfig::default()
    };
    let put = |names: &[&str]| {
        let list =
            TopicConfigList { topic_config_list: names.iter().map(|name| topic(name)).collect() };
        Command::request(rq::UPDATE_AND_CREATE_TOPIC_LIST).with_body(to_json(&list))
    };
    let refused = stage.ask(put(&["one", "no topic"])).await;
    assert_eq!(refused.code, rs::INVALID_PARAMETER);
    assert!(refused.remark.unwrap().contains("no topic"));
    assert!(stage.client.routes().refresh("one").await.is_err());
    assert_eq!(stage.ask(put(&["one", "two"])).await.code, rs::SUCCESS);
    for name in ["one", "two"] {
        assert_eq!(stage.client.routes().refresh(name).await.unwrap().publish.len(), 2);
    }
    let answer = stage.ask(Command::request(rq::GET_SYSTEM_TOPIC_LIST_FROM_BROKER)).await;
    let own: TopicList = fastjson::from_slice(&answer.body).unwrap();
    let has = |name: &str| own.topic_list.iter().any(|topic| topic == name);
    assert!(has("TBW102") && has("DefaultCluster") && has("broker-a") && !has("one"));
}

#[tokio::test]
async fn what_there_is_not_is_said_clearly() {
    let stage = Stage::new(1).await;
    let request =
        Command::request(rq::UPDATE_AND_CREATE_STATIC_TOPIC).with_ext("topic", "over-brokers");
    let answer = stage.ask(request).await;
    assert_eq!(answer.code, rs::REQUEST_CODE_NOT_SUPPORTED);
    assert!(answer.remark.unwrap().contains("topic[over-brokers]"));
    stage.takes("t", 10).await.unwrap();
    let answer = stage.ask(Command::request(rq::GET_BROKER_HA_STATUS)).await;
    let info: HaRuntimeInfo = fastjson::from_slice(&answer.body).unwrap();
    assert!(info.master && info.ha_connection_info.is_empty());
    assert!(info.master_commit_log_max_offset > 0);
}
