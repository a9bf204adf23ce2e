//! SQL92 filters in a broker as a whole: what a client names in its pull or in its heartbeats decides
//! what it gets, also from a pull that is held, and what cannot be served is refused with the reason.

#[path = "../harness/traffic.rs"]
#[allow(dead_code, reason = "each whole-system test uses its part")]
mod traffic;

#[path = "../supervision/rig.rs"]
#[expect(dead_code, reason = "the tests of the supervision use more of it")]
mod rig;

use std::time::Duration;

use gantry_client::{Filter, Message, MessageExt, MessageQueue, PullRequest, PullStatus};
use gantry_codec::{
    Command, PullHeader,
    body::{ConsumerData, SubscriptionData},
    filter::SQL92,
    request_code, response_code as rs,
};
use tokio::time::timeout;

use crate::{
    rig::{HOLD, Rig, TOPIC, with_broker, with_broker_of},
    traffic::{PATIENCE, eventually},
};

const ON: &str = "enablePropertyFilter=true";

/// Messages whose property `a` is that number, into the queue.
async fn send(rig: &Rig, queue: &MessageQueue, numbers: impl IntoIterator<Item = i32>) {
    let producer = rig.client.producer("senders");
    for a in numbers {
        let message = Message::new(TOPIC, format!("m{a}")).with_property("a", &a.to_string());
        producer.send_to(queue, &message).await.unwrap();
    }
}

fn bodies(messages: &[MessageExt]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
}

/// A pull that names its filter.
fn by(queue: &MessageQueue, expression: &str) -> PullRequest {
    PullRequest {
        filter: Filter::Sql92(expression.to_owned()),
        ..PullRequest::new(queue.clone(), 0)
    }
}

/// Waits until the queue shows so many messages, and makes the group known.
async fn shown(rig: &Rig, queue: &MessageQueue, messages: i64) {
    eventually("the messages", async || rig.client.max_offset(queue).await.unwrap() == messages)
        .await;
    rig.client.pull_consumer("g").pull(&PullRequest::new(queue.clone(), 0)).await.unwrap();
}

#[test]
fn a_pull_names_its_filter() {
    with_broker_of(&[ON], async |rig| {
        let queue = rig.queues().await.remove(0);
        send(rig, &queue, 0..10).await;
        shown(rig, &queue, 10).await;
        let consumer = rig.client.pull_consumer("g");
        let found = consumer.pull(&by(&queue, "a BETWEEN 3 AND 4 OR a > 8")).await.unwrap();
        assert_eq!(bodies(&found.messages), ["m3", "m4", "m9"]);
        assert_eq!(found.next_begin_offset, 10);
        let nothing = consumer.pull(&by(&queue, "a = 11")).await.unwrap();
        assert_eq!((nothing.status, nothing.next_begin_offset), (PullStatus::NoMatchedMessage, 10));
        let refused = consumer.pull(&by(&queue, "a >")).await.unwrap_err().to_string();
        assert!(refused.contains("the end at 3"), "{refused}");
    });
}

#[test]
fn a_held_pull_waits_for_what_it_wants() {
    with_broker_of(&[ON], async |rig| {
        let queue = rig.queues().await.remove(0);
        let consumer = rig.client.pull_consumer("g");
        consumer.pull(&PullRequest::new(queue.clone(), 0)).await.unwrap();
        let request = by(&queue, "a = 3").held(HOLD);
        let sent = async {
            // Behind the pull on its connection: once this is answered, the pull is at its queue.
            rig.client.max_offset(&queue).await.unwrap();
            send(rig, &queue, 0..6).await;
        };
        let (pulled, ()) = tokio::join!(timeout(PATIENCE, consumer.pull(&request)), sent);
        let pulled = pulled.expect("it is answered").unwrap();
        assert_eq!(pulled.status, PullStatus::Found, "the others have not woken it");
        assert_eq!(bodies(&pulled.messages), ["m3"]);
    });
}

fn member(topic: &str, expression: &str) -> ConsumerData {
    let subscription = SubscriptionData {
        topic: topic.into(),
        sub_string: expression.into(),
        expression_type: SQL92.into(),
        sub_version: 7,
        ..SubscriptionData::default()
    };
    ConsumerData {
        group_name: "g".into(),
        subscription_data_set: vec![subscription],
        ..ConsumerData::default()
    }
}

/// A pull that leaves the filter to the heartbeats.
async fn pull(rig: &Rig, queue: &MessageQueue, sub_version: i64) -> Command {
    let header = PullHeader {
        consumer_group: "g",
        topic: TOPIC,
        queue_id: queue.queue_id,
        max_msg_nums: 32,
        sub_version,
        ..PullHeader::default()
    };
    let mut request = Command::request(request_code::PULL_MESSAGE);
    header.encode(&mut request.ext);
    let broker = rig.broker.addr.to_string();
    rig.client.remoting().ask(&broker, request, Duration::from_secs(10)).await.unwrap()
}

#[test]
fn heartbeats_bring_the_filter() {
    with_broker_of(&[ON], async |rig| {
        let queue = rig.queues().await.remove(0);
        send(rig, &queue, 0..10).await;
        shown(rig, &queue, 10).await;
        rig.client.pull_consumer("g").register(member(TOPIC, "a < 2")).await.unwrap();
        let answer = pull(rig, &queue, 7).await;
        assert_eq!(answer.code, rs::SUCCESS, "{answer:?}");
        let messages = MessageExt::decode_all(&answer.body).unwrap();
        assert_eq!(bodies(&messages), ["m0", "m1"]);
    });
}

#[test]
fn a_filter_that_cannot_be_read_is_missing() {
    with_broker_of(&[ON], async |rig| {
        let queue = rig.queues().await.remove(0);
        send(rig, &queue, 0..1).await;
        shown(rig, &queue, 1).await;
        rig.client.pull_consumer("g").register(member(TOPIC, "a <")).await.unwrap();
        let answer = pull(rig, &queue, 7).await;
        assert_eq!(answer.code, rs::FILTER_DATA_NOT_EXIST, "{answer:?}");
        assert!(answer.remark.unwrap().contains("Your expression may be wrong"));
    });
}

#[test]
fn filters_are_refused_where_they_are_not_enabled() {
    with_broker(async |rig| {
        let queue = rig.queues().await.remove(0);
        send(rig, &queue, 0..1).await;
        shown(rig, &queue, 1).await;
        rig.client.pull_consumer("g").register(member(TOPIC, "a < 2")).await.unwrap();
        let answer = pull(rig, &queue, 7).await;
        let remark = "The broker does not support consumer to filter message by SQL92";
        assert_eq!((answer.code, answer.remark.as_deref()), (rs::SYSTEM_ERROR, Some(remark)));
        let consumer = rig.client.pull_consumer("g");
        let refused = consumer.pull(&by(&queue, "a < 2")).await.unwrap_err().to_string();
        assert!(refused.contains(remark), "{refused}");
    });
}
