//! Reading the log for an inspection: each record is looked at by itself, and handed to the queues and
//! the index to be compared with.
//!
//! Damage is remembered and told at the end, when it is known from where recovery would begin: what a
//! start makes of it depends on that.

use std::{ops::Range, path::Path};

use super::{
    LogEnd, LogItem, LogRecord, RowFile,
    expected::expected_entries,
    finding::{Finding, FindingKind, Findings, Severity},
    index_check::IndexCheck,
    queue_check::QueueCheck,
    state::Left,
};

/// What has been read of the log so far.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) records: u64,
    /// The newest store time.
    pub(super) last_time: Option<i64>,
    /// Stretches that are no records, with the store time of the record before.
    pub(super) damages: Vec<(Range<u64>, i64)>,
    /// Records with a wrong CRC, likewise.
    pub(super) wrong_crcs: Vec<(Range<u64>, i64)>,
    /// What is wrong with each damage.
    reasons: Vec<String>,
    /// Bytes that were not yet told as read.
    untold: u64,
}

impl Reading {
    /// The next thing in the log.
    pub(super) fn item(
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
        let expected = expected_entries(head, record.bytes, record.offset, &mut |entry| {
            queues.expect(&entry, findings);
        });
        if let Err(e) = expected {
            self.damages.push((range, before));
            self.reasons.push(e.to_string());
        } else if !record.is_crc_right {
            self.wrong_crcs.push((range, before));
        }
    }

    /// Where records cannot be relied on.
    pub(super) fn unsound(&self) -> Vec<Range<u64>> {
        self.damages.iter().chain(&self.wrong_crcs).map(|found| found.0.clone()).collect()
    }

    /// Damage is told once it is known where recovery would begin.
    pub(super) fn tell_damage(
        &self,
        files: &[RowFile],
        left: &Left,
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

/// Tells what lies behind the last record.
pub(super) fn tell_tail(
    files: &[RowFile],
    end: &LogEnd,
    is_clean: bool,
    findings: &mut Findings<'_>,
) {
    if let Some(tail) = &end.tail {
        let severity = if is_clean { Severity::Fault } else { Severity::Warning };
        findings.add(
            Finding::of(severity, FindingKind::LogTail, &tail.file.path)
                .at(tail.at)
                .expected(format!("zeros behind log offset {}, where the log ends", end.offset))
                .found(tail.why.clone())
                .at_start("cuts the log there"),
        );
        return;
    }
    for file in files.iter().skip(1).filter(|file| file.start >= end.offset) {
        let note = Finding::of(Severity::Note, FindingKind::SpareFile, &file.path);
        findings.add(note.found("zeros, made ahead of time").at_start("removes or uses it"));
    }
}
