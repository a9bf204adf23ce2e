//! The log's tail and its readers: files, blank records, publishing, flushing.

mod common;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{Broker, body, config, record, record_len};
use gantry_codec::record::{BLANK_MAGIC, Record};
use gantry_storage::{
    AppendError, CommitLog, Disk, DiskFault, DiskOp, DispatchMark, FaultPlan, FlushError,
    LogPreparer, LogTail, MemDisk, PhysicalOffset, RealDisk, Store, StoreConfig, allocate_segment,
};

const FILE: u64 = 2048;

fn open(disk: &MemDisk) -> (Store, LogTail) {
    let store = Store::open(config(), Arc::new(disk.clone())).unwrap();
    let tail = store.log().tail().unwrap();
    (store, tail)
}

/// Appends a record of `len` bytes.
fn append(tail: &mut LogTail, len: u64) -> Result<PhysicalOffset, AppendError> {
    let body = body(7, (len - record_len(0)) as usize);
    tail.append(&mut record("t", 0, &body, "")).map(|appended| {
        assert_eq!(u64::from(appended.len), len);
        appended.offset
    })
}

fn install_next(disk: &MemDisk, tail: &mut LogTail) {
    let segment = allocate_segment(disk, &config().log, tail.next_segment_start()).unwrap();
    tail.install(segment).unwrap();
}

fn places(log: &CommitLog, offset: PhysicalOffset) -> i64 {
    let slice = log.record_at(offset).unwrap();
    Record::decode(&slice).unwrap().physical_offset
}

#[test]
fn an_empty_log_asks_for_its_first_file() {
    let disk = MemDisk::new();
    let (store, mut tail) = open(&disk);
    let full = AppendError::SegmentFull { len: 200, next: PhysicalOffset(0) };
    assert_eq!(append(&mut tail, 200), Err(full));
    assert!(disk.list(&config().log.dirs[0]).unwrap().is_empty());
    install_next(&disk, &mut tail);
    assert_eq!(append(&mut tail, 200), Ok(PhysicalOffset(0)));
    assert_eq!(store.log().max_offset(), PhysicalOffset(0));
    assert_eq!(tail.publish(5).unwrap(), PhysicalOffset(200));
    assert_eq!(store.log().last_timestamp(), 5);
}

#[test]
fn what_is_published_can_be_read_and_nothing_else() {
    let disk = MemDisk::new();
    let (store, mut tail) = open(&disk);
    install_next(&disk, &mut tail);
    let log = store.log();
    append(&mut tail, 200).unwrap();
    append(&mut tail, 300).unwrap();
    assert!(log.record_at(PhysicalOffset(0)).is_none());
    tail.publish(0).unwrap();
    append(&mut tail, 400).unwrap();
    assert_eq!(log.record_at(PhysicalOffset(0)).unwrap().len(), 200);
    assert_eq!(places(log, PhysicalOffset(200)), 200);
    assert!(log.record_at(PhysicalOffset(500)).is_none());
    assert_eq!(log.read(PhysicalOffset(0), 500).unwrap().len(), 500, "adjacent records at once");
    assert!(log.read(PhysicalOffset(0), 501).is_none());
    for nonsense in [1, 199, 499, 2048, u64::MAX] {
        assert!(log.record_at(PhysicalOffset(nonsense)).is_none(), "{nonsense}");
        assert_eq!(log.store_timestamp(PhysicalOffset(nonsense)), None, "{nonsense}");
    }
}

