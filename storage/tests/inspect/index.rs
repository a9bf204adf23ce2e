//! The key index: files by themselves, and against the log.

use gantry_codec::properties::{KEYS, TAGS, UNIQ_KEY};
use gantry_storage::{
    Disk, MemDisk,
    inspect::{index_contents, index_lookup},
};

use crate::{
    common::Broker,
    support::{INDEX, index_file, inspection, lines, look, root_file, send_with, the, wrong},
};
use gantry_storage::inspect::Severity;

const NAME: &str = "20261125030931702";

/// Six messages with a key each, the last with three, and their index in two files of up to 11 entries.
pub fn store() -> (MemDisk, Vec<(String, u64, i64)>) {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    let mut keys = Vec::new();
    for number in 0..6 {
        broker.now += 1000;
        let (unique, key) = (format!("U{number}"), format!("k{number}  shared"));
        let offset = send_with(&mut broker, "t", &[(UNIQ_KEY, &unique), (KEYS, &key), (TAGS, "x")]);
        for key in [unique.as_str(), &format!("k{number}"), "shared"] {
            keys.push((key.to_owned(), offset, broker.now));
        }
    }
    broker.stop();
    put(&disk, 0, &keys[..11]);
    put(&disk, 1, &keys[11..]);
    (disk, keys)
}

fn path(file: u64) -> std::path::PathBuf {
    root_file("index").join((NAME.parse::<u64>().unwrap() + file).to_string())
}

fn put(disk: &MemDisk, file: u64, keys: &[(String, u64, i64)]) {
    let keys: Vec<_> =
        keys.iter().map(|(k, offset, time)| ("t", k.as_str(), *offset, *time)).collect();
    disk.write_atomic(&path(file), &index_file(&keys)).unwrap();
}

#[test]
fn a_sound_index_is_sound() {
    let (disk, _) = store();
    assert_eq!(wrong(&disk), [""; 0]);
    let summary = look(&disk).0;
    assert_eq!((summary.index_files, summary.index_entries), (2, 18));
}

#[test]
fn every_field_of_an_entry_counts() {
    let at = INDEX.entry_at(5);
    // Hash, place, seconds, the entry before.
    for (field, kind) in
        [(3, "index-entry"), (11, "index-entry"), (15, "index-entry"), (19, "index-chain")]
    {
        let (disk, _) = store();
        disk.corrupt(&path(0), at + field).unwrap();
        let found = wrong(&disk);
        let place = if kind == "index-chain" { at + 16 } else { at };
        let expected = format!("fault {kind} index/{NAME}:{place}");
        assert!(found.contains(&expected), "field at {field}: {found:?}");
    }
}

#[test]
fn a_slot_that_leads_elsewhere_breaks_its_chain() {
    let (disk, _) = store();
    disk.overwrite(&path(0), INDEX.slot_at(1), &7u32.to_be_bytes()).unwrap();
    let found = wrong(&disk);
    assert_eq!(found, [format!("fault index-chain index/{NAME}:{}", INDEX.slot_at(1))]);
    // An entry that names itself makes a loop.
    let (disk, _) = store();
    disk.overwrite(&path(0), INDEX.entry_at(4) + 16, &4u32.to_be_bytes()).unwrap();
    let finding = the(&disk, "index-chain");
    assert_eq!((finding.at, &*finding.found), (Some(INDEX.entry_at(4) + 16), "entry 4"));
}

#[test]
fn headers_are_compared_with_what_follows() {
    for (at, bytes) in [(16, 1u64), (24, 1 << 40)] {
        let (disk, _) = store();
        disk.overwrite(&path(0), at, &bytes.to_be_bytes()).unwrap();
        assert_eq!(wrong(&disk), [format!("fault index-chain index/{NAME}:{at}")]);
    }
    let (disk, _) = store();
    disk.overwrite(&path(0), 36, &13u32.to_be_bytes()).unwrap();
    let found = wrong(&disk);
    assert!(found.contains(&format!("fault index-header index/{NAME}:36")), "{found:?}");
    let (disk, _) = store();
    disk.resize(&path(0), INDEX.file_bytes() + 1).unwrap();
    let found = wrong(&disk);
    assert_eq!(found, [format!("fault index-header index/{NAME}")]);
}

#[test]
fn keys_that_the_index_lacks() {
    let (disk, mut keys) = store();
    keys.remove(7);
    put(&disk, 0, &keys[..10]);
    // The cursor is behind the other keys of the record.
    let at = INDEX.entry_at(9);
    assert_eq!(wrong(&disk), [format!("fault index-missing index/{NAME}:{at}")]);
    // Before the first entry nothing is missing: older files are gone with the log, or never were.
    disk.remove(&path(0)).unwrap();
    put(&disk, 1, &keys[8..]);
    assert_eq!(wrong(&disk), [""; 0]);
    // Behind the last one it is.
    put(&disk, 1, &keys[8..14]);
    let name = path(1).file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(wrong(&disk), [format!("fault index-missing index/{name}:{}", INDEX.entry_at(7))]);
}

#[test]
fn entries_behind_the_logs_end_and_before_its_beginning() {
    let (disk, mut keys) = store();
    keys.push(("late".into(), 5000, keys[17].2));
    put(&disk, 1, &keys[11..]);
    let found = wrong(&disk);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("fault index-entry"), "{found:?}");
}

#[test]
fn tags_that_java_5_5_indexes_are_no_faults() {
    let (disk, mut keys) = store();
    let (offset, time) = (keys[0].1, keys[0].2);
    keys.insert(3, ("T#x".into(), offset, time));
    put(&disk, 0, &keys[..11]);
    put(&disk, 1, &keys[11..]);
    assert_eq!(wrong(&disk), [""; 0]);
    keys[3].0 = "T#y".into();
    put(&disk, 0, &keys[..11]);
    assert_eq!(wrong(&disk), [format!("fault index-entry index/{NAME}:{}", INDEX.entry_at(4))]);
}

#[test]
fn foreign_names_are_passed_over() {
    let (disk, _) = store();
    disk.write_atomic(&root_file("index/old"), b"x").unwrap();
    assert_eq!(lines(&look(&disk).1, Severity::Note), ["warning foreign-file index/old"]);
}

#[test]
fn a_key_is_looked_up_newest_first() {
    let (disk, keys) = store();
    let files = index_contents(&disk, &inspection()).unwrap();
    assert_eq!(files.iter().map(|file| file.entries_end() - 1).collect::<Vec<_>>(), [11, 7]);
    let mut found = Vec::new();
    for file in files.iter().rev() {
        index_lookup(&disk, file, ("t", "shared"), &mut |row| {
            found.push(row.entry.offset.0);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    }
    let mut expected: Vec<_> =
        keys.iter().filter(|(key, ..)| key == "shared").map(|(_, offset, _)| *offset).collect();
    expected.reverse();
    assert_eq!(found, expected);
}
