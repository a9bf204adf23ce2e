//! [`Driver`]: the task of one child.
//!
//! It polls the actor's context behind the panic guard and, when an incarnation ends, decides with
//! the child's policy and what its tree wants: make another one, now or after a wait, hold the child,
//! or end it.
//!
//! ```text
//!              factory ok                      stopped, killed, policy stop
//!   Starting ------------> Running (Stopping) -----------------------------> Ended
//!      ^  \ factory fails    |  panic, failure                                 ^
//!      |   `---------------. v                                                 |
//!      +---- wait over --- BackingOff --- budget spent --> Down --- verdict ---+
//!      +---------------------------------- verdict ----------'
//! ```
//!
//! The context outlives its incarnations and with it the mailbox: while the driver does not poll it,
//! messages wait there. An incarnation that died is dropped at once, before any wait, so that the callers
//! of its open answers learn of it now.
//!
//! If the driver itself is dropped, because its thread ends, it still reports the child's end: nobody
//! waits for a child that cannot answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix::dev::ContextFut;
use tokio::time::{Instant, Sleep};

use crate::guard::{self, guarded};
use crate::link::{Link, State, Want};
use crate::policy::{Budget, Exit, Policy, Tally};
use crate::shell::{Ctx, Logic, Shell};
use crate::tree::Tree;

/// See the module's text.
pub(crate) struct Driver<L: Logic> {
    /// None once the child has ended.
    actor: Option<ContextFut<Shell<L>, Ctx<L>>>,
    link: Arc<Link>,
    tree: Tree,
    budget: Budget,
    tally: Tally,
    phase: Phase,
    /// Whether there has been an attempt at an incarnation.
    has_begun: bool,
}

enum Phase {
    Starting,
    Live,
    BackingOff(Pin<Box<Sleep>>),
    Held(Cause),
}

/// Why a child is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its tree wants it to rest.
    Order,
    /// It has failed, and its tree has not decided yet.
    Failure,
}

impl<L: Logic> Driver<L> {
    pub fn new(shell: Shell<L>, ctx: Ctx<L>, link: Arc<Link>, tree: Tree, budget: Budget) -> Self {
        let actor = Some(ctx.into_future(shell));
        Self {
            actor,
            link,
            tree,
            budget,
            tally: Tally::default(),
            phase: Phase::Starting,
            has_begun: false,
        }
    }

    /// Brings the phase in line with what the tree wants; an orderly end of a live incarnation arrives
    /// through the mailbox.
    fn heed(&mut self) {
        match (self.link.want(), &self.phase) {
            (Want::Run, Phase::Held(_)) => {
                self.tally.clear();
                self.phase = Phase::Starting;
            }
            (Want::Rest, Phase::Starting | Phase::BackingOff(_)) => self.hold(Cause::Order),
            (Want::Drop, Phase::Starting | Phase::BackingOff(_) | Phase::Live) => {
                self.link.set_state(State::Down);
                self.discard();
                self.hold(Cause::Order);
            }
            (Want::Stop, Phase::Starting | Phase::BackingOff(_)) => self.end(Exit::Stopped),
            (Want::Stop, Phase::Held(Cause::Order)) => self.end(Exit::Stopped),
            (Want::Stop, Phase::Held(Cause::Failure)) => {
                let failure = self.link.last_exit().unwrap_or(Exit::Stopped);
                self.end(failure);
            }
            (Want::Kill, _) => self.end(Exit::Killed),
            _ => {}
        }
    }

    /// Makes the next incarnation.
    fn make(&mut self) {
        if self.has_begun {
            self.link.next_incarnation();
        }
        self.has_begun = true;
        self.link.set_state(State::Starting);
        let Some(actor) = &mut self.actor else { return };
        match guarded(|| restart(actor)) {
            Ok(()) => self.phase = Phase::Live,
            Err(exit) => self.died(exit),
        }
    }

