//! The actor of one group's pops: the only one that takes messages for it.
//!
//! Owns, per queue, which messages are out ([`super::ledger`], [`super::order`]), and the pops and
//! notifications that wait. Connections send it [`Pop`], [`Ack`], [`Hide`] and the questions beside
//! them ([`super::orders`]). It reads queues through their published views; what may have to come from the disk is read by
//! the cold readers, and the queue is left alone meanwhile. It has one timer: for the first message
//! whose time is over, the first blocked queue that is free again, the first waiter whose time is over.
//!
//! | file | what it holds |
//! |---|---|
//! | `take` | a pop's way through the queues |
//! | `expired` | what has expired on that way |
//! | `wait` | waiting, waking, telling that nothing came |
//! | `revive` | messages whose time is over go to the group's retry topic |
//!
//! Failure policy: restart from what [`super::states`] keeps and the group's offsets; what was taken
//! since is taken again. A pop whose answer was lost with its connection gives its messages back.

mod expired;
mod revive;
mod take;
mod wait;

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{AsyncContext, Recipient, SpawnHandle};
use gantry_codec::pop::TopicMark;
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply};
use slog::Logger;

use self::{revive::Revival, wait::Notice};
use super::{
    order::OrderAck,
    orders::{Ack, AckResult, Adopt, CountWaiting, Forget, Hidden, Hide, Notify, Pop},
    parts::PopParts,
    queues::{PopQueue, PopQueues, QueueKey},
    read::topics_of,
    states::SavedGroup,
    waiters::Waiters,
    walk::Walk,
};
use crate::{
    group::{GroupDirectory, QueueFacts, offsets_port::OffsetsPort},
    log::batch::{BatchAppended, ReplyTo},
    topic::{Arrived, QueueSlot},
};

/// How often what is out is put where it is kept.
const KEEP_PERIOD: Duration = Duration::from_secs(2);
/// The timer does not fire more often than this.
const ALARM_GAP_MS: i64 = 10;

/// See the module's text.
pub struct PopGroup {
    name: Arc<str>,
    parts: PopParts,
    queues: PopQueues,
    /// What was kept of queues that nobody has used since.
    saved: SavedGroup,
    waiters: Waiters<Walk>,
    notices: Waiters<Notice>,
    /// Topics whose waiters may find something.
    stirred: Vec<Arc<str>>,
    revivals: HashMap<u32, Revival>,
    next_revival: u32,
    offsets: OffsetsPort,
    /// Where the group notes what it does for the diagnosis.
    directory: GroupDirectory,
    dice: fastrand::Rng,
    alarm: Option<(i64, SpawnHandle)>,
    is_changed: bool,
    /// Set when it has started.
    address: Option<Own>,
    log: Logger,
}

/// The actor as others call it.
#[derive(Clone)]
struct Own {
    arrivals: Recipient<Arrived>,
    stored: Arc<ReplyTo>,
}

impl PopGroup {
    /// The actor of the group `name`; offsets go through `offsets`.
    pub fn new(
        name: Arc<str>,
        parts: PopParts,
        offsets: OffsetsPort,
        directory: GroupDirectory,
        log: Logger,
    ) -> Self {
        Self {
            saved: parts.states.group(&name),
            waiters: Waiters::new(parts.waiting.clone()),
            notices: Waiters::new(parts.waiting.clone()),
            queues: PopQueues::new(),
            stirred: Vec::new(),
            revivals: HashMap::new(),
            next_revival: 0,
            offsets,
            directory,
            dice: fastrand::Rng::with_seed(parts.seed),
            alarm: None,
            is_changed: false,
            address: None,
            name,
            parts,
            log,
        }
    }

    fn now(&self) -> i64 {
        self.parts.clock.now_ms()
    }

    fn slot(&self, (topic, queue): &QueueKey) -> Option<Arc<QueueSlot>> {
        self.parts.facts.topics.get(topic)?.queue(*queue).cloned()
    }

    /// The topics that a pop of `topic` reads, with the number of queues that each has.
    fn sources(&self, topic: &str) -> Vec<(TopicMark, Arc<str>, u32)> {
        let existing = |(mark, name): (TopicMark, String)| {
            let view = self.parts.facts.topics.get(&name)?;
            Some((mark, name.into(), view.config.read_queue_nums.max(0) as u32))
        };
        topics_of(topic, &self.name).into_iter().filter_map(existing).collect()
    }

    /// The queue as this group pops it; None if it does not exist.
    fn queue(&mut self, key: &QueueKey, begins_at_end: bool) -> Option<&mut PopQueue> {
        let slot = self.slot(key)?;
        let is_known = self.queues.get(key).is_some_and(|queue| Arc::ptr_eq(&queue.slot, &slot));
        if !is_known {
            let offset = self.first_offset(key, &slot, begins_at_end);
            let saved = self.saved.remove(key);
            let activity = self.activity(key);
            let queue = PopQueue { activity, ..PopQueue::new(slot, offset, saved.as_ref()) };
            self.queues.insert(key.clone(), queue);
            self.commit(key);
        }
        self.follow_offset(key);
        self.queues.get_mut(key)
    }

