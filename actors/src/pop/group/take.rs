//! A pop's way through the queues of its topics.
//!
//! It goes on at once from queue to queue while they can be read without waiting; where one cannot, the
//! pop rests until a reader has read it, and the queue gives nothing to others meanwhile.

use std::sync::Arc;

use gantry_codec::pop::{ExtraInfo, ORDER_REVIVE_QUEUE, TopicMark};
use gantry_supervisor::{ContextExt, Ctx};
use slog::error;

use super::PopGroup;
use crate::{
    expiry::Expired,
    pop::{
        back::Told,
        ledger::Span,
        order::OrderBatch,
        queues::QueueKey,
        read::{Found, Look, Wanted, as_asked_for, look, read_patiently},
        walk::{Chances, PopAnswer, Stop, Walk},
    },
    topic::OpenQueue,
};

/// What has come of a pop so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was answered with messages.
    Found,
    /// There is nothing for it: it was answered so, or waits.
    Nothing,
    /// A queue is being read for it.
    Reading,
}

/// What has come of a look at one queue.
enum Visit {
    Done,
    /// Its actor has to open it first.
    Unopened,
    /// A reader has to read it.
    Cold(Wanted),
    /// These have to be buried first.
    Expired(Vec<Expired>),
}

impl PopGroup {
    /// Has a pop look everywhere, from the start.
    pub(super) fn begin(&mut self, mut walk: Walk, ctx: &mut Ctx<Self>) -> Progress {
        let sources = self.sources(&walk.request.topic);
        let view = self.parts.facts.topics.get(&walk.request.topic);
        let chances = Chances {
            has_priorities: view.is_some_and(|view| view.kind.has_priorities),
            retry_first_percent: self.parts.settings.retry_first_percent,
        };
        walk.begin(self.now(), &sources, chances, &mut self.dice);
        self.go_on(walk, ctx)
    }

    /// Has it look where it has not looked yet.
    fn go_on(&mut self, mut walk: Walk, ctx: &mut Ctx<Self>) -> Progress {
        while let Some(stop) = walk.stops.pop() {
            match self.visit(&mut walk, &stop) {
                Visit::Done => {}
                Visit::Unopened => return self.open(walk, stop, ctx),
                Visit::Cold(wanted) => return self.read_cold(walk, stop, wanted, ctx),
                Visit::Expired(expired) => return self.bury(walk, stop, expired, ctx),
            }
        }
        self.finish(walk, ctx)
    }

    fn visit(&mut self, walk: &mut Walk, stop: &Stop) -> Visit {
        let (log, limits, now) = (self.parts.log.clone(), self.parts.limits, self.now());
        let (in_order, attempt) = (walk.request.in_order, walk.request.attempt.as_deref());
        let lifetime = self.lifetime(&stop.key.0).map(|lifetime| (lifetime, now));
        let Some(queue) = self.queue(&stop.key, walk.request.begins_at_end) else {
            return Visit::Done;
        };
        let (_, end) = queue.slot.range().unwrap_or_default();
        queue.seen_end = end;
        if !walk.request.is_peek {
            queue.note_look(now, walk.request.connection);
        }
        if queue.is_busy {
            return Visit::Done;
        }
        let Some(span) = queue.span(in_order, attempt, now) else { return Visit::Done };
        let (messages_max, filter) = (walk.room(), walk.request.filter.clone());
        let wanted = Wanted { span, messages_max, filter, lifetime };
        if wanted.messages_max == 0 || end == 0 {
            walk.popped.rest += end.saturating_sub(span.from);
            return Visit::Done;
        }
        let Some(view) = queue.slot.view() else { return Visit::Unopened };
        match look(&view, &log, &limits, &wanted) {
            Look::Found(found) => match self.unburied(walk, stop, &found) {
                Some(expired) => Visit::Expired(expired),
                None => {
                    self.take(walk, stop, span, found);
                    Visit::Done
                }
            },
            Look::Cold => Visit::Cold(wanted),
        }
    }

    /// Rests until the queue's actor has opened it.
    fn open(&mut self, mut walk: Walk, stop: Stop, ctx: &mut Ctx<Self>) -> Progress {
        let Some(slot) = self.slot(&stop.key) else { return self.go_on(walk, ctx) };
        self.set_busy(&stop.key, true);
        let opened = slot.actor().send(OpenQueue);
        ctx.spawn_then(opened, move |group, opened, ctx| {
            group.set_busy(&stop.key, false);
            // A queue that cannot be opened is passed over; its own actor tells why.
            if opened.is_ok() && group.slot(&stop.key).is_some_and(|slot| slot.view().is_some()) {
                walk.stops.push(stop);
            }
            group.resume(walk, ctx);
        });
        Progress::Reading
    }

    /// Rests until a reader has read the queue.
    fn read_cold(
        &mut self,
        mut walk: Walk,
        stop: Stop,
        wanted: Wanted,
        ctx: &mut Ctx<Self>,
    ) -> Progress {
        let view = self.queues.get(&stop.key).and_then(|queue| queue.slot.view());
        let Some((slot, view)) = self.slot(&stop.key).zip(view) else {
            return self.go_on(walk, ctx);
        };
        self.set_busy(&stop.key, true);
        let (log, limits, span) = (self.parts.log.clone(), self.parts.limits, wanted.span);
        let found =
            self.parts.cold.read(&slot, move || read_patiently(&view, &log, &limits, &wanted));
        ctx.spawn_then(found, move |group, found, ctx| {
            group.set_busy(&stop.key, false);
            let is_same = group.queues.get(&stop.key).is_some_and(|q| Arc::ptr_eq(&q.slot, &slot));
            match found {
                // The place has not moved meanwhile: acknowledgements alone do not move it.
                Ok(found) if is_same && group.is_still_at(&stop.key, &walk, span) => {
                    if let Some(expired) = group.unburied(&walk, &stop, &found) {
                        group.bury(walk, stop, expired, ctx);
                        return;
                    }
                    group.take(&mut walk, &stop, span, found);
                }
                _ => {}
            }
            group.resume(walk, ctx);
        });
        Progress::Reading
    }

