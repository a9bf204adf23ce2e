//! A store as a whole: who has it, how it was left, where its log really ends, what its queues lack.
//!
//! Opening takes the `lock`, decides from the file `abort` and the checkpoint where to begin
//! ([`start`] has the table), finds the log's true end from there ([`log_files`]), looks for queues
//! without opening them ([`queue_set`] says what becomes of each when it is used), and leaves an `abort`
//! file that only [`Store::close`] removes.
//!
//! The queues are not brought up to date here, as their entries are the dispatcher's to make: it has to
//! go through the log from [`Report::dispatch_from`] on. Until it has reached the end that the log had
//! at opening, queues end too early, so no client may be let in before. Queues that lost what they had
//! once are built again by [`Store::verify_queues`], and those that are very many when they are used.
//!
//! Recovery can be interrupted anywhere and begun again: it removes and clears only what a later one
//! would find to be behind the ends as well.
//! Failure policy: a store that cannot be understood is not opened, and nothing in it is changed but
//! what the tables say.

pub(crate) mod ends;
mod log_files;
mod queue_set;
mod rebuild;
mod settle;
pub(crate) mod start;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;

pub use self::queue_set::QueueName;
use self::{
    log_files::LogFiles,
    queue_set::{Cut, Found, QueueSet},
    settle::{Verdict, compare},
    start::{Evidence, decide},
};
use crate::{
    checkpoint::{Checkpoint, DispatchMark},
    commit_log::{CommitLog, FlushError, LogConfig},
    consume_queue::{ConsumeQueue, ConsumeQueueConfig, ConsumeQueueView, QueueError},
    disk::{Disk, StoreLock},
    dispatch::DelayLevels,
    index::{IndexEvidence, IndexPoint},
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
    /// Delay levels, which entries of the schedule topic are made with.
    pub delay_levels: DelayLevels,
    /// Whether recovery checks the CRC of bodies.
    pub check_crc: bool,
    /// If there are no more queues than this, each is looked at when the store is opened.
    pub settled_at_start_max: usize,
}

/// So many queues take some milliseconds.
const SETTLED_AT_START_MAX: usize = 4096;

impl StoreConfig {
    /// The usual layout below `root`.
    pub fn new(root: PathBuf, log_file_bytes: u64, queue_file_bytes: u64) -> Self {
        let log = LogConfig::new(root.join("commitlog"), log_file_bytes);
        let queues = ConsumeQueueConfig::new(root.join("consumequeue"), queue_file_bytes);
        Self {
            root,
            log,
            queues,
            delay_levels: DelayLevels::default(),
            check_crc: true,
            settled_at_start_max: SETTLED_AT_START_MAX,
        }
    }