    /// The incarnation has ended in an orderly way.
    fn left(&mut self) {
        if matches!(self.link.want(), Want::Rest | Want::Drop) {
            self.link.note_exit(&Exit::Stopped);
            self.hold(Cause::Order);
        } else {
            self.end(Exit::Stopped);
        }
    }

    /// The incarnation has failed.
    fn died(&mut self, exit: Exit) {
        let was_leaving = self.link.state() == State::Stopping;
        self.link.note_death(&exit);
        self.tree.log_death(&self.link, &exit, guard::take_backtrace());
        self.link.set_state(State::BackingOff);
        self.discard();
        match (self.link.want(), self.link.policy) {
            (Want::Rest | Want::Drop, _) => self.hold(Cause::Order),
            (Want::Stop | Want::Kill, _) => self.end(exit),
            (Want::Run, _) if was_leaving => self.end(exit),
            (Want::Run, Policy::Stop) => self.end(exit),
            (Want::Run, Policy::FailStop) => self.escalate(exit),
            (Want::Run, Policy::RestartFromDisk | Policy::RestartEmpty) => self.back_off(exit),
        }
    }

    fn back_off(&mut self, exit: Exit) {
        let mut rng = self.tree.rng(&self.link);
        let Some(wait) = self.tally.charge(&self.budget, Instant::now(), &mut rng) else {
            return self.escalate(exit);
        };
        self.link.note_restart();
        self.tree.log_restart(&self.link, wait);
        self.phase = if wait == Duration::ZERO {
            Phase::Starting
        } else {
            Phase::BackingOff(Box::pin(tokio::time::sleep(wait)))
        };
    }

    /// Holds the child and leaves the decision to the tree.
    fn escalate(&mut self, exit: Exit) {
        self.link.set_want(Want::Rest);
        self.hold(Cause::Failure);
        self.tree.escalate(&self.link, exit);
    }

    fn hold(&mut self, cause: Cause) {
        self.phase = Phase::Held(cause);
        self.link.set_state(State::Down);
    }

    /// Drops the incarnation with its futures; the context and its mailbox stay.
    fn discard(&mut self) {
        let Some(actor) = &mut self.actor else { return };
        if let Err(exit) = guarded(|| restart(actor)) {
            self.link.note_death(&exit);
            self.tree.log_death(&self.link, &exit, guard::take_backtrace());
        }
    }

    /// Ends the child: closes its mailbox, tells the tree.
    fn end(&mut self, exit: Exit) {
        let Some(actor) = self.actor.take() else { return };
        // A dropped context says good-bye to its actor; this one has had that, or must not.
        self.link.set_want(Want::Kill);
        if let Err(exit) = guarded(|| drop(actor)) {
            self.tree.log_death(&self.link, &exit, guard::take_backtrace());
        }
        self.tree.let_go(&self.link, &exit);
    }
}

/// Drops what is left of an incarnation and gives the shell the opportunity to make the next.
fn restart<L: Logic>(actor: &mut ContextFut<Shell<L>, Ctx<L>>) {
    // A context without any address does not restart.
    let _address = actor.address();
    let is_restarted = actor.restart();
    assert!(is_restarted, "a context with an address restarts");
}

impl<L: Logic> Future for Driver<L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.link.register_driver(cx.waker());
        loop {
            this.heed();
            let Some(actor) = &mut this.actor else { return Poll::Ready(()) };
            match &mut this.phase {
                Phase::Starting => this.make(),
                Phase::Live => match guarded(|| Pin::new(actor).poll(cx)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(())) => this.left(),
                    Err(exit) => this.died(exit),
                },
                Phase::BackingOff(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    this.phase = Phase::Starting;
                }
                Phase::Held(_) if matches!(this.link.want(), Want::Rest | Want::Drop) => {
                    return Poll::Pending;
                }
                Phase::Held(_) => {}
            }
        }
    }
}

impl<L: Logic> Drop for Driver<L> {
    fn drop(&mut self) {
        self.end(Exit::Killed);
    }
}