#[test]
fn a_record_that_leaves_room_for_a_blank_one_fits() {
    for (len, fits) in [(FILE - 200 - 8, true), (FILE - 200 - 7, false)] {
        let disk = MemDisk::new();
        let (store, mut tail) = open(&disk);
        install_next(&disk, &mut tail);
        append(&mut tail, 200).unwrap();
        let appended = append(&mut tail, len);
        if fits {
            assert_eq!(appended, Ok(PhysicalOffset(200)));
        } else {
            let full = AppendError::SegmentFull { len, next: PhysicalOffset(FILE) };
            assert_eq!(appended, Err(full));
        }
        install_next(&disk, &mut tail);
        assert_eq!(append(&mut tail, 100), Ok(PhysicalOffset(FILE)));
        tail.publish(0).unwrap();
        // The blank record: the rest of the file, also if that is the 8 bytes alone.
        let rest = if fits { 8 } else { FILE - 200 };
        let blank = store.log().read(PhysicalOffset(FILE - rest), 8).unwrap();
        assert_eq!(blank[..4], (rest as u32).to_be_bytes());
        assert_eq!(blank[4..], BLANK_MAGIC.to_be_bytes());
        assert!(store.log().record_at(PhysicalOffset(FILE - rest)).is_none());
        assert_eq!(places(store.log(), PhysicalOffset(FILE)), FILE as i64);
    }
}

#[test]
fn limits_are_errors_and_change_nothing() {
    let disk = MemDisk::new();
    let (_store, mut tail) = open(&disk);
    install_next(&disk, &mut tail);
    assert_eq!(append(&mut tail, FILE - 8), Ok(PhysicalOffset(0)));
    let too_large = |what, len, max| Err(AppendError::TooLarge { what, len, max });
    assert_eq!(append(&mut tail, FILE - 7), too_large("record", FILE - 7, FILE - 8));
    assert_eq!(tail.check_room(FILE - 7), too_large("record", FILE - 7, FILE - 8).map(|_| ()));
    let (topic, text) = ("t".repeat(256), "p".repeat(32768));
    let append = |tail: &mut LogTail, topic: &str, text: &str| {
        tail.append(&mut record(topic, 0, b"", text)).map(|appended| appended.offset)
    };
    assert_eq!(append(&mut tail, &topic, ""), too_large("topic", 256, 255));
    assert_eq!(append(&mut tail, "t", &text), too_large("properties", 32768, 32767));
    assert_eq!(tail.publish(0).unwrap(), PhysicalOffset(FILE - 8));
}

#[test]
fn a_batch_is_checked_as_a_whole() {
    let disk = MemDisk::new();
    let (_store, mut tail) = open(&disk);
    install_next(&disk, &mut tail);
    append(&mut tail, 1000).unwrap();
    assert_eq!(tail.check_room(FILE - 1000 - 8), Ok(()));
    let moved = tail.check_room(FILE - 1000 - 7);
    assert_eq!(
        moved,
        Err(AppendError::SegmentFull { len: FILE - 1000 - 7, next: PhysicalOffset(FILE) })
    );
}

#[test]
fn a_file_that_does_not_continue_the_log_is_refused() {
    let disk = MemDisk::new();
    let (_store, mut tail) = open(&disk);
    let other = allocate_segment(&disk, &config().log, PhysicalOffset(FILE)).unwrap();
    let wrong = tail.install(other).unwrap_err();
    assert_eq!((wrong.start, wrong.next), (FILE, PhysicalOffset(0)));
    let short = disk.create_segment(Path::new("/short"), 0, 100).unwrap();
    assert_eq!(tail.install(short).unwrap_err().len, 100);
    let taken = allocate_segment(&disk, &config().log, PhysicalOffset(0)).unwrap();
    let writer = taken.writer();
    assert!(tail.install(taken.clone()).is_err(), "somebody writes it");
    drop(writer);
    tail.install(taken).unwrap();
}

#[test]
fn there_is_one_tail() {
    let disk = MemDisk::new();
    let (store, tail) = open(&disk);
    assert!(store.log().tail().is_none());
    drop(tail);
    assert!(store.log().tail().is_some());
}

