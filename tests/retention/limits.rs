//! What goes: by age, by the log's budget, by the limits of a topic; what stays for a group.

use gantry_client::Message;
use gantry_codec::request_code as rq;
use gantry_storage::Disk;

use crate::{
    rig::{FILE, HOUR_MS, ROOT, with_broker},
    traffic::eventually,
};

#[test]
fn a_log_with_a_budget_stays_within_it() {
    with_broker(&["retentionBytes=32768"], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..100).await;
        rig.trimmed(&queue, |rig| rig.log_end() - rig.log_min() <= 4 * FILE).await;
        let min = rig.min_offset(&queue).await as usize;
        assert!(rig.log_end() - rig.log_min() > 2 * FILE, "no more than that");
        assert_eq!(rig.read(&queue).await, (min..100).collect::<Vec<_>>());
        // Four files, and the one that is made ahead.
        assert!(rig.files("commitlog") <= 5, "{}", rig.files("commitlog"));
        let index_files = async || rig.files("consumequeue/t/0") < 5;
        eventually("files of the queue to go", index_files).await;
        rig.restart().await;
        let queue = rig.queue("t").await;
        assert_eq!(rig.min_offset(&queue).await as usize, min);
        rig.send(&queue, 100..110).await;
        let read = rig.read(&queue).await;
        assert_eq!(read.last(), Some(&109));
        assert!(read.windows(2).all(|pair| pair[1] == pair[0] + 1));
    });
}

#[test]
fn old_files_go_in_their_hour_and_a_closed_queue_follows() {
    with_broker(&["fileReservedTime=4", "deleteWhen=04"], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..20).await;
        rig.restart().await;
        rig.clock.advance(3 * HOUR_MS);
        let busy = rig.topic("busy", "").await;
        rig.send(&busy, 0..20).await;
        let queue = rig.queue("t").await;
        assert_eq!(rig.min_offset(&queue).await, 0, "01:13 is not the hour");
        rig.clock.advance(3 * HOUR_MS);
        eventually("the old files to go", async || rig.log_min() == 2 * FILE).await;
        eventually("the queue to follow", async || rig.slot(&queue).range().unwrap().0 > 10).await;
        assert!(rig.slot(&queue).started_actor().is_none(), "nobody has opened it");
        assert_eq!(rig.min_offset(&queue).await as u64, rig.slot(&queue).range().unwrap().0);
        let (min, end) = rig.slot(&queue).range().unwrap();
        assert_eq!(rig.read(&queue).await, (min as usize..20).collect::<Vec<_>>());
        assert_eq!((end, rig.slot(&queue).started_actor().is_some()), (20, true));
    });
}

#[test]
fn an_order_removes_old_files_whatever_the_hour() {
    with_broker(&["fileReservedTime=1"], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..20).await;
        rig.clock.advance(2 * HOUR_MS);
        rig.send(&queue, 20..40).await;
        assert_eq!(rig.log_min(), 0);
        rig.checkpointed().await;
        rig.order(rq::DELETE_EXPIRED_COMMITLOG).await;
        rig.trimmed(&queue, |rig| rig.log_min() == 2 * FILE).await;
        rig.order(rq::CLEAN_EXPIRED_CONSUMEQUEUE).await;
        let min = rig.min_offset(&queue).await as usize;
        assert!(0 < min && min <= 20, "the young ones stay");
        assert_eq!(rig.read(&queue).await, (min..40).collect::<Vec<_>>());
    });
}

#[test]
fn messages_over_their_topics_age_are_not_delivered_and_make_room() {
    with_broker(&[], async |rig| {
        let short = rig.topic("short", "+retention.ms=60000").await;
        rig.send(&short, 0..30).await;
        assert_eq!(rig.read(&short).await.len(), 30);
        rig.clock.advance(60_001);
        let long = rig.topic("long", "").await;
        rig.send(&long, 0..5).await;
        rig.send(&short, 30..32).await;
        eventually("the minimum to rise", async || rig.min_offset(&short).await == 30).await;
        assert_eq!(rig.read(&short).await, [30, 31]);
        assert_eq!(rig.read(&long).await, [0, 1, 2, 3, 4]);
        // The files that held nothing else go long before the log's own age.
        eventually("files to go", async || rig.log_min() >= 3 * FILE).await;
        assert_eq!(rig.read(&long).await, [0, 1, 2, 3, 4]);
        rig.restart().await;
        let short = rig.queue("short").await;
        eventually("the limit to hold again", async || rig.min_offset(&short).await == 30).await;
    });
}

