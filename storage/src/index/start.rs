//! What an index that is found is worth: the decision, apart from the files.
//!
//! | the store was left | the checkpoint's point | files | indexing goes on from |
//! |---|---|---|---|
//! | in order | ours, of the last file as it is | stay as they are | the point's place in the log |
//! | in order | another's, none, or of other files | stay as they are | the last record that they have |
//! | abruptly, or the point is suspect | ours, its file is there with its entries | later ones are removed, its own is cut back to it | the point's place |
//! | abruptly | another's, none, or of other files | those from the first on whose end is later than `indexMsgTimestamp` are removed, the last one that stays is made from its entries | the last record that they have |
//! | any | any | none there | the log's beginning, or the point's place if it says that there were none |
//!
//! Then, whatever was decided, entries of records at or behind the log's end are cut off, and indexing
//! goes on from that end at the latest.
//!
//! Cutting a file makes its slots and links from its entries: pages reach the disk in any order, and a
//! slot that leads beyond the entries hides those before. By the times, which is Java's rule, what stays
//! are files that were full or that an orderly stop has left.

use super::{IndexEvidence, IndexPoint};
use crate::offset::PhysicalOffset;

/// A file as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The number that its name is.
    pub(super) number: u64,
    /// Number of its next entry.
    pub(super) next_entry: u32,
    /// Store time of its last entry, ms.
    pub(super) end_timestamp: i64,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// So many files stay, the oldest ones.
    pub(super) keep: usize,
    /// The last of them is cut back to the entries before this.
    pub(super) cut: Option<u32>,
    /// Where indexing goes on; `None` is the last record that the files have.
    pub(super) from: Option<PhysicalOffset>,
}

/// See the module's text. `found` is in order.
pub(super) fn decide(evidence: &IndexEvidence, found: &[Found]) -> Plan {
    let point = evidence.point.filter(|point| names_a_file(point, found));
    let is_orderly = evidence.clean && !evidence.point.is_some_and(|point| point.suspect);
    match (is_orderly, point) {
        (true, Some(point)) if is_of_the_last(&point, found) => {
            Plan { keep: found.len(), cut: None, from: Some(point.position) }
        }
        (true, _) => Plan { keep: found.len(), cut: None, from: None },
        (false, Some(point)) => {
            let keep = found.iter().take_while(|file| file.number <= point.file).count();
            let cut = (keep > 0).then_some(point.next_entry);
            Plan { keep, cut, from: Some(point.position) }
        }
        (false, None) => {
            let limit = evidence.index_msg_timestamp;
            let kept = found.iter().take_while(|file| file.end_timestamp <= limit);
            let (keep, last) = (kept.clone().count(), kept.last());
            Plan { keep, cut: last.map(|last| last.next_entry), from: None }
        }
    }
}

/// Whether the point's file is there with all entries, or, if it had none, there is none older.
fn names_a_file(point: &IndexPoint, found: &[Found]) -> bool {
    match found.iter().find(|file| file.number == point.file) {
        Some(file) => point.next_entry <= file.next_entry,
        None => point.file == 0,
    }
}

fn is_of_the_last(point: &IndexPoint, found: &[Found]) -> bool {
    match found.last() {
        Some(last) => (last.number, last.next_entry) == (point.file, point.next_entry),
        None => point.file == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [Found; 3] = [
        Found { number: 10, next_entry: 6, end_timestamp: 1000 },
        Found { number: 20, next_entry: 6, end_timestamp: 2000 },
        Found { number: 30, next_entry: 4, end_timestamp: 3000 },
    ];

    /// Left in order; file, next entry and suspicion of the point; `indexMsgTimestamp`; number of files;
    /// files that stay; the cut; whether it goes on from the point.
    type Row = (bool, Option<(u64, u32, bool)>, i64, usize, usize, Option<u32>, bool);

    const ROWS: [Row; 24] = [
        // Left in order, the point is of the last file as it is.
        (true, Some((30, 4, false)), 0, 3, 3, None, true),
        (true, Some((20, 6, false)), 0, 2, 2, None, true),
        (true, Some((0, 1, false)), 0, 0, 0, None, true),
        // Left in order, but not by us: the file has more entries, there are more files or fewer.
        (true, Some((30, 3, false)), 0, 3, 3, None, false),
        (true, Some((20, 6, false)), 0, 3, 3, None, false),
        (true, Some((30, 4, false)), 0, 2, 2, None, false),
        (true, Some((30, 5, false)), 9000, 3, 3, None, false),
        (true, Some((0, 1, false)), 0, 3, 3, None, false),
        (true, Some((30, 4, false)), 0, 0, 0, None, false),
        (true, None, 0, 3, 3, None, false),
        (true, None, 0, 0, 0, None, false),
        // A sync had failed: not in order, whatever the store says.
        (true, Some((20, 5, true)), 0, 3, 2, Some(5), true),
        // Left abruptly, the point is good.
        (false, Some((30, 4, false)), 0, 3, 3, Some(4), true),
        (false, Some((30, 2, false)), 9000, 3, 3, Some(2), true),
        (false, Some((20, 3, false)), 9000, 3, 2, Some(3), true),
        (false, Some((0, 1, false)), 9000, 3, 0, None, true),
        (false, Some((0, 1, false)), 0, 0, 0, None, true),
        // Left abruptly, the point's file is gone or lacks entries, or there is no point: by the times.
        (false, Some((25, 2, false)), 2000, 3, 2, Some(6), false),
        (false, Some((30, 5, false)), 3000, 3, 3, Some(4), false),
        (false, None, 3000, 3, 3, Some(4), false),
        (false, None, 2999, 3, 2, Some(6), false),
        (false, None, 1000, 3, 1, Some(6), false),
        (false, None, 0, 3, 0, None, false),
        (false, None, 9000, 0, 0, None, false),
    ];

    #[test]
    fn every_row_of_the_table() {
        for row in ROWS {
            let (clean, point, index_msg_timestamp, files, keep, cut, from_point) = row;
            let position = PhysicalOffset(777);
            let point = point.map(|(file, next_entry, suspect)| IndexPoint {
                file,
                next_entry,
                position,
                end_timestamp: 0,
                suspect,
            });
            let evidence = IndexEvidence { clean, point, index_msg_timestamp };
            let want = Plan { keep, cut, from: from_point.then_some(position) };
            assert_eq!(decide(&evidence, &FILES[..files]), want, "{row:?}");
        }
    }
}
