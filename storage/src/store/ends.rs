//! The file `queue-ends`: how far each queue reached when the store was left in order.
//!
//! | size | field |
//! |---|---|
//! | 8 | magic and version |
//! | 8 | one past the last offset of the log |
//! | 4 | number of topics |
//! | per topic: 2, n, 4 | length and bytes of its name, number of its queues |
//! | per queue: 4, 8, 8, 8 | number, first offset, one past the last, where the log began then |
//! | 4 | CRC-32 of all before |
//!
//! Entries are lower limits of what a queue must have: it is enough that the file is of an earlier
//! life. It tells a queue whose files were lost from one that was never written, which the folders
//! alone cannot. It is trusted only together with a checkpoint of ours: a Java broker that worked on
//! the store since may have deleted topics.

use std::{path::Path, sync::Arc};

use super::queue_set::QueueName;
use crate::{
    disk::Disk,
    offset::{PhysicalOffset, QueueId, QueueOffset},
};

/// `GTRYQE` and version 1.
const MAGIC: u64 = u64::from_be_bytes(*b"GTRYQE\0\x01");

/// What is known of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Its first offset.
    pub(super) min: QueueOffset,
    /// One past its last offset.
    pub(super) max: QueueOffset,
    /// Where the log began then.
    pub(super) log_min: PhysicalOffset,
}

/// The queues' ends.
pub(super) type EndsTable = Vec<(QueueName, Ends)>;

/// The file's bytes, for a log that ends there. Queues of one topic must be neighbours.
pub(super) fn encode(table: &EndsTable, log_end: PhysicalOffset) -> Vec<u8> {
    let mut file = Vec::with_capacity(24 + table.len() * 40);
    file.extend_from_slice(&MAGIC.to_be_bytes());
    file.extend_from_slice(&log_end.0.to_be_bytes());
    let topics: Vec<_> = table.chunk_by(|a, b| a.0.topic == b.0.topic).collect();
    file.extend_from_slice(&(topics.len() as u32).to_be_bytes());
    for queues in topics {
        let name = queues.first().map_or("", |(name, _)| &*name.topic);
        file.extend_from_slice(&(name.len() as u16).to_be_bytes());
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(&(queues.len() as u32).to_be_bytes());
        for (name, ends) in queues {
            file.extend_from_slice(&name.queue.0.to_be_bytes());
            file.extend_from_slice(&ends.min.0.to_be_bytes());
            file.extend_from_slice(&ends.max.0.to_be_bytes());
            file.extend_from_slice(&ends.log_min.0.to_be_bytes());
        }
    }
    file.extend_from_slice(&crc32fast::hash(&file).to_be_bytes());
    file
}

/// Reads the file; `None` if it says nothing: it is damaged, or of a log that reached beyond `limit`.
pub(super) fn decode(file: &[u8], limit: PhysicalOffset) -> Option<EndsTable> {
    read(file).filter(|(log_end, _)| *log_end <= limit).map(|(_, table)| table)
}

fn read(file: &[u8]) -> Option<(PhysicalOffset, EndsTable)> {
    let (content, crc) = file.split_last_chunk()?;
    if crc32fast::hash(content) != u32::from_be_bytes(*crc) {
        return None;
    }
    let mut rest = content;
    if u64::from_be_bytes(take(&mut rest)?) != MAGIC {
        return None;
    }
    let log_end = PhysicalOffset(u64::from_be_bytes(take(&mut rest)?));
    let mut table = EndsTable::new();
    for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
        let len = u16::from_be_bytes(take(&mut rest)?);
        let (name, behind) = rest.split_at_checked(len.into())?;
        rest = behind;
        let topic: Arc<str> = std::str::from_utf8(name).ok()?.into();
        for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
            let queue = QueueId(u32::from_be_bytes(take(&mut rest)?));
            let min = QueueOffset(u64::from_be_bytes(take(&mut rest)?));
            let max = QueueOffset(u64::from_be_bytes(take(&mut rest)?));
            let log_min = PhysicalOffset(u64::from_be_bytes(take(&mut rest)?));
            table.push((QueueName { topic: topic.clone(), queue }, Ends { min, max, log_min }));
        }
    }
    Some((log_end, table))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

/// Where the file lies below the store's root.
pub(crate) fn path(root: &Path) -> std::path::PathBuf {
    root.join("queue-ends")
}

/// Whether the file is whole; `None` without one.
pub(crate) fn is_sound(disk: &dyn Disk, root: &Path) -> std::io::Result<Option<bool>> {
    Ok(disk.read(&path(root))?.map(|file| read(&file).is_some()))
}

/// The table in the file, empty without one; `None` if the file says nothing. Such a file has to be
/// written again before the next checkpoint: once the log has grown beyond the end that it names, it
/// would be believed, and topics that were deleted since would come back.
pub(super) fn load(
    disk: &dyn Disk,
    root: &Path,
    limit: PhysicalOffset,
) -> std::io::Result<Option<EndsTable>> {
    let file = disk.read(&path(root))?;
    Ok(file.map_or_else(|| Some(EndsTable::new()), |file| decode(&file, limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG_END: PhysicalOffset = PhysicalOffset(100);

    fn table() -> EndsTable {
        let entry = |topic: &str, queue, min, max| {
            let name = QueueName { topic: topic.into(), queue: QueueId(queue) };
            let (min, max, log_min) = (QueueOffset(min), QueueOffset(max), PhysicalOffset(min * 7));
            (name, Ends { min, max, log_min })
        };
        vec![entry("a", 0, 0, 5), entry("a", 7, 3, 9), entry("", 1, 0, 0), entry("ü", 0, 1, 2)]
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        assert_eq!(decode(&encode(&table(), LOG_END), LOG_END), Some(table()));
        assert_eq!(decode(&encode(&EndsTable::new(), LOG_END), LOG_END), Some(Vec::new()));
    }

    #[test]
    fn of_a_log_that_has_been_cut_since_it_says_nothing() {
        assert_eq!(decode(&encode(&table(), LOG_END), PhysicalOffset(99)), None);
    }

    #[test]
    fn a_damaged_file_says_nothing() {
        let file = encode(&table(), LOG_END);
        for cut in 0..file.len() {
            assert_eq!(decode(&file[..cut], LOG_END), None, "cut at {cut}");
            let mut damaged = file.clone();
            damaged[cut] ^= 4;
            assert_eq!(decode(&damaged, LOG_END), None, "damaged at {cut}");
        }
    }
}
