//! Limits of a topic by time and bytes, what of the log nobody wants, and the whole round: decide,
//! remove, trim, go on.

mod common;

use common::{Broker, body, config, record_len};
use gantry_storage::{
    ConsumeQueueView, MemDisk, PhysicalOffset, QueueId, QueueOffset, Space,
    retention::{
        DiskUse, Evidence, Removal, RetentionPolicy,
        topic::{TopicBytes, place_of, young_from},
        wanted::WantedFrom,
    },
};

const FILE: u64 = 2048;

fn views(broker: &mut Broker, topic: &str, queues: u32) -> Vec<(QueueId, ConsumeQueueView)> {
    (0..queues).map(|queue| (QueueId(queue), broker.view(topic, queue))).collect()
}

fn raised(topic: &mut TopicBytes, broker: &mut Broker, limit: u64) -> Vec<(u32, u64)> {
    let views = views(broker, "t", 2);
    let mut over = topic.over(&views, limit);
    over.retain(|(queue, min)| *min > views[queue.0 as usize].1.min_offset());
    for (queue, min) in &over {
        broker.queue("t", queue.0).raise_min(*min).unwrap();
    }
    over.into_iter().map(|(queue, min)| (queue.0, min.0)).collect()
}

#[test]
fn messages_are_old_by_their_store_time() {
    let mut broker = Broker::open(MemDisk::new());
    for time in [1_000_000, 1_000_500, 1_000_500, 1_001_000] {
        broker.now = time;
        broker.send("t", 0, b"x");
    }
    let view = broker.view("t", 0);
    let from = |now, limit| young_from(&view, broker.log(), now, limit).0;
    assert_eq!(from(1_001_000, 1001), 0);
    assert_eq!(from(1_001_000, 1000), 1, "exactly as old as that is too old");
    assert_eq!(from(1_001_000, 501), 1);
    assert_eq!(from(1_001_000, 500), 3);
    assert_eq!(from(1_001_000, 0), 4);
    assert_eq!(from(i64::MIN, i64::MAX), 0);
}

#[test]
fn the_oldest_of_all_queues_goes_first() {
    let mut broker = Broker::open(MemDisk::new());
    let each = record_len(8);
    for (number, queue) in [0, 1, 1, 0, 1, 0].into_iter().enumerate() {
        broker.send("t", queue, &body(number, 8));
    }
    let mut topic = TopicBytes::default();
    assert_eq!(raised(&mut topic, &mut broker, 6 * each), []);
    assert_eq!(raised(&mut topic, &mut broker, 6 * each - 1), [(0, 1)]);
    assert_eq!(raised(&mut topic, &mut broker, 4 * each), [(1, 1)]);
    assert_eq!(raised(&mut topic, &mut broker, 4 * each), []);
    broker.send("t", 1, &body(6, 8));
    broker.send("t", 1, &body(7, 8));
    assert_eq!(raised(&mut topic, &mut broker, 4 * each), [(0, 2), (1, 2)]);
    // One that knows nothing of what was before comes to the same.
    assert_eq!(raised(&mut TopicBytes::default(), &mut broker, 4 * each), []);
    assert_eq!(raised(&mut TopicBytes::default(), &mut broker, 3 * each), [(1, 3)]);
    assert_eq!(raised(&mut topic, &mut broker, 0), [(0, 3), (1, 5)], "even the last message");
    assert_eq!(raised(&mut topic, &mut broker, 0), []);
}

#[test]
fn a_queue_that_lost_its_beginning_is_counted_anew() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    let each = record_len(8);
    let mut topic = TopicBytes::default();
    while broker.log().max_offset().0 < 2 * FILE {
        broker.send("t", 0, &body(0, 8));
    }
    assert_eq!(raised(&mut topic, &mut broker, u64::MAX), []);
    broker.log().remove_before(&disk, PhysicalOffset(FILE)).unwrap();
    let min = broker.queue("t", 0).trim_before(PhysicalOffset(FILE)).unwrap().0;
    let left = broker.view("t", 0).max_offset().0 - min;
    assert_eq!(raised(&mut topic, &mut broker, left * each), []);
    assert_eq!(raised(&mut topic, &mut broker, left * each - 1), [(0, min + 1)]);
}

