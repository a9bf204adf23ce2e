//! Groups without order: every message goes to one member, and comes again when it failed.

use gantry_client::Verdict;

use crate::{Inbox, Stage, config, harness::traffic::eventually, names, numbers};

#[tokio::test]
async fn members_share_the_queues_and_a_leaver_hands_over_without_repeats() {
    let stage = Stage::new(4).await;
    let (one, two) = (Inbox::default(), Inbox::default());
    let first = stage.join(config(false), one.handler()).await;
    eventually("all queues", async || numbers(&first) == [0, 1, 2, 3]).await;
    stage.send(names(0..40)).await;
    assert_eq!(one.sorted(40).await, names(0..40));

    let second = stage.join(config(false), two.handler()).await;
    eventually("a share each", async || numbers(&first).len() == 2 && numbers(&second).len() == 2)
        .await;
    stage.send(names(40..80)).await;
    eventually("all of them", async || one.len() + two.len() >= 80).await;
    assert!(two.len() >= 20, "{:?}", two.bodies());

    first.stop().await;
    eventually("the leaver's queues", async || numbers(&second).len() == 4).await;
    stage.send(names(80..120)).await;
    eventually("all of them", async || one.len() + two.len() >= 120).await;
    let mut all = [one.bodies(), two.bodies()].concat();
    all.sort();
    assert_eq!(all, names(0..120), "each once");
    second.stop().await;
}

#[tokio::test]
async fn what_failed_comes_again_by_way_of_the_retry_topic() {
    let stage = Stage::new(1).await;
    let inbox = Inbox::default();
    let config = gantry_client::PushConfig { tries_max: Some(16), ..config(false) };
    let fails = |message: &gantry_client::MessageExt| match message.body.as_ref() {
        b"0001" => Verdict::Again,
        b"0002" => panic!("a handler that panics"),
        _ => Verdict::Done,
    };
    let consumer = stage.join(config, inbox.handler_that(fails)).await;
    stage.send(names(0..4)).await;
    eventually("two retries on their way", async || {
        let topics = stage.client.routes().refresh("%RETRY%g").await;
        let delayed = gantry_client::MessageQueue {
            topic: "SCHEDULE_TOPIC_XXXX".into(),
            broker_name: "broker-a".into(),
            queue_id: 2,
        };
        let range = stage.client.admin();
        let stats = range.topic_stats(&stage.daemon.broker, "SCHEDULE_TOPIC_XXXX").await;
        let stored = stats.unwrap().and_then(|all| all.offset_table.0.get(&delayed).cloned());
        topics.is_ok() && stored.is_some_and(|queue| queue.max_offset == 2)
    })
    .await;
    let queue = stage.client.routes().get("t").await.unwrap().subscribe[0].clone();
    consumer.stop().await;
    let offset = stage.client.consumer_offset("g", &queue).await.unwrap();
    assert_eq!(offset, Some(4), "the queue goes on");
}

#[tokio::test]
async fn progress_is_kept_for_the_next_member() {
    let stage = Stage::new(2).await;
    stage.send(names(0..10)).await;
    let (one, two) = (Inbox::default(), Inbox::default());
    let first = stage.join(config(false), one.handler()).await;
    assert_eq!(one.sorted(10).await, names(0..10));
    first.stop().await;
    stage.send(names(10..20)).await;
    let second = stage.join(config(false), two.handler()).await;
    assert_eq!(two.sorted(10).await, names(10..20), "nothing twice");
    second.stop().await;
}
