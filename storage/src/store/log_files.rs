//! The log's files as they are found: which there are, and where the log really ends.
//!
//! | a file in the folder | what is done |
//! |---|---|
//! | a folder | passed over |
//! | the last one, without length or of another length and without a record | removed: its creation was interrupted |
//! | any other of another length | error: another size is configured, or the file is damaged |
//! | a name that is not its offset | error |
//! | a missing one in between | error |
//!
//! The log ends before the first record that is not whole: unknown magic, lengths that do not fit each
//! other, a body that its CRC does not match (unless switched off). A blank record leads to the next
//! file, whatever its size field says. The place that a record names for itself is not checked, since
//! Java does not either. The CRC does not cover topic and properties. After an abrupt stop, two things
//! tell that a part of them is missing: a sector of zeros, in any record, since a loss of power leaves
//! out single sectors of what was not flushed; and zero bytes at the end of the last record, which a
//! process that was killed had not finished.
//!
//! Files behind that of the end are removed, and what lies behind the end becomes zeros, so that no
//! later recovery can take what is stale for records.

use std::{ops::Range, sync::Arc};

use gantry_codec::record::{self, BLANK_MAGIC, RecordHead};

use super::{OpenError, io_error};
use crate::{
    commit_log::{CommitLog, LogConfig, segment_path},
    disk::Disk,
    offset::PhysicalOffset,
    segment::Segment,
};

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// See the module's text.
pub(super) struct LogFiles<'a> {
    disk: &'a dyn Disk,
    config: &'a LogConfig,
    /// In order, without gaps, readable to their ends.
    segments: Vec<Arc<Segment>>,
}

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// One past the last whole record.
    pub(super) offset: PhysicalOffset,
    /// Store time of the newest record that was looked at.
    pub(super) last_timestamp: Option<i64>,
    /// What is there instead of a record, unless it is nothing.
    pub(super) broken: Option<String>,
}

