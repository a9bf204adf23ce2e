//! Where the appender gives batches of due messages back.
//!
//! An actor that ends does not read its mailbox any more, and yet what is under way then must not be
//! delivered again by the next start. So batches come back to this actor, on the same thread, which
//! lays them down where the timers' actor takes them from: told of each while it lives, and waiting for
//! all that are missing when it ends.
//!
//! Failure policy: restart empty; what had been laid down is still there.

use std::sync::{Arc, Mutex, PoisonError};

use actix::{Addr, Message};
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use tokio::sync::Notify;

use super::timer::Timer;
use crate::log::batch::{BatchAppended, SendBatch};

/// Batches have come back.
#[derive(Message)]
#[rtype(result = "()")]
pub struct BatchesBack;

/// What has come back and was not taken yet.
#[derive(Default)]
pub struct ReturnBox {
    #[expect(clippy::vec_box, reason = "the boxes came through a mailbox and leave through one")]
    batches: Mutex<Vec<Box<SendBatch>>>,
    timer: Mutex<Option<Addr<Shell<Timer>>>>,
    arrived: Notify,
}

impl ReturnBox {
    /// Who is told from now on.
    pub fn tell(&self, timer: Addr<Shell<Timer>>) {
        *self.timer.lock().unwrap_or_else(PoisonError::into_inner) = Some(timer);
    }

    /// What is there, all of it.
    pub fn take(&self) -> Vec<Box<SendBatch>> {
        std::mem::take(&mut *self.batches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `count` batches are there.
    pub async fn wait_for(&self, count: usize) {
        while self.batches.lock().unwrap_or_else(PoisonError::into_inner).len() < count {
            self.arrived.notified().await;
        }
    }

    fn put(&self, batch: Box<SendBatch>) {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        self.arrived.notify_one();
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = &*timer {
            timer.do_send(BatchesBack);
        }
    }
}

/// See the module's text.
pub struct Returns(pub Arc<ReturnBox>);

impl Logic for Returns {
    const NAME: &'static str = "timer returns";
}

impl Receive<BatchAppended> for Returns {
    fn receive(&mut self, BatchAppended(batch): BatchAppended, _: &mut Ctx<Self>) -> Reply<()> {
        self.0.put(batch);
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_ends_waits_for_what_is_missing() {
        let returns = ReturnBox::default();
        returns.put(Box::default());
        let waits = returns.wait_for(2);
        tokio::pin!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        returns.put(Box::default());
        waits.await;
        assert_eq!(returns.take().len(), 2);
        returns.wait_for(0).await;
    }
}
