//! Going through the log for the queues.

mod common;

use common::{Broker, body, config, record};
use gantry_codec::{properties::tag_hash, record::RecordError};
use gantry_storage::{Disk, DispatchReader, MemDisk, PhysicalOffset};

type Seen = (String, u32, u64, u64, i64);

fn read(reader: &mut DispatchReader, max: usize) -> (Vec<Seen>, bool) {
    let mut seen = Vec::new();
    let outcome = reader.read(max, |entry| {
        let topic = entry.topic.to_owned();
        let place = (entry.queue_offset.0, entry.offset.0);
        seen.push((topic, entry.queue_id, place.0, place.1, entry.tags_code));
    });
    if let Ok(count) = outcome {
        assert_eq!(count, seen.len());
    }
    (seen, outcome.is_ok())
}

#[test]
fn records_of_all_files_come_in_order_and_in_bounded_steps() {
    let mut broker = Broker::open(MemDisk::new());
    let mut written = Vec::new();
    for number in 0..50 {
        let queue = number as u32 % 3;
        let offset = broker.append("t", queue, &body(number, 100), "TagA");
        written.push(("t".to_owned(), queue, number as u64 / 3, offset.0, tag_hash("TagA").into()));
    }
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
    assert_eq!(read(&mut reader, 100), (vec![], true), "nothing is published");
    let end = broker.publish();
    let mut seen = Vec::new();
    while reader.position() < end {
        let (step, _) = read(&mut reader, 7);
        assert!(step.len() <= 7);
        seen.extend(step);
    }
    assert_eq!(seen, written);
    assert_eq!(read(&mut reader, 100), (vec![], true));
    let mut late = DispatchReader::new(broker.log().clone(), PhysicalOffset(seen[30].3));
    assert_eq!(read(&mut late, 100).0, written[30..]);
}

#[test]
fn tags_and_flags_are_handed_on() {
    let mut broker = Broker::open(MemDisk::new());
    broker.append("t", 0, b"", "");
    broker.append("t", 0, b"", "polygenelubricants");
    let mut prepared = record("t", 7, b"half", "");
    prepared.sys_flag = 4;
    prepared.store_timestamp = 99;
    broker.tail.append(&mut prepared).unwrap();
    broker.publish();
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
    let mut seen = Vec::new();
    let read = reader.read(9, |e| seen.push((e.tags_code, e.sys_flag, e.size, e.store_timestamp)));
    assert_eq!(read, Ok(3));
    let times = [1_000_000, 1_000_000, 99];
    let tags = [0, i64::from(i32::MIN), 0];
    assert!(seen.iter().zip(tags).all(|(seen, tag)| seen.0 == tag));
    assert!(seen.iter().zip(times).all(|(seen, time)| seen.3 == time));
    assert_eq!((seen[1].2, seen[2].1), (92 + 24, 4));
}

#[test]
fn a_record_that_cannot_be_read_is_passed_over() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..15 {
        broker.append("t", 0, &body(number, 108), "");
    }
    broker.publish();
    let path = config().log.dirs[0].join(format!("{:020}", 0));
    // Message 2: the topic's length. Message 5: the whole size.
    disk.overwrite(&path, 2 * 200 + 88 + 108, &[77]).unwrap();
    disk.overwrite(&path, 5 * 200, &[9]).unwrap();
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
    let numbers = |(seen, is_ok): (Vec<Seen>, bool)| {
        (seen.iter().map(|seen| seen.2).collect::<Vec<_>>(), is_ok)
    };
    assert_eq!(numbers(read(&mut reader, 100)), (vec![0, 1], false));
    assert_eq!(reader.position(), PhysicalOffset(3 * 200));
    assert_eq!(numbers(read(&mut reader, 100)), (vec![3, 4], false));
    assert_eq!(reader.position(), PhysicalOffset(6 * 200), "the next one that names its place");
    assert_eq!(numbers(read(&mut reader, 100)), (vec![6, 7, 8, 9, 10, 11, 12, 13, 14], true));
    assert_eq!(reader.position(), broker.log().max_offset());
    // Without another one, the rest of the file goes with it.
    disk.overwrite(&path, 9 * 200, &[9]).unwrap();
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(9 * 200));
    assert_eq!(numbers(read(&mut reader, 100)), (vec![], false));
    assert_eq!(reader.position(), PhysicalOffset(2048));
}

#[test]
fn a_record_with_a_place_that_no_queue_has_is_damaged() {
    for (at, bytes) in [(12, [0x80, 0, 0, 0].as_slice()), (20, &[0x80]), (20, &[0x7F])] {
        let disk = MemDisk::new();
        let mut broker = Broker::open(disk.clone());
        for number in 0..5 {
            broker.append("t", 0, &body(number, 108), "");
        }
        broker.publish();
        let path = config().log.dirs[0].join(format!("{:020}", 0));
        disk.overwrite(&path, 2 * 200 + at, bytes).unwrap();
        let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
        let mut seen = Vec::new();
        let bad = reader.read(100, |entry| seen.push(entry.queue_offset.0)).unwrap_err();
        assert_eq!(bad.offset, PhysicalOffset(400));
        assert!(matches!(bad.error, RecordError::Place { .. }), "{bad}");
        reader.read(100, |entry| seen.push(entry.queue_offset.0)).unwrap();
        assert_eq!(seen, [0, 1, 3, 4]);
    }
}

#[test]
fn a_bad_record_in_the_last_file_leads_to_the_end() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..5 {
        broker.append("t", 0, &body(number, 108), "");
    }
    let end = broker.publish();
    let path = config().log.dirs[0].join(format!("{:020}", 0));
    disk.overwrite(&path, 4 * 200, &[0; 4]).unwrap();
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
    assert!(reader.read(100, |_| {}).is_err());
    assert_eq!(reader.position(), end);
    broker.append("t", 0, &body(5, 108), "");
    broker.publish();
    assert_eq!(read(&mut reader, 100).0.len(), 1);
}

#[test]
fn a_reader_begins_where_the_log_does() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..25 {
        broker.send("t", 0, &body(number, 108));
    }
    broker.stop();
    disk.remove(&config().log.dirs[0].join(format!("{:020}", 0))).unwrap();
    let broker = Broker::open(disk);
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(5));
    assert_eq!(reader.position(), PhysicalOffset(2048));
    assert_eq!(read(&mut reader, 100).0.len(), 15);
}
