//! Groups whose members all get everything, each at its own pace.

use gantry_client::{PushConfig, PushStartError, Verdict};

use crate::{Inbox, Stage, config, harness::traffic::eventually, names, numbers};

#[tokio::test]
async fn every_member_gets_everything_and_goes_on_where_it_was() {
    let stage = Stage::new(2).await;
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str| PushConfig {
        broadcast: Some(dir.path().join(name).join("offsets.json")),
        ..config(false)
    };
    let (one, two) = (Inbox::default(), Inbox::default());
    let first = stage.join(of("one"), one.handler()).await;
    // What a handler wants again is dropped: it would come to any member.
    let second = stage.join(of("two"), two.handler_that(|_| Verdict::Again)).await;
    eventually("all queues for both", async || {
        numbers(&first) == [0, 1] && numbers(&second) == [0, 1]
    })
    .await;
    stage.send(names(0..20)).await;
    assert_eq!(one.sorted(20).await, names(0..20));
    assert_eq!(two.sorted(20).await, names(0..20));
    first.stop().await;
    second.stop().await;

    stage.send(names(20..30)).await;
    let again = Inbox::default();
    let first = stage.join(of("one"), again.handler()).await;
    assert_eq!(again.sorted(10).await, names(20..30), "what came while it was away");
    first.stop().await;
    let offset = async |queue| stage.client.consumer_offset("g", queue).await.unwrap();
    for queue in &stage.client.routes().get("t").await.unwrap().publish {
        assert!(offset(queue).await.unwrap_or(0) == 0, "the broker knows nothing of it");
    }
}

#[tokio::test]
async fn in_order_without_locks() {
    let stage = Stage::new(1).await;
    let dir = tempfile::tempdir().unwrap();
    let file = Some(dir.path().join("offsets.json"));
    let inbox = Inbox::default();
    let consumer =
        stage.join(PushConfig { broadcast: file, ..config(true) }, inbox.handler()).await;
    stage.send(names(0..20)).await;
    inbox.sorted(20).await;
    assert_eq!(inbox.bodies(), names(0..20));
    consumer.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_and_stays() {
    let stage = Stage::new(1).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("offsets.json");
    std::fs::write(&file, "no table").unwrap();
    let client = gantry_client::ClientConfig::with_namesrv(&stage.daemon.namesrv);
    let config = PushConfig { broadcast: Some(file.clone()), ..config(false) };
    let started =
        gantry_client::PushConsumer::start(client, config, Inbox::default().handler()).await;
    assert!(matches!(started, Err(PushStartError::Offsets { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"no table");
}
