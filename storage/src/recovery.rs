//! Opening a store: who has it, how it was left, where its log really ends, and what its queues lack.
//!
//! | `abort` file | first file looked at | what is checked | queues |
//! |---|---|---|---|
//! | absent: stopped in order | the last one with records | every record's lengths, place and CRC | entries behind the end are cut off |
//! | present: killed or crashed | the third-last one | the same | the same, and the log is dispatched again from there |
//!
//! The log ends before the first record that is not whole: unknown magic, lengths that do not fit, a
//! place that is not its own, a body that its CRC does not match (unless switched off). Files behind
//! that one hold nothing and serve as spare ones. Queues skip what they have, so dispatching more than
//! needed costs time and nothing else.
//!
//! While a store is open it holds the `lock` and the `abort` file exists; [`Store::close`] removes that.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gantry_codec::record::{self, BLANK_MAGIC, Record};
use thiserror::Error;

use crate::{
    commit_log::{BLANK_BYTES, CommitLog, LogConfig, segment_path},
    consume_queue::{self, ConsumeQueueConfig, QueueError},
    disk::{Disk, StoreLock},
    offset::{PhysicalOffset, QueueId, QueueOffset},
    segment::Segment,
};

/// Where a store lies and how it is laid out.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The store's folder.
    pub root: PathBuf,
    /// The log.
    pub log: LogConfig,
    /// The queues.
    pub queues: ConsumeQueueConfig,
    /// Whether recovery checks the CRC of bodies.
    pub check_crc: bool,
}

impl StoreConfig {
    /// The usual layout below `root`.
    pub fn new(root: PathBuf, log_file_bytes: u64, queue_file_bytes: u64) -> Self {
        let log = LogConfig { dir: root.join("commitlog"), segment_bytes: log_file_bytes };
        let queues = ConsumeQueueConfig::new(root.join("consumequeue"), queue_file_bytes);
        Self { root, log, queues, check_crc: true }
    }

    /// The folder of the metadata.
    pub fn config_dir(&self) -> PathBuf {
        self.root.join("config")
    }
}

/// Why a store was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store at {root} is in use by another broker: {error}")]
    Locked {
        /// The store's folder.
        root: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A log file of another length than configured.
    #[error("{path} has {len} bytes, {want} are configured (mappedFileSizeCommitLog)")]
    Length {
        /// The file.
        path: String,
        /// Its bytes.
        len: u64,
        /// What they should be.
        want: u64,
    },
    /// A file in the log's folder that cannot be one of the log.
    #[error("{path} is no file of the log")]
    Foreign {
        /// The file.
        path: String,
    },
    /// The log's files do not follow each other.
    #[error("the log file that starts at {missing} is missing")]
    Missing {
        /// First offset of the file.
        missing: u64,
    },
    /// A queue cannot be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// A queue found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredQueue {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub queue: QueueId,
    /// Its first offset.
    pub min: QueueOffset,
    /// One past its last offset.
    pub max: QueueOffset,
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the last owner stopped in order.
    pub clean: bool,
    /// Where the log begins.
    pub log_min: PhysicalOffset,
    /// Where the log ends.
    pub log_end: PhysicalOffset,
    /// Bytes behind the end that were no whole records, up to the next file.
    pub cut: u64,
    /// Why the log ends there, if not simply because nothing follows.
    pub reason: Option<String>,
    /// From where the queues are brought up to date.
    pub dispatch_from: PhysicalOffset,
    /// Queues found.
    pub queues: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.clean { "clean" } else { "after an abrupt end" };
        write!(f, "{how}, log {} to {}, {} queues", self.log_min, self.log_end, self.queues)?;
        if self.dispatch_from < self.log_end {
            write!(f, ", dispatching again from {}", self.dispatch_from)?;
        }
        match &self.reason {
            Some(reason) => write!(f, "; the log ends early: {reason}"),
            None => Ok(()),
        }
    }
}