    /// The queue, if the group has ever popped from it.
    fn known_queue(&mut self, key: &QueueKey) -> Option<&mut PopQueue> {
        let has_offset = || self.offsets.view().get(&self.name, &key.0, key.1 as i32).is_some();
        let is_known = self.queues.contains_key(key) || has_offset();
        if is_known { self.queue(key, false) } else { None }
    }

    /// Where the group begins in a queue that it has not popped from in this life of its actor.
    fn first_offset(&self, key: &QueueKey, slot: &QueueSlot, begins_at_end: bool) -> u64 {
        let (topic, queue_id) = (&*key.0, key.1 as i32);
        if let Some(offset) = self.offsets.view().get(&self.name, topic, queue_id) {
            return offset.max(0) as u64;
        }
        let (min, max) = slot.range().unwrap_or_default();
        let is_retry = crate::topic::names::is_retry_or_dlq(topic);
        if !begins_at_end || is_retry {
            return min;
        }
        let is_young = min == 0 && self.parts.facts.is_in_memory(topic, queue_id, 0);
        if is_young { 0 } else { max.saturating_sub(1) }
    }

    /// Goes where somebody else has moved the group to: anywhere by a reset, forward by a commit.
    fn follow_offset(&mut self, key: &QueueKey) {
        let (topic, queue_id) = (&*key.0, key.1 as i32);
        let Some(queue) = self.queues.get_mut(key) else { return };
        if let Some(offset) = self.offsets.view().pending_reset(&self.name, topic, queue_id) {
            queue.reset(offset.max(0) as u64);
            queue.committed = None;
            self.offsets.reset_delivered(&self.name, topic, queue_id);
            self.commit(key);
            return;
        }
        let view = self.offsets.view().get(&self.name, topic, queue_id);
        if let Some(offset) = view.map(|offset| offset.max(0) as u64)
            && offset > queue.offset()
            && queue.committed.is_none_or(|committed| offset > committed)
            && queue.lowered_from != Some(offset)
        {
            queue.skip_to(offset);
        }
    }

    /// Has the group's offset stored if it has moved.
    fn commit(&mut self, key: &QueueKey) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        self.is_changed = true;
        let offset = queue.offset();
        if queue.committed != Some(offset) {
            if queue.committed.is_some_and(|before| offset < before) {
                queue.lowered_from = queue.committed;
            }
            queue.committed = Some(offset);
            self.offsets.commit(&self.name, &key.0, key.1 as i32, offset as i64);
        }
    }

    /// Puts what is out where it is kept.
    fn keep(&mut self) {
        self.offsets.burst_end();
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let mut saved = self.saved.clone();
        let open = self.queues.iter().filter(|(_, queue)| queue.slot.is_alive());
        saved.extend(open.map(|(key, queue)| (key.clone(), queue.saved())));
        self.parts.states.put(&self.name, saved);
    }

    /// What was kept may be due by now, also if no client ever comes: opens those queues.
    fn open_saved(&mut self) {
        let keys: Vec<QueueKey> = self.saved.keys().cloned().collect();
        for key in keys {
            self.queue(&key, false);
        }
    }

    fn ack(&mut self, ack: &Ack) -> AckResult {
        let key = (ack.topic.clone(), ack.queue_id);
        let Some(queue) = self.known_queue(&key) else { return AckResult::Accepted };
        let mut result = AckResult::Accepted;
        for offset in &ack.offsets {
            if !ack.in_order {
                queue.ledger.ack(*offset, ack.pop_time);
                continue;
            }
            let done_before = queue.offset();
            if *offset < done_before {
                continue;
            }
            let acked = queue.order.as_mut().map(|o| o.ack(*offset as i64, ack.pop_time));
            if acked == Some(OrderAck::Unknown) {
                result = AckResult::Unknown(done_before);
            }
        }
        self.commit(&key);
        self.stir(&key.0);
        result
    }

    fn adopt(&mut self, adopt: &Adopt) {
        let key = (adopt.topic.clone(), adopt.queue_id);
        let Some(queue) = self.queue(&key, false).filter(|queue| queue.order.is_none()) else {
            return;
        };
        for &(offset, pop_time, due) in &adopt.messages {
            queue.ledger.adopt(offset, pop_time, due);
        }
        self.commit(&key);
    }

    fn hide(&mut self, hide: &Hide) -> Hidden {
        let (now, key) = (self.now(), (hide.topic.clone(), hide.queue_id));
        let due = now.saturating_add(hide.invisible_time);
        if let Some(queue) = self.known_queue(&key) {
            let offset = hide.offset;
            match &mut queue.order {
                Some(order) => order.hide(offset as i64, hide.pop_time, due),
                None => queue.ledger.hide(offset, hide.pop_time, now, due),
            };
            self.is_changed = true;
        }
        if hide.in_order {
            let invisible_time = due.saturating_sub(hide.pop_time);
            return Hidden { pop_time: hide.pop_time, invisible_time };
        }
        Hidden { pop_time: now, invisible_time: hide.invisible_time }
    }

    /// Fires at `at` or before.
    fn alarm_at(&mut self, at: i64, ctx: &mut Ctx<Self>) {
        if self.alarm.as_ref().is_some_and(|(armed, _)| *armed <= at) {
            return;
        }
        if let Some((_, handle)) = self.alarm.take() {
            ctx.cancel_future(handle);
        }
        let wait = (at - self.now()).max(ALARM_GAP_MS) as u64;
        let handle = ctx.after(Duration::from_millis(wait), Self::ring);
        self.alarm = Some((at, handle));
    }

    /// Everything whose time has come.
    fn ring(&mut self, ctx: &mut Ctx<Self>) {
        self.alarm = None;
        let now = self.now();
        self.expire_waiting(now);
        self.revive_due(now, ctx);
        self.stir_unblocked(now);
        self.serve(ctx);
        self.rearm(ctx);
    }

    fn rearm(&mut self, ctx: &mut Ctx<Self>) {
        let now = self.now();
        let events = self.queues.values().filter_map(|queue| queue.next_event(now));
        let waiting = [self.waiters.first_deadline(), self.notices.first_deadline()];
        if let Some(at) = events.chain(waiting.into_iter().flatten()).min() {
            self.alarm_at(at, ctx);
        }
    }
}

