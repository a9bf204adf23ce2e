//! How an actor is, asked through its mailbox.
//!
//! A question goes the way of every message, so an answer shows what matters: that the actor still
//! handles its mail. One that does not answer in time is [`Health::Frozen`], whether its thread is
//! blocked, its mailbox waits for a future that never comes, or it drowns in messages. The answer tells too
//! how many messages stood before the question, and how long it waited ([`Backlog`]): actix does not say
//! how full a mailbox is, but the shell counts what it is given. A question that
//! has not been answered yet is not put again, so a frozen actor's mailbox does not fill with them.
//!
//! Asking costs a message per child; the tree asks when it is told to
//! ([`Tree::check`](crate::Tree::check), [`Tree::watch`](crate::Tree::watch)), not by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{ActorContext, Message};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::link::{Link, State};
use crate::reply::Reply;
use crate::shell::{Ctx, Logic, Receive};

/// How an actor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Up,
    /// It works, but not as it should; the text says what an operator should look at.
    Degraded(String),
    /// It is being made, or waits to be made again. Said by the tree, not by a logic.
    Starting,
    /// It did not answer in time. Said by the tree, not by a logic.
    Frozen,
    /// It is not there, or not any more. Said by the tree, not by a logic.
    Down,
}

/// What a question met in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that stood before it.
    pub messages: u64,
    /// How long it waited.
    pub waited: Duration,
}

/// Questions that were put together and are waited for together.
pub(crate) struct Round {
    open: AtomicUsize,
    done: Notify,
}

impl Round {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), done: Notify::new() })
    }

    /// The question for the child behind `link`, unless an earlier one is still open there.
    pub fn question(self: &Arc<Self>, link: &Arc<Link>) -> Option<AskHealth> {
        let number = {
            let mut report = link.report();
            if report.asked != report.answered || link.state() != State::Running {
                return None;
            }
            report.asked = report.asked.wrapping_add(1);
            report.asked
        };
        self.open.fetch_add(1, Ordering::AcqRel);
        Some(AskHealth {
            number,
            link: Arc::clone(link),
            round: Arc::clone(self),
            handled: link.handled(),
            since: Instant::now(),
        })
    }

    /// Waits until every question has been answered or lost.
    pub async fn done(&self) {
        loop {
            let mut done = std::pin::pin!(self.done.notified());
            done.as_mut().enable();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            done.await;
        }
    }
}

/// Says how the child behind `link` is, and how it was taken to be before.
pub(crate) fn judge(link: &Link) -> (Health, Health) {
    let mut report = link.report();
    let before = report.health.clone();
    let now = match link.state() {
        State::Starting | State::BackingOff => Health::Starting,
        State::Down | State::Ended => Health::Down,
        State::Running | State::Stopping if report.asked != report.answered => Health::Frozen,
        State::Running | State::Stopping => match &report.health {
            said @ (Health::Up | Health::Degraded(_)) => said.clone(),
            Health::Starting | Health::Frozen | Health::Down => Health::Up,
        },
    };
    report.health = now.clone();
    (before, now)
}

/// The question.
pub(crate) struct AskHealth {
    number: u32,
    link: Arc<Link>,
    round: Arc<Round>,
    /// What the actor had handled by then.
    handled: u64,
    since: Instant,
}

impl Message for AskHealth {
    type Result = ();
}

impl Drop for AskHealth {
    /// Answered or lost, this question is not open any more.
    fn drop(&mut self) {
        self.link.report().answered = self.number;
        if self.round.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.round.done.notify_waiters();
        }
    }
}

impl<L: Logic> Receive<AskHealth> for L {
    fn receive(&mut self, question: AskHealth, _: &mut Ctx<L>) -> Reply<()> {
        let AskHealth { link, handled, since, .. } = &question;
        // This question has been counted too.
        let messages = link.handled().saturating_sub(handled + 1);
        let mut report = link.report();
        report.health = self.health();
        report.mailbox = Backlog { messages, waited: since.elapsed() };
        drop(report);
        Reply::Now(())
    }
}

/// The order to stop in an orderly way. It stands in the queue like any message, so what was sent
/// before it is handled. With a link it holds only while the tree still wants it.
pub(crate) struct Halt(pub Option<Arc<Link>>);

impl Message for Halt {
    type Result = ();
}

impl<L: Logic> Receive<Halt> for L {
    fn receive(&mut self, Halt(link): Halt, ctx: &mut Ctx<L>) -> Reply<()> {
        if link.is_none_or(|link| link.is_halting()) {
            ctx.stop();
        }
        Reply::Now(())
    }
}
