//! One case for each row of recovery's table, and for what a Java broker leaves.

use std::path::Path;

use gantry_storage::{Disk, MemDisk, PhysicalOffset, timer::TimerStore};

use super::{LOG_END, flush, messages, open, open_with, unit};

pub(super) const SECOND: &str = "/store/timerlog/00000000000000001070";
const WHEEL: &str = "/store/timerwheel";

/// Units of fifty messages over three files, in slots of ten seconds.
pub(super) fn filled() -> (MemDisk, TimerStore) {
    let disk = MemDisk::new();
    let (mut store, _, report) = open(&disk);
    assert_eq!((report.timers, report.log_end), (0, 0));
    for n in 0..50 {
        store.add(&unit(n, 2_000_000 + (n as i64 % 10) * 1000 + 123)).unwrap();
    }
    (disk, store)
}

pub(super) fn has_all(store: &TimerStore) {
    for slot in 0..10 {
        let want: Vec<u64> = (0..5).map(|round| round * 10 + slot).collect();
        assert_eq!(messages(store, 2_000_000 + slot as i64 * 1000), want, "slot {slot}");
    }
    assert_eq!(store.count(0), 50);
}

#[test]
fn nothing_is_made_before_the_first_timer() {
    let disk = MemDisk::new();
    let (mut store, catch_up, _) = open(&disk);
    assert!(store.flush(0, 0, 5).unwrap().is_none());
    assert_eq!(catch_up.from, Some(0));
    assert!(disk.list(Path::new("/store")).unwrap().is_empty());
}

#[test]
fn what_was_flushed_is_there_after_a_loss_of_power() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    let (store, catch_up, report) = open(&disk.crash());
    has_all(&store);
    assert!(!report.rebuilt && !report.lost);
    assert_eq!((catch_up.from, catch_up.known.len()), (Some(50), 0));
    assert_eq!(store.checkpoint().read_time_ms, 1_500_000);
}

#[test]
fn a_killed_process_leaves_units_that_the_wheel_does_not_know() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    store.add(&unit(50, 2_000_500)).unwrap();
    store.add(&unit(51, 2_020_500)).unwrap();
    let (store, catch_up, report) = open(&disk.kill());
    assert!(!report.rebuilt && !report.lost);
    assert_eq!(messages(&store, 2_000_000).last(), Some(&50));
    assert_eq!(messages(&store, 2_020_000), [51]);
    let known: Vec<bool> =
        [49, 50, 51].map(|n| catch_up.known.contains(&PhysicalOffset(n * 100))).to_vec();
    assert_eq!(known, [false, true, true], "they must not be taken in twice");
}

#[test]
fn a_wheel_that_is_missing_or_of_another_length_is_made_anew() {
    for len in [None, Some(0), Some(100), Some(1024 * 32 + 1)] {
        let (disk, mut store) = filled();
        flush(&mut store, 1_500_000, 50);
        drop(store);
        match len {
            None => disk.remove(Path::new(WHEEL)).unwrap(),
            Some(len) => disk.resize(Path::new(WHEEL), len).unwrap(),
        }
        let (mut store, _, report) = open(&disk);
        has_all(&store);
        assert!(report.rebuilt, "{len:?}");
        flush(&mut store, 1_500_001, 50);
        let wheel = disk.read(Path::new(WHEEL)).unwrap().unwrap();
        assert_eq!(wheel.len(), 1024 * 32, "a Java broker starts over no other length");
        let (store, _, report) = open(&disk.crash());
        has_all(&store);
        assert!(!report.rebuilt);
    }
}

#[test]
fn a_wheel_that_names_what_is_not_there_is_made_anew() {
    // The last unit of the slot of 2,003 s is said to lie far behind the end, or is one of another slot:
    // then the slot is put right by the units that follow.
    for position in [1_u64 << 40, 0] {
        let (disk, mut store) = filled();
        flush(&mut store, 1_500_000, 50);
        drop(store);
        disk.overwrite(Path::new(WHEEL), 2003 % 1024 * 32 + 16, &position.to_be_bytes()).unwrap();
        let (store, _, report) = open(&disk);
        assert_eq!(report.rebuilt, position > 0, "{position}");
        has_all(&store);
    }
}

