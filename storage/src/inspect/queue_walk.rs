//! Going through one consume queue by itself: its order, its end, entries without a record, and what
//! lies behind its end.
//!
//! Brokers cut a queue by forgetting, not by clearing, so entries of a cut stretch may follow the true
//! ones; those are stale and not faults. A start cuts them off.

use std::io;

use super::{
    expected::expected_entries,
    finding::{FindingKind, Findings, Severity},
    log_scan::record_at,
    queue_check::{LogFacts, Queue},
    slots::slot_finding,
};
use crate::{
    consume_queue::{IndexEntry, entry::Slot},
    disk::Disk,
};

/// A start looks for stale entries no further back than this, and so do we beyond the end.
const STALE_SLOTS_MAX: u64 = 4096;

/// What is seen of a queue by going through it.
pub(super) struct Walk {
    /// One past the last used slot before the first unused one.
    pub(super) end: u64,
    /// Entries whose records should be in the log.
    pub(super) in_log: u64,
    pub(super) is_out_of_order: bool,
}

impl Walk {
    pub(super) fn new(first: u64) -> Self {
        Self { end: first, in_log: 0, is_out_of_order: false }
    }

    pub(super) fn run(
        &mut self,
        queue: &mut Queue<'_>,
        log: &LogFacts<'_>,
        findings: &mut Findings<'_>,
    ) -> io::Result<()> {
        let (mut last_end, mut beyond, mut told_blank) = (None, None, false);
        while self.end < queue.slots.last() {
            match queue.slot(self.end)? {
                Slot::Unused => break,
                Slot::PreBlank => {
                    if last_end.is_some() && !told_blank {
                        told_blank = true;
                        queue.mark_bad(self.end);
                        let (kind, slots) = (FindingKind::QueueHole, &queue.slots);
                        findings.add(
                            slot_finding(Severity::Fault, kind, slots, self.end)
                                .expected("an entry")
                                .found("a mark that the queue begins later")
                                .at_start("passes over it"),
                        );
                    }
                }
                Slot::Entry(entry) => {
                    self.is_out_of_order |= last_end.is_some_and(|end| entry.offset < end);
                    last_end = Some(entry.end());
                    self.in_log += u64::from((log.begin..log.end).contains(&entry.offset.0));
                    if entry.end().0 > log.end && beyond.is_none() {
                        beyond = Some((self.end, entry));
                    }
                }
            }
            self.end += 1;
        }
        if let Some((slot, entry)) = beyond {
            self.tell_beyond(queue, slot, &entry, log, findings);
        }
        Ok(())
    }

    fn tell_beyond(
        &self,
        queue: &mut Queue<'_>,
        slot: u64,
        entry: &IndexEntry,
        log: &LogFacts<'_>,
        findings: &mut Findings<'_>,
    ) {
        let severity = if log.is_clean { Severity::Fault } else { Severity::Warning };
        queue.mark_bad(slot);
        findings.add(
            slot_finding(severity, FindingKind::EntryBeyondLog, &queue.slots, slot)
                .expected(format!("log offsets before {}, where the log ends", log.end))
                .found(format!(
                    "{} bytes at log offset {}, and up to {} entries behind",
                    entry.size,
                    entry.offset,
                    self.end - slot - 1
                ))
                .at_start("cuts the queue there"),
        );
    }
}

/// Whether the log has the record that a slot of the queue is for.
fn is_entry_of(
    queue: &Queue<'_>,
    slot: u64,
    entry: &IndexEntry,
    disk: &dyn Disk,
    log: &LogFacts<'_>,
) -> io::Result<bool> {
    let Some((head, bytes)) = record_at(disk, log.files, entry.offset.0, entry.size)? else {
        return Ok(false);
    };
    let mut is_one = false;
    let decoded = expected_entries(&head, &bytes, entry.offset.0, &mut |expected| {
        is_one |=
            expected.slot == slot && expected.queue == queue.id && expected.topic == queue.topic;
    });
    Ok(decoded.is_ok() && is_one)
}

