//! The store's `checkpoint` file: up to when, and up to where, everything is on disk.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | `physicMsgTimestamp`: store time of the last flushed record |
//! | 8 | 8 | `logicsMsgTimestamp`: store time of the last record in a flushed consume queue |
//! | 16 | 8 | `indexMsgTimestamp`: end time of the last full index file |
//! | 24 | 8 | `masterFlushedOffset` |
//! | 32 | 8 | `confirmPhyOffset` |
//! | 40 | 8 | log offset before which all queues have all their entries on disk |
//! | 48 | 8 | where the last record before it starts; -1 if nobody knows |
//! | 56 | 4 | CRC-32 of the bytes before |
//! | 60 | 4 | zeros |
//! | 64 | 8 | the last index file, as the number that its name is |
//! | 72 | 4 | number of the entry behind the last one on disk in there |
//! | 76 | 4 | 1 if what lies behind must not be relied on, else 0 |
//! | 80 | 8 | log offset before which everything has its index entries on disk |
//! | 88 | 4 | CRC-32 of the bytes 0 to 39 and 64 to 87 |
//! | 92 | 4004 | zeros |
//!
//! The first five are the Java broker's (store.md 2.6), which leaves the rest as it finds it. With
//! times alone a recovery can begin no later than at a file's start; the offset lets it begin where
//! work had got to, and the record before it shows whether this is the checkpoint of this log. The CRC
//! covers the times as well, so the offset stops counting when a Java broker has worked on the store
//! and moved them; likewise that of the index.

use crate::{index::IndexPoint, offset::PhysicalOffset};

/// Bytes of the file.
const FILE_BYTES: usize = 4096;
/// Bytes that the CRC covers.
const CHECKED_BYTES: usize = 56;
/// In place of the last record.
const NOBODY_KNOWS: u64 = u64::MAX;
/// Bytes of Java's fields.
const JAVA_BYTES: usize = 40;
/// Where the index's point stands, and its bytes without the CRC.
const INDEX_AT: usize = 64;
const INDEX_BYTES: usize = 24;
/// Store times are trusted up to this long before what the file says.
const SAFETY_MS: i64 = 3000;

/// See the module's text. Times are in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) physic_msg_timestamp: i64,
    pub(crate) logics_msg_timestamp: i64,
    pub(crate) index_msg_timestamp: i64,
    pub(crate) master_flushed_offset: i64,
    pub(crate) confirm_phy_offset: i64,
    /// `None` if the file is not ours.
    pub(crate) dispatched: Option<DispatchMark>,
    /// Likewise.
    pub(crate) index: Option<IndexPoint>,
}

/// How far the log has been dispatched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DispatchMark {
    /// Every queue has its entries for the records before.
    pub end: PhysicalOffset,
    /// Where the last of those records starts, if one was read.
    pub last_record: Option<PhysicalOffset>,
}

impl Checkpoint {
    /// Reads the file; one that is missing or too short says nothing.
    pub(crate) fn decode(file: &[u8]) -> Self {
        let number = |at| Some(u64::from_be_bytes(*file.get(at..)?.first_chunk()?));
        let signed = |at| number(at).unwrap_or(0) as i64;
        let checked = file.get(..CHECKED_BYTES).map(crc32fast::hash);
        let stored = file.get(CHECKED_BYTES..).and_then(<[u8]>::first_chunk);
        let is_ours = stored.is_some() && checked == stored.map(|crc| u32::from_be_bytes(*crc));
        Self {
            physic_msg_timestamp: signed(0),
            logics_msg_timestamp: signed(8),
            index_msg_timestamp: signed(16),
            master_flushed_offset: signed(24),
            confirm_phy_offset: signed(32),
            dispatched: number(40).filter(|_| is_ours).map(|end| DispatchMark {
                end: PhysicalOffset(end),
                last_record: number(48).filter(|last| *last != NOBODY_KNOWS).map(PhysicalOffset),
            }),
            index: decode_index(file, signed(16)),
        }
    }

