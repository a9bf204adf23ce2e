//! What clients see of pops while the broker runs.

use std::time::Duration;

use gantry_codec::{
    Command, properties as names, request_code as rq, requests::pull::PopMessageHeader,
};
use tokio::time::{Instant, timeout};

use crate::rig::{
    Client, GROUP, LONG, PATIENCE, Rig, TOPIC, answer_of, in_order, pop_of, run, waiting,
};

async fn send(rig: &Rig, queue_id: i32, bodies: &[&str]) {
    for body in bodies {
        rig.client.send(queue_id, body).await;
    }
}

fn sorted(mut bodies: Vec<&str>) -> Vec<&str> {
    bodies.sort_unstable();
    bodies
}

#[test]
fn each_message_comes_once_and_the_offset_follows_the_acknowledgements() {
    run(async {
        let rig = Rig::new(2).await;
        send(&rig, 0, &["a", "b", "c"]).await;
        send(&rig, 1, &["d"]).await;
        let messages = rig.client.pop_all(4, LONG).await;
        assert_eq!(sorted(messages.iter().map(|m| &*m.body).collect()), ["a", "b", "c", "d"]);
        let nothing = rig.client.pop(pop_of(32, LONG)).await;
        assert_eq!((nothing.code, nothing.messages.len()), (210, 0), "all are hidden");
        let by_body = |body: &str| messages.iter().find(|m| m.body == body).unwrap();
        for body in ["c", "b", "d"] {
            assert_eq!(rig.client.ack(by_body(body)).await, 0);
        }
        rig.wait_for_offset(TOPIC, 1, 1).await;
        assert_eq!(rig.offset(TOPIC, 0), Some(0), "the first is still out");
        assert_eq!(rig.client.ack(by_body("a")).await, 0);
        rig.wait_for_offset(TOPIC, 0, 3).await;
        assert_eq!(rig.client.ack(by_body("a")).await, 0, "once more does no harm");
    });
}

#[test]
fn what_nobody_acknowledges_comes_again_as_a_retry() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a", "b"]).await;
        let messages = rig.client.pop_all(2, 100).await;
        assert_eq!(rig.client.ack(&messages[0]).await, 0);
        let again = rig.client.pop_all(1, LONG).await.remove(0);
        assert_eq!(
            (again.body.as_str(), again.reconsume_times, again.topic.as_str()),
            ("b", 1, TOPIC)
        );
        let first = messages[1].pop().pop_time.to_string();
        assert_eq!(names::get(&again.properties, names::FIRST_POP_TIME), Some(&*first));
        assert_eq!(names::get(&again.properties, names::RETRY_TOPIC), Some(TOPIC));
        rig.wait_for_offset(TOPIC, 0, 2).await;
        assert_eq!(rig.client.ack(&messages[1]).await, 0, "too late, and accepted");
        assert_eq!(rig.client.ack(&again).await, 0);
        rig.wait_for_offset("%RETRY%g_t", 0, 1).await;
    });
}

#[test]
fn a_retry_that_fails_is_tried_again_from_its_own_topic() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a"]).await;
        for times in 0..3 {
            let message = rig.client.pop_all(1, 50).await.remove(0);
            assert_eq!((message.body.as_str(), message.reconsume_times), ("a", times));
        }
        let topics = rig.broker.shared.topics.all();
        let retries = topics.keys().filter(|topic| topic.contains("%RETRY%")).count();
        assert_eq!(retries, 1, "{:?}", topics.keys().collect::<Vec<_>>());
    });
}

#[test]
fn a_pop_that_waits_is_answered_when_a_message_comes() {
    run(async {
        let rig = Rig::new(3).await;
        let other = Client::connect(&rig.broker).await;
        let pops = async {
            tokio::join!(
                rig.client.pop(waiting(pop_of(1, LONG), 8000)),
                other.pop(waiting(pop_of(1, LONG), 8000)),
            )
        };
        let sends = async {
            while rig.client.waiting_pops().await != "2" {
                tokio::task::yield_now().await;
            }
            rig.client.send(2, "a").await;
            rig.client.send(1, "b").await;
        };
        let ((one, two), ()) =
            timeout(PATIENCE, async { tokio::join!(pops, sends) }).await.unwrap();
        let mut bodies = [one.bodies(), two.bodies()].concat();
        bodies.sort_unstable();
        assert_eq!(bodies, ["a", "b"]);
    });
}

