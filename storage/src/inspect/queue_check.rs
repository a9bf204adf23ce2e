//! The consume queues against the log.
//!
//! While the log is gone through in order, each record is compared with the slot that it should have; the
//! slots of a queue are asked for in order too, so each is read once. Afterwards every queue is gone
//! through by itself: its order, its end, and entries for which no record came by. Only a queue in which
//! there are such is compared with the log entry by entry.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    expected::ExpectedEntry,
    finding::{Finding, FindingKind, Findings, Severity},
    queue_walk::{Walk, compare_each, look_behind},
    slots::{Slots, slot_finding},
};
use crate::{
    consume_queue::{IndexEntry, entry::Slot},
    disk::Disk,
    inspect::log_files::{RowFile, usual_len},
};

/// Memory for the slots of all queues together.
const SLOTS_BYTES: usize = 64 << 20;
/// Stretches of missing entries that are told apart in one queue.
const RUNS_MAX: usize = 16;

/// A stretch of records without an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first_slot: u64,
    pub(crate) last_slot: u64,
    pub(crate) first_offset: u64,
    pub(crate) count: u64,
}

/// A queue, and what has been seen of it.
pub(crate) struct Queue<'a> {
    pub(crate) topic: String,
    pub(crate) id: u32,
    pub(crate) slots: Slots<'a>,
    pub(super) ext_dir: PathBuf,
    /// Slots that were compared with a record of theirs.
    compared: u64,
    /// The next queue offset in the log.
    next_in_log: Option<u64>,
    missing: Vec<Run>,
    /// Records of which the slots belong to later ones.
    superseded: u64,
    /// Entries with another delay than their level's.
    pub(super) other_delays: u64,
    /// The first slot that has to be written anew.
    pub(crate) first_bad: Option<u64>,
    /// Entries whose records are damaged.
    pub(crate) lost: Vec<(u64, IndexEntry)>,
    /// One past the last entry.
    pub(crate) end: u64,
}

/// All queues of a store.
pub(crate) struct QueueCheck<'a> {
    disk: &'a dyn Disk,
    pub(crate) queues: Vec<Queue<'a>>,
    by_name: HashMap<String, BTreeMap<u32, usize>>,
    batch_topics: HashMap<String, ()>,
    /// Records of queues without a folder.
    absent: BTreeMap<(String, u32), Run>,
}

/// The log that the queues refer to.
pub(crate) struct LogFacts<'f> {
    pub(crate) files: &'f [RowFile],
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// Records from here on are given to the queues by the next start.
    pub(crate) dispatch_from: u64,
    /// Whether the last owner stopped in order.
    pub(crate) is_clean: bool,
    /// Where it is damaged.
    pub(crate) damages: &'f [Range<u64>],
}

impl LogFacts<'_> {
    pub(crate) fn is_damaged(&self, offset: u64) -> bool {
        self.damages.iter().any(|range| range.contains(&offset))
    }
}

impl<'a> QueueCheck<'a> {
    /// Looks for queues below `root`.
    pub(crate) fn find(disk: &'a dyn Disk, root: &Path, findings: &mut Findings<'_>) -> Self {
        let dir = root.join("consumequeue");
        let mut check = Self {
            disk,
            queues: Vec::new(),
            by_name: HashMap::new(),
            batch_topics: HashMap::new(),
            absent: BTreeMap::new(),
        };
        for (topic, len) in list(disk, &dir, findings) {
            if len.is_some() {
                if topic.ends_with(".sst") {
                    let fault =
                        Finding::of(Severity::Fault, FindingKind::RocksDb, &dir.join(topic));
                    findings
                        .add(fault.expected("one folder per topic").at_start("refuses to start"));
                }
                continue;
            }
            for (name, len) in list(disk, &dir.join(&topic), findings) {
                let (None, Ok(id)) = (len, name.parse()) else { continue };
                let slots = Slots::list(disk, &dir.join(&topic).join(&name), findings);
                let ext_dir = root.join("consumequeue_ext").join(&topic).join(&name);
                check.by_name.entry(topic.clone()).or_default().insert(id, check.queues.len());
                check.queues.push(Queue::new(topic.clone(), id, slots, ext_dir));
            }
        }
        for (topic, len) in list(disk, &root.join("batchconsumequeue"), findings) {
            if len.is_none() {
                check.batch_topics.insert(topic, ());
            }
        }
        let usual = usual_len(check.queues.iter().flat_map(|queue| queue.slots.files()));
        for queue in &mut check.queues {
            if !queue.slots.check(usual, findings) {
                queue.mark_bad(0);
            }
        }
        let step = (SLOTS_BYTES / check.queues.len().max(1)).clamp(400, 64 << 10);
        check.queues.iter_mut().for_each(|queue| queue.slots.set_step(step));
        check
    }

