//! Queues that lost files: found by what the last life wrote down, and built again from the log.

mod common;

use std::{path::PathBuf, sync::Arc, time::Duration};

use common::{Broker, body, config};
use gantry_storage::{
    DelayLevels, Disk, MemDisk, PhysicalOffset, QueueId, QueueName, QueueOffset, Store, StoreConfig,
};

/// Log files of some ten messages; three queues of topics `a` and `b`, 120 messages in each.
fn filled() -> MemDisk {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..120 {
        for (topic, queue) in QUEUES {
            broker.append(topic, queue, &body(number, 50), "TagA");
        }
        broker.publish();
        broker.dispatch();
    }
    broker.stop();
    disk
}

const QUEUES: [(&str, u32); 3] = [("a", 0), ("a", 1), ("b", 0)];

fn dir(topic: &str, queue: u32) -> PathBuf {
    config().queues.queue_dir(topic, QueueId(queue))
}

fn name(topic: &str, queue: u32) -> QueueName {
    QueueName { topic: topic.into(), queue: QueueId(queue) }
}

fn content(disk: &MemDisk, topic: &str, queue: u32) -> Vec<(String, Vec<u8>)> {
    let files = disk.list(&dir(topic, queue)).unwrap();
    let read = |(file, _): (String, _)| {
        let bytes = disk.read(&dir(topic, queue).join(&file)).unwrap().unwrap();
        (file, bytes)
    };
    files.into_iter().map(read).collect()
}

fn check(broker: &mut Broker) {
    let bodies: Vec<_> = (0..120).map(|number| body(number, 50)).collect();
    for (topic, queue) in QUEUES {
        assert_eq!(broker.range(topic, queue), (0, 120), "{topic}/{queue}");
        assert_eq!(broker.bodies(topic, queue, 0), bodies, "{topic}/{queue}");
    }
}

#[test]
fn lost_folders_and_files_are_written_as_they_were() {
    let a1 = || dir("a", 1);
    let file = |entries: u64| dir("a", 1).join(format!("{:020}", entries * 20));
    type Loss<'a> = Box<dyn Fn(&MemDisk) -> std::io::Result<()> + 'a>;
    let all = vec![name("a", 0), name("a", 1), name("b", 0)];
    let losses: [(&str, Loss<'_>, Vec<QueueName>); 6] = [
        ("nothing", Box::new(|_| Ok(())), vec![]),
        ("all queues", Box::new(|disk| disk.remove_dir(&config().queues.dir)), all),
        ("one queue", Box::new(move |disk| disk.remove_dir(&a1())), vec![name("a", 1)]),
        ("the last file", Box::new(|disk| disk.remove(&file(100))), vec![name("a", 1)]),
        ("a file in between", Box::new(|disk| disk.remove(&file(50))), vec![name("a", 1)]),
        ("the first file", Box::new(|disk| disk.remove(&file(0))), vec![name("a", 1)]),
    ];
    for (what, lose, lost) in losses {
        let disk = filled();
        let before: Vec<_> = QUEUES.map(|(topic, queue)| content(&disk, topic, queue)).into();
        lose(&disk).unwrap();
        let store = Store::open(config(), Arc::new(disk.clone())).unwrap();
        assert_eq!(store.verify_queues(|_| true).unwrap(), lost, "{what}");
        drop(store);
        let after: Vec<_> = QUEUES.map(|(topic, queue)| content(&disk, topic, queue)).into();
        assert!(after == before, "{what}");
        check(&mut Broker::open(disk));
    }
}

#[test]
fn nobody_need_ask_for_it_at_start() {
    let disk = filled();
    disk.remove_dir(&dir("a", 1)).unwrap();
    let store = Store::open(config(), Arc::new(disk.clone())).unwrap();
    assert_eq!(disk.list(&dir("a", 1)).unwrap(), [], "a queue costs something when it is used");
    let range = store.queue_range("a", QueueId(1)).unwrap();
    assert_eq!(range, (QueueOffset(0), QueueOffset(120)));
    drop(store);
    check(&mut Broker::open(disk));
}

#[test]
fn queues_of_deleted_topics_stay_gone() {
    let disk = filled();
    disk.remove_dir(&config().queues.dir.join("a")).unwrap();
    let store = Store::open(config(), Arc::new(disk)).unwrap();
    assert_eq!(store.verify_queues(|topic| topic == "b").unwrap(), []);
    store.forget_queues("a");
    assert_eq!(store.queue_count("a"), 0);
    let range = store.queue_range("a", QueueId(1)).unwrap();
    assert_eq!(range, (QueueOffset(0), QueueOffset(0)), "a new topic of that name begins anew");
}

#[test]
fn a_queue_that_the_log_has_nothing_of_goes_on_at_its_old_end() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..60 {
        broker.send("old", 0, &body(number, 30));
    }
    for number in 0..60 {
        broker.send("new", 0, &body(number, 30));
    }
    broker.stop();
    for file in disk.list(&config().log.dirs[0]).unwrap().iter().take(5) {
        disk.remove(&config().log.dirs[0].join(&file.0)).unwrap();
    }
    disk.remove_dir(&config().queues.dir.join("old")).unwrap();
    let mut broker = Broker::open(disk.clone());
    assert_eq!(broker.range("old", 0), (60, 60));
    broker.send("old", 0, &body(60, 30));
    assert_eq!(broker.bodies("old", 0, 60), [body(60, 30)]);
    broker.stop();
    assert_eq!(Broker::open(disk).range("old", 0), (60, 61));
}

