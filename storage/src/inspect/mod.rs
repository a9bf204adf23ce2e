//! Looking into a store off line: is everything in it as it should be, what is in it, and how to mend it.
//!
//! | file | what it holds |
//! |---|---|
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

mod config_check;
mod contents;
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

use std::{
    collections::BTreeMap,
    io,
    ops::{ControlFlow, Range},
    path::PathBuf,
};

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

use self::{
    config_check::Config,
    finding::Findings,
    index_check::IndexCheck,
    log_files::log_files,
    queue_check::{LogFacts, QueueCheck},
    reading::{Reading, tell_tail},
    state::read_left,
};
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

/// What a repair has to know of what was found.
#[derive(Default)]
pub(crate) struct Diagnosis {
    pub(crate) summary: Summary,
    pub(crate) files: Vec<RowFile>,
    /// Stretches of the log that are no records, with the store time of the record before.
    pub(crate) damages: Vec<(Range<u64>, i64)>,
    /// Records with a wrong CRC.
    pub(crate) wrong_crcs: Vec<(Range<u64>, i64)>,
    pub(crate) tail: Option<Tail>,
    /// Queues to be written anew from a slot on.
    pub(crate) bad_queues: Vec<(String, u32, u64)>,
    /// Entries for damaged records: queue, slot, and where the record was.
    pub(crate) lost: Vec<LostEntry>,
    /// The last index file before those to be written anew.
    pub(crate) kept_index: Option<index_check::IndexFile>,
    /// Index files from the first on that disagrees with the log.
    pub(crate) bad_index: Vec<index_check::IndexFile>,
    pub(crate) restorable: Vec<PathBuf>,
}

/// An entry of which the record is damaged.
#[derive(Clone, Debug)]
pub(crate) struct LostEntry {
    pub(crate) topic: String,
    pub(crate) queue: u32,
    pub(crate) slot: u64,
    pub(crate) offset: u64,
    pub(crate) size: u32,
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

/// See [`verify`].
pub(crate) fn diagnose(
    disk: &dyn Disk,
    inspection: &Inspection,
    watch: &mut dyn Watch,
) -> io::Result<Diagnosis> {
    let root = &inspection.root;
    check_is_store(disk, inspection)?;
    let mut findings = Findings::new(watch, inspection.findings_max);
    let left = read_left(disk, root)?;
    let config = Config::read(disk, root, &mut findings);
    let mut queues = QueueCheck::find(disk, root, &mut findings);
    let files = log_files(disk, &inspection.log_dirs, &mut findings);
    let mut index =
        IndexCheck::find(disk, &root.join("index"), inspection.index_slots, &mut findings);
    findings.expects(files.iter().map(|file| file.len).sum());

    let mut reading = Reading::default();
    let end = scan_log(disk, &files, 0, &mut |item| {
        reading.item(item, &files, &mut queues, &mut index, &mut findings);
        ControlFlow::Continue(())
    });
    let begin = files.first().map_or(0, |file| file.start);
    let indexed = || queues.newest_entry_end(end.offset);
    let dispatch_from = left.dispatch_from(disk, &files, indexed)?;
    reading.tell_damage(&files, &left, dispatch_from, &mut findings);
    tell_tail(&files, &end, left.is_clean, &mut findings);

    let damages: Vec<_> = reading.damages.iter().map(|damage| damage.0.clone()).collect();
    let facts = LogFacts {
        files: &files,
        begin,
        end: end.offset,
        dispatch_from,
        is_clean: left.is_clean,
        damages: &damages,
    };
    queues.finish(&facts, inspection.sweeps, &mut findings);
    let is_known = |topic: &str, queue| config.has_queue(topic, queue);
    let absent = queues.tell_absent(root, &facts, &is_known, &mut findings);
    index.finish(&files, end.offset, dispatch_from, &mut findings);
    left.check(disk, root, end.offset, reading.last_time, &mut findings);
    tell_left(inspection, left.is_clean, dispatch_from, &mut findings);
    let side_units =
        ext::check_ext(disk, root, &mut findings) + ext::check_batch(disk, root, &mut findings);
    state::check_timer(disk, root, &mut findings);
    let mut ends: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
    for queue in &queues.queues {
        ends.entry(queue.topic.clone()).or_default().insert(queue.id, queue.end);
    }
    config.check(root, &ends, &mut findings);

    let summary = Summary {
        log_files: files.len() as u64,
        log_bytes: files.iter().map(|file| file.len).sum(),
        log_begin: begin,
        log_end: end.offset,
        records: reading.records,
        queues: queues.queues.len() as u64,
        entries: queues.queues.iter().map(|q| q.end.saturating_sub(q.slots.first())).sum(),
        side_units,
        index_files: index.files.len() as u64,
        index_entries: index.entries(),
        config_files: config.files,
        dispatch_from,
        tally: findings.finish(),
    };
    let mut diagnosis = Diagnosis { summary, tail: end.tail, ..Diagnosis::default() };
    (diagnosis.damages, diagnosis.wrong_crcs) = (reading.damages, reading.wrong_crcs);
    diagnosis.bad_queues = absent.into_iter().map(|(topic, id)| (topic, id, 0)).collect();
    for queue in queues.queues {
        let (topic, id) = (queue.topic, queue.id);
        diagnosis.lost.extend(queue.lost.into_iter().map(|(slot, entry)| LostEntry {
            topic: topic.clone(),
            queue: id,
            slot,
            offset: entry.offset.0,
            size: entry.size,
        }));
        if let Some(slot) = queue.first_bad {
            diagnosis.bad_queues.push((topic, id, slot));
        }
    }
    let sound = index.bad.iter().take_while(|bad| !**bad).count();
    diagnosis.bad_index = index.files.split_off(sound);
    diagnosis.kept_index = index.files.pop();
    diagnosis.restorable = config.restorable;
    diagnosis.files = files;
    Ok(diagnosis)
}

fn check_is_store(disk: &dyn Disk, inspection: &Inspection) -> io::Result<()> {
    const PARTS: [&str; 7] =
        ["commitlog", "consumequeue", "config", "checkpoint", "index", "abort", "lock"];
    let listed = disk.list(&inspection.root)?;
    let mut is_store = listed.iter().any(|(name, _)| PARTS.contains(&name.as_str()));
    for dir in &inspection.log_dirs {
        is_store |= !disk.list(dir)?.is_empty();
    }
    if is_store {
        return Ok(());
    }
    let text = "there is no store: neither a log, nor queues, nor a configuration";
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}

fn tell_left(
    inspection: &Inspection,
    is_clean: bool,
    dispatch_from: u64,
    findings: &mut Findings<'_>,
) {
    let root = &inspection.root;
    if inspection.is_in_use {
        let note = Finding::of(Severity::Note, FindingKind::InUse, &root.join("lock"));
        findings.add(
            note.expected("a store that nobody has open")
                .found("a broker that runs; what is found here is of the moment")
                .at_start("refuses to start"),
        );
    } else if !is_clean {
        let warning = Finding::of(Severity::Warning, FindingKind::AbruptStop, &root.join("abort"));
        findings.add(
            warning
                .expected("no such file after an orderly stop")
                .found(format!("it is there; recovery begins at log offset {dispatch_from}"))
                .at_start("checks the log from there and brings the queues up to date"),
        );
    }
}
