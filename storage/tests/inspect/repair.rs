//! Mending: afterwards a store is sound, opens, and has every sound message that it had.

use std::sync::Arc;

use gantry_codec::{Record, properties};
use gantry_storage::{
    Disk, MemDisk,
    inspect::{FindingKind, RepairError, RepairPlan},
};

use crate::{
    common::{Broker, body, config},
    index,
    support::{
        FILE, INDEX, SIZE, inspection, killed_store, log_file, mend, place, queue_file, root_file,
        store, wrong,
    },
};

/// Bodies of the queue after a start; a damaged message has none.
fn bodies(disk: &MemDisk) -> Vec<Vec<u8>> {
    Broker::open(disk.clone()).bodies("t", 0, 0)
}

fn expected(lost: &[usize]) -> Vec<Vec<u8>> {
    let whole = |number| if lost.contains(&number) { Vec::new() } else { body(number, 108) };
    (0..25).map(whole).collect()
}

/// All that is wrong but the mark of an abrupt stop.
fn still_wrong(disk: &MemDisk) -> Vec<String> {
    let mut wrong = wrong(disk);
    wrong.retain(|line| line != "warning abrupt-stop abort");
    wrong
}

#[test]
fn a_sound_store_is_left_alone() {
    let disk = store();
    assert_eq!(mend(&disk), [""; 0]);
    assert_eq!(bodies(&disk), expected(&[]));
}

#[test]
fn a_damaged_record_becomes_one_without_content_and_costs_no_other() {
    let damages: [(u64, &[u8]); 7] = [
        (0, &[0; 8]),
        (3, &[201]),
        (0, &[255]),
        (7, &[0xA8]),
        (88 + 108, &[2]),
        (11, b"?"),
        (150, b"y"),
    ];
    for (at, bytes) in damages {
        for disk in [store(), killed_store()] {
            let at = 4 * SIZE + at;
            disk.overwrite(&log_file(FILE), at, bytes).unwrap();
            let old = disk.read_at(&log_file(FILE), 4 * SIZE, SIZE as usize).unwrap();
            let done = mend(&disk);
            assert!(done[0].starts_with("write a record without content over"), "{done:?}");
            assert_eq!(still_wrong(&disk), [""; 0], "{at}");
            let kept = root_file("damaged").join(format!("{:020}", place(14)));
            assert_eq!(disk.read(&kept).unwrap(), Some(old), "what was there is kept");
            // Even where the whole log is checked again, nothing behind the damage is lost.
            disk.write_atomic(&root_file("abort"), b"").unwrap();
            disk.remove(&root_file("checkpoint")).unwrap();
            assert_eq!(bodies(&disk), expected(&[14]), "{at}");
        }
    }
}

#[test]
fn the_message_in_place_of_a_damaged_one_says_so_and_keeps_its_name() {
    let disk = store();
    disk.overwrite(&log_file(FILE), 4 * SIZE + 150, b"y").unwrap();
    mend(&disk);
    let bytes = disk.read_at(&log_file(FILE), 4 * SIZE, SIZE as usize).unwrap();
    let record = Record::decode(&bytes).unwrap();
    assert_eq!((record.topic, record.queue_id, record.queue_offset), ("t", 0, 14));
    assert_eq!((record.body, record.physical_offset as u64), (&b""[..], place(14)));
    assert!(properties::get(record.properties, "GANTRY_DAMAGED").is_some());
}

#[test]
fn neighbours_that_are_damaged_together_keep_their_places() {
    let disk = store();
    disk.overwrite(&log_file(FILE), 4 * SIZE, &[0x55; 3 * SIZE as usize]).unwrap();
    mend(&disk);
    assert_eq!(wrong(&disk), [""; 0]);
    assert_eq!(bodies(&disk), expected(&[14, 15, 16]));
}