impl Logic for PopGroup {
    const NAME: &'static str = "pops of a group";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let stored = Arc::new(ReplyTo::Actor(ctx.address().recipient()));
        self.address = Some(Own { arrivals: ctx.address().recipient(), stored });
        ctx.every(KEEP_PERIOD, |group, _| group.keep());
        self.open_saved();
        self.rearm(ctx);
    }

    fn drained(&mut self, _: &mut Ctx<Self>) {
        self.offsets.burst_end();
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.expire_waiting(i64::MAX);
        self.keep();
        self.offsets.send_all();
    }
}

impl Receive<Pop> for PopGroup {
    fn receive(&mut self, Pop(request, back): Pop, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.begin(Walk::new(request, back), ctx);
        self.serve(ctx);
        Reply::Now(())
    }
}

impl Receive<Ack> for PopGroup {
    fn receive(&mut self, ack: Ack, ctx: &mut Ctx<Self>) -> Reply<AckResult> {
        let result = self.ack(&ack);
        self.serve(ctx);
        result.into()
    }
}

impl Receive<Hide> for PopGroup {
    fn receive(&mut self, hide: Hide, ctx: &mut Ctx<Self>) -> Reply<Hidden> {
        let hidden = self.hide(&hide);
        let due = self.now().saturating_add(hide.invisible_time);
        self.alarm_at(due, ctx);
        hidden.into()
    }
}

impl Receive<Notify> for PopGroup {
    fn receive(&mut self, notify: Notify, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.notify(notify, ctx);
        self.serve(ctx);
        Reply::Now(())
    }
}

impl Receive<CountWaiting> for PopGroup {
    fn receive(&mut self, asked: CountWaiting, _: &mut Ctx<Self>) -> Reply<usize> {
        self.waiters.count(&asked.topic, asked.queue_id).into()
    }
}

impl Receive<Arrived> for PopGroup {
    fn receive(&mut self, arrived: Arrived, ctx: &mut Ctx<Self>) -> Reply<()> {
        if let Some(queue) = self.queues.get_mut(&(arrived.topic.clone(), arrived.queue_id)) {
            queue.is_watched = false;
        }
        self.stir(&arrived.topic);
        self.serve(ctx);
        Reply::Now(())
    }
}

impl Receive<BatchAppended> for PopGroup {
    fn receive(&mut self, BatchAppended(batch): BatchAppended, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.stored(&batch, ctx);
        self.serve(ctx);
        Reply::Now(())
    }
}

impl Receive<Adopt> for PopGroup {
    fn receive(&mut self, adopt: Adopt, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.adopt(&adopt);
        self.rearm(ctx);
        Reply::Now(())
    }
}

impl Receive<Forget> for PopGroup {
    fn receive(&mut self, Forget(topic): Forget, _: &mut Ctx<Self>) -> Reply<()> {
        self.forget(topic.as_ref());
        Reply::Now(())
    }
}
