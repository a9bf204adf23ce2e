//! What is stored once, and how it is answered.

use gantry::dedup::Key;
use gantry_client::{Client, ClientConfig, Message, MessageQueue, SendReceipt};
use gantry_codec::properties as names;
use gantry_storage::{Clock, PhysicalOffset};

use crate::{
    rig::{Rig, with_broker},
    traffic::eventually,
};

const TOPIC: &str = "t";
const WINDOW: &str = "+gantry.dedup.window.ms=60000";

/// With that unique key, as a client's second try has it.
fn keyed(key: &str) -> Message {
    Message::new(TOPIC, format!("body of {key}")).with_property(names::UNIQ_KEY, key)
}

async fn send(rig: &Rig, queue: &MessageQueue, key: &str) -> SendReceipt {
    rig.client.producer("senders").send_to(queue, &keyed(key)).await.unwrap()
}

/// Where it says that the message is: a broker that was started again has another port, which is part of ids.
fn place(receipt: &SendReceipt) -> (i32, i64, &str) {
    let (_, offset) = receipt.offset_message_id.split_at(16);
    (receipt.queue.queue_id, receipt.queue_offset, offset)
}

/// How many messages the queue holds, once it shows them all.
async fn stored(rig: &Rig, queue: &MessageQueue) -> u64 {
    let slot = rig.slot(queue);
    eventually("the index", async || Some(slot.range().unwrap().1) == slot.next_offset()).await;
    slot.range().unwrap().1
}

fn duplicates(rig: &Rig) -> u64 {
    rig.broker().shared.topics.get(TOPIC).unwrap().window.as_ref().map_or(0, |w| w.duplicates())
}

#[test]
fn a_second_try_is_answered_as_the_first() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        let first = send(rig, &queue, "A").await;
        let other = send(rig, &queue, "B").await;
        rig.clock.advance(59_999);
        assert_eq!(send(rig, &queue, "A").await, first);
        assert_ne!(other.queue_offset, first.queue_offset);
        assert_eq!((stored(rig, &queue).await, duplicates(rig)), (2, 1));
        rig.clock.advance(1);
        let late = send(rig, &queue, "A").await;
        assert_eq!(late.queue_offset, 2, "the window has gone on");
        assert_eq!(send(rig, &queue, "A").await, late, "and begins with it again");
    });
}

#[test]
fn a_topic_that_does_not_ask_for_it_stores_everything() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, "").await;
        assert_ne!(send(rig, &queue, "A").await, send(rig, &queue, "A").await);
        rig.change_topic(TOPIC, WINDOW).await.unwrap();
        let first = send(rig, &queue, "A").await;
        assert_eq!(first.queue_offset, 2, "it counts from then on");
        // Another setting of it does not make it forget.
        rig.change_topic(TOPIC, "+gantry.dedup.window.ms=70000").await.unwrap();
        assert_eq!(send(rig, &queue, "A").await, first);
        rig.change_topic(TOPIC, "-gantry.dedup.window.ms").await.unwrap();
        assert_eq!(send(rig, &queue, "A").await.queue_offset, 3);
        let refused = rig.change_topic(TOPIC, "+gantry.dedup.window.ms=5s").await.unwrap_err();
        assert!(refused.to_string().contains("must be a number from 1 on"), "{refused}");
    });
}

#[test]
fn the_queue_of_the_first_try_is_told() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        let two = gantry_client::TopicSpec {
            attributes: Some(WINDOW.into()),
            ..gantry_client::TopicSpec::new(TOPIC, 2)
        };
        let broker = rig.broker().addr.to_string();
        rig.client.admin().create_topic(&broker, &two).await.unwrap();
        let first = send(rig, &queue, "A").await;
        let elsewhere = MessageQueue { queue_id: 1, ..queue.clone() };
        assert_eq!(send(rig, &elsewhere, "A").await, first);
        assert_eq!(stored(rig, &queue).await, 1);
    });
}

#[test]
fn of_a_burst_over_two_connections_each_key_is_stored_once() {
    with_broker(&["flushDiskType=SYNC_FLUSH"], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        let namesrv = ClientConfig { ..rig.client.config().clone() };
        let other = Client::new(namesrv);
        let (one, two) = (rig.client.producer("one"), other.producer("two"));
        let mut sends = Vec::new();
        for number in 0..200 {
            let message = keyed(&format!("K{}", number % 20));
            sends.push(one.send_async_to(&queue, &message).await.unwrap());
            sends.push(two.send_async_to(&queue, &message).await.unwrap());
        }
        let mut offsets = std::collections::BTreeMap::new();
        for send in sends {
            let receipt = send.await.unwrap();
            let known = offsets.entry(receipt.unique_key.clone()).or_insert(receipt.clone());
            let told = |r: &SendReceipt| (r.queue_offset, r.offset_message_id.clone());
            assert_eq!(told(known), told(&receipt));
        }
        assert_eq!((stored(rig, &queue).await, duplicates(rig)), (20, 380));
        other.close();
    });
}