#[test]
fn a_body_that_is_damaged_together_with_the_numbers_before_it_is_mended() {
    // Born host, store time, store host, times given back: no length, no name and no place.
    for at in (48..84).filter(|at| !(56..64).contains(at)) {
        for disk in [store(), killed_store()] {
            let record = SIZE;
            disk.overwrite(&log_file(2 * FILE), record + 88, b"?").unwrap();
            disk.overwrite(&log_file(2 * FILE), record + at, &[0x7F]).unwrap();
            assert!(wrong(&disk).contains(&"fault record-crc commitlog/4096:200".to_owned()));
            mend(&disk);
            assert_eq!(still_wrong(&disk), [""; 0], "{at}");
            assert_eq!(bodies(&disk), expected(&[21]), "{at}");
        }
    }
}

#[test]
fn damage_that_no_queue_knows_is_passed_over_by_all() {
    let disk = store();
    disk.overwrite(&queue_file("t", 0), 0, &[0; 20]).unwrap();
    disk.overwrite(&log_file(0), 0, &[0x55; SIZE as usize]).unwrap();
    mend(&disk);
    // The queue begins with what is left.
    assert_eq!(wrong(&disk), [""; 0]);
    let mut broker = Broker::open(disk);
    assert_eq!(broker.bodies("t", 0, 1), expected(&[])[1..]);
}

#[test]
fn if_all_queues_are_gone_the_next_start_writes_them() {
    let disk = store();
    disk.remove_dir(&config().queues.dir).unwrap();
    let done = mend(&disk);
    assert!(done[0].starts_with("have the next start write all queues anew"), "{done:?}");
    assert_eq!(wrong(&disk), ["warning abrupt-stop abort"]);
    assert_eq!(bodies(&disk), expected(&[]));
}

#[test]
fn damage_up_to_a_files_end_becomes_a_filler() {
    let disk = store();
    disk.overwrite(&log_file(0), 10 * SIZE, &[0x55; 48]).unwrap();
    mend(&disk);
    assert_eq!(wrong(&disk), [""; 0]);
    assert_eq!(bodies(&disk), expected(&[]));
}

#[test]
fn a_torn_tail_is_cleared_and_kept_aside() {
    for spare in [false, true] {
        let disk = store();
        disk.overwrite(&log_file(2 * FILE), 5 * SIZE, &[0, 0, 0, 200, 0xDA, 1]).unwrap();
        if spare {
            disk.write_atomic(&log_file(3 * FILE), &[7; FILE as usize]).unwrap();
        }
        let done = mend(&disk);
        assert_eq!(done, ["clear what lies behind log offset 5096, where the log ends"]);
        assert_eq!(wrong(&disk), [""; 0]);
        let kept = root_file("damaged").join(format!("{:020}", place(25)));
        assert_eq!(disk.read(&kept).unwrap().unwrap(), [0, 0, 0, 200, 0xDA, 1]);
        assert_eq!(bodies(&disk), expected(&[]));
    }
}

#[test]
fn queues_are_written_anew_from_the_first_wrong_entry() {
    let wrongs: [fn(&MemDisk); 7] = [
        |disk| disk.corrupt(&queue_file("t", 0), 5 * 20 + 11).unwrap(),
        |disk| disk.corrupt(&queue_file("t", 0), 5 * 20 + 19).unwrap(),
        |disk| disk.corrupt(&queue_file("t", 0), 6).unwrap(),
        |disk| disk.overwrite(&queue_file("t", 0), 7 * 20, &[0; 40]).unwrap(),
        |disk| disk.clear_from(&queue_file("t", 0), 20 * 20).unwrap(),
        |disk| disk.overwrite(&queue_file("t", 0), 25 * 20 + 11, &[200]).unwrap(),
        |disk| {
            let entry = disk.read_at(&queue_file("t", 0), 60, 20).unwrap();
            disk.overwrite(&queue_file("t", 0), 30 * 20, &entry).unwrap();
        },
    ];
    for (number, damage) in wrongs.iter().enumerate() {
        let disk = store();
        damage(&disk);
        assert_ne!(wrong(&disk), [""; 0], "{number}");
        let done = mend(&disk);
        assert!(done[0].starts_with("write queue 0 of topic t anew from entry"), "{done:?}");
        assert_eq!(wrong(&disk), [""; 0], "{number}");
        assert_eq!(bodies(&disk), expected(&[]), "{number}");
    }
}

