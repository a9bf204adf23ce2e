//! [`Tree`]: children in declared order, and trees of trees.
//!
//! Start: [`Tree::start`] returns when the child runs, so that a list of such lines is the start order.
//! Stop: the reverse of it, each child within its limit. A tree made by [`Tree::pool`] holds children
//! that do not depend on each other, and stops and restarts them all at once.
//!
//! The tree keeps per child its link, an address and a limit, under one lock that is taken when a child
//! comes, goes or is listed, never per message. A child that stopped, or whose policy lets it end
//! alone, is forgotten; one that was left down stays visible.
//!
//! Drivers report from their own threads; the tree is `Send`, and an escalation is decided on the
//! thread of the child that caused it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Addr;
use actix::dev::channel;
use futures_util::future::{self, BoxFuture, FutureExt};
use slog::{Logger, OwnedKV, SendSyncRefUnwindSafeKV, crit, debug, error, info, o, warn};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::child::{Child, ChildSpec, ChildState, Ending};
use crate::driver::Driver;
use crate::escalation::{Escalation, Verdict};
use crate::guard::guarded;
use crate::health::{self, Halt, Health, Round};
use crate::link::{Link, State, Want};
use crate::placement::Placement;
use crate::policy::{Exit, Policy, Tally};
use crate::shell::{Logic, Ref, Shell};

/// Mailboxes have no bound of their own: credits hold producers back.
const MAILBOX_CAPACITY: usize = 0;

/// Health questions put before other tasks of the thread have a turn.
const QUESTIONS_PER_TURN: usize = 256;

/// A tree of supervised actors. Clones are the same tree; dropping them ends nothing.
#[derive(Clone)]
pub struct Tree {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    /// Names from the root to here, joined by `/`.
    path: Box<str>,
    parent: Option<Tree>,
    order: Order,
    world: Arc<World>,
    nodes: Mutex<Nodes>,
    on_escalate: Mutex<Option<OnEscalate>>,
    restarts: Mutex<Tally>,
    /// One restart of all children at a time.
    restarting: tokio::sync::Mutex<()>,
    ended: watch::Sender<bool>,
}

type OnEscalate = Arc<dyn Fn(&Escalation) -> Verdict + Send + Sync>;

/// What all trees under one root share.
struct World {
    log: Logger,
    placement: Placement,
    seed: u64,
    ids: AtomicU64,
    /// Counts of children that are gone.
    past: Mutex<Counters>,
}

/// How children follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Declared,
    Together,
}

#[derive(Default)]
struct Nodes {
    closed: bool,
    /// By id; ids rise, so this is the declared order.
    by_id: BTreeMap<u64, Node>,
}

#[derive(Clone)]
enum Node {
    Child(Arc<Child>),
    Tree(Tree),
}

impl World {
    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in a critical section here can leave the value half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has gone wrong under a root since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Restarts of children after failures of their own.
    pub restarts: u64,
    /// Panics caught.
    pub panics: u64,
    /// Messages that got no answer because the incarnation that had them died or gave them up.
    pub lost: u64,
}

impl Counters {
    fn add(&mut self, link: &Link) {
        self.restarts += u64::from(link.restarts());
        self.panics += u64::from(link.panics());
        self.lost += link.lost();
    }
}

/// Tells `child` to stop in an orderly way once it has handled what is in its mailbox.
pub fn halt<L: Logic>(child: &Ref<L>) {
    child.do_send(Halt(None));
}

/// Declaring, and asking.
impl Tree {
    /// The root of a tree. `seed` decides the jitter of every wait under it.
    pub fn root(name: &str, placement: Placement, log: Logger, seed: u64) -> Self {
        let ids = AtomicU64::new(1);
        let past = Mutex::default();
        let world = Arc::new(World { log, placement, seed, ids, past });
        Self::new(0, name.into(), None, Order::Declared, world)
    }

