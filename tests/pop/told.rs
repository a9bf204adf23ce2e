//! What tools are told of groups that pop.

use gantry_codec::{
    Command,
    body::{GroupLag, QueueLag},
    fastjson, request_code as rq,
    requests::pull::PopMessageHeader,
};

use crate::rig::{GROUP, LONG, Rig, pop_of, run, wait, waiting};

async fn lag(rig: &Rig) -> QueueLag {
    let ask = Command::request(rq::GROUP_LAG).with_ext("consumerGroup", GROUP);
    let answer = rig.client.ask(ask.with_ext("topic", "t")).await;
    let lag: GroupLag = fastjson::from_slice(&answer.body).unwrap();
    lag.queues.into_iter().next().unwrap()
}

#[test]
fn a_pop_makes_its_filter_known_without_a_heartbeat() {
    run(async {
        let rig = Rig::new(1).await;
        for (body, tag) in [("a", "A"), ("b", "B"), ("c", "A")] {
            rig.client.send_tagged(0, body, tag).await;
        }
        let slot = rig.broker.shared.topics.get("t").unwrap().queue(0).unwrap().clone();
        wait(|| slot.range() == Ok((0, 3))).await;
        let pop = PopMessageHeader { exp: Some("A".into()), ..pop_of(1, LONG) };
        assert_eq!(rig.client.pop(pop).await.bodies(), ["a"]);
        let lag = lag(&rig).await;
        assert_eq!((lag.filter.as_deref(), lag.behind, lag.matching), (Some("A"), 3, Some(2)));
        assert!(lag.pulled_at.is_some(), "a pop counts as a pull");
    });
}

#[test]
fn messages_that_are_out_do_not_wait_for_anybody() {
    run(async {
        let rig = Rig::new(1).await;
        rig.client.send(0, "a").await;
        rig.client.pop(waiting(pop_of(1, LONG), 5000)).await;
        let group = rig.broker.shared.control.group(GROUP).unwrap();
        let last = group.slot().activities.get("t", 0).unwrap().last().unwrap();
        assert_eq!((last.offset, last.is_pop), (1, true));
        rig.wait_for_offset("t", 0, 0).await;
        assert_eq!(group.slot().activities.get("t", 0).unwrap().total(), 1);
    });
}
