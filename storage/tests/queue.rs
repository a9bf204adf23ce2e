//! A consume queue: its files, its ends, and what is refused.

mod common;

use std::{path::PathBuf, sync::Arc};

use common::config;
use gantry_storage::{
    ConsumeQueue, ConsumeQueueConfig, Disk, IndexEntry, MemDisk, PhysicalOffset, QueueError,
    QueueId, QueueOffset, RealDisk,
};

/// Entries of a file.
const FILE: u64 = 50;

fn everything() -> (PhysicalOffset, PhysicalOffset) {
    (PhysicalOffset(0), PhysicalOffset(u64::MAX))
}

fn open_within(disk: &MemDisk, within: (u64, u64)) -> ConsumeQueue {
    // As the store does, so that the name of the queues' folder is on the disk.
    disk.create_dir(&config().queues.dir).unwrap();
    let within = (PhysicalOffset(within.0), PhysicalOffset(within.1));
    ConsumeQueue::open(Arc::new(disk.clone()), &config().queues, "t", QueueId(3), within).unwrap()
}

fn open(disk: &MemDisk) -> ConsumeQueue {
    open_within(disk, (0, u64::MAX))
}

fn dir() -> PathBuf {
    config().queues.queue_dir("t", QueueId(3))
}

fn entry(number: u64) -> IndexEntry {
    IndexEntry { offset: PhysicalOffset(number * 100), size: 100, tags_code: -(number as i64) }
}

fn entries(range: std::ops::Range<u64>) -> Vec<IndexEntry> {
    range.map(entry).collect()
}

fn append(queue: &mut ConsumeQueue, range: std::ops::Range<u64>) {
    queue.append(QueueOffset(range.start), &entries(range)).unwrap();
}

fn all(queue: &ConsumeQueue) -> Vec<IndexEntry> {
    let view = queue.view();
    (view.min_offset().0..view.max_offset().0).map_while(|at| view.entry(QueueOffset(at))).collect()
}

fn range(queue: &ConsumeQueue) -> (u64, u64) {
    (queue.view().min_offset().0, queue.view().max_offset().0)
}

#[test]
fn entries_are_found_again() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    assert_eq!(disk.list(&dir()).unwrap(), [], "a queue that was never written has no files");
    assert_eq!((range(&queue), queue.max_physical()), ((0, 0), PhysicalOffset(0)));
    let view = queue.view();
    for step in 0..12 {
        append(&mut queue, step * 10..(step + 1) * 10);
        assert_eq!(view.max_offset(), QueueOffset((step + 1) * 10));
    }
    assert_eq!(all(&queue), entries(0..120));
    assert_eq!(queue.max_physical(), PhysicalOffset(12_000));
    assert_eq!(view.entry(QueueOffset(120)), None);
    assert_eq!(view.entry(QueueOffset(u64::MAX)), None);
    drop(queue);
    let mut queue = open(&disk);
    assert_eq!(all(&queue), entries(0..120));
    assert_eq!(queue.max_physical(), PhysicalOffset(12_000));
    append(&mut queue, 120..200);
    drop(queue);
    assert_eq!(all(&open(&disk)), entries(0..200));
}

#[test]
fn a_queue_that_ends_with_its_file_goes_on_in_the_next() {
    for (first, second) in [(FILE, 1), (2 * FILE, FILE), (FILE, 3 * FILE)] {
        let disk = MemDisk::new();
        append(&mut open(&disk), 0..first);
        let mut queue = open(&disk);
        assert_eq!(range(&queue), (0, first));
        append(&mut queue, first..first + second);
        assert_eq!(all(&queue), entries(0..first + second));
        drop(queue);
        assert_eq!(all(&open(&disk)), entries(0..first + second));
        let files = disk.list(&dir()).unwrap();
        assert_eq!(files.len() as u64, (first + second).div_ceil(FILE));
        assert!(files.iter().all(|(_, len)| *len == Some(1000)));
    }
}

