//! Removing old files of the log and of queues, and what readers notice of it: nothing.

mod common;

use std::path::{Path, PathBuf};

use common::{Broker, body, config};
use gantry_storage::{
    Disk, LogConfig, MemDisk, OpenError, PhysicalOffset, PullStatus, QueueId, QueueOffset,
    RealDisk, Space, StoreConfig,
    retention::topic::{TopicBytes, place_of},
    trim_unopened,
};

const FILE: u64 = 2048;

/// Sends until the log has begun its file number `file`.
fn fill(broker: &mut Broker, topic: &str, file: u64) {
    while broker.log().max_offset().0 <= file * FILE {
        broker.now += 1;
        broker.send(topic, 0, &body(0, 100));
    }
}

fn starts(disk: &dyn Disk, dir: &Path) -> Vec<u64> {
    let names = disk.list(dir).unwrap();
    names.into_iter().map(|(name, _)| name.parse().unwrap()).collect()
}

#[test]
fn leading_files_go_and_the_rest_stays() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    fill(&mut broker, "t", 3);
    let (dir, before) = (config().log.dirs[0].clone(), broker.bodies("t", 0, 0).len());
    let held = broker.log().record_at(PhysicalOffset(0)).unwrap();
    let copy = held.to_vec();
    // Not a byte of the second file is before the limit's end, so it stays.
    let removed = broker.log().remove_before(&disk, PhysicalOffset(2 * FILE - 1)).unwrap();
    assert_eq!(removed, [dir.join("00000000000000000000")]);
    assert_eq!(starts(&disk, &dir), [FILE, 2 * FILE, 3 * FILE]);
    assert_eq!(starts(&disk.crash(), &dir), [FILE, 2 * FILE, 3 * FILE], "it is durable");
    assert_eq!(broker.log().min_offset(), PhysicalOffset(FILE));
    assert_eq!(broker.log().record_at(PhysicalOffset(0)).map(|_| ()), None);
    assert_eq!(*held, *copy, "a slice keeps what it has");
    // The queue has not been trimmed yet: what is gone is passed over.
    let gone = broker.pull("t", 0, 0);
    assert_eq!(gone.status, PullStatus::Found);
    let log_min = broker.log().min_offset();
    let min = broker.queue("t", 0).trim_before(log_min).unwrap();
    assert!(min > QueueOffset(0));
    assert_eq!(broker.pull("t", 0, 0).status, PullStatus::OffsetTooSmall);
    assert_eq!(broker.pull("t", 0, 0).next_begin_offset, min);
    assert_eq!(broker.bodies("t", 0, min.0).len() as u64, before as u64 - min.0);
    broker.stop();
    let mut broker = Broker::open(disk);
    assert_eq!(broker.view("t", 0).min_offset(), min);
    assert_eq!(broker.bodies("t", 0, min.0).len() as u64, before as u64 - min.0);
}

#[test]
fn neither_the_last_file_nor_what_is_not_published_goes() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    assert_eq!(broker.log().remove_before(&disk, PhysicalOffset(u64::MAX)).unwrap().len(), 0);
    fill(&mut broker, "t", 2);
    let removed = broker.log().remove_before(&disk, PhysicalOffset(u64::MAX)).unwrap();
    assert_eq!(removed.len(), 2);
    assert_eq!(broker.log().min_offset(), PhysicalOffset(2 * FILE));
    // Goes on in the next file without publishing: the one before it is not complete for readers.
    let end = broker.log().max_offset();
    while broker.append("t", 0, &body(1, 100), "") < PhysicalOffset(3 * FILE) {}
    assert_eq!(broker.log().remove_before(&disk, PhysicalOffset(u64::MAX)).unwrap().len(), 0);
    assert_eq!(broker.log().max_offset(), end);
    broker.publish();
    broker.dispatch();
    assert_eq!(broker.log().remove_before(&disk, PhysicalOffset(u64::MAX)).unwrap().len(), 1);
    broker.stop();
    assert_eq!(Broker::open(disk).log().min_offset(), PhysicalOffset(3 * FILE));
}

