//! What the configuration says of pops.

use gantry_codec::{
    Command,
    body::{AssignmentBody, MessageRequestMode, QueryAssignmentBody, to_json},
    fastjson, request_code as rq, response_code as rs,
};
use serde_json::json;

use crate::rig::{GROUP, LONG, Rig, TOPIC, pop_of, run, wait, waiting};

#[test]
fn tries_go_to_topics_of_the_names_that_are_wanted() {
    run(async {
        for (settings, topic) in
            [(&[][..], "%RETRY%g_t"), (&["enableRetryTopicV2=true"][..], "%RETRY%g+t")]
        {
            let rig = Rig::with(settings, 1).await;
            rig.client.send(0, "a").await;
            rig.client.pop_all(1, 10).await;
            let topics = rig.broker.shared.topics.clone();
            wait(|| topics.get(topic).is_some()).await;
            let again = rig.client.pop_all(1, LONG).await;
            assert_eq!((&*again[0].body, again[0].reconsume_times), ("a", 1));
            assert_eq!(rig.client.ack(&again[0]).await, 0);
            rig.wait_for_offset(topic, 0, 1).await;
        }
    });
}

#[test]
fn no_more_wait_than_may() {
    run(async {
        let rig = Rig::with(&["popPollingSize=1"], 1).await;
        let first = rig.client.pop(waiting(pop_of(1, LONG), 60_000));
        let second = async {
            while rig.client.waiting_pops().await != "1" {}
            let full = rig.client.pop(waiting(pop_of(1, LONG), 60_000)).await;
            rig.client.send(0, "a").await;
            full.code
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first.bodies(), second), (vec!["a"], rs::POLLING_FULL));
    });
}

/// What the broker tells a member of the group: numbers of queues and how to get their messages.
async fn assignment(rig: &Rig, topic: &str) -> Vec<(i32, MessageRequestMode)> {
    let subscription = json!({"topic": TOPIC, "subString": "*", "subVersion": 1});
    let consumer = json!({"groupName": GROUP, "subscriptionDataSet": [subscription]});
    let body = json!({"clientID": "one", "consumerDataSet": [consumer]}).to_string();
    assert_eq!(rig.client.ask(Command::request(rq::HEART_BEAT).with_body(body)).await.code, 0);
    let asked = QueryAssignmentBody {
        client_id: "one".into(),
        consumer_group: GROUP.into(),
        strategy_name: "AVG".into(),
        topic: topic.into(),
        ..QueryAssignmentBody::default()
    };
    let answer = rig.client.ask(Command::request(rq::QUERY_ASSIGNMENT).with_body(to_json(&asked)));
    let assigned: AssignmentBody = fastjson::from_slice(&answer.await.body).unwrap();
    let assigned = assigned.message_queue_assignments.unwrap().into_iter();
    assigned.map(|one| (one.message_queue.queue_id, one.mode)).collect()
}

#[test]
fn groups_consume_as_configured_unless_they_are_told() {
    run(async {
        let (pull, pop) = (MessageRequestMode::Pull, MessageRequestMode::Pop);
        let rig = Rig::with(&["defaultMessageRequestMode=POP"], 2).await;
        assert_eq!(assignment(&rig, TOPIC).await, [(-1, pop)], "all share all queues");
        rig.client.create_topic("%RETRY%g", 1).await;
        assert_eq!(assignment(&rig, "%RETRY%g").await, [(0, pull)]);
        let settings = ["defaultMessageRequestMode=POP", "defaultPopShareQueueNum=1"];
        let rig = Rig::with(&settings, 2).await;
        assert_eq!(assignment(&rig, TOPIC).await, [(0, pop), (1, pop)]);
        assert_eq!(assignment(&Rig::new(2).await, TOPIC).await, [(0, pull), (1, pull)]);
    });
}
