//! Opening a store that was left in any state: what is kept, what is cut, what is refused.

mod common;

use std::{path::PathBuf, sync::Arc};

use common::{Broker, body, config, record, record_len};
use gantry_codec::{Record, record::BLANK_MAGIC};
use gantry_storage::{
    CloseError, ConsumeQueue, Disk, IndexEntry, MemDisk, OpenError, PhysicalOffset, QueueId,
    QueueOffset, Store,
};

const FILE: u64 = 2048;

fn log_file(start: u64) -> PathBuf {
    config().log.dirs[0].join(format!("{start:020}"))
}

fn queue_file(topic: &str, queue: u32, start: u64) -> PathBuf {
    config().queues.queue_dir(topic, QueueId(queue)).join(format!("{start:020}"))
}

/// First offset of the queue of topic `t` and one past its last, before anything is dispatched.
fn found(disk: &MemDisk) -> (u64, u64) {
    let store = Store::open(config(), Arc::new(disk.clone())).unwrap();
    let (min, max) = store.queue_range("t", QueueId(0)).unwrap();
    (min.0, max.0)
}

/// A broker that has written `messages` messages of 200 bytes each, ten to a file.
fn fill(disk: &MemDisk, messages: usize) -> Broker {
    let mut broker = Broker::open(disk.clone());
    for number in 0..messages {
        broker.now += 1000;
        broker.send("t", 0, &body(number, 108));
    }
    broker
}

fn send(broker: &mut Broker, numbers: std::ops::Range<usize>) {
    for number in numbers {
        broker.send("t", 0, &body(number, 108));
    }
}

fn place(message: u64) -> u64 {
    message / 10 * FILE + message % 10 * 200
}

fn end(broker: &Broker) -> u64 {
    broker.log().max_offset().0
}

/// All messages that the queue gives, each of which must be the one of its number.
fn count(broker: &mut Broker) -> usize {
    let bodies = broker.bodies("t", 0, 0);
    for (number, found) in bodies.iter().enumerate() {
        assert_eq!(*found, body(number, found.len()));
    }
    bodies.len()
}

/// Whether files hold nothing but zeros from there on.
fn is_zero_from(disk: &MemDisk, at: u64) -> bool {
    let bytes = disk.read(&log_file(at / FILE * FILE)).unwrap().unwrap();
    bytes.iter().skip((at % FILE) as usize).all(|byte| *byte == 0)
}

#[test]
fn a_record_torn_at_any_byte_is_not_taken() {
    let disk = MemDisk::new();
    let mut broker = fill(&disk, 3);
    broker.append("t", 0, &body(3, 40), "tag");
    let whole = (broker.publish().0 - 600) as usize;
    drop(broker);
    let last = disk.read_at(&log_file(0), 600, whole).unwrap();
    for torn_at in 0..=whole {
        let mut torn = last.clone();
        torn[torn_at..].fill(0);
        disk.overwrite(&log_file(0), 600, &torn).unwrap();
        let mut broker = Broker::open(disk.clone());
        let expected = if torn == last { 4 } else { 3 };
        assert_eq!(count(&mut broker), expected, "torn at {torn_at} of {whole}");
        assert_eq!(end(&broker), if torn == last { 600 + whole as u64 } else { 600 });
        assert!(torn == last || is_zero_from(&disk, 600));
    }
}

