//! A store against a plain vector: any sequence of work, removals, restarts, kills and losses of power.
//!
//! The model is the list of all records in the order of the log. After a kill the store must have at
//! least what was published, after a loss of power what was flushed, and never more than was appended;
//! what it has must be the beginning of that list, and every queue must give exactly its part of it,
//! in order, with consecutive offsets. A topic that is deleted begins anew with the next message: of its
//! records, those count that were appended since. Records of removed files stay in the list, counted
//! apart: the store must have none of them, and every queue begins behind its last one.

mod common;

use std::{collections::BTreeSet, hash::BuildHasher, path::Path, sync::Arc};

use common::{Broker, body};
use gantry_storage::{
    Disk, DispatchReader, MemDisk, PhysicalOffset, QueueName, QueueOffset, Store, StoreConfig,
};
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
    /// Read some messages from a place in a queue.
    Read { queue: u32, from: u64 },
    /// Delete a topic, which is one queue here.
    Delete { queue: u32 },
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
        3 => (0..4u32, any::<u64>()).prop_map(|(queue, from)| Step::Read { queue, from }),
        1 => (0..4u32).prop_map(|queue| Step::Delete { queue }),
        2 => (1..4u64).prop_map(|files| Step::Remove { files }),
        1 => Just(Step::NewTail),
        2 => restart,
    ]
}

/// Files of a few pages, so that records and index entries lie across pages and files.
fn config() -> StoreConfig {
    StoreConfig::new("/store".into(), 12_000, 10_000)
}

/// A topic of one queue.
fn topic(queue: u32) -> String {
    format!("topic{queue}")
}

struct World {
    disk: MemDisk,
    broker: Option<Broker>,
    /// Queue and body of every record, in the order of the log.
    records: Vec<(u32, Vec<u8>)>,
    /// Where each of them lies.
    places: Vec<PhysicalOffset>,
    /// Per queue, the place in `records` from which on its records count.
    begins: [usize; 4],
    published: usize,
    flushed: usize,
    number: usize,
}

