//! What has expired becomes a dead letter where that is wanted.

use gantry_codec::properties as names;

use crate::{
    group::{TOPIC, expired, message, mortal, read, read_by, send, shown},
    rig::with_broker,
    traffic::eventually,
};

#[test]
fn every_group_gets_its_letters_once() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "+gantry.ttl.dlq=true").await;
        send(rig, &queue, &[mortal("a", 10), message("b"), mortal("c", 10)]).await;
        rig.clock.advance(10);
        for _ in 0..2 {
            assert_eq!(read(rig, "g", &queue).await, ["b"]);
        }
        let letters = rig.queue("%DLQ%g").await;
        shown(rig, &letters).await;
        let found = read_by(rig, "g", &letters, "*").await;
        let bodies: Vec<_> = found.iter().map(|letter| &letter.body[..]).collect();
        assert_eq!(bodies, [b"a", b"c"]);
        assert_eq!(found[0].property(names::RETRY_TOPIC), Some(TOPIC));
        let end = found[0].store_timestamp.to_string();
        assert_eq!(found[0].property(names::GANTRY_EXPIRED_MS), Some(&*end));
        assert_eq!(expired(rig, "g", TOPIC).await, 2);
        rig.clock.advance(1_000_000);
        assert_eq!(read(rig, "g", &letters).await, ["a", "c"], "the dead do not die");
        assert_eq!(read(rig, "h", &queue).await, ["b"]);
        shown(rig, &rig.queue("%DLQ%h").await).await;
        assert_eq!(read(rig, "h", &rig.queue("%DLQ%h").await).await, ["a", "c"]);
        assert_eq!(read(rig, "TOOLS_CONSUMER", &queue).await, ["a", "b", "c"]);
        assert!(rig.broker().shared.topics.get("%DLQ%TOOLS_CONSUMER").is_none());
    });
}

#[test]
fn nobody_is_led_past_what_has_no_letter_yet() {
    with_broker(&["diskMaxUsedSpaceRatio=90"], async |rig| {
        let queue = rig.topic(TOPIC, "+gantry.ttl.dlq=true").await;
        send(rig, &queue, &[mortal("a", 10), message("b")]).await;
        rig.clock.advance(10);
        rig.broker().shared.log_state.fail("the disk is gone");
        let consumer = rig.client.pull_consumer("g");
        let request = gantry_client::PullRequest::new(queue.clone(), 0);
        let refused = consumer.pull(&request).await.unwrap_err().to_string();
        assert!(refused.contains("cannot be made dead letters: the disk is gone"), "{refused}");
        assert_eq!(expired(rig, "g", TOPIC).await, 0);
    });
}

#[test]
fn a_topic_that_is_made_anew_begins_anew() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "+gantry.ttl.dlq=true").await;
        send(rig, &queue, &[mortal("a", 10)]).await;
        rig.clock.advance(10);
        assert_eq!(read(rig, "g", &queue).await, [""; 0]);
        let broker = rig.broker().addr.to_string();
        rig.client.admin().delete_topic(&broker, TOPIC).await.unwrap();
        let queue = rig.topic(TOPIC, "+gantry.ttl.dlq=true").await;
        send(rig, &queue, &[mortal("b", 10)]).await;
        rig.clock.advance(10);
        assert_eq!(read(rig, "g", &queue).await, [""; 0]);
        let letters = rig.queue("%DLQ%g").await;
        let slot = rig.slot(&letters);
        eventually("two letters", async || slot.range().unwrap().1 == 2).await;
        assert_eq!(read(rig, "g", &letters).await, ["a", "b"]);
    });
}

#[test]
fn letters_of_tries_are_made_as_their_origin_wants_them() {
    with_broker(&["messageDelayLevel=1s 1s 1s"], async |rig| {
        for (topic, attributes) in [(TOPIC, "+gantry.ttl.dlq=true"), ("u", "")] {
            let queue = rig.topic(topic, attributes).await;
            let mut mortal = mortal(topic, 5000);
            mortal.topic = topic.into();
            send(rig, &queue, &[mortal]).await;
            let messages = read_by(rig, "g", &queue, "*").await;
            rig.client.send_back("g", &queue, &messages[0], None).await.unwrap();
            rig.clock.advance(1000);
        }
        let queue = rig.queue(TOPIC).await;
        send(rig, &queue, &[message("wakes")]).await;
        let wakes = read_by(rig, "g", &queue, "*").await.pop().unwrap();
        rig.client.send_back("g", &queue, &wakes, None).await.unwrap();
        let retries = rig.queue("%RETRY%g").await;
        let slot = rig.slot(&retries);
        eventually("the tries", async || slot.range().unwrap().1 >= 2).await;
        rig.clock.advance(5000);
        read(rig, "g", &retries).await;
        let letters = rig.queue("%DLQ%g").await;
        shown(rig, &letters).await;
        assert_eq!(read(rig, "g", &letters).await, [TOPIC]);
        assert_eq!(expired(rig, "g", "%RETRY%g").await, 2);
    });
}
