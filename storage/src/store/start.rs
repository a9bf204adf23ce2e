//! Where recovery begins: the decision, apart from the files.
//!
//! | `abort` file | checkpoint | the log is checked and dispatched from | queues are cut at |
//! |---|---|---|---|
//! | absent | ours | its offset | the log's end |
//! | absent | another's or none | the end of the newest record in a queue, else the log's beginning | the log's end |
//! | present | ours | its offset | its offset |
//! | present | another's or none | the newest file whose first record is as old as the checkpoint's times, else the log's beginning | there |
//!
//! A checkpoint is ours if its CRC says so and the log has the record that it names as the last one. In
//! the stretch behind it, which is the work of about a second, the first record that is not whole ends
//! the log: that is how a torn tail looks. A log without it is checked over a long stretch, where damage
//! in the middle is likelier: a record that is not whole is passed over if a later file begins with a
//! sound one that was stored before the last flush that the checkpoint tells of, or a minute after the
//! last record before the damage. It stays where it is, and whoever asks for it gets an error.
//!
//! The file `abort` exists while a broker runs, so it tells of an abrupt stop. After one, nothing that
//! was written behind the checkpoint is relied on: pages may have reached the disk in any order, so a
//! queue may have holes there. After an orderly stop queues have all that was dispatched; what they
//! may lack is dispatched again, starting with the record that lies exactly at the end.

use crate::{checkpoint::Checkpoint, offset::PhysicalOffset};

/// What there is to decide by.
pub(crate) struct Evidence<'a> {
    /// Whether the file `abort` is absent.
    pub(crate) stopped_in_order: bool,
    /// The checkpoint, or one that says nothing.
    pub(crate) checkpoint: &'a Checkpoint,
    /// What it says of the dispatching, if it is ours and the log confirms it.
    pub(crate) dispatched: Option<PhysicalOffset>,
    /// Where the log's files start, in order.
    pub(crate) files: &'a [PhysicalOffset],
    /// Where they end.
    pub(crate) files_end: PhysicalOffset,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// From where the log is checked, and from where queues are brought up to date.
    pub(crate) from: PhysicalOffset,
    /// Whether queues lose what they have of the log from there on.
    pub(crate) rebuilds: bool,
    /// Whether behind the ends of log and queues there may be something else than zeros.
    pub(crate) sweeps: bool,
    /// If damage in the log that has sound records behind it, in a later file, is passed over: the time
    /// until which stored records have certainly been flushed.
    pub(crate) passes_over: Option<i64>,
}

/// See the module's text. What takes reading is asked only if need be: `first_time` for the store time
/// of the record at a file's start, if there is one, and `indexed` for the end of the newest record that
/// a queue has.
pub(crate) fn decide<E>(
    evidence: &Evidence<'_>,
    first_time: impl Fn(PhysicalOffset) -> Option<i64>,
    indexed: impl FnOnce() -> Result<Option<PhysicalOffset>, E>,
) -> Result<Start, E> {
    let rebuilds = !evidence.stopped_in_order;
    let begin = evidence.files.first().copied().unwrap_or(evidence.files_end);
    let within = |offset: &PhysicalOffset| *offset <= evidence.files_end;
    let ours = evidence.dispatched.filter(within);
    let from = match ours {
        Some(dispatched) => dispatched,
        None if rebuilds => {
            let limit = evidence.checkpoint.min_timestamp();
            let is_old = |time| 0 < time && time <= limit;
            let old =
                evidence.files.iter().rev().find(|file| first_time(**file).is_some_and(is_old));
            old.copied().unwrap_or(begin)
        }
        None => indexed()?.filter(within).unwrap_or(begin),
    };
    let is_ours = ours.is_some();
    let passes_over = (!is_ours).then(|| evidence.checkpoint.flushed_until());
    Ok(Start { from: from.max(begin), rebuilds, sweeps: rebuilds || !is_ours, passes_over })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start and first time of three files of 100 bytes; the third one has no record yet.
    const FILES: [File; 3] = [(100, Some(10_000)), (200, Some(20_000)), (300, None)];

    type File = (u64, Option<i64>);

    /// Orderly stop, our offset, the checkpoint's times, end of the indexed; from, rebuilds, sweeps.
    type Row = (bool, Option<u64>, i64, Option<u64>, u64, bool, bool);

    const ROWS: [Row; 18] = [
        // Stopped in order, checkpoint ours.
        (true, Some(250), 0, None, 250, false, false),
        (true, Some(400), 0, None, 400, false, false),
        // … but the files before it, or all behind the log's beginning, are gone.
        (true, Some(50), 0, None, 100, false, false),
        // … but it lies behind the files: not the checkpoint of this log.
        (true, Some(401), 0, Some(230), 230, false, true),
        // Stopped in order, checkpoint another's.
        (true, None, 90_000, Some(230), 230, false, true),
        (true, None, 0, Some(400), 400, false, true),
        (true, None, 90_000, None, 100, false, true),
        (true, None, 90_000, Some(40), 100, false, true),
        (true, None, 90_000, Some(401), 100, false, true),
        // Stopped abruptly, checkpoint ours.
        (false, Some(250), 90_000, Some(390), 250, true, true),
        (false, Some(50), 0, None, 100, true, true),
        // Stopped abruptly, checkpoint another's: 3 s before its times.
        (false, None, 22_999, Some(390), 100, true, true),
        (false, None, 23_000, Some(390), 200, true, true),
        (false, None, 90_000, None, 200, true, true),
        (false, Some(401), 23_000, None, 200, true, true),
        // … no file is old enough.
        (false, None, 12_999, None, 100, true, true),
        // … or nobody knows.
        (false, None, 0, None, 100, true, true),
        (false, None, -1, None, 100, true, true),
    ];

    fn decide_row(row: &Row, files: &[File], files_end: u64) -> Start {
        let checkpoint = Checkpoint {
            physic_msg_timestamp: row.2,
            logics_msg_timestamp: row.2 + 500,
            ..Checkpoint::default()
        };
        let starts: Vec<_> = files.iter().map(|file| PhysicalOffset(file.0)).collect();
        let evidence = Evidence {
            stopped_in_order: row.0,
            checkpoint: &checkpoint,
            dispatched: row.1.map(PhysicalOffset),
            files: &starts,
            files_end: PhysicalOffset(files_end),
        };
        let first_time = |start: PhysicalOffset| files.iter().find(|file| file.0 == start.0)?.1;
        decide(&evidence, first_time, || Ok::<_, ()>(row.3.map(PhysicalOffset))).unwrap()
    }

    #[test]
    fn every_row_of_the_table() {
        for row in &ROWS {
            let is_ours = row.1.is_some_and(|dispatched| dispatched <= 400);
            let passes_over = (!is_ours).then_some((row.2 - 3000).max(0));
            let from = PhysicalOffset(row.4);
            let want = Start { from, rebuilds: row.5, sweeps: row.6, passes_over };
            assert_eq!(decide_row(row, &FILES, 400), want, "{row:?}");
        }
    }

    #[test]
    fn a_log_without_files_begins_at_its_end() {
        for row in &ROWS {
            assert_eq!(decide_row(row, &[], 0).from, PhysicalOffset(0), "{row:?}");
        }
    }

    #[test]
    fn a_first_record_without_a_time_does_not_count() {
        let files = [(0, Some(0)), FILES[0]];
        assert_eq!(decide_row(&ROWS[16], &files, 200).from, PhysicalOffset(0));
        let row = (false, None, 13_000, None, 0, true, true);
        assert_eq!(decide_row(&row, &files, 200).from, PhysicalOffset(100));
    }
}
