//! Small stores to be damaged, and findings as short lines to be compared.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gantry_codec::properties;
use gantry_storage::{
    Disk, MemDisk, QueueId, allocate_segment,
    index::layout::{IndexHeader, IndexLayout, KeyEntry, key_hash},
    inspect::{Finding, Inspection, RepairPlan, Severity, Summary, verify},
};

use crate::common::{Broker, body, config, record};

/// Bytes of a log file.
pub const FILE: u64 = 2048;
/// Bytes of a message of [`fill`].
pub const SIZE: u64 = 200;
/// Small enough to be filled.
pub const INDEX: IndexLayout = IndexLayout { hash_slots: 3, entries: 12 };

pub fn log_file(start: u64) -> PathBuf {
    config().log.dirs[0].join(format!("{start:020}"))
}

pub fn queue_file(topic: &str, start: u64) -> PathBuf {
    config().queues.queue_dir(topic, QueueId(0)).join(format!("{start:020}"))
}

pub fn root_file(name: &str) -> PathBuf {
    config().root.join(name)
}

/// A store that was left in order, with 25 messages of 200 bytes, ten to a file.
pub fn store() -> MemDisk {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    fill(&mut broker, 0..25);
    broker.stop();
    disk
}

/// The same, killed instead; what was sent before message 20 is in the checkpoint.
pub fn killed_store() -> MemDisk {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    fill(&mut broker, 0..20);
    broker.checkpoint().unwrap();
    fill(&mut broker, 20..25);
    broker.kill();
    disk
}

pub fn fill(broker: &mut Broker, numbers: std::ops::Range<usize>) {
    for number in numbers {
        broker.now += 1000;
        broker.send("t", 0, &body(number, 108));
    }
}

/// Where message `n` of [`store`] lies.
pub fn place(message: u64) -> u64 {
    message / 10 * FILE + message % 10 * SIZE
}

/// Sends a message with these properties; its place in the log.
pub fn send_with(broker: &mut Broker, topic: &str, pairs: &[(&str, &str)]) -> u64 {
    let mut text = String::new();
    pairs.iter().for_each(|(name, value)| properties::append(&mut text, name, value));
    let mut message = record(topic, 0, b"body", &text);
    let next = broker.next_offsets.entry((topic.to_owned(), 0)).or_default();
    message.queue_offset = *next as i64;
    message.store_timestamp = broker.now;
    *next += 1;
    if broker.log().max_offset().0 == 0 {
        let config = broker.log().config();
        let segment = allocate_segment(&*broker.disk, config, broker.tail.next_segment_start());
        broker.tail.install(segment.unwrap()).unwrap();
    }
    let offset = broker.tail.append(&mut message).unwrap().offset;
    broker.publish();
    broker.dispatch();
    offset.0
}

/// An index file of these keys: topic, key, log offset, store time.
pub fn index_file(keys: &[(&str, &str, u64, i64)]) -> Vec<u8> {
    let mut bytes = vec![0; INDEX.file_bytes() as usize];
    let mut header = IndexHeader::default();
    for (topic, key, offset, time) in keys {
        let (number, hash) = (header.next_entry, key_hash(topic, key));
        let offset = gantry_storage::PhysicalOffset(*offset);
        if number == 1 {
            (header.begin_offset, header.begin_timestamp) = (offset, *time);
        }
        (header.end_offset, header.end_timestamp) = (offset, *time);
        let slot = INDEX.slot_at(INDEX.slot_of(hash)) as usize;
        let previous = u32::from_be_bytes(bytes[slot..slot + 4].try_into().unwrap());
        bytes[slot..slot + 4].copy_from_slice(&number.to_be_bytes());
        let entry = KeyEntry { hash, offset, seconds: header.seconds_to(*time), previous };
        let at = INDEX.entry_at(number) as usize;
        bytes[at..at + 20].copy_from_slice(&entry.encode());
        header.next_entry += 1;
    }
    bytes[..40].copy_from_slice(&header.encode());
    bytes
}

pub fn inspection() -> Inspection {
    Inspection::new(config().root)
}

pub fn look(disk: &MemDisk) -> (Summary, Vec<Finding>) {
    let mut findings = Vec::new();
    let summary = verify(disk, &inspection(), &mut findings).unwrap();
    (summary, findings)
}

/// Severity, kind and place: `fault record-crc commitlog/2048:800`, sorted.
pub fn lines(findings: &[Finding], least: Severity) -> Vec<String> {
    let mut lines: Vec<_> =
        findings.iter().filter(|finding| finding.severity >= least).map(line).collect();
    lines.sort();
    lines
}

fn line(finding: &Finding) -> String {
    let path = finding.path.strip_prefix(config().root).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let name =
        if name.len() == 20 { name.trim_start_matches('0').to_owned() } else { name.to_owned() };
    let name = if name.is_empty() { "0".to_owned() } else { name };
    let path = path.with_file_name(name);
    let at = finding.at.map_or(String::new(), |at| format!(":{at}"));
    format!("{} {} {}{at}", finding.severity, finding.kind.name(), path.display())
}

/// All that is wrong with a store, notes left out.
pub fn wrong(disk: &MemDisk) -> Vec<String> {
    lines(&look(disk).1, Severity::Warning)
}

/// The finding of a kind.
#[track_caller]
pub fn the(disk: &MemDisk, kind: &str) -> Finding {
    let (_, mut findings) = look(disk);
    findings.retain(|finding| finding.kind.name() == kind);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

/// Mends a store; what was done.
pub fn mend(disk: &MemDisk) -> Vec<String> {
    let mut done = Vec::new();
    let plan = RepairPlan::make(disk, &inspection(), &mut Vec::new()).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    plan.execute(&shared, &inspection(), &mut |action| done.push(action.to_string())).unwrap();
    assert_eq!(done.len(), plan.actions().len(), "everything that was said is done");
    done
}

pub fn flip(disk: &MemDisk, path: &Path, at: u64) {
    disk.corrupt(path, at).unwrap();
}
