//! Pulls and searches by time: the tables of wire.md 2.4 and store.md 3.7.

mod common;

use common::{Broker, LIMITS, body, config};
use gantry_codec::{Record, properties::tag_hash};
use gantry_storage::{
    Boundary, Damage, Disk, IndexEntry, MemDisk, PhysicalOffset, PullLimits, PullOutcome,
    PullStatus, QueueOffset, is_cold, offset_by_time, pull,
};

fn broker(messages: usize) -> Broker {
    let mut broker = Broker::open(MemDisk::new());
    for number in 0..messages {
        broker.append("t", 0, &body(number, 100), &format!("tag{}", number % 10));
    }
    broker.publish();
    broker.dispatch();
    broker
}

fn ends(outcome: &PullOutcome) -> (PullStatus, u64, u64, u64) {
    let PullOutcome { status, next_begin_offset, min_offset, max_offset, .. } = outcome;
    (*status, next_begin_offset.0, min_offset.0, max_offset.0)
}

fn pull_with(broker: &mut Broker, from: u64, limits: PullLimits) -> PullOutcome {
    let view = broker.view("t", 0);
    pull(&view, broker.log(), QueueOffset(from), &limits, None)
}

#[test]
fn a_queue_that_was_never_written() {
    let mut broker = broker(0);
    let status = PullStatus::NoMessageInQueue;
    assert_eq!(ends(&broker.pull("t", 0, 0)), (status, 0, 0, 0));
    assert_eq!(ends(&broker.pull("t", 0, 7)), (status, 0, 0, 0));
    assert_eq!(ends(&PullOutcome::never_written()), (status, 0, 0, 0));
    assert_eq!(status.name(), "NO_MESSAGE_IN_QUEUE");
}

#[test]
fn offsets_within_and_without() {
    let mut broker = broker(40);
    assert_eq!(ends(&broker.pull("t", 0, 0)), (PullStatus::Found, 32, 0, 40));
    assert_eq!(ends(&broker.pull("t", 0, 39)), (PullStatus::Found, 40, 0, 40));
    assert_eq!(ends(&broker.pull("t", 0, 40)), (PullStatus::OffsetOverflowOne, 40, 0, 40));
    assert_eq!(ends(&broker.pull("t", 0, 41)), (PullStatus::OffsetOverflowBadly, 40, 0, 40));
    assert_eq!(ends(&broker.pull("t", 0, u64::MAX)), (PullStatus::OffsetOverflowBadly, 40, 0, 40));
}

#[test]
fn messages_come_whole_in_order_and_in_as_few_slices_as_files() {
    let mut broker = broker(40);
    let outcome = broker.pull("t", 0, 5);
    assert_eq!(outcome.count, 32);
    // A file of 2048 bytes holds ten of these records.
    let lengths: Vec<_> = outcome.slices.iter().map(|slice| slice.len() / 202).collect();
    assert_eq!(lengths, [5, 10, 10, 7]);
    assert_eq!(outcome.bytes(), 32 * 202);
    let records: Vec<_> = outcome.records().collect();
    assert_eq!(records.len(), 32);
    for (number, (offset, bytes)) in (5..).zip(records) {
        let record = Record::decode(bytes).unwrap();
        assert_eq!(record.body, body(number, 100));
        assert_eq!(record.physical_offset as u64, offset.0);
        assert_eq!(record.queue_offset as usize, number);
    }
}

#[test]
fn records_of_other_queues_between_them_part_slices() {
    let mut broker = Broker::open(MemDisk::new());
    for number in 0..9 {
        broker.send("t", u32::from(number % 3 == 2), &body(number, 10));
    }
    let outcome = broker.pull("t", 0, 0);
    assert_eq!((outcome.count, outcome.slices.len()), (6, 3));
    assert_eq!(outcome.records().count(), 6);
}

