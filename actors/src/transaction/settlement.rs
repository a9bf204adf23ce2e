//! From decisions to the log: what is to be stored next, and what follows from its being stored.
//!
//! A plain value around the [`Ledger`]. Decisions are gathered into one batch while another is on its way
//! to the appender; so one batch carries what came in the meantime, and batches grow with the load.
//!
//! Order of writes: the message that consumers get is stored first; only when that is certain is its
//! half message noted as done, by an op message of the next batch. A crash in between leaves a half
//! message without a note, which the next start finds by the message (see [`super::recovery`]). A
//! rollback is done once its note is stored. Ends of a half message that another end is under way for
//! are held until that is known, then looked at again: so whoever is answered with success knows what
//! has happened.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use gantry_codec::Record;

use super::{
    forms::{FormError, Forms, Source},
    half::HalfKey,
    ledger::{Ledger, Standing},
    op,
    orders::{EndOrder, EndRefusal, Outcome},
};
use crate::{
    log::batch::{Send, SendBatch, SendResult},
    topic::QueueSlot,
};

/// Decisions that wait for the batch under way; more are refused, and asked for later.
const GATHERED_MAX: usize = 100_000;
/// Messages of one batch, so that the appender has time for others in between.
const BATCH_MAX: usize = 1024;

/// What one send of a batch is for.
enum Step {
    /// Consumers get the message.
    Commit { half: u64, order: EndOrder },
    /// The half message goes to the topic of those that were given up.
    GiveUp { half: u64 },
    /// The half message goes to the end of its queue.
    Carry { half: u64 },
    /// One from the topic of those that were given up goes back to the half messages.
    Resume { order: tokio::sync::oneshot::Sender<Result<(), EndRefusal>> },
    /// It is done.
    Note { half: u64 },
}

/// See the module's text.
pub struct Settlement {
    /// Which half messages are open.
    pub ledger: Ledger,
    /// Full ones, oldest first.
    full: VecDeque<(Box<SendBatch>, Vec<Step>)>,
    batch: Box<SendBatch>,
    steps: Vec<Step>,
    /// Half messages that have to be noted as done.
    done: Vec<u64>,
    /// Those of them that are done by the note alone.
    rolled_back: HashMap<u64, EndOrder>,
    under_way: Option<Vec<Step>>,
    held: HashMap<u64, Vec<EndOrder>>,
    /// How transactions came out, since the start.
    pub counts: Counts,
}

/// How transactions came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Consumers get them.
    pub committed: u64,
    /// Nobody gets them.
    pub rolled_back: u64,
    /// Nobody could decide.
    pub given_up: u64,
}

/// What a batch that came back means.
#[derive(Default)]
pub struct Settled {
    /// Ends that have to be looked at again.
    pub again: Vec<EndOrder>,
    /// Why something was not stored, if so.
    pub refused: Option<String>,
}

