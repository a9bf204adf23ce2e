//! A client batch is in the log as a whole or not at all, whatever a crash leaves of it.

mod common;

use std::path::PathBuf;

use common::{Broker, body, config, record};
use gantry_codec::record::sys_flag::BATCH_CONTINUES;
use gantry_storage::{Disk, MemDisk, PhysicalOffset};

/// Where a record has its flags.
const SYS_FLAG_AT: u64 = 36;

fn log_file() -> PathBuf {
    config().log.dirs[0].join(format!("{:020}", 0))
}

/// Appends a batch for queue 0 of topic `t`, whose messages are numbered from `first` on.
fn append_batch(broker: &mut Broker, first: usize, count: usize) {
    let key = ("t".to_owned(), 0);
    for number in first..first + count {
        let body = body(number, 108);
        let mut record = record("t", 0, &body, "");
        record.queue_offset = number as i64;
        record.store_timestamp = broker.now;
        if number + 1 < first + count {
            record.sys_flag = BATCH_CONTINUES;
        }
        broker.tail.append(&mut record).unwrap();
        broker.next_offsets.insert(key.clone(), number as u64 + 1);
    }
}

/// Two messages, and a batch of three behind them; all published.
fn with_batch(disk: &MemDisk) -> Broker {
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, &body(0, 108));
    broker.send("t", 0, &body(1, 108));
    append_batch(&mut broker, 2, 3);
    broker.publish();
    broker.dispatch();
    broker
}

fn messages(broker: &mut Broker) -> usize {
    let bodies = broker.bodies("t", 0, 0);
    for (number, found) in bodies.iter().enumerate() {
        assert_eq!(*found, body(number, 108));
    }
    bodies.len()
}

#[test]
fn a_batch_torn_at_any_byte_is_taken_out_whole() {
    let disk = MemDisk::new();
    let broker = with_batch(&disk);
    let end = broker.log().max_offset().0;
    drop(broker);
    let batch = disk.read_at(&log_file(), 400, (end - 400) as usize).unwrap();
    for torn_at in 0..batch.len() {
        let mut torn = batch.clone();
        torn[torn_at..].fill(0);
        disk.overwrite(&log_file(), 400, &torn).unwrap();
        let mut broker = Broker::open(disk.clone());
        // The last bytes are zeros anyway.
        let expected = if torn == batch { (5, end) } else { (2, 400) };
        assert_eq!((messages(&mut broker), broker.log().max_offset().0), expected, "{torn_at}");
        // What comes next takes the batch's place.
        if torn_at == 450 {
            append_batch(&mut broker, 2, 2);
            broker.publish();
            broker.dispatch();
            assert_eq!(messages(&mut broker), 4);
            drop(broker);
            assert_eq!(messages(&mut Broker::open(disk.clone())), 4);
        }
    }
}

#[test]
fn a_batch_that_lost_a_record_in_the_middle_is_taken_out_whole() {
    for lost in 2..5 {
        let disk = MemDisk::new();
        drop(with_batch(&disk));
        disk.overwrite(&log_file(), lost * 200, &[0; 200]).unwrap();
        let mut broker = Broker::open(disk.clone());
        assert_eq!(messages(&mut broker), 2, "without message {lost}");
        let told = broker.store.report().broken.clone().unwrap_or_default();
        assert!(lost == 2 || told.contains("at 400: the batch"), "{told}");
    }
}

#[test]
fn what_was_dispatched_of_a_whole_batch_stays() {
    let disk = MemDisk::new();
    let mut broker = with_batch(&disk);
    broker.checkpoint().unwrap();
    broker.send("t", 0, &body(5, 108));
    drop(broker);
    let mut broker = Broker::open(disk.clone());
    assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(1000));
    assert_eq!(messages(&mut broker), 6);
    broker.stop();
    assert_eq!(messages(&mut Broker::open(disk)), 6);
}

#[test]
fn a_store_that_was_left_in_order_is_taken_as_it_is() {
    let disk = MemDisk::new();
    with_batch(&disk).stop();
    // The last record says that more follow, and nobody took it out: then this is nobody's torn tail.
    disk.overwrite(&log_file(), 800 + SYS_FLAG_AT, &BATCH_CONTINUES.to_be_bytes()).unwrap();
    assert_eq!(messages(&mut Broker::open(disk)), 5);
}
