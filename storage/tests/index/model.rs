//! The index against a plain vector of (key, time, place): any sequence of work, stops, kills and losses
//! of power, on a disk that is full at times and fails to sync.

use std::{hash::BuildHasher, path::Path};

use gantry_storage::{AdvanceError, IndexError, MemDisk, QueryKey};
use proptest::prelude::*;

use crate::world::{Keys, World};

#[derive(Clone, Debug)]
enum Step {
    /// Send messages with these keys.
    Send { keys: Vec<u8>, ms: i64 },
    /// Send many with one key.
    Burst { key: u8, messages: usize },
    /// Index so many records.
    Advance(usize),
    /// Index so many records while the disk has no more room than this.
    AdvanceOnFullDisk { records: usize, bytes: u64 },
    /// Make it durable.
    Flush,
    /// Try to, and fail.
    FailToFlush,
    /// The broker ends in some way and is started again.
    Restart(End),
}

#[derive(Clone, Debug)]
enum End {
    Stopped,
    Killed,
    LostPower(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let end =
        prop_oneof![Just(End::Stopped), Just(End::Killed), any::<u64>().prop_map(End::LostPower)];
    prop_oneof![
        10 => (prop::collection::vec(0..6u8, 0..4), 0..3000i64)
            .prop_map(|(keys, ms)| Step::Send { keys, ms }),
        2 => (0..6u8, 0..20usize).prop_map(|(key, messages)| Step::Burst { key, messages }),
        6 => (0..12usize).prop_map(Step::Advance),
        2 => (0..40usize, 0..600u64)
            .prop_map(|(records, bytes)| Step::AdvanceOnFullDisk { records, bytes }),
        3 => Just(Step::Flush),
        1 => Just(Step::FailToFlush),
        2 => end.prop_map(Step::Restart),
    ]
}

/// Of the six, two have the same hash.
const KEYS: [&str; 6] = ["Aa", "BB", "c", "d", "e", "polygenelubricants"];

struct Model {
    world: Option<World>,
    /// Key, store time, place.
    sent: Vec<(&'static str, i64, u64)>,
}

impl Model {
    fn step(&mut self, step: Step) {
        let Some(world) = &mut self.world else { return };
        match step {
            Step::Send { keys, ms } => {
                world.now += ms;
                self.send(&keys);
            }
            Step::Burst { key, messages } => (0..messages).for_each(|_| self.send(&[key])),
            Step::Advance(records) => {
                let end = world.store.log().max_offset();
                world.writer.advance(end, records).unwrap();
            }
            Step::AdvanceOnFullDisk { records, bytes } => {
                let end = world.store.log().max_offset();
                world.disk.set_free_bytes(Some(bytes));
                let went = world.writer.advance(end, records);
                world.disk.set_free_bytes(None);
                assert!(!matches!(went, Err(AdvanceError::Record(_))), "{went:?}");
            }
            Step::Flush => match world.writer.flush() {
                Ok(point) => world.store.checkpoint_index(point).unwrap(),
                Err(e) => assert!(matches!(e, IndexError::Suspect), "{e}"),
            },
            Step::FailToFlush => {
                world.disk.fail_syncs(true);
                let flushed = world.writer.flush();
                world.disk.fail_syncs(false);
                if flushed.is_err() {
                    world.store.checkpoint_index(world.writer.durable()).unwrap();
                }
            }
            Step::Restart(end) => self.restart(&end),
        }
    }

    fn send(&mut self, keys: &[u8]) {
        let Some(world) = &mut self.world else { return };
        let keys: Vec<_> = keys.iter().map(|key| KEYS[usize::from(*key)]).collect();
        let at = world.send("t", Keys::words(&keys.join(" "))).0;
        self.sent.extend(keys.iter().map(|key| (*key, world.now, at)));
    }

    fn restart(&mut self, end: &End) {
        let Some(world) = self.world.take() else { return };
        let disk = match end {
            End::Stopped => world.stop(),
            End::Killed => world.kill(),
            End::LostPower(seed) => world.lose_power(|path, at| is_kept(*seed, path, at)),
        };
        let world = World::open(&disk);
        let log_end = world.store.log().max_offset();
        self.sent.retain(|(_, _, at)| *at < log_end.0);
        self.world = Some(world);
        self.check();
    }

    /// Everything before the writer's position is found, nothing else, nothing twice, and by time.
    fn check(&self) {
        let Some(world) = &self.world else { return };
        let position = world.writer.position().0;
        for key in KEYS {
            let mut want: Vec<_> =
                self.sent.iter().filter(|(k, _, at)| *k == key && *at < position).collect();
            want.dedup();
            let found = world.find(key);
            let places: Vec<_> = want.iter().map(|(_, _, at)| *at).collect();
            // A record that is indexed in part lies at the position.
            let found: Vec<_> = found.into_iter().filter(|at| *at < position).collect();
            assert_eq!(found, places, "{key}");
            if let Some((_, time, at)) = want.get(want.len() / 2) {
                let found = world.query(QueryKey::Key(key), *time, *time);
                assert!(found.contains(at), "{key} at {time}");
                assert!(self.sent.iter().all(|(_, t, at)| {
                    !found.contains(at) || (*time..=*time + 1000).contains(t)
                }));
            }
        }
    }
}

fn is_kept(seed: u64, path: &Path, at: u64) -> bool {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    hasher.hash_one((seed, path, at)).is_multiple_of(2)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_history_leaves_every_key(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model { world: Some(World::open(&MemDisk::new())), sent: Vec::new() };
        for step in steps {
            model.step(step);
        }
        model.world.as_mut().unwrap().index();
        model.check();
    }
}
