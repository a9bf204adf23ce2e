//! How a store was left: its checkpoint, its `abort` file, its lock, its timer files, the ends
//! of its queues.

use std::{fs::OpenOptions, io, path::Path};

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use super::{
    finding::{Finding, FindingKind, Findings, Severity},
    log_files::{RowFile, check_row, row_files, usual_len},
    log_scan::whole_record_at,
};
use crate::{
    checkpoint::{Checkpoint, DispatchMark},
    disk::Disk,
    offset::PhysicalOffset,
    store::{
        ends,
        start::{Evidence, decide},
    },
};

const CHECKPOINT_BYTES: u64 = 4096;
/// Bytes of the checkpoint that Java reads.
const CHECKPOINT_USED_BYTES: u64 = 40;
/// Bytes of the timer wheel: slots for twice seven days, 32 bytes each.
const WHEEL_BYTES: u64 = 7 * 86_400 * 2 * 32;

/// The process that has the store in `root` open, if one has; asking changes nothing. To be asked by a
/// process that has no store open itself, since it would give its own lock back.
pub fn store_holder(root: &Path) -> io::Result<Option<i32>> {
    let file = match OpenOptions::new().read(true).open(root.join("lock")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut wanted = Flock::from(FlockType::WriteLock);
    (wanted.offset_type, wanted.start, wanted.length) = (FlockOffsetType::Set, 0, 1);
    let held = fcntl_getlk(&file, &wanted)?;
    Ok(held.map(|lock| lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get())))
}

/// How the store was left.
pub(crate) struct Left {
    pub(crate) checkpoint: Checkpoint,
    /// Whether there is a checkpoint at all.
    pub(crate) has_checkpoint: bool,
    pub(crate) is_clean: bool,
}

/// Reads `checkpoint` and `abort`.
pub(crate) fn read_left(disk: &dyn Disk, root: &Path) -> io::Result<Left> {
    let checkpoint = disk.read(&root.join("checkpoint"))?;
    let is_clean = disk.read(&root.join("abort"))?.is_none();
    let has_checkpoint = checkpoint.is_some();
    let checkpoint = Checkpoint::decode(&checkpoint.unwrap_or_default());
    Ok(Left { checkpoint, has_checkpoint, is_clean })
}

/// What a start dispatches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dispatch {
    /// From where on.
    pub(crate) from: u64,
    /// Whether that is what our checkpoint says.
    pub(crate) is_ours: bool,
}

/// Whether the log has the record that our checkpoint names as the last one.
fn is_confirmed(disk: &dyn Disk, files: &[RowFile], mark: &DispatchMark) -> bool {
    let begin = files.first().map_or(0, |file| file.start);
    mark.last_record.is_none_or(|last| {
        let record = whole_record_at(disk, files, last.0).ok().flatten();
        let behind = record.map(|(head, _)| last.plus(head.total_size.into()));
        // Behind a filler, the end is that of the file.
        let ends_file = files.iter().any(|file| file.end() == mark.end.0);
        last.0 < begin || behind.is_some_and(|end| end == mark.end || (ends_file && end < mark.end))
    })
}

impl Left {
    /// From where a start brings the queues up to date.
    pub(crate) fn dispatch_from(
        &self,
        disk: &dyn Disk,
        files: &[RowFile],
        indexed: impl FnOnce() -> io::Result<Option<u64>>,
    ) -> io::Result<Dispatch> {
        let starts: Vec<_> = files.iter().map(|file| PhysicalOffset(file.start)).collect();
        let dispatched = self.checkpoint.dispatched.filter(|mark| is_confirmed(disk, files, mark));
        let evidence = Evidence {
            stopped_in_order: self.is_clean,
            checkpoint: &self.checkpoint,
            dispatched: dispatched.map(|mark| mark.end),
            files: &starts,
            files_end: PhysicalOffset(files.last().map_or(0, RowFile::end)),
        };
        let first_time = |start: PhysicalOffset| {
            let record = whole_record_at(disk, files, start.0).ok().flatten();
            record.map(|(head, _)| head.store_timestamp)
        };
        let indexed = || indexed().map(|end| end.map(PhysicalOffset));
        let start = decide(&evidence, first_time, indexed)?;
        Ok(Dispatch { from: start.from.0, is_ours: start.passes_over.is_none() })
    }