impl Settlement {
    /// A settlement of what `ledger` has; those in `done` are done without a note that says so.
    pub fn new(ledger: Ledger, done: Vec<u64>) -> Self {
        Self {
            ledger,
            full: VecDeque::new(),
            batch: Box::default(),
            steps: Vec::new(),
            done,
            rolled_back: HashMap::new(),
            under_way: None,
            held: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// Ends the half message of `record`, which the order was found to be about.
    pub fn end(&mut self, order: EndOrder, half: &Source<'_>, forms: &Forms<'_>) {
        let key = HalfKey::of(&half.record);
        match self.ledger.standing(half.record.queue_offset as u64, &key) {
            Standing::Ended => order.answer(Ok(())),
            Standing::GivenUp => order.answer(Err(EndRefusal::GivenUp)),
            Standing::UnderWay(offset) => self.held.entry(offset).or_default().push(order),
            Standing::Open(_) if self.gathered() >= GATHERED_MAX => {
                order.answer(Err(EndRefusal::Busy));
            }
            Standing::Open(offset) => match order.end.outcome {
                Outcome::Commit => self.commit(offset, &key, order, half, forms),
                Outcome::Rollback => {
                    self.ledger.begin(offset, &key);
                    self.done.push(offset);
                    self.rolled_back.insert(offset, order);
                }
            },
        }
    }

    fn commit(
        &mut self,
        offset: u64,
        key: &HalfKey,
        order: EndOrder,
        half: &Source<'_>,
        forms: &Forms<'_>,
    ) {
        match forms.committed(&mut self.batch, half) {
            Ok(()) => {
                self.ledger.begin(offset, key);
                self.add(Step::Commit { half: offset, order });
            }
            Err(why) => order.answer(Err(why.into())),
        }
    }

    /// Gives up a half message that is due to be.
    pub fn give_up(
        &mut self,
        offset: u64,
        half: &Source<'_>,
        checks: u32,
        slot: Arc<QueueSlot>,
        forms: &Forms<'_>,
    ) {
        let key = HalfKey::of(&half.record);
        if self.ledger.standing(offset, &key) == Standing::Open(offset) {
            self.ledger.begin(offset, &key);
            forms.given_up(&mut self.batch, half, slot, checks);
            self.add(Step::GiveUp { half: offset });
        }
    }

    /// Stores a half message once more, at the end of its queue.
    pub fn carry(
        &mut self,
        offset: u64,
        half: &Source<'_>,
        checks: u32,
        forms: &Forms<'_>,
    ) -> Result<(), FormError> {
        let key = HalfKey::of(&half.record);
        if self.ledger.standing(offset, &key) == Standing::Open(offset) {
            // A copy is known by its count; one question less does no harm.
            forms.copy(&mut self.batch, half, checks.max(1))?;
            self.ledger.begin(offset, &key);
            self.add(Step::Carry { half: offset });
        }
        Ok(())
    }

    /// Brings one back that was given up.
    pub fn resume(
        &mut self,
        half: &Source<'_>,
        forms: &Forms<'_>,
        order: tokio::sync::oneshot::Sender<Result<(), EndRefusal>>,
    ) {
        match forms.copy(&mut self.batch, half, 0) {
            Ok(()) => self.add(Step::Resume { order }),
            Err(why) => {
                // Nobody waits any more if the connection is gone.
                let _ = order.send(Err(why.into()));
            }
        }
    }

    /// The record of an open half message is gone from the log: nobody can get it any more.
    pub fn lost(&mut self, offset: u64) {
        self.ledger.ended(offset);
        self.done.push(offset);
    }

    /// These are done, for a reason that lies elsewhere.
    pub fn note_done(&mut self, halves: Vec<u64>) {
        self.done.extend(halves);
    }

    fn gathered(&self) -> usize {
        self.full.len() * BATCH_MAX + self.steps.len() + self.done.len()
    }

    /// The message at the end of the batch is for this step.
    fn add(&mut self, step: Step) {
        self.steps.push(step);
        if self.steps.len() >= BATCH_MAX {
            self.full.push_back((std::mem::take(&mut self.batch), std::mem::take(&mut self.steps)));
        }
    }

    /// Whether a batch is on its way.
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// What has been gathered, if there is something and nothing is on its way.
    pub fn take_batch(
        &mut self,
        forms: &Forms<'_>,
        now_ms: i64,
        host: SocketAddr,
    ) -> Option<Box<SendBatch>> {
        if self.under_way.is_some() || self.gathered() == 0 {
            return None;
        }
        let newest = || (std::mem::take(&mut self.batch), std::mem::take(&mut self.steps));
        let (mut batch, mut steps) = self.full.pop_front().unwrap_or_else(newest);
        let noted = self.done.len().min(BATCH_MAX);
        let bodies = op::bodies(self.done.get(..noted).unwrap_or_default());
        // The op topic is made with every start: without it nothing is taken off the list.
        if let Ok(slot) = forms.op_queue() {
            for (half, body) in self.done.drain(..noted).zip(bodies) {
                forms.op(&mut batch, &slot, body, now_ms, host);
                steps.push(Step::Note { half });
            }
        }
        self.under_way = Some(steps);
        Some(batch)
    }

    /// The batch is back.
    pub fn stored(&mut self, batch: &SendBatch, now_ms: i64) -> Settled {
        let mut settled = Settled::default();
        for (step, send) in self.under_way.take().into_iter().flatten().zip(&batch.sends) {
            let place = match &send.result {
                SendResult::Stored(place) => Ok(*place),
                refused => Err(reason(send, refused)),
            };
            if let Err(why) = &place {
                settled.refused.get_or_insert_with(|| why.clone());
            }
            self.step_done(step, place, now_ms, &mut settled);
        }
        settled
    }

    fn step_done(
        &mut self,
        step: Step,
        place: Result<u64, String>,
        now_ms: i64,
        settled: &mut Settled,
    ) {
        match (step, place) {
            (Step::Commit { half, order }, Ok(_)) => {
                self.counts.committed += 1;
                self.is_done(half, settled);
                self.done.push(half);
                order.answer(Ok(()));
            }
            (Step::Commit { half, order }, Err(why)) => {
                self.is_open_again(half, now_ms, settled);
                order.answer(Err(EndRefusal::NotStored(why)));
            }
            (Step::GiveUp { half }, Ok(_)) => {
                self.counts.given_up += 1;
                self.ledger.gave_up(half);
                self.release(half, settled);
                self.done.push(half);
            }
            (Step::Carry { half }, Ok(place)) => {
                self.ledger.moved(half, place);
                self.release(half, settled);
                self.done.push(half);
            }
            (Step::GiveUp { half } | Step::Carry { half }, Err(_)) => {
                self.is_open_again(half, now_ms, settled);
            }
            (Step::Resume { order }, place) => {
                let answer = place.map(drop).map_err(EndRefusal::NotStored);
                // Nobody waits any more if the connection is gone.
                let _ = order.send(answer);
            }
            (Step::Note { half }, Ok(place)) => {
                self.ledger.op_stored(place, &[half]);
                if let Some(order) = self.rolled_back.remove(&half) {
                    self.counts.rolled_back += 1;
                    self.is_done(half, settled);
                    order.answer(Ok(()));
                }
            }
            (Step::Note { half }, Err(why)) => match self.rolled_back.remove(&half) {
                Some(order) => {
                    self.is_open_again(half, now_ms, settled);
                    order.answer(Err(EndRefusal::NotStored(why)));
                }
                None => self.done.push(half),
            },
        }
    }

    fn is_done(&mut self, half: u64, settled: &mut Settled) {
        self.ledger.ended(half);
        self.release(half, settled);
    }

    fn is_open_again(&mut self, half: u64, now_ms: i64, settled: &mut Settled) {
        self.ledger.failed(half, now_ms);
        self.release(half, settled);
    }

    fn release(&mut self, half: u64, settled: &mut Settled) {
        settled.again.extend(self.held.remove(&half).into_iter().flatten());
    }
}

fn reason(send: &Send, result: &SendResult) -> String {
    match result {
        SendResult::QueueGone => format!("topic[{}] has been deleted", send.slot.topic),
        SendResult::TooLarge(why) => why.clone(),
        SendResult::Refused(why) => why.to_string(),
        SendResult::Open | SendResult::Stored(_) | SendResult::Duplicate(_) => {
            "the message was lost by an internal failure".to_owned()
        }
    }
}

/// The record in `bytes`, as what something can be made of.
pub fn source(bytes: &Bytes) -> Option<Source<'_>> {
    Record::decode(bytes).ok().map(|record| Source { bytes, record })
}