#[test]
fn damage_ends_the_log_and_clears_what_follows() {
    // Where in message 14 of 25, and what is written there.
    let damages: [(&str, u64, &[u8]); 9] = [
        ("zeros in place of the size and magic", 0, &[0; 8]),
        ("size of a byte more", 3, &[201]),
        ("size of 16 MiB", 0, &[1]),
        ("negative size", 0, &[255]),
        ("unknown magic", 7, &[0xA8]),
        ("another CRC", 11, b"?"),
        ("a bit in the body", 150, b"y"),
        ("body length", 84, &[0, 0, 0, 109]),
        ("topic length", 88 + 108, &[2]),
    ];
    for (name, at, bytes) in damages {
        let disk = MemDisk::new();
        drop(fill(&disk, 25));
        disk.overwrite(&log_file(FILE), 4 * 200 + at, bytes).unwrap();
        let mut broker = Broker::open(disk.clone());
        assert_eq!(end(&broker), place(14), "{name}");
        assert_eq!(count(&mut broker), 14, "{name}");
        assert!(is_zero_from(&disk, place(14)), "{name}");
        assert!(disk.read(&log_file(2 * FILE)).unwrap().is_none(), "{name}: later files go");
        let broken = broker.store.report().broken.clone();
        assert_eq!(broken.is_some(), at != 0 || bytes.len() == 1, "{name}: {broken:?}");
        // What is written now is what is found then, and nothing stale behind it.
        broker.send("t", 0, &body(14, 108));
        drop(broker);
        assert_eq!(count(&mut Broker::open(disk)), 15, "{name}");
    }
}

#[test]
fn the_crc_check_can_be_switched_off() {
    let disk = MemDisk::new();
    drop(fill(&disk, 5));
    disk.corrupt(&log_file(0), 3 * 200 + 150).unwrap();
    let lenient = gantry_storage::StoreConfig { check_crc: false, ..config() };
    let store = Store::open(lenient, Arc::new(disk.clone())).unwrap();
    assert_eq!(store.log().max_offset(), PhysicalOffset(1000));
    drop(store);
    assert_eq!(end(&Broker::open(disk)), 600);
}

#[test]
fn after_an_orderly_stop_nothing_is_read_again() {
    let disk = MemDisk::new();
    fill(&disk, 25).stop();
    assert!(disk.read(&config().root.join("abort")).unwrap().is_none());
    // Damage before the checkpoint is not looked for.
    disk.corrupt(&log_file(0), 150).unwrap();
    let broker = Broker::open(disk.clone());
    let report = broker.store.report();
    assert!(report.clean && report.broken.is_none());
    assert_eq!(report.dispatch_from, PhysicalOffset(place(25)));
    assert_eq!(report.to_string(), "stopped in order, log 0 to 5096, 1 queues");
    assert_eq!(broker.range("t", 0), (0, 25));
    assert!(disk.read(&config().root.join("abort")).unwrap().is_some());
}

#[test]
fn after_an_abrupt_stop_work_begins_at_the_checkpoint() {
    let disk = MemDisk::new();
    let mut broker = fill(&disk, 12);
    broker.checkpoint().unwrap();
    send(&mut broker, 12..25);
    drop(broker);
    assert_eq!(found(&disk), (0, 12), "cut, then brought up to date");
    let mut broker = Broker::open(disk);
    let report = broker.store.report().clone();
    assert_eq!(report.dispatch_from, PhysicalOffset(place(12)));
    assert!(report.to_string().starts_with("stopped abruptly, log 0 to 5096"), "{report}");
    assert_eq!(count(&mut broker), 25);
    assert_eq!(broker.log().last_timestamp(), 1_000_000 + 12_000);
}

#[test]
fn a_loss_of_power_leaves_what_was_flushed() {
    let disk = MemDisk::new();
    let mut broker = fill(&disk, 12);
    broker.checkpoint().unwrap();
    send(&mut broker, 12..25);
    broker.log().flusher().sync().unwrap();
    send(&mut broker, 25..31);
    let is_queue = |path: &std::path::Path| path.starts_with(config().queues.dir);
    for (name, crashed, expected) in [
        ("nothing but what was flushed", disk.crash(), 25),
        ("index pages got ahead of the log", disk.crash_keeping(|path, _| is_queue(path)), 25),
        ("log pages got ahead of the index", disk.crash_keeping(|path, _| !is_queue(path)), 31),
        ("all pages", disk.crash_keeping(|_, _| true), 31),
    ] {
        let mut broker = Broker::open(crashed);
        assert_eq!(count(&mut broker), expected, "{name}");
        broker.send("t", 0, &body(expected, 108));
        assert_eq!(count(&mut broker), expected + 1, "{name}");
    }
}