#[test]
fn a_batch_is_stored_once_as_a_whole_or_where_it_is_new() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        let producer = rig.client.producer("senders");
        let batch = [keyed("A"), keyed("B"), keyed("C")];
        let first = producer.send_batch_to(&queue, &batch).await.unwrap();
        assert_eq!(producer.send_batch_to(&queue, &batch).await.unwrap(), first);
        let ids: Vec<_> = first.offset_message_id.split(',').collect();
        let mixed = [keyed("B"), keyed("D"), keyed("D"), keyed("C")];
        let mixed = producer.send_batch_to(&queue, &mixed).await.unwrap();
        let told: Vec<_> = mixed.offset_message_id.split(',').collect();
        assert_eq!((told[0], told[3], mixed.queue_offset), (ids[1], ids[2], 1));
        assert_eq!(told[1], told[2], "twins");
        assert_eq!(send(rig, &queue, "D").await.offset_message_id, told[1]);
        assert_eq!(stored(rig, &queue).await, 4);
    });
}

#[test]
fn another_property_may_be_the_key() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, &format!("{WINDOW},+gantry.dedup.property=KEYS")).await;
        let producer = rig.client.producer("senders");
        let order = |key: &str| Message::new(TOPIC, "order").with_keys(key);
        let first = producer.send_to(&queue, &order("4711")).await.unwrap();
        let again = producer.send_to(&queue, &order("4711")).await.unwrap();
        assert_eq!(again.offset_message_id, first.offset_message_id);
        producer.send_to(&queue, &order("4712")).await.unwrap();
        // Without one they are all different.
        for _ in 0..2 {
            producer.send_to(&queue, &Message::new(TOPIC, "no key")).await.unwrap();
        }
        assert_eq!(stored(rig, &queue).await, 4);
    });
}

#[test]
fn no_more_keys_are_remembered_than_the_topic_allows() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, &format!("{WINDOW},+gantry.dedup.keys.max=2")).await;
        for key in ["A", "B", "C"] {
            send(rig, &queue, key).await;
        }
        send(rig, &queue, "C").await;
        assert_eq!(stored(rig, &queue).await, 3);
        send(rig, &queue, "A").await;
        assert_eq!(stored(rig, &queue).await, 4, "the oldest was forgotten");
    });
}

#[test]
fn keys_with_the_same_hash_are_told_apart() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        let first = send(rig, &queue, "A").await;
        let at = u64::from_str_radix(place(&first).2, 16).unwrap();
        let window = rig.broker().shared.topics.get(TOPIC).unwrap().window.clone().unwrap();
        let stored_ms = rig.clock.now_ms();
        // As if B had the hash of A, and C that of a message that was never stored.
        for (key, at) in [("B", at), ("C", at + 1), ("D", 1 << 40)] {
            let key = Key { stored_ms, hash: Key::hash_of(key), at: PhysicalOffset(at) };
            window.keys().insert(key, 10);
        }
        for (key, offset) in [("B", 1), ("C", 2), ("D", 3), ("B", 1), ("A", 0)] {
            assert_eq!(send(rig, &queue, key).await.queue_offset, offset, "{key}");
        }
    });
}

#[test]
fn a_delayed_message_is_delivered_once() {
    with_broker(&["messageDelayLevel=1s"], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        let producer = rig.client.producer("senders");
        let delayed = keyed("A").with_delay_level(1);
        let first = producer.send_to(&queue, &delayed).await.unwrap();
        assert_eq!(producer.send_to(&queue, &delayed).await.unwrap(), first);
        rig.clock.advance(1000);
        // Wakes the schedule, which finds the first one due by the clock that was moved.
        producer.send_to(&queue, &keyed("B").with_delay_level(1)).await.unwrap();
        let slot = rig.slot(&queue);
        eventually("the delivery", async || slot.range().unwrap().1 == 1).await;
        assert_eq!(producer.send_to(&queue, &delayed).await.unwrap(), first);
        drop(slot);
        rig.restart().await;
        let queue = rig.queue(TOPIC).await;
        let again = rig.client.producer("senders").send_to(&queue, &delayed).await.unwrap();
        assert_eq!(place(&again), place(&first));
    });
}

#[test]
fn the_window_survives_a_restart() {
    with_broker(&[], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        let old = send(rig, &queue, "old").await;
        rig.clock.advance(30_000);
        let young = send(rig, &queue, "young").await;
        rig.restart().await;
        let queue = rig.queue(TOPIC).await;
        rig.clock.advance(29_999);
        assert_eq!(place(&send(rig, &queue, "old").await), place(&old));
        rig.clock.advance(1);
        assert_eq!(send(rig, &queue, "old").await.queue_offset, 2);
        assert_eq!(place(&send(rig, &queue, "young").await), place(&young));
    });
}

#[test]
fn what_the_disk_did_not_take_is_not_answered_as_stored() {
    with_broker(&["flushDiskType=SYNC_FLUSH"], async |rig| {
        let queue = rig.topic(TOPIC, WINDOW).await;
        send(rig, &queue, "A").await;
        rig.disk.fail_syncs(true);
        let producer = rig.client.producer("senders");
        let one = producer.send_async_to(&queue, &keyed("B")).await.unwrap();
        let two = producer.send_async_to(&queue, &keyed("B")).await.unwrap();
        assert!(one.await.is_err() && two.await.is_err());
        assert!(producer.send_to(&queue, &keyed("A")).await.is_err(), "nothing is taken any more");
    });
}
