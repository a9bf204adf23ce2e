//! Appending units: the queue's owner does it, just before the entries that name them.
//!
//! Where the extension ends is found from the queue when the first unit is written: behind the unit that
//! the last entry with an address names. What lies behind is of entries that were cut, and is cleared. If
//! no recent entry names one, or that one is damaged, it goes on in a new file: whatever older entries
//! name stays as it is.

use std::{path::Path, sync::Arc};

use super::{
    Ext, ExtConfig, Files,
    unit::{END_BYTES, END_MARK, UNIT_BYTES, Unit, address},
};
use crate::{
    commit_log::{CommitLog, segment_path},
    consume_queue::{IndexEntry, QueueError, RESERVE_BYTES, io_error},
    disk::Disk,
    segment::SegmentWriter,
};

/// See the module's text.
pub(in crate::consume_queue) struct ExtWriter {
    ext: Arc<Ext>,
    /// Bytes of a file where there is none yet.
    segment_bytes: u64,
    /// Has the times of storing.
    log: CommitLog,
    current: Option<Current>,
}

/// The file that is written.
struct Current {
    writer: SegmentWriter,
    at: u64,
    /// Bytes whose blocks are reserved.
    reserved: u64,
}

impl ExtWriter {
    pub(in crate::consume_queue) fn new(ext: Arc<Ext>, config: &ExtConfig, log: CommitLog) -> Self {
        let segment_bytes = config.segment_bytes.max(UNIT_BYTES + END_BYTES);
        Self { ext, segment_bytes, log, current: None }
    }

    /// Gives each entry a unit, and the unit's address in place of its code. `last` is the place of the
    /// last unit that an entry of the queue names; it is asked once.
    pub(in crate::consume_queue) fn name_units(
        &mut self,
        entries: &mut [IndexEntry],
        last: impl FnOnce() -> Option<u64>,
    ) -> Result<(), QueueError> {
        if self.current.is_none() {
            self.begin(last())?;
        }
        for entry in entries {
            let unit = Unit {
                tags_code: entry.tags_code,
                store_timestamp: self.log.store_timestamp(entry.offset).unwrap_or(0),
            };
            // Beyond the last address entries keep their hashes, as Java's do.
            if let Some(address) = address(self.put(unit)?) {
                entry.tags_code = address;
            }
        }
        Ok(())
    }

    /// The extension was deleted.
    pub(in crate::consume_queue) fn forget(&mut self) {
        self.current = None;
    }

    /// Finds the end, and clears what lies behind it.
    fn begin(&mut self, last: Option<u64>) -> Result<(), QueueError> {
        let ext = self.ext.clone();
        let (disk, dir) = (&*ext.disk, &*ext.dir);
        let named = match last {
            Some(at) => super::look(disk, dir, at).map_err(|e| io_error(dir, e))?,
            None => None,
        };
        let end = last.zip(named).map(|(at, (_, len))| at + len);
        if let Some(end) = end {
            clear_from(disk, dir, end)?;
        }
        let mut files = ext.files();
        // Readers that were there before have files that end where the queue did.
        let opened = Files::open(disk, dir, end).map_err(|e| io_error(dir, e))?;
        let file = opened.segments.last().filter(|file| end.is_some_and(|end| end < file.end()));
        if let (Some(file), Some(end)) = (file, end) {
            let at = end - file.start();
            self.current = file.writer().map(|writer| Current { writer, at, reserved: at });
        }
        *files = Some(opened);
        Ok(())
    }

    /// Writes a unit; where.
    fn put(&mut self, unit: Unit) -> Result<u64, QueueError> {
        if self.current.as_ref().is_none_or(|file| !file.has_room()) {
            self.end_file()?;
            self.begin_file()?;
        }
        let Some(file) = &mut self.current else { return Ok(u64::MAX) };
        let place = file.writer.segment().start() + file.at;
        file.write(&self.ext, &unit.encode())?;
        Ok(place)
    }

    fn end_file(&mut self) -> Result<(), QueueError> {
        match &mut self.current {
            Some(file) if file.at + END_BYTES <= file.writer.segment().len() => {
                file.write(&self.ext, &END_MARK)
            }
            _ => Ok(()),
        }
    }

    fn begin_file(&mut self) -> Result<(), QueueError> {
        let mut files = self.ext.files();
        let Some(files) = &mut *files else { return Ok(()) };
        if files.segments.is_empty() {
            files.file_bytes = self.segment_bytes;
        }
        let start = files.segments.last().map_or(0, |last| last.end());
        let path = segment_path(&self.ext.dir, start);
        let segment = self.ext.disk.create_sparse_segment(&path, start, files.file_bytes);
        let segment = segment.map_err(|e| io_error(&path, e))?;
        self.current = segment.writer().map(|writer| Current { writer, at: 0, reserved: 0 });
        files.segments.push(segment);
        files.has_new_names = true;
        Ok(())
    }
}

impl Current {
    /// Whether a unit would leave room for the mark.
    fn has_room(&self) -> bool {
        self.at + UNIT_BYTES + END_BYTES <= self.writer.segment().len()
    }

    fn write(&mut self, ext: &Ext, bytes: &[u8]) -> Result<(), QueueError> {
        let (at, len) = (self.at, bytes.len() as u64);
        if at + len > self.reserved {
            let segment = self.writer.segment();
            let piece = RESERVE_BYTES.min(segment.len() - at);
            let path = segment_path(&ext.dir, segment.start());
            ext.disk.reserve(&path, at, piece).map_err(|e| io_error(&path, e))?;
            self.reserved = at + piece;
        }
        let out = self.writer.bytes(at, len).unwrap_or_default();
        assert_eq!(out.len(), bytes.len(), "an extension's file has one writer and room");
        out.copy_from_slice(bytes);
        self.at += len;
        self.writer.publish(self.at);
        Ok(())
    }
}

/// Removes the files behind `end`, and clears the one that it lies in from there on.
fn clear_from(disk: &dyn Disk, dir: &Path, end: u64) -> Result<(), QueueError> {
    for (start, len) in super::row(disk, dir).map_err(|e| io_error(dir, e))?.into_iter().rev() {
        let path = segment_path(dir, start);
        let done = if start >= end {
            disk.remove(&path)
        } else if start + len > end {
            disk.clear_from(&path, end - start)
        } else {
            Ok(())
        };
        done.map_err(|e| io_error(&path, e))?;
    }
    Ok(())
}