#[test]
fn a_file_that_cannot_be_unlinked_leaves_no_hole() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    fill(&mut broker, "t", 3);
    disk.fail_syncs(true);
    let failed = broker.log().remove_before(&disk, PhysicalOffset(2 * FILE)).unwrap_err();
    assert!(failed.to_string().contains("commitlog/00000000000000000000: "), "{failed}");
    assert_eq!(broker.log().min_offset(), PhysicalOffset(2 * FILE), "nobody finds them any more");
    let dir = config().log.dirs[0].clone();
    assert_eq!(starts(&disk, &dir), [FILE, 2 * FILE, 3 * FILE]);
    assert_eq!(starts(&disk.crash(), &dir), [0, FILE, 2 * FILE, 3 * FILE]);
    disk.fail_syncs(false);
    assert_eq!(Broker::open(disk.crash()).log().min_offset(), PhysicalOffset(0));
    // The next removal makes up for it, even if there is nothing else to do.
    broker.log().remove_before(&disk, PhysicalOffset(0)).unwrap();
    assert_eq!(starts(&disk.crash(), &dir), [2 * FILE, 3 * FILE]);
}

#[test]
fn a_queue_keeps_its_last_file_and_its_offsets() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    // Entries for more than two index files (50 each), then a log that is full of something else.
    for number in 0..120 {
        broker.send("t", 0, &body(number, 10));
    }
    let last = broker.log().max_offset().0 / FILE + 1;
    fill(&mut broker, "other", last + 1);
    broker.log().remove_before(&disk, PhysicalOffset(last * FILE)).unwrap();
    let log_min = broker.log().min_offset();
    let min = broker.queue("t", 0).trim_before(log_min).unwrap();
    assert_eq!(min, QueueOffset(120), "all of it is older than the log");
    let dir = config().queues.queue_dir("t", QueueId(0));
    assert_eq!(starts(&disk, &dir), [2000]);
    assert_eq!(broker.pull("t", 0, 120).status, PullStatus::OffsetOverflowOne);
    broker.send("t", 0, b"more");
    assert_eq!(broker.bodies("t", 0, 120), [b"more"]);
    broker.stop();
    let mut broker = Broker::open(disk);
    assert_eq!(broker.view("t", 0).min_offset(), QueueOffset(120));
    assert_eq!(broker.bodies("t", 0, 120), [b"more"]);
}

#[test]
fn the_minimum_rises_within_the_queue_and_never_falls() {
    let mut broker = Broker::open(MemDisk::new());
    for number in 0..70 {
        broker.send("t", 0, &body(number, 1));
    }
    let queue = broker.queue("t", 0);
    assert_eq!(queue.raise_min(QueueOffset(20)).unwrap(), QueueOffset(20));
    assert_eq!(queue.raise_min(QueueOffset(10)).unwrap(), QueueOffset(20));
    assert_eq!(queue.trim_before(PhysicalOffset(0)).unwrap(), QueueOffset(20));
    assert_eq!(queue.raise_min(QueueOffset(1000)).unwrap(), QueueOffset(70));
    let dir = config().queues.queue_dir("t", QueueId(0));
    assert_eq!(starts(&*broker.disk, &dir), [1000]);
}

#[test]
fn marks_before_a_queue_that_begins_late_are_no_messages() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.next_offsets.insert(("t".to_owned(), 0), 7);
    let places: Vec<_> = (0..3).map(|number| broker.send("t", 0, &body(number, 1))).collect();
    assert_eq!(broker.queue("t", 0).trim_before(PhysicalOffset(0)).unwrap(), QueueOffset(7));
    assert_eq!(broker.queue("t", 0).raise_min(QueueOffset(3)).unwrap(), QueueOffset(7));
    broker.stop();
    let queues = config().queues;
    let trim = |log_min| {
        let floor = (log_min, QueueOffset(0));
        trim_unopened(&disk, &queues, ("t", QueueId(0)), floor).unwrap()
    };
    assert_eq!(trim(PhysicalOffset(0)), Some(QueueOffset(7)));
    assert_eq!(trim(places[1]), Some(QueueOffset(8)));
}

