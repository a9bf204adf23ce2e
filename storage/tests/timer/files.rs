//! The files of the timer log: which of them are taken, and which go.

use std::path::Path;

use gantry_storage::{Disk, MemDisk, PhysicalOffset, timer::TimerStore};

use super::{
    LOG_END, flush, messages, open,
    recovery::{SECOND, filled, has_all},
    unit,
};

const LOG: &str = "/store/timerlog/00000000000000000000";

#[test]
fn an_empty_last_file_and_a_folder_are_passed_over() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    drop(store);
    disk.write(Path::new("/store/timerlog/00000000000000003210"), b"").unwrap();
    disk.create_dir(Path::new("/store/timerlog/folder")).unwrap();
    let (store, ..) = open(&disk);
    has_all(&store);
}

#[test]
fn files_that_were_never_flushed_go_with_those_behind_them() {
    for gap in [true, false] {
        let (disk, mut store) = filled();
        flush(&mut store, 1_500_000, 50);
        for n in 50..100 {
            store.add(&unit(n, 2_050_500)).unwrap();
        }
        drop(store);
        // The names or lengths of new files reach the disk in any order.
        let lost = Path::new("/store/timerlog/00000000000000003210");
        if gap {
            disk.remove(lost).unwrap()
        } else {
            disk.resize(lost, 0).unwrap()
        }
        let (store, catch_up, report) = open(&disk);
        assert!(!report.lost, "nothing of it was on the disk for certain");
        assert_eq!((report.log_end, catch_up.from), (3180, Some(50)), "a gap: {gap}");
        assert_eq!(messages(&store, 2_050_000), (50..60).collect::<Vec<_>>());
    }
}

#[test]
fn files_behind_a_first_one_that_was_never_flushed_go_with_it() {
    let disk = MemDisk::new();
    let (mut store, ..) = open(&disk);
    (0..24).for_each(|n| _ = store.add(&unit(n, 2_000_500)).unwrap());
    drop(store);
    // The name of the second file had reached the disk, and that of the first one had not.
    disk.remove(Path::new(LOG)).unwrap();
    let (mut store, catch_up, report) = open(&disk);
    assert!(!report.lost, "nothing of it was on the disk for certain");
    assert_eq!((report.log_end, report.timers, catch_up.from), (0, 0, Some(0)));
    assert!(catch_up.known.is_empty(), "all of them have to be taken in again");
    (0..24).for_each(|n| _ = store.add(&unit(n, 2_000_500)).unwrap());
    assert_eq!(messages(&store, 2_000_000), (0..24).collect::<Vec<_>>());
}

#[test]
fn files_go_with_their_messages_but_for_the_last() {
    let (disk, mut store) = filled();
    flush(&mut store, 1_500_000, 50);
    assert_eq!(store.remove_before(PhysicalOffset(1900)).unwrap(), 0, "the 20th is still there");
    assert_eq!(store.remove_before(PhysicalOffset(1901)).unwrap(), 1);
    assert_eq!(disk.list(Path::new("/store/timerlog")).unwrap().len(), 2);
    assert_eq!(store.remove_before(PhysicalOffset(u64::MAX)).unwrap(), 1);
    assert!(disk.read(Path::new(LOG)).unwrap().is_none());
    store.add(&unit(50, 2_050_500)).unwrap();
    assert_eq!(messages(&store, 2_050_000), [50]);
    // Those that are left were flushed, and stay although the log does not begin with the first one.
    let (store, _, report) = open(&disk.kill());
    assert!(!report.lost);
    assert_eq!(messages(&store, 2_050_000), [50]);
}

#[test]
fn a_file_that_was_cut_off_does_not_come_back_behind_new_units() {
    let disk = MemDisk::new();
    let (mut store, ..) = open(&disk);
    (0..14).for_each(|n| _ = store.add(&unit(n, 5_000_000)).unwrap());
    flush(&mut store, 0, 14);
    (14..20).for_each(|n| _ = store.add(&unit(n, 5_000_000)).unwrap());
    store.add(&unit(20, 7_000_000)).unwrap();
    // Of what was not flushed, the system has written the second file back.
    disk.sync_file(Path::new(SECOND)).unwrap();
    disk.sync_dir(Path::new("/store/timerlog")).unwrap();
    let disk = disk.crash();
    let (mut store, catch_up, _) = open(&disk);
    assert!(catch_up.known.is_empty());
    // One of them goes to the slot of the last one now.
    (14..19).for_each(|n| _ = store.add(&unit(n, 5_000_000)).unwrap());
    (19..21).for_each(|n| _ = store.add(&unit(n, 7_000_000)).unwrap());
    let (store, catch_up, _) = open(&disk.crash_keeping(|_, _| true));
    assert_eq!(messages(&store, 7_000_000), [19]);
    assert!(!catch_up.known.contains(&PhysicalOffset(2000)), "that one has to be taken in again");
}

#[test]
fn files_that_are_none_of_the_timer_log_stop_the_start() {
    for (name, len, reason) in [
        ("x", 1070, "is no file of the timer log"),
        ("00000000000000000007", 1070, "is no file of the timer log"),
        ("00000000000000000000", 1000, "1070 are configured (mappedFileSizeTimerLog)"),
    ] {
        let disk = MemDisk::new();
        let path = Path::new("/store/timerlog").join(name);
        disk.write_atomic(&path, &vec![0; len]).unwrap();
        let opened = TimerStore::open(std::sync::Arc::new(disk), super::config(), LOG_END);
        let error = opened.err().unwrap().to_string();
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
}
