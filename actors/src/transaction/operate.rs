//! What operators ask: which transactions are open, and to have one asked for again.
//!
//! RESUME_CHECK_HALF_MESSAGE (323) is Java's for half messages that were given up: it stores them once
//! more among the half messages, their count of questions at 0. Here it takes open ones too, which are
//! then asked for at once; and one that was brought back before is not brought back twice.

use actix::Message;
use gantry_codec::{
    OffsetMessageId,
    body::{OpenTransaction, TransactionList},
};
use gantry_supervisor::{ContextExt, Ctx, Receive, Reply};
use tokio::sync::oneshot;

use super::{
    half::{Half, HalfKey},
    ledger::Standing,
    orders::EndRefusal,
    settlement::source,
    transactions::Transactions,
};
use crate::topic::names::{HALF_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC};

/// Which transactions are open?
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "TransactionList")]
pub struct ListTransactions {
    /// Of this group only.
    pub group: Option<Box<str>>,
    /// Meant for this topic only.
    pub topic: Option<Box<str>>,
    /// At most so many.
    pub limit: usize,
}

/// Have producers asked for the half message at this place of the log.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), EndRefusal>")]
pub struct ResumeTransaction {
    /// The place.
    pub physical: u64,
}

type Answer = oneshot::Sender<Result<(), EndRefusal>>;

impl ListTransactions {
    fn wants(&self, half: &Half) -> bool {
        self.group.as_ref().is_none_or(|group| **group == *half.group)
            && self.topic.as_deref().is_none_or(|topic| half.topic.as_deref() == Some(topic))
    }
}

impl Transactions {
    fn list(&self, asked: &ListTransactions) -> TransactionList {
        let Some(settlement) = &self.settlement else { return TransactionList::default() };
        let ledger = &settlement.ledger;
        let wanted = ledger.iter().filter(|(_, half)| asked.wants(half)).take(asked.limit);
        let host = self.parts.store_host;
        let entry = |(offset, half): (u64, &Half)| OpenTransaction {
            born_at: half.key.born_ms,
            checks: half.checks,
            group: half.group.to_string(),
            half_offset: offset,
            id: OffsetMessageId { host, offset: half.physical }.to_string(),
            next_at: ledger.due_ms(offset),
            stored_at: half.stored_ms,
            topic: half.topic.as_deref().unwrap_or_default().to_owned(),
            unique_key: half.key.unique_key.to_string(),
            waits_for_producer: ledger.is_waiting(offset),
        };
        let counts = settlement.counts;
        TransactionList {
            committed: counts.committed,
            given_up: counts.given_up,
            open: ledger.len() as u64,
            rolled_back: counts.rolled_back,
            transactions: wanted.map(entry).collect(),
        }
    }

    fn resume(&mut self, physical: u64, answer: Answer, ctx: &mut Ctx<Self>) {
        // One that was brought back a moment ago shall be known.
        self.take_in(ctx);
        let read = self.read(vec![physical]);
        ctx.spawn_then(read, move |me, read, ctx| {
            let bytes = read.ok().and_then(|mut read| read.pop().flatten());
            let half = bytes.as_ref().and_then(source);
            let now = me.now();
            let (Some(half), Some(settlement)) = (half, &mut me.settlement) else {
                return refuse(answer, EndRefusal::NotFound);
            };
            let key = HalfKey::of(&half.record);
            if let Some(offset) = settlement.ledger.open_copy_of(&key) {
                settlement.ledger.resume(offset, now);
                // Nobody waits any more if the connection is gone.
                let _ = answer.send(Ok(()));
            } else if half.record.topic == TRANS_CHECK_MAX_TIME_TOPIC {
                settlement.resume(&half, &Self::forms(&me.parts), answer);
            } else if half.record.topic == HALF_TOPIC {
                let offset = half.record.queue_offset as u64;
                refuse(answer, reason(settlement.ledger.standing(offset, &key)));
            } else {
                refuse(answer, EndRefusal::NotFound);
            }
            me.rearm(ctx);
        });
    }
}

fn reason(standing: Standing) -> EndRefusal {
    match standing {
        Standing::GivenUp => EndRefusal::GivenUp,
        Standing::UnderWay(_) | Standing::Open(_) => EndRefusal::Busy,
        Standing::Ended => EndRefusal::Ended,
    }
}

fn refuse(answer: Answer, refusal: EndRefusal) {
    // Nobody waits any more if the connection is gone.
    let _ = answer.send(Err(refusal));
}

impl Receive<ListTransactions> for Transactions {
    fn receive(&mut self, asked: ListTransactions, ctx: &mut Ctx<Self>) -> Reply<TransactionList> {
        // The newest too.
        self.take_in(ctx);
        self.list(&asked).into()
    }
}

impl Receive<ResumeTransaction> for Transactions {
    fn receive(
        &mut self,
        ResumeTransaction { physical }: ResumeTransaction,
        ctx: &mut Ctx<Self>,
    ) -> Reply<Result<(), EndRefusal>> {
        let (sender, answer) = oneshot::channel();
        self.resume(physical, sender, ctx);
        Reply::Later(Box::pin(async move { answer.await.unwrap_or(Err(EndRefusal::Busy)) }))
    }
}