    /// The folder of the metadata.
    pub fn config_dir(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The folder of the key index.
    pub fn index_dir(&self) -> PathBuf {
        self.root.join("index")
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
    /// The same part of the log in two of its folders (`storePathCommitLog`).
    #[error("{first} and {second} are the same part of the log; one of them must go")]
    Twice {
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// The log goes on in a file of a folder that is only read (`readOnlyCommitLogStorePaths`).
    #[error("{path} is not full and the log goes on in it, but its folder is only read")]
    ReadOnly {
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
    /// A queue could not be flushed.
    #[error(transparent)]
    Queue(#[from] QueueError),
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
    /// Damage within the log, from where to where; what lies there is served as an error.
    pub damaged: Vec<String>,
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
        if let Some(broken) = &self.broken {
            write!(f, "; the log ends before something else, {broken}")?;
        }
        self.damaged.iter().try_for_each(|damage| write!(f, "; damage at {damage}"))
    }
}

/// An open store.
pub struct Store {
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    log: CommitLog,
    queues: QueueSet,
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
        let recovered = recover(&config, &disk, &checkpoint, clean)?;
        // Java writes its process id as well; only that the file exists matters.
        let (abort, pid) = (config.abort(), std::process::id().to_string());
        disk.write_atomic(&abort, pid.as_bytes()).map_err(|e| io_error(&abort, e))?;
        let Recovered { log, queues, report, is_ours } = recovered;
        let mut store = Self {
            config,
            disk,
            log,
            queues,
            report,
            checkpoint: Mutex::new(checkpoint),
            _lock: lock,
        };
        if !is_ours {
            store.adopt()?;
        }
        store.drop_index_point()?;
        Ok(store)
    }

    /// Forgets up to where the key index was on disk, if damage has cut the log before that: when the log
    /// has got there again, the point would vouch for entries that it never saw. The index is made again.
    fn drop_index_point(&mut self) -> Result<(), OpenError> {
        let checkpoint = self.checkpoint.get_mut().unwrap_or_else(PoisonError::into_inner);
        let end = self.log.max_offset();
        if !checkpoint.index.is_some_and(|point| !point.suspect && point.position > end) {
            return Ok(());
        }
        *checkpoint = Checkpoint { index: None, index_msg_timestamp: 0, ..*checkpoint };
        let path = self.config.checkpoint();
        let written = self.disk.write_atomic(&path, &checkpoint.encode());
        written.map_err(|e| io_error(&path, e))
    }

    /// Makes the checkpoint ours, so that the next start need not begin as early as this one.
    fn adopt(&mut self) -> Result<(), OpenError> {
        let ends = ends::path(&self.config.root);
        let removed = self.disk.remove(&ends).and_then(|()| self.disk.sync_dir(&self.config.root));
        removed.map_err(|e| io_error(&ends, e))?;
        let end = self.report.dispatch_from;
        let dispatched = Some(DispatchMark { end, last_record: None });
        let checkpoint = self.checkpoint.get_mut().unwrap_or_else(PoisonError::into_inner);
        *checkpoint = Checkpoint { dispatched, ..*checkpoint };
        let path = self.config.checkpoint();
        let written = self.disk.write_atomic(&path, &checkpoint.encode());
        written.map_err(|e| io_error(&path, e))
    }

    /// How it is laid out.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Its log.
    pub fn log(&self) -> &CommitLog {
        &self.log
    }

    /// What opening found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// All queues that are on disk, or were when the store was last left in order.
    pub fn queue_names(&self) -> Vec<QueueName> {
        self.queues.names()
    }

    /// One past the highest number of the topic's queues on disk.
    pub fn queue_count(&self, topic: &str) -> u32 {
        self.queues.count_of(topic)
    }

    /// The queue's first offset and one past its last. The first call for a queue finds out by some
    /// small reads, and by reading the log if the queue has lost something.
    ///
    /// # Errors
    /// If its files cannot be read, or are none of a queue.
    pub fn queue_range(
        &self,
        topic: &str,
        queue: QueueId,
    ) -> Result<(QueueOffset, QueueOffset), QueueError> {
        self.queues.ends(topic, queue).map(|ends| (ends.min, ends.max))
    }

    /// Opens a queue for the one who writes it. To be called again only when that one is gone.
    ///
    /// # Errors
    /// As [`queue_range`](Self::queue_range).
    pub fn open_queue(&self, topic: &str, queue: QueueId) -> Result<ConsumeQueue, QueueError> {
        self.queues.open(topic, queue)
    }

    /// A view of a queue for whoever only looks at it, whether it has an owner or not.
    ///
    /// # Errors
    /// As [`queue_range`](Self::queue_range).
    pub fn queue_view(&self, topic: &str, queue: QueueId) -> Result<ConsumeQueueView, QueueError> {
        self.queues.view(topic, queue)
    }

    /// Lets a queue that has no owner begin at `min` and at the log's beginning, whichever is later, and
    /// removes the files before; where it begins then. `None` if it has an owner, who has to do that
    /// itself and to say so by [`queue_was_trimmed`](Self::queue_was_trimmed), or no files.
    ///
    /// # Errors
    /// If its files cannot be read or removed.
    pub fn trim_queue(
        &self,
        topic: &str,
        queue: QueueId,
        min: QueueOffset,
    ) -> Result<Option<QueueOffset>, QueueError> {
        self.queues.trim(topic, queue, min)
    }

    /// The owner of a queue has let it begin later than the log has it.
    pub fn queue_was_trimmed(&self) {
        self.queues.was_trimmed();
    }

    /// The topic and its queues have been deleted.
    pub fn forget_queues(&self, topic: &str) {
        self.queues.forget(topic);
    }

    /// Looks at the queues of the topics that `is_wanted` wants, and builds again, in one pass over the
    /// log, those that lost what they had; which those were. With very many queues only those are
    /// looked at whose folders are gone. To be called before the dispatcher begins.
    ///
    /// # Errors
    /// If files cannot be read or written.
    pub fn verify_queues(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<QueueName>, QueueError> {
        self.queues.verify(is_wanted)
    }

    /// Flushes queues and log, and writes down that every queue has its entries for the log before
    /// `mark` on disk: the caller knows that they have been written. The next recovery begins there.
    /// Blocks for some syncs.
    ///
    /// # Errors
    /// If log, queues or checkpoint cannot be written; a failed flush closes the log.
    pub fn checkpoint(&self, mark: DispatchMark) -> Result<(), CloseError> {
        let log = &self.log;
        self.queues.flush()?;
        log.flusher().sync()?;
        let mut checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let indexed = if mark.end >= log.flushed_offset() {
            Some(log.flushed_timestamp())
        } else {
            // Everything before is as old or older. An earlier time, as now in front of a blank
            // record, is always right too.
            log.store_timestamp(mark.end)
        };
        let before = checkpoint.dispatched.unwrap_or_default();
        let dispatched = DispatchMark {
            end: mark.end.min(log.flushed_offset()),
            // One that was written down before is still the last one if nothing was read since.
            last_record: mark.last_record.or(before.last_record.filter(|_| before.end == mark.end)),
        };
        let next = Checkpoint {
            physic_msg_timestamp: log.flushed_timestamp(),
            logics_msg_timestamp: indexed.unwrap_or(checkpoint.logics_msg_timestamp),
            dispatched: Some(dispatched),
            ..*checkpoint
        };
        self.write_changed_ends(dispatched.end)?;
        self.write(&mut checkpoint, next)
    }

    /// Writes the file of ends again if it says what is not true any more.
    fn write_changed_ends(&self, log_end: PhysicalOffset) -> Result<(), CloseError> {
        let Some(table) = self.queues.changed_table() else { return Ok(()) };
        let path = ends::path(&self.config.root);
        let written = self.disk.write_atomic(&path, &ends::encode(&table, log_end));
        written.map_err(|e| {
            self.queues.keep_stale();
            close_error(&path, e)
        })
    }

    fn write(&self, checkpoint: &mut Checkpoint, next: Checkpoint) -> Result<(), CloseError> {
        if next != *checkpoint {
            let path = self.config.checkpoint();
            let written = self.disk.write_atomic(&path, &next.encode());
            written.map_err(|e| close_error(&path, e))?;
            *checkpoint = next;
        }
        Ok(())
    }

    /// Up to where the last checkpoint covers the log: a start after a loss of power goes no further
    /// back. What lies behind must not be removed, or offsets that queues have given would be forgotten.
    pub fn checkpointed(&self) -> PhysicalOffset {
        let checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        checkpoint.dispatched.unwrap_or_default().end
    }

    /// What tells how the key index was left; [`checkpoint_index`](Self::checkpoint_index) changes it.
    pub fn index_evidence(&self) -> IndexEvidence {
        let checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let index_msg_timestamp = checkpoint.index_msg_timestamp;
        IndexEvidence { clean: self.report.clean, point: checkpoint.index, index_msg_timestamp }
    }

    /// Flushes the log, and writes down up to where the key index is *on disk*: the caller has synced it.
    /// The log first, or entries could be of records that a crash takes. Java's field gets the time up to
    /// which a Java broker keeps the index files after a crash of ours. Blocks for some syncs.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_index(&self, point: IndexPoint) -> Result<(), CloseError> {
        self.log.flusher().sync()?;
        let mut checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, index_msg_timestamp) = (Some(point), point.end_timestamp);
        let next = Checkpoint { index, index_msg_timestamp, ..*checkpoint };
        self.write(&mut checkpoint, next)
    }

    /// Marks the store as left in order, if the last [`checkpoint`](Self::checkpoint) covers the whole
    /// log. To be called when nobody writes any more.
    ///
    /// # Errors
    /// If the mark cannot be made, or if queues lack something: the next start is then one after an
    /// abrupt stop, which makes up for it.
    pub fn close(&self) -> Result<(), CloseError> {
        let checkpoint = *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let dispatched = checkpoint.dispatched.unwrap_or_default().end;
        let end = self.log.max_offset();
        if dispatched < end {
            return Err(CloseError::Undispatched { dispatched, end });
        }
        let ends = ends::path(&self.config.root);
        let table = ends::encode(&self.queues.ends_table(), end);
        self.disk.write_atomic(&ends, &table).map_err(|e| close_error(&ends, e))?;
        let abort = self.config.abort();
        let removed = self.disk.remove(&abort).and_then(|()| self.disk.sync_dir(&self.config.root));
        removed.map_err(|e| close_error(&abort, e))
    }
}

fn lock(disk: &dyn Disk, config: &StoreConfig) -> Result<StoreLock, OpenError> {
    let root = &config.root;
    // The queues' folder too, since their flush sees to the names within it only.
    for dir in [root, &config.queues.dir] {
        disk.create_dir(dir).map_err(|e| io_error(dir, e))?;
    }
    sync_above(disk, config).map_err(|e| io_error(root, e))?;
    let path = root.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { root: root.display().to_string(), error },
        _ => io_error(&path, error),
    })
}

