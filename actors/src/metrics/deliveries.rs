//! Bytes and latencies of pops, noted where those of pulls are: at the group and its queue, and in the
//! histogram of all. How many messages a group gets, its own actor notes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gantry_codec::record::decode_head;

use super::Metrics;
use crate::group::GroupDirectory;

/// See the module's text.
#[derive(Clone)]
pub struct Deliveries {
    /// Published groups.
    pub groups: GroupDirectory,
    /// What is counted for figures.
    pub metrics: Arc<Metrics>,
}

impl Deliveries {
    /// So many messages of a queue leave for the group now; `pieces` are their records, in order.
    pub fn note(
        &self,
        group: &str,
        (topic, queue_id): (&Arc<str>, i32),
        messages: u64,
        pieces: &[Bytes],
        now_ms: i64,
    ) {
        if let Some(view) = self.groups.get(group) {
            let activity = view.slot().activities.of(topic, queue_id);
            activity.delivered_bytes(pieces.iter().map(|piece| piece.len() as u64).sum());
        }
        let head = pieces.first().and_then(|piece| decode_head(piece).ok());
        if let Some(head) = head {
            let age =
                Duration::from_millis((now_ms - head.store_timestamp).try_into().unwrap_or(0));
            self.metrics.delivered.record(age, messages);
        }
    }
}
