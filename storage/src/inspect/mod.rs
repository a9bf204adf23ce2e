//! Looking into a store off line: is everything in it as it should be, what is in it, and how to mend it.
//!
//! | file | what it holds |
//! |---|---|
//! | `diagnosis` | the order in which a store is looked at |
//! | `finding` | what is found, as data |
//! | `log_files`, `log_scan` | the log's files; going through them past any damage |
//! | `reading` | what is wrong with the log by itself |
//! | `expected` | what a record asks of queues and index |
//! | `queue_check`, `queue_walk`, `slots` | queues against the log, and by themselves |
//! | `index_check`, `ext`, `state`, `config_check` | the other files |
//! | `contents` | what is in the files, to be printed |
//! | `repair` | what can be mended, as a plan and its execution |
//!
//! [`verify`] reads every byte that matters once, in the order of the log, and keeps a bounded piece of
//! each file in memory, whatever the store's size. The layout is taken from the files themselves. Nothing
//! is written and no lock is taken, so a store in use can be looked at too; what is found then is of the
//! moment. What cannot be read is a finding, not a failure.

mod code_check;
mod config_check;
mod contents;
mod diagnosis;
mod expected;
mod ext;
mod finding;
mod index_check;
mod log_files;
mod log_scan;
mod queue_check;
mod queue_walk;
mod reading;
mod repair;
mod slots;
mod state;
mod window;

use std::{io, path::PathBuf};

pub use contents::{
    IndexRow, QueueRow, checkpoint_contents, config_contents, index_contents, index_entries,
    index_lookup, log_contents, queue_contents, queue_names,
};
pub use finding::{Finding, FindingKind, Severity, Tally, Watch};
pub use index_check::IndexFile;
pub use log_files::RowFile;
pub use log_scan::{LogEnd, LogItem, LogRecord, Tail, scan_log};
pub use repair::{Action, RepairError, RepairPlan};
pub use state::store_holder;

use self::diagnosis::diagnose;
use crate::disk::Disk;

/// Which store, and how closely it is looked at.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The store's folder.
    pub root: PathBuf,
    /// The folders of the log; those that are only read as well.
    pub log_dirs: Vec<PathBuf>,
    /// Slots of an index file, if not a quarter of its entries.
    pub index_slots: Option<u32>,
    /// Whether everything behind the ends of queues is looked at, and not only what a start looks at.
    pub sweeps: bool,
    /// Findings of one kind in one file that are told; the rest is counted.
    pub findings_max: u64,
    /// Whether a broker has the store open.
    pub is_in_use: bool,
}

impl Inspection {
    /// Of the store in `root`, in its usual layout.
    pub fn new(root: PathBuf) -> Self {
        let log_dirs = vec![root.join("commitlog")];
        let (index_slots, sweeps, is_in_use) = (None, false, false);
        Self { root, log_dirs, index_slots, sweeps, findings_max: 20, is_in_use }
    }
}

/// What was looked at, and how much was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files of the log.
    pub log_files: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Where the log begins.
    pub log_begin: u64,
    /// Where it ends.
    pub log_end: u64,
    /// Records.
    pub records: u64,
    /// Queues.
    pub queues: u64,
    /// Entries of all queues.
    pub entries: u64,
    /// Units of extensions and batch queues.
    pub side_units: u64,
    /// Files of the key index.
    pub index_files: u64,
    /// Entries of the key index.
    pub index_entries: u64,
    /// Files of metadata.
    pub config_files: u64,
    /// From where a start brings queues and index up to date.
    pub dispatch_from: u64,
    /// Findings.
    pub tally: Tally,
}

/// Looks at everything, and tells `watch` what is found.
///
/// # Errors
/// If the folder cannot be listed, or holds nothing of a store.
pub fn verify(
    disk: &dyn Disk,
    inspection: &Inspection,
    watch: &mut dyn Watch,
) -> io::Result<Summary> {
    diagnose(disk, inspection, watch).map(|diagnosis| diagnosis.summary)
}
