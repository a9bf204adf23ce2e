//! The code of an entry against its record: the hash of the tag, a time of delivery, or the address of a
//! unit of the queue's extension, which has to say the same and when the message was stored.

use super::{
    expected::ExpectedEntry,
    finding::{FindingKind, Findings, Severity},
    queue_check::Queue,
    slots::slot_finding,
};
use crate::{consume_queue::ext, disk::Disk};

/// What becomes of an entry with a wrong code.
const MISSES: &str = "takes it as it is, so that filters miss the message";
/// What becomes of an entry of which the code cannot be known.
const PASSES: &str = "takes it as it is, or writes the queue anew if it is the last: its message passes every filter";

impl Queue<'_> {
    /// The code of an entry is not the one of its record: a time of delivery by another table of delays,
    /// the address of a unit that has to have it, or wrong.
    pub(super) fn check_code(
        &mut self,
        disk: &dyn Disk,
        expected: &ExpectedEntry<'_>,
        code: i64,
        findings: &mut Findings<'_>,
    ) {
        let Some(at) = ext::position(code) else {
            if !self.is_code_of(expected, code) {
                self.add_wrong(expected, code.to_string(), MISSES, findings);
            }
            return;
        };
        match ext::look(disk, &self.ext_dir, at) {
            Ok(Some((unit, _))) if !self.is_code_of(expected, unit.tags_code) => {
                let found = format!("{} in the unit at byte {at} of its extension", unit.tags_code);
                self.add_wrong(expected, found, MISSES, findings);
            }
            Ok(Some((unit, _))) if unit.store_timestamp != expected.stored => {
                let (slots, slot) = (&self.slots, expected.slot);
                let note = slot_finding(Severity::Warning, FindingKind::ExtUnit, slots, slot);
                let found = format!("{} in the unit at byte {at}", unit.store_timestamp);
                let wanted = format!("store time {}", expected.stored);
                findings.add(note.expected(wanted).found(found).at_start("leaves it so"));
            }
            Ok(Some(_)) => {}
            Ok(None) => {
                let found = format!("the address of byte {at} of its extension, where no unit is");
                self.add_wrong(expected, found, PASSES, findings);
            }
            // Told when the extensions are gone through.
            Err(_) => {}
        }
    }

    /// Whether a code is the one of a record, noting one by another table of delays.
    fn is_code_of(&mut self, expected: &ExpectedEntry<'_>, code: i64) -> bool {
        let since = expected.stored;
        let is_delay = expected.is_delayed && code >= since && code - since < 1 << 36;
        let is_same = code == expected.entry.tags_code;
        self.other_delays += u64::from(is_delay && !is_same);
        is_same || is_delay
    }

    fn add_wrong(
        &mut self,
        expected: &ExpectedEntry<'_>,
        found: String,
        at_start: &'static str,
        findings: &mut Findings<'_>,
    ) {
        self.mark_bad(expected.slot);
        findings.add(
            slot_finding(Severity::Fault, FindingKind::EntryWrong, &self.slots, expected.slot)
                .expected(format!("tag code {}", expected.entry.tags_code))
                .found(found)
                .at_start(at_start),
        );
    }
}
