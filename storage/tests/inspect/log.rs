//! The log: records, fillers, files.

use gantry_codec::record::BLANK_MAGIC;
use gantry_storage::{Disk, MemDisk, inspect::Severity};

use crate::{
    common::{Broker, config},
    support::{
        FILE, SIZE, fill, inspection, killed_store, lines, log_file, look, place, root_file, store,
        the, wrong,
    },
};

#[test]
fn a_sound_store_is_sound_and_nothing_in_it_is_changed() {
    let disk = store();
    let before = disk.read(&log_file(FILE)).unwrap();
    let (summary, findings) = look(&disk);
    assert_eq!(findings, []);
    assert_eq!((summary.log_begin, summary.log_end), (0, place(25)));
    assert_eq!((summary.log_files, summary.log_bytes), (3, 3 * FILE));
    assert_eq!((summary.records, summary.queues, summary.entries), (25, 1, 25));
    assert_eq!(summary.dispatch_from, place(25));
    assert_eq!(disk.read(&log_file(FILE)).unwrap(), before);
    assert!(disk.lock(&root_file("lock")).is_ok(), "no lock is taken");
}

#[test]
fn a_folder_that_is_no_store_is_an_error() {
    let disk = MemDisk::new();
    disk.write_atomic(&root_file("letter.txt"), b"x").unwrap();
    let looked = gantry_storage::inspect::verify(&disk, &inspection(), &mut Vec::new());
    let error = looked.unwrap_err().to_string();
    assert!(error.starts_with("there is no store"), "{error}");
}

#[test]
fn a_damaged_record_in_the_middle_is_told_to_the_byte() {
    // Where in message 14, and what is written there.
    let damages: [(u64, &[u8], &str); 7] = [
        (0, &[0; 8], "zeros; 200 bytes up to the next record"),
        (3, &[201], "body of 108 bytes does not fit"),
        (0, &[255], "a record of"),
        (7, &[0xA8], "magic 0xdaa320a8; 200 bytes"),
        (84, &[0, 0, 0, 109], "200 bytes up to the next record"),
        (88 + 108, &[2], "200 bytes up to the next record"),
        (88 + 108 + 1, &[0xFF], "topic is not UTF-8; 200 bytes"),
    ];
    for (at, bytes, why) in damages {
        let disk = store();
        disk.overwrite(&log_file(FILE), 4 * SIZE + at, bytes).unwrap();
        let expected = [
            "fault entry-without-record consumequeue/t/0/0:280",
            "fault log-damage commitlog/2048:800",
            "warning queue-offset-gap consumequeue/t/0/0:280",
        ];
        assert_eq!(wrong(&disk), expected, "{why}");
        let damage = the(&disk, "log-damage");
        let is_size = damage.found.contains("total size");
        assert!(damage.found.contains(why) || is_size, "{}", damage.found);
        assert!(damage.found.ends_with("200 bytes up to the next record"), "{}", damage.found);
        assert_eq!(damage.at_start, "passes over it");
    }
}

#[test]
fn a_body_that_its_crc_does_not_match_is_told() {
    for at in [11, 150] {
        let disk = store();
        disk.overwrite(&log_file(FILE), 4 * SIZE + at, b"?").unwrap();
        assert_eq!(wrong(&disk), ["fault record-crc commitlog/2048:800"]);
    }
}

#[test]
fn a_record_that_names_another_place_is_told() {
    let disk = store();
    disk.overwrite(&log_file(FILE), 4 * SIZE + 28, &1u64.to_be_bytes()).unwrap();
    assert_eq!(wrong(&disk), ["fault record-position commitlog/2048:828"]);
    let finding = the(&disk, "record-position");
    assert_eq!(
        (&*finding.expected, &*finding.found),
        ("log offset 2848, where the record lies", "1")
    );
}

#[test]
fn after_an_abrupt_stop_damage_behind_the_checkpoint_costs_what_follows() {
    let disk = killed_store();
    disk.overwrite(&log_file(2 * FILE), SIZE + 4, b"????").unwrap();
    let damage = the(&disk, "log-damage");
    assert!(damage.at_start.starts_with("cuts the log there"), "{}", damage.at_start);
    disk.overwrite(&log_file(FILE), SIZE + 4, b"????").unwrap();
    let (_, findings) = look(&disk);
    let damage = findings.iter().find(|f| f.path == log_file(FILE)).unwrap();
    assert_eq!(damage.at_start, "passes over it; recovery begins behind it");
    assert!(findings.iter().any(|f| f.kind.name() == "abrupt-stop"));
}