    fn new(id: u64, path: Box<str>, parent: Option<Tree>, order: Order, world: Arc<World>) -> Self {
        let inner = Inner {
            id,
            path,
            parent,
            order,
            world,
            nodes: Mutex::default(),
            on_escalate: Mutex::default(),
            restarts: Mutex::default(),
            restarting: tokio::sync::Mutex::default(),
            ended: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A tree below this one, whose children depend on those declared before them.
    pub fn subtree(&self, name: &str) -> Tree {
        self.below(name, Order::Declared)
    }

    /// A tree below this one, whose children are independent of each other.
    pub fn pool(&self, name: &str) -> Tree {
        self.below(name, Order::Together)
    }

    fn below(&self, name: &str, order: Order) -> Tree {
        let id = self.inner.world.next_id();
        let path = format!("{}/{name}", self.inner.path).into();
        let tree = Self::new(id, path, Some(self.clone()), order, Arc::clone(&self.inner.world));
        let mut nodes = self.nodes();
        if nodes.closed {
            tree.nodes().closed = true;
        } else {
            nodes.by_id.insert(id, Node::Tree(tree.clone()));
        }
        drop(nodes);
        tree
    }

    /// Decides what happens to children that escalate. Without it this tree's parent is asked; the
    /// root leaves them down. `decide` runs on the thread of the child that escalates.
    pub fn on_escalate(&self, decide: impl Fn(&Escalation) -> Verdict + Send + Sync + 'static) {
        *lock(&self.inner.on_escalate) = Some(Arc::new(decide));
    }

    /// Makes a child and returns its address at once; messages wait until it runs. On a tree that
    /// is stopping no child is made and its mailbox is closed.
    pub fn spawn<L: Logic>(&self, spec: ChildSpec<L>) -> Ref<L> {
        self.declare(spec).0
    }

    /// Makes a child and waits until it runs. The error says why it does not: its factory failed
    /// beyond its budget, or it ended at once.
    pub async fn start<L: Logic>(&self, spec: ChildSpec<L>) -> Result<Ref<L>, Exit> {
        let (address, link) = self.declare(spec);
        let decided = |state| matches!(state, State::Running | State::Down | State::Ended);
        if link.reached(decided).await == State::Running {
            return Ok(address);
        }
        let last_exit = link.report().last_exit.clone();
        Err(last_exit.unwrap_or(Exit::Stopped))
    }

    fn declare<L: Logic>(&self, spec: ChildSpec<L>) -> (Ref<L>, Arc<Link>) {
        let ChildSpec { name, policy, budget, place, stop_limit, factory } = spec;
        let (tx, rx) = channel::channel::<Shell<L>>(MAILBOX_CAPACITY);
        let address = Addr::new(tx);
        let link = Link::new(self.inner.world.next_id(), name, L::NAME, policy);
        let child = Child::new(Arc::clone(&link), stop_limit, address.clone());
        if !self.adopt(child) {
            link.set_state(State::Ended);
            return (address, link);
        }
        let (tree, driven) = (self.clone(), Arc::clone(&link));
        let made = self.inner.world.placement.run(&place, move || {
            let shell = Shell::new(factory, Arc::clone(&driven));
            let ctx = actix::Context::with_receiver(rx);
            actix::spawn(Driver::new(shell, ctx, driven, tree, budget));
        });
        if !made {
            link.note_exit(&Exit::Killed);
            self.let_go(&link, &Exit::Killed);
            link.set_state(State::Ended);
        }
        (address, link)
    }

    fn adopt(&self, child: Arc<Child>) -> bool {
        let mut nodes = self.nodes();
        if !nodes.closed {
            nodes.by_id.insert(child.link.id, Node::Child(child));
            return true;
        }
        drop(nodes);
        debug!(self.inner.world.log, "child refused, its tree is stopping";
            "tree" => &*self.inner.path, "actor" => &*child.link.name);
        false
    }

    /// All children of this tree and of those below it, in declared order, as last known.
    pub fn snapshot(&self) -> Vec<ChildState> {
        let show = |(tree, child): &(Tree, Arc<Child>)| child.show(&tree.inner.path);
        self.children().iter().map(show).collect()
    }

    /// Asks all children how they are and waits for their answers, at most `limit`. A running child
    /// that has not answered by then is [`Health::Frozen`]. Call it from a thread of its own: actors of
    /// the calling thread cannot answer while it is blocked, and neither can it notice.
    pub async fn check(&self, limit: Duration) -> Vec<ChildState> {
        let children = self.children();
        let round = Round::new();
        for asked in children.chunks(QUESTIONS_PER_TURN) {
            asked.iter().for_each(|(_, child)| child.ask(&round));
            tokio::task::yield_now().await;
        }
        // Late is an answer as well: it is read from the links.
        let _ = tokio::time::timeout(limit, round.done()).await;
        children.iter().map(|(tree, child)| tree.examine(child)).collect()
    }

    fn examine(&self, child: &Child) -> ChildState {
        let (before, now) = health::judge(&child.link);
        let log = &self.inner.world.log;
        match (&before, &now) {
            (Health::Frozen, Health::Frozen) => {}
            (_, Health::Frozen) => warn!(log, "actor does not answer"; self.who(&child.link)),
            (Health::Frozen, _) => info!(log, "actor answers again"; self.who(&child.link)),
            _ => {}
        }
        child.show(&self.inner.path)
    }

    /// Checks all children every `period` until the tree stops, with `limit` for their answers; what
    /// it finds is logged and shown by [`snapshot`](Self::snapshot). Runs on the calling thread.
    pub fn watch(&self, period: Duration, limit: Duration) {
        let tree = self.clone();
        actix::spawn(async move {
            let mut ended = tree.inner.ended.subscribe();
            while tokio::time::timeout(period, ended.wait_for(|ended| *ended)).await.is_err() {
                tree.check(limit).await;
            }
        });
    }

    /// What has gone wrong under the root of this tree.
    pub fn counters(&self) -> Counters {
        let mut tree = self;
        while let Some(parent) = &tree.inner.parent {
            tree = parent;
        }
        // The past first: a child that ends in between is missed once rather than counted twice.
        let mut counters = *lock(&self.inner.world.past);
        tree.children().iter().for_each(|(_, child)| counters.add(&child.link));
        counters
    }

    /// Every child from here on down, with the tree that it belongs to.
    fn children(&self) -> Vec<(Tree, Arc<Child>)> {
        let mut children = Vec::new();
        for node in self.listed() {
            match node {
                Node::Child(child) => children.push((self.clone(), child)),
                Node::Tree(tree) => children.extend(tree.children()),
            }
        }
        children
    }

    fn listed(&self) -> Vec<Node> {
        self.nodes().by_id.values().cloned().collect()
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        lock(&self.inner.nodes)
    }
}

/// Stopping and restarting as a whole.
impl Tree {
    /// Stops all children, the last declared first, each within its limit; trees below like a child.
    /// No child is made here any more.
    pub async fn stop(&self) {
        self.nodes().closed = true;
        let mut nodes = self.listed();
        nodes.reverse();
        self.each(nodes, Self::stop_node).await;
        if let Some(parent) = &self.inner.parent {
            parent.nodes().by_id.remove(&self.inner.id);
        }
        self.inner.ended.send_replace(true);
    }

    /// Waits until this tree has stopped, by [`stop`](Self::stop) or by [`Verdict::StopAll`].
    pub async fn stopped(&self) {
        // The sender lives in the tree itself, so the wait cannot be cut short.
        let _ = self.inner.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Ends the incarnations of all children in reverse order and makes them again in declared
    /// order; mailboxes are kept.
    pub async fn restart(&self) {
        let _one_at_a_time = self.inner.restarting.lock().await;
        warn!(self.inner.world.log, "restarting all children"; "tree" => &*self.inner.path);
        self.rest().await;
        self.begin().await;
    }

    async fn rest(&self) {
        let mut nodes = self.listed();
        nodes.reverse();
        self.each(nodes, Self::rest_node).await;
    }

    async fn begin(&self) {
        self.each(self.listed(), Self::begin_node).await;
    }

    /// Does `step` to each node, in this tree's order.
    async fn each(&self, nodes: Vec<Node>, step: fn(Tree, Node) -> BoxFuture<'static, ()>) {
        let steps = nodes.into_iter().map(|node| step(self.clone(), node));
        match self.inner.order {
            Order::Together => {
                future::join_all(steps).await;
            }
            Order::Declared => {
                for step in steps {
                    step.await;
                }
            }
        }
    }

    fn stop_node(self, node: Node) -> BoxFuture<'static, ()> {
        async move {
            match node {
                Node::Child(child) => self.log_ending(&child, child.stop().await),
                Node::Tree(tree) => tree.stop().await,
            }
        }
        .boxed()
    }

    fn rest_node(self, node: Node) -> BoxFuture<'static, ()> {
        async move {
            match node {
                Node::Child(child) => self.log_ending(&child, child.rest().await),
                Node::Tree(tree) => tree.rest().await,
            }
        }
        .boxed()
    }

    fn begin_node(self, node: Node) -> BoxFuture<'static, ()> {
        async move {
            match node {
                Node::Child(child) => child.begin().await,
                Node::Tree(tree) => tree.begin().await,
            }
        }
        .boxed()
    }
}

