//! Requests that are refused, with Java's codes and words.

use gantry_codec::{
    Command,
    body::{MessageRequestMode, RequestModeBody},
    request_code as rq,
    requests::pull::PopMessageHeader,
};

use crate::rig::{GROUP, LONG, Rig, TOPIC, pop_of, run};

#[test]
fn pops_that_cannot_be() {
    run(async {
        let rig = Rig::new(2).await;
        let topic = |topic: &str| PopMessageHeader { topic: topic.into(), ..pop_of(1, LONG) };
        let rows: [(PopMessageHeader, i32, &str); 7] = [
            (topic("unknown"), 17, "topic[unknown] not exist, apply first please!"),
            (pop_of(33, LONG), 29, "the broker[127.0.0.1] pop message's num is greater than 32"),
            (
                PopMessageHeader { queue_id: 2, ..pop_of(1, LONG) },
                29,
                "queueId[2] is illegal, topic:[t] topicConfig.readQueueNums:[2]",
            ),
            (
                PopMessageHeader { born_time: 1, poll_time: 5, ..pop_of(1, LONG) },
                210,
                "the broker[127.0.0.1] pop message is timeout too much",
            ),
            (
                PopMessageHeader { exp: Some(" || ".into()), ..pop_of(1, LONG) },
                23,
                "parse the consumer's subscription failed",
            ),
            (
                PopMessageHeader {
                    exp: Some("a >".into()),
                    exp_type: Some("SQL92".into()),
                    ..pop_of(1, LONG)
                },
                23,
                "parse the consumer's subscription failed",
            ),
            (PopMessageHeader { consumer_group: "no good".into(), ..pop_of(1, LONG) }, 26, ""),
        ];
        for (header, code, remark) in rows {
            let answer =
                rig.client.ask(Command::request(rq::POP_MESSAGE).with_header(&header)).await;
            let said = answer.remark.unwrap_or_default();
            assert_eq!(answer.code, code, "{header:?}: {said}");
            assert!(said.starts_with(remark), "{said}");
        }
        let missing = Command::request(rq::POP_MESSAGE).with_ext("topic", TOPIC);
        let answer = rig.client.ask(missing).await;
        assert_eq!(answer.code, 1);
        assert_eq!(answer.remark.as_deref(), Some("the header field consumerGroup is missing"));
    });
}