    /// A record asks for an entry.
    pub(crate) fn expect(&mut self, expected: &ExpectedEntry<'_>, findings: &mut Findings<'_>) {
        let index = self.by_name.get(expected.topic).and_then(|ids| ids.get(&expected.queue));
        if let Some(queue) = index.and_then(|index| self.queues.get_mut(*index)) {
            queue.expect(self.disk, expected, findings);
        } else if !self.batch_topics.contains_key(expected.topic) {
            let key = (expected.topic.to_owned(), expected.queue);
            let run = self.absent.entry(key).or_insert_with(|| Run::of(expected));
            run.last_slot = expected.slot;
            run.count += 1;
        }
    }

    /// The end of the newest record before `limit` that some queue has an entry for.
    pub(crate) fn newest_entry_end(&mut self, limit: u64) -> io::Result<Option<u64>> {
        let mut newest = None;
        for queue in &mut self.queues {
            newest = newest.max(queue.slots.newest_entry_end(limit)?);
        }
        Ok(newest)
    }

    /// Tells what the log has and queues lack, and goes through each queue by itself. `sweeps` has
    /// everything behind the ends looked at.
    pub(crate) fn finish(&mut self, log: &LogFacts<'_>, sweeps: bool, findings: &mut Findings<'_>) {
        for queue in &mut self.queues {
            queue.slots.set_step(256 << 10);
            if let Err(e) = queue.go_through(self.disk, log, sweeps, findings) {
                let fault = Finding::of(Severity::Fault, FindingKind::Unreadable, &queue.slots.dir);
                findings.add(fault.found(e.to_string()).at_start("cannot open the queue"));
            }
            queue.tell_missing(log, findings);
            // What is written anew has to continue what is there.
            queue.first_bad = queue.first_bad.map(|bad| bad.min(queue.end));
            queue.slots.forget();
        }
    }

    /// Tells of queues that have no folder though there are records of theirs; gives those that exist.
    pub(crate) fn tell_absent(
        &self,
        root: &Path,
        log: &LogFacts<'_>,
        is_known: &dyn Fn(&str, u32) -> bool,
        findings: &mut Findings<'_>,
    ) -> Vec<(String, u32)> {
        let mut lost = Vec::new();
        for ((topic, id), run) in &self.absent {
            let path = root.join("consumequeue").join(topic).join(id.to_string());
            if is_known(topic, *id) {
                findings.add(missing_finding(&path, None, run, log));
                if run.first_offset < log.dispatch_from {
                    lost.push((topic.clone(), *id));
                }
            } else {
                let note = Finding::of(Severity::Note, FindingKind::ForgottenRecords, &path);
                let found =
                    format!("{} records of a topic or queue that does not exist", run.count);
                findings.add(note.found(found).at_start("leaves them out"));
            }
        }
        lost
    }
}

fn list(disk: &dyn Disk, dir: &Path, findings: &mut Findings<'_>) -> Vec<(String, Option<u64>)> {
    disk.list(dir).unwrap_or_else(|e| {
        let fault = Finding::of(Severity::Fault, FindingKind::Unreadable, dir);
        findings.add(fault.found(e.to_string()).at_start("refuses to start"));
        Vec::new()
    })
}

impl Run {
    fn of(expected: &ExpectedEntry<'_>) -> Self {
        let (slot, offset) = (expected.slot, expected.entry.offset.0);
        Self { first_slot: slot, last_slot: slot, first_offset: offset, count: 0 }
    }
}

fn missing_finding(path: &Path, at: Option<u64>, run: &Run, log: &LogFacts<'_>) -> Finding {
    let is_due = run.first_offset >= log.dispatch_from;
    let severity = if is_due { Severity::Note } else { Severity::Fault };
    let finding = Finding { at, ..Finding::of(severity, FindingKind::EntryMissing, path) };
    let (first, last) = (run.first_slot, run.last_slot);
    let expected = if run.count == 1 {
        format!("entry {first} for the record at log offset {}", run.first_offset)
    } else {
        let (count, offset) = (run.count, run.first_offset);
        format!("entries {first} to {last} for {count} records from log offset {offset}")
    };
    finding.expected(expected).found("no entry").at_start(if is_due {
        "adds them"
    } else {
        "does not see them"
    })
}

