//! Queues written anew from the log, from their first wrong entry on.
//!
//! Two passes over the log: the first sees whether the log has all that a queue needs, before anything
//! is cut; the second writes. A queue that was deleted and made again has several lives in the log; the
//! last one counts. What a queue has before the first wrong entry stays, unless all of that is gone from
//! the log and a gap would follow: then it begins with the first record that is there.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, sync::Arc};

use super::{
    super::{
        expected::expected_entries,
        finding::Findings,
        log_files::{RowFile, row_files, usual_len},
        log_scan::{LogItem, scan_log},
    },
    RepairError, io_error,
};
use crate::{
    consume_queue::{ConsumeQueue, ConsumeQueueConfig, IndexEntry, files::QueueFiles},
    disk::Disk,
    offset::{PhysicalOffset, QueueId, QueueOffset},
};

/// What the log has for a queue.
struct Needs {
    /// The first entry to write.
    from: u64,
    /// Where the queue's last life begins in the log.
    life_from: u64,
    /// The first entry from `from` on that the log has.
    first: Option<u64>,
    next: u64,
    gap: Option<(u64, u64)>,
    queue: Option<ConsumeQueue>,
}

impl Needs {
    fn see(&mut self, slot: u64, offset: u64) {
        if slot < self.next {
            (self.life_from, self.first, self.gap) = (offset, None, None);
        }
        if slot >= self.from {
            let gap = self.first.is_some() && slot != self.next;
            self.gap = self.gap.or(gap.then(|| (self.next.saturating_sub(1), slot)));
            self.first = self.first.or(Some(slot));
        }
        self.next = slot + 1;
    }
}

/// Writes these queues anew: topic, queue, first wrong entry.
pub(super) fn rewrite(
    disk: &Arc<dyn Disk>,
    root: &Path,
    log: &[RowFile],
    wrong: &[(String, u32, u64)],
) -> Result<(), RepairError> {
    let Some(file_bytes) = file_bytes(&**disk, root).filter(|_| !wrong.is_empty()) else {
        return Ok(());
    };
    let config = ConsumeQueueConfig::new(root.join("consumequeue"), file_bytes);
    let mut needs: BTreeMap<(String, u32), Needs> = BTreeMap::new();
    for (topic, queue, from) in wrong {
        let (first, gap, queue_) = (None, None, None);
        let need = Needs { from: *from, life_from: 0, first, next: 0, gap, queue: queue_ };
        needs.insert((topic.clone(), *queue), need);
    }
    each_entry(&**disk, log, &mut needs, &mut |need, slot, entry| {
        need.see(slot, entry.offset.0);
        Ok(())
    })?;
    let begin = PhysicalOffset(log.first().map_or(0, |file| file.start));
    // One that cannot be written must not keep the others from it.
    let mut failed = None;
    let mut keeps = BTreeMap::new();
    for ((topic, id), need) in &needs {
        match judge(&**disk, &config, topic, *id, need, begin) {
            Ok(keep) => drop(keeps.insert((topic.clone(), *id), keep)),
            Err(e) => failed = failed.or(Some(e)),
        }
    }
    needs.retain(|key, _| keeps.contains_key(key));
    for ((topic, id), need) in &mut needs {
        let dir = config.queue_dir(topic, QueueId(*id));
        if keeps.get(&(topic.clone(), *id)) == Some(&Keep::Beginning) {
            QueueFiles::list(&**disk, &config, &dir)?.clear_from(QueueOffset(need.from))?;
        } else {
            disk.remove_dir(&dir).map_err(io_error(&dir))?;
        }
        let within = (begin, PhysicalOffset(u64::MAX));
        need.queue = Some(ConsumeQueue::open(disk.clone(), &config, topic, QueueId(*id), within)?);
    }
    each_entry(&**disk, log, &mut needs, &mut |need, slot, entry| {
        if entry.offset.0 >= need.life_from
            && slot >= need.from
            && let Some(queue) = &mut need.queue
        {
            queue.append(QueueOffset(slot), &[*entry])?;
        }
        Ok(())
    })?;
    for need in needs.values_mut() {
        if let Some(queue) = &mut need.queue {
            queue.flush()?;
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Gives `f` what the log has for the queues in question, in order.
fn each_entry(
    disk: &dyn Disk,
    log: &[RowFile],
    needs: &mut BTreeMap<(String, u32), Needs>,
    f: &mut dyn FnMut(&mut Needs, u64, &IndexEntry) -> Result<(), RepairError>,
) -> Result<(), RepairError> {
    let mut failed = None;
    scan_log(disk, log, 0, &mut |item| {
        let LogItem::Record(record) = item else { return ControlFlow::Continue(()) };
        // A record whose texts are none is damage, and in no queue.
        let _ = expected_entries(&record.head, record.bytes, record.offset, &mut |expected| {
            let key = (expected.topic.to_owned(), expected.queue);
            if let Some(need) = needs.get_mut(&key)
                && failed.is_none()
            {
                failed = f(need, expected.slot, &expected.entry).err();
            }
        });
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    failed.map_or(Ok(()), Err)
}

/// What is left of a queue before it is written on.
#[derive(PartialEq, Eq)]
enum Keep {
    /// What it has before its first wrong entry.
    Beginning,
    Nothing,
}

/// What can be kept of a queue, so that what the log has continues it.
fn judge(
    disk: &dyn Disk,
    config: &ConsumeQueueConfig,
    topic: &str,
    id: u32,
    need: &Needs,
    begin: PhysicalOffset,
) -> Result<Keep, RepairError> {
    let gap = |(last, next)| RepairError::Gap { topic: topic.to_owned(), queue: id, last, next };
    if let Some(found) = need.gap {
        return Err(gap(found));
    }
    let dir = config.queue_dir(topic, QueueId(id));
    // The place where it ends is all that a queue without records has, and it must not be lost.
    let files = match (QueueFiles::list(disk, config, &dir), need.first) {
        (Ok(files), _) => files,
        (Err(_), Some(_)) => return Ok(Keep::Nothing),
        (Err(e), None) => return Err(e.into()),
    };
    let (from, first) = (QueueOffset(need.from), files.first());
    if from <= first {
        return Ok(if need.first.is_none() { Keep::Beginning } else { Keep::Nothing });
    }
    match need.first {
        None => Ok(Keep::Beginning),
        Some(next) if next == from.0 => Ok(Keep::Beginning),
        Some(next) => {
            let last = QueueOffset(from.0 - 1);
            let is_in_log = files.slot(last)?.entry().is_some_and(|entry| entry.offset >= begin);
            if is_in_log { Err(gap((last.0, next))) } else { Ok(Keep::Nothing) }
        }
    }
}

/// The length that most files of queues have; `None` if there is no file.
pub(super) fn file_bytes(disk: &dyn Disk, root: &Path) -> Option<u64> {
    let dir = root.join("consumequeue");
    let mut nobody = Vec::new();
    let mut findings = Findings::new(&mut nobody, 1);
    let mut files = Vec::new();
    for (topic, _) in disk.list(&dir).unwrap_or_default() {
        for (queue, len) in disk.list(&dir.join(&topic)).unwrap_or_default() {
            if len.is_none() {
                files.extend(row_files(disk, &dir.join(&topic).join(queue), "", &mut findings));
            }
        }
    }
    Some(usual_len(&files)).filter(|len| *len > 0)
}