#[test]
fn limits_of_one_answer() {
    let mut broker = broker(40);
    let record = broker.pull("t", 0, 0).bytes() as u64 / 32;
    let none = PullLimits { messages_max: 0, hot: (0, 0), cold: (0, 0), hot_bytes: 0, ..LIMITS };
    let count = |broker: &mut Broker, limits| pull_with(broker, 0, limits).count;
    assert_eq!(count(&mut broker, none), 1, "one message is always given");
    assert_eq!(count(&mut broker, PullLimits { messages_max: 5, ..LIMITS }), 5);
    assert_eq!(count(&mut broker, PullLimits { messages_max: 100, ..LIMITS }), 32);
    assert_eq!(
        count(&mut broker, PullLimits { messages_max: 100, hot: (99, 1 << 20), ..LIMITS }),
        40
    );
    assert_eq!(count(&mut broker, PullLimits { hot: (32, 7 * record), ..LIMITS }), 7);
    assert_eq!(count(&mut broker, PullLimits { hot: (32, 7 * record - 1), ..LIMITS }), 6);
    assert_eq!(count(&mut broker, PullLimits { hot: (32, 1), ..LIMITS }), 1);
}

#[test]
fn what_lies_far_behind_comes_in_smaller_answers() {
    let mut broker = broker(40);
    let cold = PullLimits { hot_bytes: 0, ..LIMITS };
    assert_eq!(pull_with(&mut broker, 0, cold).count, 8);
    let end = broker.log().max_offset();
    let first = broker.view("t", 0).entry(QueueOffset(20)).unwrap().offset;
    // Entries become hot while one answer is gathered.
    let half = PullLimits { hot_bytes: end.since(first), ..LIMITS };
    assert_eq!(pull_with(&mut broker, 20, half).count, 20);
    assert_eq!(pull_with(&mut broker, 19, half).count, 21);
    assert_eq!(pull_with(&mut broker, 10, half).count, 8);
}

fn filtered(broker: &mut Broker, from: u64, tag: &str) -> PullOutcome {
    let (view, hash) = (broker.view("t", 0), i64::from(tag_hash(tag)));
    let filter = |entry: &IndexEntry| entry.tags_code == hash;
    pull(&view, broker.log(), QueueOffset(from), &LIMITS, Some(&filter))
}

#[test]
fn a_filter_takes_what_it_wants_and_goes_on_behind() {
    let mut broker = broker(40);
    let outcome = filtered(&mut broker, 0, "tag3");
    assert_eq!(ends(&outcome), (PullStatus::Found, 40, 0, 40));
    assert_eq!((outcome.count, outcome.slices.len()), (4, 4));
    let outcome = filtered(&mut broker, 34, "tag3");
    assert_eq!(ends(&outcome), (PullStatus::NoMatchedMessage, 40, 0, 40));
}

#[test]
fn a_filtered_read_looks_at_800_entries_at_most() {
    let mut broker = broker(1000);
    let outcome = filtered(&mut broker, 10, "none");
    assert_eq!(ends(&outcome), (PullStatus::NoMatchedMessage, 810, 0, 1000));
    let view = broker.view("t", 0);
    let all = PullLimits { messages_max: 900, hot: (900, 1 << 20), ..LIMITS };
    let outcome = pull(&view, broker.log(), QueueOffset(10), &all, Some(&|_| false));
    assert_eq!(ends(&outcome), (PullStatus::NoMatchedMessage, 910, 0, 1000));
    let outcome = pull(&view, broker.log(), QueueOffset(10), &all, None);
    assert_eq!((ends(&outcome).1, outcome.count), (910, 900));
    let outcome = filtered(&mut broker, 0, "tag9");
    assert_eq!((ends(&outcome).1, outcome.count), (320, 32), "full before that");
}

#[test]
fn an_index_file_that_cannot_be_read_is_passed_over() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..120 {
        broker.send("t", 0, &body(number, 20));
    }
    broker.stop();
    let mut broker = Broker::open(disk.clone());
    let dir = config().queues.dir.join("t/0");
    disk.remove(&dir.join(format!("{:020}", 1000))).unwrap();
    assert_eq!(ends(&broker.pull("t", 0, 60)), (PullStatus::OffsetFoundNull, 100, 0, 120));
    assert_eq!(ends(&broker.pull("t", 0, 30)), (PullStatus::Found, 50, 0, 120));
    assert_eq!(ends(&broker.pull("t", 0, 100)), (PullStatus::Found, 120, 0, 120));
}