#[test]
fn what_a_dropped_tail_had_not_published_is_gone() {
    let disk = MemDisk::new();
    let (store, mut tail) = open(&disk);
    install_next(&disk, &mut tail);
    append(&mut tail, 200).unwrap();
    tail.publish(0).unwrap();
    // A round that fills the file, goes on in the next one and dies.
    append(&mut tail, 1000).unwrap();
    append(&mut tail, 500).unwrap();
    install_next(&disk, &mut tail);
    append(&mut tail, 900).unwrap();
    drop(tail);
    for (start, from) in [(0, 200), (FILE, 0)] {
        let path = config().log.dirs[0].join(format!("{start:020}"));
        let bytes = disk.read(&path).unwrap().unwrap();
        assert!(bytes[from..].iter().all(|byte| *byte == 0), "file {start}");
    }

    let mut tail = store.log().tail().unwrap();
    assert_eq!(append(&mut tail, 1700), Ok(PhysicalOffset(200)));
    // The allocator, asked again, gives the file that is there; the log knows it already.
    let again = allocate_segment(&disk, &config().log, tail.next_segment_start()).unwrap();
    assert!(matches!(append(&mut tail, 300), Err(AppendError::SegmentFull { .. })));
    assert!(tail.install(again).is_err());
    assert!(tail.advance());
    assert!(!tail.advance(), "there is no third one");
    assert_eq!(append(&mut tail, 300), Ok(PhysicalOffset(FILE)));
    tail.publish(0).unwrap();
    drop((store, tail));
    assert_eq!(open(&disk).0.log().max_offset(), PhysicalOffset(FILE + 300));
}

#[test]
fn a_flush_covers_all_files_since_the_last_one() {
    let disk = MemDisk::new();
    let (store, mut tail) = open(&disk);
    let mut flusher = store.log().flusher();
    assert_eq!(flusher.sync(), Ok(PhysicalOffset(0)));
    for number in 0..7 {
        if append(&mut tail, 900).is_err() {
            install_next(&disk, &mut tail);
            append(&mut tail, 900).unwrap();
        }
        tail.publish(number).unwrap();
    }
    assert_eq!(store.log().flushed_offset(), PhysicalOffset(0));
    assert_eq!(flusher.sync(), Ok(PhysicalOffset(3 * FILE + 900)));
    assert_eq!(store.log().flushed_offset(), PhysicalOffset(3 * FILE + 900));
    assert_eq!(store.log().flushed_timestamp(), 6);
    let after = disk.crash();
    assert_eq!(open(&after).0.log().max_offset(), PhysicalOffset(3 * FILE + 900));
}

#[test]
fn a_failed_flush_closes_the_log_for_good() {
    let disk = MemDisk::new();
    let (store, mut tail) = open(&disk);
    install_next(&disk, &mut tail);
    append(&mut tail, 200).unwrap();
    tail.publish(0).unwrap();
    disk.fail_syncs(true);
    let mut flusher = store.log().flusher();
    assert!(matches!(flusher.sync(), Err(FlushError::Io { .. })));
    disk.fail_syncs(false);
    assert_eq!(flusher.sync(), Err(FlushError::Poisoned));
    assert_eq!(store.log().flusher().sync(), Err(FlushError::Poisoned), "another one neither");
    assert_eq!(append(&mut tail, 200), Err(AppendError::Poisoned));
    assert_eq!(tail.check_room(1), Err(AppendError::Poisoned));
    assert!(store.log().is_poisoned());
    assert!(store.log().record_at(PhysicalOffset(0)).is_some(), "reading goes on");
    assert!(
        store.checkpoint(DispatchMark { end: PhysicalOffset(200), last_record: None }).is_err()
    );
    assert!(store.close().is_err());
}

#[test]
fn a_full_disk_is_an_error_of_the_allocation() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    disk.set_free_bytes(Some(FILE + 5000));
    for number in 0..20 {
        let appended = broker.try_append("t", 0, &body(number, 100), "");
        if number < 10 {
            appended.unwrap();
        } else {
            assert!(matches!(appended, Err(AppendError::SegmentFull { .. })), "{number}");
        }
        broker.publish();
        broker.dispatch();
        if number == 9 {
            disk.set_free_bytes(Some(FILE - 1));
        }
    }
    assert_eq!(broker.bodies("t", 0, 0).len(), 10);
    disk.set_free_bytes(None);
    broker.send("t", 0, &[b'r'; 200]);
    assert_eq!(broker.bodies("t", 0, 10), [[b'r'; 200]]);
    let names = disk.list(&config().log.dirs[0]).unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn slices_outlive_the_log() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk);
    let offset = broker.send("t", 0, b"still here");
    let bytes = broker.log().record_at(offset).unwrap().into_bytes();
    drop(broker);
    assert_eq!(Record::decode(&bytes).unwrap().body, b"still here");
}