#[test]
fn a_pop_waits_no_longer_than_it_asks_for() {
    run(async {
        let rig = Rig::new(1).await;
        let begun = Instant::now();
        let answer = rig.client.pop(waiting(pop_of(1, LONG), 150)).await;
        assert_eq!((answer.code, answer.header.rest_num), (210, 0));
        let took = begun.elapsed();
        assert!((Duration::from_millis(140)..Duration::from_secs(3)).contains(&took), "{took:?}");
        assert_eq!(rig.client.waiting_pops().await, "0");
    });
}

#[test]
fn a_client_that_goes_away_while_it_waits_takes_nothing_along() {
    run(async {
        let rig = Rig::new(1).await;
        let gone = Client::connect(&rig.broker).await;
        let header = waiting(pop_of(32, LONG), 8000);
        let asked = gone.0.submit(Command::request(rq::POP_MESSAGE).with_header(&header)).unwrap();
        while rig.client.waiting_pops().await != "1" {
            tokio::task::yield_now().await;
        }
        drop(asked);
        gone.0.close();
        while rig.client.waiting_pops().await != "0" {
            tokio::task::yield_now().await;
        }
        rig.client.send(0, "a").await;
        let message = rig.client.pop_all(1, LONG).await.remove(0);
        assert_eq!((message.body.as_str(), message.reconsume_times), ("a", 0));
    });
}

#[test]
fn hiding_a_message_anew_moves_its_time() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a"]).await;
        let message = rig.client.pop_all(1, LONG).await.remove(0);
        let sooner = rig.client.hide(&message, 50).await;
        assert!(sooner.pop().pop_time >= message.pop().pop_time);
        let again = rig.client.pop_all(1, 50).await.remove(0);
        assert_eq!(again.reconsume_times, 1);
        let later = rig.client.hide(&again, LONG).await;
        let nothing = rig.client.pop(waiting(pop_of(1, LONG), 200)).await;
        assert_eq!(nothing.code, 210, "it stays hidden");
        assert_eq!(rig.client.ack(&later).await, 0);
        rig.wait_for_offset("%RETRY%g_t", 0, 1).await;
    });
}

#[test]
fn many_are_acknowledged_at_once() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a", "b", "c", "d"]).await;
        while rig.client.pop(PopMessageHeader { max_msg_nums: 4, ..peeked() }).await.code != 0 {}
        let mut messages = rig.client.pop_all(4, LONG).await;
        let last = messages.remove(2);
        assert_eq!(rig.client.batch_ack(&messages).await, 0);
        rig.wait_for_offset(TOPIC, 0, 2).await;
        assert_eq!(rig.client.batch_ack(&[last]).await, 0);
        rig.wait_for_offset(TOPIC, 0, 4).await;
    });
}

/// A pop of another group, which sees whether the queue has learnt of its messages.
fn peeked() -> PopMessageHeader {
    PopMessageHeader { consumer_group: "other".into(), ..pop_of(1, LONG) }
}

#[test]
fn a_group_gets_what_its_expression_lets_pass_and_the_rest_is_done() {
    run(async {
        for (expression, kind) in [("y || z", "TAG"), ("TAGS IN ('y', 'z')", "SQL92")] {
            let rig = Rig::new(1).await;
            for (body, tag) in [("a", "x"), ("b", "y"), ("c", ""), ("d", "y"), ("e", "x")] {
                rig.client.send_tagged(0, body, tag).await;
            }
            let pop = PopMessageHeader {
                exp: Some(expression.into()),
                exp_type: Some(kind.into()),
                ..pop_of(32, LONG)
            };
            let mut messages = Vec::new();
            while messages.len() < 2 {
                messages.extend(rig.client.pop(waiting(pop.clone(), 5000)).await.messages);
            }
            assert_eq!(messages.iter().map(|m| &*m.body).collect::<Vec<_>>(), ["b", "d"]);
            for message in &messages {
                assert_eq!(rig.client.ack(message).await, 0);
            }
            // The last one may not have come to the queue yet.
            while rig.offset(TOPIC, 0) != Some(5) {
                assert_eq!(rig.client.pop(pop.clone()).await.code, 210);
            }
        }
    });
}