#[test]
fn holes_in_the_index_are_filled() {
    let disk = MemDisk::new();
    let mut broker = fill(&disk, 40);
    broker.checkpoint().unwrap();
    send(&mut broker, 40..90);
    drop(broker);
    // Some slots never reached the disk; those behind them did.
    disk.overwrite(&queue_file("t", 0, 0), 45 * 20, &[0; 60]).unwrap();
    disk.overwrite(&queue_file("t", 0, 1000), 7 * 20, &[0; 60]).unwrap();
    assert_eq!(count(&mut Broker::open(disk)), 90);
}

/// The checkpoint as a Java broker writes it.
fn write_java_checkpoint(disk: &MemDisk, physic: i64, logics: i64) {
    let mut file = vec![0; 4096];
    file[..8].copy_from_slice(&physic.to_be_bytes());
    file[8..16].copy_from_slice(&logics.to_be_bytes());
    disk.write_atomic(&config().root.join("checkpoint"), &file).unwrap();
}

#[test]
fn a_store_left_in_order_by_java() {
    let disk = MemDisk::new();
    fill(&disk, 25).stop();
    write_java_checkpoint(&disk, 1, 1);
    // One record that the queue lacks lies exactly at its end: it must not be missed.
    let mut files = ConsumeQueue::open(
        Arc::new(disk.clone()),
        &config().queues,
        "t",
        QueueId(0),
        (PhysicalOffset(0), PhysicalOffset(place(24))),
    )
    .unwrap();
    assert_eq!(files.max_offset(), QueueOffset(24));
    files.delete().unwrap();
    let entries: Vec<_> = (0..24).map(entry).collect();
    files.append(QueueOffset(0), &entries).unwrap();
    drop(files);
    let mut broker = Broker::open(disk.clone());
    assert!(broker.store.report().clean);
    assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(place(24)));
    assert_eq!(count(&mut broker), 25);
    broker.stop();

    // A queue that is cut to nothing is still told of, so that it gets its messages back.
    write_java_checkpoint(&disk, 1, 1);
    disk.write_atomic(&config().root.join("abort"), b"").unwrap();
    assert_eq!(found(&disk), (0, 0));
    let mut broker = Broker::open(disk.clone());
    assert_eq!(count(&mut broker), 25);
    broker.stop();

    // Without any queue, everything is dispatched again.
    write_java_checkpoint(&disk, 1, 1);
    disk.remove_dir(&config().queues.dir).unwrap();
    let mut broker = Broker::open(disk);
    assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(0));
    assert_eq!(count(&mut broker), 25);
}

fn entry(message: u64) -> IndexEntry {
    IndexEntry { offset: PhysicalOffset(place(message)), size: 200, tags_code: 0 }
}

#[test]
fn a_store_left_abruptly_by_java() {
    // Message n was stored at 1 001 000 + 1000·n; files begin with messages 0, 10 and 20.
    for (physic, logics, from) in [
        (1_024_000, 1_024_000, 2 * FILE),
        (1_024_000, 1_023_999, FILE),
        (1_014_000, 9_999_999, FILE),
        (1_013_999, 9_999_999, 0),
        (0, 0, 0),
    ] {
        let disk = MemDisk::new();
        drop(fill(&disk, 25));
        write_java_checkpoint(&disk, physic, logics);
        let mut broker = Broker::open(disk);
        assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(from), "{physic} {logics}");
        assert_eq!(count(&mut broker), 25);
    }
}