impl<'a> Queue<'a> {
    fn new(topic: String, id: u32, slots: Slots<'a>, ext_dir: PathBuf) -> Self {
        Self {
            topic,
            id,
            slots,
            ext_dir,
            compared: 0,
            next_in_log: None,
            missing: Vec::new(),
            superseded: 0,
            other_delays: 0,
            first_bad: None,
            lost: Vec::new(),
            end: 0,
        }
    }

    pub(crate) fn mark_bad(&mut self, slot: u64) {
        self.first_bad = Some(self.first_bad.map_or(slot, |bad| bad.min(slot)));
    }

    fn expect(
        &mut self,
        disk: &dyn Disk,
        expected: &ExpectedEntry<'_>,
        findings: &mut Findings<'_>,
    ) {
        let slot = expected.slot;
        if self.next_in_log.is_some_and(|next| slot > next) {
            let next = self.next_in_log.unwrap_or_default();
            findings.add(
                slot_finding(Severity::Warning, FindingKind::QueueOffsetGap, &self.slots, next)
                    .expected(format!("a record with queue offset {next} in the log"))
                    .found(format!("queue offset {slot} at log offset {}", expected.entry.offset))
                    .at_start("leaves it so"),
            );
        }
        self.next_in_log = Some(slot + 1);
        let found = match self.slots.slot(slot) {
            Ok(found) => found,
            // Told once, when the queue is gone through.
            Err(_) => return,
        };
        match found.entry() {
            None => self.add_missing(expected),
            Some(entry) if entry == expected.entry => self.compared += 1,
            Some(entry) if entry.offset > expected.entry.offset => self.superseded += 1,
            Some(entry)
                if (entry.offset, entry.size) == (expected.entry.offset, expected.entry.size) =>
            {
                self.compared += 1;
                self.check_code(disk, expected, entry.tags_code, findings);
            }
            Some(entry) => {
                self.compared += 1;
                self.mark_bad(slot);
                let (want, have) = (expected.entry, entry);
                findings.add(
                    slot_finding(Severity::Fault, FindingKind::EntryWrong, &self.slots, slot)
                        .expected(format!("{} bytes at log offset {}", want.size, want.offset))
                        .found(format!("{} bytes at log offset {}", have.size, have.offset))
                        .at_start("takes it as it is, unless it writes the queue anew from before"),
                );
            }
        }
    }

    fn add_missing(&mut self, expected: &ExpectedEntry<'_>) {
        let (count, slot) = (self.missing.len(), expected.slot);
        match self.missing.last_mut() {
            Some(run) if run.last_slot + 1 == slot || count == RUNS_MAX => {
                run.last_slot = slot.max(run.last_slot);
                run.count += 1;
            }
            _ => self.missing.push(Run { count: 1, ..Run::of(expected) }),
        }
    }

    fn tell_missing(&mut self, log: &LogFacts<'_>, findings: &mut Findings<'_>) {
        for run in std::mem::take(&mut self.missing) {
            let (path, at) = self.slots.place(run.first_slot);
            findings.add(missing_finding(path, Some(at), &run, log));
            if run.first_offset < log.dispatch_from {
                self.mark_bad(run.first_slot);
            }
        }
        let notes = [
            (
                self.superseded,
                FindingKind::ForgottenRecords,
                "records of an earlier life of the queue",
            ),
            (
                self.other_delays,
                FindingKind::DeliveryTime,
                "entries with another delay than their level's default",
            ),
        ];
        for (count, kind, what) in notes {
            if count > 0 {
                let note = Finding::of(Severity::Note, kind, &self.slots.dir);
                findings.add(note.found(format!("{count} {what}")).at_start("leaves them so"));
            }
        }
    }

    /// Order and end of the queue, and entries without a record.
    fn go_through(
        &mut self,
        disk: &dyn Disk,
        log: &LogFacts<'_>,
        sweeps: bool,
        findings: &mut Findings<'_>,
    ) -> io::Result<()> {
        let mut walk = Walk::new(self.slots.first());
        walk.run(self, log, findings)?;
        self.end = walk.end;
        if walk.in_log != self.compared || walk.is_out_of_order {
            compare_each(self, disk, log, findings)?;
        }
        look_behind(self, disk, log, sweeps, findings)
    }

    /// What a slot of this queue holds.
    pub(crate) fn slot(&mut self, slot: u64) -> io::Result<Slot> {
        self.slots.slot(slot)
    }
}
