//! The queues that a group pops from, as its actor keeps them.
//!
//! A plain value. Which of [`Ledger`] and [`OrderBatch`] speaks for a queue is decided by its last pop;
//! a group that changes from one way to the other goes on at its offset, so nothing is lost on the way.

use std::{collections::HashMap, sync::Arc};

use super::{
    ledger::{Ledger, Span},
    order::OrderBatch,
    states::SavedQueue,
};
use crate::{group::Activity, net::ConnectionId, topic::QueueSlot};

/// A queue by topic and number.
pub type QueueKey = (Arc<str>, u32);

/// One queue.
pub struct PopQueue {
    /// What all share of it.
    pub slot: Arc<QueueSlot>,
    /// Messages that are out, while pops are in any order.
    pub ledger: Ledger,
    /// Messages that are out, if the last pop was in order.
    pub order: Option<OrderBatch>,
    /// A reader is at it: other pops pass it over.
    pub is_busy: bool,
    /// The group is told of its next message.
    pub is_watched: bool,
    /// Its end when a pop looked last.
    pub seen_end: u64,
    /// The offset that the group committed last.
    pub committed: Option<u64>,
    /// The offset that others see until they learn that it has been lowered.
    pub lowered_from: Option<u64>,
    /// Where pops are noted for the diagnosis.
    pub activity: Option<Arc<Activity>>,
}

impl PopQueue {
    /// A queue of which the group has everything before `offset`, or what was saved of it.
    pub fn new(slot: Arc<QueueSlot>, offset: u64, saved: Option<&SavedQueue>) -> Self {
        let ledger = saved.and_then(|saved| saved.ledger.as_ref());
        let order = saved.and_then(|saved| saved.order.clone());
        Self {
            slot,
            ledger: ledger.map_or(Ledger::new(offset), |saved| Ledger::restore(saved, offset)),
            // An offset that was moved meanwhile makes the batch void.
            order: order.filter(|order| order.next_offset() == offset as i64),
            is_busy: false,
            is_watched: false,
            seen_end: 0,
            committed: None,
            lowered_from: None,
            activity: None,
        }
    }

    /// The group's offset.
    pub fn offset(&self) -> u64 {
        let ordered = self.order.as_ref().map(|order| order.next_offset() as u64);
        ordered.unwrap_or_else(|| self.ledger.committed())
    }

    /// Notes that a pop from there has looked at `now`.
    pub fn note_look(&self, now: i64, connection: ConnectionId) {
        if let Some(activity) = &self.activity {
            let given = self.order.as_ref().map_or(self.ledger.span().from, |_| self.offset());
            activity.popped(now, given as i64, connection);
        }
    }

    /// Where the next pop reads; None: it gets nothing of this queue now.
    pub fn span(&mut self, in_order: bool, attempt: Option<&str>, now: i64) -> Option<Span> {
        if self.order.as_ref().is_some_and(|order| order.blocks(attempt, now)) {
            return None;
        }
        if in_order {
            return Some(Span { from: self.offset(), end: None });
        }
        if let Some(order) = self.order.take() {
            self.ledger = Ledger::new(order.next_offset() as u64);
        }
        (!self.ledger.is_full()).then(|| self.ledger.span())
    }

    /// Everything before `offset` is done.
    pub fn skip_to(&mut self, offset: u64) {
        if self.order.as_ref().is_some_and(|order| (order.next_offset() as u64) < offset) {
            self.order = None;
            self.ledger = Ledger::new(offset);
        } else {
            self.ledger.skip_to(offset);
        }
    }

    /// The group is moved to `offset`, wherever it was.
    pub fn reset(&mut self, offset: u64) {
        self.ledger = Ledger::new(offset);
        self.order = None;
    }

    /// What is to be saved of it.
    pub fn saved(&self) -> SavedQueue {
        let ledger = self.order.is_none().then(|| self.ledger.snapshot());
        SavedQueue { ledger, order: self.order.clone() }
    }

    /// Whether there is something for the group that it could be given now.
    pub fn has_more(&self, attempt: Option<&str>, now: i64) -> bool {
        let end = self.slot.range().map_or(0, |(_, end)| end);
        match &self.order {
            Some(order) => !order.blocks(attempt, now) && (order.next_offset() as u64) < end,
            None => !self.ledger.is_full() && self.ledger.span().from < end,
        }
    }

    /// When a message of it is due or its block ends, after `now`.
    pub fn next_event(&self, now: i64) -> Option<i64> {
        match &self.order {
            Some(order) => order.blocked_until(now),
            None => self.ledger.first_due(),
        }
    }
}

/// All of them.
pub type PopQueues = HashMap<QueueKey, PopQueue>;
