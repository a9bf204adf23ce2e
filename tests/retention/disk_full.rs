//! A disk that is too full: messages are refused with the figures, reading goes on, and so does
//! writing as soon as there is room.

use gantry_client::{CallError, SendError};
use gantry_codec::{request_code as rq, response_code as rs};

use crate::{
    rig::{FILE, Rig, with_broker},
    traffic::eventually,
};

/// What a send was refused with, if it was.
async fn refusal(rig: &Rig, queue: &gantry_client::MessageQueue, number: usize) -> Option<String> {
    match rig.try_send(queue, number).await {
        Ok(()) => None,
        Err(SendError::Call(CallError::Refused { code, remark, .. })) => {
            assert_eq!(code, rs::SERVICE_NOT_AVAILABLE);
            Some(remark)
        }
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_full_disk_refuses_and_writing_resumes() {
    with_broker(&["cleanFileForciblyEnable=false"], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..20).await;
        rig.fill(91);
        let mut sent = 20;
        let mut remark = None;
        eventually("a refusal", async || {
            remark = refusal(rig, &queue, sent).await;
            sent += usize::from(remark.is_none());
            remark.is_some()
        })
        .await;
        let remark = remark.unwrap();
        for part in ["commit log", "/home/store/commitlog", "91% used", "9437184 of 104857600"] {
            assert!(remark.contains(part), "{part} in {remark}");
        }
        assert!(!remark.contains("consume queues"), "one cause: {remark}");
        assert_eq!(rig.read(&queue).await, (0..sent).collect::<Vec<_>>());
        // Not before there is room to spare.
        rig.fill(86);
        let told = async || refusal(rig, &queue, 0).await.unwrap().contains("86% used");
        eventually("the new figure", told).await;
        rig.fill(85);
        eventually("writing to go on", async || refusal(rig, &queue, sent).await.is_none()).await;
        rig.send(&queue, sent + 1..sent + 5).await;
        assert_eq!(rig.read(&queue).await, (0..sent + 5).collect::<Vec<_>>());
        assert_eq!(rig.log_min(), 0, "nothing was old");
    });
}

#[test]
fn a_broker_that_is_refused_room_stops_in_order() {
    with_broker(&["cleanFileForciblyEnable=false"], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..20).await;
        rig.fill(95);
        eventually("a refusal", async || refusal(rig, &queue, 0).await.is_some()).await;
        let before = rig.read(&queue).await;
        rig.restart().await;
        let queue = rig.queue("t").await;
        assert!(rig.log_min() == 0);
        eventually("the refusal again", async || refusal(rig, &queue, 0).await.is_some()).await;
        assert!(rig.read(&queue).await.starts_with(&before));
    });
}

#[test]
fn a_disk_over_the_forcible_ratio_is_cleaned_down_to_the_last_file() {
    with_broker(&["deleteFileBatchMax=2"], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..60).await;
        rig.fill(86);
        eventually("files to go", async || rig.log_end() - rig.log_min() <= FILE).await;
        rig.send(&queue, 60..61).await;
        assert_eq!(rig.read(&queue).await.last(), Some(&60));
        rig.fill(10);
    });
}

#[test]
fn what_is_not_consumed_is_kept_and_the_refusal_says_for_whom() {
    with_broker(&["neverDeleteUnconsumed=true"], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.read(&queue).await;
        rig.send(&queue, 0..30).await;
        rig.client.commit_offset("readers", &queue, 3).await.unwrap();
        rig.fill(95);
        let needed = "group readers has not consumed topic t queue 0 from offset 3 on";
        let told = async || refusal(rig, &queue, 0).await.is_some_and(|why| why.contains(needed));
        eventually("the reason", told).await;
        for _ in 0..3 {
            rig.order(rq::DELETE_EXPIRED_COMMITLOG).await;
        }
        assert_eq!(rig.log_min(), 0);
        rig.client.commit_offset("readers", &queue, 1000).await.unwrap();
        eventually("files to go", async || rig.log_end() - rig.log_min() <= FILE).await;
        rig.fill(50);
        eventually("writing to go on", async || refusal(rig, &queue, 0).await.is_none()).await;
    });
}
