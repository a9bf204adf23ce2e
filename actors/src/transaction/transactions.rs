//! The actor of all transactions.
//!
//! Owns the [`Settlement`] and with it the ledger. Sessions send it ends; it has the appender store what
//! follows from them, one batch at a time, and asks producers when half messages are due. It takes half
//! messages in a little after they were stored, in order, woken by the first of them, and sets one alarm
//! for the first that is due: with nothing open it does nothing.
//!
//! Before it begins it lets whatever a predecessor had under way get into the log and the queues, then
//! finds out where everything stands ([`recover`]); ends wait for that.
//! Failure policy: restart from disk. Ends that died with it are asked for again.

use std::{sync::Arc, time::Duration};

use actix::{AsyncContext, Message, SpawnHandle};
use bytes::Bytes;
use gantry_storage::PhysicalOffset;
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply};
use slog::{info, warn};
use tokio::sync::oneshot;

use super::{
    forms::Forms,
    orders::{EndBurst, EndOrder, EndRefusal, EndTransaction, GroupsAppeared},
    parts::TransactionParts,
    recovery::{StoredPast, TRANSACTION_GROUP, read_half, recover},
    settlement::{Settlement, source},
};
use crate::{
    group::offsets_port::OffsetsPort,
    log::batch::{AppendBatch, BatchAppended, ReplyTo, SendBatch},
    topic::{
        Arrived, QueueSlot,
        names::{HALF_TOPIC, OP_HALF_TOPIC},
    },
};

/// Wait after something was not stored.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often the progress is committed while it changes.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// Make the next handler panic; for tests of the supervision.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Panic;

/// See the module's text.
pub struct Transactions {
    pub(super) parts: TransactionParts,
    /// Nothing until it is known where everything stands.
    pub(super) settlement: Option<Settlement>,
    /// Ends that came before.
    early: Vec<EndOrder>,
    reply_to: Option<Arc<ReplyTo>>,
    port: OffsetsPort,
    committed: (u64, u64),
    alarm: Option<(i64, SpawnHandle)>,
    takes_in_soon: bool,
    commits_soon: bool,
    retries_soon: bool,
}

impl Transactions {
    /// An actor that knows nothing yet.
    pub fn new(parts: TransactionParts) -> Self {
        let port = parts.control.offsets_port();
        Self {
            parts,
            settlement: None,
            early: Vec::new(),
            reply_to: None,
            port,
            committed: (0, 0),
            alarm: None,
            takes_in_soon: false,
            commits_soon: false,
            retries_soon: false,
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.parts.clock.now_ms()
    }

    fn slot(&self, topic: &str) -> Option<Arc<QueueSlot>> {
        self.parts.facts.topics.get(topic)?.queue(0).cloned()
    }

    /// Begins once the queues have all that is in the log.
    fn begin_if_caught_up(&mut self, ctx: &mut Ctx<Self>) {
        for topic in [HALF_TOPIC, OP_HALF_TOPIC] {
            let Some(slot) = self.slot(topic) else { continue };
            let next = slot.next_offset().unwrap_or(0);
            slot.watch_once(ctx.address().recipient());
            if slot.range().is_ok_and(|(_, end)| end < next) {
                return;
            }
        }
        self.begin(ctx);
    }

    fn begin(&mut self, ctx: &mut Ctx<Self>) {
        let parts = &self.parts;
        let past =
            StoredPast::new(&parts.facts, &parts.log, parts.control.offsets(), &parts.log_to);
        let settlement = recover(&past, parts.limits, self.now());
        info!(parts.log_to, "transactions are known"; "open" => settlement.ledger.len());
        self.settlement = Some(settlement);
        for order in std::mem::take(&mut self.early) {
            self.end(order, ctx);
        }
        self.watch(ctx);
        self.rearm(ctx);
    }

    /// Has itself told when there are half messages to be taken in.
    fn watch(&mut self, ctx: &mut Ctx<Self>) {
        let Some(slot) = self.slot(HALF_TOPIC) else { return };
        slot.watch_once(ctx.address().recipient());
        let next = self.settlement.as_ref().map_or(0, |settlement| settlement.ledger.next());
        if slot.range().is_ok_and(|(_, end)| end > next) {
            self.take_in_soon(ctx);
        }
    }

    fn take_in_soon(&mut self, ctx: &mut Ctx<Self>) {
        if !std::mem::replace(&mut self.takes_in_soon, true) {
            ctx.after(self.parts.limits.take_in_delay(), |me, ctx| {
                me.takes_in_soon = false;
                me.take_in(ctx);
                me.watch(ctx);
            });
        }
    }

    pub(super) fn take_in(&mut self, ctx: &mut Ctx<Self>) {
        let now = self.now();
        let view = self.slot(HALF_TOPIC).and_then(|slot| self.parts.facts.queues.view(&slot));
        let (Some(settlement), Some(view)) = (&mut self.settlement, view) else { return };
        let (log, log_to) = (&self.parts.log, &self.parts.log_to);
        let replaced = settlement.ledger.take_in(view.max_offset().0, now, |offset| {
            let half = read_half(&view, log, offset);
            if half.is_none() {
                warn!(log_to, "half message cannot be read"; "offset" => offset);
            }
            half
        });
        settlement.note_done(replaced);
        self.carry_lagging(ctx);
        self.rearm(ctx);
    }

    pub(super) fn forms(parts: &TransactionParts) -> Forms<'_> {
        Forms { topics: &parts.facts.topics, delay_levels: parts.delay_levels }
    }

