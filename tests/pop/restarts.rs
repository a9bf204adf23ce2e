//! What stays of pops when the broker stops in order or is killed.

use std::collections::BTreeSet;

use crate::rig::{LONG, Popped, Rig, TOPIC, in_order, pop_of, run, waiting};

async fn send(rig: &Rig, count: usize) {
    for number in 0..count {
        rig.client.send((number % 2) as i32, &number.to_string()).await;
    }
}

fn bodies(messages: &[Popped]) -> BTreeSet<&str> {
    messages.iter().map(|message| &*message.body).collect()
}

#[test]
fn an_orderly_stop_repeats_nothing() {
    run(async {
        let rig = Rig::new(2).await;
        send(&rig, 8).await;
        let messages = rig.client.pop_all(8, LONG).await;
        let (acked, out): (Vec<_>, Vec<_>) =
            messages.iter().cloned().partition(|m| ["1", "4", "6", "7"].contains(&&*m.body));
        for message in &acked {
            assert_eq!(rig.client.ack(message).await, 0);
        }
        let rig = rig.restart().await;
        let nothing = rig.client.pop(waiting(pop_of(32, LONG), 100)).await;
        assert_eq!(nothing.code, 210, "those that are out stay hidden: {:?}", nothing.bodies());
        for message in &out {
            assert_eq!(rig.client.ack(message).await, 0);
        }
        rig.wait_for_offset(TOPIC, 0, 4).await;
        rig.wait_for_offset(TOPIC, 1, 4).await;
    });
}

#[test]
fn what_was_out_comes_back_after_a_restart_without_any_client() {
    run(async {
        let rig = Rig::new(2).await;
        send(&rig, 4).await;
        let messages = rig.client.pop_all(4, 700).await;
        assert_eq!(rig.client.ack(&messages[1]).await, 0);
        let rig = rig.restart().await;
        rig.wait_for_offset(TOPIC, 0, 2).await;
        rig.wait_for_offset(TOPIC, 1, 2).await;
        let again = rig.client.pop_all(3, LONG).await;
        assert!(again.iter().all(|message| message.reconsume_times == 1));
        assert!(!bodies(&again).contains(&*messages[1].body));
    });
}

#[test]
fn a_crash_loses_nothing_and_repeats_at_most_what_was_acknowledged_since() {
    run(async {
        let rig = Rig::new(2).await;
        send(&rig, 20).await;
        let messages = rig.client.pop_all(20, LONG).await;
        for message in messages.iter().take(10) {
            assert_eq!(rig.client.ack(message).await, 0);
        }
        let rig = rig.crash().await;
        // Nothing of offsets or pops was on the disk yet: all of it comes again.
        let again = rig.client.pop_all(20, LONG).await;
        assert_eq!(bodies(&again), bodies(&messages));
        for message in &again {
            assert_eq!(rig.client.ack(message).await, 0);
        }
        rig.wait_for_offset(TOPIC, 0, 10).await;
        rig.wait_for_offset(TOPIC, 1, 10).await;
    });
}

#[test]
fn an_ordered_group_goes_on_where_it_was() {
    run(async {
        let rig = Rig::new(1).await;
        for body in ["a", "b", "c"] {
            rig.client.send(0, body).await;
        }
        let one = |attempt| in_order(waiting(pop_of(1, LONG), 5000), attempt);
        let first = rig.client.pop(one("1")).await.messages.remove(0);
        assert_eq!(rig.client.ack(&first).await, 0);
        let second = rig.client.pop(one("2")).await.messages.remove(0);
        let rig = rig.restart().await;
        assert_eq!(rig.client.pop(in_order(pop_of(1, LONG), "3")).await.code, 210, "still blocked");
        assert_eq!(rig.client.ack(&second).await, 0);
        let third = rig.client.pop(one("3")).await;
        assert_eq!((second.body.as_str(), third.bodies()), ("b", vec!["c"]));
    });
}