#[test]
fn slots_without_a_message_within_a_queue_are_passed_over() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    let places: Vec<_> = (0..9).map(|number| broker.send("t", 0, &body(number, 1))).collect();
    let path = config().queues.queue_dir("t", QueueId(0)).join(format!("{:020}", 0));
    let mut blank = [0; 20];
    blank[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    for lost in [3, 4, 5] {
        disk.overwrite(&path, lost * 20, &blank).unwrap();
    }
    let views = [(QueueId(0), broker.view("t", 0))];
    let each = common::record_len(2);
    assert_eq!(TopicBytes::default().over(&views, 6 * each), [(QueueId(0), QueueOffset(0))]);
    assert_eq!(TopicBytes::default().over(&views, 2 * each), [(QueueId(0), QueueOffset(7))]);
    assert_eq!(place_of(&views[0].1, QueueOffset(4)), Some(places[6]));
    let mut trim = |log_min| broker.queue("t", 0).trim_before(log_min).unwrap().0;
    assert_eq!(trim(places[0]), 0);
    assert_eq!(trim(places[2]), 2, "what is there is not hidden by what is not");
    assert_eq!(trim(places[6]), 3);
    assert_eq!(trim(places[7]), 7);
}

#[test]
fn a_queue_that_nobody_has_open_is_trimmed_too() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..120 {
        broker.send("t", 0, &body(number, 10));
    }
    let (queues, dir) = (config().queues, config().queues.queue_dir("t", QueueId(0)));
    broker.stop();
    let trim = |log_min: u64, min: u64| {
        let floor = (PhysicalOffset(log_min), QueueOffset(min));
        trim_unopened(&disk, &queues, ("t", QueueId(0)), floor).unwrap()
    };
    assert_eq!(trim(0, 0), Some(QueueOffset(0)));
    assert_eq!(trim(1, 0), Some(QueueOffset(1)));
    assert_eq!(starts(&disk, &dir), [0, 1000, 2000]);
    assert_eq!(trim(1, 50), Some(QueueOffset(50)));
    assert_eq!(starts(&disk, &dir), [1000, 2000]);
    assert_eq!(trim(u64::MAX, 0), Some(QueueOffset(120)));
    assert_eq!(trim(0, 500), Some(QueueOffset(120)));
    assert_eq!(starts(&disk, &dir), [2000]);
    let none = trim_unopened(&disk, &queues, ("t", QueueId(9)), Default::default()).unwrap();
    assert_eq!(none, None);
}

#[test]
fn real_files_go_under_a_reader_that_holds_them() {
    let home = tempfile::tempdir().unwrap();
    let store = StoreConfig::new(home.path().join("store"), FILE, 1000);
    let dir = store.log.dirs[0].clone();
    let mut broker = Broker::try_open(RealDisk, store.clone()).unwrap();
    fill(&mut broker, "t", 2);
    let held = broker.pull("t", 0, 0);
    let copies: Vec<Vec<u8>> = held.records().map(|(_, bytes)| bytes.to_vec()).collect();
    broker.log().remove_before(&RealDisk, PhysicalOffset(2 * FILE)).unwrap();
    assert_eq!(starts(&RealDisk, &dir), [2 * FILE]);
    assert!(held.count > 5);
    assert!(held.records().map(|(_, bytes)| bytes).eq(copies.iter().map(Vec::as_slice)));
    broker.stop();
    let broker = Broker::try_open(RealDisk, store).unwrap();
    assert_eq!(broker.log().min_offset(), PhysicalOffset(2 * FILE));
}