#[test]
fn messages_whose_log_file_is_gone_are_passed_over() {
    let mut broker = Broker::open(MemDisk::new());
    // An index that is older than the log, as while old files are being removed.
    let far = |n: u64| IndexEntry {
        offset: PhysicalOffset(1_000_000 + n * 200),
        size: 200,
        tags_code: 0,
    };
    let gone: Vec<_> = (0..30).map(far).collect();
    broker.queue("t", 0).append(QueueOffset(0), &gone).unwrap();
    let outcome = broker.pull("t", 0, 3);
    assert_eq!(ends(&outcome), (PullStatus::MessageWasRemoving, 30, 0, 30));
    assert_eq!(outcome.bytes(), 0);
    // What the filter refuses behind them counts as refused.
    let view = broker.view("t", 0);
    let filter = |entry: &IndexEntry| entry.offset < PhysicalOffset(1_000_200);
    let outcome = pull(&view, broker.log(), QueueOffset(0), &LIMITS, Some(&filter));
    assert_eq!(ends(&outcome), (PullStatus::NoMatchedMessage, 30, 0, 30));
}

#[test]
fn what_is_gone_and_what_is_there_in_one_read() {
    let mut broker = Broker::open(MemDisk::new());
    let places: Vec<_> = (0..5).map(|n| broker.append("other", 0, &body(n, 50), "")).collect();
    broker.publish();
    let far = |n: u64| IndexEntry { offset: PhysicalOffset(1 << 40 | n), size: 100, tags_code: 0 };
    let size = (places[1].0 - places[0].0) as u32;
    let there = |n: usize| IndexEntry { offset: places[n], size, tags_code: 0 };
    let entries = [there(0), far(0), far(1), there(1), there(2)];
    broker.queue("t", 0).append(QueueOffset(0), &entries).unwrap();
    let outcome = broker.pull("t", 0, 0);
    assert_eq!(ends(&outcome), (PullStatus::Found, 5, 0, 5));
    // Those behind are before the next file of what is gone, and so passed over with it.
    assert_eq!(outcome.count, 1);
    assert_eq!(broker.pull("t", 0, 3).count, 2);
}

#[test]
fn offsets_by_time() {
    let mut broker = Broker::open(MemDisk::new());
    // 60 messages at 100, 102, 104, …; three at each time, over two index files.
    for number in 0..60 {
        broker.now = 100 + number / 3 * 2;
        broker.send("t", 0, &body(number as usize, 30));
    }
    let view = broker.view("t", 0);
    let search = |time, boundary| offset_by_time(&view, broker.log(), time, boundary).0;
    let rows = [
        // time, lower, upper
        (i64::MIN, 0, 0),
        (99, 0, 0),
        (100, 0, 2),
        (101, 3, 2),
        (102, 3, 5),
        (132, 48, 50),
        (133, 51, 50),
        (138, 57, 59),
        (139, 60, 59),
        (i64::MAX, 60, 59),
    ];
    for (time, lower, upper) in rows {
        assert_eq!(search(time, Boundary::Lower), lower, "lower {time}");
        assert_eq!(search(time, Boundary::Upper), upper, "upper {time}");
    }
    let empty = broker.view("t", 1);
    let search = |boundary| offset_by_time(&empty, broker.log(), 100, boundary).0;
    assert_eq!((search(Boundary::Lower), search(Boundary::Upper)), (0, 0));
}

/// Limits of a process that began after everything was written.
const STARTED: PullLimits = PullLimits { started_at: PhysicalOffset(u64::MAX), ..LIMITS };