#[test]
fn places_to_keep() {
    let mut broker = Broker::open(MemDisk::new());
    let offsets: Vec<_> = (0..3).map(|number| broker.send("t", 0, &body(number, 8))).collect();
    let view = broker.view("t", 0);
    assert_eq!(place_of(&view, QueueOffset(1)), Some(offsets[1]));
    broker.queue("t", 0).raise_min(QueueOffset(2)).unwrap();
    assert_eq!(place_of(&view, QueueOffset(1)), Some(offsets[2]), "nothing before is there");
    assert_eq!(place_of(&view, QueueOffset(3)), None);
}

#[test]
fn what_is_wanted_is_searched_once() {
    let mut broker = Broker::open(MemDisk::new());
    while broker.log().max_offset().0 < 2 * FILE {
        broker.send("short", 0, &body(0, 50));
    }
    let kept = broker.send("long", 0, b"keep");
    broker.send("short", 0, b"x");
    let (end, mut looked_at) = (broker.log().max_offset(), 0);
    let mut wanted = WantedFrom::default();
    let is_long = |topic: &str| topic == "long";
    let limit = PhysicalOffset(FILE);
    let from = wanted.advance(broker.log(), limit, 1000, |entry| is_long(entry.topic));
    assert_eq!(from, limit, "not beyond the limit");
    let from = wanted.advance(broker.log(), end, 2, |entry| is_long(entry.topic));
    assert!(limit < from && from < kept, "two records only");
    for _ in 0..2 {
        looked_at = 0;
        let from = wanted.advance(broker.log(), end, 1000, |entry| {
            looked_at += 1;
            is_long(entry.topic)
        });
        assert_eq!(from, kept);
    }
    assert_eq!(looked_at, 1, "it goes on where it stopped");
    assert_eq!(wanted.advance(broker.log(), end, 1000, |_| false), end);
}

/// A whole round as the cleaner goes it, with a budget of three files.
#[test]
fn a_log_with_a_budget_stays_within_it_and_goes_on() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    let policy = RetentionPolicy {
        reserved_ms: i64::MAX,
        delete_hours: Vec::new(),
        max_used_percent: 75,
        forcible_percent: 85,
        warning_percent: 90,
        cleans_forcibly: true,
        batch_max: 10,
        log_bytes: Some(3 * FILE),
    };
    let room = Some(Space { total: 100, free: 100, available: 100 });
    let disks = [DiskUse { dir: config().log.dirs[0].clone(), space: room }];
    let mut sent = 0;
    for round in 1..=20 {
        for _ in 0..30 {
            broker.now += 1;
            broker.send("t", 0, &body(sent, 60));
            sent += 1;
        }
        let files = broker.log().files(&disk, policy.batch_max);
        let decision = policy.decide(&Evidence {
            now_ms: broker.now,
            local_hour: 0,
            ordered: false,
            files: &files,
            log_disks: &disks,
            queue_disk: &disks[0],
            refuses: false,
            keep_from: broker.reader.position(),
            wanted_from: PhysicalOffset(0),
            removed: 0,
        });
        assert!(decision.removals.iter().all(|removal| *removal == Removal::OverBudget));
        if let Some(last) = decision.removals.len().checked_sub(1) {
            broker.log().remove_before(&disk, files[last].end()).unwrap();
        }
        let log_min = broker.log().min_offset();
        let min = broker.queue("t", 0).trim_before(log_min).unwrap();
        assert!(broker.log().files(&disk, 0).len() <= 3);
        let bodies = broker.bodies("t", 0, min.0);
        assert_eq!(bodies.len() as u64, sent as u64 - min.0);
        assert!(
            bodies
                .iter()
                .zip(min.0..)
                .all(|(body, n)| body.starts_with(format!("{n}:").as_bytes()))
        );
        assert!(round < 3 || min > QueueOffset(0));
        if round % 5 == 0 {
            broker.stop();
            broker = Broker::open(disk.clone());
            assert_eq!(broker.view("t", 0).min_offset(), min);
        }
    }
}