/// An open store.
pub struct Store {
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    log: CommitLog,
    queues: Vec<RecoveredQueue>,
    report: Report,
    closed: AtomicBool,
    _lock: StoreLock,
}

impl Store {
    /// Opens the store, or makes it.
    pub fn open(config: StoreConfig, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let root = config.root.clone();
        disk.create_dir(&root).map_err(|e| io_error(&root, e))?;
        let lock = disk
            .lock(&root.join("lock"))
            .map_err(|error| OpenError::Locked { root: root.display().to_string(), error })?;
        let abort = root.join("abort");
        let clean = disk.read(&abort).map_err(|e| io_error(&abort, e))?.is_none();
        let mut segments = open_segments(&*disk, &config.log)?;
        let end = find_end(&segments, clean, config.check_crc);
        drop_stale(&*disk, &config.log, &mut segments, &end)?;
        let log = CommitLog::new(config.log.clone(), segments, end.offset);
        let queues = find_queues(&*disk, &config.queues, &log)?;
        let pid = std::process::id().to_string();
        disk.write_atomic(&abort, pid.as_bytes()).map_err(|e| io_error(&abort, e))?;
        let report = Report {
            clean,
            log_min: log.min_offset(),
            log_end: end.offset,
            cut: end.cut,
            reason: end.reason,
            dispatch_from: end.checked_from,
            queues: queues.len(),
        };
        let closed = AtomicBool::new(false);
        Ok(Self { config, disk, log, queues, report, closed, _lock: lock })
    }

    /// How it is laid out.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Its log.
    pub fn log(&self) -> &CommitLog {
        &self.log
    }

    /// The queues found on disk.
    pub fn queues(&self) -> &[RecoveredQueue] {
        &self.queues
    }

    /// What opening found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Marks the store as left in order. To be called when everything is on disk and nobody writes.
    pub fn close(&self) -> Result<(), OpenError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let abort = self.config.root.join("abort");
        self.disk.remove(&abort).map_err(|e| io_error(&abort, e))
    }
}

fn io_error(path: &std::path::Path, error: std::io::Error) -> OpenError {
    OpenError::Io { path: path.display().to_string(), error }
}

fn open_segments(disk: &dyn Disk, config: &LogConfig) -> Result<Vec<Arc<Segment>>, OpenError> {
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    for (name, len) in disk.list(&config.dir).map_err(|e| io_error(&config.dir, e))? {
        let path = config.dir.join(&name);
        let Some(len) = len else { continue };
        let Some(start) = name.parse::<u64>().ok().filter(|_| name.len() == 20) else {
            return Err(OpenError::Foreign { path: path.display().to_string() });
        };
        let want = config.segment_bytes;
        if len != want {
            return Err(OpenError::Length { path: path.display().to_string(), len, want });
        }
        if let Some(last) = segments.last()
            && last.start() + want != start
        {
            return Err(OpenError::Missing { missing: last.start() + want });
        }
        let path = segment_path(&config.dir, start);
        segments.push(disk.open_segment(&path, start, want).map_err(|e| io_error(&path, e))?);
    }
    Ok(segments)
}

/// Sees to it that behind the log's end there is nothing that a later recovery could take for records:
/// files behind that of the end go, and the rest of that one becomes zero.
fn drop_stale(
    disk: &dyn Disk,
    config: &LogConfig,
    segments: &mut Vec<Arc<Segment>>,
    end: &LogEnd,
) -> Result<(), OpenError> {
    let keep = segments.iter().take_while(|s| s.start() <= end.offset.0).count();
    for segment in segments.drain(keep..) {
        let path = segment_path(&config.dir, segment.start());
        disk.remove(&path).map_err(|e| io_error(&path, e))?;
    }
    let Some(last) = segments.last() else { return Ok(()) };
    let at = end.offset.0.saturating_sub(last.start()).min(last.len());
    last.set_readable(at);
    if let Some(mut writer) = last.writer() {
        let path = segment_path(&config.dir, last.start());
        writer.clear_from(at).map_err(|e| io_error(&path, e))?;
    }
    Ok(())
}