/// What drivers report.
impl Tree {
    /// Decides about a child that its driver holds.
    pub(crate) fn escalate(&self, link: &Link, exit: Exit) {
        let escalation = Escalation {
            child: format!("{}/{}", self.inner.path, link.name),
            kind: link.kind,
            policy: link.policy,
            exit,
            restarts: link.restarts(),
        };
        error!(self.inner.world.log, "actor given up, asking its parent"; self.who(link),
            "policy" => ?link.policy, "exit" => %escalation.exit, "restarts" => escalation.restarts);
        let mut tree = self;
        while !tree.settle(&escalation, link) {
            match &tree.inner.parent {
                Some(parent) => tree = parent,
                None => {
                    crit!(self.inner.world.log, "actor stays down, nobody decided"; self.who(link));
                    return link.set_want(Want::Stop);
                }
            }
        }
    }

    /// Carries out this tree's verdict; false: it has none, or no budget left for it.
    fn settle(&self, escalation: &Escalation, link: &Link) -> bool {
        let verdict = self.verdict(escalation);
        info!(self.inner.world.log, "verdict"; "tree" => &*self.inner.path,
            "actor" => &escalation.child, "verdict" => ?verdict);
        match verdict {
            Verdict::Escalate => false,
            Verdict::Leave => {
                link.set_want(Want::Stop);
                true
            }
            Verdict::StopAll => {
                let tree = self.clone();
                actix::spawn(async move { tree.stop().await });
                true
            }
            Verdict::RestartAll(budget) => {
                let mut rng = self.rng(link);
                let wait = lock(&self.inner.restarts).charge(&budget, Instant::now(), &mut rng);
                let Some(wait) = wait else { return false };
                let tree = self.clone();
                actix::spawn(async move {
                    tokio::time::sleep(wait).await;
                    tree.restart().await;
                });
                true
            }
        }
    }

