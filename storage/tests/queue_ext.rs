//! The extension of a queue: what is written with it is read with and without it, and whatever becomes
//! of its files hides no message.

mod common;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use common::{Broker, LIMITS, config};
use gantry_codec::{Record, properties::tag_hash};
use gantry_storage::{
    Disk, IndexEntry, MemDisk, PhysicalOffset, PullOutcome, QueueOffset, RealDisk, StoreConfig,
    pull,
};

const DIR: &str = "/store/consumequeue_ext/t/0";

/// Four units fill a file.
fn with_units() -> StoreConfig {
    let mut config = config();
    config.queues.ext.is_on = true;
    config.queues.ext.segment_bytes = 100;
    config
}

fn open(disk: &MemDisk, config: StoreConfig) -> Broker {
    Broker::try_open(disk.clone(), config).unwrap()
}

/// Sends message `number`, with the tag A if it is even, else B.
fn send(broker: &mut Broker, number: usize) -> PhysicalOffset {
    let tag = if number.is_multiple_of(2) { "A" } else { "B" };
    let offset = broker.append("t", 0, number.to_string().as_bytes(), tag);
    broker.publish();
    broker.dispatch();
    offset
}

fn fill(broker: &mut Broker, numbers: Range<usize>) {
    for number in numbers {
        send(broker, number);
    }
}

/// What of `from` on has the tag.
fn tagged(broker: &mut Broker, tag: &str, from: u64) -> (Vec<String>, PullOutcome) {
    let (view, hash) = (broker.view("t", 0), i64::from(tag_hash(tag)));
    let filter = |entry: &IndexEntry| entry.tags_code == hash;
    let found = pull(&view, broker.log(), QueueOffset(from), &LIMITS, Some(&filter));
    let body =
        |bytes: &[u8]| String::from_utf8(Record::decode(bytes).unwrap().body.to_vec()).unwrap();
    (found.records().map(|(_, bytes)| body(bytes)).collect(), found)
}

fn names(disk: &MemDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap().into_iter().map(|(name, _)| name).collect()
}

fn file(start: u64) -> PathBuf {
    PathBuf::from(format!("{DIR}/{start:020}"))
}

/// The codes in the slots of the queue.
fn codes(disk: &MemDisk, count: usize) -> Vec<i64> {
    let path = PathBuf::from("/store/consumequeue/t/0/00000000000000000000");
    let slots = disk.read_at(&path, 0, count * 20).unwrap();
    slots.chunks(20).map(|slot| i64::from_be_bytes(slot[12..].try_into().unwrap())).collect()
}

fn addresses(places: &[i64]) -> Vec<i64> {
    places.iter().map(|place| i64::MIN + place).collect()
}

#[test]
fn the_bytes_are_javas() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..5);
    broker.stop();
    assert_eq!(codes(&disk, 6), [addresses(&[0, 20, 40, 60, 100]), vec![0]].concat());
    let mut want = Vec::new();
    for number in 0..4 {
        want.extend([0, 20]);
        want.extend(i64::from(tag_hash(["A", "B"][number % 2])).to_be_bytes());
        want.extend(1_000_000i64.to_be_bytes());
        want.extend([0, 0]);
    }
    want.extend([255, 255]);
    want.resize(100, 0);
    assert_eq!(disk.read(&file(0)).unwrap().unwrap(), want);
}

#[test]
fn filters_see_the_tags_with_the_key_and_without() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..10);
    assert_eq!(tagged(&mut broker, "A", 0).0, ["0", "2", "4", "6", "8"]);
    broker.stop();
    for config in [config(), with_units()] {
        let mut broker = open(&disk, config);
        let (bodies, found) = tagged(&mut broker, "B", 0);
        assert_eq!(bodies, ["1", "3", "5", "7", "9"]);
        assert_eq!(found.unknown_tag, None);
        let entry = broker.view("t", 0).entry(QueueOffset(9)).unwrap();
        assert_eq!(entry.tags_code, i64::from(tag_hash("B")));
        assert!(!entry.names_a_unit());
        broker.stop();
    }
}

#[test]
fn without_the_key_new_entries_have_their_hashes_and_old_ones_stay() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..2);
    broker.stop();
    let mut broker = open(&disk, config());
    send(&mut broker, 2);
    broker.stop();
    let mut broker = open(&disk, with_units());
    send(&mut broker, 3);
    assert_eq!(tagged(&mut broker, "A", 0).0, ["0", "2"]);
    assert_eq!(tagged(&mut broker, "B", 0).0, ["1", "3"]);
    broker.stop();
    let hash = i64::from(tag_hash("A"));
    let want = [addresses(&[0, 20]), vec![hash], addresses(&[40])].concat();
    assert_eq!(codes(&disk, 4), want, "units go on where they ended");
}

