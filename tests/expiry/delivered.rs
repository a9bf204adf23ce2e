//! What is delivered and what is not any more.

use gantry_client::SendError;
use gantry_codec::{body::to_json, properties as names};

use crate::{
    group::{TOPIC, expired, message, mortal, read, read_by, send, shown},
    rig::with_broker,
    traffic::eventually,
};

#[test]
fn a_message_lives_as_long_as_it_says() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        send(rig, &queue, &[mortal("short", 5000), message("ever"), mortal("long", 10_000)]).await;
        rig.clock.advance(4999);
        assert_eq!(read(rig, "g", &queue).await, ["short", "ever", "long"]);
        assert_eq!(expired(rig, "g", TOPIC).await, 0);
        rig.clock.advance(1);
        assert_eq!(read(rig, "g", &queue).await, ["ever", "long"]);
        rig.clock.advance(5000);
        assert_eq!(read(rig, "g", &queue).await, ["ever"]);
        assert_eq!(expired(rig, "g", TOPIC).await, 2, "each counts once, however often it is met");
        assert_eq!(read(rig, "TOOLS_CONSUMER", &queue).await, ["short", "ever", "long"]);
    });
}

#[test]
fn a_restart_does_not_bring_them_back() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        send(rig, &queue, &[mortal("short", 5000), message("ever")]).await;
        rig.restart().await;
        let queue = rig.queue(TOPIC).await;
        assert_eq!(read(rig, "g", &queue).await, ["short", "ever"]);
        rig.clock.advance(5000);
        assert_eq!(read(rig, "g", &queue).await, ["ever"]);
        // An operator who changes something else does not take it away.
        rig.change_topic(TOPIC, "+retention.bytes=1000000").await.unwrap();
        assert_eq!(read(rig, "g", &queue).await, ["ever"]);
    });
}

#[test]
fn a_topic_says_it_for_messages_that_do_not() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "+gantry.ttl.ms=1000").await;
        send(rig, &queue, &[message("a"), mortal("b", 3000), mortal("c", 1), message("d")]).await;
        rig.clock.advance(999);
        assert_eq!(read(rig, "g", &queue).await, ["a", "b", "d"]);
        rig.clock.advance(1);
        assert_eq!(read(rig, "g", &queue).await, ["b"]);
        rig.change_topic(TOPIC, "-gantry.ttl.ms").await.unwrap();
        assert_eq!(read(rig, "g", &queue).await, ["a", "b", "d"], "it goes as it came");
        let refused = rig.change_topic(TOPIC, "+gantry.ttl.ms=soon").await.unwrap_err().to_string();
        assert!(refused.contains("gantry.ttl.ms: must be a number from 1 on"), "{refused}");
    });
}

#[test]
fn only_what_the_group_wants_counts() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "+gantry.ttl.ms=1000").await;
        send(rig, &queue, &[message("a").with_tag("A"), message("b").with_tag("B")]).await;
        assert_eq!(read_by(rig, "g", &queue, "A").await.len(), 1);
        rig.clock.advance(1000);
        assert_eq!(read_by(rig, "g", &queue, "A").await.len(), 0);
        assert_eq!(expired(rig, "g", TOPIC).await, 1);
    });
}

#[test]
fn messages_of_a_batch_say_it_one_by_one() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        let producer = rig.client.producer("senders");
        let bad = [message("a"), message("b").with_property(names::GANTRY_TTL_MS, "0")];
        let refused = producer.send_batch_to(&queue, &bad).await.unwrap_err();
        assert!(refused.to_string().contains("GANTRY_TTL_MS is \"0\""), "{refused}");
        let good = [message("a"), mortal("b", 1000)];
        producer.send_batch_to(&queue, &good).await.unwrap();
        shown(rig, &queue).await;
        assert_eq!(read(rig, "g", &queue).await, ["a", "b"], "a batch comes whole or not at all");
        rig.clock.advance(1000);
        assert_eq!(read(rig, "g", &queue).await, ["a"]);
    });
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        let bad = message("a").with_property(names::GANTRY_EXPIRES_MS, "tomorrow");
        let refused = rig.client.producer("senders").send_to(&queue, &bad).await.unwrap_err();
        let SendError::Call(refused) = refused else { panic!("{refused}") };
        assert!(refused.to_string().contains("GANTRY_EXPIRES_MS is \"tomorrow\""), "{refused}");
        let set = &rig.broker().shared.topics.get(TOPIC).unwrap().config;
        assert!(set.attributes.is_empty(), "nothing was noted: {}", {
            String::from_utf8(to_json(set)).unwrap()
        });
    });
}

#[test]
fn a_delay_does_not_eat_it() {
    with_broker(&["messageDelayLevel=1s 2s"], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        let producer = rig.client.producer("senders");
        producer.send_to(&queue, &mortal("late", 300).with_delay_level(1)).await.unwrap();
        rig.clock.advance(1000);
        // Wakes the schedule, which finds the first one due by the clock that was moved.
        producer.send_to(&queue, &mortal("later", 300).with_delay_level(1)).await.unwrap();
        let slot = rig.slot(&queue);
        eventually("the delivery", async || slot.range().unwrap().1 == 1).await;
        rig.clock.advance(299);
        assert_eq!(read(rig, "g", &queue).await, ["late"]);
        rig.clock.advance(1);
        assert_eq!(read(rig, "g", &queue).await, [""; 0]);
    });
}

#[test]
fn a_try_does_not_make_it_live_longer() {
    with_broker(&["messageDelayLevel=1s 2s 3s 4s"], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        send(rig, &queue, &[mortal("a", 5000), mortal("b", 100_000)]).await;
        let messages = read_by(rig, "g", &queue, "*").await;
        let broker = rig.broker().addr.to_string();
        rig.clock.advance(1000);
        for message in &messages {
            rig.client.send_back("g", &queue, message, None).await.unwrap();
        }
        rig.clock.advance(3000);
        rig.client.send_back("g", &queue, &messages[1], None).await.unwrap();
        let retries = rig.queue("%RETRY%g").await;
        let slot = rig.slot(&retries);
        eventually("the tries", async || slot.range().unwrap().1 >= 2).await;
        assert_eq!(read(rig, "g", &retries).await, ["a", "b"]);
        rig.clock.advance(1000);
        assert_eq!(read(rig, "g", &retries).await, ["b"], "5 s after it was sent");
        let lag = rig.client.admin().group_lag(&broker, "g", Some("%RETRY%g")).await.unwrap();
        assert_eq!(lag.unwrap().queues[0].expired, 1);
    });
}
