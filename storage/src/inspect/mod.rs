//! Looking into a store off line: is everything in it as it should be, what is in it, and how to mend it.
//!
//! | file | what it holds |
//! |---|---|
//! | `finding` | what is found, as data |
//! | `log_files`, `log_scan` | the log's files; going through them past any damage |
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
mod repair;
mod slots;
mod state;
mod window;

use std::{
    collections::BTreeMap,
    io,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
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
    expected::expected_entries,
    finding::Findings,
    index_check::IndexCheck,
    log_files::log_files,
    queue_check::{LogFacts, QueueCheck},
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
    tell_tail(disk, &files, &end, left.is_clean, &mut findings)?;

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
    let is_known = |topic: &str| config.has_topic(topic);
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

/// What lies behind the last record.
fn tell_tail(
    disk: &dyn Disk,
    files: &[RowFile],
    end: &LogEnd,
    is_clean: bool,
    findings: &mut Findings<'_>,
) -> io::Result<()> {
    if let Some(tail) = &end.tail {
        let severity = if is_clean { Severity::Fault } else { Severity::Warning };
        findings.add(
            Finding::of(severity, FindingKind::LogTail, &tail.file.path)
                .at(tail.at)
                .expected(format!("zeros behind log offset {}, where the log ends", end.offset))
                .found(tail.why.clone())
                .at_start("cuts the log there"),
        );
        return Ok(());
    }
    let is_used = |file: &&RowFile| file.start < end.offset || (file.start, end.offset) == (0, 0);
    for file in files.iter().filter(|file| !is_used(file)) {
        if file.start > end.offset || files.len() > 1 {
            debug_assert!(log_scan::is_all_zero(disk, &file.path, file.len)?, "no tail, no bytes");
            let note = Finding::of(Severity::Note, FindingKind::SpareFile, &file.path);
            findings.add(note.found("zeros, made ahead of time").at_start("removes or uses it"));
        }
    }
    Ok(())
}

/// What has been read of the log so far.
#[derive(Default)]
struct Reading {
    records: u64,
    last_time: Option<i64>,
    damages: Vec<(Range<u64>, i64)>,
    wrong_crcs: Vec<(Range<u64>, i64)>,
    /// What is wrong with each damage.
    reasons: Vec<String>,
    /// Bytes that were not yet told as read.
    untold: u64,
}

impl Reading {
    fn item(
        &mut self,
        item: LogItem<'_>,
        files: &[RowFile],
        queues: &mut QueueCheck<'_>,
        index: &mut IndexCheck<'_>,
        findings: &mut Findings<'_>,
    ) {
        let bytes = match item {
            LogItem::Record(record) => {
                self.record(&record, queues, findings);
                index.record(&record, files, findings);
                u64::from(record.head.total_size)
            }
            LogItem::Blank { file, at, size } => {
                let rest = file.len - at;
                if size != rest {
                    findings.add(
                        Finding::of(Severity::Warning, FindingKind::BlankLength, &file.path)
                            .at(at)
                            .expected(format!("a filler of {rest} bytes, up to the file's end"))
                            .found(format!("{size} bytes"))
                            .at_start("goes on in the next file all the same"),
                    );
                }
                rest
            }
            LogItem::Damage { file, at, to, why } => {
                let before = self.last_time.unwrap_or(0);
                self.damages.push((file.start + at..file.start + to, before));
                self.reasons.push(why);
                to - at
            }
            LogItem::Unreadable { file, at, error } => {
                findings.add(
                    Finding::of(Severity::Fault, FindingKind::Unreadable, &file.path)
                        .at(at)
                        .expected("bytes of the log")
                        .found(error.to_string())
                        .at_start("ends when it reads there"),
                );
                file.len - at
            }
        };
        self.untold += bytes;
        if self.untold >= 1 << 20 {
            findings.advanced(std::mem::take(&mut self.untold));
        }
    }

    fn record(
        &mut self,
        record: &LogRecord<'_>,
        queues: &mut QueueCheck<'_>,
        findings: &mut Findings<'_>,
    ) {
        let head = &record.head;
        self.records += 1;
        let before = self.last_time.unwrap_or(head.store_timestamp);
        self.last_time = self.last_time.max(Some(head.store_timestamp));
        if head.physical_offset as u64 != record.offset {
            findings.add(
                Finding::of(Severity::Fault, FindingKind::RecordPosition, &record.file.path)
                    .at(record.at + 28)
                    .expected(format!("log offset {}, where the record lies", record.offset))
                    .found(head.physical_offset.to_string())
                    .at_start("does not look at it"),
            );
        }
        let range = record.offset..record.offset + u64::from(head.total_size);
        if !record.is_crc_right {
            self.wrong_crcs.push((range.clone(), before));
        }
        let expected = expected_entries(head, record.bytes, record.offset, &mut |entry| {
            queues.expect(&entry, findings);
        });
        if let Err(e) = expected {
            self.damages.push((range, before));
            self.reasons.push(e.to_string());
        }
    }

    /// Damage is told once it is known where recovery would begin.
    fn tell_damage(
        &self,
        files: &[RowFile],
        left: &state::Left,
        dispatch_from: u64,
        findings: &mut Findings<'_>,
    ) {
        let at_start = |offset: u64| {
            if offset >= dispatch_from {
                "cuts the log there, and loses the sound records behind it"
            } else if left.is_clean {
                "passes over it"
            } else {
                "passes over it; recovery begins behind it"
            }
        };
        let place = |offset: u64| -> (&Path, u64) {
            let file = files.iter().rev().find(|file| file.start <= offset);
            file.map_or((Path::new(""), 0), |file| (&file.path, offset - file.start))
        };
        for ((range, _), why) in self.damages.iter().zip(&self.reasons) {
            let (path, at) = place(range.start);
            findings.add(
                Finding::of(Severity::Fault, FindingKind::LogDamage, path)
                    .at(at)
                    .expected(format!("a record at log offset {}", range.start))
                    .found(format!(
                        "{why}; {} bytes up to the next record",
                        range.end - range.start
                    ))
                    .at_start(at_start(range.start)),
            );
        }
        for (range, _) in &self.wrong_crcs {
            let (path, at) = place(range.start);
            findings.add(
                Finding::of(Severity::Fault, FindingKind::RecordCrc, path)
                    .at(at)
                    .expected(format!(
                        "the body of the record at log offset {} as its CRC says",
                        range.start
                    ))
                    .found("another body")
                    .at_start(at_start(range.start)),
            );
        }
    }
}