fn over(dirs: &[&str], read_only: &[&str]) -> StoreConfig {
    let paths = |dirs: &[&str]| dirs.iter().map(PathBuf::from).collect::<Vec<_>>();
    StoreConfig { log: LogConfig::over(&paths(dirs), &paths(read_only), FILE), ..config() }
}

#[test]
fn a_log_over_several_folders_is_one_log() {
    let disk = MemDisk::new();
    let mut broker = Broker::try_open(disk.clone(), over(&["/b", "/a"], &[])).unwrap();
    fill(&mut broker, "t", 3);
    assert_eq!(starts(&disk, "/a".as_ref()), [0, 2 * FILE]);
    assert_eq!(starts(&disk, "/b".as_ref()), [FILE, 3 * FILE]);
    let count = broker.bodies("t", 0, 0).len();
    broker.stop();
    // A folder more, one that is only read, and one that has no room.
    let full = Space { total: 100, free: 10, available: 10 };
    disk.set_space("/b".as_ref(), Some(full));
    let mut broker = Broker::try_open(disk.clone(), over(&["/b", "/c"], &["/a"])).unwrap();
    assert_eq!(broker.bodies("t", 0, 0).len(), count);
    fill(&mut broker, "t", 5);
    assert_eq!(starts(&disk, "/a".as_ref()), [0, 2 * FILE]);
    assert_eq!(starts(&disk, "/b".as_ref()), [FILE, 3 * FILE]);
    assert_eq!(starts(&disk, "/c".as_ref()), [4 * FILE, 5 * FILE]);
    broker.log().remove_before(&disk, PhysicalOffset(4 * FILE)).unwrap();
    assert_eq!(starts(&disk, "/a".as_ref()), [0; 0], "drained, as in the Java broker");
    assert_eq!(starts(&disk, "/b".as_ref()), [0; 0]);
    broker.stop();
    let broker = Broker::try_open(disk, over(&["/b", "/c"], &["/a"])).unwrap();
    assert_eq!(broker.log().min_offset(), PhysicalOffset(4 * FILE));
}

#[test]
fn folders_that_make_no_log_together_are_refused() {
    let disk = MemDisk::new();
    let mut broker = Broker::try_open(disk.clone(), over(&["/a", "/b"], &[])).unwrap();
    fill(&mut broker, "t", 1);
    broker.stop();
    let open = |config| Broker::try_open(disk.clone(), config).err().unwrap();
    match open(over(&["/a"], &["/b"])) {
        OpenError::ReadOnly { path } => assert_eq!(path, "/b/00000000000000002048"),
        other => panic!("{other}"),
    }
    let name = "00000000000000000000";
    let content = disk.read(format!("/a/{name}").as_ref()).unwrap().unwrap();
    disk.write_atomic(format!("/b/{name}").as_ref(), &content).unwrap();
    match open(over(&["/a", "/b"], &[])) {
        OpenError::Twice { first, second } => {
            assert_eq!((first, second), (format!("/a/{name}"), format!("/b/{name}")));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_file_is_as_old_as_what_comes_after_it() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.now = 5_000;
    fill(&mut broker, "t", 2);
    let newest = |broker: &Broker, aged| {
        let files = broker.log().files(&disk, aged);
        files.into_iter().map(|file| (file.start.0, file.newest_ms)).collect::<Vec<_>>()
    };
    let second = broker.log().store_timestamp(PhysicalOffset(FILE)).unwrap();
    let third = broker.log().store_timestamp(PhysicalOffset(2 * FILE)).unwrap();
    assert!(5_000 < second && second < third);
    let path = config().log.dirs[0].join(format!("{:020}", 2 * FILE));
    disk.set_modified_ms(&path, 77);
    let expected = [(0, Some(second)), (FILE, Some(third)), (2 * FILE, Some(77))];
    assert_eq!(newest(&broker, 3), expected);
    assert_eq!(newest(&broker, 1), [(0, Some(second)), (FILE, None), (2 * FILE, None)]);
}
