//! The timer log: units one behind the other, in files of one size named by their first byte.
//!
//! A unit is placed only if a blank one fits behind it; else a blank unit closes the file. Files are
//! sparse and their blocks are reserved in pieces, so that a full disk is an error and not a signal.
//!
//! Invariants: what lies before the end never changes; behind the end, files are zeros, as the first
//! thing that is no unit ends the log for whoever opens it.

use std::{path::PathBuf, sync::Arc};

use super::{
    error::{TimerError, io_error},
    unit::{BLANK_BYTES, Found, TimerUnit, UNIT_BYTES},
};
use crate::{
    commit_log::segment_path,
    disk::Disk,
    offset::PhysicalOffset,
    segment::{Segment, SegmentWriter},
};

/// Blocks are reserved in pieces of this size.
const RESERVE_BYTES: u64 = 1 << 20;
/// Units that are read at a time from a file that is not mapped.
const PIECE_UNITS: u64 = 16 * 1024;

/// See the module's text.
pub(super) struct TimerLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    /// In order, without gaps; all but the last one are full.
    files: Vec<LogFile>,
    writer: Option<SegmentWriter>,
    /// Bytes of the last file whose blocks are reserved.
    reserved: u64,
    end: u64,
    /// Files were made or removed since the names were last synced.
    pub(super) has_new_names: bool,
}

struct LogFile {
    segment: Arc<Segment>,
    /// The furthest message that a unit of it names, once somebody asked.
    newest: Option<PhysicalOffset>,
}

/// The files of a folder, before anything is known of what they hold.
pub(super) struct FoundFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    starts: Vec<u64>,
    has_removed: bool,
}

