//! Groups in order: one member at a time has a queue, and what it was given comes in the queue's order.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use gantry_client::{MessageExt, PushConfig, Verdict};
use tokio::time::sleep;

use crate::{Inbox, Stage, config, harness::traffic::eventually, names, numbers};

#[tokio::test]
async fn a_message_that_failed_holds_its_queue_up() {
    let stage = Stage::new(1).await;
    let inbox = Inbox::default();
    let seen = Mutex::new(HashSet::new());
    let fails_once = move |message: &MessageExt| {
        let first_time = seen.lock().unwrap().insert(message.queue_offset);
        if first_time && message.queue_offset == 1 { Verdict::Again } else { Verdict::Done }
    };
    let consumer = stage.join(config(true), inbox.handler_that(fails_once)).await;
    stage.send(names(0..4)).await;
    eventually("all of them", async || inbox.len() == 5).await;
    assert_eq!(inbox.bodies(), ["0000", "0001", "0001", "0002", "0003"]);
    assert_eq!(inbox.0.lock().unwrap()[2].reconsume_times, 1);
    consumer.stop().await;
}

#[tokio::test]
async fn a_queue_changes_hands_between_two_messages() {
    let stage = Stage::new(4).await;
    let log: Arc<Mutex<Vec<(i32, i64)>>> = Arc::default();
    let at_work: Arc<Mutex<HashSet<i32>>> = Arc::default();
    let handler = || {
        let (log, at_work) = (log.clone(), at_work.clone());
        move |messages: Vec<MessageExt>| {
            let (log, at_work) = (log.clone(), at_work.clone());
            async move {
                let message = &messages[0];
                assert!(at_work.lock().unwrap().insert(message.queue_id), "one at a time");
                sleep(Duration::from_millis(2)).await;
                log.lock().unwrap().push((message.queue_id, message.queue_offset));
                at_work.lock().unwrap().remove(&message.queue_id);
                Verdict::Done
            }
        }
    };
    let config = || PushConfig { held_messages_max: 8, ..config(true) };
    stage.send(names(0..400)).await;
    let first = stage.join(config(), handler()).await;
    eventually("some", async || log.lock().unwrap().len() > 20).await;
    let second = stage.join(config(), handler()).await;
    eventually("a share each", async || numbers(&first).len() == 2 && numbers(&second).len() == 2)
        .await;
    eventually("more", async || log.lock().unwrap().len() > 150).await;
    first.stop().await;
    eventually("all queues", async || numbers(&second).len() == 4).await;
    eventually("all of them", async || log.lock().unwrap().len() >= 400).await;
    let log = log.lock().unwrap().clone();
    for queue in 0..4 {
        let offsets: Vec<i64> = log.iter().filter(|(q, _)| *q == queue).map(|(_, o)| *o).collect();
        assert_eq!(offsets, (0..100).collect::<Vec<_>>(), "queue {queue}: each once, in order");
    }
    second.stop().await;
}
