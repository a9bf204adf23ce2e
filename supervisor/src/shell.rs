//! [`Shell`]: the actix actor around a plain struct.
//!
//! The [`Logic`] holds state and decides; the shell is what actix sees: it passes messages and stream
//! items on, makes the logic anew when the driver restarts the context, and says good-bye in order.
//! A logic can be tested without a runtime: `Ctx::new()` is a context that nobody runs.
//!
//! Failure: a message that is being handled when its incarnation dies is counted as lost, and so is an
//! open answer; their callers get an error.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::{
    Actor, ActorContext, ActorFuture, ActorState, Addr, AsyncContext, Handler, Message, Running,
    SpawnHandle, StreamHandler, Supervised,
};
use futures_util::Stream;

use crate::drain::{self, Drain};
use crate::guard;
use crate::health::Health;
use crate::link::{Link, State};
use crate::policy::Exit;
use crate::reply::{OpenAnswers, Reply};

/// The context that a logic's handlers are given.
pub type Ctx<L> = actix::Context<Shell<L>>;

/// The address of a supervised actor; it stays good across restarts.
pub type Ref<L> = Addr<Shell<L>>;

/// Makes incarnations: given the incarnation's number (from 0) and its context.
pub(crate) type Factory<L> = Box<dyn FnMut(u32, &mut Ctx<L>) -> Result<L, String> + Send>;

/// The state of an actor and what it does with messages.
pub trait Logic: Sized + Unpin + 'static {
    /// What kind of actor this is, for logs.
    const NAME: &'static str;

    /// Runs first, after every restart too.
    fn started(&mut self, _ctx: &mut Ctx<Self>) {}

    /// Runs once per wake-up, after the mailbox and all streams have been emptied.
    fn drained(&mut self, ctx: &mut Ctx<Self>) {
        drain::mark_unused(ctx);
    }

    /// Runs last in an orderly stop, not after a failure. A future that it gives to `ctx.wait` is
    /// awaited before the actor ends, within the child's stop limit.
    fn stopping(&mut self, _ctx: &mut Ctx<Self>) {}

    /// How the actor feels: [`Health::Up`] or [`Health::Degraded`].
    fn health(&self) -> Health {
        Health::Up
    }
}

/// A logic that handles messages of type `M`.
pub trait Receive<M: Message>: Logic {
    /// Handles one message.
    fn receive(&mut self, msg: M, ctx: &mut Ctx<Self>) -> Reply<M::Result>;
}

/// A logic that handles the items of a stream, see [`Shell::attach_stream`].
pub trait StreamLogic<I>: Logic {
    /// Handles one item. actix polls a stream for 16 items at most, then the rest has its turn.
    fn item(&mut self, item: I, ctx: &mut Ctx<Self>);

    /// Runs when the stream has ended; by default the actor stops.
    fn finished(&mut self, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}

/// The actix actor around a [`Logic`].
pub struct Shell<L: Logic> {
    /// None between two incarnations only; a context without a logic is not polled.
    logic: Option<L>,
    factory: Factory<L>,
    link: Arc<Link>,
    pub(crate) drain: Drain,
    pub(crate) answers: Option<Box<OpenAnswers>>,
    said_goodbye: bool,
}

impl<L: Logic> Shell<L> {
    pub(crate) fn new(factory: Factory<L>, link: Arc<Link>) -> Self {
        Self {
            logic: None,
            factory,
            link,
            drain: Drain::default(),
            answers: None,
            said_goodbye: false,
        }
    }

    /// Runs `f` on the logic, for futures that were spawned into the context by hand.
    pub fn with(&mut self, ctx: &mut Ctx<L>, f: impl FnOnce(&mut L, &mut Ctx<L>)) {
        if let Some(logic) = &mut self.logic {
            f(logic, ctx);
            self.drain.touch(ctx);
        }
    }

    /// As [`with`](Self::with), for a future that ends with this.
    pub(crate) fn end_with(&mut self, ctx: &mut Ctx<L>, f: impl FnOnce(&mut L, &mut Ctx<L>)) {
        self.with(ctx, f);
        self.drain.note_end();
    }

