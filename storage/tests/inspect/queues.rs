//! Consume queues against the log and by themselves.

use gantry_codec::properties;
use gantry_storage::{
    Disk, MemDisk,
    inspect::{Severity, queue_contents, verify},
};

use crate::{
    common::{Broker, config},
    support::{
        FILE, fill, flip, inspection, killed_store, lines, log_file, look, mend, place, queue_file,
        root_file, send_with, store, the, wrong,
    },
};

/// Bytes of a queue's file: fifty entries.
const QUEUE_FILE: u64 = 1000;

fn entry(offset: u64, size: u32, tags_code: i64) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[8..12].copy_from_slice(&size.to_be_bytes());
    bytes[12..].copy_from_slice(&tags_code.to_be_bytes());
    bytes
}

#[test]
fn every_field_of_an_entry_is_compared_with_its_record() {
    for (at, what) in [(7, "log offset"), (11, "bytes at"), (19, "tag code")] {
        let disk = store();
        flip(&disk, &queue_file("t", 0), 5 * 20 + at);
        let (_, findings) = look(&disk);
        let found = lines(&findings, Severity::Warning);
        assert!(
            found.contains(&"fault entry-wrong consumequeue/t/0/0:100".to_owned()) || at == 7,
            "{found:?}"
        );
        assert!(!found.is_empty() && found.iter().all(|line| line.contains(":100")), "{found:?}");
        assert!(findings.iter().any(|f| f.expected.contains(what) || at == 7), "{findings:?}");
    }
}

#[test]
fn entries_that_the_log_asks_for_and_that_are_not_there() {
    let disk = store();
    disk.clear_from(&queue_file("t", 0), 23 * 20).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-missing consumequeue/t/0/0:460"]);
    let finding = the(&disk, "entry-missing");
    assert_eq!(finding.expected, "entries 23 to 24 for 2 records from log offset 4696");
    assert_eq!(finding.at_start, "does not see them");
    // Behind the checkpoint the next start adds them.
    let disk = killed_store();
    disk.clear_from(&queue_file("t", 0), 20 * 20).unwrap();
    assert_eq!(wrong(&disk), ["warning abrupt-stop abort"]);
    assert_eq!(the(&disk, "entry-missing").at_start, "adds them");
}