    /// Deals with an end, or has its half message brought into memory first.
    fn end(&mut self, order: EndOrder, ctx: &mut Ctx<Self>) {
        if self.settlement.is_none() {
            self.early.push(order);
            return;
        }
        let Ok(physical) = u64::try_from(order.end.physical) else {
            return order.answer(Err(EndRefusal::NotFound));
        };
        let is_cold = self.parts.log.max_offset().0.saturating_sub(physical) > self.parts.hot_bytes;
        if is_cold {
            let read = self.read(vec![physical]);
            ctx.spawn_then(read, move |me, read, _| {
                let bytes = read.ok().and_then(|mut read| read.pop().flatten());
                me.end_with(order, bytes);
            });
        } else {
            let bytes = record_at(&self.parts, physical);
            self.end_with(order, bytes);
        }
    }

    fn end_with(&mut self, order: EndOrder, bytes: Option<Bytes>) {
        let (now, timeout_ms) = (self.now(), self.parts.limits.timeout_ms);
        let half = bytes.as_ref().and_then(source);
        let (Some(half), Some(settlement)) = (half, &mut self.settlement) else {
            return order.answer(Err(EndRefusal::NotFound));
        };
        match order.end.check(&half.record, now, timeout_ms) {
            Ok(()) => settlement.end(order, &half, &Self::forms(&self.parts)),
            Err(refusal) => order.answer(Err(refusal)),
        }
    }

    /// Records that may have to come from the disk.
    pub(super) fn read(&self, places: Vec<u64>) -> oneshot::Receiver<Vec<Option<Bytes>>> {
        let log = self.parts.log.clone();
        self.read_apart(move || {
            let read = |place: u64| Some(log.record_at(PhysicalOffset(place))?.into_bytes());
            places.into_iter().map(read).collect()
        })
    }

    pub(super) fn read_apart<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        match self.slot(HALF_TOPIC) {
            Some(slot) => self.parts.cold.read(&slot, read),
            // Without its topic there is no half message to be read.
            None => oneshot::channel().1,
        }
    }

    /// Hands over what has been gathered, if nothing is under way.
    pub(super) fn hand_over(&mut self) {
        let (now, host) = (self.now(), self.parts.store_host);
        let Some(settlement) = &mut self.settlement else { return };
        let batch = settlement.take_batch(&Self::forms(&self.parts), now, host);
        if let Some(mut batch) = batch {
            batch.reply_to.clone_from(&self.reply_to);
            self.parts.appender.do_send(AppendBatch(batch));
        }
    }

    fn stored(&mut self, batch: &SendBatch, ctx: &mut Ctx<Self>) {
        let now = self.now();
        let Some(settlement) = &mut self.settlement else { return };
        let settled = settlement.stored(batch, now);
        for order in settled.again {
            self.end(order, ctx);
        }
        if let Some(why) = settled.refused {
            warn!(self.parts.log_to, "the end of transactions was not stored"; "reason" => why);
            self.retry_soon(ctx);
        } else if !self.retries_soon {
            self.hand_over();
        }
        self.commit_soon(ctx);
        self.rearm(ctx);
    }

    fn retry_soon(&mut self, ctx: &mut Ctx<Self>) {
        if !std::mem::replace(&mut self.retries_soon, true) {
            ctx.after(RETRY_AFTER, |me, _| {
                me.retries_soon = false;
                me.hand_over();
            });
        }
    }

    fn commit_soon(&mut self, ctx: &mut Ctx<Self>) {
        if !std::mem::replace(&mut self.commits_soon, true) {
            ctx.after(PROGRESS_PERIOD, |me, _| {
                me.commits_soon = false;
                me.commit();
            });
        }
    }

    /// Commits how far both topics are done with.
    fn commit(&mut self) {
        let Some(settlement) = &mut self.settlement else { return };
        let progress = (settlement.ledger.progress(), settlement.ledger.op_progress());
        if progress != self.committed {
            self.committed = progress;
            self.port.commit(TRANSACTION_GROUP, HALF_TOPIC, 0, progress.0 as i64);
            self.port.commit(TRANSACTION_GROUP, OP_HALF_TOPIC, 0, progress.1 as i64);
            self.port.send_all();
        }
    }

    /// Sets the alarm for the first half message that is due.
    pub(super) fn rearm(&mut self, ctx: &mut Ctx<Self>) {
        let due = self.settlement.as_ref().and_then(|settlement| settlement.ledger.first_due_ms());
        if self.alarm.map(|(at, _)| at) == due {
            return;
        }
        if let Some((_, alarm)) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        if let Some(due) = due {
            let wait = Duration::from_millis((due - self.now()).max(0) as u64);
            self.set_alarm(due, wait, ctx);
        }
    }

    pub(super) fn set_alarm(&mut self, due: i64, wait: Duration, ctx: &mut Ctx<Self>) {
        let alarm = ctx.after(wait, |me, ctx| {
            me.alarm = None;
            me.run_due(ctx);
        });
        self.alarm = Some((due, alarm));
    }
}

