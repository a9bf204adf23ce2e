//! The tables of the module's text as data, and a test over all rows.

use super::{Removal::*, *};

const HOUR_MS: i64 = 3_600_000;
const NOW_MS: i64 = 100 * HOUR_MS;

fn policy() -> RetentionPolicy {
    RetentionPolicy {
        reserved_ms: 72 * HOUR_MS,
        delete_hours: vec![4, 16],
        max_used_percent: 75,
        forcible_percent: 85,
        warning_percent: 90,
        cleans_forcibly: true,
        batch_max: 10,
        log_bytes: None,
    }
}

/// Files of 100 bytes by the ages of their newest records, in hours.
fn files(ages: &[Option<i64>]) -> Vec<LogFile> {
    let file = |(place, age): (usize, &Option<i64>)| LogFile {
        start: PhysicalOffset(1000 + place as u64 * 100),
        len: 100,
        newest_ms: age.map(|hours| NOW_MS - hours * HOUR_MS),
    };
    ages.iter().enumerate().map(file).collect()
}

fn disk(dir: &str, percent: Option<u8>) -> DiskUse {
    let space = percent.map(|percent| {
        let free = 1000 - u64::from(percent) * 10;
        Space { total: 1000, free, available: free }
    });
    DiskUse { dir: dir.into(), space }
}

/// One row: what is not usual, and what is decided.
struct Row {
    what: &'static str,
    ages: &'static [Option<i64>],
    hour: u8,
    ordered: bool,
    log: &'static [Option<u8>],
    queues: Option<u8>,
    keep_from: u64,
    wanted_from: u64,
    forcibly: bool,
    max_used: u8,
    budget: Option<u64>,
    removed: usize,
    removals: &'static [Removal],
    is_held: bool,
}

/// Two old files, a young one, the current one; nothing to be done.
const USUAL: Row = Row {
    what: "no hour, no full disk, no order",
    ages: &[Some(90), Some(72), Some(71), Some(0)],
    hour: 12,
    ordered: false,
    log: &[Some(75)],
    queues: Some(75),
    keep_from: u64::MAX,
    wanted_from: 0,
    forcibly: true,
    max_used: 75,
    budget: None,
    removed: 0,
    removals: &[],
    is_held: false,
};

const ROWS: &[Row] = &[
    USUAL,
    // Aged: in the hour, by order, over the ratio, or if a disk cannot be asked.
    Row { what: "the hour", hour: 4, removals: &[Aged, Aged], ..USUAL },
    Row { what: "another hour of the list", hour: 16, removals: &[Aged, Aged], ..USUAL },
    Row { what: "the hour before", hour: 3, ..USUAL },
    Row { what: "an order", ordered: true, removals: &[Aged, Aged], ..USUAL },
    Row { what: "the log's disk", log: &[Some(76)], removals: &[Aged, Aged], ..USUAL },
    Row { what: "the queues' disk", queues: Some(76), removals: &[Aged, Aged], ..USUAL },
    Row { what: "log not readable", log: &[None], removals: &[Aged, Aged], ..USUAL },
    Row { what: "queues not readable", queues: None, removals: &[Aged, Aged], ..USUAL },
    Row { what: "one of two readable", log: &[Some(10), None], removals: &[Aged, Aged], ..USUAL },
    Row { what: "one path has room", log: &[Some(99), Some(75)], ..USUAL },
    Row { what: "no path has", log: &[Some(99), Some(76)], removals: &[Aged, Aged], ..USUAL },
    Row { what: "all old", hour: 4, ages: &[Some(80); 3], removals: &[Aged, Aged], ..USUAL },
    Row { what: "one file", hour: 4, ages: &[Some(80)], ..USUAL },
    Row { what: "no file", hour: 4, ages: &[], log: &[Some(99)], ..USUAL },
    Row { what: "the young first", hour: 4, ages: &[Some(1), Some(80), Some(0)], ..USUAL },
    Row { what: "age unknown", hour: 4, ages: &[None, Some(80), Some(0)], ..USUAL },
    Row { what: "a batch", hour: 4, removed: 9, removals: &[Aged], ..USUAL },
    Row { what: "batch is over", hour: 4, removed: 10, ..USUAL },
    // Forced: whatever the age, the last file and the batch excepted.
    Row { what: "85 is not over 85", log: &[Some(85)], removals: &[Aged, Aged], ..USUAL },
    Row { what: "over 85", log: &[Some(86)], removals: &[Forced, Forced, Forced], ..USUAL },
    Row { what: "queues too", queues: Some(86), removals: &[Forced, Forced, Forced], ..USUAL },
    Row {
        what: "not enabled",
        log: &[Some(99)],
        forcibly: false,
        removals: &[Aged, Aged],
        ..USUAL
    },
    Row { what: "a path has room", log: &[Some(99), Some(10)], ..USUAL },
    Row { what: "age unknown", log: &[Some(86)], ages: &[None; 2], removals: &[Forced], ..USUAL },
    Row { what: "one batch", log: &[Some(86)], removed: 9, removals: &[Forced], ..USUAL },
    // As in Java: a ratio above the forcible one keeps forcing back, but in the hour.
    Row { what: "ratio 95", log: &[Some(94)], max_used: 95, ..USUAL },
    Row {
        what: "ratio 95, in the hour",
        log: &[Some(94)],
        max_used: 95,
        hour: 4,
        removals: &[Forced, Forced, Forced],
        ..USUAL
    },
    // The budget: at any time, until what is left is within.
    Row { what: "within the budget", budget: Some(400), ..USUAL },
    Row { what: "over it", budget: Some(399), removals: &[OverBudget], ..USUAL },
    Row { what: "by two", budget: Some(299), removals: &[OverBudget, OverBudget], ..USUAL },
    Row { what: "less than a file", budget: Some(1), removals: &[OverBudget; 3], ..USUAL },
    Row { what: "then by age", budget: Some(399), hour: 4, removals: &[OverBudget, Aged], ..USUAL },
    // What nobody wants goes at any time.
    Row { what: "first unwanted", wanted_from: 1100, removals: &[Unwanted], ..USUAL },
    Row { what: "a part of it wanted", wanted_from: 1099, ..USUAL },
    Row { what: "all unwanted", wanted_from: 1400, removals: &[Unwanted; 3], ..USUAL },
    // What must be kept stays, however full the disk is.
    Row { what: "kept", hour: 4, keep_from: 1199, removals: &[Aged], is_held: true, ..USUAL },
    Row { what: "kept, full", log: &[Some(99)], keep_from: 1000, is_held: true, ..USUAL },
    Row { what: "kept, budget", budget: Some(1), keep_from: 1099, is_held: true, ..USUAL },
    Row { what: "nothing is to go", keep_from: 1000, ..USUAL },
];