#[test]
fn the_first_bad_unit_ends_the_log() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    store.add(&unit(50, 2_050_500)).unwrap();
    store.add(&unit(51, 2_051_500)).unwrap();
    store.add(&unit(52, 2_052_500)).unwrap();
    drop(store);
    // Of the second of the three.
    disk.corrupt(Path::new("/store/timerlog/00000000000000002140"), 11 * 52 + 3).unwrap();
    let (mut store, catch_up, report) = open(&disk);
    assert!(!report.lost);
    assert_eq!(messages(&store, 2_050_000), [50]);
    assert_eq!((store.slot(2_051_000), store.slot(2_052_000)), (None, None));
    assert_eq!(catch_up.known.len(), 1);
    // What lay behind it is gone for good, and does not come back behind what is written now.
    store.add(&unit(60, 2_060_500)).unwrap();
    let (store, ..) = open(&disk.kill());
    assert_eq!(messages(&store, 2_060_000), [60]);
    assert_eq!(store.slot(2_052_000), None);
}

#[test]
fn a_unit_whose_message_was_lost_with_the_logs_end_is_none() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    store.add(&unit(50, 2_050_500)).unwrap();
    store.add(&unit(51, 2_051_500)).unwrap();
    drop(store);
    let (store, catch_up, _) = open_with(&disk, PhysicalOffset(5100));
    assert_eq!(messages(&store, 2_050_000), [50]);
    assert_eq!(store.slot(2_051_000), None);
    assert!(
        !catch_up.known.contains(&PhysicalOffset(5100)),
        "another message may come to lie there"
    );
}

#[test]
fn lost_units_are_made_again_from_the_topic() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    drop(store);
    // From the last unit of the second file on.
    disk.corrupt(Path::new(SECOND), 19 * 52 + 3).unwrap();
    let (mut store, catch_up, report) = open(&disk);
    assert!(report.lost && report.rebuilt);
    assert_eq!(catch_up.from, None, "from the topic's beginning");
    assert_eq!((catch_up.taken_before, catch_up.delivered_before_ms), (50, 1_500_000));
    let missing = (0..50).filter(|n| !catch_up.known.contains(&PhysicalOffset(n * 100)));
    let missing: Vec<u64> = missing.collect();
    assert_eq!(missing, (39..50).collect::<Vec<_>>());
    for n in missing {
        store.add(&unit(n, 2_000_000 + (n as i64 % 10) * 1000 + 123)).unwrap();
    }
    has_all(&store);
}

#[test]
fn a_loss_is_known_until_all_of_the_topic_was_taken_in_again() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    drop(store);
    // From the first unit of the third file on: messages 40 to 49.
    disk.corrupt(Path::new("/store/timerlog/00000000000000002140"), 3).unwrap();
    let (mut store, ..) = open(&disk);
    // As many new messages as were lost, so that the log is as long as the checkpoint says.
    (50..65).for_each(|n| _ = store.add(&unit(n, 2_050_500)).unwrap());
    let disk = disk.kill();
    let (mut store, catch_up, report) = open(&disk);
    assert!(report.lost);
    assert_eq!((catch_up.from, catch_up.taken_before, catch_up.known.len()), (None, 50, 55));
    // A flush on the way there brings the units to the disk, and does not end it.
    store.add(&unit(40, 2_000_123)).unwrap();
    flush(&mut store, 1_500_000, 41);
    let disk = disk.crash();
    let (mut store, catch_up, report) = open(&disk);
    assert!(report.lost);
    assert_eq!((catch_up.from, catch_up.taken_before, catch_up.known.len()), (None, 50, 56));
    (41..50).for_each(|n| _ = store.add(&unit(n, 2_000_000 + n as i64 % 10 * 1000)).unwrap());
    flush(&mut store, 1_500_000, 65);
    let (store, catch_up, report) = open(&disk.crash());
    assert!(!report.lost);
    assert_eq!((catch_up.from, catch_up.known.len(), store.count(0)), (Some(65), 0, 65));
}

#[test]
fn a_timer_log_that_is_gone_is_made_again_too() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    drop(store);
    disk.remove_dir(Path::new("/store/timerlog")).unwrap();
    let (store, catch_up, report) = open(&disk);
    assert!(report.lost && report.timers == 0);
    assert_eq!((catch_up.from, catch_up.known.len()), (None, 0));
    assert_eq!(store.next_slot(0), None, "the wheel names nothing that is gone");
}