/// Makes the names of the folders above a new store durable: whoever made them may not have.
fn sync_above(disk: &dyn Disk, config: &StoreConfig) -> io::Result<()> {
    if disk.read(&config.checkpoint())?.is_some() {
        return Ok(());
    }
    let above = config.root.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    for dir in above {
        match disk.sync_dir(dir) {
            // A folder that may be passed through and not read was there before.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => break,
            synced => synced?,
        }
    }
    Ok(())
}

struct Recovered {
    log: CommitLog,
    queues: QueueSet,
    report: Report,
    /// Whether the checkpoint is ours and the log confirms it.
    is_ours: bool,
}

fn recover(
    config: &StoreConfig,
    disk: &Arc<dyn Disk>,
    checkpoint: &Checkpoint,
    clean: bool,
) -> Result<Recovered, OpenError> {
    let files = LogFiles::open(&**disk, &config.log)?;
    let found = Found::list(&**disk, &config.queues)?;
    found.check_layout(&**disk, &config.queues)?;
    let dispatched = checkpoint.dispatched.filter(|mark| is_confirmed(&files, mark));
    let evidence = Evidence {
        stopped_in_order: clean,
        checkpoint,
        dispatched: dispatched.map(|mark| mark.end),
        files: &files.starts(),
        files_end: files.end(),
    };
    let first_time = |start| files.record(start).map(|(head, _)| head.store_timestamp);
    let indexed = || found.indexed_end(&**disk, &config.queues, files.end(), &ask_files(&files));
    let start = decide(&evidence, first_time, indexed)?;
    let is_ours = start.passes_over.is_none();
    let end = files.find_end(&start, config.check_crc);
    let limit = if start.rebuilds { start.from } else { end.offset };
    let ends = if is_ours { ends::load(&**disk, &config.root, limit) } else { Ok(None) };
    let ends = ends.map_err(|e| io_error(&ends::path(&config.root), e))?;
    let last_timestamp = end.last_timestamp.unwrap_or(checkpoint.physic_msg_timestamp);
    let log = files.into_log(start.from, end.offset, last_timestamp, start.sweeps)?;
    let report = Report {
        clean,
        log_min: log.min_offset(),
        log_end: end.offset,
        broken: end.broken,
        damaged: end.damaged,
        dispatch_from: start.from,
        queues: found.len(),
    };
    let cut = Cut { limit, sweeps: start.sweeps };
    let is_void = ends.is_none();
    let ends = ends.unwrap_or_default();
    let queues = QueueSet::new(disk.clone(), config, log.clone(), cut, &found, ends);
    if is_void {
        queues.keep_stale();
    }
    Ok(Recovered { log, queues, report, is_ours })
}

/// Whether the log goes on at the mark behind the record that the mark names. A record that is gone
/// with its file, or was never known, confirms nothing and refutes nothing.
fn is_confirmed(files: &LogFiles<'_>, mark: &DispatchMark) -> bool {
    mark.last_record.is_none_or(|last| last < files.begin() || files.confirms(last, mark.end))
}

/// Asks the log's files about an entry of a queue.
fn ask_files<'a>(
    files: &'a LogFiles<'a>,
) -> impl Fn(&QueueName, QueueOffset, &crate::consume_queue::IndexEntry) -> Verdict + Sync + 'a {
    |name, offset, entry| {
        if entry.offset < files.begin() {
            return Verdict::Gone;
        }
        let record = files.record(entry.offset);
        record.map_or(Verdict::Refuted, |(head, bytes)| compare(name, offset, entry, &head, bytes))
    }
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