fn decide_row(row: &Row) -> Decision {
    let policy = RetentionPolicy {
        cleans_forcibly: row.forcibly,
        max_used_percent: row.max_used,
        log_bytes: row.budget,
        ..policy()
    };
    let log: Vec<_> = row.log.iter().map(|percent| disk("/log", *percent)).collect();
    policy.decide(&Evidence {
        now_ms: NOW_MS,
        local_hour: row.hour,
        ordered: row.ordered,
        files: &files(row.ages),
        log_disks: &log,
        queue_disk: &disk("/queues", row.queues),
        refuses: false,
        keep_from: PhysicalOffset(row.keep_from),
        wanted_from: PhysicalOffset(row.wanted_from),
        removed: row.removed,
    })
}

#[test]
fn every_row_of_the_table_of_files() {
    for row in ROWS {
        let decision = decide_row(row);
        assert_eq!(decision.removals, row.removals, "{}", row.what);
        assert_eq!(decision.is_held, row.is_held, "{}", row.what);
    }
}

/// The disks of the log and that of the queues, whether writes were refused, and what refuses now.
type WriteRow = (&'static [Option<u8>], Option<u8>, bool, Option<(StorePart, u8)>);

const WRITE_ROWS: &[WriteRow] = &[
    (&[Some(90)], Some(90), false, None),
    (&[Some(91)], Some(10), false, Some((StorePart::Log, 91))),
    (&[Some(10)], Some(91), false, Some((StorePart::Queues, 91))),
    (&[Some(95)], Some(96), false, Some((StorePart::Log, 95))),
    // Refused until there is room again.
    (&[Some(86)], Some(10), true, Some((StorePart::Log, 86))),
    (&[Some(10)], Some(86), true, Some((StorePart::Queues, 86))),
    (&[Some(85)], Some(85), true, None),
    // Several folders: the one with most room counts.
    (&[Some(99), Some(90)], Some(10), false, None),
    (&[Some(99), Some(91)], Some(10), false, Some((StorePart::Log, 91))),
    (&[Some(99), Some(85)], Some(10), true, None),
    // What cannot be asked refuses nothing.
    (&[None], None, false, None),
    (&[None], None, true, None),
    (&[None, Some(91)], None, false, Some((StorePart::Log, 91))),
];

#[test]
fn every_row_of_the_table_of_writes() {
    for row in WRITE_ROWS {
        let log: Vec<_> = row.0.iter().map(|percent| disk("/log", *percent)).collect();
        let decision = policy().decide(&Evidence {
            now_ms: NOW_MS,
            local_hour: 0,
            ordered: false,
            files: &[],
            log_disks: &log,
            queue_disk: &disk("/queues", row.1),
            refuses: row.2,
            keep_from: PhysicalOffset(0),
            wanted_from: PhysicalOffset(0),
            removed: 0,
        });
        let refusal = decision.refusal.map(|limit| (limit.part, limit.used_percent));
        assert_eq!(refusal, row.3, "{row:?}");
    }
}

#[test]
fn a_refusal_names_path_figures_and_limits() {
    let limit = DiskLimit {
        part: StorePart::Queues,
        dir: "/store/consumequeue".into(),
        space: Space { total: 1000, free: 80, available: 60 },
        used_percent: 94,
        warning_percent: 90,
        resume_percent: 85,
    };
    let text = limit.to_string();
    for part in [
        "consume queues",
        "/store/consumequeue",
        "94%",
        "60 of 1000 bytes",
        "90% (diskSpaceWarningLevelRatio)",
        "85% (diskSpaceCleanForciblyRatio)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let low = DiskLimit { warning_percent: 80, resume_percent: 80, ..limit };
    assert!(low.to_string().ends_with("at 80% (diskSpaceWarningLevelRatio)"), "{low}");
}

#[test]
fn each_reason_says_which_setting_it_comes_from() {
    let texts = [Unwanted, OverBudget, Forced, Aged].map(|removal| removal.to_string());
    for (text, word) in texts.iter().zip(["topics", "retentionBytes", "Forcibly", "fileReserved"]) {
        assert!(text.contains(word), "{text}");
    }
}