#[test]
fn what_lies_behind_the_last_record_is_its_tail() {
    let disk = store();
    disk.overwrite(&log_file(2 * FILE), 5 * SIZE + 3, b"torn").unwrap();
    assert_eq!(wrong(&disk), ["fault log-tail commitlog/4096:1003"]);
    assert_eq!(look(&disk).0.log_end, place(25));
    // After an abrupt stop a torn record is to be expected.
    let disk = killed_store();
    disk.overwrite(&log_file(2 * FILE), 5 * SIZE, &[0, 0, 0, 200, 0xDA]).unwrap();
    let expected = ["warning abrupt-stop abort", "warning log-tail commitlog/4096:1003"];
    assert_eq!(wrong(&disk), expected);
}

#[test]
fn fillers_lead_to_the_next_file_whatever_they_say() {
    let disk = store();
    disk.overwrite(&log_file(0), 10 * SIZE, &40u32.to_be_bytes()).unwrap();
    assert_eq!(wrong(&disk), ["warning blank-length commitlog/0:2000"]);
    // What lies behind a filler's 8 bytes does not count.
    let disk = store();
    disk.overwrite(&log_file(0), 10 * SIZE + 8, b"stale").unwrap();
    assert_eq!(wrong(&disk), [""; 0]);
    // A filler that is none ends the file all the same, as records follow in the next.
    disk.overwrite(&log_file(0), 10 * SIZE + 4, &(BLANK_MAGIC + 1).to_be_bytes()).unwrap();
    assert_eq!(wrong(&disk), ["fault log-damage commitlog/0:2000"]);
}

#[test]
fn files_that_are_missing_foreign_or_of_another_length() {
    let disk = store();
    disk.remove(&log_file(FILE)).unwrap();
    let found = wrong(&disk);
    assert!(found.contains(&"fault file-gap commitlog/4096".to_owned()), "{found:?}");
    assert_eq!(the(&disk, "file-gap").expected, "the file that starts at 2048");

    let disk = store();
    disk.write_atomic(&config().log.dirs[0].join("notes.txt"), b"x").unwrap();
    assert_eq!(wrong(&disk), ["fault foreign-file commitlog/notes.txt"]);

    let disk = store();
    disk.resize(&log_file(2 * FILE), 1500).unwrap();
    assert_eq!(wrong(&disk), ["fault file-length commitlog/4096"]);
    let finding = the(&disk, "file-length");
    assert_eq!(finding.expected, "2048 bytes, as the other files have");
    assert_eq!(finding.found, "1500 bytes");

    let disk = store();
    disk.write_atomic(&log_file(3 * FILE), b"").unwrap();
    assert_eq!(wrong(&disk), ["warning file-length commitlog/6144"]);
}

#[test]
fn a_spare_file_of_zeros_is_in_order() {
    let disk = store();
    disk.write_atomic(&log_file(3 * FILE), &[0; FILE as usize]).unwrap();
    let found = lines(&look(&disk).1, Severity::Note);
    assert_eq!(found, ["note spare-file commitlog/6144"]);
    disk.overwrite(&log_file(3 * FILE), 700, b"x").unwrap();
    assert_eq!(wrong(&disk), ["fault log-tail commitlog/6144:700"]);
}

#[test]
fn a_log_may_lie_in_several_folders() {
    let disk = store();
    let other = root_file("elsewhere").join(format!("{FILE:020}"));
    let bytes = disk.read(&log_file(FILE)).unwrap().unwrap();
    disk.write_atomic(&other, &bytes).unwrap();
    disk.remove(&log_file(FILE)).unwrap();
    let mut inspection = inspection();
    inspection.log_dirs.push(root_file("elsewhere"));
    let mut findings = Vec::new();
    let summary = gantry_storage::inspect::verify(&disk, &inspection, &mut findings).unwrap();
    assert_eq!((findings, summary.records), (Vec::new(), 25));
    // The same file in both is one too many.
    disk.write_atomic(&log_file(FILE), &bytes).unwrap();
    let mut findings = Vec::new();
    gantry_storage::inspect::verify(&disk, &inspection, &mut findings).unwrap();
    assert!(!findings.is_empty() && findings.iter().all(|f| f.kind.name() == "file-gap"));
}

#[test]
fn an_empty_store_and_one_in_use_are_sound() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    let mut inspection = inspection();
    inspection.is_in_use = true;
    let mut findings = Vec::new();
    gantry_storage::inspect::verify(&disk, &inspection, &mut findings).unwrap();
    assert_eq!(lines(&findings, Severity::Note), ["note in-use lock"]);
    fill(&mut broker, 0..3);
    let mut findings = Vec::new();
    let summary = gantry_storage::inspect::verify(&disk, &inspection, &mut findings).unwrap();
    assert_eq!((summary.records, summary.tally.faults), (3, 0), "{findings:#?}");
}
