//! The log's files as they are found: which there are, and where the log really ends.
//!
//! | a file in one of the folders | what is done |
//! |---|---|
//! | a folder | passed over |
//! | the last one, without length or of another length and without a record | removed: its creation was interrupted |
//! | any other of another length | error: another size is configured, or the file is damaged |
//! | a name that is not its offset | error |
//! | a missing one in between | error |
//! | the same part of the log in two folders | error |
//! | one that the log goes on in, in a folder that is only read | error |
//!
//! The log ends before the first record that is not whole (or, where the checkpoint is not ours, before
//! the first one behind which no file begins with a sound one; see [`super::start`]): unknown magic,
//! lengths that do not fit each other, a body that its CRC does not match (unless switched off). A
//! blank record leads to the next file, whatever its size field says. The place that a record names for
//! itself is not checked, since Java does not either. The CRC does not cover topic and properties. After
//! an abrupt stop, two things tell that a part of them is missing: a sector of zeros, in any record,
//! since a loss of power leaves out single sectors of what was not flushed; and zero bytes at the end of
//! the last record, which a process that was killed had not finished.
//!
//! A client batch is in the log as a whole or not at all: each of its records but the last says that more
//! follow ([`sys_flag::BATCH_CONTINUES`](gantry_codec::record::sys_flag::BATCH_CONTINUES)), and after an abrupt
//! stop a log that ends within a batch ends before it. Nobody was told that such a batch is stored, as the
//! answer waits for the last record, and for its sync if it is to survive the loss of power.
//!
//! Files behind that of the end are removed, and what lies behind the end becomes zeros, so that no
//! later recovery can take what is stale for records.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gantry_codec::record::{self, RecordHead};

use super::{OpenError, io_error, start::Start};
use crate::{
    commit_log::{
        Checked, CommitLog, LogConfig, check, is_certainly_record, lacks_sector, next_sound_record,
        segment_path,
    },
    disk::Disk,
    offset::PhysicalOffset,
    segment::Segment,
};

/// What was stored so long before something else, in ms, has been flushed before that was stored.
const OLD_MS: i64 = 60_000;
/// As many places of damage are told one by one.
const DAMAGES_TOLD_MAX: usize = 100;

/// See the module's text.
pub(super) struct LogFiles<'a> {
    disk: &'a dyn Disk,
    config: &'a LogConfig,
    /// In order, without gaps, readable to their ends.
    segments: Vec<Arc<Segment>>,
    /// Where each of them lies.
    paths: Vec<PathBuf>,
}

/// Where the log ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// One past the last whole record.
    pub(super) offset: PhysicalOffset,
    /// Store time of the newest record that was looked at.
    pub(super) last_timestamp: Option<i64>,
    /// What is there instead of a record, unless it is nothing.
    pub(super) broken: Option<String>,
    /// Damage that sound records follow.
    pub(super) damaged: Vec<String>,
}

impl LogEnd {
    fn pass_over(&mut self, next: PhysicalOffset, why: &str) {
        if self.damaged.len() < DAMAGES_TOLD_MAX {
            self.damaged.push(format!("{} to {next}: {why}", self.offset));
        }
        self.offset = next;
    }
}

impl<'a> LogFiles<'a> {
    /// Finds and maps the files.
    pub(super) fn open(disk: &'a dyn Disk, config: &'a LogConfig) -> Result<Self, OpenError> {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut paths: Vec<PathBuf> = Vec::new();
        for Found { start, path } in list(disk, config)? {
            match (segments.last(), paths.last()) {
                (Some(last), Some(other)) if last.start() == start => {
                    let name = |path: &Path| path.display().to_string();
                    return Err(OpenError::Twice { first: name(other), second: name(&path) });
                }
                (Some(last), _) if last.end() != start => {
                    return Err(OpenError::Missing { missing: last.end() });
                }
                _ => {}
            }
            let len = config.segment_bytes;
            let segment = disk.open_segment(&path, start, len, len);
            segments.push(segment.map_err(|e| io_error(&path, e))?);
            paths.push(path);
        }
        Ok(Self { disk, config, segments, paths })
    }

    /// Where the files begin.
    pub(super) fn begin(&self) -> PhysicalOffset {
        PhysicalOffset(self.segments.first().map_or(0, |first| first.start()))
    }

