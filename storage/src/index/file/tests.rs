//! One file, without a log.

use super::*;
use crate::disk::MemDisk;

const LAYOUT: IndexLayout = IndexLayout { hash_slots: 4, entries: 6 };

fn create(disk: &MemDisk, number: u64, before: Option<&IndexFile>) -> IndexFile {
    IndexFile::create(disk, Path::new("/index"), number, LAYOUT, before).unwrap()
}

fn hits(file: &IndexFile, hash: u32, oldest: i64) -> Vec<(u64, i64)> {
    let mut hits = Vec::new();
    file.walk(hash, oldest, |offset, time| {
        hits.push((offset.0, time));
        true
    });
    hits
}

#[test]
fn a_chain_is_walked_from_its_newest_entry() {
    let file = create(&MemDisk::new(), 1, None);
    file.put(5, PhysicalOffset(100), 10_000);
    file.put(1, PhysicalOffset(200), 11_500);
    file.put(5, PhysicalOffset(300), 12_999);
    assert_eq!(hits(&file, 5, 0), [(300, 12_000), (100, 10_000)]);
    assert_eq!(hits(&file, 1, 0), [(200, 11_000)], "another hash in the same slot");
    assert_eq!(hits(&file, 2, 0), []);
    assert_eq!(hits(&file, 5, 11_500), [(300, 12_000)], "the rest is older than that");
    assert!(!file.walk(5, 0, |_, _| false), "it was told to stop");
    assert_eq!(file.header().hash_slot_count, 1);
    assert_eq!(file.header().next_entry, 4);
}

#[test]
fn a_file_begins_with_what_the_one_before_ends_with_until_its_first_entry() {
    let disk = MemDisk::new();
    let full = create(&disk, 1, None);
    (1..6).for_each(|n| full.put(n, PhysicalOffset(n.into()), 1000 * i64::from(n)));
    assert!(full.is_full());
    let next = create(&disk, 2, Some(&full));
    let header = next.header();
    assert_eq!((header.begin_timestamp, header.end_timestamp), (5000, 5000));
    assert_eq!((header.begin_offset.0, header.end_offset.0, header.next_entry), (5, 5, 1));
    next.put(1, PhysicalOffset(6), 9000);
    let header = next.header();
    assert_eq!((header.begin_timestamp, header.begin_offset.0), (9000, 6));
    assert_eq!(next.entry(1).unwrap().seconds, 0);
}

#[test]
fn a_file_is_opened_as_it_was_synced() {
    let disk = MemDisk::new();
    let file = create(&disk, 1, None);
    (1..4).for_each(|n| file.put(n, PhysicalOffset(n.into()), 1000 * i64::from(n)));
    file.sync().unwrap();
    let again = IndexFile::open(&disk.crash(), Path::new("/index"), 1, LAYOUT).unwrap();
    assert_eq!(again.header(), file.header());
    assert_eq!(hits(&again, 2, 0), [(2, 2000)]);
}

#[test]
fn cutting_makes_slots_and_links_from_the_entries() {
    let disk = MemDisk::new();
    let file = create(&disk, 1, None);
    [5, 1, 5, 5].iter().zip(1..).for_each(|(hash, n)| {
        file.put(*hash, PhysicalOffset(n), 1000 * n as i64);
    });
    file.sync_entries(1).unwrap();
    // The slots were not synced, and a link is broken.
    let file = IndexFile::open(&disk.crash(), Path::new("/index"), 1, LAYOUT).unwrap();
    assert_eq!(hits(&file, 5, 0), []);
    file.words.store(LAYOUT.entry_at(3) + 16, 7);
    file.cut(4, |offset| Some(offset.0 as i64 * 1000 + 1));
    assert_eq!(hits(&file, 5, 0), [(3, 3000), (1, 1000)]);
    assert_eq!(file.header().next_entry, 4);
    assert_eq!((file.header().end_offset.0, file.header().end_timestamp), (3, 3001));
    assert_eq!(file.header().hash_slot_count, 1);
}

#[test]
fn a_slot_whose_entries_were_cut_leads_nowhere() {
    let file = create(&MemDisk::new(), 1, None);
    (1..5).for_each(|n| file.put(n, PhysicalOffset(n.into()), 1000));
    file.cut(2, |_| None);
    for hash in 2..5 {
        assert_eq!(file.words.load(LAYOUT.slot_at(LAYOUT.slot_of(hash))), Some(0), "{hash}");
    }
    file.put(2, PhysicalOffset(9), 2000);
    assert_eq!(file.entry(2).unwrap().previous, 0);
    assert_eq!((hits(&file, 1, 0), hits(&file, 2, 0)), (vec![(1, 1000)], vec![(9, 2000)]));
}

#[test]
fn entries_that_cannot_be_end_a_file() {
    let disk = MemDisk::new();
    let file = create(&disk, 1, None);
    (1..5).for_each(|n| file.put(n, PhysicalOffset(10 * u64::from(n)), 1000));
    file.words.store(LAYOUT.entry_at(3) + 8, 5);
    file.cut(5, |_| None);
    assert_eq!(file.header().next_entry, 3, "offsets do not go back");
    file.words.store(LAYOUT.entry_at(2), u32::MAX);
    file.cut(5, |_| None);
    assert_eq!(file.header().next_entry, 2, "hashes have no sign");
}

#[test]
fn a_loop_ends() {
    let file = create(&MemDisk::new(), 1, None);
    file.put(5, PhysicalOffset(1), 1000);
    file.put(5, PhysicalOffset(2), 1000);
    file.words.store(LAYOUT.entry_at(1) + 16, 2);
    assert_eq!(hits(&file, 5, 0).len(), 2);
    file.words.store(LAYOUT.entry_at(2) + 16, 2);
    assert_eq!(hits(&file, 5, 0).len(), 1);
}

#[test]
fn places_by_offset() {
    let file = create(&MemDisk::new(), 1, None);
    for offset in [10, 20, 20, 30] {
        file.put(1, PhysicalOffset(offset), 1000);
    }
    for (limit, first) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 4), (30, 4), (31, 5)] {
        assert_eq!(file.first_at(PhysicalOffset(limit)), first, "{limit}");
    }
    assert_eq!(file.trailing(PhysicalOffset(30)), 1);
    assert_eq!(file.trailing(PhysicalOffset(20)), 0);
}

#[test]
fn no_room_leaves_no_file() {
    let disk = MemDisk::new();
    disk.set_free_bytes(Some(20));
    let made = IndexFile::create(&disk, Path::new("/index"), 1, LAYOUT, None);
    assert_eq!(made.err().unwrap().kind(), io::ErrorKind::StorageFull);
    assert!(disk.list(Path::new("/index")).unwrap().is_empty());
}