#[test]
fn a_queue_without_a_folder_is_missing_as_a_whole() {
    let disk = store();
    disk.remove_dir(&config().queues.dir).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-missing consumequeue/t/0"]);
    // If its topic was deleted, nobody misses it.
    let topics = br#"{"topicConfigTable":{"other":{"topicName":"other"}}}"#;
    disk.write_atomic(&root_file("config/topics.json"), topics).unwrap();
    assert_eq!(wrong(&disk), [""; 0]);
    let forgotten = "25 records of a topic or queue that does not exist";
    assert_eq!(the(&disk, "forgotten-records").found, forgotten);
    for (queues, expected) in [(1, &["fault entry-missing consumequeue/t/0"][..]), (0, &[])] {
        let topic = format!(r#"{{"readQueueNums":{queues},"writeQueueNums":{queues}}}"#);
        let topics = format!(r#"{{"topicConfigTable":{{"t":{topic}}}}}"#);
        disk.write_atomic(&root_file("config/topics.json"), topics.as_bytes()).unwrap();
        assert_eq!(wrong(&disk), expected);
    }
}

#[test]
fn a_hole_in_a_queue() {
    let disk = store();
    disk.overwrite(&queue_file("t", 0), 7 * 20, &[0; 40]).unwrap();
    let expected =
        ["fault entry-missing consumequeue/t/0/0:140", "fault queue-hole consumequeue/t/0/0:140"];
    assert_eq!(wrong(&disk), expected);
    assert_eq!(the(&disk, "queue-hole").found, "2 unused slots");
}

#[test]
fn a_mark_of_a_later_beginning_between_entries() {
    let disk = store();
    disk.overwrite(&queue_file("t", 0), 7 * 20, &entry(0, 0x7FFF_FFFF, 0)).unwrap();
    let expected =
        ["fault entry-missing consumequeue/t/0/0:140", "fault queue-hole consumequeue/t/0/0:140"];
    assert_eq!(wrong(&disk), expected);
}

#[test]
fn entries_behind_the_logs_end() {
    let disk = store();
    let beyond = entry(place(25), 200, 0);
    disk.overwrite(&queue_file("t", 0), 25 * 20, &beyond).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-beyond-log consumequeue/t/0/0:500"]);
    disk.write_atomic(&root_file("abort"), b"1").unwrap();
    let expected = ["warning abrupt-stop abort", "warning entry-beyond-log consumequeue/t/0/0:500"];
    assert_eq!(wrong(&disk), expected);
}

#[test]
fn old_entries_behind_the_end_are_stale() {
    let disk = store();
    // One right behind the end, as a broker leaves it that cuts without clearing.
    disk.overwrite(&queue_file("t", 0), 25 * 20, &entry(place(3), 200, 0)).unwrap();
    assert_eq!(wrong(&disk), ["warning stale-entries consumequeue/t/0/0:500"]);
    let disk = store();
    disk.overwrite(&queue_file("t", 0), 30 * 20, &entry(place(3), 200, 0)).unwrap();
    assert_eq!(wrong(&disk), ["warning stale-entries consumequeue/t/0/0:600"]);
}

#[test]
fn an_entry_in_the_middle_that_no_record_is_for() {
    let disk = store();
    disk.overwrite(&queue_file("t", 0), 7 * 20, &entry(place(9) + 1, 200, 0)).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-without-record consumequeue/t/0/0:140"]);
}

#[test]
fn what_lies_far_behind_the_end_is_looked_at_on_request() {
    let disk = MemDisk::new();
    let mut wide = config();
    wide.queues = gantry_storage::StoreConfig::new(wide.root.clone(), FILE, 200_000).queues;
    let mut broker = Broker::try_open(disk.clone(), wide).unwrap();
    fill(&mut broker, 0..3);
    broker.stop();
    let at = 5000 * 20;
    disk.overwrite(&queue_file("t", 0), at, &entry(0, 200, 0)).unwrap();
    assert_eq!(wrong(&disk), [""; 0]);
    let mut inspection = inspection();
    inspection.sweeps = true;
    let mut findings = Vec::new();
    verify(&disk, &inspection, &mut findings).unwrap();
    let expected = [format!("warning stale-entries consumequeue/t/0/0:{at}")];
    assert_eq!(lines(&findings, Severity::Warning), expected);
}

#[test]
fn files_of_a_queue() {
    let disk = store();
    let dir = queue_file("t", 0);
    let dir = dir.parent().unwrap();
    disk.write_atomic(&dir.join("x"), b"").unwrap();
    assert_eq!(wrong(&disk), ["fault foreign-file consumequeue/t/0/x"]);
    disk.remove(&dir.join("x")).unwrap();
    disk.write_atomic(&queue_file("t", 2 * QUEUE_FILE), &[0; QUEUE_FILE as usize]).unwrap();
    assert_eq!(wrong(&disk), ["fault file-gap consumequeue/t/0/2000"]);
    // The length is that of most files of all queues.
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    fill(&mut broker, 0..3);
    broker.send("u", 0, b"");
    broker.send("v", 0, b"");
    broker.stop();
    disk.resize(&queue_file("t", 0), 980).unwrap();
    assert_eq!(wrong(&disk), ["fault file-length consumequeue/t/0/0"]);
    mend(&disk);
    assert_eq!(wrong(&disk), [""; 0]);
    assert_eq!(Broker::open(disk).bodies("t", 0, 0).len(), 3);

    let disk = store();
    disk.write_atomic(&config().queues.dir.join("000012.sst"), b"").unwrap();
    assert_eq!(wrong(&disk), ["fault rocksdb consumequeue/000012.sst"]);
}

#[test]
fn a_delayed_message_has_its_time_of_delivery() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    let topic = "SCHEDULE_TOPIC_XXXX";
    let time = broker.now;
    send_with(&mut broker, topic, &[(properties::DELAY, "3"), (properties::TAGS, "x")]);
    let size = broker.log().max_offset().0 as u32;
    broker.stop();
    let put = |code: i64| {
        disk.overwrite(&queue_file(topic, 0), 0, &entry(0, size, code)).unwrap();
        wrong(&disk)
    };
    assert_eq!(put(time + 10_000), [""; 0]);
    assert_eq!(put(time - 1), ["fault entry-wrong consumequeue/SCHEDULE_TOPIC_XXXX/0/0:0"]);
    // Another table of delays is no fault.
    assert_eq!(put(time + 7_000), [""; 0]);
    assert_eq!(the(&disk, "delivery-time").severity, Severity::Note);
}

#[test]
fn a_light_queue_has_entries_for_records_of_other_topics() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    let dispatch = [
        (properties::INNER_MULTI_DISPATCH, "%LMQ%a,other"),
        (properties::INNER_MULTI_QUEUE_OFFSET, "0,"),
    ];
    let offset = send_with(&mut broker, "t", &dispatch);
    let size = broker.log().max_offset().0 as u32;
    broker.stop();
    assert_eq!(look(&disk).0.queues, 2);
    assert_eq!(wrong(&disk), [""; 0]);
    disk.overwrite(&queue_file("%LMQ%a", 0), 0, &[0; 20]).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-missing consumequeue/%LMQ%a/0/0:0"]);
    disk.overwrite(&queue_file("%LMQ%a", 0), 0, &entry(offset, size - 1, 0)).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-wrong consumequeue/%LMQ%a/0/0:0"]);
}