#[test]
fn timers_that_fell_due_long_ago_are_kept() {
    let disk = MemDisk::new();
    let (mut store, ..) = open(&disk);
    store.add(&unit(1, 2_000_500)).unwrap();
    flush(&mut store, 1_999_000, 2);
    // A Java broker drops what is older than seven days; how late it is now is not asked here at all.
    let (store, ..) = open(&disk.crash());
    assert_eq!(store.next_slot(1_999_000).map(|(time, _)| time), Some(2_000_000));
}

#[test]
fn slots_that_were_delivered_do_not_come_back() {
    let (disk, mut store) = filled();
    store.delivered_before(2_005_000);
    flush(&mut store, 2_005_000, 50);
    for disk in [disk.crash(), disk.kill()] {
        let (store, ..) = open(&disk);
        assert_eq!(store.next_slot(0).map(|(time, _)| time), Some(2_005_000));
        assert_eq!(store.count(0), 25);
    }
}

#[test]
fn a_slot_that_was_replaced_holds_the_rest_alone() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    let marker = TimerStore::marker(2_003_000, PhysicalOffset(4900), 100);
    store.replace_slot(2_003_000, &[unit(13, 2_003_123), unit(43, 2_003_123), marker]).unwrap();
    let empty = TimerStore::marker(2_004_000, PhysicalOffset(4900), 100);
    store.replace_slot(2_004_000, &[empty]).unwrap();
    flush(&mut store, 2_003_000, 50);
    drop(store);
    for is_there in [true, false] {
        if !is_there {
            disk.remove(Path::new(WHEEL)).unwrap();
        }
        let (store, ..) = open(&disk);
        assert_eq!(messages(&store, 2_003_000), [13, 43, 49], "the wheel's file: {is_there}");
        assert_eq!(messages(&store, 2_004_000), [49]);
        let last = store.slot(2_004_000).unwrap().last;
        assert!(store.unit(last, 2_004_000).unwrap().cancels(), "which cancels nothing");
        assert_eq!(messages(&store, 2_005_000), [5, 15, 25, 35, 45]);
    }
}

#[test]
fn snapshots_of_a_java_broker_say_that_the_wheel_is_old() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    drop(store);
    disk.overwrite(Path::new(WHEEL), 2003 % 1024 * 32, &[0; 32]).unwrap();
    disk.write(Path::new("/store/timerwheel.2600"), &[1; 1024 * 32]).unwrap();
    let (mut store, _, report) = open(&disk);
    assert!(report.rebuilt);
    has_all(&store);
    flush(&mut store, 1_500_000, 51);
    let names = disk.list(Path::new("/store")).unwrap();
    assert!(names.iter().all(|(name, _)| name != "timerwheel.2600"), "it would be taken for new");
    let (store, _, report) = open(&disk);
    assert!(!report.rebuilt);
    has_all(&store);
}

#[test]
fn another_precision_makes_the_wheel_anew() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    drop(store);
    let mut config = super::config();
    config.layout.precision_ms = 500;
    let (store, _, report) = TimerStore::open(std::sync::Arc::new(disk), config, LOG_END).unwrap();
    assert!(report.rebuilt);
    assert_eq!(store.slot_of(2_003_700), 2_003_500);
    assert_eq!(store.count(0), 50);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_the_slot_as_it_was() {
    let (disk, mut store) = filled();
    disk.set_free_bytes(Some(0));
    let refused = (50..75).find_map(|n| store.add(&unit(n, 2_050_500)).err().map(|e| (n, e)));
    let (first, error) = refused.unwrap();
    assert!(error.to_string().contains("/store/timerlog/"), "{error}");
    let before: Vec<u64> = (50..first).collect();
    assert_eq!(messages(&store, 2_050_000), before);
    disk.set_free_bytes(None);
    store.add(&unit(first, 2_050_500)).unwrap();
    assert_eq!(messages(&store, 2_050_000).last(), Some(&first));
}

#[test]
fn a_failed_flush_leaves_the_checkpoint_for_good() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 30);
    store.add(&unit(50, 2_050_500)).unwrap();
    disk.fail_syncs(true);
    let job = store.flush(1_600_000, 51, 5).unwrap().unwrap();
    let done = job.run();
    assert!(done.is_err());
    store.flushed(&done);
    disk.fail_syncs(false);
    assert!(store.flush(1_700_000, 51, 5).is_err(), "nobody knows what is on the disk");
    assert_eq!(store.checkpoint().queue_offset, 30);
    let (_, catch_up, _) = open(&disk.crash());
    assert_eq!((catch_up.from, catch_up.delivered_before_ms), (Some(30), 1_500_000));
}