#[test]
fn a_walk_stops_at_the_files_end_or_when_told() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    append(&mut queue, 0..120);
    let view = queue.view();
    let walk = |from, count, until| {
        let mut seen = Vec::new();
        let end = view.each(QueueOffset(from), count, |offset, entry| {
            assert_eq!(entry.offset.0, offset.0 * 100);
            seen.push(offset.0);
            offset.0 != until
        });
        (seen.len(), end.0)
    };
    assert_eq!(walk(0, 10, 1000), (10, 10));
    assert_eq!(walk(45, 10, 1000), (5, 50));
    assert_eq!(walk(50, 1000, 1000), (50, 100));
    assert_eq!(walk(100, 1000, 1000), (20, 120));
    assert_eq!(walk(110, 5, 112), (3, 112), "the refused one is not passed");
    assert_eq!(walk(120, 5, 1000), (0, 120));
    assert_eq!(walk(u64::MAX, u64::MAX, 1000), (0, u64::MAX));
}

#[test]
fn a_queue_may_begin_anywhere_and_its_blanks_are_not_served() {
    for first in [1, 49, 50, 51, 130] {
        let disk = MemDisk::new();
        let mut queue = open(&disk);
        append(&mut queue, first..first + 5);
        let start = first / FILE * FILE;
        let names = disk.list(&dir()).unwrap();
        assert_eq!(names[0].0, format!("{:020}", start * 20));
        let file = disk.read(&dir().join(&names[0].0)).unwrap().unwrap();
        let blank = [0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
        let blanks = &file[..((first - start) * 20) as usize];
        assert!(blanks.chunks(20).all(|slot| slot == blank));
        assert_eq!(range(&queue), (first, first + 5));
        assert_eq!(queue.view().entry(QueueOffset(first - 1)), None);
        drop(queue);
        let mut queue = open(&disk);
        assert_eq!(range(&queue), (first, first + 5));
        assert_eq!(all(&queue), entries(first..first + 5));
        append(&mut queue, first + 5..200);
        assert_eq!(all(&queue), entries(first..200));
    }
}

#[test]
fn entries_that_do_not_continue_the_queue_are_refused() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    append(&mut queue, 0..5);
    for first in [0, 4, 6, 1000] {
        let refused = queue.append(QueueOffset(first), &entries(first..first + 1));
        assert!(matches!(refused, Err(QueueError::Gap { .. })), "{first}");
    }
    assert_eq!(all(&queue), entries(0..5));
    queue.append(QueueOffset(5), &[]).unwrap();
}

#[test]
fn records_that_the_log_has_not_are_left_out() {
    let disk = MemDisk::new();
    append(&mut open(&disk), 0..120);
    assert_eq!(range(&open_within(&disk, (0, 10_000))), (0, 100));
    assert_eq!(range(&open_within(&disk, (0, 9_901))), (0, 100), "it begins in the log");
    assert_eq!(range(&open_within(&disk, (3_000, 10_000))), (30, 100));
    assert_eq!(range(&open_within(&disk, (2_999, 10_000))), (30, 100));
    let mut queue = open_within(&disk, (90_000, 100_000));
    assert_eq!(range(&queue), (120, 120), "all gone: offsets go on where they were");
    assert_eq!(queue.view().entry(QueueOffset(119)), None);
    append(&mut queue, 120..121);
    assert_eq!(all(&queue), entries(120..121));
}

#[test]
fn a_full_disk_is_an_error_and_the_queue_goes_on_when_there_is_room() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    append(&mut queue, 0..40);
    disk.set_free_bytes(Some(0));
    // The current file is reserved; the next one is not.
    let refused = queue.append(QueueOffset(40), &entries(40..60));
    assert!(matches!(refused, Err(QueueError::Io { .. })), "{refused:?}");
    assert_eq!(all(&queue), entries(0..50), "what could be written is there");
    disk.set_free_bytes(None);
    append(&mut queue, 50..60);
    assert_eq!(all(&queue), entries(0..60));
}

#[test]
fn a_queue_that_could_not_begin_can_begin_later() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    disk.set_free_bytes(Some(0));
    assert!(queue.append(QueueOffset(70), &entries(70..72)).is_err());
    assert_eq!(queue.view().max_offset(), QueueOffset(0));
    disk.set_free_bytes(None);
    append(&mut queue, 70..72);
    assert_eq!(all(&queue), entries(70..72));
    drop(queue);
    assert_eq!(all(&open(&disk)), entries(70..72));
}

