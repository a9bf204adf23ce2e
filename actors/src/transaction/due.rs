//! Half messages that are due: producers are asked, or they are given up; and those that lie too far
//! behind the end of their queue.
//!
//! Records are read by the cold readers, as most have left the memory when nobody has decided on them for so long.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gantry_codec::Command;
use gantry_supervisor::{ContextExt, Ctx};
use slog::{error, info, warn};

use super::{check::question, ledger::Due, settlement::source, transactions::Transactions};
use crate::{
    net::ConnectionHandle,
    topic::{CreateTopic, QueueSlot, names::TRANS_CHECK_MAX_TIME_TOPIC},
};

/// Half messages that are dealt with at once when they are due, and the time until the next so many:
/// clients keep a limited number of questions.
const DUE_AT_ONCE: usize = 256;
const DUE_PACE: Duration = Duration::from_millis(20);

impl Transactions {
    pub(super) fn run_due(&mut self, ctx: &mut Ctx<Self>) {
        let now = self.now();
        let Some(settlement) = &mut self.settlement else { return };
        let due = settlement.ledger.take_due(now, DUE_AT_ONCE);
        let (given_up, asked): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.is_given_up);
        self.ask(asked, ctx);
        self.give_up(given_up, ctx);
        let next = self.settlement.as_ref().and_then(|settlement| settlement.ledger.first_due_ms());
        match next.filter(|next| *next <= now) {
            Some(next) => self.set_alarm(next, DUE_PACE, ctx),
            None => self.rearm(ctx),
        }
    }

    /// Asks a producer of each one's group, another one each time.
    fn ask(&mut self, due: Vec<Due>, ctx: &mut Ctx<Self>) {
        let Some(settlement) = &mut self.settlement else { return };
        let mut asked: Vec<(Due, ConnectionHandle)> = Vec::new();
        for due in due {
            match self.parts.control.producers().of_group(&due.group) {
                Some(producer) => asked.push((due, producer)),
                None => settlement.ledger.nobody_there(due.offset),
            }
        }
        if asked.is_empty() {
            return;
        }
        let (log, name) = (self.parts.log.clone(), self.parts.broker_name.clone());
        let offsets: Vec<u64> = asked.iter().map(|(due, _)| due.offset).collect();
        let questions = self.read_apart(move || {
            let with_question = |(due, producer): (Due, ConnectionHandle)| {
                let question = question(&log, &due, &name);
                (due, producer, question)
            };
            asked.into_iter().map(with_question).collect::<Vec<_>>()
        });
        ctx.spawn_then(questions, move |me, questions, ctx| {
            match questions {
                Ok(questions) => questions.into_iter().for_each(|(due, producer, question)| {
                    me.put(&due, &producer, question);
                }),
                Err(_) => me.leave_for_later(&offsets),
            }
            me.rearm(ctx);
        });
    }

    fn put(&mut self, due: &Due, producer: &ConnectionHandle, question: Option<Command>) {
        let now = self.now();
        let Some(settlement) = &mut self.settlement else { return };
        match question {
            Some(question) => {
                producer.push(question);
                settlement.ledger.asked(due.offset, now);
            }
            None => {
                error!(self.parts.log_to, "half message is gone from the log, nobody decided on it";
                    "offset" => due.offset, "group" => &*due.group);
                settlement.lost(due.offset);
            }
        }
    }

    /// A reader failed: they are due again some time.
    fn leave_for_later(&mut self, offsets: &[u64]) {
        let now = self.now();
        let Some(settlement) = &mut self.settlement else { return };
        offsets.iter().for_each(|offset| settlement.ledger.failed(*offset, now));
    }

    /// Moves half messages to the topic of those that nobody could decide on.
    fn give_up(&mut self, due: Vec<Due>, ctx: &mut Ctx<Self>) {
        if due.is_empty() {
            return;
        }
        let (facts, root) = (self.parts.facts.clone(), self.parts.topics_root.clone());
        let read = self.read(due.iter().map(|due| due.physical).collect());
        let prepared = async move {
            let topic = TRANS_CHECK_MAX_TIME_TOPIC;
            if facts.topics.get(topic).is_none() {
                // Looked for again right away; what went wrong is in the topics' log.
                let _ = root.send(CreateTopic::internal(topic, 1)).await;
            }
            let slot = facts.topics.get(topic).and_then(|view| view.queue(0).cloned());
            Some((slot.filter(|slot| slot.settle().is_ok())?, read.await.ok()?))
        };
        ctx.spawn_then(prepared, move |me, prepared, ctx| {
            match prepared {
                Some((slot, records)) => {
                    for (due, bytes) in due.iter().zip(records) {
                        me.give_up_one(due, bytes.as_ref(), &slot);
                    }
                }
                None => me.leave_for_later(&due.iter().map(|due| due.offset).collect::<Vec<_>>()),
            }
            me.rearm(ctx);
        });
    }

    fn give_up_one(&mut self, due: &Due, bytes: Option<&Bytes>, slot: &Arc<QueueSlot>) {
        let Some(settlement) = &mut self.settlement else { return };
        match bytes.and_then(source) {
            Some(half) => {
                info!(self.parts.log_to, "half message given up, nobody decided on it";
                    "offset" => due.offset, "group" => &*due.group, "checks" => due.checks);
                let forms = Self::forms(&self.parts);
                settlement.give_up(due.offset, &half, due.checks, slot.clone(), &forms);
            }
            None => {
                error!(self.parts.log_to, "half message is gone from the log, nobody decided on it";
                    "offset" => due.offset, "group" => &*due.group);
                settlement.lost(due.offset);
            }
        }
    }

    /// Stores once more what lies too far behind the end of the queue.
    pub(super) fn carry_lagging(&mut self, ctx: &mut Ctx<Self>) {
        let Some(settlement) = &self.settlement else { return };
        let lagging = settlement.ledger.lagging(DUE_AT_ONCE);
        if lagging.is_empty() {
            return;
        }
        let read = self.read(lagging.iter().map(|(_, physical, _)| *physical).collect());
        ctx.spawn_then(read, move |me, records, _| {
            let Some(settlement) = &mut me.settlement else { return };
            let forms = Self::forms(&me.parts);
            for ((offset, _, checks), bytes) in
                lagging.into_iter().zip(records.into_iter().flatten())
            {
                match bytes.as_ref().and_then(source) {
                    Some(half) => {
                        if let Err(e) = settlement.carry(offset, &half, checks, &forms) {
                            warn!(me.parts.log_to, "half message stays where it is";
                                "offset" => offset, "reason" => %e);
                        }
                    }
                    None => settlement.lost(offset),
                }
            }
        });
    }
}