    /// The file's content.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(FILE_BYTES);
        for number in [
            self.physic_msg_timestamp,
            self.logics_msg_timestamp,
            self.index_msg_timestamp,
            self.master_flushed_offset,
            self.confirm_phy_offset,
        ] {
            file.extend_from_slice(&number.to_be_bytes());
        }
        if let Some(dispatched) = self.dispatched {
            let last = dispatched.last_record.map_or(NOBODY_KNOWS, |last| last.0);
            file.extend_from_slice(&dispatched.end.0.to_be_bytes());
            file.extend_from_slice(&last.to_be_bytes());
            file.extend_from_slice(&crc32fast::hash(&file).to_be_bytes());
        }
        if let Some(point) = &self.index {
            file.resize(INDEX_AT, 0);
            file.extend_from_slice(&point.file.to_be_bytes());
            file.extend_from_slice(&point.next_entry.to_be_bytes());
            file.extend_from_slice(&u32::from(point.suspect).to_be_bytes());
            file.extend_from_slice(&point.position.0.to_be_bytes());
            file.extend_from_slice(&index_crc(&file).unwrap_or(0).to_be_bytes());
        }
        file.resize(FILE_BYTES, 0);
        file
    }

    /// Records stored until then are on disk.
    pub(crate) fn flushed_until(&self) -> i64 {
        self.physic_msg_timestamp.saturating_sub(SAFETY_MS).max(0)
    }

    /// Records stored until then are on disk, and in their queues on disk.
    pub(crate) fn min_timestamp(&self) -> i64 {
        let min = self.physic_msg_timestamp.min(self.logics_msg_timestamp);
        min.saturating_sub(SAFETY_MS).max(0)
    }
}

fn index_crc(file: &[u8]) -> Option<u32> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(file.get(..JAVA_BYTES)?);
    crc.update(file.get(INDEX_AT..INDEX_AT + INDEX_BYTES)?);
    Some(crc.finalize())
}

fn decode_index(file: &[u8], end_timestamp: i64) -> Option<IndexPoint> {
    let long = |at| Some(u64::from_be_bytes(*file.get(at..)?.first_chunk()?));
    let int = |at| Some(u32::from_be_bytes(*file.get(at..)?.first_chunk()?));
    let point = IndexPoint {
        file: long(64)?,
        next_entry: int(72)?,
        suspect: int(76)? != 0,
        position: PhysicalOffset(long(80)?),
        end_timestamp,
    };
    (int(88) == index_crc(file)).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            physic_msg_timestamp: 10_000,
            logics_msg_timestamp: 9_000,
            index_msg_timestamp: 3,
            master_flushed_offset: 4,
            confirm_phy_offset: 5,
            dispatched: Some(DispatchMark { end: PhysicalOffset(6), last_record: None }),
            index: Some(IndexPoint {
                file: 7,
                next_entry: 8,
                position: PhysicalOffset(9),
                end_timestamp: 3,
                suspect: true,
            }),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let file = checkpoint().encode();
        assert_eq!(file.len(), 4096);
        assert_eq!(file[..8], 10_000i64.to_be_bytes());
        assert_eq!(file[32..48], [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6]);
        assert_eq!(
            file[64..88],
            [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]
        );
        assert_eq!(Checkpoint::decode(&file), checkpoint());
        let mark = DispatchMark { end: PhysicalOffset(6), last_record: Some(PhysicalOffset(2)) };
        let with_record = Checkpoint { dispatched: Some(mark), ..checkpoint() };
        assert_eq!(Checkpoint::decode(&with_record.encode()), with_record);
    }

    #[test]
    fn the_index_has_a_crc_of_its_own() {
        for at in [40, 48] {
            let mut file = checkpoint().encode();
            file[at] ^= 1;
            assert_eq!(Checkpoint::decode(&file).index, checkpoint().index, "{at}");
        }
        for at in [0, 23, 39, 64, 75, 79, 87, 88] {
            let mut file = checkpoint().encode();
            file[at] ^= 1;
            assert_eq!(Checkpoint::decode(&file).index, None, "{at}");
        }
        let alone = Checkpoint { dispatched: None, ..checkpoint() };
        assert_eq!(Checkpoint::decode(&alone.encode()), alone);
    }

    #[test]
    fn the_offset_stops_counting_when_another_broker_moved_the_times() {
        let mut file = checkpoint().encode();
        file[7] += 1;
        let decoded = Checkpoint::decode(&file);
        assert_eq!(decoded.dispatched, None);
        assert_eq!(decoded.physic_msg_timestamp, 10_001);
    }

    #[test]
    fn files_that_say_nothing() {
        for file in [&[][..], &[0; 39], &[0; 4096]] {
            assert_eq!(Checkpoint::decode(file), Checkpoint::default());
        }
        let foreign = Checkpoint { dispatched: None, index: None, ..checkpoint() };
        assert_eq!(Checkpoint::decode(&foreign.encode()[..40]), foreign);
    }

    #[test]
    fn the_minimum_keeps_a_distance_and_is_not_negative() {
        assert_eq!(checkpoint().min_timestamp(), 6_000);
        assert_eq!(Checkpoint::default().min_timestamp(), 0);
    }
}
