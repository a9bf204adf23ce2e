//! What tools ask about consumers, and what they order.

use gantry_codec::{
    Command,
    body::{ConsumeTimeSpanBody, KvTable, QueryConsumeQueueBody, ResetOffsetBody},
    fastjson, request_code as rq, response_code as rs,
};

use crate::{Inbox, Stage, config, harness::traffic::eventually, names, numbers};

impl Stage {
    pub async fn ask(&self, request: Command) -> Command {
        let limit = std::time::Duration::from_secs(15);
        self.client.remoting().ask(&self.daemon.broker, request, limit).await.unwrap()
    }
}

#[tokio::test]
async fn queues_and_the_progress_in_them() {
    let stage = Stage::new(2).await;
    stage.send(names(0..5)).await;
    let inbox = Inbox::default();
    let consumer = stage.join(config(false), inbox.handler()).await;
    inbox.sorted(5).await;
    consumer.stop().await;
    stage.send(names(5..6)).await;

    let admin = stage.client.admin();
    let mut stats = Default::default();
    eventually("what was acknowledged to be in the queues", async || {
        stats = admin.topic_stats(&stage.daemon.broker, "t").await.unwrap().unwrap();
        let queues = stats.offset_table.0.iter();
        let ends: Vec<_> = queues.map(|(q, o)| (q.queue_id, o.min_offset, o.max_offset)).collect();
        ends == [(0, 0, 4), (1, 0, 2)]
    })
    .await;
    assert!(stats.offset_table.0.values().all(|queue| queue.last_update_timestamp > 0));
    assert!(admin.topic_stats(&stage.daemon.broker, "absent").await.unwrap().is_none());

    let request =
        Command::request(rq::QUERY_CONSUME_TIME_SPAN).with_ext("topic", "t").with_ext("group", "g");
    let answer = stage.ask(request).await;
    let spans: ConsumeTimeSpanBody = fastjson::from_slice(&answer.body).unwrap();
    let waits: Vec<_> = spans.consume_time_span_set.iter().map(|s| s.delay_time > 0).collect();
    assert_eq!(waits.len(), 2);
    assert!(!waits[1], "everything of the second queue is consumed");
    let first = &spans.consume_time_span_set[0];
    assert!(first.min_time_stamp <= first.consume_time_stamp);
    assert!(first.consume_time_stamp <= first.max_time_stamp);

    let request = Command::request(rq::QUERY_CONSUME_QUEUE)
        .with_ext("topic", "t")
        .with_ext("queueId", 0)
        .with_ext("index", 1_i64)
        .with_ext("count", 2);
    let answer = stage.ask(request.clone()).await;
    let entries: QueryConsumeQueueBody = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!((entries.min_queue_index, entries.max_queue_index), (0, 4));
    assert_eq!(entries.queue_data.len(), 2);
    assert!(entries.queue_data[0].physic_offset < entries.queue_data[1].physic_offset);
    let answer = stage.ask(request.with_ext("queueId", 9)).await;
    assert_eq!(answer.code, rs::SYSTEM_ERROR);
    assert_eq!(answer.remark.as_deref(), Some("the topic[t] has no queue 9"));
}

#[tokio::test]
async fn the_broker_about_itself() {
    let stage = Stage::new(1).await;
    stage.send(names(0..3)).await;
    let answer = stage.ask(Command::request(rq::GET_BROKER_CONFIG)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.lines().any(|line| line == "brokerName=broker-a"), "{text}");
    assert!(answer.ext.get("version").is_some_and(|version| version.contains("timestamp")));
    let answer = stage.ask(Command::request(rq::GET_BROKER_RUNTIME_INFO)).await;
    let table = fastjson::from_slice::<KvTable>(&answer.body).unwrap().table;
    assert_eq!(table["msgPutTotalTodayNow"], "3");
    assert!(table["commitLogMaxOffset"].parse::<u64>().unwrap() > 0);
    assert_eq!(table["brokerActive"], "true");
}

#[tokio::test]
async fn one_consumer_takes_one_message_at_once() {
    let stage = Stage::new(1).await;
    let inbox = Inbox::default();
    let consumer = stage.join(config(false), inbox.handler()).await;
    let receipt = stage
        .client
        .producer("producers")
        .send(&gantry_client::Message::new("t", "again"))
        .await
        .unwrap();
    inbox.sorted(1).await;
    let direct = |client: &str, id: &str| {
        Command::request(rq::CONSUME_MESSAGE_DIRECTLY)
            .with_ext("consumerGroup", "g")
            .with_ext("clientId", client)
            .with_ext("msgId", id)
    };
    let me = consumer.client().config().client_id.clone();
    let answer = stage.ask(direct(&me, &receipt.offset_message_id)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains(r#""consumeResult":"CR_SUCCESS""#), "{text}");
    assert_eq!(inbox.bodies(), ["again", "again"]);
    let answer = stage.ask(direct("nobody", &receipt.offset_message_id)).await;
    assert_eq!(answer.remark.as_deref(), Some("The Consumer <g> <nobody> not online"));
    let answer = stage.ask(direct(&me, "nonsense")).await;
    assert_eq!(answer.remark.as_deref(), Some("can not find message by the id, nonsense"));

    let request = Command::request(rq::GET_CONSUMER_RUNNING_INFO)
        .with_ext("consumerGroup", "g")
        .with_ext("clientId", me.as_str());
    let answer = stage.ask(request).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains(r#""PROP_CONSUMEORDERLY":"false""#), "{text}");
    assert!(text.contains(r#"{"brokerName":"broker-a","queueId":0,"topic":"t"}:{"#), "{text}");
    consumer.stop().await;
}

#[tokio::test]
async fn a_reset_moves_a_consumer_that_is_there() {
    let stage = Stage::new(1).await;
    let inbox = Inbox::default();
    let consumer = stage.join(config(false), inbox.handler()).await;
    eventually("its queue", async || numbers(&consumer) == [0]).await;
    stage.send(names(0..4)).await;
    inbox.sorted(4).await;
    let request = Command::request(rq::INVOKE_BROKER_TO_RESET_OFFSET)
        .with_ext("topic", "t")
        .with_ext("group", "g")
        .with_ext("timestamp", 0_i64)
        .with_ext("isForce", true)
        .with_ext("queueId", 0)
        .with_ext("offset", 2_i64);
    let answer = stage.ask(request).await;
    assert_eq!(answer.code, rs::SUCCESS, "{:?}", answer.remark);
    let body: ResetOffsetBody = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!(body.offset_table.0.values().copied().collect::<Vec<_>>(), [2]);
    // The pull that is held notices nothing; the next message ends it.
    stage.send(names(4..5)).await;
    eventually("the last three again", async || inbox.len() >= 7).await;
    assert_eq!(inbox.bodies()[5..].concat().matches("0002").count(), 1, "{:?}", inbox.bodies());
    consumer.stop().await;
}
