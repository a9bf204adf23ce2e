//! A group that reads a queue, and messages by their bodies.

use gantry_client::{Filter, Message, MessageExt, MessageQueue, PullRequest, PullStatus};
use gantry_codec::properties as names;

use crate::{rig::Rig, traffic::eventually};

pub const TOPIC: &str = "t";

pub fn message(body: &str) -> Message {
    Message::new(TOPIC, body.to_owned())
}

/// One that lives so long.
pub fn mortal(body: &str, ttl_ms: i64) -> Message {
    message(body).with_property(names::GANTRY_TTL_MS, &ttl_ms.to_string())
}

pub async fn send(rig: &Rig, queue: &MessageQueue, messages: &[Message]) {
    let producer = rig.client.producer("senders");
    for message in messages {
        producer.send_to(queue, message).await.unwrap();
    }
    shown(rig, queue).await;
}

/// Waits until the queue shows everything that was stored.
pub async fn shown(rig: &Rig, queue: &MessageQueue) {
    let slot = rig.slot(queue);
    eventually("the index", async || Some(slot.range().unwrap().1) == slot.next_offset()).await;
}

/// Everything that the group gets from offset 0 on.
pub async fn read(rig: &Rig, group: &str, queue: &MessageQueue) -> Vec<String> {
    let found = read_by(rig, group, queue, "*").await;
    found.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
}

pub async fn read_by(rig: &Rig, group: &str, queue: &MessageQueue, tags: &str) -> Vec<MessageExt> {
    let consumer = rig.client.pull_consumer(group);
    let (mut messages, mut next) = (Vec::new(), 0);
    loop {
        let filter = Filter::Tags(tags.to_owned());
        let request = PullRequest { filter, ..PullRequest::new(queue.clone(), next) };
        let pulled = consumer.pull(&request).await.unwrap();
        match pulled.status {
            PullStatus::NoNewMessage => return messages,
            _ => assert!(pulled.next_begin_offset > next, "it stands still: {pulled:?}"),
        }
        messages.extend(pulled.messages);
        next = pulled.next_begin_offset;
    }
}

/// How many messages the group was led past in the topic.
pub async fn expired(rig: &Rig, group: &str, topic: &str) -> u64 {
    let broker = rig.broker().addr.to_string();
    let lag = rig.client.admin().group_lag(&broker, group, Some(topic)).await.unwrap().unwrap();
    lag.queues.iter().map(|queue| queue.expired).sum()
}