#[test]
fn stale_slots_behind_the_end_of_a_queue() {
    let disk = MemDisk::new();
    fill(&disk, 25).stop();
    write_java_checkpoint(&disk, 1, 1);
    // Java cut the queue to 20, wrote 5 entries, and left old ones behind them: places in the log where
    // no record starts, or one of another place in the queue.
    let stale = [
        IndexEntry { offset: PhysicalOffset(place(3) + 7), size: 200, tags_code: 0 },
        IndexEntry { offset: PhysicalOffset(place(4)), size: 200, tags_code: 0 },
        IndexEntry { offset: PhysicalOffset(place(5)), size: 100, tags_code: 0 },
    ];
    let within = (PhysicalOffset(0), PhysicalOffset(u64::MAX));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut queue = ConsumeQueue::open(shared, &config().queues, "t", QueueId(0), within).unwrap();
    queue.append(QueueOffset(25), &stale).unwrap();
    drop(queue);
    let mut broker = Broker::open(disk.clone());
    assert_eq!(broker.range("t", 0), (0, 25));
    assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(place(25)));
    assert_eq!(count(&mut broker), 25);
    let behind = disk.read_at(&queue_file("t", 0, 0), 25 * 20, 500).unwrap();
    assert!(behind.iter().all(|byte| *byte == 0), "stale slots are cleared");
}

#[test]
fn entries_of_light_queues_that_no_record_names_are_cut() {
    let disk = MemDisk::new();
    let mut broker = fill(&disk, 5);
    let light = broker.queue("%LMQ%x", 0);
    light.append(QueueOffset(0), &[entry(1), entry(3)]).unwrap();
    broker.stop();
    // As a Java broker left it, which writes no ends down.
    disk.remove(&config().root.join("queue-ends")).unwrap();
    let broker = Broker::open(disk);
    assert_eq!(broker.range("%LMQ%x", 0), (0, 0));
}

#[test]
fn queues_keep_their_offsets_when_their_messages_are_gone() {
    let disk = MemDisk::new();
    fill(&disk, 25).stop();
    for file in 0..2 {
        disk.remove(&log_file(file * FILE)).unwrap();
    }
    let broker = Broker::open(disk.clone());
    assert_eq!(broker.log().min_offset(), PhysicalOffset(2 * FILE));
    assert_eq!(broker.range("t", 0), (20, 25));
    drop(broker);
    // All are gone, and the log goes on in a file behind.
    disk.remove(&log_file(2 * FILE)).unwrap();
    disk.create_segment(&log_file(3 * FILE), 3 * FILE, FILE).unwrap();
    let mut broker = Broker::open(disk);
    assert_eq!(broker.range("t", 0), (25, 25));
    broker.send("t", 0, &body(25, 108));
    assert_eq!(broker.bodies("t", 0, 25), [body(25, 108)]);
}

#[test]
fn a_spare_file_is_no_part_of_the_log() {
    for stops_in_order in [true, false] {
        let disk = MemDisk::new();
        let broker = fill(&disk, 15);
        if stops_in_order {
            broker.stop()
        } else {
            drop(broker)
        }
        for spare in [2, 3] {
            disk.create_segment(&log_file(spare * FILE), spare * FILE, FILE).unwrap();
        }
        let mut broker = Broker::open(disk.clone());
        assert_eq!(end(&broker), place(15));
        assert_eq!(count(&mut broker), 15);
        assert_eq!(disk.list(&config().log.dirs[0]).unwrap().len(), 2);
        send(&mut broker, 15..35);
        assert_eq!(count(&mut broker), 35);
    }
}

#[test]
fn a_log_may_end_with_its_file() {
    for has_next in [true, false] {
        let disk = MemDisk::new();
        let mut broker = fill(&disk, 10);
        // The blank record is written when the next file is begun.
        assert!(broker.append("t", 0, &[1; 300], "").0 == FILE);
        broker.publish();
        drop(broker);
        disk.clear_from(&log_file(FILE), 0).unwrap();
        if !has_next {
            disk.remove(&log_file(FILE)).unwrap();
        }
        let mut broker = Broker::open(disk);
        assert_eq!(end(&broker), FILE);
        assert_eq!(count(&mut broker), 10);
        broker.send("t", 0, &body(10, 108));
        assert_eq!((end(&broker), count(&mut broker)), (FILE + 200, 11));
    }
}

