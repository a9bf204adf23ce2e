//! How findings, records, sizes and times read.
//!
//! What a client sent is shown without control characters, so that no message can pass for a line of
//! ours or move the cursor.

use std::{fmt::Write, path::Path, time::Duration};

use gantry_storage::inspect::{Finding, Summary};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// RFC 3339 in UTC, to the millisecond.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A stored time; as it is if it is none of the calendar's.
pub(super) fn time(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    time.and_then(|time| time.format(TIME).ok()).unwrap_or_else(|| ms.to_string())
}

/// A path below the store without the store's own.
pub(super) fn short<'a>(root: &Path, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(root).ok().filter(|rest| *rest != Path::new("")).unwrap_or(path).display()
}

/// Text without control characters.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// A finding in three lines: how bad, what and where; what was expected and found; what a start does.
pub(super) fn finding(root: &Path, finding: &Finding) -> String {
    let mut text = format!(
        "{:<8} {:<20} {}",
        finding.severity,
        finding.kind.name(),
        short(root, &finding.path)
    );
    if let Some(at) = finding.at {
        let _ = write!(text, ":{at}");
    }
    text.push('\n');
    if !finding.expected.is_empty() {
        let _ = writeln!(text, "         expected  {}", clean(&finding.expected));
    }
    if !finding.found.is_empty() {
        let _ = writeln!(text, "         found     {}", clean(&finding.found));
    }
    if !finding.at_start.is_empty() {
        let _ = writeln!(text, "         a start   {}", finding.at_start);
    }
    text
}

/// A finding as a JSON object.
pub(super) fn finding_json(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.name(),
        "kind": finding.kind.name(),
        "file": finding.path.to_string_lossy(),
        "at": finding.at,
        "expected": finding.expected,
        "found": finding.found,
        "atStart": finding.at_start,
    })
}

/// What was looked at and how much was found, in two lines.
pub(super) fn summary(summary: &Summary, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let tally = summary.tally;
    format!(
        "{} in {} of log ({} to {}), {} with {}, {} with {}, {}\n{}, {}, {} in {seconds:.1} s ({}/s, {:.0} records/s)\n",
        count(summary.records, "record", "records"),
        count(summary.log_files, "file", "files"),
        summary.log_begin,
        summary.log_end,
        count(summary.queues, "queue", "queues"),
        count(summary.entries, "entry", "entries"),
        count(summary.index_files, "index file", "index files"),
        count(summary.index_entries, "key", "keys"),
        count(summary.config_files, "file of metadata", "files of metadata"),
        count(tally.faults, "fault", "faults"),
        count(tally.warnings, "warning", "warnings"),
        count(tally.notes, "note", "notes"),
        bytes(summary.log_bytes as f64 / seconds),
        summary.records as f64 / seconds,
    )
}

/// The same as a JSON object.
pub(super) fn summary_json(summary: &Summary, took: Duration) -> Value {
    let tally = summary.tally;
    json!({"summary": {
        "faults": tally.faults,
        "warnings": tally.warnings,
        "notes": tally.notes,
        "logFiles": summary.log_files,
        "logBytes": summary.log_bytes,
        "logBegin": summary.log_begin,
        "logEnd": summary.log_end,
        "records": summary.records,
        "queues": summary.queues,
        "entries": summary.entries,
        "sideUnits": summary.side_units,
        "indexFiles": summary.index_files,
        "indexEntries": summary.index_entries,
        "configFiles": summary.config_files,
        "dispatchFrom": summary.dispatch_from,
        "seconds": took.as_secs_f64(),
    }})
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A number of bytes, to three digits.
pub(super) fn bytes(n: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let unit = UNITS.iter().enumerate().rev().find(|(i, _)| n >= 1000f64.powi(*i as i32));
    let (power, unit) = unit.unwrap_or((0, &"B"));
    let scaled = n / 1000f64.powi(power as i32);
    if power > 0 && scaled < 10.0 {
        format!("{scaled:.1} {unit}")
    } else {
        format!("{scaled:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_short() {
        let sizes = [0.0, 999.0, 1000.0, 12_345.0, 1.5e9, 2e13].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 KB", "12 KB", "1.5 GB", "20 TB"]);
    }

    #[test]
    fn times_are_utc_and_odd_ones_are_numbers() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(clean("a\u{1b}[2Jb\nc 钥"), "a\\u{1b}[2Jb\\nc 钥");
    }

    #[test]
    fn paths_lose_the_store_and_no_more() {
        let root = Path::new("/s");
        assert_eq!(short(root, Path::new("/s/commitlog/0")).to_string(), "commitlog/0");
        assert_eq!(short(root, Path::new("/other/0")).to_string(), "/other/0");
        assert_eq!(short(root, Path::new("/s")).to_string(), "/s");
    }
}
