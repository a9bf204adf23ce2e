//! A message's priority is its queue, and pops take the most urgent first.

use std::fs;

use gantry_client::{Client, Message, MessageExt, MessageQueue, PullRequest};
use gantry_codec::{
    Command, properties as names, request_code as rq,
    requests::{admin::CreateTopicHeader, pull::PopMessageHeader},
    response_code as rs,
};

use crate::{
    harness::{
        daemon::{Daemon, Home},
        traffic::{PATIENCE, eventually},
    },
    texts,
};

async fn create(client: &Client, broker: &str, attributes: &str) -> Command {
    let header = CreateTopicHeader {
        topic: "orders".into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: Some("SINGLE_TAG".into()),
        attributes: Some(attributes.into()),
        ..CreateTopicHeader::default()
    };
    let request = Command::request(rq::UPDATE_AND_CREATE_TOPIC).with_header(&header);
    client.remoting().ask(broker, request, PATIENCE).await.unwrap()
}

async fn pop(client: &Client, broker: &str, count: i32) -> Vec<MessageExt> {
    let header = PopMessageHeader {
        consumer_group: "workers".into(),
        topic: "orders".into(),
        queue_id: -1,
        max_msg_nums: count,
        invisible_time: 60_000,
        ..PopMessageHeader::default()
    };
    let request = Command::request(rq::POP_MESSAGE).with_header(&header);
    let answer = client.remoting().ask(broker, request, PATIENCE).await.unwrap();
    MessageExt::decode_all(&answer.body).unwrap()
}

fn urgent(priority: &str) -> Message {
    Message::new("orders", priority.to_owned()).with_property(names::PRIORITY, priority)
}

#[tokio::test]
async fn the_most_urgent_is_popped_first() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    assert_eq!(create(&client, &daemon.broker, "+message.type=PRIORITY").await.code, rs::SUCCESS);
    eventually("the route", async || client.routes().refresh("orders").await.is_ok()).await;
    let producer = client.producer("senders");
    for (priority, queue) in [("0", 0), ("2", 2), ("9", 3), ("1", 1), ("3", 3)] {
        let receipt = producer.send(&urgent(priority)).await.unwrap();
        assert_eq!(receipt.queue.queue_id, queue, "{priority}");
    }
    // Where something else says where a message goes, its priority is void.
    let keyed = urgent("3").with_property(names::SHARDING_KEY, "k");
    let mut places = Vec::new();
    for _ in 0..4 {
        places.push(producer.send(&keyed).await.unwrap().queue.queue_id);
    }
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3], "in turn");
    let mut popped = Vec::new();
    for _ in 0..9 {
        popped.extend(pop(&client, &daemon.broker, 1).await);
    }
    assert_eq!(texts(&popped), ["9", "3", "3", "2", "3", "1", "3", "0", "3"]);
    let kept = popped.iter().filter(|m| names::get(&m.properties, names::PRIORITY).is_some());
    assert_eq!(kept.count(), 5);
}

/// As a Java broker leaves it. Nothing is made that such a broker would not start with.
#[tokio::test]
async fn a_topic_that_keeps_batches_as_one_record_is_refused_and_left_as_it_is() {
    let home = Home::new();
    let topic = r#"{"attributes":{"queue.type":"BatchCQ"},"perm":6,"readQueueNums":1,"topicName":"old","writeQueueNums":1}"#;
    let table = format!(r#"{{"dataVersion":{{}},"topicConfigTable":{{"old":{topic}}}}}"#);
    fs::create_dir_all(home.store("config")).unwrap();
    fs::write(home.store("config/topics.json"), table).unwrap();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    eventually("the route", async || client.routes().refresh("old").await.is_ok()).await;
    let why = "queue.type=BatchCQ, which this broker does not serve";
    let refused = client.producer("senders").send(&Message::new("old", "x")).await.unwrap_err();
    assert!(refused.to_string().contains(why), "{refused}");
    let queue = MessageQueue { topic: "old".into(), broker_name: "broker-a".into(), queue_id: 0 };
    let pull = PullRequest::new(queue, 0);
    let refused = client.pull_consumer("readers").pull(&pull).await.unwrap_err();
    assert!(refused.to_string().contains(why), "{refused}");
    assert!(daemon.terminate().success());
    assert!(!home.store("consumequeue/old").exists());
}

#[tokio::test]
async fn kinds_of_topics_that_cannot_be_are_refused() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    for (attributes, why) in [
        ("+message.type=URGENT", "must be UNSPECIFIED, NORMAL"),
        ("+queue.type=BatchCQ", "BatchCQ is not served"),
    ] {
        let answer = create(&client, &daemon.broker, attributes).await;
        assert_eq!(answer.code, rs::INVALID_PARAMETER);
        assert!(answer.remark.as_deref().unwrap().contains(why), "{answer:?}");
    }
}
