//! The key index: each file by itself, and against the log.
//!
//! Entries lie in the order of the log, over all files, so one cursor goes along with the log. By itself,
//! a file holds if every entry names the one before it in its slot, and every slot the last one in it;
//! no chain can have a loop then. A file's numbers of slots and entries stand nowhere in it: four entries
//! to a slot are assumed, as is Java's default, unless told otherwise.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    expected::{expected_keys, tag_key},
    finding::{Finding, FindingKind, Findings, Severity},
    log_files::RowFile,
    log_scan::{LogRecord, whole_record_at},
    window::{FileWindow, WINDOW_BYTES, u32_at},
};
use crate::{
    disk::Disk,
    index::layout::{
        ENTRY_BYTES, FIRST_ENTRY, HEADER_BYTES, IndexHeader, IndexLayout, KeyEntry, SLOT_BYTES,
        parse_file_name,
    },
};

/// Entries to a slot in Java's default (`maxIndexNum` / `maxHashSlotNum`).
const ENTRIES_PER_SLOT: u64 = 4;
const KEEPS: &str = "takes it as it is";

/// A file of the index.
#[derive(Clone, Debug)]
pub struct IndexFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub len: u64,
    /// How many slots and entries it has.
    pub layout: IndexLayout,
    /// Its header.
    pub header: IndexHeader,
}

impl IndexFile {
    /// One past the number of its last entry.
    pub fn entries_end(&self) -> u32 {
        self.header.next_entry.min(self.layout.entries)
    }
}

/// The index of a store, and how far it has been compared with the log.
pub(crate) struct IndexCheck<'a> {
    disk: &'a dyn Disk,
    pub(crate) files: Vec<IndexFile>,
    /// Files that do not hold, by their place in `files`.
    pub(crate) bad: Vec<bool>,
    cursor: Cursor<'a>,
    covers_from: Option<u64>,
    /// Records behind the last entry: the first, and how many.
    behind: Option<(u64, u64)>,
    wanted: Vec<u32>,
}

/// The next entry in the order of the log.
struct Cursor<'a> {
    file: usize,
    number: u32,
    window: Option<FileWindow<'a>>,
}

/// The files in `dir`, in order.
pub(crate) fn index_files(
    disk: &dyn Disk,
    dir: &Path,
    slots: Option<u32>,
    findings: &mut Findings<'_>,
) -> io::Result<Vec<IndexFile>> {
    let mut files = Vec::new();
    for (name, len) in disk.list(dir)? {
        let Some(len) = len else { continue };
        let path = dir.join(&name);
        if parse_file_name(&name).is_none() {
            let warning = Finding::of(Severity::Warning, FindingKind::ForeignFile, &path);
            findings.add(
                warning.expected("a name of 17 digits").found(name).at_start("passes over it"),
            );
            continue;
        }
        let head = disk.read_at(&path, 0, HEADER_BYTES as usize)?;
        let (Some(header), Some(layout)) = (IndexHeader::decode(&head), layout(len, slots)) else {
            let fault = Finding::of(Severity::Fault, FindingKind::IndexHeader, &path);
            let expected = "a header, slots, and four entries to a slot (or as --index-slots says)";
            findings.add(fault.expected(expected).found(format!("{len} bytes")).at_start(KEEPS));
            continue;
        };
        files.push(IndexFile { path, len, layout, header });
    }
    Ok(files)
}

fn layout(len: u64, slots: Option<u32>) -> Option<IndexLayout> {
    let rest = len.checked_sub(HEADER_BYTES)?;
    let hash_slots = match slots {
        Some(slots) => slots.into(),
        None => {
            let per_slot = SLOT_BYTES + ENTRIES_PER_SLOT * ENTRY_BYTES;
            (rest % per_slot == 0).then_some(rest / per_slot)?
        }
    };
    let entries = rest.checked_sub(hash_slots * SLOT_BYTES)?;
    let is_whole = hash_slots > 0 && entries % ENTRY_BYTES == 0;
    let layout = IndexLayout {
        hash_slots: u32::try_from(hash_slots).ok()?,
        entries: u32::try_from(entries / ENTRY_BYTES).ok()?,
    };
    is_whole.then_some(layout)
}

impl<'a> IndexCheck<'a> {
    pub(crate) fn find(
        disk: &'a dyn Disk,
        dir: &Path,
        slots: Option<u32>,
        findings: &mut Findings<'_>,
    ) -> Self {
        let files = index_files(disk, dir, slots, findings).unwrap_or_else(|e| {
            let fault = Finding::of(Severity::Fault, FindingKind::Unreadable, dir);
            findings.add(fault.found(e.to_string()).at_start(KEEPS));
            Vec::new()
        });
        let bad = vec![false; files.len()];
        let cursor = Cursor { file: 0, number: FIRST_ENTRY, window: None };
        let mut check =
            Self { disk, files, bad, cursor, covers_from: None, behind: None, wanted: Vec::new() };
        check.covers_from = check.peek().map(|(_, entry)| entry.offset.0);
        check
    }

