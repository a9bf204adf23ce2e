//! Reading a queue without what has expired.
//!
//! What the group's filter refuses is not for the group, expired or not; so the filter is asked first,
//! and only what would have been delivered counts as expired.

use std::cell::RefCell;

use gantry_codec::record;
use gantry_storage::{
    CommitLog, ConsumeQueueView, Filters, IndexEntry, PhysicalOffset, PullLimits, PullOutcome,
    QueueOffset, pull, pull_by,
};

use super::Lifetime;
use crate::session::{MessageFilter, record_passes};

/// A message that was passed over as it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its place in its queue.
    pub offset: u64,
    /// Its place in the log.
    pub at: PhysicalOffset,
}

/// Tells the living from the expired, and remembers these.
#[derive(Debug)]
pub struct Living {
    lifetime: Lifetime,
    now_ms: i64,
    expired: RefCell<Vec<Expired>>,
}

impl Living {
    /// As of `now_ms`.
    pub fn new(lifetime: Lifetime, now_ms: i64) -> Self {
        Self { lifetime, now_ms, expired: RefCell::default() }
    }

    /// Those that were passed over, in the order of their queue.
    pub fn into_expired(self) -> Vec<Expired> {
        self.expired.into_inner()
    }

    /// Whether the record's message is alive. What cannot be read is: whoever reads it tells why.
    pub fn passes(&self, record: &[u8]) -> bool {
        let Ok(head) = record::decode_head(record) else { return true };
        let Ok(properties) = head.properties(record) else { return true };
        let end = self.lifetime.end(head.store_timestamp, properties);
        if end.is_none_or(|end| self.now_ms < end) {
            return true;
        }
        let at = PhysicalOffset(head.physical_offset as u64);
        self.expired.borrow_mut().push(Expired { offset: head.queue_offset as u64, at });
        false
    }
}

/// Reads what passes the filter and is alive; without `living`, all that passes the filter.
pub fn read(
    view: &ConsumeQueueView,
    log: &CommitLog,
    from: QueueOffset,
    limits: &PullLimits,
    filter: Option<&MessageFilter>,
    living: Option<&Living>,
) -> PullOutcome {
    let Some(living) = living else {
        return match filter {
            None => pull(view, log, from, limits, None),
            Some(filter) => filter.pull(view, log, from, limits),
        };
    };
    let is_alive = |record: &[u8]| living.passes(record);
    match filter {
        None => {
            let filters = Filters { entries: None, records: Some(&is_alive) };
            pull_by(view, log, from, limits, filters)
        }
        Some(MessageFilter::Tags(data)) => {
            let wanted = |entry: &IndexEntry| data.matches(entry.tags_code as i32);
            let filters = Filters { entries: Some(&wanted), records: Some(&is_alive) };
            pull_by(view, log, from, limits, filters)
        }
        Some(MessageFilter::Properties { sql, .. }) => {
            let wanted = |record: &[u8]| {
                record_passes(record, |properties| sql.matches(properties)) && is_alive(record)
            };
            let filters = Filters { entries: None, records: Some(&wanted) };
            pull_by(view, log, from, limits, filters)
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::{Record, properties as names};

    use super::*;

    fn record(stored_ms: i64, properties: &str) -> Vec<u8> {
        let record = Record {
            queue_id: 0,
            flag: 0,
            queue_offset: 42,
            physical_offset: 9000,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "10.0.0.1:1".parse().unwrap(),
            store_timestamp: stored_ms,
            store_host: "10.0.0.2:2".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: gantry_codec::body_crc(b"body"),
            body: b"body",
            topic: "t",
            properties,
        };
        let mut out = vec![0; record.encoded_len()];
        record.write_to(&mut out);
        out
    }

    fn is_alive(now_ms: i64, record: &[u8]) -> bool {
        let lifetime = Lifetime { ttl_ms: Some(50), by_message: true, buries: false };
        let living = Living::new(lifetime, now_ms);
        let is_alive = living.passes(record);
        let expected: &[Expired] =
            if is_alive { &[] } else { &[Expired { offset: 42, at: PhysicalOffset(9000) }] };
        assert_eq!(living.into_expired(), expected);
        is_alive
    }

    #[test]
    fn a_message_is_delivered_for_as_many_milliseconds_as_it_lives() {
        let by_topic = record(1000, "");
        assert!(is_alive(1000, &by_topic) && is_alive(1049, &by_topic));
        assert!(!is_alive(1050, &by_topic) && !is_alive(i64::MAX, &by_topic));
        let mut own = String::new();
        names::append(&mut own, names::GANTRY_TTL_MS, "1");
        assert!(is_alive(1000, &record(1000, &own)));
        assert!(!is_alive(1001, &record(1000, &own)));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_die() {
        assert!(is_alive(10, &record(1000, "")));
    }

    #[test]
    fn what_cannot_be_read_is_left_to_who_reads_it() {
        assert!(is_alive(i64::MAX, b"no record"));
    }
}
