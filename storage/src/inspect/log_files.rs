//! Which files a log has: by name, length and place, over one folder or several.
//!
//! | a file in the folder | finding | a start of gantry |
//! |---|---|---|
//! | a folder | none | passes over it |
//! | the last one, empty | warning | removes it |
//! | another length than most | fault | removes it if it is the last and has no record, else refuses |
//! | a name that is not its offset in 20 digits | fault | refuses |
//! | one missing in between, or there twice | fault | refuses |

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::finding::{Finding, FindingKind, Findings, Severity};
use crate::disk::Disk;

const REFUSES: &str = "refuses to start";

/// A file of a row of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The offset of its first byte.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
}

impl RowFile {
    /// Offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// The log's files in these folders, in order.
pub(crate) fn log_files(
    disk: &dyn Disk,
    dirs: &[PathBuf],
    findings: &mut Findings<'_>,
) -> Vec<RowFile> {
    let mut files = Vec::new();
    for dir in dirs {
        files.extend(row_files(disk, dir, REFUSES, findings));
    }
    files.sort_by_key(|file: &RowFile| file.start);
    let usual = usual_len(&files);
    check_row(&mut files, usual, REFUSES, findings);
    files
}

/// The files of a folder by their names, in order; what is wrong with them is told. Folders are passed
/// over, as both brokers do.
pub(crate) fn row_files(
    disk: &dyn Disk,
    dir: &Path,
    at_start: &'static str,
    findings: &mut Findings<'_>,
) -> Vec<RowFile> {
    let listed = match disk.list(dir) {
        Ok(listed) => listed,
        Err(e) => {
            let fault = Finding::of(Severity::Fault, FindingKind::Unreadable, dir);
            findings.add(fault.found(e.to_string()).at_start(REFUSES));
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for (name, len) in listed {
        let Some(len) = len else { continue };
        let path = dir.join(&name);
        match name.parse::<u64>().ok().filter(|start| format!("{start:020}") == name) {
            Some(start) => files.push(RowFile { path, start, len }),
            None => findings.add(
                Finding::of(Severity::Fault, FindingKind::ForeignFile, &path)
                    .expected("files named by their offset in 20 digits")
                    .found(name)
                    .at_start(at_start),
            ),
        }
    }
    files
}

/// The length that most files have; of equally many, the longest.
pub(crate) fn usual_len<'a>(files: impl IntoIterator<Item = &'a RowFile>) -> u64 {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    files.into_iter().for_each(|file| *counts.entry(file.len).or_default() += 1);
    counts
        .into_iter()
        .filter(|(len, _)| *len > 0)
        .max_by_key(|(len, n)| (*n, *len))
        .map_or(0, |c| c.0)
}

/// Tells wrong lengths, gaps and doubles of files in order, and whether there are none; an empty last
/// file, left by an interrupted creation, is taken out.
pub(crate) fn check_row(
    files: &mut Vec<RowFile>,
    usual: u64,
    at_start: &'static str,
    findings: &mut Findings<'_>,
) -> bool {
    let mut is_sound = true;
    if let Some(last) = files.pop_if(|file| file.len == 0) {
        findings.add(
            Finding::of(Severity::Warning, FindingKind::FileLength, &last.path)
                .expected(format!("{usual} bytes"))
                .found("an empty file, left by an interrupted creation")
                .at_start("removes it"),
        );
    }
    for file in &*files {
        is_sound &= file.len == usual && file.start.checked_rem(usual) == Some(0);
        if file.len != usual {
            findings.add(
                Finding::of(Severity::Fault, FindingKind::FileLength, &file.path)
                    .expected(format!("{usual} bytes, as the other files have"))
                    .found(format!("{} bytes", file.len))
                    .at_start(at_start),
            );
        } else if file.start % usual.max(1) != 0 {
            findings.add(
                Finding::of(Severity::Fault, FindingKind::ForeignFile, &file.path)
                    .expected(format!("a start that is a multiple of {usual}"))
                    .found(file.start.to_string())
                    .at_start(at_start),
            );
        }
    }
    for pair in files.windows(2) {
        let [before, file] = pair else { continue };
        let follows = before.start.saturating_add(usual);
        if file.start != follows {
            is_sound = false;
            findings.add(
                Finding::of(Severity::Fault, FindingKind::FileGap, &file.path)
                    .expected(format!("the file that starts at {follows}"))
                    .found(format!("the one that starts at {}", file.start))
                    .at_start(at_start),
            );
        }
    }
    files.dedup_by_key(|file| file.start);
    is_sound
}