fn record_at(parts: &TransactionParts, physical: u64) -> Option<Bytes> {
    Some(parts.log.record_at(PhysicalOffset(physical))?.into_bytes())
}

impl Logic for Transactions {
    const NAME: &'static str = "transactions";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let reply_to = Arc::new(ReplyTo::Actor(ctx.address().recipient()));
        self.reply_to = Some(reply_to.clone());
        self.parts.control.producers().watch(ctx.address().recipient());
        // It comes back when all that a predecessor has sent is in the log.
        let nothing = SendBatch { reply_to: Some(reply_to), ..SendBatch::default() };
        self.parts.appender.do_send(AppendBatch(Box::new(nothing)));
    }

    fn drained(&mut self, _: &mut Ctx<Self>) {
        if !self.retries_soon {
            self.hand_over();
        }
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        // Behind whatever is under way, and before the appender stops.
        self.hand_over();
        self.commit();
    }
}

impl Receive<EndBurst> for Transactions {
    fn receive(&mut self, EndBurst(ends): EndBurst, ctx: &mut Ctx<Self>) -> Reply<()> {
        for end in ends {
            self.end(EndOrder { end, answer: None }, ctx);
        }
        Reply::Now(())
    }
}

impl Receive<EndTransaction> for Transactions {
    fn receive(
        &mut self,
        EndTransaction(end): EndTransaction,
        ctx: &mut Ctx<Self>,
    ) -> Reply<Result<(), EndRefusal>> {
        let (sender, answer) = oneshot::channel();
        self.end(EndOrder { end, answer: Some(sender) }, ctx);
        let lost =
            || Err(EndRefusal::NotStored("the request was lost by an internal failure".into()));
        Reply::Later(Box::pin(async move { answer.await.unwrap_or_else(|_| lost()) }))
    }
}

impl Receive<BatchAppended> for Transactions {
    fn receive(&mut self, BatchAppended(batch): BatchAppended, ctx: &mut Ctx<Self>) -> Reply<()> {
        if self.settlement.is_some() {
            self.stored(&batch, ctx);
        } else {
            self.begin_if_caught_up(ctx);
        }
        Reply::Now(())
    }
}

impl Receive<Arrived> for Transactions {
    fn receive(&mut self, _: Arrived, ctx: &mut Ctx<Self>) -> Reply<()> {
        if self.settlement.is_some() {
            self.take_in_soon(ctx);
        } else {
            self.begin_if_caught_up(ctx);
        }
        Reply::Now(())
    }
}

impl Receive<GroupsAppeared> for Transactions {
    fn receive(
        &mut self,
        GroupsAppeared(groups): GroupsAppeared,
        ctx: &mut Ctx<Self>,
    ) -> Reply<()> {
        let now = self.now();
        if let Some(settlement) = &mut self.settlement {
            groups.iter().for_each(|group| settlement.ledger.group_appeared(group, now));
            self.rearm(ctx);
        }
        Reply::Now(())
    }
}

impl Receive<Panic> for Transactions {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("told to")
    }
}
