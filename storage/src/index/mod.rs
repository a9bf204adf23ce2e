//! The key index: which records have a key, in files of Java's format (store.md 2.5, [`layout`]).
//!
//! Three handles, each for one owner: [`Index`] reads (clones, any thread), [`IndexWriter`] goes through
//! the log and adds entries (one indexer), [`find_by_key`] answers a query: it takes what the index says
//! as a hint and reads the records themselves, so it gives none that lacks the key and none that is gone.
//!
//! | file | what it holds |
//! |---|---|
//! | [`layout`] | the bytes of a file, without state |
//! | `file` | one file, mapped: chains, entries, header |
//! | `keys` | the keys of a record |
//! | `writer` | from the log into the files |
//! | `start` | what an index that is found is worth: the decision as a table |
//! | `open` | carrying it out |
//! | `query` | from a key to messages |
//!
//! The index is derived from the log: whatever it lacks is made again from there, in the background,
//! by the writer that goes on where its predecessor was. So it is never the reason why a broker does not
//! start or take messages; Java's refuses to write after an error of its index.
//!
//! Beyond Java, which throws away every file that is not full after a crash: the store's checkpoint has
//! an [`IndexPoint`], up to which entries are on disk. Slots are not synced then; they are made from
//! the entries after an abrupt stop.
//!
//! Failure policy: an error leaves the index as it is, and the same can be tried again, but for a failed
//! sync, after which the point stays where it is and says that nothing behind it can be relied on.

mod file;
pub(crate) mod keys;
pub mod layout;
mod open;
mod query;
mod start;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use thiserror::Error;

pub use open::IndexReport;
pub use query::{KeyQuery, QueryKey, find_by_key};
pub use writer::{AdvanceError, IndexWriter};

use self::{
    file::IndexFile,
    layout::{IndexLayout, parse_file_name},
};
use crate::{disk::Disk, offset::PhysicalOffset};

/// Where the index lies and how large its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexConfig {
    /// The folder of the files.
    pub dir: PathBuf,
    /// Slots and entries of a file.
    pub layout: IndexLayout,
}

/// Why the index was not opened, written or trimmed.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A file of another length than configured.
    #[error(
        "{path} has {len} bytes, maxHashSlotNum {hash_slots} and maxIndexNum {entries} ask for \
         {want}; set them as they were, or move the folder away, and the index is made anew"
    )]
    Length {
        /// The file.
        path: String,
        /// Its bytes.
        len: u64,
        /// What they should be.
        want: u64,
        /// Configured slots.
        hash_slots: u32,
        /// Configured entries.
        entries: u32,
    },
    /// Somebody writes it already.
    #[error("the index has a writer")]
    InUse,
    /// An earlier sync failed; nobody knows what of that is on the disk.
    #[error("an earlier sync of the index has failed; the next start makes it from there again")]
    Suspect,
}

/// Up to where the index is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexPoint {
    /// The last file, as the number that its name is; 0 if there is none.
    pub file: u64,
    /// Number of the entry behind the last one on disk.
    pub next_entry: u32,
    /// Everything in the log before this has its entries on disk.
    pub position: PhysicalOffset,
    /// Store time of the newest record with an entry, ms.
    pub end_timestamp: i64,
    /// Whether what lies behind must not be relied on, even after an orderly stop.
    pub suspect: bool,
}

/// What tells how the index was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexEvidence {
    /// Whether the store's last owner stopped in order.
    pub clean: bool,
    /// What the checkpoint says, if it is ours.
    pub point: Option<IndexPoint>,
    /// Java's `indexMsgTimestamp` of the checkpoint, ms.
    pub index_msg_timestamp: i64,
}

/// The index, to be read. Has no files until a writer has opened them.
#[derive(Clone)]
pub struct Index(Arc<Shared>);

struct Shared {
    config: IndexConfig,
    /// Oldest first.
    files: ArcSwap<Vec<Arc<IndexFile>>>,
    is_open: AtomicBool,
    has_writer: AtomicBool,
    position: AtomicU64,
}

impl Index {
    /// An index of which nothing is known yet.
    pub fn new(config: IndexConfig) -> Self {
        Self(Arc::new(Shared {
            config,
            files: ArcSwap::default(),
            is_open: AtomicBool::new(false),
            has_writer: AtomicBool::new(false),
            position: AtomicU64::new(0),
        }))
    }