impl FoundFiles {
    /// Lists the folder; folders in it are passed over. A file without length was never flushed, nor was
    /// one behind a gap, so neither were those behind them: all of those are removed. It is a gap as well
    /// if the first file begins beyond `flushed`: a loss of power may keep the name of a later file and
    /// not that of an earlier one, and units would follow others that are not there.
    pub(super) fn list(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        file_bytes: u64,
        flushed: u64,
    ) -> Result<Self, TimerError> {
        let listed = disk.list(&dir).map_err(|e| io_error(&dir, e))?;
        let files: Vec<(String, u64)> =
            listed.into_iter().filter_map(|(name, len)| Some((name, len?))).collect();
        let mut starts: Vec<u64> = Vec::new();
        let mut unflushed = Vec::new();
        for (name, len) in files {
            let path = dir.join(&name);
            let text = || path.display().to_string();
            let start = name.parse::<u64>().ok().filter(|start| start % file_bytes == 0);
            let start = start.filter(|start| *start <= i64::MAX as u64 - file_bytes);
            let start = start.ok_or_else(|| TimerError::Foreign { path: text() })?;
            let is_next = starts.last().map_or(start <= flushed, |last| last + file_bytes == start);
            if len == 0 || !is_next || !unflushed.is_empty() {
                unflushed.push(path);
                continue;
            }
            if len != file_bytes {
                return Err(TimerError::Length { path: text(), len, want: file_bytes });
            }
            starts.push(start);
        }
        for path in unflushed.iter().rev() {
            disk.remove(path).map_err(|e| io_error(path, e))?;
        }
        Ok(Self { disk, dir, file_bytes, starts, has_removed: !unflushed.is_empty() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Goes through the units of the file of `from` and of those behind it, in order. `take` says
    /// whether a unit can be relied on; the first one that cannot, and whatever is no unit, ends the log.
    /// Where that is, if there is a file at all.
    pub(super) fn scan(
        &self,
        from: u64,
        mut take: impl FnMut(u64, &TimerUnit) -> bool,
    ) -> Result<Option<u64>, TimerError> {
        let first = self.starts.iter().rposition(|start| *start <= from).unwrap_or(0);
        let mut end = None;
        for start in self.starts.iter().skip(first) {
            let (units_end, closed) = self.scan_file(*start, &mut take)?;
            end = Some(units_end);
            if !closed {
                break;
            }
        }
        Ok(end)
    }

    /// Where the units of a file end, and whether it is closed there.
    fn scan_file(
        &self,
        start: u64,
        take: &mut impl FnMut(u64, &TimerUnit) -> bool,
    ) -> Result<(u64, bool), TimerError> {
        let path = segment_path(&self.dir, start);
        let mut at = 0;
        while at < self.file_bytes {
            let len = (PIECE_UNITS * UNIT_BYTES) as usize;
            let piece = self.disk.read_at(&path, at, len).map_err(|e| io_error(&path, e))?;
            for bytes in piece.chunks(UNIT_BYTES as usize) {
                match TimerUnit::decode(bytes) {
                    Found::Unit(unit) if take(start + at, &unit) => at += UNIT_BYTES,
                    Found::Blank => return Ok((start + at, true)),
                    Found::Unit(_) | Found::Nothing => return Ok((start + at, false)),
                }
            }
            if piece.is_empty() {
                break;
            }
        }
        Ok((start + at, false))
    }

    /// Opens the files, to go on at `end`; what lies behind it is removed and cleared, for good.
    pub(super) fn open(self, end: Option<u64>) -> Result<TimerLog, TimerError> {
        let Self { disk, dir, file_bytes, starts, has_removed } = self;
        let end = end.unwrap_or(0);
        let (kept, beyond): (Vec<u64>, Vec<u64>) =
            starts.into_iter().partition(|start| *start <= end);
        for start in beyond.iter().rev() {
            let path = segment_path(&dir, *start);
            disk.remove(&path).map_err(|e| io_error(&path, e))?;
        }
        if has_removed || !beyond.is_empty() {
            // One that a loss of power brought back would go on from units that are written anew.
            disk.sync_dir(&dir).map_err(|e| io_error(&dir, e))?;
        }
        let mut log = TimerLog {
            disk,
            dir,
            file_bytes,
            files: Vec::with_capacity(kept.len()),
            writer: None,
            reserved: 0,
            end,
            // A predecessor that was killed may not have brought the names of its files to the disk.
            has_new_names: !kept.is_empty(),
        };
        for start in kept {
            log.open_file(start)?;
        }
        Ok(log)
    }
}

impl TimerLog {
    /// Where the next unit goes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    fn open_file(&mut self, start: u64) -> Result<(), TimerError> {
        let path = segment_path(&self.dir, start);
        let readable = (self.end - start).min(self.file_bytes);
        if readable < self.file_bytes {
            // Units behind the end would be found again by the next recovery.
            self.disk.clear_from(&path, readable).map_err(|e| io_error(&path, e))?;
            self.disk.sync_file(&path).map_err(|e| io_error(&path, e))?;
        }
        let segment = self.disk.open_segment(&path, start, self.file_bytes, readable);
        let segment = segment.map_err(|e| io_error(&path, e))?;
        if readable < self.file_bytes {
            self.writer = segment.writer();
            self.reserved = readable;
        }
        self.files.push(LogFile { segment, newest: None });
        Ok(())
    }

    /// The unit at `position`.
    pub(super) fn unit(&self, position: u64) -> Option<TimerUnit> {
        let first = self.files.first()?.segment.start();
        let file = position.checked_sub(first)? / self.file_bytes;
        let segment = &self.files.get(file as usize)?.segment;
        match TimerUnit::decode(segment.read(position - segment.start(), UNIT_BYTES)?) {
            Found::Unit(unit) => Some(unit),
            Found::Blank | Found::Nothing => None,
        }
    }

    /// Calls `f` with every unit, in order.
    pub(super) fn each(&self, mut f: impl FnMut(u64, &TimerUnit)) {
        for file in &self.files {
            each_of(&file.segment, &mut f);
        }
    }

    /// Writes a unit at the end; its position.
    pub(super) fn append(&mut self, unit: &TimerUnit) -> Result<u64, TimerError> {
        let mut at =
            self.writer.as_ref().map_or(self.file_bytes, |w| self.end - w.segment().start());
        if self.writer.is_some() && at + UNIT_BYTES + BLANK_BYTES > self.file_bytes {
            self.put(at, &TimerUnit::blank(self.file_bytes - at))?;
            self.end += self.file_bytes - at;
            if let Some(mut writer) = self.writer.take() {
                writer.publish(self.file_bytes);
            }
        }
        if self.writer.is_none() {
            self.begin_file()?;
            at = 0;
        }
        self.put(at, &unit.encode())?;
        let position = self.end;
        self.end += UNIT_BYTES;
        if let Some(writer) = &mut self.writer {
            writer.publish(at + UNIT_BYTES);
        }
        Ok(position)
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), TimerError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let len = bytes.len() as u64;
        if at + len > self.reserved {
            let path = segment_path(&self.dir, writer.segment().start());
            let piece = RESERVE_BYTES.min(self.file_bytes - at);
            self.disk.reserve(&path, at, piece).map_err(|e| io_error(&path, e))?;
            self.reserved = at + piece;
        }
        let room = writer.bytes(at, len).unwrap_or_default();
        assert_eq!(room.len(), bytes.len(), "a file of the timer log has room up to its end");
        room.copy_from_slice(bytes);
        Ok(())
    }

    fn begin_file(&mut self) -> Result<(), TimerError> {
        let path = segment_path(&self.dir, self.end);
        self.disk.create_dir(&self.dir).map_err(|e| io_error(&self.dir, e))?;
        let made = self.disk.create_sparse_segment(&path, self.end, self.file_bytes);
        let segment = made.map_err(|e| io_error(&path, e))?;
        self.has_new_names = true;
        self.writer = segment.writer();
        self.reserved = 0;
        self.files.push(LogFile { segment, newest: None });
        Ok(())
    }

    /// The stretches of files between `from` and the end.
    pub(super) fn unsynced(&self, from: u64) -> Vec<(Arc<Segment>, u64, u64)> {
        let behind = self.files.iter().filter(|file| file.segment.end() > from);
        let stretch = |file: &LogFile| {
            let start = file.segment.start();
            let to = (self.end - start).min(file.segment.readable());
            (file.segment.clone(), from.saturating_sub(start).min(to), to)
        };
        behind.map(stretch).collect()
    }

    /// Removes files whose messages all lie before `log_min`, but never the last one.
    pub(super) fn remove_before(&mut self, log_min: PhysicalOffset) -> Result<usize, TimerError> {
        let mut removed = 0;
        while self.files.len() > 1
            && let Some(file) = self.files.first_mut()
        {
            let newest = *file.newest.get_or_insert_with(|| newest_of(&file.segment));
            if newest >= log_min {
                break;
            }
            let path = segment_path(&self.dir, file.segment.start());
            self.disk.remove(&path).map_err(|e| io_error(&path, e))?;
            self.files.remove(0);
            self.has_new_names = true;
            removed += 1;
        }
        Ok(removed)
    }
}

fn each_of(segment: &Segment, f: &mut impl FnMut(u64, &TimerUnit)) {
    let bytes = segment.read_from(0).unwrap_or_default();
    for (number, unit) in bytes.chunks(UNIT_BYTES as usize).enumerate() {
        let Found::Unit(unit) = TimerUnit::decode(unit) else { return };
        f(segment.start() + number as u64 * UNIT_BYTES, &unit);
    }
}

fn newest_of(segment: &Segment) -> PhysicalOffset {
    let mut newest = PhysicalOffset(0);
    each_of(segment, &mut |_, unit| newest = newest.max(unit.offset));
    newest
}
