//! Traces, as clients send them.

use gantry_client::Message;
use serde_json::json as value;

use crate::{
    admin,
    harness::{
        daemon::{Daemon, Home},
        traffic::eventually,
    },
    json,
};

const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";

fn events(lines: &[&str]) -> String {
    lines.iter().map(|line| line.replace('|', "\u{1}") + "\u{2}").collect()
}

#[tokio::test]
async fn a_message_is_traced_from_its_producer_to_its_consumer() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &["traceTopicEnable=true"]);
    let client = daemon.client();
    eventually("the route", async || client.routes().refresh(TRACE).await.is_ok()).await;
    let producer = client.producer("_INNER_TRACE_PRODUCER");
    let told = [
        events(&["Pub|1700000000000|R|pg|orders|ID1|null||h:1|5|12|0|OFF|true"]),
        events(&[
            "SubAfter|r|ID1|7|true||0|1700000000200|cg",
            "SubAfter|r|ID2|7|false||1|1700000000200|cg",
        ]),
    ];
    for (body, keys) in told.iter().zip(["ID1", "ID1 ID2"]) {
        producer.send(&Message::new(TRACE, body.clone()).with_keys(keys)).await.unwrap();
    }
    let words = ["queryMsgTraceById", "-i", "ID1"];
    eventually("the keys", async || admin(&daemon, &words).out.lines().count() == 3).await;
    let found = json(&daemon, &words);
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!((&found[0]["kind"], &found[0]["group"]), (&value!("Pub"), &value!("pg")));
    assert_eq!((&found[1]["kind"], &found[1]["cost"]), (&value!("SubAfter"), &value!(7)));
    let late = admin(&daemon, &["queryMsgTraceById", "-i", "ID1", "-b", "now"]);
    assert_eq!(
        (late.code, late.err.contains("no trace of message ID1")),
        (1, true),
        "{}",
        late.err
    );
    let nowhere = admin(&daemon, &["queryMsgTraceById", "-i", "ID1", "-t", "elsewhere"]);
    assert_eq!((nowhere.code, nowhere.err.contains("elsewhere")), (1, true), "{}", nowhere.err);
}