    /// Hands every item of `stream` to the logic. The stream belongs to the incarnation.
    pub fn attach_stream<S>(ctx: &mut Ctx<L>, stream: S) -> SpawnHandle
    where
        S: Stream + 'static,
        L: StreamLogic<S::Item>,
    {
        ctx.add_stream(stream)
    }

    pub(crate) fn run_drained(&mut self, ctx: &mut Ctx<L>) {
        if self.drain.take_due()
            && let Some(logic) = &mut self.logic
        {
            logic.drained(ctx);
        }
    }

    /// Drops the incarnation with all that it still owed.
    fn discard(&mut self) {
        self.link.add_lost(self.answers.as_ref().map_or(0, |open| open.len()));
        self.answers = None;
        self.logic = None;
        self.drain.take_due();
        self.said_goodbye = false;
    }

    fn say_goodbye(&mut self, ctx: &mut Ctx<L>) {
        self.said_goodbye = true;
        self.link.set_state(State::Stopping);
        // The youngest waiting future is awaited first: those of the logic, then the end.
        ctx.wait(Finish);
        self.run_drained(ctx);
        if let Some(logic) = &mut self.logic {
            logic.stopping(ctx);
        }
    }
}

impl<L: Logic> Actor for Shell<L> {
    type Context = Ctx<L>;

    fn started(&mut self, ctx: &mut Ctx<L>) {
        // A context that is dropped before its first poll comes here as well.
        if self.logic.is_none() || self.link.is_killed() {
            return;
        }
        self.with(ctx, L::started);
        if !guard::has_failed() {
            self.link.set_state(State::Running);
        }
    }

    fn stopping(&mut self, ctx: &mut Ctx<L>) -> Running {
        if ctx.state() == ActorState::Running {
            // Nobody has its address any more; that is no reason for a supervised actor to end.
            return Running::Continue;
        }
        if self.said_goodbye || guard::has_failed() || self.link.is_killed() || self.logic.is_none()
        {
            return Running::Stop;
        }
        self.say_goodbye(ctx);
        Running::Continue
    }

    fn stopped(&mut self, _: &mut Ctx<L>) {
        self.discard();
    }
}

/// The driver restarts the context to end an incarnation and, in state `Starting`, to make the next.
impl<L: Logic> Supervised for Shell<L> {
    fn restarting(&mut self, ctx: &mut Ctx<L>) {
        self.discard();
        if self.link.state() != State::Starting {
            return;
        }
        match (self.factory)(self.link.incarnation(), ctx) {
            Ok(logic) => self.logic = Some(logic),
            Err(reason) => guard::note_failure(Exit::NotMade(reason)),
        }
    }
}

impl<L: Receive<M>, M: Message> Handler<M> for Shell<L> {
    type Result = Reply<M::Result>;

    #[inline]
    fn handle(&mut self, msg: M, ctx: &mut Ctx<L>) -> Reply<M::Result> {
        let Some(logic) = &mut self.logic else { return Reply::Lost };
        let in_hand = InHand(&self.link);
        self.link.count_handled();
        let reply = logic.receive(msg, ctx);
        in_hand.done();
        if matches!(reply, Reply::Lost) {
            self.link.add_lost(1);
        }
        self.drain.touch(ctx);
        reply
    }
}

impl<L: StreamLogic<I>, I> StreamHandler<I> for Shell<L> {
    #[inline]
    fn handle(&mut self, item: I, ctx: &mut Ctx<L>) {
        self.with(ctx, |logic, ctx| logic.item(item, ctx));
    }

    fn finished(&mut self, ctx: &mut Ctx<L>) {
        self.end_with(ctx, L::finished);
    }
}

/// Counts the message in hand as lost if its handler unwinds; costs nothing otherwise.
struct InHand<'a>(&'a Link);

impl InHand<'_> {
    fn done(self) {
        mem::forget(self);
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.add_lost(1);
    }
}

/// The end of an orderly stop, once everything awaited is done.
struct Finish;

impl<L: Logic> ActorFuture<Shell<L>> for Finish {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Shell<L>,
        ctx: &mut Ctx<L>,
        _: &mut Context<'_>,
    ) -> Poll<()> {
        ctx.stop();
        Poll::Ready(())
    }
}