#[test]
fn a_flipped_bit_is_an_error_and_never_data() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..8 {
        broker.send("t", 0, &body(number, 108));
    }
    disk.corrupt(&config().log.dirs[0].join(format!("{:020}", 0)), 5 * 200 + 150).unwrap();
    let before = pull_with(&mut broker, 0, STARTED);
    assert_eq!((ends(&before), before.count), ((PullStatus::Found, 5, 0, 8), 5));
    let damaged = pull_with(&mut broker, 5, STARTED);
    assert_eq!(ends(&damaged), (PullStatus::MessageDamaged, 6, 0, 8));
    assert_eq!((damaged.count, damaged.bytes()), (0, 0));
    let damage = damaged.damage.unwrap();
    assert_eq!(
        damage.to_string(),
        "the record at 1000 of the log is damaged: the body does not match its CRC"
    );
    let behind = pull_with(&mut broker, 6, STARTED);
    assert_eq!((ends(&behind), behind.count), ((PullStatus::Found, 8, 0, 8), 2));
    let log = broker.log();
    assert!(log.record_at(PhysicalOffset(1000)).is_none());
    assert_eq!(log.damage_at(PhysicalOffset(1000)).unwrap(), "the body does not match its CRC");
    assert_eq!(log.damage_at(PhysicalOffset(1200)), None);
    // A consumer that does not want it does not meet it.
    let view = broker.view("t", 0);
    let wants = |entry: &IndexEntry| entry.offset != PhysicalOffset(1000);
    let others = pull(&view, broker.log(), QueueOffset(5), &STARTED, Some(&wants));
    assert_eq!((ends(&others), others.count), ((PullStatus::Found, 8, 0, 8), 2));
}

#[test]
fn damage_of_any_part_of_a_record_is_found() {
    for at in [0, 3, 4, 84, 87, 88 + 108] {
        let disk = MemDisk::new();
        let mut broker = Broker::open(disk.clone());
        for number in 0..3 {
            broker.send("t", 0, &body(number, 108));
        }
        disk.corrupt(&config().log.dirs[0].join(format!("{:020}", 0)), 200 + at).unwrap();
        let damaged = pull_with(&mut broker, 1, STARTED);
        assert_eq!(ends(&damaged), (PullStatus::MessageDamaged, 2, 0, 3), "byte {at}");
    }
}

#[test]
fn a_lost_message_keeps_its_place() {
    let mut broker = broker(3);
    broker.queue("t", 0).append_lost(2).unwrap();
    let entry = broker.view("t", 0).entry(QueueOffset(2)).unwrap();
    broker.queue("t", 0).append(QueueOffset(5), &[entry]).unwrap();
    assert_eq!(ends(&broker.pull("t", 0, 0)), (PullStatus::Found, 3, 0, 6));
    for lost in [3, 4] {
        let outcome = broker.pull("t", 0, lost);
        assert_eq!(ends(&outcome), (PullStatus::MessageDamaged, lost + 1, 0, 6));
        assert_eq!(outcome.damage, Some(Damage::Lost));
    }
    assert_eq!(ends(&broker.pull("t", 0, 5)), (PullStatus::Found, 6, 0, 6));
}

#[test]
fn what_was_not_received_lately_may_have_to_come_from_the_disk() {
    let mut broker = broker(40);
    let view = broker.view("t", 0);
    let log = broker.log();
    let is_cold = |at, limits: &PullLimits| is_cold(&view, log, QueueOffset(at), limits);
    assert!(!is_cold(0, &LIMITS));
    let entry = view.entry(QueueOffset(20)).unwrap();
    let started = PullLimits { started_at: entry.offset, ..LIMITS };
    assert!(is_cold(19, &started) && !is_cold(20, &started));
    let hot_bytes = log.max_offset().since(entry.offset);
    let near = PullLimits { hot_bytes, ..LIMITS };
    assert!(is_cold(19, &near) && !is_cold(20, &near));
    assert!(!is_cold(40, &STARTED) && !is_cold(u64::MAX, &STARTED), "nothing is read there");
}
