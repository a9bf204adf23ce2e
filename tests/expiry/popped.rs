//! What pops are led past.

use gantry_client::{CallError, MessageExt};
use gantry_codec::{
    Command, request_code as rq, requests::pull::PopMessageHeader, response_code as rs,
};
use gantry_storage::Clock;

use crate::{
    group::{TOPIC, expired, message, mortal, read, send, shown},
    rig::{Rig, with_broker},
    traffic::eventually,
};

/// A pop's messages, which are hidden for a minute.
async fn pop(rig: &Rig, group: &str) -> Vec<String> {
    let header = PopMessageHeader {
        consumer_group: group.into(),
        topic: TOPIC.into(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: 60_000,
        born_time: rig.clock.now_ms(),
        ..PopMessageHeader::default()
    };
    let request = Command::request(rq::POP_MESSAGE).with_header(&header);
    let broker = rig.broker().addr.to_string();
    let answer = match rig.client.remoting().call(&broker, request).await {
        Err(CallError::Refused { code: rs::POLLING_TIMEOUT, .. }) => return Vec::new(),
        answer => answer.unwrap(),
    };
    let messages = MessageExt::decode_all(&answer.body).unwrap();
    messages.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
}

async fn is_at(rig: &Rig, group: &str, offset: i64) {
    let offsets = rig.broker().shared.control.offsets().clone();
    eventually("the group's offset", async || offsets.get(group, TOPIC, 0) == Some(offset)).await;
}

#[test]
fn pops_pass_over_what_has_expired() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        send(rig, &queue, &[mortal("a", 10), mortal("b", 10), message("c"), mortal("d", 10)]).await;
        rig.clock.advance(10);
        assert_eq!(pop(rig, "g").await, ["c"]);
        is_at(rig, "g", 2).await;
        assert_eq!(expired(rig, "g", TOPIC).await, 3);
        assert!(rig.broker().shared.topics.get("%DLQ%g").is_none());
    });
}

#[test]
fn pops_bury_first_where_that_is_wanted() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "+gantry.ttl.dlq=true").await;
        send(rig, &queue, &[mortal("a", 10), message("b"), mortal("c", 10)]).await;
        rig.clock.advance(10);
        assert_eq!(pop(rig, "g").await, ["b"]);
        let letters = rig.queue("%DLQ%g").await;
        shown(rig, &letters).await;
        assert_eq!(read(rig, "g", &letters).await, ["a", "c"]);
        assert_eq!(expired(rig, "g", TOPIC).await, 2);
        // One that pulls as well has had these letters.
        assert_eq!(read(rig, "g", &queue).await, ["b"]);
        assert_eq!(rig.slot(&letters).range(), Ok((0, 2)));
    });
}

#[test]
fn a_queue_of_the_dead_alone_is_passed_over_whole() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "+gantry.ttl.dlq=true").await;
        let dead: Vec<_> = (0..40).map(|number| mortal(&number.to_string(), 10)).collect();
        send(rig, &queue, &dead).await;
        rig.clock.advance(10);
        assert_eq!(pop(rig, "g").await, [""; 0]);
        is_at(rig, "g", 40).await;
        let letters = rig.queue("%DLQ%g").await;
        let slot = rig.slot(&letters);
        eventually("all letters", async || slot.range().unwrap().1 == 40).await;
    });
}
