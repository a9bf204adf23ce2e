//! A store as a whole: who has it, how it was left, where its log really ends, what its queues lack.
//!
//! Opening takes the `lock`, decides from the file `abort` and the checkpoint where to begin
//! ([`start`] has the table), finds the log's true end from there ([`log_files`]), cuts the queues to
//! what can be relied on ([`queues`]), and leaves an `abort` file that only [`Store::close`] removes.
//!
//! The queues are not brought up to date here, as their entries are the dispatcher's to make: it has to
//! go through the log from [`Report::dispatch_from`] on. Until it has reached the end that the log had
//! at opening, queues end too early, so no client may be let in before.
//!
//! Recovery can be interrupted anywhere and begun again: it removes and clears only what a later one
//! would find to be behind the ends as well.
//! Failure policy: a store that cannot be understood is not opened, and nothing in it is changed but
//! what the tables say.

mod log_files;
mod queues;
pub(crate) mod start;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;

use self::{
    log_files::LogFiles,
    queues::Queues,
    start::{Evidence, decide},
};
use crate::{
    checkpoint::Checkpoint,
    commit_log::{CommitLog, FlushError, LogConfig},
    consume_queue::{ConsumeQueueConfig, QueueError},
    disk::{Disk, StoreLock},
    offset::{PhysicalOffset, QueueId, QueueOffset},
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

    fn abort(&self) -> PathBuf {
        self.root.join("abort")
    }

    fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }
}