    /// Where the files end.
    pub(super) fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.segments.last().map_or(0, |last| last.end()))
    }

    /// Where each of them starts.
    pub(super) fn starts(&self) -> Vec<PhysicalOffset> {
        self.segments.iter().map(|segment| PhysicalOffset(segment.start())).collect()
    }

    /// The record at `offset`, if one starts there.
    pub(super) fn record(&self, offset: PhysicalOffset) -> Option<(RecordHead, &[u8])> {
        let (_, bytes) = self.rest(offset)?;
        Some((record::decode_head(bytes).ok()?, bytes))
    }

    /// The bytes from `offset` to the end of its file.
    fn rest(&self, offset: PhysicalOffset) -> Option<(&Arc<Segment>, &[u8])> {
        let index = offset.0.checked_sub(self.begin().0)? / self.config.segment_bytes;
        let segment = self.segments.get(index as usize)?;
        Some((segment, segment.read_from(offset.0 - segment.start())?))
    }

    /// Goes through the records from `from` on to the first that is not whole, or, if `passes_over`
    /// such ones, to the last that is followed by sound ones.
    pub(super) fn find_end(&self, start: &Start, check_crc: bool) -> LogEnd {
        let old = |end: &LogEnd| end.last_timestamp.map_or(i64::MAX, |last| last + OLD_MS);
        let behind = |end: &LogEnd| {
            let flushed_until = start.passes_over?;
            self.sound_behind(end.offset, |stored| stored <= flushed_until || stored >= old(end))
        };
        let mut end = LogEnd { offset: start.from, ..LogEnd::default() };
        // Where the log ends if the last record is torn, and where if a batch goes on behind it.
        let (mut torn, mut half) = (None, None);
        while let Some((segment, bytes)) = self.rest(end.offset) {
            let place = end.offset.0 - segment.start();
            let checked = match check(bytes, check_crc) {
                Checked::Record { .. } if start.rebuilds && lacks_sector(bytes, place) => {
                    Checked::Broken("a part of the record is missing".into())
                }
                checked => checked,
            };
            match checked {
                Checked::Record { len, timestamp, may_be_torn, continues } => {
                    let begin = half.unwrap_or(end.offset);
                    torn = may_be_torn.then_some((end.offset, begin));
                    half = continues.then_some(begin);
                    end.last_timestamp = end.last_timestamp.max(Some(timestamp));
                    end.offset = end.offset.plus(len);
                }
                Checked::Blank => {
                    (torn, half) = (None, None);
                    end.offset = PhysicalOffset(segment.end());
                }
                Checked::Nothing => match behind(&end) {
                    Some(next) => {
                        half = None;
                        end.pass_over(next, "nothing");
                    }
                    None => break,
                },
                Checked::Broken(why) => match behind(&end) {
                    Some(next) => {
                        half = None;
                        end.pass_over(next, &why);
                    }
                    None => {
                        end.broken = Some(format!("at {}: {why}", end.offset));
                        break;
                    }
                },
            }
        }
        // After an abrupt stop the last page may be missing.
        if let Some((offset, begin)) = torn.filter(|_| start.rebuilds) {
            end.broken = Some(format!("at {offset}: the end of the record is missing"));
            half = Some(begin);
        }
        if let Some(begin) = half.filter(|_| start.rebuilds) {
            let why = || format!("at {begin}: the batch that begins there has no end");
            end.broken.get_or_insert_with(why);
            end.offset = begin;
        }
        end
    }

    /// Where sound records go on behind damage at `offset`; `None` if no later file begins with one, of
    /// a time that says that the damage is not that of a torn tail.
    fn sound_behind(
        &self,
        offset: PhysicalOffset,
        tells: impl Fn(i64) -> bool,
    ) -> Option<PhysicalOffset> {
        let begin = |segment: &Arc<Segment>| {
            let (start, bytes) = (PhysicalOffset(segment.start()), segment.read_from(0)?);
            let head = record::decode_head(bytes).ok()?;
            (is_certainly_record(bytes, start) && tells(head.store_timestamp)).then_some(start)
        };
        let behind = self.segments.iter().filter(|segment| segment.start() > offset.0);
        let begun = behind.filter_map(begin).next()?;
        let (_, bytes) = self.rest(offset)?;
        Some(next_sound_record(bytes, offset).map_or(begun, |(next, _)| next))
    }

    /// Whether a record starts at `record` and the log goes on at `end` behind it. Its body may be damaged:
    /// that would not make it another log.
    pub(super) fn confirms(&self, record: PhysicalOffset, end: PhysicalOffset) -> bool {
        let Some((segment, bytes)) = self.rest(record) else { return false };
        let Checked::Record { len, .. } = check(bytes, false) else { return false };
        let behind = record.plus(len);
        let rest = bytes.get(len as usize..).unwrap_or_default();
        behind == end || (end.0 == segment.end() && matches!(check(rest, false), Checked::Blank))
    }

    /// The log up to `end`, with nothing but zeros behind it, and on disk. `from` is where the log was
    /// checked from; `sweeps` says that there may be something behind the end.
    pub(super) fn into_log(
        self,
        from: PhysicalOffset,
        end: PhysicalOffset,
        last_timestamp: i64,
        sweeps: bool,
    ) -> Result<CommitLog, OpenError> {
        let Self { disk, config, segments: mut found, mut paths } = self;
        let is_read_only = |path: &Path| {
            let dirs = &config.read_only_dirs;
            path.parent().is_some_and(|dir| dirs.iter().any(|read_only| read_only == dir))
        };
        remove_behind(disk, &mut found, &mut paths, end)?;
        // An earlier life may have removed files, and died or failed before that was on the disk.
        for dir in &config.dirs {
            match disk.sync_dir(dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(|e| io_error(dir, e))?,
            }
        }
        let mut segments = Vec::with_capacity(found.len());
        for (segment, path) in found.into_iter().zip(&paths) {
            let io = |e| io_error(path, e);
            let (start, len) = (segment.start(), segment.len());
            let place = len.min(end.0 - start);
            // What was whole in memory must not be lost now that it counts as written: not even if a sync
            // has failed before, and the kernel takes pages for clean that it could not write.
            let from = from.0.saturating_sub(start).min(place);
            if sweeps {
                disk.rewrite(path, from, place - from).map_err(io)?;
            }
            segment.sync(from, place).map_err(io)?;
            if place == len {
                segments.push(segment);
                continue;
            }
            if is_read_only(path) {
                return Err(OpenError::ReadOnly { path: path.display().to_string() });
            }
            drop(segment);
            if sweeps {
                disk.clear_from(path, place).map_err(io)?;
                disk.reserve(path, place, len - place).map_err(io)?;
                // Else what was there could come back, behind records that will be written.
                disk.sync_file(path).map_err(io)?;
            }
            segments.push(disk.open_segment_to_write(path, start, len, place).map_err(io)?);
        }
        Ok(CommitLog::new(config.clone(), segments, end, last_timestamp))
    }
}