    /// Where it lies and how large its files are.
    pub fn config(&self) -> &IndexConfig {
        &self.0.config
    }

    /// Checks that the files that are there are as large as configured, without opening them.
    ///
    /// # Errors
    /// If one is not: what Java would do then, it finds and keeps nothing right any more.
    pub fn check(&self, disk: &dyn Disk) -> Result<(), IndexError> {
        found(disk, &self.0.config).map(|_| ())
    }

    /// Whether a writer has opened the files.
    pub fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Acquire)
    }

    /// Everything in the log before this is indexed.
    pub fn position(&self) -> PhysicalOffset {
        PhysicalOffset(self.0.position.load(Ordering::Acquire))
    }

    /// Store time and place of the newest indexed record, 0 if there is none.
    pub fn last_update(&self) -> (i64, PhysicalOffset) {
        let files = self.0.files.load();
        let header = files.last().map(|last| last.header()).unwrap_or_default();
        (header.end_timestamp, header.end_offset)
    }

    /// The place of the oldest indexed record, if there is one.
    pub fn min_offset(&self) -> Option<PhysicalOffset> {
        let files = self.0.files.load();
        files.iter().find(|file| !file.is_empty()).map(|file| file.header().begin_offset)
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.0.files.load().len()
    }

    /// Removes the leading files that have no record at or behind `min`, but never the last one; how
    /// many. Readers that are at work in them are not disturbed.
    ///
    /// # Errors
    /// If the system refuses. What is not removed is so at the next start.
    pub fn trim_before(&self, disk: &dyn Disk, min: PhysicalOffset) -> Result<usize, IndexError> {
        let mut removed = Vec::new();
        self.0.files.rcu(|files| {
            let old = files.iter().take(files.len().saturating_sub(1));
            let old = old.take_while(|file| file.header().end_offset < min).count();
            removed = files.iter().take(old).cloned().collect();
            files.iter().skip(old).cloned().collect::<Vec<_>>()
        });
        for file in &removed {
            disk.remove(file.path()).map_err(|e| io_error(file.path(), e))?;
        }
        if !removed.is_empty() {
            let dir = &self.0.config.dir;
            disk.sync_dir(dir).map_err(|e| io_error(dir, e))?;
        }
        Ok(removed.len())
    }

    /// Goes through the entries with this hash from the newest to the oldest: `f` is given the record's
    /// place and time, which is right to a second, and says whether to go on. Leaves files out whose
    /// times have nothing in common with `begin..=end`, and ends behind the second of `begin`.
    fn walk(
        &self,
        hash: u32,
        (begin, end): (i64, i64),
        mut f: impl FnMut(PhysicalOffset, i64) -> bool,
    ) {
        /// Times of entries are up to this much too early.
        const PRECISION_MS: i64 = 999;
        for file in self.0.files.load().iter().rev() {
            let header = file.header();
            let oldest = begin.saturating_sub(PRECISION_MS);
            let goes_on = !header.overlaps(begin, end) || file.walk(hash, oldest, &mut f);
            if !goes_on || header.begin_timestamp < begin {
                return;
            }
        }
    }

    fn files(&self) -> Arc<Vec<Arc<IndexFile>>> {
        self.0.files.load_full()
    }

    fn add(&self, file: Arc<IndexFile>) {
        self.0.files.rcu(|files| {
            let mut files = Vec::clone(files);
            files.push(file.clone());
            files
        });
    }
}

/// The files in the folder: the number of each, in order, and whether it is without length, as an
/// interrupted creation leaves it. What has another name is passed over.
fn found(disk: &dyn Disk, config: &IndexConfig) -> Result<Vec<(u64, bool)>, IndexError> {
    let (dir, layout) = (&config.dir, config.layout);
    let mut files = Vec::new();
    for (name, len) in disk.list(dir).map_err(|e| io_error(dir, e))? {
        let (Some(number), Some(len)) = (parse_file_name(&name), len) else { continue };
        let want = layout.file_bytes();
        if len != want && len != 0 {
            let path = dir.join(&name).display().to_string();
            let IndexLayout { hash_slots, entries } = layout;
            return Err(IndexError::Length { path, len, want, hash_slots, entries });
        }
        files.push((number, len == 0));
    }
    Ok(files)
}

fn io_error(path: &Path, error: io::Error) -> IndexError {
    IndexError::Io { path: path.display().to_string(), error }
}