/// Compares every entry with the log, because some have no record there.
pub(super) fn compare_each(
    queue: &mut Queue<'_>,
    disk: &dyn Disk,
    log: &LogFacts<'_>,
    findings: &mut Findings<'_>,
) -> io::Result<()> {
    let mut bad = Vec::new();
    for slot in queue.slots.first()..queue.end {
        let Slot::Entry(entry) = queue.slot(slot)? else { continue };
        let is_in_log = entry.offset.0 >= log.begin && entry.end().0 <= log.end;
        if is_in_log && !is_entry_of(queue, slot, &entry, disk, log)? {
            if log.is_damaged(entry.offset.0) {
                queue.lost.push((slot, entry));
                tell_lost(queue, slot, &entry, findings);
            } else {
                bad.push((slot, entry));
            }
        }
    }
    // Bad ones at the end, one after the other, are stale.
    let mut stale_from = queue.end;
    while bad.pop_if(|(slot, _)| *slot + 1 == stale_from).is_some() {
        stale_from -= 1;
    }
    if stale_from < queue.end {
        tell_stale(queue, stale_from, queue.end - stale_from, findings);
        queue.end = stale_from;
    }
    for (slot, entry) in bad {
        queue.mark_bad(slot);
        findings.add(
            slot_finding(Severity::Fault, FindingKind::EntryWithoutRecord, &queue.slots, slot)
                .expected(format!("a record of this queue with queue offset {slot}"))
                .found(format!("{} bytes at log offset {}", entry.size, entry.offset))
                .at_start("takes it as it is"),
        );
    }
    Ok(())
}

fn tell_lost(queue: &Queue<'_>, slot: u64, entry: &IndexEntry, findings: &mut Findings<'_>) {
    findings.add(
        slot_finding(Severity::Fault, FindingKind::EntryWithoutRecord, &queue.slots, slot)
            .expected(format!("a record of this queue with queue offset {slot}"))
            .found(format!("damaged bytes at log offset {}", entry.offset))
            .at_start("takes it as it is"),
    );
}

fn tell_stale(queue: &mut Queue<'_>, first: u64, count: u64, findings: &mut Findings<'_>) {
    queue.mark_bad(first);
    findings.add(
        slot_finding(Severity::Warning, FindingKind::StaleEntries, &queue.slots, first)
            .expected("nothing behind the queue's end")
            .found(format!("{count} entries from before the queue was cut"))
            .at_start("cuts them off"),
    );
}

/// What lies behind the first unused slot.
pub(super) fn look_behind(
    queue: &mut Queue<'_>,
    disk: &dyn Disk,
    log: &LogFacts<'_>,
    sweeps: bool,
    findings: &mut Findings<'_>,
) -> io::Result<()> {
    let last = queue.slots.last();
    let limit = if sweeps { last } else { last.min(queue.end.saturating_add(STALE_SLOTS_MAX)) };
    let (mut stale_from, mut stale) = (None, 0);
    let mut slot = queue.end;
    // Entries that were found to be stale above are told already.
    while slot < limit && queue.slot(slot)? != Slot::Unused {
        slot += 1;
    }
    for slot in slot..limit {
        let Slot::Entry(entry) = queue.slot(slot)? else { continue };
        if is_entry_of(queue, slot, &entry, disk, log)? {
            let end = queue.end;
            queue.mark_bad(end);
            findings.add(
                slot_finding(Severity::Fault, FindingKind::QueueHole, &queue.slots, end)
                    .expected(format!("entries up to {slot}, which has one"))
                    .found(format!("{} unused slots", slot - end))
                    .at_start("ends the queue there or behind, with a hole in it"),
            );
            return Ok(());
        }
        stale_from = stale_from.or(Some(slot));
        stale += 1;
    }
    if let Some(first) = stale_from {
        tell_stale(queue, first, stale, findings);
    }
    Ok(())
}
