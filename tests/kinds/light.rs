//! A message in light queues besides its own: pulled from each, over kills, loss of queues and a quota.

use std::{collections::BTreeSet, fs, time::Duration};

use gantry_client::{Client, Message, MessageQueue, PullRequest, PullStatus, SendError};
use gantry_codec::{properties as names, response_code as rs};
use tokio::sync::Notify;

use crate::{
    harness::{
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
    read_all, texts,
};

const LIGHT: [&str; 4] = [
    "enableLmq=true",
    "enableMultiDispatch=true",
    "mappedFileSizeCommitLog=1048576",
    "mappedFileSizeConsumeQueue=2000",
];

fn queue(topic: &str) -> MessageQueue {
    MessageQueue { topic: topic.into(), broker_name: "broker-a".into(), queue_id: 0 }
}

fn for_queues(body: &str, queues: &str) -> Message {
    Message::new("events", body.to_owned()).with_property(names::INNER_MULTI_DISPATCH, queues)
}

async fn route(client: &Client) {
    eventually("the route", async || client.routes().get("events").await.is_ok()).await;
}

/// Waits until a queue has so many messages, and reads them.
async fn bodies(client: &Client, topic: &str, count: i64) -> Vec<String> {
    let queue = queue(topic);
    eventually("the entries", async || client.max_offset(&queue).await.is_ok_and(|n| n >= count))
        .await;
    texts(&read_all(client, &queue).await)
}

#[tokio::test]
async fn a_message_is_in_each_queue_that_it_names() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &LIGHT);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "events", 1).await;
    let producer = client.producer("senders");
    // A pull of a light queue that nobody has written yet is held until there is something.
    let consumer = client.pull_consumer("readers");
    let held = PullRequest::new(queue("%LMQ%a"), 0).held(Duration::from_secs(8));
    let first = for_queues("one", "%LMQ%a,%LMQ%b");
    let (pulled, sent) = tokio::join!(consumer.pull(&held), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        producer.send(&first).await
    });
    let (pulled, receipt) = (pulled.unwrap(), sent.unwrap());
    assert_eq!((pulled.status, texts(&pulled.messages)), (PullStatus::Found, vec!["one".into()]));
    assert_eq!((receipt.queue.topic.as_str(), receipt.queue_offset), ("events", 0));
    assert_eq!(&*pulled.messages[0].topic, "events", "it is one record");

    producer.send(&for_queues("two", "other,%LMQ%b,%LMQ%c").with_tag("x")).await.unwrap();
    producer.send(&Message::new("events", "three")).await.unwrap();
    assert_eq!(bodies(&client, "%LMQ%a", 1).await, ["one"]);
    assert_eq!(bodies(&client, "%LMQ%b", 2).await, ["one", "two"]);
    assert_eq!(bodies(&client, "%LMQ%c", 1).await, ["two"]);
    assert_eq!(bodies(&client, "events", 3).await, ["one", "two", "three"]);
    let two = read_all(&client, &queue("%LMQ%b")).await.remove(1);
    let places = names::get(&two.properties, names::INNER_MULTI_QUEUE_OFFSET);
    assert_eq!(places, Some(",1,0"), "as in the Java broker, a name that is none has no place");

    client.commit_offset("readers", &queue("%LMQ%b"), 1).await.unwrap();
    let bad = producer.send(&for_queues("bad", "%LMQ%a/../../x")).await.unwrap_err();
    assert!(bad.to_string().contains("a name has no slash"), "{bad}");
    assert!(daemon.terminate().success());

    let daemon = Daemon::start(&home, &LIGHT);
    let client = daemon.client();
    route(&client).await;
    assert_eq!(bodies(&client, "%LMQ%b", 2).await, ["one", "two"]);
    let committed = client.consumer_offset("readers", &queue("%LMQ%b")).await.unwrap();
    assert_eq!(committed, Some(1));
    client.producer("senders").send(&for_queues("four", "%LMQ%b")).await.unwrap();
    assert_eq!(bodies(&client, "%LMQ%b", 3).await, ["one", "two", "four"]);
}

/// Each light queue has exactly the messages that name it, in the order of the log.
async fn check(client: &Client, acknowledged: &BTreeSet<String>) {
    let own = texts(&read_all(client, &queue("events")).await);
    assert!(acknowledged.iter().all(|body| own.contains(body)), "an acknowledged one is lost");
    for light in 0..3 {
        let named =
            |body: &&String| body.split('/').next_back().unwrap().contains(&*light.to_string());
        let wanted: Vec<_> = own.iter().filter(named).cloned().collect();
        let found = bodies(client, &format!("%LMQ%q{light}"), wanted.len() as i64).await;
        assert_eq!(found, wanted, "light queue {light}");
    }
}

