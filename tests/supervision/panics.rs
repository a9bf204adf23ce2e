//! One actor at a time is struck down.

use std::sync::Arc;

use gantry::{
    log::{dispatcher, indexer},
    topic::{QueueSlot, queue, topic, topics::TopicActor},
};
use gantry_client::{PullRequest, PullStatus};
use gantry_codec::body::ConsumerData;
use tokio::time::timeout;

use crate::{
    by_key,
    rig::{HOLD, QUEUES, Rig, TOPIC, with_broker},
    traffic::{PATIENCE, create_topic, eventually},
};

fn slot(rig: &Rig, queue_id: u32) -> Arc<QueueSlot> {
    let view = rig.broker.shared.topics.get(TOPIC).unwrap();
    view.queue(queue_id).unwrap().clone()
}

#[test]
fn a_queue_is_opened_again() {
    with_broker(async |rig| {
        rig.traffic(async || slot(rig, 1).actor().do_send(queue::Panic)).await;
        rig.assert_restarted(&format!("queues/{TOPIC}/1"));
    });
}

#[test]
fn a_pull_that_a_queue_held_is_answered_when_the_queue_falls() {
    with_broker(async |rig| {
        let queue = rig.queues().await.remove(0);
        let consumer = rig.client.pull_consumer("readers");
        let request = PullRequest::new(queue.clone(), 0);
        consumer.pull(&request).await.expect("the group exists from here on");
        let request = request.held(HOLD);
        let strike = async {
            // Behind the pull on its connection: once this is answered, the pull is at its queue.
            rig.client.max_offset(&queue).await.unwrap();
            slot(rig, queue.queue_id as u32).actor().do_send(queue::Panic);
        };
        let pull = timeout(PATIENCE, consumer.pull(&request));
        let (pulled, ()) = tokio::join!(pull, strike);
        let pulled = pulled.expect("it is not held any longer").unwrap();
        assert_eq!(pulled.status, PullStatus::NoNewMessage);
        let name = format!("queues/{TOPIC}/0");
        let is_back = async || rig.child(&name).is_some_and(|child| child.restarts == 1);
        eventually("the queue's restart", is_back).await;
    });
}

#[test]
fn a_dispatcher_goes_on_where_it_was() {
    with_broker(async |rig| {
        rig.traffic(async || rig.broker.dispatcher.do_send(dispatcher::Panic)).await;
        rig.assert_restarted("log/dispatcher");
    });
}

#[test]
fn an_indexer_goes_on_where_it_was() {
    with_broker(async |rig| {
        let indexer = rig.broker.indexer.as_ref().expect("keys are indexed").indexer.clone();
        rig.traffic(async || indexer.do_send(indexer::Panic)).await;
        rig.assert_restarted("indexer");
        let message = gantry_client::Message::new(TOPIC, "the last").with_keys("last");
        rig.client.producer("more").send(&message).await.unwrap();
        let broker = rig.broker.addr.to_string();
        let find = async || by_key::bodies(&rig.client, &broker, TOPIC, "last").await;
        eventually("the last message by its key", async || find().await == ["the last"]).await;
    });
}

#[test]
fn a_topic_keeps_its_queues_and_takes_orders() {
    with_broker(async |rig| {
        let find = rig.broker.shared.topics_root.send(TopicActor(TOPIC.into()));
        let actor = find.await.unwrap().expect("the topic has an actor");
        rig.traffic(async || actor.do_send(topic::Panic)).await;
        rig.assert_restarted(&format!("topics/topic/{TOPIC}"));
        let broker = rig.broker.addr.to_string();
        create_topic(&rig.client, &broker, TOPIC, QUEUES + 1).await;
        let producer = rig.client.producer("more");
        for (queue_id, queue) in (0..).zip(rig.queues().await) {
            let end = slot(rig, queue_id).range().unwrap().1 as i64;
            let message = gantry_client::Message::new(TOPIC, "one more");
            let receipt = producer.send_to(&queue, &message).await.unwrap();
            assert_eq!(receipt.queue_offset, end, "{queue:?}");
        }
    });
}

#[test]
fn a_connection_falls_alone() {
    with_broker(async |rig| {
        let doomed = rig.another_client();
        doomed.routes().get(TOPIC).await.unwrap();
        let consumer = doomed.pull_consumer("doomed");
        let group = ConsumerData { group_name: "doomed".into(), ..ConsumerData::default() };
        consumer.register(group).await.unwrap();
        let members =
            || rig.broker.shared.control.group("doomed").unwrap().membership().members.clone();
        let connection = members().remove(0).connection;
        let name = format!("/connection/{}", connection.id());
        assert!(rig.child(&name).is_some());

        let queue = rig.queues().await.remove(0);
        let end_of_queue = PullRequest::new(queue.clone(), i64::from(i32::MAX)).held(HOLD);
        rig.traffic(async || {
            let held = timeout(PATIENCE, consumer.pull(&end_of_queue));
            let (held, ()) = tokio::join!(held, async { connection.panic() });
            let _ = held.expect("its client is told, or connects again");
        })
        .await;

        let counters = rig.broker.tree().counters();
        assert_eq!((counters.restarts, counters.panics), (0, 1));
        assert!(rig.child(&name).is_none(), "it is not made again");
        rig.assert_logged("actor panicked", &name);
        eventually("its member's leaving", async || members().is_empty()).await;
        // Its client comes back on another connection.
        assert!(doomed.max_offset(&queue).await.unwrap() > 0);
    });
}
