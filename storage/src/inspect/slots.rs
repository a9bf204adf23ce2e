//! The slots of one consume queue, read in order through a small piece of memory.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    finding::{Finding, FindingKind, Findings, Severity},
    log_files::{RowFile, check_row, row_files},
};
use crate::{
    consume_queue::entry::{ENTRY_BYTES, Slot},
    disk::Disk,
};

const CANNOT_OPEN: &str = "cannot open the queue";

/// The files of a queue, and the stretch of slots that is in memory.
pub(crate) struct Slots<'a> {
    disk: &'a dyn Disk,
    pub(crate) dir: PathBuf,
    files: Vec<RowFile>,
    step: usize,
    base: u64,
    bytes: Vec<u8>,
}

impl<'a> Slots<'a> {
    /// Lists the queue in `dir`, telling what does not belong there.
    pub(crate) fn list(disk: &'a dyn Disk, dir: &Path, findings: &mut Findings<'_>) -> Self {
        let files = row_files(disk, dir, CANNOT_OPEN, findings);
        Self { disk, dir: dir.to_owned(), files, step: 4000, base: 0, bytes: Vec::new() }
    }

    /// Tells files of another length than `usual`, and gaps; whether there are none.
    pub(crate) fn check(&mut self, usual: u64, findings: &mut Findings<'_>) -> bool {
        let is_sound = check_row(&mut self.files, usual, CANNOT_OPEN, findings);
        if let Some(file) = self.files.iter().find(|file| file.len % ENTRY_BYTES != 0) {
            findings.add(
                Finding::of(Severity::Fault, FindingKind::FileLength, &file.path)
                    .expected(format!("a multiple of {ENTRY_BYTES} bytes"))
                    .found(format!("{} bytes", file.len))
                    .at_start(CANNOT_OPEN),
            );
        }
        is_sound
    }

    /// The files, in order.
    pub(crate) fn files(&self) -> &[RowFile] {
        &self.files
    }

    /// Reads `bytes` at a time from now on, whole slots.
    pub(crate) fn set_step(&mut self, bytes: usize) {
        self.step = (bytes / ENTRY_BYTES as usize).max(1) * ENTRY_BYTES as usize;
    }

    /// Gives the memory back.
    pub(crate) fn forget(&mut self) {
        self.bytes = Vec::new();
    }

    /// The first slot that there is a file for.
    pub(crate) fn first(&self) -> u64 {
        self.files.first().map_or(0, |file| file.start / ENTRY_BYTES)
    }

    /// One past the last slot that there is a file for.
    pub(crate) fn last(&self) -> u64 {
        self.files.last().map_or(0, |file| file.end() / ENTRY_BYTES)
    }

    /// The file and the byte of a slot; the folder if there is none.
    pub(crate) fn place(&self, slot: u64) -> (&Path, u64) {
        let byte = slot.saturating_mul(ENTRY_BYTES);
        let index = self.files.partition_point(|file| file.end() <= byte);
        match self.files.get(index).filter(|file| file.start <= byte) {
            Some(file) => (&file.path, byte - file.start),
            None => (&self.dir, byte),
        }
    }

    /// What a slot holds; nothing where there is no file.
    pub(crate) fn slot(&mut self, slot: u64) -> io::Result<Slot> {
        let byte = slot.saturating_mul(ENTRY_BYTES);
        let in_memory = byte >= self.base
            && byte.saturating_add(ENTRY_BYTES) <= self.base + self.bytes.len() as u64;
        if !in_memory {
            let index = self.files.partition_point(|file| file.end() <= byte);
            let Some(file) = self.files.get(index).filter(|file| file.start <= byte) else {
                return Ok(Slot::Unused);
            };
            self.bytes = self.disk.read_at(&file.path, byte - file.start, self.step)?;
            self.base = byte;
        }
        let at = (byte - self.base) as usize;
        Ok(Slot::decode(self.bytes.get(at..).unwrap_or_default()))
    }

    /// The end of the newest record before `limit` that there is an entry for; used slots come first.
    pub(crate) fn newest_entry_end(&mut self, limit: u64) -> io::Result<Option<u64>> {
        let (mut low, mut high) = (self.first(), self.last());
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before = match self.slot(middle)? {
                Slot::Entry(entry) => entry.offset.0 < limit,
                Slot::PreBlank => true,
                Slot::Unused => false,
            };
            if is_before { low = middle + 1 } else { high = middle }
        }
        let last = if low > self.first() { self.slot(low - 1)?.entry() } else { None };
        Ok(last.map(|entry| entry.end().0))
    }
}

/// A finding about a slot.
pub(crate) fn slot_finding(
    severity: Severity,
    kind: FindingKind,
    slots: &Slots<'_>,
    slot: u64,
) -> Finding {
    let (path, at) = slots.place(slot);
    Finding::of(severity, kind, path).at(at)
}
