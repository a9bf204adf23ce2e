//! What a pull lets pass: tags, or an SQL92 expression over properties.
//!
//! Tags are decided by the hash in the index entry alone. An expression needs the record; its properties
//! are read where they lie in the mapped log, both by the pull and by the queue that holds one back
//! until there is something for it. What cannot be read passes: the read that follows tells why.

use std::sync::Arc;

use gantry_codec::{body::SubscriptionData, filter::TAG, record, sql::Sql};
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

/// Whether an expression of this type, as requests have it, is one of tags.
pub fn is_by_tags(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| kind.is_empty() || kind.eq_ignore_ascii_case(TAG))
}

impl MessageFilter {
    /// The filter of an expression, of tags or of properties of the records in `log`.
    ///
    /// # Errors
    /// Why the expression cannot be read.
    pub fn compile(
        topic: &str,
        expression: &str,
        by_tags: bool,
        log: &CommitLog,
    ) -> Result<Self, String> {
        if by_tags {
            let data = SubscriptionData::build(topic, expression).map_err(|e| e.to_string())?;
            return Ok(Self::Tags(Arc::new(data)));
        }
        let sql = Arc::new(Sql::compile(expression).map_err(|e| e.to_string())?);
        Ok(Self::Properties { sql, log: log.clone() })
    }

    /// Whether the message of a new entry may be wanted.
    pub fn wants(&self, entry: &IndexEntry) -> bool {
        match self {
            Self::Tags(data) => data.matches(entry.tags_code as i32),
            Self::Properties { sql, log } => {
                properties_pass(log, entry, |properties| sql.matches(properties))
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
            Self::Properties { sql, .. } => pull_records(view, log, from, limits, &|record| {
                record_passes(record, |properties| sql.matches(properties))
            }),
        }
    }
}

/// Whether the properties of an entry's message are `wanted`, or cannot be read.
pub fn properties_pass(log: &CommitLog, entry: &IndexEntry, wanted: impl Fn(&str) -> bool) -> bool {
    let passes =
        |rest: &[u8]| rest.get(..entry.size as usize).is_none_or(|r| record_passes(r, wanted));
    log.with_rest(entry.offset, passes).unwrap_or(true)
}

/// Whether the properties of a record are `wanted`, or cannot be read.
pub fn record_passes(record: &[u8], wanted: impl Fn(&str) -> bool) -> bool {
    let Ok(head) = record::decode_head(record) else { return true };
    head.properties(record).map_or(true, wanted)
}