#[test]
fn very_many_queues_wait_for_their_first_use() {
    let config = || StoreConfig { settled_at_start_max: 100, ..config() };
    let disk = MemDisk::new();
    let mut broker = Broker::try_open(disk.clone(), config()).unwrap();
    for queue in 0..120 {
        broker.append("many", queue, b"first", "");
        broker.append("many", queue, b"second", "");
    }
    broker.publish();
    broker.dispatch();
    broker.stop();
    disk.remove_dir(&dir("many", 17)).unwrap();
    disk.remove(&dir("many", 99).join(format!("{:020}", 0))).unwrap();
    disk.overwrite(&dir("many", 119).join(format!("{:020}", 0)), 20, &[0; 20]).unwrap();
    let store = Store::open(config(), Arc::new(disk)).unwrap();
    let missing = store.verify_queues(|_| true).unwrap();
    assert_eq!(missing, [name("many", 17), name("many", 99)], "whose folders are empty");
    for queue in [17, 99, 119, 5] {
        let range = store.queue_range("many", QueueId(queue)).unwrap();
        assert_eq!(range, (QueueOffset(0), QueueOffset(2)), "queue {queue}");
    }
}

#[test]
fn entries_of_delayed_messages_have_their_time_of_delivery() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.send("SCHEDULE_TOPIC_XXXX", 2, b"delayed");
    broker.stop();
    disk.remove_dir(&config().queues.dir).unwrap();
    let seconds = [1, 5, 10].map(Duration::from_secs);
    let config = StoreConfig { delay_levels: DelayLevels::new(&seconds), ..config() };
    let store = Store::open(config, Arc::new(disk)).unwrap();
    store.verify_queues(|_| true).unwrap();
    let queue = store.open_queue("SCHEDULE_TOPIC_XXXX", QueueId(2)).unwrap();
    let entry = queue.view().entry(QueueOffset(0)).unwrap();
    assert_eq!((entry.offset, entry.tags_code), (PhysicalOffset(0), 1_000_000 + 10_000));
}

#[test]
fn a_record_with_a_false_higher_offset_does_not_cost_the_queue_what_comes_before() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..9 {
        broker.send("t", 0, &body(number, 108));
    }
    broker.stop();
    let log = config().log.dirs[0].join(format!("{:020}", 0));
    for offset in [1_000u64, 1 << 40, u64::MAX / 20, u64::MAX] {
        disk.overwrite(&log, 4 * 200 + 20, &offset.to_be_bytes()).unwrap();
        disk.remove_dir(&dir("t", 0)).unwrap();
        let mut broker = Broker::open(disk.clone());
        assert_eq!(broker.range("t", 0), (0, 9), "{offset}");
        let view = broker.view("t", 0);
        let has: Vec<_> = (0..9).map(|at| view.entry(QueueOffset(at)).is_some()).collect();
        assert_eq!(has, [true, true, true, true, false, true, true, true, true], "{offset}");
        assert_eq!(broker.bodies("t", 0, 5), (5..9).map(|n| body(n, 108)).collect::<Vec<_>>());
        broker.stop();
    }
}
