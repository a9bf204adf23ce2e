//! Looking at a whole store in the order in which its parts depend on each other.
//!
//! The metadata first, since it says which topics exist; then the log once, from its beginning to its end,
//! with queues and index going along; then, when it is known where the log ends and from where a start
//! would dispatch, all that depends on that.

use std::{
    collections::BTreeMap,
    io,
    ops::{ControlFlow, Range},
    path::PathBuf,
};

use super::{
    IndexFile, Inspection, LogEnd, RowFile, Summary, Tail, Watch,
    config_check::Config,
    ext,
    finding::{Finding, FindingKind, Findings, Severity},
    index_check::IndexCheck,
    log_files::log_files,
    log_scan::scan_log,
    queue_check::{LogFacts, QueueCheck},
    reading::{Reading, tell_tail},
    state::{Dispatch, Left, check_ends, check_timer, read_left},
};
use crate::disk::Disk;

/// What a repair has to know of what was found.
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
    pub(crate) kept_index: Option<IndexFile>,
    /// Index files from the first on that disagrees with the log.
    pub(crate) bad_index: Vec<IndexFile>,
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

/// All parts of a store, and what was seen of its log.
struct Examination<'a> {
    disk: &'a dyn Disk,
    inspection: &'a Inspection,
    left: Left,
    config: Config,
    files: Vec<RowFile>,
    queues: QueueCheck<'a>,
    index: IndexCheck<'a>,
    reading: Reading,
    end: LogEnd,
    dispatch: Dispatch,
    side_units: u64,
    /// Queues that are missing as a whole.
    absent: Vec<(String, u32)>,
}

/// See [`verify`](super::verify).
pub(crate) fn diagnose(
    disk: &dyn Disk,
    inspection: &Inspection,
    watch: &mut dyn Watch,
) -> io::Result<Diagnosis> {
    check_is_store(disk, inspection)?;
    let mut findings = Findings::new(watch, inspection.findings_max);
    let mut examination = Examination::begin(disk, inspection, &mut findings)?;
    examination.read_log(&mut findings)?;
    examination.conclude(&mut findings);
    let summary = Summary { tally: findings.finish(), ..examination.summary() };
    Ok(examination.into_diagnosis(summary))
}

impl<'a> Examination<'a> {
    fn begin(
        disk: &'a dyn Disk,
        inspection: &'a Inspection,
        findings: &mut Findings<'_>,
    ) -> io::Result<Self> {
        let (root, slots) = (&inspection.root, inspection.index_slots);
        Ok(Self {
            disk,
            inspection,
            left: read_left(disk, root)?,
            config: Config::read(disk, root, findings),
            queues: QueueCheck::find(disk, root, findings),
            files: log_files(disk, &inspection.log_dirs, findings),
            index: IndexCheck::find(disk, &root.join("index"), slots, findings),
            reading: Reading::default(),
            end: LogEnd::default(),
            dispatch: Dispatch::default(),
            side_units: 0,
            absent: Vec::new(),
        })
    }

    /// Goes through the log, queues and index along with it.
    fn read_log(&mut self, findings: &mut Findings<'_>) -> io::Result<()> {
        let Self { disk, files, queues, index, reading, .. } = self;
        findings.expects(files.iter().map(|file| file.len).sum());
        self.end = scan_log(*disk, files, 0, &mut |item| {
            reading.item(item, files, queues, index, findings);
            ControlFlow::Continue(())
        });
        let limit = self.end.offset;
        let indexed = || queues.newest_entry_end(limit);
        self.dispatch = self.left.dispatch_from(*disk, files, indexed)?;
        Ok(())
    }

    /// Tells what could not be told before the log's end was known.
    fn conclude(&mut self, findings: &mut Findings<'_>) {
        let (disk, root) = (self.disk, &self.inspection.root);
        let (left, files, end) = (&self.left, &self.files, self.end.offset);
        self.reading.tell_damage(files, left, self.dispatch, findings);
        tell_tail(files, &self.end, left.is_clean, findings);
        let damages = self.reading.unsound();
        let facts = LogFacts {
            files,
            begin: files.first().map_or(0, |file| file.start),
            end,
            dispatch_from: self.dispatch.from,
            is_clean: left.is_clean,
            damages: &damages,
        };
        self.queues.finish(&facts, self.inspection.sweeps, findings);
        let is_known = |topic: &str, queue| self.config.has_queue(topic, queue);
        self.absent = self.queues.tell_absent(root, &facts, &is_known, findings);
        let indexed = left.checkpoint.index.filter(|_| left.is_clean);
        let indexed = indexed.map_or(0, |point| point.position.0);
        self.index.finish(files, end, indexed, findings);
        left.check(disk, root, end, self.reading.last_time, findings);
        tell_left(self.inspection, left.is_clean, self.dispatch.from, findings);
        self.side_units =
            ext::check_ext(disk, root, findings) + ext::check_batch(disk, root, findings);
        check_timer(disk, root, findings);
        check_ends(disk, root, findings);
        let mut ends: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
        for queue in &self.queues.queues {
            ends.entry(queue.topic.clone()).or_default().insert(queue.id, queue.end);
        }
        self.config.check(root, &ends, findings);
    }

    fn summary(&self) -> Summary {
        let (files, queues) = (&self.files, &self.queues.queues);
        Summary {
            log_files: files.len() as u64,
            log_bytes: files.iter().map(|file| file.len).sum(),
            log_begin: files.first().map_or(0, |file| file.start),
            log_end: self.end.offset,
            records: self.reading.records,
            queues: queues.len() as u64,
            entries: queues.iter().map(|q| q.end.saturating_sub(q.slots.first())).sum(),
            side_units: self.side_units,
            index_files: self.index.files.len() as u64,
            index_entries: self.index.entries(),
            config_files: self.config.files,
            dispatch_from: self.dispatch.from,
            ..Summary::default()
        }
    }

    fn into_diagnosis(self, summary: Summary) -> Diagnosis {
        let mut bad_queues: Vec<_> =
            self.absent.into_iter().map(|(topic, id)| (topic, id, 0)).collect();
        let mut lost = Vec::new();
        for queue in self.queues.queues {
            let (topic, id) = (queue.topic, queue.id);
            lost.extend(queue.lost.into_iter().map(|(slot, entry)| LostEntry {
                topic: topic.clone(),
                queue: id,
                slot,
                offset: entry.offset.0,
                size: entry.size,
            }));
            bad_queues.extend(queue.first_bad.map(|slot| (topic, id, slot)));
        }
        let mut kept = self.index.files;
        let sound = self.index.bad.iter().take_while(|bad| !**bad).count();
        let bad_index = kept.split_off(sound);
        Diagnosis {
            summary,
            files: self.files,
            damages: self.reading.damages,
            wrong_crcs: self.reading.wrong_crcs,
            tail: self.end.tail,
            bad_queues,
            lost,
            kept_index: kept.pop(),
            bad_index,
            restorable: self.config.restorable,
        }
    }
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
