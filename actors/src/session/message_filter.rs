//! What a pull lets pass: tags, or an SQL92 expression over properties.
//!
//! Tags are decided by the hash in the index entry alone. An expression needs the record; its properties
//! are read where they lie in the mapped log, both by the pull and by the queue that holds one back
//! until there is something for it. What cannot be read passes: the read that follows tells why.

use std::sync::Arc;

use gantry_codec::{body::SubscriptionData, record, sql::Sql};
use gantry_storage::{
    CommitLog, ConsumeQueueView, IndexEntry, PullLimits, PullOutcome, QueueOffset, pull,
    pull_records,
};

/// See the module's text.
#[derive(Clone)]
pub enum MessageFilter {
    /// By the tag's hash.
    Tags(Arc<SubscriptionData>),
    /// By the properties.
    Properties {
        /// The expression.
        sql: Arc<Sql>,
        /// Where the records are.
        log: CommitLog,
    },
}

impl MessageFilter {
    /// Whether the message of a new entry may be wanted.
    pub fn wants(&self, entry: &IndexEntry) -> bool {
        match self {
            Self::Tags(data) => data.matches(entry.tags_code as i32),
            Self::Properties { sql, log } => {
                let size = entry.size as usize;
                let matches = |rest: &[u8]| rest.get(..size).is_none_or(|r| is_match(sql, r));
                log.with_rest(entry.offset, matches).unwrap_or(true)
            }
        }
    }

    /// Reads what passes.
    pub fn pull(
        &self,
        view: &ConsumeQueueView,
        log: &CommitLog,
        from: QueueOffset,
        limits: &PullLimits,
    ) -> PullOutcome {
        match self {
            Self::Tags(data) => {
                let wanted = |entry: &IndexEntry| data.matches(entry.tags_code as i32);
                pull(view, log, from, limits, Some(&wanted))
            }
            Self::Properties { sql, .. } => {
                pull_records(view, log, from, limits, &|record| is_match(sql, record))
            }
        }
    }
}

/// Whether a record matches by its properties.
pub fn is_match(sql: &Sql, record: &[u8]) -> bool {
    let Ok(head) = record::decode_head(record) else { return true };
    match head.properties(record) {
        Ok(properties) => sql.matches(properties),
        Err(_) => true,
    }
}