struct LogEnd {
    offset: PhysicalOffset,
    checked_from: PhysicalOffset,
    cut: u64,
    reason: Option<String>,
}

/// Files looked at from the end when the store was left abruptly.
const FILES_AFTER_CRASH: usize = 3;

fn find_end(segments: &[Arc<Segment>], clean: bool, check_crc: bool) -> LogEnd {
    // Before anybody else has them, everything in the files may be looked at.
    segments.iter().for_each(|segment| segment.publish(segment.len()));
    let used = segments.iter().rposition(|s| begins_with_record(s)).map_or(0, |i| i + 1);
    let look_back = if clean { 1 } else { FILES_AFTER_CRASH };
    let first = used.saturating_sub(look_back);
    let origin = segments.first().map_or(0, |s| s.start());
    let checked_from = segments.get(first).map_or(origin, |s| s.start());
    let mut end = LogEnd {
        offset: PhysicalOffset(checked_from),
        checked_from: PhysicalOffset(checked_from),
        cut: 0,
        reason: None,
    };
    for segment in segments.iter().skip(first) {
        let run = check_segment(segment, check_crc);
        end.offset = PhysicalOffset(segment.start() + run.len);
        if !run.full {
            end.reason = run.reason.map(|why| format!("at {}: {why}", end.offset));
            end.cut = segment.len() - run.len;
            break;
        }
    }
    if clean {
        end.checked_from = end.offset;
    }
    end
}

fn begins_with_record(segment: &Segment) -> bool {
    let head = segment.read(0, BLANK_BYTES).and_then(record::record_len);
    matches!(head, Some((_, record::RECORD_MAGIC_V1 | record::RECORD_MAGIC_V2)))
}

struct Checked {
    /// Bytes of whole records.
    len: u64,
    /// Whether they reach to a blank record.
    full: bool,
    reason: Option<String>,
}

fn check_segment(segment: &Segment, check_crc: bool) -> Checked {
    let bytes = segment.read(0, segment.len()).unwrap_or_default();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let stop = |reason| Checked { len: at as u64, full: false, reason };
        match record::record_len(rest) {
            None | Some((0, 0)) => return stop(None),
            Some((len, BLANK_MAGIC)) if len == rest.len() => {
                return Checked { len: segment.len(), full: true, reason: None };
            }
            Some((len, _)) => match check_record(rest, segment.start() + at as u64, check_crc) {
                Ok(()) => at += len,
                Err(reason) => return stop(Some(reason)),
            },
        }
    }
}

fn check_record(bytes: &[u8], offset: u64, check_crc: bool) -> Result<(), String> {
    let record = Record::decode(bytes).map_err(|e| e.to_string())?;
    if record.physical_offset != offset as i64 {
        return Err(format!("a record that says it is at {}", record.physical_offset));
    }
    if check_crc && !record.check_body_crc() {
        return Err("the body does not match its CRC".into());
    }
    Ok(())
}

fn find_queues(
    disk: &dyn Disk,
    config: &ConsumeQueueConfig,
    log: &CommitLog,
) -> Result<Vec<RecoveredQueue>, OpenError> {
    let mut queues = Vec::new();
    let (log_min, log_end) = (log.min_offset(), log.max_offset());
    for (topic, _) in disk.list(&config.dir).map_err(|e| io_error(&config.dir, e))? {
        let topic_dir = config.dir.join(&topic);
        for (name, len) in disk.list(&topic_dir).map_err(|e| io_error(&topic_dir, e))? {
            let (None, Ok(id)) = (len, name.parse::<u32>()) else { continue };
            let dir = topic_dir.join(&name);
            let found = consume_queue::scan(disk, config, &dir, log_min, log_end)?;
            if !found.files.is_empty() {
                let (topic, queue) = (topic.clone(), QueueId(id));
                queues.push(RecoveredQueue { topic, queue, min: found.min, max: found.max });
            }
        }
    }
    Ok(queues)
}