    /// The checkpoint against the log that it is of.
    pub(crate) fn check(
        &self,
        disk: &dyn Disk,
        root: &Path,
        log_end: u64,
        last_time: Option<i64>,
        findings: &mut Findings<'_>,
    ) {
        let path = root.join("checkpoint");
        let of = |severity| Finding::of(severity, FindingKind::Checkpoint, &path);
        if !self.has_checkpoint {
            if log_end > 0 {
                let note = of(Severity::Warning).expected("a checkpoint").found("no file");
                findings.add(note.at_start("checks the whole log after an abrupt stop"));
            }
            return;
        }
        let listed = disk.list(root).unwrap_or_default();
        let len = listed.iter().find(|(name, _)| name == "checkpoint").and_then(|(_, len)| *len);
        let len = len.unwrap_or(0);
        if len != CHECKPOINT_BYTES {
            let is_short = len < CHECKPOINT_USED_BYTES;
            let severity = if is_short { Severity::Fault } else { Severity::Warning };
            let finding = of(severity).expected(format!("{CHECKPOINT_BYTES} bytes"));
            findings.add(finding.found(format!("{len} bytes")).at_start("reads what is there"));
        }
        if let Some(dispatched) = self.checkpoint.dispatched.filter(|mark| mark.end.0 > log_end) {
            findings.add(
                of(Severity::Fault)
                    .at(CHECKPOINT_USED_BYTES)
                    .expected(format!("a log offset up to {log_end}, where the log ends"))
                    .found(dispatched.end.to_string())
                    .at_start("trusts it if the log has the record that it names as the last one"),
            );
        }
        let times = [
            (0, "physicMsgTimestamp", self.checkpoint.physic_msg_timestamp),
            (8, "logicsMsgTimestamp", self.checkpoint.logics_msg_timestamp),
        ];
        for (at, name, time) in times {
            if last_time.is_some_and(|last| time > last) {
                findings.add(
                    of(Severity::Warning)
                        .at(at)
                        .expected(format!(
                            "{name} up to {}, the newest record's",
                            last_time.unwrap_or(0)
                        ))
                        .found(time.to_string())
                        .at_start("uses it only where no offset is known"),
                );
            }
        }
    }
}

/// The file of the queues' ends, gantry's own; a store that a Java broker wrote has none.
pub(crate) fn check_ends(disk: &dyn Disk, root: &Path, findings: &mut Findings<'_>) {
    let path = ends::path(root);
    match ends::is_sound(disk, root) {
        Ok(None | Some(true)) => {}
        Ok(Some(false)) => findings.add(
            Finding::of(Severity::Note, FindingKind::QueueEnds, &path)
                .expected("the ends of all queues, as the CRC at the file's end says")
                .found("other bytes")
                .at_start("goes without it: of queues whose files are lost it knows nothing then"),
        ),
        Err(error) => findings.add(
            Finding::of(Severity::Fault, FindingKind::Unreadable, &path)
                .expected("the ends of all queues")
                .found(error.to_string())
                .at_start("ends when it reads there"),
        ),
    }
}

/// The timer wheel and its log, of 5.x; `crate::timer` reads and writes them.
pub(crate) fn check_timer(disk: &dyn Disk, root: &Path, findings: &mut Findings<'_>) {
    let at_start = "does not use it; Java 5.x would not start";
    for (name, len) in disk.list(root).unwrap_or_default() {
        if let (true, Some(len)) = (name == "timerwheel", len)
            && len != 0
            && len != WHEEL_BYTES
        {
            findings.add(
                Finding::of(Severity::Fault, FindingKind::TimerWheel, &root.join(name))
                    .expected(format!("{WHEEL_BYTES} bytes, or none"))
                    .found(format!("{len} bytes"))
                    .at_start(at_start),
            );
        }
    }
    let mut files = row_files(disk, &root.join("timerlog"), at_start, findings);
    let usual = usual_len(&files);
    check_row(&mut files, usual, at_start, findings);
}
