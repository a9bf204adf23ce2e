//! The side files of queues: extensions and batch queues (store.md 2.3, 2.4).
//!
//! What is checked here is that they are what they look like; whether units of extensions say what the log
//! says is seen when the entries are compared that name them. gantry leaves batch queues alone.
//!
//! | unit of an extension | | unit of a batch queue | |
//! |---|---|---|---|
//! | 0:2 | its size, 20 and the bitmap's; ≤ 0 ends a file | 0:8 | place in the log |
//! | 2:8 | tag code | 8:4 | bytes |
//! | 10:8 | store time | 12:8 | tag code |
//! | 18:2 | length of the bitmap | 20:8 | store time |
//! | 20:n | bitmap | 28:8 | first queue offset |
//! | | | 36:2 | messages |
//! | | | 38:8 | compacted offset, −1, and zeros |

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    finding::{Finding, FindingKind, Findings, Severity},
    log_files::{RowFile, check_row, row_files, usual_len},
    window::{FileWindow, i16_at, u32_at, u64_at},
};
use crate::disk::Disk;

const EXT_HEAD_BYTES: usize = 20;
const BATCH_UNIT_BYTES: usize = 46;
const STEP_BYTES: usize = 64 << 10;
const LEAVES: &str = "leaves it so";

/// How many units there are below a folder, the broken ones told.
pub(crate) fn check_ext(disk: &dyn Disk, root: &Path, findings: &mut Findings<'_>) -> u64 {
    check_rows(disk, &root.join("consumequeue_ext"), FindingKind::ExtUnit, ext_file, findings)
}

/// As [`check_ext`], for batch queues.
pub(crate) fn check_batch(disk: &dyn Disk, root: &Path, findings: &mut Findings<'_>) -> u64 {
    check_rows(disk, &root.join("batchconsumequeue"), FindingKind::BatchUnit, batch_file, findings)
}

/// Counts the units of a file; where and why it breaks off, if it does. `before` is the last unit of
/// the file before.
type CheckFile = fn(
    &mut FileWindow<'_>,
    before: &mut Option<(u64, u64)>,
) -> io::Result<(u64, Option<(u64, String)>)>;

fn check_rows(
    disk: &dyn Disk,
    dir: &Path,
    kind: FindingKind,
    check: CheckFile,
    findings: &mut Findings<'_>,
) -> u64 {
    let mut units = 0;
    for queue in queue_dirs(disk, dir) {
        let mut files = row_files(disk, &queue, LEAVES, findings);
        let usual = usual_len(&files);
        check_row(&mut files, usual, LEAVES, findings);
        let mut before = None;
        for RowFile { path, len, .. } in files {
            let mut window = FileWindow::new(disk, path, len, STEP_BYTES);
            match check(&mut window, &mut before) {
                Ok((count, broken)) => {
                    units += count;
                    if let Some((at, why)) = broken {
                        let fault = Finding::of(Severity::Fault, kind, window.path()).at(at);
                        findings
                            .add(fault.expected("a unit that follows").found(why).at_start(LEAVES));
                    }
                }
                Err(e) => {
                    let fault =
                        Finding::of(Severity::Fault, FindingKind::Unreadable, window.path());
                    findings.add(fault.found(e.to_string()).at_start(LEAVES));
                }
            }
        }
    }
    units
}

fn queue_dirs(disk: &dyn Disk, dir: &Path) -> Vec<PathBuf> {
    let folders = |dir: &Path| -> Vec<PathBuf> {
        let listed = disk.list(dir).unwrap_or_default().into_iter();
        listed.filter(|(_, len)| len.is_none()).map(|(name, _)| dir.join(name)).collect()
    };
    folders(dir).iter().flat_map(|topic| folders(topic)).collect()
}

fn ext_file(
    window: &mut FileWindow<'_>,
    _: &mut Option<(u64, u64)>,
) -> io::Result<(u64, Option<(u64, String)>)> {
    let (mut at, mut units) = (0, 0);
    while at + (EXT_HEAD_BYTES as u64) <= window.len() {
        let unit = window.at(at, EXT_HEAD_BYTES)?;
        let (size, bitmap) = (i16_at(unit, 0), i16_at(unit, 18));
        if size <= 0 {
            break;
        }
        if bitmap < 0 || i32::from(size) != EXT_HEAD_BYTES as i32 + i32::from(bitmap) {
            return Ok((units, Some((at, format!("size {size} with a bitmap of {bitmap}")))));
        }
        units += 1;
        at += size as u64;
    }
    Ok((units, None))
}

fn batch_file(
    window: &mut FileWindow<'_>,
    before: &mut Option<(u64, u64)>,
) -> io::Result<(u64, Option<(u64, String)>)> {
    let (mut at, mut units) = (0, 0);
    while at + (BATCH_UNIT_BYTES as u64) <= window.len() {
        let unit = window.at(at, BATCH_UNIT_BYTES)?;
        let (offset, size) = (u64_at(unit, 0), u32_at(unit, 8));
        let (base, count) = (u64_at(unit, 28), i16_at(unit, 36));
        if size == 0 || size > i32::MAX as u32 || offset > i64::MAX as u64 {
            break;
        }
        if count <= 0 {
            return Ok((units, Some((at, format!("a batch of {count} messages")))));
        }
        if let Some((end, next)) = *before
            && (offset < end || base != next)
        {
            let why =
                format!("queue offset {base} at log offset {offset}, behind {next} and {end}");
            return Ok((units, Some((at, why))));
        }
        *before = Some((offset + u64::from(size), base + count as u64));
        units += 1;
        at += BATCH_UNIT_BYTES as u64;
    }
    Ok((units, None))
}