#[test]
fn an_entry_may_refer_to_its_extension() {
    let disk = store();
    let address = i64::MIN;
    disk.overwrite(&queue_file("t", 0), 5 * 20 + 12, &address.to_be_bytes()).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-wrong consumequeue/t/0/0:100"]);
    let mut unit = vec![0; 64];
    unit[..2].copy_from_slice(&20i16.to_be_bytes());
    let slot = disk.read_at(&queue_file("t", 0), 5 * 20, 8).unwrap();
    let record = u64::from_be_bytes(slot.try_into().unwrap());
    unit[10..18].copy_from_slice(&disk.read_at(&log_file(0), record + 56, 8).unwrap());
    let ext = root_file("consumequeue_ext/t/0").join(format!("{:020}", 0));
    disk.write_atomic(&ext, &unit).unwrap();
    assert_eq!(wrong(&disk), [""; 0]);
    assert_eq!(look(&disk).0.side_units, 1);
    disk.overwrite(&ext, 10, &[1]).unwrap();
    assert_eq!(wrong(&disk), ["warning ext-unit consumequeue/t/0/0:100"]);
    disk.overwrite(&ext, 9, &[1]).unwrap();
    assert_eq!(wrong(&disk), ["fault entry-wrong consumequeue/t/0/0:100"]);
}

#[test]
fn a_queue_that_was_made_again_has_several_lives_in_the_log() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    fill(&mut broker, 0..4);
    broker.queue("t", 0).delete().unwrap();
    broker.queues.clear();
    broker.next_offsets.clear();
    fill(&mut broker, 0..6);
    broker.stop();
    assert_eq!(wrong(&disk), [""; 0]);
    assert_eq!(the(&disk, "forgotten-records").found, "4 records of an earlier life of the queue");
}

#[test]
fn queues_are_printed_as_they_are() {
    let disk = store();
    let mut rows = Vec::new();
    let read = queue_contents(&disk, &config().root, ("t", 0), 3..5, &mut |row| {
        rows.push((row.queue_offset.0, row.offset.0, row.size));
        std::ops::ControlFlow::Continue(())
    });
    read.unwrap();
    assert_eq!(rows, [(3, 600, 200), (4, 800, 200)]);
}