    /// How many entries all files have.
    pub(crate) fn entries(&self) -> u64 {
        self.files.iter().map(|file| u64::from(file.entries_end() - FIRST_ENTRY)).sum()
    }

    /// The next entry, and the header of its file.
    fn peek(&mut self) -> Option<(u32, KeyEntry)> {
        loop {
            let file = self.files.get(self.cursor.file)?;
            let number = self.cursor.number;
            if number >= file.entries_end() {
                let next = self.cursor.file + 1;
                self.cursor = Cursor { file: next, number: FIRST_ENTRY, window: None };
                continue;
            }
            let disk = self.disk;
            let window = self.cursor.window.get_or_insert_with(|| {
                FileWindow::new(disk, file.path.clone(), file.len, WINDOW_BYTES)
            });
            let bytes = window.at(file.layout.entry_at(number), ENTRY_BYTES as usize);
            match bytes.ok().and_then(KeyEntry::decode) {
                Some(entry) => return Some((number, entry)),
                // What cannot be read is told when the file is gone through.
                None => self.cursor.number = u32::MAX,
            }
        }
    }

    fn tell(
        &mut self,
        kind: FindingKind,
        expected: String,
        found: String,
        findings: &mut Findings<'_>,
    ) {
        if let Some(file) = self.files.get(self.cursor.file) {
            let at = file.layout.entry_at(self.cursor.number);
            let fault = Finding::of(Severity::Fault, kind, &file.path).at(at);
            findings.add(fault.expected(expected).found(found).at_start(KEEPS));
        }
        if let Some(bad) = self.bad.get_mut(self.cursor.file) {
            *bad = true;
        }
    }

    /// The next record of the log.
    pub(crate) fn record(
        &mut self,
        record: &LogRecord<'_>,
        log: &[RowFile],
        findings: &mut Findings<'_>,
    ) {
        let Some(covers_from) = self.covers_from else { return };
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        // Texts that are no texts are told as damage of the log.
        let _ = expected_keys(&record.head, record.bytes, &mut |hash| wanted.push(hash));
        self.pass_before(record.offset, log, findings);
        while let Some((number, entry)) = self.peek().filter(|(_, e)| e.offset.0 == record.offset) {
            self.compare(number, &entry, record, &mut wanted, findings);
            self.cursor.number += 1;
        }
        // Keys of the first record may have been in an older file that is gone.
        if !wanted.is_empty() && record.offset > covers_from {
            if self.peek().is_none() {
                let behind = self.behind.get_or_insert((record.offset, 0));
                behind.1 += 1;
            } else {
                let expected = format!("all keys of the record at log offset {}", record.offset);
                self.tell(
                    FindingKind::IndexMissing,
                    expected,
                    format!("{} fewer", wanted.len()),
                    findings,
                );
            }
        }
        self.wanted = wanted;
    }

    fn compare(
        &mut self,
        number: u32,
        entry: &KeyEntry,
        record: &LogRecord<'_>,
        wanted: &mut Vec<u32>,
        findings: &mut Findings<'_>,
    ) {
        let place = wanted.iter().position(|hash| *hash == entry.hash);
        match place {
            Some(place) => {
                wanted.swap_remove(place);
            }
            // A record may be indexed twice after a crash, and by its tag.
            None if is_key_of(record, entry.hash) => {}
            None => {
                let expected = format!("a key of the record at log offset {}", record.offset);
                let found = format!("hash {:#010x}, which none of its keys has", entry.hash);
                self.tell(FindingKind::IndexEntry, expected, found, findings);
            }
        }
        let header = self.files.get(self.cursor.file).map(|file| file.header);
        let seconds = header.map(|header| header.seconds_to(record.head.store_timestamp));
        // The first entry counts from the file before.
        if number > FIRST_ENTRY && seconds.is_some_and(|seconds| seconds != entry.seconds) {
            let expected = format!("{} seconds after the file's first", seconds.unwrap_or(0));
            self.tell(FindingKind::IndexEntry, expected, entry.seconds.to_string(), findings);
        }
    }

    /// Entries for records before `offset` that did not come by.
    fn pass_before(&mut self, offset: u64, log: &[RowFile], findings: &mut Findings<'_>) {
        let begin = log.first().map_or(0, |file| file.start);
        while let Some((_, entry)) = self.peek().filter(|(_, entry)| entry.offset.0 < offset) {
            let is_there = || {
                let record = whole_record_at(self.disk, log, entry.offset.0).ok().flatten();
                record.is_some_and(|(head, bytes)| {
                    let mut is_key = tag_key(&head, &bytes) == Some(entry.hash);
                    let _ = expected_keys(&head, &bytes, &mut |hash| is_key |= hash == entry.hash);
                    is_key
                })
            };
            if entry.offset.0 >= begin && !is_there() {
                let expected = "a record with a key of that hash".to_owned();
                let found = format!("none at log offset {}", entry.offset);
                self.tell(FindingKind::IndexEntry, expected, found, findings);
            }
            self.cursor.number += 1;
        }
    }