#[test]
fn a_flush_brings_all_files_and_their_names_to_the_disk() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    append(&mut queue, 0..120);
    assert_eq!(range(&open(&disk.crash())), (0, 0));
    let flusher = queue.flusher();
    assert_eq!(flusher.sync().unwrap(), QueueOffset(120));
    append(&mut queue, 120..130);
    assert_eq!(all(&open(&disk.crash())), entries(0..120));
    // A successor does not know what its predecessor had flushed.
    drop(queue);
    let mut queue = open(&disk);
    queue.flush().unwrap();
    assert_eq!(all(&open(&disk.crash())), entries(0..130));
}

#[test]
fn a_successor_flushes_what_its_predecessor_wrote() {
    let disk = MemDisk::new();
    append(&mut open(&disk), 0..120);
    open(&disk).flush().unwrap();
    assert_eq!(all(&open(&disk.crash())), entries(0..120));
}

#[test]
fn a_queue_that_was_never_written_has_nothing_to_flush() {
    let dir = tempfile::tempdir().unwrap();
    let config = ConsumeQueueConfig::new(dir.path().join("consumequeue"), 1000);
    let disk = Arc::new(RealDisk);
    let queue = ConsumeQueue::open(disk, &config, "t", QueueId(0), everything());
    queue.unwrap().flush().unwrap();
    assert!(!config.dir.exists());
}

#[test]
fn after_a_failed_flush_every_flush_fails() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    append(&mut queue, 0..5);
    disk.fail_syncs(true);
    assert!(matches!(queue.flush(), Err(QueueError::Io { .. })));
    disk.fail_syncs(false);
    assert!(matches!(queue.flush(), Err(QueueError::Poisoned { .. })));
    append(&mut queue, 5..6);
    assert_eq!(all(&queue), entries(0..6), "it can still be written and read");
}

#[test]
fn a_deleted_queue_begins_anew() {
    let disk = MemDisk::new();
    let mut queue = open(&disk);
    append(&mut queue, 0..60);
    let (view, flusher) = (queue.view(), queue.flusher());
    queue.delete().unwrap();
    assert_eq!((view.max_offset(), view.entry(QueueOffset(3))), (QueueOffset(0), None));
    assert_eq!(flusher.sync().unwrap(), QueueOffset(0));
    assert_eq!(disk.list(&dir()).unwrap(), []);
    append(&mut queue, 0..5);
    assert_eq!(all(&queue), entries(0..5));
    drop(queue);
    assert_eq!(all(&open(&disk)), entries(0..5));
}

#[test]
fn what_lies_in_the_folder_besides() {
    let disk = MemDisk::new();
    append(&mut open(&disk), 0..60);
    let refuses = |name: &str, len: usize| {
        let path = dir().join(name);
        disk.write_atomic(&path, &vec![1; len]).unwrap();
        let opened = ConsumeQueue::open(
            Arc::new(disk.clone()),
            &config().queues,
            "t",
            QueueId(3),
            everything(),
        );
        disk.remove(&path).unwrap();
        opened.err().map(|e| e.to_string())
    };
    assert!(
        refuses("00000000000000002000", 999).unwrap().contains("999 bytes, 1000 are configured")
    );
    assert!(refuses("readme", 1000).unwrap().contains("is no file of a queue"));
    assert!(refuses("00000000000000002020", 1000).unwrap().contains("is no file of a queue"));
    assert_eq!(refuses("00000000000000002000", 0), None, "left by an interrupted creation");
    disk.create_dir(&dir().join("folder")).unwrap();
    assert_eq!(all(&open(&disk)), entries(0..60));
    disk.remove(&dir().join("00000000000000000000")).unwrap();
    assert_eq!(range(&open(&disk)), (50, 60), "only what lies behind a gap can be reached");
}

