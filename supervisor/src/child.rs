//! One child of a tree: what it is declared with ([`ChildSpec`]), what the tree keeps of it ([`Child`])
//! and what it shows of it ([`ChildState`]).

use std::sync::Arc;
use std::time::Duration;

use actix::WeakAddr;

use crate::health::{AskHealth, Backlog, Halt, Health, Round};
use crate::link::{Link, State, Want};
use crate::placement::Place;
use crate::policy::{Budget, Exit, Policy};
use crate::shell::{Ctx, Factory, Logic, Ref, Shell};

/// How long a child may take to stop unless its spec says otherwise.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long a killed child's driver may take to notice. Only a blocked thread takes longer.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// The declaration of a child.
#[must_use = "a child is made by Tree::spawn or Tree::start"]
pub struct ChildSpec<L: Logic> {
    pub(crate) name: Box<str>,
    pub(crate) policy: Policy,
    pub(crate) budget: Budget,
    pub(crate) place: Place,
    pub(crate) stop_limit: Duration,
    pub(crate) factory: Factory<L>,
}

impl<L: Logic> ChildSpec<L> {
    /// A child called `name`, made by `factory`, which is given the incarnation's number from 0. Its
    /// error says why there can be no incarnation now; it counts as a failure of the child.
    pub fn new(
        name: impl Into<Box<str>>,
        policy: Policy,
        mut factory: impl FnMut(u32) -> Result<L, String> + Send + 'static,
    ) -> Self {
        Self::in_context(name, policy, move |incarnation, _| factory(incarnation))
    }

    /// As [`new`](Self::new), for a factory that wants the context, e.g. to attach a stream.
    pub fn in_context(
        name: impl Into<Box<str>>,
        policy: Policy,
        factory: impl FnMut(u32, &mut Ctx<L>) -> Result<L, String> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            policy,
            budget: Budget::default(),
            place: Place::Here,
            stop_limit: STOP_LIMIT,
            factory: Box::new(factory),
        }
    }

    /// A child that is made once, from what cannot be had again, e.g. a socket. Its policy is
    /// [`Policy::Stop`].
    pub fn once(
        name: impl Into<Box<str>>,
        factory: impl FnOnce(&mut Ctx<L>) -> Result<L, String> + Send + 'static,
    ) -> Self {
        let mut factory = Some(factory);
        Self::in_context(name, Policy::Stop, move |_, ctx| match factory.take() {
            Some(factory) => factory(ctx),
            None => Err("it can be made only once".to_owned()),
        })
    }

    /// Restarts allowed before the parent is asked; by default [`Budget::default`].
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// The thread to run on; by default the one that declares the child.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// How long an orderly stop may take before the child is killed; by default 5 s.
    pub fn stop_limit(mut self, limit: Duration) -> Self {
        self.stop_limit = limit;
        self
    }
}

/// A child as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildState {
    /// Names of its trees and its own, joined by `/`.
    pub name: String,
    /// What kind of actor it is, see [`Logic::NAME`].
    pub kind: &'static str,
    /// What happens when it fails.
    pub policy: Policy,
    /// Where it is in its life.
    pub state: State,
    /// Number of its incarnation, from 0.
    pub incarnation: u32,
    /// Restarts after failures of its own.
    pub restarts: u32,
    /// Panics so far.
    pub panics: u32,
    /// Messages that got no answer because the incarnation that had them died or gave them up.
    pub lost: u64,
    /// Why its last incarnation ended, if one did.
    pub last_exit: Option<Exit>,
    /// How it was when it was last asked.
    pub health: Health,
    /// What that question met in its mailbox.
    pub mailbox: Backlog,
}

/// A child as its tree sees it, whatever its logic.
pub(crate) struct Child {
    pub link: Arc<Link>,
    pub stop_limit: Duration,
    mailbox: Box<dyn Mailbox>,
}

/// The tree's way into the mailbox of any child. An address is two allocations, so it is made when
/// there is something to send.
trait Mailbox: Send + Sync {
    fn halt(&self, halt: Halt);
    fn ask(&self, question: AskHealth);
}

impl<L: Logic> Mailbox for WeakAddr<Shell<L>> {
    fn halt(&self, halt: Halt) {
        if let Some(address) = self.upgrade() {
            address.do_send(halt);
        }
    }

    fn ask(&self, question: AskHealth) {
        if let Some(address) = self.upgrade() {
            address.do_send(question);
        }
    }
}

/// How an order to end came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    InTime,
    Forced,
    /// Even force did not reach it: its thread is blocked.
    Abandoned,
}

impl Child {
    pub fn new<L: Logic>(link: Arc<Link>, stop_limit: Duration, address: &Ref<L>) -> Arc<Self> {
        Arc::new(Self { link, stop_limit, mailbox: Box::new(address.downgrade()) })
    }

    /// Ends the child: in an orderly way within its limit, by force after that.
    pub async fn stop(&self) -> Ending {
        self.end(Want::Stop, Want::Kill, |state| state == State::Ended).await
    }

    /// Ends the child's incarnation and keeps its mailbox, for a restart from above.
    pub async fn rest(&self) -> Ending {
        let resting = |state| matches!(state, State::Down | State::Ended);
        self.end(Want::Rest, Want::Drop, resting).await
    }

    async fn end(&self, orderly: Want, forced: Want, is_over: impl Fn(State) -> bool) -> Ending {
        self.link.set_want(orderly);
        self.mailbox.halt(Halt(Some(Arc::clone(&self.link))));
        let over = self.link.reached(&is_over);
        if tokio::time::timeout(self.stop_limit, over).await.is_ok() {
            return Ending::InTime;
        }
        self.link.set_want(forced);
        match tokio::time::timeout(KILL_GRACE, self.link.reached(&is_over)).await {
            Ok(_) => Ending::Forced,
            Err(_) => Ending::Abandoned,
        }
    }

    /// Makes the next incarnation of a resting child; returns when it runs or cannot.
    pub async fn begin(&self) {
        self.link.allow_to_run();
        self.link.reached(|s| matches!(s, State::Running | State::Down | State::Ended)).await;
    }

    /// Puts the question of `round` into the mailbox.
    pub fn ask(&self, round: &Arc<Round>) {
        if let Some(question) = round.question(&self.link) {
            self.mailbox.ask(question);
        }
    }

    pub fn show(&self, tree: &str) -> ChildState {
        let link = &self.link;
        let report = link.report();
        ChildState {
            name: format!("{tree}/{}", link.name),
            kind: link.kind,
            policy: link.policy,
            state: link.state(),
            incarnation: link.incarnation(),
            restarts: link.restarts(),
            panics: link.panics(),
            lost: link.lost(),
            last_exit: report.last_exit.as_deref().cloned(),
            health: report.health.clone(),
            mailbox: report.mailbox,
        }
    }
}