/// Removes the files behind that of the log's end: from the last one on, each for good before the next,
/// so that a crash leaves no gap, and none comes back when the log has got there again.
fn remove_behind(
    disk: &dyn Disk,
    segments: &mut Vec<Arc<Segment>>,
    paths: &mut Vec<PathBuf>,
    end: PhysicalOffset,
) -> Result<(), OpenError> {
    while segments.pop_if(|segment| segment.start() > end.0).is_some() {
        let Some(path) = paths.pop() else { break };
        let folder = path.parent().unwrap_or(&path);
        let removed = disk.remove(&path).and_then(|()| disk.sync_dir(folder));
        removed.map_err(|e| io_error(&path, e))?;
    }
    Ok(())
}

/// A file of the log.
struct Found {
    start: u64,
    path: PathBuf,
}

/// The files of all folders, in order.
fn list(disk: &dyn Disk, config: &LogConfig) -> Result<Vec<Found>, OpenError> {
    let want = config.segment_bytes;
    let mut files: Vec<(String, &Path, u64)> = Vec::new();
    for dir in config.all_dirs() {
        let listed = disk.list(dir).map_err(|e| io_error(dir, e))?;
        files.extend(listed.into_iter().filter_map(|(name, len)| Some((name, dir, len?))));
    }
    files.sort_unstable();
    if let Some((name, dir, _)) = files.last().filter(|(.., len)| *len != want) {
        let path = dir.join(name);
        let head = disk.read_at(&path, 0, 8).map_err(|e| io_error(&path, e))?;
        if head.iter().all(|byte| *byte == 0) {
            disk.remove(&path).map_err(|e| io_error(&path, e))?;
            files.pop();
        }
    }
    let found = |(name, dir, len): (String, &Path, u64)| {
        let path = dir.join(&name);
        let start = name.parse::<u64>().ok().filter(|start| start % want == 0);
        let Some(start) = start.filter(|start| segment_path(dir, *start) == path) else {
            return Err(OpenError::Foreign { path: path.display().to_string() });
        };
        if len != want {
            return Err(OpenError::Length { path: path.display().to_string(), len, want });
        }
        Ok(Found { start, path })
    };
    files.into_iter().map(found).collect()
}
