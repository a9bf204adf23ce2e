//! What goes from the log, when, and when the disk is too full to write: the decision, apart from
//! the files.
//!
//! The rules for age and disks are the Java broker's (store.md 3.6). Oldest files first, up to the
//! first that has to stay. What makes a file go, the first that holds:
//!
//! | | the file goes if | at what time |
//! |---|---|---|
//! | unwanted | every record in it belongs to a topic that keeps messages for less long, and is over that | always |
//! | over the budget | it and the files behind it are more than `retentionBytes` | always |
//! | forced | a disk is used to more than `diskSpaceCleanForciblyRatio`, and `cleanFileForciblyEnable` | while cleaning |
//! | aged | its newest record is `fileReservedTime` old | while cleaning |
//!
//! *While cleaning* is the whole of an hour of `deleteWhen` (local time), when an operator ordered it,
//! and while a disk is used to more than `diskMaxUsedSpaceRatio` or cannot be asked. A file stays in
//! any case if it is the last one, if it is not older than what must be kept (what no queue has an
//! entry for yet; with `neverDeleteUnconsumed` what a group has not consumed), or once
//! `deleteFileBatchMax` went in one round. A file whose age cannot be told does not go by age.
//!
//! | writes | the disk of log or queues is used |
//! |---|---|
//! | refused from now on | to more than `diskSpaceWarningLevelRatio` |
//! | refused still | to more than `diskSpaceCleanForciblyRatio`, if they were refused |
//! | taken | to less |
//!
//! Of several folders of the log the one counts that has most room, as new files go there. A folder
//! that cannot be asked has files cleaned away, and refuses nothing.
//!
//! [`topic`] finds what of a topic is over its own limits, [`wanted`] the first record of the log that
//! anybody wants.

pub mod topic;
pub mod wanted;

use std::{fmt, path::PathBuf};

use crate::{commit_log::LogFile, disk::Space, offset::PhysicalOffset};

/// The settings of the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// `fileReservedTime`, in ms.
    pub reserved_ms: i64,
    /// `deleteWhen`: hours of the day, local time.
    pub delete_hours: Vec<u8>,
    /// `diskMaxUsedSpaceRatio`.
    pub max_used_percent: u8,
    /// `diskSpaceCleanForciblyRatio`.
    pub forcible_percent: u8,
    /// `diskSpaceWarningLevelRatio`.
    pub warning_percent: u8,
    /// `cleanFileForciblyEnable`.
    pub cleans_forcibly: bool,
    /// `deleteFileBatchMax`.
    pub batch_max: usize,
    /// `retentionBytes`; `None` for no budget.
    pub log_bytes: Option<u64>,
}

/// What there is to decide by.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The time, in ms.
    pub now_ms: i64,
    /// The hour of the day, local time.
    pub local_hour: u8,
    /// Whether an operator ordered cleaning.
    pub ordered: bool,
    /// All files of the log, oldest first.
    pub files: &'a [LogFile],
    /// The disks of the log's folders.
    pub log_disks: &'a [DiskUse],
    /// The disk of the queues.
    pub queue_disk: &'a DiskUse,
    /// Whether writes are refused for want of room now.
    pub refuses: bool,
    /// Everything from here on must be kept.
    pub keep_from: PhysicalOffset,
    /// Nobody wants anything before this, whatever its age.
    pub wanted_from: PhysicalOffset,
    /// How many files went in this round.
    pub removed: usize,
}

/// A folder and the room that its disk has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// The folder.
    pub dir: PathBuf,
    /// The room; `None` if it cannot be asked.
    pub space: Option<Space>,
}

impl DiskUse {
    fn percent(&self) -> Option<u8> {
        self.space?.used_percent()
    }
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Why the leading files go, one by one.
    pub removals: Vec<Removal>,
    /// Why writes are refused, if they are.
    pub refusal: Option<DiskLimit>,
    /// Whether a file that should go has to stay for what must be kept.
    pub is_held: bool,
}

/// Why a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Every topic that has records in it keeps messages for less long.
    Unwanted,
    /// The log is over its budget.
    OverBudget,
    /// The disk is too full.
    Forced,
    /// It is old enough.
    Aged,
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwanted => "all its messages are over the limits of their topics",
            Self::OverBudget => "the log is over retentionBytes",
            Self::Forced => "the disk is over diskSpaceCleanForciblyRatio",
            Self::Aged => "older than fileReservedTime",
        })
    }
}

/// What of the store lies on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorePart {
    /// The log.
    Log,
    /// The queues.
    Queues,
}

