//! [`Tree`]: children in declared order, and trees of trees.
//!
//! Start: [`Tree::start`] returns when the child runs, so that a list of such lines is the start order.
//! Stop: the reverse of it, each child within its limit. A tree made by [`Tree::pool`] holds children
//! that do not depend on each other, and stops and restarts them all at once.
//!
//! The tree keeps per child its link, a weak address and a limit, under one lock that is taken when a child
//! comes, goes or is listed, never per message. A child that stopped, or whose policy lets it end
//! alone, is forgotten; one that was left down stays visible.
//!
//! Drivers report from their own threads; the tree is `Send`, and an escalation is decided on the
//! thread of the child that caused it.

mod ask;
mod kinds;
mod report;
mod whole;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Addr;
use actix::dev::channel;
use slog::{Logger, debug};
use tokio::sync::watch;

pub use kinds::{KindState, Mail};

use crate::child::{Child, ChildSpec, ChildState};
use crate::driver::Driver;
use crate::escalation::{Escalation, Verdict};
use crate::health::Halt;
use crate::link::{Link, State};
use crate::placement::Placement;
use crate::policy::{Exit, Tally};
use crate::shell::{Logic, Ref, Shell};

/// Mailboxes have no bound of their own: credits hold producers back.
const MAILBOX_CAPACITY: usize = 0;

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
    /// Restarts of all children: what they have cost, how many have begun.
    tally: Mutex<Tally>,
    restarts_begun: AtomicU64,
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
    /// Counts of children that are gone, by kind.
    past: Mutex<BTreeMap<&'static str, Counters>>,
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
            tally: Mutex::default(),
            restarts_begun: AtomicU64::new(0),
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
        Err(link.last_exit().unwrap_or(Exit::Stopped))
    }

    fn declare<L: Logic>(&self, spec: ChildSpec<L>) -> (Ref<L>, Arc<Link>) {
        let ChildSpec { name, policy, budget, place, stop_limit, factory } = spec;
        let (tx, rx) = channel::channel::<Shell<L>>(MAILBOX_CAPACITY);
        let address = Addr::new(tx);
        let link = Link::new(self.inner.world.next_id(), name, L::NAME, policy);
        let child = Child::new(Arc::clone(&link), stop_limit, &address);
        if !self.adopt(child) {
            link.set_state(State::Ended);
            return (address, link);
        }
        let unborn = Unborn { tree: self.clone(), link: Arc::clone(&link), is_born: false };
        self.inner.world.placement.run(&place, move || {
            let (tree, link) = unborn.into_parts();
            let shell = Shell::new(factory, Arc::clone(&link));
            let ctx = actix::Context::with_receiver(rx);
            actix::spawn(Driver::new(shell, ctx, link, tree, budget));
        });
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

    /// Whether it is stopping, or has stopped.
    pub fn is_stopping(&self) -> bool {
        self.nodes().closed
    }

    /// What has gone wrong under the root of this tree.
    pub fn counters(&self) -> Counters {
        let mut tree = self;
        while let Some(parent) = &tree.inner.parent {
            tree = parent;
        }
        // The past first: a child that ends in between is missed once rather than counted twice.
        let mut counters = Counters::default();
        lock(&self.inner.world.past).values().for_each(|past| counters.include(past));
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

/// Tells `child` to stop in an orderly way once it has handled what is in its mailbox.
pub fn halt<L: Logic>(child: &Ref<L>) {
    child.do_send(Halt(None));
}

impl Counters {
    fn add(&mut self, link: &Link) {
        self.restarts += u64::from(link.restarts());
        self.panics += u64::from(link.panics());
        self.lost += link.lost();
    }

    fn include(&mut self, other: &Counters) {
        self.restarts += other.restarts;
        self.panics += other.panics;
        self.lost += other.lost;
    }
}

/// A child on its way to its thread. If that thread ends first, so does the child.
struct Unborn {
    tree: Tree,
    link: Arc<Link>,
    is_born: bool,
}

impl Unborn {
    fn into_parts(mut self) -> (Tree, Arc<Link>) {
        self.is_born = true;
        (self.tree.clone(), Arc::clone(&self.link))
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if !self.is_born {
            self.tree.let_go(&self.link, &Exit::Killed);
        }
    }
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