#[tokio::test]
async fn light_queues_are_whole_after_kills_and_when_they_were_taken_away() {
    let home = Home::new();
    let mut daemon = Daemon::start(&home, &LIGHT);
    create_topic(&daemon.client(), &daemon.broker, "events", 1).await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let client = daemon.client();
        route(&client).await;
        let producer = client.producer("senders");
        let enough = Notify::new();
        let flood = async {
            for number in 0.. {
                if number == 40 + round * 25 {
                    enough.notify_one();
                }
                let which = ["0", "1", "01", "12", "012", "2"][number % 6];
                let queues: Vec<_> = which.chars().map(|q| format!("%LMQ%q{q}")).collect();
                let body = format!("{round}/{number}/{which}");
                match producer.send(&for_queues(&body, &queues.join(","))).await {
                    Ok(_) => assert!(acknowledged.insert(body)),
                    Err(_) => return,
                }
            }
        };
        let kill = async {
            enough.notified().await;
            daemon.kill();
        };
        tokio::join!(flood, kill);
        if round == 1 {
            let dir = home.store("consumequeue").join("%LMQ%q1");
            fs::remove_dir_all(&dir).unwrap();
        }
        daemon = Daemon::start(&home, &LIGHT);
        let client = daemon.client();
        route(&client).await;
        check(&client, &acknowledged).await;
    }
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&home, &LIGHT);
    let client = daemon.client();
    route(&client).await;
    check(&client, &acknowledged).await;
}

#[tokio::test]
async fn a_delayed_message_gets_its_places_when_it_is_delivered() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[&LIGHT[..], &["messageDelayLevel=0s"]].concat());
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "events", 1).await;
    let delayed = for_queues("later", "%LMQ%a").with_delay_level(1);
    client.producer("senders").send(&delayed).await.unwrap();
    assert_eq!(bodies(&client, "%LMQ%a", 1).await, ["later"]);
    let message = read_all(&client, &queue("%LMQ%a")).await.remove(0);
    assert_eq!(&*message.topic, "events");
    assert_eq!(names::get(&message.properties, names::INNER_MULTI_QUEUE_OFFSET), Some("0"));
}

#[tokio::test]
async fn a_quota_refuses_more_queues_and_serves_those_there_are() {
    let home = Home::new();
    let settings = [&LIGHT[..], &["enableLmqQuota=true", "maxLmqConsumeQueueNum=2"]].concat();
    let daemon = Daemon::start(&home, &settings);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "events", 1).await;
    let producer = client.producer("senders");
    producer.send(&for_queues("one", "%LMQ%a,%LMQ%b")).await.unwrap();
    let refused = producer.send(&for_queues("two", "%LMQ%a,%LMQ%c")).await.unwrap_err();
    let SendError::Call(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.code(), Some(rs::LMQ_CONSUME_QUEUE_NUM_EXCEEDED), "{refused}");
    producer.send(&for_queues("three", "%LMQ%b")).await.unwrap();
    assert_eq!(bodies(&client, "%LMQ%b", 2).await, ["one", "three"]);
    assert_eq!(bodies(&client, "events", 2).await, ["one", "three"]);
}

#[tokio::test]
async fn groups_with_light_names_are_kept_as_java_keeps_them() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &LIGHT);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "events", 1).await;
    client.producer("senders").send(&for_queues("one", "%LMQ%a")).await.unwrap();
    bodies(&client, "%LMQ%a", 1).await;
    client.commit_offset("%LMQ%g", &queue("%LMQ%a"), 1).await.unwrap();
    client.commit_offset("readers", &queue("%LMQ%a"), 1).await.unwrap();
    assert!(daemon.terminate().success());
    let read = |name: &str| {
        let text = fs::read(home.store("config").join(name)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()
    };
    let file = read("lmqConsumerOffset.json");
    assert_eq!(file["lmqOffsetTable"]["%LMQ%a@%LMQ%g"], 1);
    assert_eq!(file["offsetTable"]["%LMQ%a@readers"]["0"], 1);
    assert_eq!(read("consumerOffset.json")["offsetTable"]["%LMQ%a@%LMQ%g"]["0"], 1);
    // A Java broker has written the one file only.
    fs::remove_file(home.store("config/consumerOffset.json")).unwrap();
    let daemon = Daemon::start(&home, &LIGHT);
    let client = daemon.client();
    route(&client).await;
    for group in ["%LMQ%g", "readers"] {
        let offset = client.consumer_offset(group, &queue("%LMQ%a")).await.unwrap();
        assert_eq!(offset, Some(1), "{group}");
    }
}

#[tokio::test]
async fn a_light_queue_can_be_deleted_and_begins_anew() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &LIGHT);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "events", 1).await;
    let producer = client.producer("senders");
    producer.send(&for_queues("one", "%LMQ%a,%LMQ%b")).await.unwrap();
    bodies(&client, "%LMQ%b", 1).await;
    client.commit_offset("readers", &queue("%LMQ%b"), 1).await.unwrap();
    client.admin().delete_topic(&daemon.broker, "%LMQ%b").await.unwrap();
    assert!(!home.store("consumequeue/%LMQ%b/0").exists());
    // Named twice, it is there once.
    producer.send(&for_queues("two", "%LMQ%a,%LMQ%b,%LMQ%a")).await.unwrap();
    assert_eq!(bodies(&client, "%LMQ%b", 1).await, ["two"]);
    producer.send(&for_queues("three", "%LMQ%a")).await.unwrap();
    assert_eq!(bodies(&client, "%LMQ%a", 3).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn without_being_asked_for_the_property_is_the_senders_own() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "events", 1).await;
    client.producer("senders").send(&for_queues("one", "%LMQ%a")).await.unwrap();
    assert_eq!(bodies(&client, "events", 1).await, ["one"]);
    let message = read_all(&client, &queue("events")).await.remove(0);
    assert_eq!(names::get(&message.properties, names::INNER_MULTI_QUEUE_OFFSET), None);
    assert!(!home.store("consumequeue").join("%LMQ%a").exists());
}