/// A disk that is too full to write; its text is for those whose messages are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLimit {
    /// What lies there.
    pub part: StorePart,
    /// The folder.
    pub dir: PathBuf,
    /// The room that its disk has.
    pub space: Space,
    /// How full that makes it.
    pub used_percent: u8,
    /// The limit.
    pub warning_percent: u8,
    /// Writing goes on when the disk is not fuller than this.
    pub resume_percent: u8,
}

impl fmt::Display for DiskLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            StorePart::Log => "commit log",
            StorePart::Queues => "consume queues",
        };
        let Self { dir, space, used_percent, warning_percent, resume_percent, .. } = self;
        let resume_key = if resume_percent < warning_percent {
            "diskSpaceCleanForciblyRatio"
        } else {
            "diskSpaceWarningLevelRatio"
        };
        write!(
            f,
            "the disk of the {part} ({}) is {used_percent}% used, {} of {} bytes are left: \
             writing stopped over {warning_percent}% (diskSpaceWarningLevelRatio) and goes on by \
             itself at {resume_percent}% ({resume_key})",
            dir.display(),
            space.available,
            space.total,
        )
    }
}

impl RetentionPolicy {
    /// See the module's text.
    pub fn decide(&self, evidence: &Evidence<'_>) -> Decision {
        let refusal = self.refusal(evidence);
        let (mut removals, mut is_held) = (Vec::new(), false);
        let room = self.batch_max.saturating_sub(evidence.removed);
        let mut bytes: u64 = evidence.files.iter().map(|file| file.len).sum();
        let but_last = evidence.files.split_last().map_or(&[][..], |(_, others)| others);
        for file in but_last.iter().take(room) {
            let Some(removal) = self.removal(file, bytes, evidence) else { break };
            is_held = file.end() > evidence.keep_from;
            if is_held {
                break;
            }
            bytes = bytes.saturating_sub(file.len);
            removals.push(removal);
        }
        Decision { removals, refusal, is_held }
    }

    /// Why `file` goes, if it does; it and what is behind it are `bytes`.
    fn removal(&self, file: &LogFile, bytes: u64, evidence: &Evidence<'_>) -> Option<Removal> {
        let age = file.newest_ms.map(|newest| evidence.now_ms.saturating_sub(newest));
        let cleans = self.cleans(evidence);
        if file.end() <= evidence.wanted_from {
            Some(Removal::Unwanted)
        } else if self.log_bytes.is_some_and(|budget| bytes > budget) {
            Some(Removal::OverBudget)
        } else if cleans && self.cleans_forcibly && self.is_over(evidence, self.forcible_percent) {
            Some(Removal::Forced)
        } else if cleans && age.is_some_and(|age| age >= self.reserved_ms) {
            Some(Removal::Aged)
        } else {
            None
        }
    }

    fn cleans(&self, evidence: &Evidence<'_>) -> bool {
        let disks = evidence.log_disks.iter().chain([evidence.queue_disk]);
        evidence.ordered
            || self.delete_hours.contains(&evidence.local_hour)
            || disks.into_iter().any(|disk| disk.percent().is_none())
            || self.is_over(evidence, self.max_used_percent)
    }

    fn is_over(&self, evidence: &Evidence<'_>, percent: u8) -> bool {
        parts(evidence).any(|(_, disk)| disk.percent().is_some_and(|used| used > percent))
    }

    fn refusal(&self, evidence: &Evidence<'_>) -> Option<DiskLimit> {
        let resume_percent = self.forcible_percent.min(self.warning_percent);
        let limit = if evidence.refuses { resume_percent } else { self.warning_percent };
        parts(evidence).find_map(|(part, disk)| {
            let (space, used_percent) = (disk.space?, disk.percent().filter(|used| *used > limit)?);
            let (dir, warning_percent) = (disk.dir.clone(), self.warning_percent);
            Some(DiskLimit { part, dir, space, used_percent, warning_percent, resume_percent })
        })
    }
}

/// The disks that count: of the log's the one with most room, and that of the queues.
fn parts<'a>(evidence: &Evidence<'a>) -> impl Iterator<Item = (StorePart, &'a DiskUse)> {
    let readable = evidence.log_disks.iter().filter(|disk| disk.percent().is_some());
    let log = readable.min_by_key(|disk| disk.percent());
    let log = log.map(|disk| (StorePart::Log, disk));
    log.into_iter().chain([(StorePart::Queues, evidence.queue_disk)])
}

#[cfg(test)]
mod tests;
