//! What an inspection finds, as data: how bad, where, what was expected, and what a start makes of it.
//!
//! Findings of one kind in one file are told up to a limit and then only counted, so that a ruined file
//! does not bury what is wrong elsewhere.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing, and in order.
    Note,
    /// Odd, but nothing is lost by it.
    Warning,
    /// Something is damaged, missing or contradicts something else.
    Fault,
}

impl Severity {
    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What a finding is about; programs tell findings apart by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingKind {
            $($(#[$doc])* $kind,)*
        }

        impl FindingKind {
            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A file that cannot be read.
    Unreadable = "unreadable",
    /// A file that does not belong where it lies.
    ForeignFile = "foreign-file",
    /// A file of another length than its neighbours.
    FileLength = "file-length",
    /// A file that is missing between two others, or that two folders have.
    FileGap = "file-gap",
    /// A spare file of zeros behind the log's end.
    SpareFile = "spare-file",
    /// The body of a record does not match its CRC.
    RecordCrc = "record-crc",
    /// A record says that it lies elsewhere.
    RecordPosition = "record-position",
    /// Bytes between sound records that are none.
    LogDamage = "log-damage",
    /// Bytes behind the last sound record.
    LogTail = "log-tail",
    /// A filler that does not reach to its file's end.
    BlankLength = "blank-length",
    /// Queue offsets that do not follow each other in the log.
    QueueOffsetGap = "queue-offset-gap",
    /// Records of a queue that has no entry for them.
    EntryMissing = "entry-missing",
    /// An entry that is not what its record asks for.
    EntryWrong = "entry-wrong",
    /// An entry for which there is no record.
    EntryWithoutRecord = "entry-without-record",
    /// An entry for a record behind the log's end.
    EntryBeyondLog = "entry-beyond-log",
    /// An unused slot between entries.
    QueueHole = "queue-hole",
    /// Old entries behind a queue's end.
    StaleEntries = "stale-entries",
    /// The time of delivery of a delayed message is not that of its level.
    DeliveryTime = "delivery-time",
    /// Records that no queue has, because their topic was deleted, or made again.
    ForgottenRecords = "forgotten-records",
    /// The queues are in a database.
    RocksDb = "rocksdb",
    /// A unit of a queue's extension does not hold.
    ExtUnit = "ext-unit",
    /// A unit of a batch queue does not hold.
    BatchUnit = "batch-unit",
    /// The header of an index file does not hold.
    IndexHeader = "index-header",
    /// A chain of an index file is broken.
    IndexChain = "index-chain",
    /// An index entry for which there is no record with that key.
    IndexEntry = "index-entry",
    /// A record whose key the index does not have.
    IndexMissing = "index-missing",
    /// The checkpoint does not fit its log, or is none.
    Checkpoint = "checkpoint",
    /// The file of the queues' ends is damaged.
    QueueEnds = "queue-ends",
    /// The last owner did not stop in order.
    AbruptStop = "abrupt-stop",
    /// A broker has the store open.
    InUse = "in-use",
    /// A file of metadata that cannot be read.
    ConfigBroken = "config-broken",
    /// Metadata about something that is not there.
    ConfigStale = "config-stale",
    /// An offset beyond the end of its queue.
    OffsetBeyondQueue = "offset-beyond-queue",
    /// The timer wheel does not have its length.
    TimerWheel = "timer-wheel",
    /// More findings of the same kind in the same file.
    More = "more",
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// The file, or folder.
    pub path: PathBuf,
    /// The byte in it, if it is one place.
    pub at: Option<u64>,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What a start of gantry does about it.
    pub at_start: &'static str,
}

impl Finding {
    /// A finding about a whole file.
    pub(crate) fn of(severity: Severity, kind: FindingKind, path: &Path) -> Self {
        let (expected, found) = (String::new(), String::new());
        Self { severity, kind, path: path.to_owned(), at: None, expected, found, at_start: "" }
    }

    pub(crate) fn at(self, at: u64) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(crate) fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), ..self }
    }

    pub(crate) fn found(self, found: impl Into<String>) -> Self {
        Self { found: found.into(), ..self }
    }

    pub(crate) fn at_start(self, at_start: &'static str) -> Self {
        Self { at_start, ..self }
    }
}

/// How many findings there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults.
    pub faults: u64,
    /// Warnings.
    pub warnings: u64,
    /// Notes.
    pub notes: u64,
}

/// Somebody who is told what an inspection finds, and how far it is.
pub trait Watch {
    /// Something was found.
    fn found(&mut self, finding: Finding);
    /// So many bytes will have to be read.
    fn expects(&mut self, _bytes: u64) {}
    /// So many more bytes have been read.
    fn advanced(&mut self, _bytes: u64) {}
}

/// Keeps all findings.
impl Watch for Vec<Finding> {
    fn found(&mut self, finding: Finding) {
        self.push(finding);
    }
}

/// Counts findings and passes on those within the limit.
pub(crate) struct Findings<'a> {
    watch: &'a mut dyn Watch,
    limit: u64,
    seen: HashMap<(FindingKind, PathBuf), u64>,
    tally: Tally,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(watch: &'a mut dyn Watch, limit: u64) -> Self {
        Self { watch, limit: limit.max(1), seen: HashMap::new(), tally: Tally::default() }
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Fault => self.tally.faults += 1,
            Severity::Warning => self.tally.warnings += 1,
            Severity::Note => self.tally.notes += 1,
        }
        let seen = self.seen.entry((finding.kind, finding.path.clone())).or_default();
        *seen += 1;
        if *seen <= self.limit {
            self.watch.found(finding);
        }
    }

    pub(crate) fn expects(&mut self, bytes: u64) {
        self.watch.expects(bytes);
    }

    pub(crate) fn advanced(&mut self, bytes: u64) {
        self.watch.advanced(bytes);
    }

    /// Tells how many were not told; all of them counted.
    pub(crate) fn finish(self) -> Tally {
        let mut rest: Vec<_> = self.seen.into_iter().filter(|(_, n)| *n > self.limit).collect();
        rest.sort_unstable();
        for ((kind, path), count) in rest {
            let found = format!("{} more of {}", count - self.limit, kind.name());
            self.watch.found(Finding::of(Severity::Note, FindingKind::More, &path).found(found));
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_of_one_kind_and_file_are_told_up_to_the_limit_and_all_counted() {
        let mut told = Vec::new();
        let mut findings = Findings::new(&mut told, 2);
        for at in 0..5 {
            let fault = Finding::of(Severity::Fault, FindingKind::EntryWrong, Path::new("/a"));
            findings.add(fault.at(at));
        }
        findings.add(Finding::of(Severity::Note, FindingKind::EntryWrong, Path::new("/b")));
        let tally = findings.finish();
        assert_eq!((tally.faults, tally.warnings, tally.notes), (5, 0, 1));
        assert_eq!(told.len(), 4);
        assert_eq!(told.last().unwrap().found, "3 more of entry-wrong");
    }

    #[test]
    fn severities_are_ordered_and_pad() {
        assert!(Severity::Note < Severity::Warning && Severity::Warning < Severity::Fault);
        assert_eq!(format!("{:<8}|", Severity::Fault), "fault   |");
    }
}
