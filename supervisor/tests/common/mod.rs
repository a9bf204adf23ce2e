//! What the supervision tests share: a runtime with a paused clock, a journal, and an actor that does
//! as it is told.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{AsyncContext, Message, fut};
use gantry_supervisor::{
    Budget, ChildSpec, ChildState, ContextExt, Ctx, Health, Logic, Placement, Policy, Receive,
    Reply, Tree,
};
use slog::{Discard, Logger, o};

/// Runs `test` on one thread whose clock moves only when everything waits.
pub fn run<F: Future>(test: F) -> F::Output {
    gantry_supervisor::quiet_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// A root whose children stay on this thread.
pub fn root() -> Tree {
    Tree::root("root", Placement::single(), Logger::root(Discard, o!()), 1)
}

/// Restarts at once, `restarts` times.
pub fn at_once(restarts: u32) -> Budget {
    Budget {
        restarts,
        window: Duration::from_secs(60),
        backoff_first: Duration::ZERO,
        backoff_max: Duration::ZERO,
    }
}

/// The state of the only child of `tree`.
pub fn only(tree: &Tree) -> ChildState {
    let mut children = tree.snapshot();
    assert_eq!(children.len(), 1, "{children:?}");
    children.remove(0)
}

/// Lets everything that can run without the clock run.
pub async fn settle() {
    tokio::time::sleep(Duration::from_nanos(1)).await;
}

/// What happened, in order; shared by everything in a test.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.into());
    }

    /// What happened since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An actor that notes what happens to it. `name#incarnation` is how it signs.
pub struct Puppet {
    name: &'static str,
    incarnation: u32,
    journal: Journal,
    pub health: Health,
}

impl Puppet {
    pub fn new(name: &'static str, incarnation: u32, journal: &Journal) -> Self {
        Self { name, incarnation, journal: journal.clone(), health: Health::Up }
    }

    fn note(&self, what: &str) {
        self.journal.note(format!("{}#{} {what}", self.name, self.incarnation));
    }
}

/// A puppet as a child.
pub fn puppet(name: &'static str, policy: Policy, journal: &Journal) -> ChildSpec<Puppet> {
    let journal = journal.clone();
    ChildSpec::new(name, policy, move |incarnation| Ok(Puppet::new(name, incarnation, &journal)))
}

impl Logic for Puppet {
    const NAME: &'static str = "puppet";

    fn started(&mut self, _: &mut Ctx<Self>) {
        self.note("started");
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.note("stopping");
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

/// Notes the text and answers with the incarnation.
#[derive(Message)]
#[rtype(result = "u32")]
pub struct Say(pub &'static str);

impl Receive<Say> for Puppet {
    fn receive(&mut self, Say(text): Say, _: &mut Ctx<Self>) -> Reply<u32> {
        self.note(text);
        self.incarnation.into()
    }
}

/// Panics with the text.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Crash(pub &'static str);

impl Receive<Crash> for Puppet {
    fn receive(&mut self, Crash(text): Crash, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("{text}");
    }
}

/// Fails with the text and answers with the incarnation.
#[derive(Message)]
#[rtype(result = "u32")]
pub struct Fail(pub &'static str);

impl Receive<Fail> for Puppet {
    fn receive(&mut self, Fail(text): Fail, ctx: &mut Ctx<Self>) -> Reply<u32> {
        ctx.fail(text);
        self.incarnation.into()
    }
}

/// Lets the mailbox wait, for good or for a while.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Freeze(pub Option<Duration>);

impl Receive<Freeze> for Puppet {
    fn receive(&mut self, Freeze(time): Freeze, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.note("freezes");
        match time {
            Some(time) => ctx.wait_then(tokio::time::sleep(time), |this, (), _| this.note("thaws")),
            None => ctx.wait(fut::wrap_future(std::future::pending())),
        }
        Reply::Now(())
    }
}

/// Answers after a while with the incarnation that was asked.
#[derive(Message)]
#[rtype(result = "u32")]
pub struct AnswerLater(pub Duration);

impl Receive<AnswerLater> for Puppet {
    fn receive(&mut self, AnswerLater(time): AnswerLater, _: &mut Ctx<Self>) -> Reply<u32> {
        let incarnation = self.incarnation;
        Reply::Later(Box::pin(async move {
            tokio::time::sleep(time).await;
            incarnation
        }))
    }
}

/// Sets what the puppet says of its health.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Feel(pub Health);

impl Receive<Feel> for Puppet {
    fn receive(&mut self, Feel(health): Feel, _: &mut Ctx<Self>) -> Reply<()> {
        self.health = health;
        Reply::Now(())
    }
}

/// Runs any code on the puppet.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Do(pub fn(&mut Puppet, &mut Ctx<Puppet>));

impl Receive<Do> for Puppet {
    fn receive(&mut self, Do(what): Do, ctx: &mut Ctx<Self>) -> Reply<()> {
        what(self, ctx);
        Reply::Now(())
    }
}
