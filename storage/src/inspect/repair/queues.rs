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

/// Bytes of a queue's file if no queue has one: Java's default.
const FILE_BYTES: u64 = 6_000_000;

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
    if wrong.is_empty() {
        return Ok(());
    }
    let dir = root.join("consumequeue");
    let config = ConsumeQueueConfig::new(dir, file_bytes(&**disk, root));
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
    for ((topic, id), need) in &mut needs {
        if let Some((last, next)) = need.gap {
            let (topic, queue) = (topic.clone(), *id);
            return Err(RepairError::Gap { topic, queue, last, next });
        }
        cut(&**disk, &config, topic, *id, need, log)?;
        let end = PhysicalOffset(u64::MAX);
        let begin = PhysicalOffset(log.first().map_or(0, |file| file.start));
        need.queue =
            Some(ConsumeQueue::open(disk.clone(), &config, topic, QueueId(*id), (begin, end))?);
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
    Ok(())
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

/// Cuts a queue at its first wrong entry; removes it if what would be left is of no use.
fn cut(
    disk: &dyn Disk,
    config: &ConsumeQueueConfig,
    topic: &str,
    id: u32,
    need: &mut Needs,
    log: &[RowFile],
) -> Result<(), RepairError> {
    let dir = config.queue_dir(topic, QueueId(id));
    let listed = QueueFiles::list(disk, config, &dir);
    if let (Err(e), None) = (&listed, need.first) {
        // Its place in the world is all that such a queue has.
        return Err(RepairError::Io {
            path: dir.display().to_string(),
            error: std::io::Error::other(e.to_string()),
        });
    }
    let begin = log.first().map_or(0, |file| file.start);
    let keeps = match (listed, need.first) {
        (Err(_), _) => false,
        (Ok(mut files), first) => {
            let from = QueueOffset(need.from).max(files.first());
            let last = if from > files.first() {
                files.slot(QueueOffset(from.0 - 1))?.entry()
            } else {
                None
            };
            let is_used = last.is_some_and(|entry| entry.offset.0 >= begin);
            let continues = first.is_none_or(|first| first == from.0);
            let keeps = continues || is_used;
            if keeps {
                files.clear_from(from)?;
            }
            keeps && (from > files.first() || first.is_none())
        }
    };
    if !keeps {
        disk.remove_dir(&dir).map_err(io_error(&dir))?;
    }
    Ok(())
}

/// The length that most files of queues have.
fn file_bytes(disk: &dyn Disk, root: &Path) -> u64 {
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
    match usual_len(&files) {
        0 => FILE_BYTES,
        len => len,
    }
}