#[test]
fn a_topic_holds_no_more_bytes_than_it_may() {
    with_broker(&[], async |rig| {
        let queue = rig.topic("t", "+retention.bytes=5000").await;
        rig.send(&queue, 0..12).await;
        let is_within = async || rig.slot(&queue).range() == Ok((8, 12));
        eventually("the minimum to rise", is_within).await;
        let read = rig.read(&queue).await;
        rig.change_topic("t", "-retention.bytes").await.unwrap();
        rig.send(&queue, 12..20).await;
        assert_eq!(rig.read(&queue).await.len(), read.len() + 8);
        let refused = rig.change_topic("t", "+retention.bytes=lots").await.unwrap_err();
        assert!(refused.to_string().contains("retention.bytes: must be a number"), "{refused}");
    });
}

#[test]
fn nothing_goes_that_a_group_has_not_consumed() {
    with_broker(&["retentionBytes=16384", "neverDeleteUnconsumed=true"], async |rig| {
        let queue = rig.topic("t", "").await;
        // Makes the group known.
        rig.read(&queue).await;
        rig.client.commit_offset("readers", &queue, 0).await.unwrap();
        rig.send(&queue, 0..60).await;
        for _ in 0..5 {
            rig.order(rq::DELETE_EXPIRED_COMMITLOG).await;
        }
        assert_eq!(rig.log_min(), 0);
        rig.client.commit_offset("readers", &queue, 33).await.unwrap();
        eventually("consumed files to go", async || rig.min_offset(&queue).await > 20).await;
        for _ in 0..5 {
            rig.order(rq::DELETE_EXPIRED_COMMITLOG).await;
        }
        let min = rig.min_offset(&queue).await;
        assert!((21..=33).contains(&min), "{min}");
        rig.client.commit_offset("readers", &queue, 60).await.unwrap();
        eventually("the rest to go", async || rig.log_end() - rig.log_min() <= 2 * FILE).await;
    });
}

#[test]
fn nothing_goes_that_is_not_due() {
    with_broker(&["retentionBytes=16384", "neverDeleteUnconsumed=true"], async |rig| {
        let queue = rig.topic("t", "").await;
        let delayed = Message::new("t", "later").with_delay_level(18);
        rig.client.producer("senders").send_to(&queue, &delayed).await.unwrap();
        rig.send(&queue, 0..40).await;
        for _ in 0..5 {
            rig.order(rq::DELETE_EXPIRED_COMMITLOG).await;
        }
        assert_eq!(rig.log_min(), 0);
        rig.clock.advance(3 * HOUR_MS);
        eventually("files to go", async || rig.log_end() - rig.log_min() <= 2 * FILE).await;
    });
}

#[test]
fn a_topic_keeps_what_is_not_consumed_against_its_own_limit() {
    with_broker(&[], async |rig| {
        let attributes = "+retention.ms=1000,+retention.unconsumed=keep";
        let queue = rig.topic("t", attributes).await;
        rig.read(&queue).await;
        rig.send(&queue, 0..6).await;
        rig.client.commit_offset("readers", &queue, 2).await.unwrap();
        rig.clock.advance(2000);
        eventually("what is consumed to go", async || rig.min_offset(&queue).await == 2).await;
        rig.client.commit_offset("readers", &queue, 6).await.unwrap();
        eventually("the rest to go", async || rig.min_offset(&queue).await == 6).await;
    });
}

/// A loss of power may take entries whose records an earlier removal has taken from the log.
#[test]
fn a_queue_that_lacks_what_the_log_lacks_too_begins_anew() {
    with_broker(&[], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..30).await;
        rig.restart_after(|disk| {
            let path = |name: &str| std::path::PathBuf::from(format!("{ROOT}/{name}"));
            for start in [0, FILE] {
                disk.remove(&path(&format!("commitlog/{start:020}"))).unwrap();
            }
            for start in [200, 400] {
                disk.remove(&path(&format!("consumequeue/t/0/{start:020}"))).unwrap();
            }
            let first = path(&format!("consumequeue/t/0/{:020}", 0));
            disk.overwrite(&first, 100, &[0; 100]).unwrap();
            disk.remove(&path("checkpoint")).unwrap();
            disk.write_atomic(&path("abort"), b"1").unwrap();
        })
        .await;
        let queue = rig.queue("t").await;
        rig.trimmed(&queue, |rig| rig.log_min() == 2 * FILE).await;
        let min = rig.min_offset(&queue).await as usize;
        assert!(min > 10);
        rig.send(&queue, 30..32).await;
        assert_eq!(rig.read(&queue).await, (min..32).collect::<Vec<_>>());
    });
}

#[test]
fn queues_of_topics_that_do_not_exist_can_be_removed() {
    with_broker(&[], async |rig| {
        let queue = rig.topic("t", "").await;
        rig.send(&queue, 0..1).await;
        let unused = "/home/store/consumequeue/unused/0/00000000000000000000";
        rig.disk.write_atomic(unused.as_ref(), &[0; 200]).unwrap();
        eventually("the index", async || rig.files("consumequeue/t/0") == 1).await;
        rig.order(rq::CLEAN_UNUSED_TOPIC).await;
        assert_eq!((rig.files("consumequeue/unused"), rig.files("consumequeue/t")), (0, 1));
    });
}