#[test]
fn what_lies_behind_a_blank_record_does_not_matter() {
    let disk = MemDisk::new();
    drop(fill(&disk, 15));
    // Garbage, and a size that is not that of the rest.
    let mut blank = vec![0xEE; 48];
    blank[..8].copy_from_slice(&[0, 0, 0, 9, 0xCB, 0xD4, 0x31, 0x94]);
    disk.overwrite(&log_file(0), 2000, &blank).unwrap();
    let mut broker = Broker::open(disk);
    assert_eq!((end(&broker), count(&mut broker)), (place(15), 15));
}

#[test]
fn a_blank_record_of_eight_bytes_ends_a_file() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, &body(0, (FILE - 8 - record_len(0)) as usize));
    broker.send("t", 0, &body(1, 10));
    assert_eq!(end(&broker), FILE + record_len(10));
    drop(broker);
    let tail = disk.read_at(&log_file(0), FILE - 8, 8).unwrap();
    assert_eq!(tail[4..], BLANK_MAGIC.to_be_bytes());
    assert_eq!(count(&mut Broker::open(disk)), 2);
}

#[test]
fn the_place_that_a_record_names_does_not_matter() {
    let disk = MemDisk::new();
    drop(fill(&disk, 3));
    let bytes = disk.read_at(&log_file(0), 200, 200).unwrap();
    let mut moved = Record::decode(&bytes).unwrap();
    moved.physical_offset = 777_777;
    let mut bytes = vec![0; 200];
    moved.write_to(&mut bytes);
    disk.overwrite(&log_file(0), 200, &bytes).unwrap();
    assert_eq!(count(&mut Broker::open(disk)), 3);
}

#[test]
fn records_of_every_form_are_whole() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, &body(0, 10));
    let long_topic = format!("%RETRY%{}", "x".repeat(200));
    let mut v6 = record("t", 0, b"", "");
    v6.queue_offset = 1;
    v6.born_host = "[2001:db8::1]:1".parse().unwrap();
    v6.store_host = v6.born_host;
    broker.tail.append(&mut v6).unwrap();
    broker.tail.append(&mut record(&long_topic, 0, b"body", "")).unwrap();
    let published = broker.publish();
    drop(broker);
    assert_eq!(Broker::open(disk).log().max_offset(), published);
}

/// What opening says after `prepare` has worked on a store of three log files.
fn open_after(prepare: impl FnOnce(&MemDisk)) -> Result<usize, OpenError> {
    let disk = MemDisk::new();
    fill(&disk, 25).stop();
    prepare(&disk);
    let files = || disk.list(&config().log.dirs[0]).unwrap().len();
    Store::open(config(), Arc::new(disk.clone())).map(|_| files())
}

#[test]
fn what_lies_in_the_logs_folder_besides() {
    let write = |name: &str, bytes: &[u8]| {
        open_after(|disk| disk.write_atomic(&config().log.dirs[0].join(name), bytes).unwrap())
    };
    let next = format!("{:020}", 3 * FILE);
    assert!(matches!(write(&next, &[]), Ok(3)), "without length, last: removed");
    assert!(matches!(write(&next, &[0; 100]), Ok(3)), "without a record, last: removed");
    assert!(matches!(write(&next, &[1; 100]), Err(OpenError::Length { len: 100, want: 2048, .. })));
    assert!(matches!(write(&next, &[0; 4096]), Ok(3)));
    assert!(matches!(write("00000000000000000005", &[1; 5]), Err(OpenError::Foreign { .. })));
    assert!(matches!(write("6144", &[0; 2048]), Err(OpenError::Foreign { .. })));
    assert!(matches!(write("readme", &[0; 2048]), Err(OpenError::Foreign { .. })));
    let gap = format!("{:020}", 4 * FILE);
    let missing = write(&gap, &[0; 2048]);
    assert!(matches!(missing, Err(OpenError::Missing { missing }) if missing == 3 * FILE));
    let short = open_after(|disk| disk.resize(&log_file(FILE), 100).unwrap());
    assert!(matches!(short, Err(OpenError::Length { .. })));
    let folder = open_after(|disk| disk.create_dir(&config().log.dirs[0].join("folder")).unwrap());
    assert!(folder.is_ok());
}