    /// The log has ended at `end`; what the next start dispatches begins at `dispatch_from`.
    pub(crate) fn finish(
        &mut self,
        log: &[RowFile],
        end: u64,
        dispatch_from: u64,
        findings: &mut Findings<'_>,
    ) {
        self.pass_before(end, log, findings);
        while let Some((_, entry)) = self.peek() {
            let expected = format!("log offsets before {end}, where the log ends");
            let found = format!("log offset {}", entry.offset);
            self.tell(FindingKind::IndexEntry, expected, found, findings);
            self.cursor.number += 1;
        }
        if let (Some((first, count)), Some(last)) = (self.behind, self.files.last()) {
            let is_due = first >= dispatch_from;
            let severity = if is_due { Severity::Note } else { Severity::Fault };
            let at = last.layout.entry_at(last.entries_end());
            let finding = Finding::of(severity, FindingKind::IndexMissing, &last.path).at(at);
            findings.add(
                finding
                    .expected(format!(
                        "the keys of records from log offset {first} on, {count} of them"
                    ))
                    .found("the index's end")
                    .at_start(if is_due { "adds them" } else { "does not see them" }),
            );
            if let Some(bad) = self.bad.last_mut() {
                *bad |= !is_due;
            }
        }
        for place in 0..self.files.len() {
            let Some(file) = self.files.get(place).cloned() else { continue };
            let is_sound = check_header(&file, findings)
                & check_chains(self.disk, &file, findings).unwrap_or_else(|e| {
                    let fault = Finding::of(Severity::Fault, FindingKind::Unreadable, &file.path);
                    findings.add(fault.found(e.to_string()).at_start(KEEPS));
                    false
                });
            if let Some(bad) = self.bad.get_mut(place) {
                *bad |= !is_sound;
            }
        }
    }
}

fn is_key_of(record: &LogRecord<'_>, hash: u32) -> bool {
    let mut is_key = tag_key(&record.head, record.bytes) == Some(hash);
    let _ = expected_keys(&record.head, record.bytes, &mut |key| is_key |= key == hash);
    is_key
}

fn check_header(file: &IndexFile, findings: &mut Findings<'_>) -> bool {
    let IndexFile { header, layout, .. } = file;
    let mut wrong = Vec::new();
    if header.next_entry > layout.entries {
        wrong.push((
            36,
            format!("at most {} entries", layout.entries),
            header.next_entry.to_string(),
        ));
    }
    if header.begin_timestamp > header.end_timestamp {
        let expected = format!("an end behind the first time, {}", header.begin_timestamp);
        wrong.push((8, expected, header.end_timestamp.to_string()));
    }
    if header.begin_offset > header.end_offset {
        let expected = format!("an end behind the first offset, {}", header.begin_offset);
        wrong.push((24, expected, header.end_offset.to_string()));
    }
    let is_sound = wrong.is_empty();
    for (at, expected, found) in wrong {
        let fault = Finding::of(Severity::Fault, FindingKind::IndexHeader, &file.path).at(at);
        findings.add(fault.expected(expected).found(found).at_start(KEEPS));
    }
    is_sound
}

/// Whether entries and slots make whole chains, and the first and last entry are where the header says.
fn check_chains(
    disk: &dyn Disk,
    file: &IndexFile,
    findings: &mut Findings<'_>,
) -> io::Result<bool> {
    let IndexFile { layout, header, .. } = file;
    let mut window = FileWindow::new(disk, file.path.clone(), file.len, WINDOW_BYTES);
    let mut newest = vec![0u32; layout.hash_slots as usize];
    let mut is_sound = true;
    let mut tell = |at, expected: String, found: String| {
        is_sound = false;
        let fault = Finding::of(Severity::Fault, FindingKind::IndexChain, &file.path).at(at);
        findings.add(fault.expected(expected).found(found).at_start(KEEPS));
    };
    for number in FIRST_ENTRY..file.entries_end() {
        let at = layout.entry_at(number);
        let Some(entry) = KeyEntry::decode(window.at(at, ENTRY_BYTES as usize)?) else { break };
        let Some(before) = newest.get_mut(layout.slot_of(entry.hash) as usize) else { continue };
        if entry.previous != *before {
            let expected = format!("entry {before} before entry {number} in its slot");
            tell(at + 16, expected, format!("entry {}", entry.previous));
        }
        *before = number;
        let edges = [
            (FIRST_ENTRY, 16, header.begin_offset),
            (file.entries_end() - 1, 24, header.end_offset),
        ];
        for (_, at, offset) in edges.into_iter().filter(|edge| edge.0 == number) {
            if entry.offset != offset {
                tell(
                    at,
                    format!("log offset {}, as entry {number} has", entry.offset),
                    offset.to_string(),
                );
            }
        }
    }
    for (slot, number) in (0u32..).zip(&newest) {
        let at = layout.slot_at(slot);
        let found = u32_at(window.at(at, SLOT_BYTES as usize)?, 0);
        if found != *number {
            tell(
                at,
                format!("entry {number}, the newest of slot {slot}"),
                format!("entry {found}"),
            );
        }
    }
    Ok(is_sound)
}