impl World {
    fn new() -> Self {
        let disk = MemDisk::new();
        let broker = Some(Broker::try_open(disk.clone(), config()).unwrap());
        let (records, places, begins) = (Vec::new(), Vec::new(), [0; 4]);
        Self { disk, broker, records, places, begins, published: 0, flushed: 0, number: 0 }
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
            Step::Read { queue, from } => self.read(queue, from),
            Step::Delete { queue } => self.delete(queue),
            Step::Remove { files } => self.remove(files),
            Step::NewTail => self.new_tail(),
            Step::Restart { how, foreign_checkpoint } => self.restart(&how, foreign_checkpoint),
        }
    }

    fn append(&mut self, queue: u32, bytes: usize, tag: &str) {
        let body = body(self.number, bytes);
        self.number += 1;
        let place = self.broker().append(&topic(queue), 0, &body, tag);
        self.records.push((queue, body));
        self.places.push(place);
    }

    /// How many of the queue's messages are gone with their files.
    fn gone(&mut self, queue: u32) -> usize {
        let log_min = self.broker().log().min_offset();
        self.bodies(queue, self.places.partition_point(|place| *place < log_min)).len()
    }

    /// What the queue has of the first `count` records.
    fn bodies(&self, queue: u32, count: usize) -> Vec<Vec<u8>> {
        let begin = self.begins[queue as usize].min(count);
        let records = self.records[begin..count].iter().filter(|(of, _)| *of == queue);
        records.map(|(_, body)| body.clone()).collect()
    }

    fn read(&mut self, queue: u32, from: u64) {
        if self.deleted().contains(&topic(queue)) {
            return;
        }
        let (bodies, gone) = (self.bodies(queue, self.published), self.gone(queue) as u64);
        let broker = self.broker();
        let view = broker.view(&topic(queue), 0);
        let (min, max) = (view.min_offset().0, view.max_offset().0);
        assert!(max <= bodies.len() as u64, "more messages than were published");
        assert_eq!(min, gone, "the queue begins elsewhere than the log has it");
        let from = min + from % (max - min + 1);
        assert!(broker.bodies(&topic(queue), 0, from) == bodies[from as usize..max as usize]);
    }

    fn delete(&mut self, queue: u32) {
        let broker = self.broker();
        broker.publish();
        broker.dispatch();
        broker.delete_topic(&topic(queue));
        self.published = self.records.len();
        self.begins[queue as usize] = self.records.len();
    }

    /// What goes has been indexed, and the queues are on disk: as the cleaner has it. Queues that nobody
    /// has open are trimmed by the store.
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
        let owned = |name: &QueueName| broker.queues.contains_key(&(name.topic.to_string(), 0));
        for name in broker.store.queue_names() {
            let begin = broker.store.trim_queue(&name.topic, name.queue, QueueOffset(0)).unwrap();
            assert!(begin.is_none() || !owned(&name), "trimmed behind its owner's back");
        }
        broker.store.queue_was_trimmed();
        self.flushed = self.published;
    }

    /// The topics that were deleted and of which the log has nothing since.
    fn deleted(&self) -> BTreeSet<String> {
        let is_deleted = |queue: &u32| {
            let begin = self.begins[*queue as usize];
            begin > 0 && self.bodies(*queue, self.records.len()).is_empty()
        };
        (0..4).filter(is_deleted).map(topic).collect()
    }

    fn new_tail(&mut self) {
        let Some(broker) = self.broker.take() else { return };
        let Broker { disk, store, tail, reader, queues, mut next_offsets, mut deleted, now } =
            broker;
        drop(tail);
        let tail = store.log().tail().unwrap();
        self.records.truncate(self.published);
        self.places.truncate(self.published);
        for queue in 0..4 {
            let next = self.bodies(queue, self.records.len()).len() as u64;
            next_offsets.insert((topic(queue), 0), next);
        }
        deleted.extend(self.deleted());
        self.broker =
            Some(Broker { disk, store, tail, reader, queues, next_offsets, deleted, now });
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
        // Which topics there are is known from the log here, as that of their table is another matter.
        let found = self.records_on_disk();
        assert!(found >= least, "{found} records of {least} that had to be there");
        assert!(found <= self.records.len(), "more records than were appended");
        self.records.truncate(found);
        self.places.truncate(found);
        self.begins = self.begins.map(|begin| begin.min(found));
        (self.published, self.flushed) = (found, found);
        self.broker = Some(self.open());
        self.check();
    }

    fn open(&self) -> Broker {
        Broker::try_open_without(self.disk.clone(), config(), self.deleted()).unwrap()
    }

    /// How many records a start finds. It is made on a copy of the disk.
    fn records_on_disk(&self) -> usize {
        let store = Store::open(config(), Arc::new(self.disk.kill())).unwrap();
        let log_min = store.log().min_offset();
        let mut count = self.places.partition_point(|place| *place < log_min);
        let mut reader = DispatchReader::new(store.log().clone(), PhysicalOffset(0));
        reader.read(usize::MAX, |_| count += 1).unwrap();
        count
    }

    /// Every queue gives its part of the records, from wherever one begins to read.
    fn check(&mut self) {
        let deleted = self.deleted();
        for queue in (0..4).filter(|queue| !deleted.contains(&topic(*queue))) {
            let want = self.bodies(queue, self.records.len());
            let (gone, broker) = (self.gone(queue), self.broker());
            let min = broker.view(&topic(queue), 0).min_offset();
            assert_eq!(min.0 as usize, gone, "queue {queue} begins elsewhere");
            for from in [gone, gone + (want.len() - gone) / 3] {
                let found = broker.bodies(&topic(queue), 0, from as u64);
                assert!(found == want[from..], "queue {queue} of {} from {from}", want.len());
            }
        }
    }
}

fn is_kept(seed: u64, path: &Path, at: u64) -> bool {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    hasher.hash_one((seed, path, at)).is_multiple_of(2)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_history_leaves_what_it_promised(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.broker().publish();
        world.broker().dispatch();
        world.check();
    }
}