#[test]
fn a_queue_of_which_the_log_lacks_records_is_not_touched() {
    let disk = store();
    // Message 14 says that it is 15: the log has two of those and no 14.
    disk.overwrite(&log_file(FILE), 4 * SIZE + 20, &20u64.to_be_bytes()).unwrap();
    let before = disk.read(&queue_file("t", 0)).unwrap();
    let plan = RepairPlan::make(&disk, &inspection(), &mut Vec::new()).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let refused = plan.execute(&shared, &inspection(), &mut |_| {});
    let is_gap = |e: &RepairError| matches!(e, RepairError::Gap { last: 13, next: 15, .. });
    assert!(refused.as_ref().is_err_and(is_gap), "{refused:?}");
    assert_eq!(disk.read(&queue_file("t", 0)).unwrap(), before);
}

#[test]
fn metadata_is_put_back_and_the_broken_file_kept() {
    let disk = store();
    let (path, backup) = (root_file("config/topics.json"), root_file("config/topics.json.bak"));
    let sound = br#"{"topicConfigTable":{"t":{"topicName":"t"}}}"#;
    disk.write_atomic(&path, b"{\"topicConf").unwrap();
    disk.write_atomic(&backup, sound).unwrap();
    let done = mend(&disk);
    assert!(done[0].ends_with("back from its backup, keep the broken file as .broken"), "{done:?}");
    assert_eq!(wrong(&disk), [""; 0]);
    assert_eq!(disk.read(&path).unwrap().unwrap(), sound);
    let broken = root_file("config/topics.json.broken");
    assert_eq!(disk.read(&broken).unwrap().unwrap(), b"{\"topicConf");
}

#[test]
fn a_checkpoint_behind_the_end_loses_its_offset() {
    let disk = store();
    disk.clear_from(&log_file(2 * FILE), 2 * SIZE).unwrap();
    mend(&disk);
    assert_eq!(
        wrong(&disk),
        ["warning checkpoint checkpoint:0", "warning checkpoint checkpoint:8"]
    );
    assert_eq!(bodies(&disk), expected(&[])[..22]);
}

#[test]
fn index_files_are_written_anew_from_the_first_wrong_one() {
    for damage in [
        |disk: &MemDisk, path: &std::path::Path| disk.corrupt(path, INDEX.entry_at(3)).unwrap(),
        |disk: &MemDisk, path: &std::path::Path| disk.overwrite(path, 36, &[0; 4]).unwrap(),
        |disk: &MemDisk, path: &std::path::Path| disk.overwrite(path, 40, &[9; 12]).unwrap(),
    ] {
        for file in 0..2 {
            let (disk, _) = index::store();
            let listed = disk.list(&root_file("index")).unwrap();
            let sound: Vec<_> = listed
                .iter()
                .map(|(name, _)| disk.read(&root_file("index").join(name)).unwrap())
                .collect();
            damage(&disk, &root_file("index").join(&listed[file].0));
            let done = mend(&disk);
            assert!(done[0].starts_with("write the index anew from"), "{done:?}");
            assert_eq!(wrong(&disk), [""; 0]);
            assert_eq!(disk.list(&root_file("index")).unwrap(), listed);
            let now = |name: &String| disk.read(&root_file("index").join(name)).unwrap();
            let anew: Vec<_> = listed.iter().map(|(name, _)| now(name)).collect();
            // All but the count of slots in use, which is of no consequence.
            let rest = |file: &Option<Vec<u8>>| file.as_ref().map(|bytes| bytes[36..].to_vec());
            assert_eq!(
                anew.iter().map(rest).collect::<Vec<_>>(),
                sound.iter().map(rest).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_store_in_use_is_not_mended() {
    let disk = store();
    disk.overwrite(&log_file(2 * FILE), 5 * SIZE, b"x").unwrap();
    let plan = RepairPlan::make(&disk, &inspection(), &mut Vec::new()).unwrap();
    let _held = disk.lock(&root_file("lock")).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let refused = plan.execute(&shared, &inspection(), &mut |_| {});
    assert!(matches!(refused, Err(RepairError::InUse { .. })), "{refused:?}");
    let finding = crate::support::the(&disk, FindingKind::LogTail.name());
    assert_eq!(finding.at, Some(5 * SIZE));
}
