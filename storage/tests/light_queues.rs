//! Light queues: entries of one record in several queues, made by the dispatcher and by whoever builds queues
//! again, over crashes at every kind of moment.

mod common;
#[allow(dead_code, reason = "a part of what is there")]
#[path = "crash_runs/dice.rs"]
mod dice;

use std::{collections::BTreeMap, path::PathBuf};

use common::{Broker, body, config, record};
use dice::Dice;
use gantry_codec::properties::{self, INNER_MULTI_DISPATCH, INNER_MULTI_QUEUE_OFFSET};
use gantry_storage::{
    AppendError, Disk, DispatchReader, LIGHT_QUEUE_PREFIX, MemDisk, PhysicalOffset, QueueId,
    QueueOffset, allocate_segment, pull,
};

const LIGHT: [&str; 3] = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];

/// Appends a message for queue 0 of topic `t` and the light queues of these numbers.
fn append(broker: &mut Broker, number: usize, queues: &[usize]) {
    let next = |broker: &Broker, topic: &str| {
        broker.next_offsets.get(&(topic.to_owned(), 0)).copied().unwrap_or(0)
    };
    let names: Vec<_> = queues.iter().map(|queue| LIGHT[*queue]).collect();
    let places: Vec<_> = names.iter().map(|name| next(broker, name).to_string()).collect();
    let mut text = String::new();
    properties::append(&mut text, INNER_MULTI_DISPATCH, &names.join(","));
    properties::append(&mut text, INNER_MULTI_QUEUE_OFFSET, &places.join(","));
    let body = body(number, 40);
    let mut record = record("t", 0, &body, &text);
    record.queue_offset = next(broker, "t") as i64;
    record.store_timestamp = broker.now;
    if let Err(AppendError::SegmentFull { .. }) = broker.tail.append(&mut record) {
        if !broker.tail.advance() {
            let start = broker.tail.next_segment_start();
            let segment = allocate_segment(&*broker.disk, broker.log().config(), start).unwrap();
            broker.tail.install(segment).unwrap();
        }
        broker.tail.append(&mut record).unwrap();
    }
    for topic in names.into_iter().chain(["t"]) {
        *broker.next_offsets.entry((topic.to_owned(), 0)).or_default() += 1;
    }
}

/// Every light queue has exactly the records that name it, in the order of the log; how many records there are.
fn check(broker: &mut Broker) -> usize {
    let mut named: BTreeMap<String, Vec<PhysicalOffset>> = BTreeMap::new();
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
    let mut records = 0;
    reader
        .read(usize::MAX, |entry| {
            records += 1;
            for (topic, place) in entry.light_queues() {
                let of = named.entry(topic.to_owned()).or_default();
                assert_eq!(place.0, of.len() as u64, "{topic} in the record at {}", entry.offset);
                of.push(entry.offset);
            }
        })
        .unwrap();
    for light in LIGHT {
        let wanted = named.remove(light).unwrap_or_default();
        assert_eq!(broker.range(light, 0), (0, wanted.len() as u64), "{light}");
        let view = broker.view(light, 0);
        for (place, offset) in wanted.iter().enumerate() {
            let entry = view.entry(QueueOffset(place as u64)).unwrap();
            assert_eq!(entry.offset, *offset, "{light} at {place}");
            let pulled =
                pull(&view, broker.log(), QueueOffset(place as u64), &common::LIMITS, None);
            assert!(pulled.records().next().is_some(), "{light} at {place}");
        }
    }
    records
}

fn dir(topic: &str) -> PathBuf {
    config().queues.queue_dir(topic, QueueId(0))
}

#[test]
fn light_queues_survive_crashes_at_any_moment() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let mut disk = MemDisk::new();
        let mut flushed = 0;
        for _ in 0..4 {
            let mut broker = Broker::open(disk.clone());
            let found = check(&mut broker);
            assert!(found >= flushed, "seed {seed}: {found} of {flushed} that were flushed");
            let mut number = found;
            flushed = found;
            for _ in 0..5 + dice.below(55) {
                match dice.below(10) {
                    0..6 => {
                        let queues: Vec<_> = (0..3).filter(|_| dice.one_in(2)).collect();
                        append(&mut broker, number, &queues);
                        number += 1;
                    }
                    6 => drop(broker.publish()),
                    7 => {
                        broker.publish();
                        broker.log().flusher().sync().unwrap();
                        flushed = number;
                    }
                    8 => broker.dispatch(),
                    _ => broker.checkpoint().unwrap(),
                }
            }
            broker.publish();
            broker.dispatch();
            assert_eq!(check(&mut broker), number, "seed {seed}");
            match dice.below(3) {
                0 => {
                    broker.stop();
                    flushed = number;
                }
                1 => {
                    broker.kill();
                    disk = disk.kill();
                    flushed = number;
                }
                _ => {
                    broker.kill();
                    disk = disk.crash_seeded(dice.number());
                }
            }
        }
        let found = check(&mut Broker::open(disk));
        assert!(found >= flushed, "seed {seed}: {found} of {flushed} that were flushed");
    }
}

#[test]
fn light_queues_that_were_lost_are_built_again() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..80 {
        append(&mut broker, number, [&[0][..], &[0, 1], &[2, 0]][number % 3]);
        broker.publish();
        broker.dispatch();
    }
    broker.stop();
    let before = disk.read(&dir(LIGHT[0]).join(format!("{:020}", 0))).unwrap();
    for light in [LIGHT[0], LIGHT[2]] {
        disk.remove_dir(&dir(light)).unwrap();
    }
    let mut broker = Broker::open(disk.clone());
    assert_eq!(check(&mut broker), 80);
    assert_eq!(broker.range(LIGHT[0], 0), (0, 80));
    broker.stop();
    assert!(disk.read(&dir(LIGHT[0]).join(format!("{:020}", 0))).unwrap() == before);
}

#[test]
fn an_entry_that_its_record_does_not_name_is_not_taken() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    append(&mut broker, 0, &[0, 1]);
    append(&mut broker, 1, &[0]);
    broker.publish();
    broker.dispatch();
    broker.stop();
    // A stale slot, as a Java broker leaves them behind a queue's end.
    let file = dir(LIGHT[1]).join(format!("{:020}", 0));
    let stale = disk.read_at(&dir(LIGHT[0]).join(format!("{:020}", 0)), 20, 20).unwrap();
    disk.overwrite(&file, 20, &stale).unwrap();
    let mut broker = Broker::open(disk);
    assert_eq!(check(&mut broker), 2);
    assert!(LIGHT.iter().all(|light| light.starts_with(LIGHT_QUEUE_PREFIX)));
}