#[test]
fn another_configured_size_is_told() {
    let disk = MemDisk::new();
    fill(&disk, 25).stop();
    let mut other = config();
    other.log.segment_bytes = 4096;
    let refused = Store::open(other, Arc::new(disk.clone())).err().unwrap().to_string();
    assert!(refused.contains("2048 bytes, 4096 are configured (mappedFileSizeCommitLog)"));
    let mut other = config();
    other.queues.segment_bytes = 2000;
    let refused = Store::open(other, Arc::new(disk.clone())).err().unwrap().to_string();
    assert!(refused.contains("1000 bytes, 2000 are configured (mappedFileSizeConsumeQueue)"));
    assert!(Broker::try_open(disk, config()).is_ok(), "nothing was changed");
}

#[test]
fn queues_in_rocksdb_are_refused() {
    let opened = open_after(|disk| {
        disk.write_atomic(&config().queues.dir.join("000012.sst"), b"x").unwrap();
    });
    assert!(matches!(opened, Err(OpenError::RocksDb { .. })));
    let ignored = open_after(|disk| {
        disk.write_atomic(&config().queues.dir.join("t/not a queue/file"), b"x").unwrap();
        disk.create_dir(&config().root.join("rocksdbstore")).unwrap();
        disk.write_atomic(&config().root.join("abort.bak"), b"").unwrap();
    });
    assert!(ignored.is_ok());
}

#[test]
fn a_store_whose_queues_lack_something_is_not_marked_as_left_in_order() {
    let disk = MemDisk::new();
    let mut broker = fill(&disk, 5);
    broker.append("t", 0, &body(5, 108), "");
    broker.publish();
    broker.checkpoint().unwrap();
    let refused = broker.store.close().unwrap_err();
    assert!(matches!(
        refused,
        CloseError::Undispatched { dispatched: PhysicalOffset(1000), end: PhysicalOffset(1200) }
    ));
    drop(broker);
    let mut broker = Broker::open(disk);
    assert!(!broker.store.report().clean);
    assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(1000));
    assert_eq!(count(&mut broker), 6);
}

#[test]
fn any_abort_file_tells_of_an_abrupt_stop() {
    for content in ["", "12345", "what?"] {
        let disk = MemDisk::new();
        fill(&disk, 5).stop();
        disk.write_atomic(&config().root.join("abort"), content.as_bytes()).unwrap();
        assert!(!Broker::open(disk).store.report().clean);
    }
}

#[test]
fn a_recovery_that_fails_can_be_repeated() {
    let disk = MemDisk::new();
    let mut broker = fill(&disk, 12);
    broker.checkpoint().unwrap();
    send(&mut broker, 12..25);
    drop(broker);
    disk.corrupt(&log_file(2 * FILE), 300).unwrap();
    disk.fail_syncs(true);
    assert!(matches!(Broker::try_open(disk.clone(), config()), Err(OpenError::Io { .. })));
    disk.fail_syncs(false);
    disk.set_free_bytes(Some(3));
    assert!(matches!(Broker::try_open(disk.clone(), config()), Err(OpenError::Io { .. })));
    disk.set_free_bytes(None);
    for _ in 0..3 {
        let mut broker = Broker::open(disk.clone());
        assert!(!broker.store.report().clean);
        assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(place(12)));
        assert_eq!((end(&broker), count(&mut broker)), (place(21), 21));
    }
}

#[test]
fn what_recovery_takes_for_written_is_on_disk() {
    let disk = MemDisk::new();
    drop(fill(&disk, 25));
    // The process dies, nothing was synced; the next one finds all in memory and takes it over.
    let broker = Broker::open(disk.clone());
    assert_eq!(broker.log().flushed_offset(), PhysicalOffset(place(25)));
    assert_eq!(count(&mut Broker::open(disk.crash())), 25);
}
