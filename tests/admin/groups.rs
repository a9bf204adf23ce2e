//! Groups: made, moved, copied, taken out.

use serde_json::json as value;

use crate::{
    admin,
    harness::{
        daemon::{Daemon, Home},
        traffic::create_topic,
    },
    json, queue, send,
};

#[tokio::test]
async fn groups_are_made_moved_copied_and_taken_out() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &["autoCreateSubscriptionGroup=false"]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    send(&client, "orders", &["a", "a", "a"]).await;
    let made = json(&daemon, &["updateSubGroup", "-g", "billing", "-r", "3"]);
    assert_eq!((&made["retryMaxTimes"], &made["retryQueueNums"]), (&value!(3), &value!(1)));
    json(&daemon, &["updateSubGroup", "-g", "audit"]);
    let goes_on = |words: &[&str]| json(&daemon, words)[0]["offset"].clone();
    let skip = ["skipAccumulatedMessage", "-g", "billing", "-t", "orders"];
    assert_eq!(goes_on(&skip), value!(3));
    let clone = ["cloneGroupOffset", "-s", "billing", "-d", "audit", "-t", "orders"];
    json(&daemon, &clone);
    assert_eq!(client.consumer_offset("audit", &queue("orders")).await.unwrap(), Some(3));
    let back = ["resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "-1h"];
    assert_eq!(goes_on(&back), value!(0));
    let progress = json(&daemon, &["consumerProgress", "-g", "billing"]);
    assert_eq!(progress["queues"][0]["behind"], value!(3));
    let nowhere = admin(&daemon, &["deleteSubGroup", "-g", "audit", "-r", "true"]);
    assert_eq!((nowhere.code, nowhere.err.contains("-c or -b")), (2, true), "{}", nowhere.err);
    json(&daemon, &["deleteSubGroup", "-g", "audit", "-b", &daemon.broker, "-r", "true"]);
    let gone = admin(&daemon, &["consumerProgress", "-g", "audit"]);
    assert_eq!((gone.code, gone.err.contains("audit")), (1, true), "{}", gone.err);
}

#[tokio::test]
async fn a_name_server_that_is_not_there_is_named() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let answer = admin(&daemon, &["diagnose", "-c", "elsewhere"]);
    assert_eq!((answer.code, answer.err.contains("cluster elsewhere")), (1, true));
    let namesrv = daemon.namesrv.clone();
    assert!(daemon.terminate().success());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gantry"));
    let output = command.args(["admin", "-n", &namesrv, "diagnose"]).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(&namesrv) && err.lines().count() == 1, "{err}");
}
