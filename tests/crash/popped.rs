//! A daemon that is killed in the middle of pops: every message is acknowledged in the end, and none
//! comes more often than once in each life of the daemon and once more when its time is over.

use std::collections::HashMap;

use gantry_client::{Client, Message, WallClock};
use gantry_codec::{
    Command, Header, Record,
    pop::ExtraInfo,
    properties as names,
    record::record_len,
    request_code as rq,
    requests::pull::{AckMessageHeader, PopMessageHeader, PopMessageResponse},
};

use crate::harness::{
    daemon::{Daemon, Home},
    traffic::{create_topic, eventually},
};

const TOPIC: &str = "popped";
const GROUP: &str = "poppers";
const MESSAGES: usize = 300;
/// What is out when the daemon is killed, and was noted before, comes back after this.
const HIDDEN_MS: i64 = 3000;
const LIVES: usize = 3;

#[tokio::test]
async fn no_popped_message_is_lost_when_the_daemon_is_killed() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, TOPIC, 4).await;
    let producer = client.producer("senders");
    for number in 0..MESSAGES {
        producer.send(&Message::new(TOPIC, number.to_string())).await.unwrap();
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut acked: HashMap<String, usize> = HashMap::new();
    // Each life takes a part and is killed with some of it out.
    take(&client, &daemon.broker, MESSAGES / 3, &mut seen, &mut acked).await;
    daemon.kill();
    let daemon = Daemon::start(&home, &[]);
    take(&daemon.client(), &daemon.broker, MESSAGES / 3, &mut seen, &mut acked).await;
    daemon.kill();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    eventually("all are acknowledged", async || {
        take(&client, &daemon.broker, 1, &mut seen, &mut acked).await;
        let answer = pop(&client, &daemon.broker).await;
        acknowledge_all(&client, &daemon.broker, &answer, &mut seen, &mut acked).await;
        acked.len() == MESSAGES
    })
    .await;
    let most = seen.values().copied().max().unwrap();
    assert!(most <= LIVES + 1, "a message came {most} times");
}

/// Pops until so many have come, and acknowledges every other one.
async fn take(
    client: &Client,
    broker: &str,
    count: usize,
    seen: &mut HashMap<String, usize>,
    acked: &mut HashMap<String, usize>,
) {
    let mut taken = 0;
    for _ in 0..100 {
        let answer = pop(client, broker).await;
        for (place, (body, ack)) in messages(&answer).into_iter().enumerate() {
            taken += 1;
            *seen.entry(body.clone()).or_default() += 1;
            if place % 2 == 0 || count == 1 {
                acknowledge(client, broker, &ack).await;
                *acked.entry(body).or_default() += 1;
            }
        }
        if taken >= count || answer.body.is_empty() {
            return;
        }
    }
}

async fn acknowledge_all(
    client: &Client,
    broker: &str,
    answer: &Command,
    seen: &mut HashMap<String, usize>,
    acked: &mut HashMap<String, usize>,
) {
    for (body, ack) in messages(answer) {
        *seen.entry(body.clone()).or_default() += 1;
        acknowledge(client, broker, &ack).await;
        *acked.entry(body).or_default() += 1;
    }
}

/// A pop, whose answer may be that there is nothing now.
async fn pop(client: &Client, broker: &str) -> Command {
    let header = PopMessageHeader {
        consumer_group: GROUP.into(),
        topic: TOPIC.into(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: HIDDEN_MS,
        poll_time: 0,
        born_time: WallClock::System.now_ms(),
        ..PopMessageHeader::default()
    };
    let request = Command::request(rq::POP_MESSAGE).with_header(&header);
    let answer = client.remoting().call(broker, request).await;
    answer.unwrap_or_else(|_| Command::request(rq::POP_MESSAGE))
}

async fn acknowledge(client: &Client, broker: &str, header: &AckMessageHeader) {
    let request = Command::request(rq::ACK_MESSAGE).with_header(header);
    client.remoting().call(broker, request).await.unwrap();
}

/// The bodies, each with its acknowledgement.
fn messages(answer: &Command) -> Vec<(String, AckMessageHeader)> {
    let header = PopMessageResponse::decode(&answer.ext).unwrap_or_default();
    let mut rest = &answer.body[..];
    let mut messages = Vec::new();
    while let Some((len, _)) = record_len(rest) {
        let record = Record::decode(rest).unwrap();
        let pop = ExtraInfo {
            start_offset: record.queue_offset,
            pop_time: header.pop_time,
            invisible_time: header.invisible_time,
            revive_qid: header.revive_qid,
            broker_name: "broker-a",
            queue_id: record.queue_id,
            offset: Some(record.queue_offset),
            ..ExtraInfo::default()
        };
        // A retried message has it on board.
        let extra_info = names::get(record.properties, names::POP_CK)
            .map_or_else(|| pop.to_string(), str::to_owned);
        let mark = ExtraInfo::parse(&extra_info).unwrap().mark;
        let ack = AckMessageHeader {
            consumer_group: GROUP.into(),
            topic: mark.real_topic(record.topic, GROUP),
            queue_id: record.queue_id,
            extra_info,
            offset: record.queue_offset,
        };
        messages.push((String::from_utf8_lossy(record.body).into_owned(), ack));
        rest = &rest[len..];
    }
    messages
}