#[test]
fn an_ordered_queue_gives_nothing_more_until_its_messages_are_done() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a", "b", "c"]).await;
        let first = rig.client.pop(in_order(waiting(pop_of(2, LONG), 5000), "1")).await;
        let mut messages = first.messages;
        if messages.len() == 1 {
            // Only one had arrived; the same try gets what is there now.
            messages.clear();
            while messages.len() < 2 {
                messages = rig.client.pop(in_order(pop_of(2, LONG), "1")).await.messages;
            }
        }
        assert!(messages.iter().all(|m| m.pop().is_order()));
        let blocked = rig.client.pop(in_order(pop_of(2, LONG), "2")).await;
        assert_eq!(blocked.code, 210);
        let waits = rig.client.pop(in_order(waiting(pop_of(2, LONG), 8000), "2"));
        let acks = async {
            while rig.client.waiting_pops().await != "1" {
                tokio::task::yield_now().await;
            }
            for message in &messages {
                assert_eq!(rig.client.ack(message).await, 0);
            }
        };
        let (next, ()) = tokio::join!(waits, acks);
        assert_eq!(next.bodies(), ["c"]);
        assert_eq!(next.header.order_count_info.as_deref(), Some("0 0 0"));
        rig.wait_for_offset(TOPIC, 0, 2).await;
    });
}

#[test]
fn an_ordered_message_comes_again_in_its_place() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a", "b"]).await;
        let pop = |attempt| in_order(waiting(pop_of(1, 80), 5000), attempt);
        let first = rig.client.pop(pop("1")).await;
        let again = rig.client.pop(pop("2")).await;
        assert_eq!((first.bodies(), again.bodies()), (vec!["a"], vec!["a"]));
        let counts = again.header.order_count_info.as_deref();
        assert_eq!(counts, Some("0 qo0%0 1;0 0 1"));
        assert_eq!(rig.client.ack(&first.messages[0]).await, 0, "from an earlier pop");
        assert_eq!(rig.client.ack(&again.messages[0]).await, 0);
        assert_eq!(rig.client.pop(pop("3")).await.bodies(), ["b"]);
    });
}

#[test]
fn a_peek_takes_nothing() {
    run(async {
        let rig = Rig::new(1).await;
        let peek = || {
            Command::request(rq::PEEK_MESSAGE)
                .with_ext("consumerGroup", GROUP)
                .with_ext("topic", TOPIC)
                .with_ext("queueId", -1)
                .with_ext("maxMsgNums", 10)
        };
        assert_eq!(rig.client.ask(peek()).await.code, 19);
        send(&rig, 0, &["a"]).await;
        let mut seen = rig.client.ask(peek()).await;
        while seen.code == 19 {
            seen = rig.client.ask(peek()).await;
        }
        assert_eq!(answer_of(seen, TOPIC).bodies(), ["a"]);
        assert_eq!(rig.client.pop_all(1, LONG).await[0].body, "a");
        assert_eq!(rig.client.ask(peek()).await.code, 19);
    });
}

#[test]
fn a_notification_tells_of_messages_without_taking_them() {
    run(async {
        let rig = Rig::new(2).await;
        assert!(!rig.client.notification(0).await);
        assert!(!rig.client.notification(60).await, "its time is over");
        let told = async { tokio::join!(rig.client.notification(8000), rig.client.send(1, "a")).0 };
        assert!(timeout(PATIENCE, told).await.unwrap());
        assert!(rig.client.notification(0).await);
        rig.client.pop_all(1, 100).await;
        assert!(!rig.client.notification(0).await);
        assert!(rig.client.notification(8000).await, "the retry");
    });
}

#[test]
fn a_group_may_begin_at_the_end_but_a_young_queue_is_read_whole() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a", "b"]).await;
        let at_end = PopMessageHeader { init_mode: 1, ..waiting(pop_of(32, LONG), 5000) };
        assert_eq!(rig.client.pop(at_end).await.messages[0].body, "a");
    });
}

#[test]
fn a_topic_made_again_begins_anew() {
    run(async {
        let rig = Rig::new(1).await;
        send(&rig, 0, &["a", "b"]).await;
        rig.client.pop_all(2, 50).await;
        rig.client.pop_all(2, LONG).await;
        let delete = Command::request(rq::DELETE_TOPIC_IN_BROKER).with_ext("topic", TOPIC);
        assert_eq!(rig.client.ask(delete).await.code, 0);
        assert!(rig.broker.shared.topics.get("%RETRY%g_t").is_none(), "its retries are gone too");
        rig.client.create_topic(TOPIC, 1).await;
        send(&rig, 0, &["c"]).await;
        let message = rig.client.pop_all(1, LONG).await.remove(0);
        assert_eq!((message.body.as_str(), message.offset), ("c", 0));
    });
}
