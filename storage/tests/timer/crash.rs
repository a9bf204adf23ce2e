//! Losses of power at any operation, with any part of the disk kept: no timer of which the topic still
//! has the message is lost, and none is in two places.

use std::{collections::BTreeMap, sync::Arc};

use gantry_storage::{DiskFault, FaultPlan, MemDisk, PhysicalOffset, timer::TimerStore};
use proptest::prelude::*;

use super::{LOG_END, config, unit};

/// A topic of timed messages, and what has become of them.
#[derive(Default)]
struct Model {
    /// Times of all messages, by number; all of them are in the log.
    times: Vec<i64>,
    /// All slots before it have been delivered.
    read_time_ms: i64,
    /// The time that a flush has certainly brought to the disk.
    durable_ms: i64,
}

/// Opens the files and takes in what the store says has to be.
fn open(disk: &MemDisk, model: &Model) -> std::io::Result<TimerStore> {
    let failed = |e: gantry_storage::timer::TimerError| std::io::Error::other(e.to_string());
    let opened = TimerStore::open(Arc::new(disk.clone()), config(), LOG_END);
    let (mut store, catch_up, _) = opened.map_err(failed)?;
    assert!(catch_up.delivered_before_ms >= model.durable_ms, "a flush was forgotten");
    for n in catch_up.from.unwrap_or(0)..model.times.len() as u64 {
        let time = model.times[n as usize];
        let is_known = catch_up.known.contains(&PhysicalOffset(n * 100));
        let is_over = catch_up.from.is_none()
            && n < catch_up.taken_before
            && store.slot_of(time) < catch_up.delivered_before_ms;
        if !is_known && !is_over {
            store.add(&unit(n, time)).map_err(failed)?;
        }
    }
    Ok(store)
}

/// Every message whose slot is not over is in its slot, once and as it was put there.
fn check(store: &TimerStore, model: &Model) {
    let from = store.checkpoint().read_time_ms;
    assert!(from <= model.read_time_ms, "time went ahead of the deliveries");
    let mut found = BTreeMap::<u64, i64>::new();
    let mut slot = store.next_slot(0);
    while let Some((slot_ms, _)) = slot {
        for n in super::messages(store, slot_ms) {
            assert_eq!(store.slot_of(model.times[n as usize]), slot_ms);
            assert_eq!(found.insert(n, slot_ms), None, "message {n} is there twice");
        }
        slot = store.slot_after(slot_ms);
    }
    for (n, time) in model.times.iter().enumerate() {
        let is_open = store.slot_of(*time) >= from;
        assert!(!is_open || found.contains_key(&(n as u64)), "message {n} of {time} is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_timer_is_lost(
        seed in any::<u64>(),
        steps in proptest::collection::vec((0..12_u8, 0..60_i64), 10..80),
        lives in proptest::collection::vec(1..60_u64, 1..5),
    ) {
        let mut disk = MemDisk::new();
        let mut model = Model { read_time_ms: 2_000_000, ..Model::default() };
        let mut steps = steps.into_iter().cycle();
        for (life, operations) in lives.into_iter().enumerate() {
            let plan = FaultPlan::new(seed.wrapping_add(life as u64))
                .at(operations, DiskFault::PowerLoss);
            disk.set_plan(plan);
            run(&disk, &mut model, &mut steps);
            disk = if disk.is_off() { disk.crash() } else { disk.crash_seeded(seed ^ life as u64) };
            let store = open(&disk, &model).unwrap();
            check(&store, &model);
            model.read_time_ms = model.read_time_ms.max(store.checkpoint().read_time_ms);
        }
    }
}

/// Lives until the power goes, or for so many steps.
fn run(disk: &MemDisk, model: &mut Model, steps: &mut impl Iterator<Item = (u8, i64)>) {
    let Ok(mut store) = open(disk, model) else { return };
    model.read_time_ms = model.read_time_ms.max(store.checkpoint().read_time_ms);
    for (what, number) in steps.by_ref().take(60) {
        let went_on = match what {
            0..=7 => {
                let time = model.read_time_ms + number * 137;
                model.times.push(time);
                store.add(&unit(model.times.len() as u64 - 1, time)).is_ok()
            }
            8 => {
                model.read_time_ms += number % 3 * 1000;
                store.delivered_before(model.read_time_ms);
                true
            }
            _ => flush(&mut store, model),
        };
        if !went_on || disk.step().is_err() {
            return;
        }
    }
}

fn flush(store: &mut TimerStore, model: &mut Model) -> bool {
    let Ok(job) = store.flush(model.read_time_ms, model.times.len() as u64, 5) else {
        return false;
    };
    let Some(job) = job else { return true };
    let done = job.run();
    store.flushed(&done);
    if done.is_ok() {
        model.durable_ms = model.read_time_ms;
    }
    done.is_ok()
}
