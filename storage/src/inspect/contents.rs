//! What is in a store, to be printed: queue entries, index entries, the checkpoint, metadata.
//!
//! Nothing here judges; a place that cannot be read is an error.

use std::{
    collections::BTreeMap,
    io,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
};

use gantry_codec::fastjson;

use super::{
    Inspection, RowFile,
    config_check::is_json_name,
    finding::Findings,
    index_check::{IndexFile, index_files},
    log_files::log_files,
    slots::Slots,
    window::{FileWindow, WINDOW_BYTES},
};
use crate::{
    checkpoint::Checkpoint,
    consume_queue::entry::Slot,
    disk::Disk,
    index::layout::{ENTRY_BYTES, FIRST_ENTRY, KeyEntry, SLOT_BYTES, key_hash},
    offset::{PhysicalOffset, QueueOffset},
};

/// An entry of a queue, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// Its place in the queue.
    pub queue_offset: QueueOffset,
    /// Where the record lies.
    pub offset: PhysicalOffset,
    /// The record's bytes.
    pub size: u32,
    /// Hash of the tag, or what the topic puts in that place.
    pub tags_code: i64,
}

/// An entry of the index, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// Its number in its file.
    pub number: u32,
    /// The entry.
    pub entry: KeyEntry,
    /// When the record was stored, to the second, in ms.
    pub store_timestamp: i64,
}

/// The log's files, in order.
pub fn log_contents(disk: &dyn Disk, inspection: &Inspection) -> Vec<RowFile> {
    let mut nobody = Vec::new();
    log_files(disk, &inspection.log_dirs, &mut Findings::new(&mut nobody, 1))
}

/// The queues of a store by topic.
///
/// # Errors
/// If a folder cannot be listed.
pub fn queue_names(disk: &dyn Disk, root: &Path) -> io::Result<BTreeMap<String, Vec<u32>>> {
    let dir = root.join("consumequeue");
    let mut names = BTreeMap::new();
    for (topic, _) in disk.list(&dir)?.into_iter().filter(|(_, len)| len.is_none()) {
        let listed = disk.list(&dir.join(&topic))?.into_iter();
        let mut ids: Vec<_> = listed.filter_map(|(name, _)| name.parse().ok()).collect();
        ids.sort_unstable();
        names.insert(topic, ids);
    }
    Ok(names)
}

/// Gives `f` the entries of a queue in `range`, until it has enough.
///
/// # Errors
/// If a file cannot be read.
pub fn queue_contents(
    disk: &dyn Disk,
    root: &Path,
    (topic, queue): (&str, u32),
    range: Range<u64>,
    f: &mut dyn FnMut(QueueRow) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut nobody = Vec::new();
    let dir = root.join("consumequeue").join(topic).join(queue.to_string());
    let mut slots = Slots::list(disk, &dir, &mut Findings::new(&mut nobody, 1));
    for slot in slots.first().max(range.start)..slots.last().min(range.end) {
        match slots.slot(slot)? {
            Slot::Unused => break,
            Slot::PreBlank => {}
            Slot::Entry(entry) => {
                let (offset, size, tags_code) = (entry.offset, entry.size, entry.tags_code);
                let row = QueueRow { queue_offset: QueueOffset(slot), offset, size, tags_code };
                if f(row).is_break() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The files of the key index, oldest first; those whose layout is not known are left out.
///
/// # Errors
/// If they cannot be listed or read.
pub fn index_contents(disk: &dyn Disk, inspection: &Inspection) -> io::Result<Vec<IndexFile>> {
    let mut nobody = Vec::new();
    let dir = inspection.root.join("index");
    index_files(disk, &dir, inspection.index_slots, &mut Findings::new(&mut nobody, 1))
}

/// Gives `f` all entries of an index file in their order, until it has enough.
///
/// # Errors
/// If the file cannot be read.
pub fn index_entries(
    disk: &dyn Disk,
    file: &IndexFile,
    f: &mut dyn FnMut(IndexRow) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut window = FileWindow::new(disk, file.path.clone(), file.len, WINDOW_BYTES);
    for number in FIRST_ENTRY..file.entries_end() {
        let bytes = window.at(file.layout.entry_at(number), ENTRY_BYTES as usize)?;
        let Some(entry) = KeyEntry::decode(bytes) else { break };
        if f(row(file, number, entry)).is_break() {
            break;
        }
    }
    Ok(())
}

/// Gives `f` the entries of an index file that have the hash of a topic's key, newest first, as a
/// query finds them; other keys may have the same hash.
///
/// # Errors
/// If the file cannot be read.
pub fn index_lookup(
    disk: &dyn Disk,
    file: &IndexFile,
    (topic, key): (&str, &str),
    f: &mut dyn FnMut(IndexRow) -> ControlFlow<()>,
) -> io::Result<()> {
    let hash = key_hash(topic, key);
    let slot = file.layout.slot_at(file.layout.slot_of(hash));
    let head = disk.read_at(&file.path, slot, SLOT_BYTES as usize)?;
    let mut number = super::window::u32_at(&head, 0);
    let mut newer = u32::MAX;
    // Numbers fall along a chain; one that does not is damaged.
    while file.layout.is_entry(number, file.header.next_entry) && number < newer {
        let at = file.layout.entry_at(number);
        let bytes = disk.read_at(&file.path, at, ENTRY_BYTES as usize)?;
        let Some(entry) = KeyEntry::decode(&bytes) else { break };
        if entry.hash == hash && f(row(file, number, entry)).is_break() {
            break;
        }
        (newer, number) = (number, entry.previous);
    }
    Ok(())
}

fn row(file: &IndexFile, number: u32, entry: KeyEntry) -> IndexRow {
    let begin = file.header.begin_timestamp;
    let store_timestamp = begin.saturating_add(i64::from(entry.seconds) * 1000);
    IndexRow { number, entry, store_timestamp }
}

/// The fields of the checkpoint by the names that Java gives them; the last is ours, and there only if
/// gantry wrote the file last. `None` if there is no file.
///
/// # Errors
/// If it cannot be read.
pub fn checkpoint_contents(
    disk: &dyn Disk,
    root: &Path,
) -> io::Result<Option<Vec<(&'static str, i64)>>> {
    let Some(bytes) = disk.read(&root.join("checkpoint"))? else { return Ok(None) };
    let checkpoint = Checkpoint::decode(&bytes);
    let mut fields = vec![
        ("physicMsgTimestamp", checkpoint.physic_msg_timestamp),
        ("logicsMsgTimestamp", checkpoint.logics_msg_timestamp),
        ("indexMsgTimestamp", checkpoint.index_msg_timestamp),
        ("masterFlushedOffset", checkpoint.master_flushed_offset),
        ("confirmPhyOffset", checkpoint.confirm_phy_offset),
    ];
    fields.extend(checkpoint.dispatched.map(|mark| ("dispatchedOffset", mark.end.0 as i64)));
    Ok(Some(fields))
}

/// The files of metadata with their content as standard JSON, or why it cannot be read.
///
/// # Errors
/// If the folder or a file cannot be read.
pub fn config_contents(
    disk: &dyn Disk,
    root: &Path,
) -> io::Result<Vec<(PathBuf, Result<serde_json::Value, String>)>> {
    let dir = root.join("config");
    let mut files = Vec::new();
    for (name, len) in disk.list(&dir)? {
        if len.is_none() || !is_json_name(&name) {
            continue;
        }
        let path = dir.join(name);
        let bytes = disk.read(&path)?.unwrap_or_default();
        files.push((path, fastjson::from_slice(&bytes).map_err(|e| e.to_string())));
    }
    Ok(files)
}