#[test]
fn older_files_are_mapped_when_they_are_read() {
    let disk = MemDisk::new();
    append(&mut open(&disk), 0..120);
    let queue = open(&disk);
    let path = dir().join("00000000000000000000");
    disk.remove(&path).unwrap();
    assert_eq!(queue.view().entry(QueueOffset(3)), None);
    assert_eq!(queue.view().entry(QueueOffset(110)), Some(entry(110)));
}

#[test]
fn a_queue_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    // Three reservations of 64 KiB for each file.
    let config = ConsumeQueueConfig::new(dir.path().to_owned(), 170_000);
    let open = || {
        let disk = Arc::new(RealDisk);
        ConsumeQueue::open(disk, &config, "t", QueueId(0), everything()).unwrap()
    };
    let mut queue = open();
    append(&mut queue, 0..7_000);
    append(&mut queue, 7_000..20_000);
    queue.flush().unwrap();
    drop(queue);
    let mut queue = open();
    assert_eq!(all(&queue), entries(0..20_000));
    append(&mut queue, 20_000..20_001);
    queue.delete().unwrap();
    assert!(!dir.path().join("t/0").exists());
}

#[test]
fn places_that_no_queue_has_are_refused_by_name_and_change_nothing() {
    let beyond = |e: QueueError, first: u64| {
        let is_named = e.to_string().contains(&format!("from {first} reach beyond"));
        assert!(matches!(e, QueueError::Beyond { .. }) && is_named, "{e}");
    };
    let limit = i64::MAX as u64 / 20;
    for first in [limit, u64::MAX / 20, u64::MAX / 20 + 1, u64::MAX - 1, u64::MAX] {
        let disk = MemDisk::new();
        let mut queue = open(&disk);
        beyond(queue.append(QueueOffset(first), &entries(0..2)).unwrap_err(), first);
        beyond(queue.begin_at(QueueOffset(first)).unwrap_err(), first);
        beyond(queue.append_lost(first).unwrap_err(), 0);
        assert_eq!((range(&queue), disk.list(&dir()).unwrap()), ((0, 0), vec![]));
        append(&mut queue, 0..3);
        beyond(queue.append_lost(first).unwrap_err(), 3);
        assert_eq!(all(&queue), entries(0..3));
    }
    // As far as that, everything can be had.
    let mut queue = open(&MemDisk::new());
    let last = limit - 2 * FILE;
    queue.begin_at(QueueOffset(last)).unwrap();
    queue.append(QueueOffset(last), &entries(0..5)).unwrap();
    assert_eq!(range(&queue), (last, last + 5));
}

#[test]
fn a_file_that_reaches_beyond_what_a_queue_can_have_is_none() {
    let disk = MemDisk::new();
    append(&mut open(&disk), 0..3);
    let name = format!("{:020}", u64::MAX / 1000 * 1000);
    disk.write_atomic(&dir().join(name), &[0; 1000]).unwrap();
    let everything = (PhysicalOffset(0), PhysicalOffset(u64::MAX));
    let opened = ConsumeQueue::open(Arc::new(disk), &config().queues, "t", QueueId(3), everything);
    assert!(matches!(opened, Err(QueueError::Foreign { .. })), "{:?}", opened.err());
}

#[test]
fn lost_messages_in_the_middle_do_not_hide_those_before() {
    for lost in 1..8 {
        let disk = MemDisk::new();
        let mut queue = open(&disk);
        append(&mut queue, 0..lost);
        queue.append_lost(1).unwrap();
        append(&mut queue, lost + 1..9);
        drop(queue);
        assert_eq!(range(&open(&disk)), (0, 9), "{lost}");
    }
}

#[test]
fn only_as_many_messages_can_be_lost_as_the_log_had_room_for() {
    let mut queue = open(&MemDisk::new());
    append(&mut queue, 0..3);
    let may_lack = |first, record| queue.may_lack(QueueOffset(first), PhysicalOffset(record));
    assert!(may_lack(3, 300), "nothing is missing");
    assert!(!may_lack(4, 300 + 90));
    assert!(may_lack(4, 300 + 91));
    assert!(!may_lack(5, 300 + 181) && may_lack(5, 300 + 182));
    assert!(!may_lack(u64::MAX, u64::MAX));
}
