//! A store against a plain vector: any sequence of work, removals, restarts, kills and losses of power.
//!
//! The model is the list of all records in the order of the log. After a kill the store must have at
//! least what was published, after a loss of power what was flushed, and never more than was appended;
//! what it has must be the beginning of that list, and every queue must give exactly its part of it,
//! in order, with consecutive offsets. Records of removed files stay in the list, counted apart: the
//! store must have none of them, and no queue may begin at one.

mod common;

use std::{hash::BuildHasher, path::Path};

use common::{Broker, body};
use gantry_storage::{Disk, DispatchReader, MemDisk, PhysicalOffset, StoreConfig};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Append a message to a queue.
    Append { queue: u32, bytes: usize, tagged: bool },
    /// Append and index many small messages: index entries on several pages.
    Burst { queue: u32, messages: usize },
    /// Publish what was appended.
    Publish,
    /// Bring the queues up to date.
    Dispatch,
    /// Flush the log.
    Flush,
    /// Flush the queues and the log, and write that down.
    Checkpoint,
    /// Remove the log's oldest files, so many at most, and trim the queues.
    Remove { files: u64 },
    /// The appender dies and is made again.
    NewTail,
    /// The broker ends in some way and is started again.
    Restart { how: End, foreign_checkpoint: bool },
}

#[derive(Clone, Debug)]
enum End {
    Stopped,
    Killed,
    /// Pages that were not flushed are lost, or not, as the seed has it.
    LostPower(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let append = (0..4u32, 0..1500usize, any::<bool>())
        .prop_map(|(queue, bytes, tagged)| Step::Append { queue, bytes, tagged });
    let end =
        prop_oneof![Just(End::Stopped), Just(End::Killed), any::<u64>().prop_map(End::LostPower)];
    let restart = (end, prop::bool::weighted(0.2))
        .prop_map(|(how, foreign_checkpoint)| Step::Restart { how, foreign_checkpoint });
    prop_oneof![
        20 => append,
        3 => (0..4u32, 0..400usize).prop_map(|(queue, messages)| Step::Burst { queue, messages }),
        6 => Just(Step::Publish),
        4 => Just(Step::Dispatch),
        2 => Just(Step::Flush),
        2 => Just(Step::Checkpoint),
        2 => (1..4u64).prop_map(|files| Step::Remove { files }),
        1 => Just(Step::NewTail),
        2 => restart,
    ]
}

/// Files of a few pages, so that records and index entries lie across pages and files.
fn config() -> StoreConfig {
    StoreConfig::new("/store".into(), 12_000, 10_000)
}

fn open(disk: &MemDisk) -> Broker {
    Broker::try_open(disk.clone(), config()).unwrap()
}

struct World {
    disk: MemDisk,
    broker: Option<Broker>,
    /// Queue and body of every record, in the order of the log.
    records: Vec<(u32, Vec<u8>)>,
    /// Where each of them lies.
    places: Vec<PhysicalOffset>,
    published: usize,
    flushed: usize,
    number: usize,
}

impl World {
    fn new() -> Self {
        let disk = MemDisk::new();
        let broker = Some(open(&disk));
        let (records, places) = (Vec::new(), Vec::new());
        Self { disk, broker, records, places, published: 0, flushed: 0, number: 0 }
    }

    fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { queue, bytes, tagged } => {
                self.append(queue, bytes, if tagged { "TagA" } else { "" });
            }
            Step::Burst { queue, messages } => {
                for _ in 0..messages {
                    self.append(queue, 0, "");
                }
                self.broker().publish();
                self.broker().dispatch();
                self.published = self.records.len();
            }
            Step::Publish => {
                self.broker().publish();
                self.published = self.records.len();
            }
            Step::Dispatch => self.broker().dispatch(),
            Step::Flush => {
                self.broker().log().flusher().sync().unwrap();
                self.flushed = self.published;
            }
            Step::Checkpoint => {
                self.broker().checkpoint().unwrap();
                self.flushed = self.published;
            }
            Step::Remove { files } => self.remove(files),
            Step::NewTail => self.new_tail(),
            Step::Restart { how, foreign_checkpoint } => self.restart(&how, foreign_checkpoint),
        }
    }

    fn append(&mut self, queue: u32, bytes: usize, tag: &str) {
        let body = body(self.number, bytes);
        self.number += 1;
        let place = self.broker().append("t", queue, &body, tag);
        self.records.push((queue, body));
        self.places.push(place);
    }

    /// What goes has been indexed, and the queues are on disk: as the cleaner has it.
    fn remove(&mut self, files: u64) {
        let disk = self.disk.clone();
        let broker = self.broker();
        broker.checkpoint().unwrap();
        let log = broker.log().clone();
        let limit = log.min_offset().plus(files * log.config().segment_bytes);
        log.remove_before(&disk, limit.min(broker.reader.position())).unwrap();
        for queue in broker.queues.values_mut() {
            queue.trim_before(log.min_offset()).unwrap();
        }
        self.flushed = self.published;
    }

    fn new_tail(&mut self) {
        let Some(broker) = self.broker.take() else { return };
        let Broker { disk, store, tail, reader, queues, mut next_offsets, now } = broker;
        drop(tail);
        let tail = store.log().tail().unwrap();
        self.records.truncate(self.published);
        self.places.truncate(self.published);
        for ((_, queue), next) in &mut next_offsets {
            *next = self.records.iter().filter(|(of, _)| of == queue).count() as u64;
        }
        self.broker = Some(Broker { disk, store, tail, reader, queues, next_offsets, now });
    }

    fn restart(&mut self, how: &End, foreign_checkpoint: bool) {
        let Some(mut broker) = self.broker.take() else { return };
        let least = match how {
            End::Stopped => {
                broker.publish();
                broker.dispatch();
                broker.stop();
                self.records.len()
            }
            End::Killed => {
                broker.kill();
                self.published
            }
            End::LostPower(seed) => {
                broker.kill();
                self.disk = self.disk.crash_keeping(|path, at| is_kept(*seed, path, at));
                self.flushed
            }
        };
        if foreign_checkpoint {
            self.disk.write_atomic(Path::new("/store/checkpoint"), &[0; 4096]).unwrap();
        }
        let mut broker = open(&self.disk);
        let begin = broker.log().min_offset();
        let mut count = self.places.iter().take_while(|place| **place < begin).count();
        let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
        reader.read(usize::MAX, |_| count += 1).unwrap();
        assert!(count >= least, "{count} records of {least} that had to be there");
        assert!(count <= self.records.len(), "more records than were appended");
        self.records.truncate(count);
        self.places.truncate(count);
        (self.published, self.flushed) = (count, count);
        check(&mut broker, &self.records, &self.places);
        self.broker = Some(broker);
    }
}

/// Every queue gives its part of the records that were not removed, from wherever one begins to read.
fn check(broker: &mut Broker, records: &[(u32, Vec<u8>)], places: &[PhysicalOffset]) {
    let begin = broker.log().min_offset();
    for queue in 0..4 {
        let of_queue = records.iter().zip(places).filter(|((of, _), _)| *of == queue);
        let (want, places): (Vec<_>, Vec<_>) =
            of_queue.map(|((_, body), place)| (body.clone(), *place)).unzip();
        let min = places.iter().take_while(|place| **place < begin).count();
        let from = min + (want.len() - min) / 3;
        assert_eq!(broker.view("t", queue).min_offset().0, min as u64, "queue {queue}");
        for from in [min, from] {
            let bodies = broker.bodies("t", queue, from as u64);
            assert!(bodies == want[from..], "queue {queue} of {} from {from}", want.len());
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
    fn any_history_leaves_what_it_promised(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        let (records, places) = (world.records.clone(), world.places.clone());
        let broker = world.broker();
        broker.publish();
        broker.dispatch();
        check(broker, &records, &places);
    }
}