    fn verdict(&self, escalation: &Escalation) -> Verdict {
        let Some(decide) = lock(&self.inner.on_escalate).clone() else { return Verdict::Escalate };
        guarded(|| decide(escalation)).unwrap_or_else(|exit| {
            crit!(self.inner.world.log, "no verdict"; "tree" => &*self.inner.path, "exit" => %exit);
            Verdict::Escalate
        })
    }

    /// The child has ended. One that was left down stays listed, for whoever looks for it.
    pub(crate) fn let_go(&self, link: &Link, exit: &Exit) {
        let is_expected = matches!(exit, Exit::Stopped | Exit::Killed);
        if is_expected || link.policy == Policy::Stop {
            let gone = self.nodes().by_id.remove(&link.id);
            // Its address is dropped without the lock: that may wake other threads.
            drop(gone);
            lock(&self.inner.world.past).add(link);
        }
    }

    pub(crate) fn log_death(&self, link: &Link, exit: &Exit, backtrace: Option<String>) {
        let log = self.inner.world.log.new(self.who(link));
        match (exit, backtrace) {
            (Exit::Panicked { message, site }, backtrace) => {
                error!(log, "actor panicked"; "panic" => message,
                    "at" => site.as_deref().unwrap_or("unknown"), "backtrace" => backtrace);
            }
            _ => warn!(log, "actor failed"; "reason" => %exit),
        }
    }

    pub(crate) fn log_restart(&self, link: &Link, wait: Duration) {
        info!(self.inner.world.log, "actor will be made again"; self.who(link),
            "policy" => ?link.policy, "restarts" => link.restarts(),
            "wait_ms" => wait.as_millis() as u64);
    }

    fn log_ending(&self, child: &Child, ending: Ending) {
        let log = &self.inner.world.log;
        let limit_ms = child.stop_limit.as_millis() as u64;
        match ending {
            Ending::InTime => debug!(log, "actor stopped"; self.who(&child.link)),
            Ending::Forced => warn!(log, "actor did not stop in time, ended by force";
                self.who(&child.link), "limit_ms" => limit_ms),
            Ending::Abandoned => error!(log, "actor cannot be stopped, its thread is blocked";
                self.who(&child.link), "limit_ms" => limit_ms),
        }
    }

    fn who(&self, link: &Link) -> OwnedKV<impl SendSyncRefUnwindSafeKV + 'static> {
        let name = format!("{}/{}", self.inner.path, link.name);
        o!("actor" => name, "kind" => link.kind, "incarnation" => link.incarnation())
    }

    /// Randomness for the next wait of a child: a function of seed, child and incarnation.
    pub(crate) fn rng(&self, link: &Link) -> fastrand::Rng {
        let stream = link.id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        let seed = self.inner.world.seed ^ stream.wrapping_add(u64::from(link.incarnation()));
        fastrand::Rng::with_seed(seed)
    }
}