impl<'a> LogFiles<'a> {
    /// Finds and maps the files.
    pub(super) fn open(disk: &'a dyn Disk, config: &'a LogConfig) -> Result<Self, OpenError> {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        for start in list(disk, config)? {
            if let Some(last) = segments.last().filter(|last| last.end() != start) {
                return Err(OpenError::Missing { missing: last.end() });
            }
            let (path, len) = (segment_path(&config.dir, start), config.segment_bytes);
            let segment = disk.open_segment(&path, start, len, len);
            segments.push(segment.map_err(|e| io_error(&path, e))?);
        }
        Ok(Self { disk, config, segments })
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

    /// Goes through the records from `from` on to the first that is not whole. `is_abrupt` says that
    /// the last page may be missing.
    pub(super) fn find_end(
        &self,
        from: PhysicalOffset,
        check_crc: bool,
        is_abrupt: bool,
    ) -> LogEnd {
        let mut end = LogEnd { offset: from, last_timestamp: None, broken: None };
        let mut torn = None;
        while let Some((segment, bytes)) = self.rest(end.offset) {
            match check(bytes, end.offset.0 - segment.start(), check_crc) {
                Checked::Record { lacks_sector: true, .. } if is_abrupt => {
                    end.broken =
                        Some(format!("at {}: a part of the record is missing", end.offset));
                    break;
                }
                Checked::Record { len, timestamp, may_be_torn, .. } => {
                    torn = may_be_torn.then_some(end.offset);
                    end.last_timestamp = end.last_timestamp.max(Some(timestamp));
                    end.offset = end.offset.plus(len);
                }
                Checked::Blank => {
                    torn = None;
                    end.offset = PhysicalOffset(segment.end());
                }
                Checked::Nothing => break,
                Checked::Broken(why) => {
                    end.broken = Some(format!("at {}: {why}", end.offset));
                    break;
                }
            }
        }
        if let Some(offset) = torn.filter(|_| is_abrupt) {
            end.broken = Some(format!("at {offset}: the end of the record is missing"));
            end.offset = offset;
        }
        end
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
        let Self { disk, config, segments: mut found } = self;
        remove_behind(disk, config, &mut found, end)?;
        let mut segments = Vec::with_capacity(found.len());
        for segment in found {
            let path = segment_path(&config.dir, segment.start());
            let io = |e| io_error(&path, e);
            let (start, len) = (segment.start(), segment.len());
            let place = len.min(end.0 - start);
            // What was whole in memory must not be lost now that it counts as written: not even if a sync
            // has failed before, and the kernel takes pages for clean that it could not write.
            let from = from.0.saturating_sub(start).min(place);
            if sweeps {
                disk.rewrite(&path, from, place - from).map_err(io)?;
            }
            segment.sync(from, place).map_err(io)?;
            if place == len {
                segments.push(segment);
                continue;
            }
            drop(segment);
            if sweeps {
                disk.clear_from(&path, place).map_err(io)?;
                disk.reserve(&path, place, len - place).map_err(io)?;
                // Else what was there could come back, behind records that will be written.
                disk.sync_file(&path).map_err(io)?;
            }
            segments.push(disk.open_segment(&path, start, len, place).map_err(io)?);
        }
        Ok(CommitLog::new(config.clone(), segments, end, last_timestamp))
    }
}

/// Removes the files behind that of the log's end: from the last one on, each for good before the next,
/// so that a crash leaves no gap, and none comes back when the log has got there again.
fn remove_behind(
    disk: &dyn Disk,
    config: &LogConfig,
    segments: &mut Vec<Arc<Segment>>,
    end: PhysicalOffset,
) -> Result<(), OpenError> {
    while let Some(segment) = segments.pop_if(|segment| segment.start() > end.0) {
        let path = segment_path(&config.dir, segment.start());
        let removed = disk.remove(&path).and_then(|()| disk.sync_dir(&config.dir));
        removed.map_err(|e| io_error(&path, e))?;
    }
    Ok(())
}

/// Where the files of the folder start, in order.
fn list(disk: &dyn Disk, config: &LogConfig) -> Result<Vec<u64>, OpenError> {
    let (dir, want) = (&config.dir, config.segment_bytes);
    let listed = disk.list(dir).map_err(|e| io_error(dir, e))?;
    let mut files: Vec<_> = listed.into_iter().filter_map(|(n, len)| Some((n, len?))).collect();
    if let Some((name, _)) = files.last().filter(|(_, len)| *len != want) {
        let path = dir.join(name);
        let head = disk.read_at(&path, 0, 8).map_err(|e| io_error(&path, e))?;
        if head.iter().all(|byte| *byte == 0) {
            disk.remove(&path).map_err(|e| io_error(&path, e))?;
            files.pop();
        }
    }
    let start = |(name, len): (String, u64)| {
        let path = dir.join(&name);
        let start = name.parse::<u64>().ok().filter(|start| start % want == 0);
        let Some(start) = start.filter(|start| segment_path(dir, *start) == path) else {
            return Err(OpenError::Foreign { path: path.display().to_string() });
        };
        if len != want {
            return Err(OpenError::Length { path: path.display().to_string(), len, want });
        }
        Ok(start)
    };
    files.into_iter().map(start).collect()
}

/// What lies at a place in the log.
enum Checked {
    /// A whole record.
    Record { len: u64, timestamp: i64, may_be_torn: bool, lacks_sector: bool },
    /// The rest of the file is unused.
    Blank,
    /// Zeros, or the file's end.
    Nothing,
    /// Something else; what is wrong with it.
    Broken(String),
}

/// Looks at `bytes`, which are those of a file from `place` on.
fn check(bytes: &[u8], place: u64, check_crc: bool) -> Checked {
    match record::record_len(bytes) {
        None | Some((0, 0)) => return Checked::Nothing,
        Some((_, BLANK_MAGIC)) => return Checked::Blank,
        Some(_) => {}
    }
    let head = match record::decode_head(bytes) {
        Ok(head) => head,
        Err(e) => return Checked::Broken(e.to_string()),
    };
    let body = head.body(bytes);
    if check_crc && !body.is_empty() && record::body_crc(body) != head.body_crc {
        return Checked::Broken("the body does not match its CRC".into());
    }
    let ends_in_zero =
        |text: &Range<usize>| bytes.get(text.clone()).is_some_and(|t| t.last() == Some(&0));
    Checked::Record {
        len: head.total_size.into(),
        timestamp: head.store_timestamp,
        may_be_torn: ends_in_zero(&head.topic) || ends_in_zero(&head.properties),
        lacks_sector: has_zero_sector(bytes, place, &head.topic)
            || has_zero_sector(bytes, place, &head.properties),
    }
}

/// Whether a sector that begins within the record, and of which a part lies in `text`, is all zeros.
fn has_zero_sector(bytes: &[u8], place: u64, text: &Range<usize>) -> bool {
    let first = (place.next_multiple_of(SECTOR_BYTES as u64) - place) as usize;
    let behind_start = text.start.saturating_sub(SECTOR_BYTES - 1);
    let end = if text.is_empty() { 0 } else { text.end };
    (first..end)
        .step_by(SECTOR_BYTES)
        .skip_while(|at| *at < behind_start)
        .filter_map(|at| bytes.get(at..)?.chunks(SECTOR_BYTES).next())
        .any(|sector| sector.iter().all(|byte| *byte == 0))
}
