//! The timers' files: what survives what, by the table in `timer/recovery.rs`.

mod crash;
mod files;
mod recovery;

use std::{path::Path, sync::Arc};

use gantry_storage::{
    MemDisk, PhysicalOffset,
    timer::{CatchUp, TimerConfig, TimerReport, TimerStore, TimerUnit, WheelLayout, unit::flags},
};

/// Files of twenty units, and a wheel of a quarter of an hour.
fn config() -> TimerConfig {
    TimerConfig {
        layout: WheelLayout { precision_ms: 1000, slots: 1024 },
        ..TimerConfig::new(Path::new("/store"), 20 * 52 + 30, 1000)
    }
}

const LOG_END: PhysicalOffset = PhysicalOffset(1 << 30);

fn open(disk: &MemDisk) -> (TimerStore, CatchUp, TimerReport) {
    open_with(disk, LOG_END)
}

fn open_with(disk: &MemDisk, log_end: PhysicalOffset) -> (TimerStore, CatchUp, TimerReport) {
    TimerStore::open(Arc::new(disk.clone()), config(), log_end).unwrap()
}

/// The message number `n`, due at `time_ms`; its place in the log tells the number.
fn unit(n: u64, time_ms: i64) -> TimerUnit {
    TimerUnit {
        previous: None,
        flags: flags::PLAIN,
        written_ms: 1_000_000,
        time_ms,
        offset: PhysicalOffset(n * 100),
        size: 100,
        topic_hash: 7,
    }
}

/// The messages of a slot, by its chain.
fn messages(store: &TimerStore, slot_ms: i64) -> Vec<u64> {
    let (mut found, mut at) = (Vec::new(), store.slot(slot_ms).map(|slot| slot.last));
    while let Some(position) = at {
        let unit = store.unit(position, slot_ms).expect("a chain leads to units of its slot");
        assert!(unit.previous.is_none_or(|previous| previous < position));
        assert_eq!(unit.size, 100, "as it was written");
        found.push(unit.offset.0 / 100);
        at = unit.previous;
    }
    found.reverse();
    found
}

/// Brings everything to the disk.
fn flush(store: &mut TimerStore, read_time_ms: i64, queue_offset: u64) {
    if let Some(job) = store.flush(read_time_ms, queue_offset, 5).unwrap() {
        let done = job.run();
        store.flushed(&done);
        done.unwrap();
    }
}