#[test]
fn units_of_entries_that_were_cut_are_written_over() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..2);
    broker.checkpoint().unwrap();
    fill(&mut broker, 2..9);
    broker.kill();
    let mut broker = open(&disk, with_units());
    assert_eq!(tagged(&mut broker, "A", 0).0, ["0", "2", "4", "6", "8"]);
    broker.stop();
    assert_eq!(codes(&disk, 9), addresses(&[0, 20, 40, 60, 100, 120, 140, 160, 200]));
    assert_eq!(names(&disk).len(), 3);
}

#[test]
fn after_a_loss_of_power_every_tag_is_known() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..6);
    broker.checkpoint().unwrap();
    broker.kill();
    let disk = disk.crash();
    let mut broker = open(&disk, with_units());
    let (bodies, found) = tagged(&mut broker, "B", 0);
    assert_eq!((bodies, found.unknown_tag), (vec!["1".into(), "3".into(), "5".into()], None));
}

#[test]
fn a_damaged_unit_hides_nothing_and_is_told_once() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..4);
    broker.stop();
    let mut bytes = disk.read(&file(0)).unwrap().unwrap();
    bytes[21] = 0;
    disk.write(&file(0), &bytes).unwrap();
    let mut broker = open(&disk, with_units());
    let (bodies, found) = tagged(&mut broker, "A", 0);
    assert_eq!(bodies, ["0", "1", "2"]);
    assert_eq!(found.unknown_tag, Some(QueueOffset(1)));
    assert_eq!(tagged(&mut broker, "A", 0).1.unknown_tag, None);
    assert!(broker.view("t", 0).entry(QueueOffset(1)).unwrap().names_a_unit());
}

#[test]
fn an_extension_that_is_gone_is_made_again() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..6);
    broker.stop();
    for config in [with_units(), config()] {
        let is_on = config.queues.ext.is_on;
        disk.remove_dir(Path::new(DIR)).unwrap();
        let mut broker = open(&disk, config);
        let (bodies, found) = tagged(&mut broker, "A", 0);
        assert_eq!((bodies, found.unknown_tag), (vec!["0".into(), "2".into(), "4".into()], None));
        broker.stop();
        assert_eq!(names(&disk).len(), if is_on { 2 } else { 0 });
    }
}

#[test]
fn leading_files_go_with_the_entries_that_name_them() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    let places: Vec<_> = (0..12).map(|number| send(&mut broker, number)).collect();
    let all = names(&disk);
    assert_eq!(all.len(), 3);
    broker.queue("t", 0).trim_before(places[3]).unwrap();
    assert_eq!(names(&disk), all, "a unit of the first file is still named");
    broker.queue("t", 0).trim_before(places[4]).unwrap();
    assert_eq!(names(&disk), all[1..]);
    assert_eq!(tagged(&mut broker, "A", 4).0, ["4", "6", "8", "10"]);
    broker.stop();
    let mut broker = open(&disk, with_units());
    broker.queue("t", 0).raise_min(QueueOffset(12)).unwrap();
    assert_eq!(names(&disk), all[1..], "an empty queue names nothing");
    send(&mut broker, 12);
    broker.queue("t", 0).raise_min(QueueOffset(12)).unwrap();
    assert_eq!(names(&disk).len(), 1);
}

#[test]
fn a_deleted_queue_leaves_no_extension() {
    let disk = MemDisk::default();
    let mut broker = open(&disk, with_units());
    fill(&mut broker, 0..6);
    broker.delete_topic("t");
    assert!(names(&disk).is_empty());
    send(&mut broker, 1);
    assert_eq!(tagged(&mut broker, "B", 0).0, ["1"]);
    assert_eq!(codes(&disk, 1), addresses(&[0]));
}

#[test]
fn units_that_cannot_be_written_leave_the_hash_in_the_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = StoreConfig::new(dir.path().to_owned(), 2048, 1000);
    config.queues.ext.is_on = true;
    // It stands in the way of the folder.
    std::fs::write(dir.path().join("consumequeue_ext"), b"no folder").unwrap();
    let mut broker = Broker::try_open(RealDisk, config).unwrap();
    send(&mut broker, 0);
    let hash = i64::from(tag_hash("A"));
    assert_eq!(broker.view("t", 0).entry(QueueOffset(0)).unwrap().tags_code, hash);
    assert!(broker.queue("t", 0).ext_failure().is_some());
    send(&mut broker, 1);
    assert!(broker.queue("t", 0).ext_failure().is_none(), "told once");
}
