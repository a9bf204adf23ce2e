//! The first record of the log that anybody still wants.
//!
//! A file whose records all belong to topics that keep messages for less long than the log does may go
//! before its age. Such a file is found by going through the log from its beginning: what was not
//! wanted once never is again, so the search goes on each time where it stopped, and all searches
//! together read the log once.

use crate::{
    commit_log::CommitLog,
    dispatch::{DispatchEntry, DispatchReader},
    offset::PhysicalOffset,
};

/// See the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub struct WantedFrom(PhysicalOffset);

impl WantedFrom {
    /// Goes on to the first record that `wants` holds on to, or to `limit`, or over `records_max`
    /// records: nothing before the place returned is wanted. A record that cannot be read is wanted by
    /// nobody.
    pub fn advance(
        &mut self,
        log: &CommitLog,
        limit: PhysicalOffset,
        records_max: usize,
        mut wants: impl FnMut(&DispatchEntry<'_>) -> bool,
    ) -> PhysicalOffset {
        let mut reader = DispatchReader::new(log.clone(), self.0);
        for _ in 0..records_max {
            let (before, mut wanted) = (reader.position(), None);
            if before >= limit {
                break;
            }
            let read = reader.read(1, |entry| wanted = wants(entry).then_some(entry.offset));
            if let Some(wanted) = wanted {
                self.0 = wanted;
                return wanted;
            }
            if read.is_ok() && reader.position() == before {
                break;
            }
        }
        self.0 = reader.position().min(limit).max(self.0);
        self.0
    }
}