#[test]
fn a_group_that_may_not_consume_pops_nothing() {
    run(async {
        let rig = Rig::new(1).await;
        let disabled = br#"{"groupName":"g","consumeEnable":false}"#;
        let cmd = Command::request(rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
        assert_eq!(rig.client.ask(cmd.with_body(&disabled[..])).await.code, 0);
        let pop = Command::request(rq::POP_MESSAGE).with_header(&pop_of(1, LONG));
        let answer = rig.client.ask(pop).await;
        assert_eq!(
            (answer.code, answer.remark.as_deref()),
            (16, Some("subscription group no permission, g"))
        );
    });
}

fn about(code: i32, topic: &str, queue_id: i32, offset: i64, extra_info: &str) -> Command {
    Command::request(code)
        .with_ext("consumerGroup", GROUP)
        .with_ext("topic", topic)
        .with_ext("queueId", queue_id)
        .with_ext("offset", offset)
        .with_ext("extraInfo", extra_info)
        .with_ext("invisibleTime", 1000)
}

#[test]
fn acknowledgements_that_cannot_be() {
    run(async {
        let rig = Rig::new(1).await;
        rig.client.send(0, "a").await;
        let message = rig.client.pop_all(1, LONG).await.remove(0);
        let good = message.extra_info.as_str();
        for code in [rq::ACK_MESSAGE, rq::CHANGE_MESSAGE_INVISIBLETIME] {
            let is_ack = code == rq::ACK_MESSAGE;
            for (topic, queue, offset, info, expected) in [
                ("unknown", 0, 0, good, 17),
                (TOPIC, 1, 0, good, 13),
                (TOPIC, -1, 0, good, 13),
                (TOPIC, 0, -1, good, 208),
                (TOPIC, 0, 2, good, 208),
                (TOPIC, 0, 1, good, if is_ack { 0 } else { 208 }),
                (TOPIC, 0, 0, "x y", 1),
                (TOPIC, 0, 0, "1 2", 1),
            ] {
                let answer = rig.client.ask(about(code, topic, queue, offset, info)).await;
                assert_eq!(answer.code, expected, "{code} {topic} {queue} {offset} {info}");
            }
        }
        let empty = Command::request(rq::BATCH_ACK_MESSAGE);
        assert_eq!(rig.client.ask(empty.clone()).await.code, 208);
        assert_eq!(rig.client.ask(empty.clone().with_body(&b"{\"acks\":[]}"[..])).await.code, 208);
        assert_eq!(rig.client.ask(empty.with_body(&b"{"[..])).await.code, 1);
    });
}

#[test]
fn an_ordered_acknowledgement_of_what_is_not_out_is_refused() {
    run(async {
        let rig = Rig::new(1).await;
        for body in ["a", "b"] {
            rig.client.send(0, body).await;
        }
        let pop = crate::rig::in_order(crate::rig::waiting(pop_of(1, LONG), 5000), "1");
        let message = rig.client.pop(pop).await.messages.remove(0);
        let answer = rig.client.ask(about(rq::ACK_MESSAGE, TOPIC, 0, 1, &message.extra_info)).await;
        assert_eq!(answer.code, 13);
        assert!(answer.remark.unwrap().starts_with("offset is illegal, key:t@0, old:0, commit:1"));
    });
}

#[test]
fn modes_that_cannot_be_set() {
    run(async {
        let rig = Rig::new(2).await;
        let mode = |topic: &str, group: &str| RequestModeBody {
            topic: topic.into(),
            consumer_group: group.into(),
            mode: MessageRequestMode::Pop,
            pop_share_queue_num: 0,
        };
        let answer = rig.client.set_mode(&mode("%RETRY%g", GROUP)).await;
        assert_eq!(answer.code, 16);
        assert_eq!(answer.remark.as_deref(), Some("retry topic is not allowed to set mode"));
        assert_eq!(rig.client.set_mode(&mode("unknown", GROUP)).await.code, 17);
        assert_eq!(rig.client.set_mode(&mode(TOPIC, "no good")).await.code, 26);
        assert_eq!(rig.client.set_mode(&mode(TOPIC, GROUP)).await.code, 0);
        let all = rig.client.ask(Command::request(rq::GET_ALL_MESSAGE_REQUEST_MODE)).await;
        let all = String::from_utf8_lossy(&all.body).into_owned();
        assert!(all.starts_with(r#"{"messageRequestModeMap":{"t":{"g":"#), "{all}");
        let rig = rig.restart().await;
        let kept = rig.broker.shared.pops.modes().get(TOPIC, GROUP);
        assert_eq!(kept, Some(mode(TOPIC, GROUP)));
    });
}

#[test]
fn other_requests_about_pops_are_checked_likewise() {
    run(async {
        let rig = Rig::new(1).await;
        let request = |code: i32, topic: &str, queue_id: i32| {
            Command::request(code)
                .with_ext("consumerGroup", GROUP)
                .with_ext("topic", topic)
                .with_ext("queueId", queue_id)
                .with_ext("maxMsgNums", 1)
                .with_ext("pollTime", 0)
                .with_ext("bornTime", 0)
        };
        for (code, bad_queue) in
            [(rq::PEEK_MESSAGE, 29), (rq::NOTIFICATION, 1), (rq::POLLING_INFO, 29)]
        {
            assert_eq!(rig.client.ask(request(code, "unknown", 0)).await.code, 17);
            assert_eq!(rig.client.ask(request(code, TOPIC, 1)).await.code, bad_queue);
        }
    });
}