/// How many pieces a preparer finds to prepare.
fn prepare_all(preparer: &mut LogPreparer) -> usize {
    std::iter::from_fn(|| preparer.prepare(500).unwrap().then_some(())).count()
}

#[test]
fn zeros_are_written_as_far_ahead_as_they_should_be() {
    let disk = MemDisk::new();
    let (store, mut tail) = open(&disk);
    let mut preparer = store.log().preparer(Arc::new(disk.clone()), 100);
    assert_eq!(prepare_all(&mut preparer), 0, "there is no file");
    install_next(&disk, &mut tail);
    assert_eq!(prepare_all(&mut preparer), 5);
    append(&mut tail, 250).unwrap();
    assert_eq!(prepare_all(&mut preparer), 0, "nothing is published");
    tail.publish(1).unwrap();
    assert_eq!(prepare_all(&mut preparer), 3, "up to 750");
    for _ in 0..4 {
        append(&mut tail, 250).unwrap();
    }
    tail.publish(1).unwrap();
    assert_eq!(prepare_all(&mut preparer), 6, "from the end of the records at 1250 on");
    append(&mut tail, 700).unwrap();
    tail.publish(1).unwrap();
    assert_eq!(prepare_all(&mut preparer), 2, "to the end of the file");
    assert!(append(&mut tail, 200).is_err());
    install_next(&disk, &mut tail);
    append(&mut tail, 200).unwrap();
    tail.publish(1).unwrap();
    assert_eq!(prepare_all(&mut preparer), 6, "up to 700 in the next file, from its record on");
    let log = store.log();
    for offset in [0, 250, 500, 750, 1000, 1250, FILE] {
        assert_eq!(places(log, PhysicalOffset(offset)), offset as i64);
    }
}

#[test]
fn what_cannot_be_prepared_is_an_error_and_the_log_goes_on() {
    let disk = MemDisk::new();
    let (store, mut tail) = open(&disk);
    install_next(&disk, &mut tail);
    let mut preparer = store.log().preparer(Arc::new(disk.clone()), 100);
    disk.set_plan(FaultPlan::new(1).at_op(DiskOp::Write, 0, DiskFault::Io));
    assert!(preparer.prepare(500).is_err());
    append(&mut tail, 250).unwrap();
    tail.publish(1).unwrap();
    store.log().flusher().sync().unwrap();
    assert_eq!(prepare_all(&mut preparer), 6);
    assert_eq!(places(store.log(), PhysicalOffset(0)), 0);
}

/// Zeros and records race for the same bytes of a real file, and records always win.
#[test]
fn zeros_never_meet_records() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig::new(dir.path().join("store"), 1 << 20, 1000);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = Store::open(config.clone(), disk.clone()).unwrap();
    let (mut tail, log) = (store.log().tail().unwrap(), store.log());
    let segment = allocate_segment(&*disk, &config.log, PhysicalOffset(0)).unwrap();
    tail.install(segment).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // So little ahead that the tail is always about to overtake it.
            let mut preparer = log.preparer(disk.clone(), 64);
            while !is_done.load(Ordering::Acquire) {
                preparer.prepare(300).unwrap();
            }
        });
        while append(&mut tail, 200).is_ok() {
            tail.publish(1).unwrap();
        }
        is_done.store(true, Ordering::Release);
    });
    let count = log.max_offset().0 / 200;
    assert!(count > 5000);
    for offset in (0..count).map(|number| number * 200) {
        assert_eq!(places(log, PhysicalOffset(offset)), offset as i64);
    }
}
