//! Dead letters: listed, sent again once, forgotten for good.

use gantry_client::Client;
use gantry_codec::{Command, properties, request_code, requests::send::ConsumerSendMsgBackHeader};
use serde_json::{Value, json as value};

use crate::{
    admin,
    harness::{
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
    json, pull, send,
};

const TAGS: [&str; 4] = ["a", "b", "a", "b"];

/// Has the group give up all messages of a topic.
async fn bury(client: &Client, broker: &str, topic: &str) {
    for message in pull(client, topic, 0, TAGS.len()).await {
        let header = ConsumerSendMsgBackHeader {
            offset: message.physical_offset,
            group: "billing".into(),
            delay_level: -1,
            ..ConsumerSendMsgBackHeader::default()
        };
        let request = Command::request(request_code::CONSUMER_SEND_MSG_BACK).with_header(&header);
        client.remoting().call(broker, request).await.unwrap();
    }
}

/// A daemon where group `billing` has four dead letters from `orders`.
async fn start(home: &Home) -> (Daemon, Client) {
    let daemon = Daemon::start(home, &[]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    send(&client, "orders", &TAGS).await;
    bury(&client, &daemon.broker, "orders").await;
    eventually("the dead letters", async || list(&daemon, &[]).len() == TAGS.len()).await;
    (daemon, client)
}

fn list(daemon: &Daemon, flags: &[&str]) -> Vec<Value> {
    let words = [&["dlq", "list", "-g", "billing"], flags].concat();
    json(daemon, &words).as_array().unwrap().clone()
}

fn replay(daemon: &Daemon, flags: &[&str]) -> (u64, u64, i64) {
    let done = json(daemon, &[&["dlq", "replay", "-g", "billing"], flags].concat());
    let number = |name: &str| done[name].as_i64().unwrap();
    (number("sent") as u64, number("passedOver") as u64, number("doneBefore"))
}

#[tokio::test]
async fn letters_are_listed_with_where_they_came_from_and_filtered() {
    let home = Home::new();
    let (daemon, _client) = start(&home).await;
    let all = list(&daemon, &[]);
    assert_eq!(all[1]["topic"], value!("orders"));
    assert_eq!((&all[1]["keys"], &all[1]["retries"]), (&value!("k1"), &value!(1)));
    assert_eq!(list(&daemon, &["--key", "k2"]), all[2..3]);
    assert_eq!(list(&daemon, &["--contains", "body 3"]), all[3..]);
    assert_eq!(list(&daemon, &["--topic", "orders", "--since", "-1h"]), all);
    assert_eq!(list(&daemon, &["--topic", "others"]), [value!(null); 0]);
    assert_eq!(list(&daemon, &["--until", "-1h"]), [value!(null); 0]);
    let text = admin(&daemon, &["dlq", "list", "-g", "billing", "--limit", "3"]).out;
    assert!(text.lines().count() == 5 && text.ends_with("there are more: --limit\n"), "{text}");
}

#[tokio::test]
async fn letters_are_sent_again_once() {
    let home = Home::new();
    let (daemon, client) = start(&home).await;
    assert_eq!(replay(&daemon, &["--dry-run"]), (4, 0, 0));
    assert_eq!(pull(&client, "orders", 4, 0).await, [], "nothing was sent");
    assert_eq!(replay(&daemon, &["--key", "k2"]), (1, 3, 0));
    assert_eq!(replay(&daemon, &["--key", "k2"]), (0, 0, 4));
    let again = pull(&client, "orders", 4, 1).await.remove(0);
    assert_eq!((&again.body[..], again.reconsume_times), (&b"body 2"[..], 0));
    let kept = ["TAGS", "KEYS", "colour"].map(|name| again.property(name));
    assert_eq!(kept, [Some("a"), Some("k2"), Some("red")]);
    for name in [properties::RETRY_TOPIC, properties::ORIGIN_MESSAGE_ID, properties::DELAY] {
        assert_eq!(again.property(name), None);
    }
    assert_eq!(replay(&daemon, &["--rate", "500/s"]), (4, 0, 0), "others count for themselves");
    assert_eq!(replay(&daemon, &[]), (0, 0, 4));
    assert_eq!(pull(&client, "orders", 4, 5).await.len(), 5);
    assert_eq!(replay(&daemon, &["--from-start", "--to", "archive"]), (4, 0, 0));
    eventually("the letters elsewhere", async || {
        let mut found = 0;
        for mut queue in client.routes().refresh("archive").await.unwrap().subscribe.clone() {
            queue.topic = "archive".into();
            found += client.max_offset(&queue).await.unwrap();
        }
        found == 4
    })
    .await;
}

#[tokio::test]
async fn what_is_purged_is_gone_for_good() {
    let home = Home::new();
    let (daemon, client) = start(&home).await;
    let unconfirmed = admin(&daemon, &["dlq", "purge", "-g", "billing"]);
    assert_eq!(unconfirmed.code, 2);
    assert!(unconfirmed.err.contains("--yes"), "{}", unconfirmed.err);
    let early = json(&daemon, &["dlq", "purge", "-g", "billing", "--before", "-1h", "--yes"]);
    assert_eq!(early, value!({"purged": 0, "left": 4}));
    let all = json(&daemon, &["dlq", "purge", "-g", "billing", "--yes"]);
    assert_eq!(all, value!({"purged": 4, "left": 0}));
    assert_eq!(list(&daemon, &[]), [value!(null); 0]);
    assert_eq!(replay(&daemon, &[]), (0, 0, 0));
    drop(client);
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    let route = async || client.routes().refresh("%DLQ%billing").await.is_ok();
    eventually("the route", route).await;
    eventually("the queue that begins behind them", async || list(&daemon, &[]).is_empty()).await;
    bury(&client, &daemon.broker, "orders").await;
    assert_eq!(list(&daemon, &[]).len(), 4, "later ones are there");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    assert_eq!(list(&daemon, &[]), [value!(null); 0]);
    let purge = admin(&daemon, &["dlq", "purge", "-g", "billing", "--yes"]);
    assert_eq!((purge.code, purge.err.contains("%DLQ%billing")), (1, true), "{}", purge.err);
    let nobody = admin(&daemon, &["consumerConnection", "-g", "nobody"]);
    assert_eq!((nobody.code, nobody.err.contains("nobody")), (1, true), "{}", nobody.err);
    let time = admin(&daemon, &["dlq", "list", "-g", "g", "--since", "soon"]);
    assert_eq!((time.code, time.err.contains("soon")), (2, true), "{}", time.err);
}