    fn is_still_at(&mut self, key: &QueueKey, walk: &Walk, span: Span) -> bool {
        let now = self.now();
        let (in_order, attempt) = (walk.request.in_order, walk.request.attempt.as_deref());
        self.queue(key, false).and_then(|queue| queue.span(in_order, attempt, now)) == Some(span)
    }

    pub(super) fn resume(&mut self, walk: Walk, ctx: &mut Ctx<Self>) {
        let (topic, has_waited) = (walk.request.topic.clone(), walk.has_waited);
        let progress = self.go_on(walk, ctx);
        // Others that wait have passed this queue over, or come behind this one.
        if progress == Progress::Found || !has_waited {
            self.stir(&topic);
        }
        self.serve(ctx);
    }

    pub(super) fn set_busy(&mut self, key: &QueueKey, is_busy: bool) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.is_busy = is_busy;
        }
    }

    /// Gives what was read to the pop.
    fn take(&mut self, walk: &mut Walk, stop: &Stop, span: Span, found: Found) {
        for (offset, why) in &found.damaged {
            error!(self.log, "message is damaged, passed over"; "topic" => &*stop.key.0,
                "queue" => stop.key.1, "offset" => offset, "damage" => why);
        }
        if !walk.request.is_peek && !found.expired.is_empty() {
            self.note_expired(&stop.key, &found.expired);
        }
        let Some(queue) = self.queues.get_mut(&stop.key) else { return };
        walk.popped.rest += found.end.saturating_sub(found.read_to);
        if walk.request.is_peek {
            return self.give(walk, stop, span, found);
        }
        if let Some(activity) = &queue.activity {
            activity.delivered(found.offsets.len() as u64);
        }
        let (pop_time, due) = (walk.popped.pop_time, walk.due());
        if found.is_beyond {
            queue.reset(found.end);
        } else if walk.request.in_order {
            let before = queue.order.take();
            if found.offsets.is_empty() {
                queue.reset(found.read_to.max(span.from));
            } else {
                let (hidden, attempt) =
                    (walk.request.invisible_time, walk.request.attempt.as_deref());
                let batch =
                    OrderBatch::new(&found.offsets, pop_time, hidden, attempt, before.as_ref());
                let (times, least) = batch.times();
                walk.popped.info.add_order_counts(stop.mark, stop.key.1 as i32, times, least);
                queue.order = Some(batch);
            }
        } else {
            queue.ledger.popped(span, found.read_to, &found.offsets, pop_time, due);
            queue.ledger.skip_to(found.begins_at.min(found.end));
        }
        queue.note_look(pop_time, walk.request.connection);
        self.commit(&stop.key);
        self.give(walk, stop, span, found);
    }

    fn give(&mut self, walk: &mut Walk, stop: &Stop, span: Span, found: Found) {
        if found.offsets.is_empty() {
            return;
        }
        let (queue_id, start) = (stop.key.1 as i32, span.from as i64);
        let (place, count) = ((&stop.key.0, queue_id), found.offsets.len() as u64);
        self.parts.deliveries.note(&self.name, place, count, &found.pieces, self.now());
        let offsets: Vec<i64> = found.offsets.iter().map(|offset| *offset as i64).collect();
        walk.popped.info.add_queue(stop.mark, queue_id, start, &offsets);
        walk.popped.count += offsets.len() as u32;
        if stop.mark == TopicMark::Normal {
            walk.popped.pieces.extend(found.pieces);
        } else {
            let pop = ExtraInfo {
                start_offset: start,
                pop_time: walk.popped.pop_time,
                invisible_time: walk.request.invisible_time,
                revive_qid: if walk.request.in_order { ORDER_REVIVE_QUEUE } else { 0 },
                mark: stop.mark,
                broker_name: &self.parts.broker_name,
                queue_id,
                offset: None,
            };
            let topic = &walk.request.topic;
            let rewritten = found.pieces.iter().flat_map(|piece| as_asked_for(piece, topic, &pop));
            walk.popped.pieces.extend(rewritten);
        }
        walk.taken.push((stop.key.clone(), found.offsets));
    }

    /// It has looked everywhere: answers it, or has it wait.
    fn finish(&mut self, walk: Walk, ctx: &mut Ctx<Self>) -> Progress {
        if walk.popped.count == 0 {
            self.wait(walk, ctx);
            return Progress::Nothing;
        }
        let (due, taken, is_peek) = (walk.due(), walk.taken, walk.request.is_peek);
        let pop_time = walk.popped.pop_time;
        let arrived = walk.back.tell(Told::Pop(PopAnswer::Found(walk.popped)));
        match (is_peek, arrived) {
            (true, _) => {}
            (false, true) => self.alarm_at(due, ctx),
            (false, false) => self.give_back(&taken, pop_time, &walk.request.topic),
        }
        Progress::Found
    }

    /// The client is gone: its messages are there for others at once.
    fn give_back(&mut self, taken: &[(QueueKey, Vec<u64>)], pop_time: i64, topic: &Arc<str>) {
        for (key, offsets) in taken {
            let Some(queue) = self.queues.get_mut(key) else { continue };
            let first = queue.order.as_ref().map(|order| order.next_offset() as u64);
            match first {
                Some(first) => queue.reset(first),
                None => offsets.iter().for_each(|o| queue.ledger.give_back(*o, pop_time)),
            }
            self.is_changed = true;
        }
        self.stir(topic);
    }
}
