//! Write, drop, reopen, compare: on the operating system's files and in memory.

mod common;

use common::{Broker, body, config};
use gantry_storage::{Disk, MemDisk, RealDisk, StoreConfig};

const MESSAGES: usize = 200;

fn fill(broker: &mut Broker) {
    for number in 0..MESSAGES {
        broker.now += 1;
        broker.append("t", (number % 3) as u32, &body(number, 30 + number), "");
        if number % 7 == 0 {
            broker.publish();
            broker.dispatch();
        }
    }
    broker.publish();
    broker.dispatch();
}

fn check(broker: &mut Broker) {
    for queue in 0..3 {
        let want: Vec<_> =
            (queue..MESSAGES).step_by(3).map(|number| body(number, 30 + number)).collect();
        let all = broker.bodies("t", queue as u32, 0);
        assert!(all.starts_with(&want), "{} bodies of queue {queue}", all.len());
        assert_eq!(broker.bodies("t", queue as u32, 60), all[60..]);
    }
}

fn all_ways(disk: impl Disk + Clone, config: StoreConfig) {
    let open = || Broker::try_open(disk.clone(), config.clone()).unwrap();
    let mut broker = open();
    assert!(broker.store.report().clean);
    fill(&mut broker);
    check(&mut broker);
    let end = broker.log().max_offset();
    broker.stop();

    let mut broker = open();
    assert!(broker.store.report().clean);
    assert_eq!(broker.store.report().dispatch_from, end);
    assert_eq!(broker.log().max_offset(), end);
    assert_eq!(broker.log().last_timestamp(), 1_000_000 + MESSAGES as i64);
    check(&mut broker);
    drop(broker);

    let mut broker = open();
    assert!(!broker.store.report().clean, "it was not closed");
    check(&mut broker);
    broker.send("t", 1, b"one more");
    drop(broker);

    let mut broker = open();
    assert_eq!(broker.bodies("t", 1, 67), [b"one more"]);
    broker.stop();
    let mut broker = open();
    assert_eq!(broker.bodies("t", 1, 67), [b"one more"]);
    check(&mut broker);
}

#[test]
fn a_store_in_memory() {
    all_ways(MemDisk::new(), config());
}

#[test]
fn a_store_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    all_ways(RealDisk, StoreConfig::new(dir.path().join("store"), 8192, 1000));
}

#[test]
fn java_finds_files_of_full_length_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut broker =
        Broker::try_open(RealDisk, StoreConfig::new(root.to_owned(), 8192, 1010)).unwrap();
    fill(&mut broker);
    assert_eq!(RealDisk.list(root).unwrap().len(), 5);
    broker.stop();
    let names = |dir: &str| RealDisk.list(&root.join(dir)).unwrap();
    let file = |start: u64, len| (format!("{start:020}"), Some(len));
    assert_eq!(names("commitlog")[..2], [file(0, 8192), file(8192, 8192)]);
    // 1010 is rounded up to 51 entries; 67 messages take two files.
    assert_eq!(names("consumequeue/t/0"), [file(0, 1020), file(1020, 1020)]);
    assert_eq!(
        names("consumequeue/t"),
        [("0".into(), None), ("1".into(), None), ("2".into(), None)]
    );
    assert_eq!(std::fs::metadata(root.join("checkpoint")).unwrap().len(), 4096);
    assert_eq!(std::fs::read(root.join("lock")).unwrap(), b"lock");
    assert!(!root.join("abort").exists());
}

#[test]
fn a_store_is_opened_once() {
    let disk = MemDisk::new();
    let broker = Broker::open(disk.clone());
    let second = Broker::try_open(disk.clone(), config());
    assert!(second.err().unwrap().to_string().contains("in use by another broker"));
    drop(broker);
    Broker::open(disk);
}