/// Why a store was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another broker has it.
    #[error("the store at {root} is in use by another broker: {error}")]
    Locked {
        /// The store's folder.
        root: String,
        /// What the system said.
        error: io::Error,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
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
    /// The queues are in a database (`storeType=defaultRocksDB`).
    #[error("{path}: the queues of this store are kept in RocksDB, which is not supported")]
    RocksDb {
        /// A file of the database.
        path: String,
    },
    /// A queue cannot be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Why the checkpoint was not written, or the store not closed in order.
#[derive(Debug, Error)]
pub enum CloseError {
    /// The log could not be flushed.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Queues lack a part of the log, so the next start has to bring them up to date.
    #[error("the queues have the log up to {dispatched} only, it ends at {end}")]
    Undispatched {
        /// What the queues have.
        dispatched: PhysicalOffset,
        /// Where the log ends.
        end: PhysicalOffset,
    },
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
    /// What is there instead of a record, if not simply nothing.
    pub broken: Option<String>,
    /// From where the queues have to be brought up to date.
    pub dispatch_from: PhysicalOffset,
    /// Queues found.
    pub queues: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.clean { "stopped in order" } else { "stopped abruptly" };
        write!(f, "{how}, log {} to {}, {} queues", self.log_min, self.log_end, self.queues)?;
        if self.dispatch_from < self.log_end {
            write!(f, ", dispatching from {}", self.dispatch_from)?;
        }
        match &self.broken {
            Some(broken) => write!(f, "; the log ends before something else, {broken}"),
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
    checkpoint: Mutex<Checkpoint>,
    _lock: StoreLock,
}

impl Store {
    /// Opens the store, or makes it; see the module's text.
    ///
    /// # Errors
    /// If somebody has it, if the system refuses, or if what is found is no store of this layout.
    pub fn open(config: StoreConfig, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let lock = lock(&*disk, &config)?;
        let clean = read(&*disk, &config.abort())?.is_none();
        let checkpoint = read(&*disk, &config.checkpoint())?;
        let checkpoint = Checkpoint::decode(&checkpoint.unwrap_or_default());
        let (log, queues, report) = recover(&config, &*disk, &checkpoint, clean)?;
        // Java writes its process id as well; only that the file exists matters.
        let (abort, pid) = (config.abort(), std::process::id().to_string());
        disk.write_atomic(&abort, pid.as_bytes()).map_err(|e| io_error(&abort, e))?;
        let checkpoint = Mutex::new(checkpoint);
        Ok(Self { config, disk, log, queues, report, checkpoint, _lock: lock })
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

    /// Flushes the log, and writes down that every queue has its entries for the log before
    /// `dispatched` *on disk*: the caller has had the queues flush behind those entries. The next
    /// recovery begins there. Blocks for some syncs.
    ///
    /// # Errors
    /// If the log or the checkpoint cannot be written; a failed flush closes the log.
    pub fn checkpoint(&self, dispatched: PhysicalOffset) -> Result<(), CloseError> {
        let log = &self.log;
        log.flusher().sync()?;
        let mut checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let indexed = if dispatched >= log.flushed_offset() {
            Some(log.flushed_timestamp())
        } else {
            // Everything before is as old or older. An earlier time, as now in front of a blank
            // record, is always right too.
            log.store_timestamp(dispatched)
        };
        let next = Checkpoint {
            physic_msg_timestamp: log.flushed_timestamp(),
            logics_msg_timestamp: indexed.unwrap_or(checkpoint.logics_msg_timestamp),
            dispatched: Some(dispatched.min(log.flushed_offset())),
            ..*checkpoint
        };
        if next != *checkpoint {
            let path = self.config.checkpoint();
            let written = self.disk.write_atomic(&path, &next.encode());
            written.map_err(|e| close_error(&path, e))?;
            *checkpoint = next;
        }
        Ok(())
    }

    /// Marks the store as left in order, if the last [`checkpoint`](Self::checkpoint) covers the whole
    /// log. To be called when nobody writes any more.
    ///
    /// # Errors
    /// If the mark cannot be made, or if queues lack something: the next start is then one after an
    /// abrupt stop, which makes up for it.
    pub fn close(&self) -> Result<(), CloseError> {
        let checkpoint = *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let dispatched = checkpoint.dispatched.unwrap_or_default();
        let end = self.log.max_offset();
        if dispatched < end {
            return Err(CloseError::Undispatched { dispatched, end });
        }
        let abort = self.config.abort();
        let removed = self.disk.remove(&abort).and_then(|()| self.disk.sync_dir(&self.config.root));
        removed.map_err(|e| close_error(&abort, e))
    }
}

fn lock(disk: &dyn Disk, config: &StoreConfig) -> Result<StoreLock, OpenError> {
    let root = &config.root;
    disk.create_dir(root).map_err(|e| io_error(root, e))?;
    let path = root.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { root: root.display().to_string(), error },
        _ => io_error(&path, error),
    })
}

fn recover(
    config: &StoreConfig,
    disk: &dyn Disk,
    checkpoint: &Checkpoint,
    clean: bool,
) -> Result<(CommitLog, Vec<RecoveredQueue>, Report), OpenError> {
    let files = LogFiles::open(disk, &config.log)?;
    let found = Queues::find(disk, &config.queues, &files)?;
    let evidence = Evidence {
        stopped_in_order: clean,
        checkpoint,
        files: &files.starts(),
        files_end: files.end(),
    };
    let first_time = |start| files.record(start).map(|(head, _)| head.store_timestamp);
    let start = decide(&evidence, first_time, || found.indexed_end())?;
    let end = files.find_end(start.from, config.check_crc, start.rebuilds);
    let limit = if start.rebuilds { start.from } else { end.offset };
    let queues = found.cut_at(limit, start.sweeps)?;
    let last_timestamp = end.last_timestamp.unwrap_or(checkpoint.physic_msg_timestamp);
    let log = files.into_log(start.from, end.offset, last_timestamp, start.sweeps)?;
    let report = Report {
        clean,
        log_min: log.min_offset(),
        log_end: end.offset,
        broken: end.broken,
        dispatch_from: start.from,
        queues: queues.len(),
    };
    Ok((log, queues, report))
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    disk.read(path).map_err(|e| io_error(path, e))
}

fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { path: path.display().to_string(), error }
}

fn close_error(path: &Path, error: io::Error) -> CloseError {
    CloseError::Io { path: path.display().to_string(), error }
}
