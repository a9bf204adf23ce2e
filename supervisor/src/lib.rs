//! Supervision of actix actors: who makes an actor, who notices that it died, who makes it again.
//!
//! actix's own `Supervisor` neither re-creates an actor nor survives a panic. Here an actor is a plain
//! struct (a [`Logic`]) in a [`Shell`], made by a factory and run by a driver that polls the actor's
//! context behind a panic guard. When an incarnation dies, its futures and unanswered messages die
//! with it, its mailbox does not: every [`Ref`] stays good and the messages behind the bad one are
//! handled by the next incarnation.
//!
//! | file | what it holds |
//! |---|---|
//! | `shell` | [`Logic`], [`Receive`], [`StreamLogic`] and the actix actor around them |
//! | `reply` | [`Reply`]: an answer now, later, or never |
//! | `context` | [`ContextExt`]: failing, timers and futures in terms of the logic |
//! | `drain` | the on-drained hook |
//! | `guard` | panic and failure to [`Exit`]; the quiet panic hook |
//! | `policy` | [`Policy`], [`Budget`], [`Exit`] |
//! | `child` | [`ChildSpec`]: name, factory, policy, place |
//! | `link` | what the tree and a child's driver share |
//! | `driver` | the task of one child: incarnations, back-off, the end |
//! | `tree` | [`Tree`]: children in declared order, start, stop, snapshot, sums by kind |
//! | `escalation` | [`Verdict`]: what a tree does about a child that is beyond its budget |
//! | `health` | [`Health`], asking for it, finding frozen actors |
//! | `placement` | which actor runs on which thread |
//! | `credit` | byte credits between producers and consumers |
//!
//! Invariants: an actor is touched by one thread only; an incarnation never sees another's state or
//! futures; a caller whose message is lost gets an error, never silence; a child of the tree ends when
//! it stops itself, is told to, or its policy says so, and not because its last address was dropped.
//!
//! # Example
//!
//! ```
//! use actix::{Message, System};
//! use gantry_supervisor::{ChildSpec, Ctx, Logic, Placement, Policy, Receive, Reply, Tree};
//!
//! struct Counter(u64);
//!
//! impl Logic for Counter {
//!     const NAME: &'static str = "counter";
//! }
//!
//! #[derive(Message)]
//! #[rtype(result = "u64")]
//! struct Add(u64);
//!
//! impl Receive<Add> for Counter {
//!     fn receive(&mut self, Add(n): Add, _: &mut Ctx<Self>) -> Reply<u64> {
//!         assert!(n < 100, "too much at once");
//!         self.0 += n;
//!         self.0.into()
//!     }
//! }
//!
//! # gantry_supervisor::quiet_panics();
//! System::new().block_on(async {
//!     let log = slog::Logger::root(slog::Discard, slog::o!());
//!     let tree = Tree::root("example", Placement::single(), log, 1);
//!     let spec = ChildSpec::new("counter", Policy::RestartEmpty, |_incarnation| Ok(Counter(0)));
//!     let counter = tree.start(spec).await.expect("it has nothing that could fail");
//!
//!     assert_eq!(counter.send(Add(2)).await, Ok(2));
//!     let lost = counter.send(Add(1000));
//!     let behind = counter.send(Add(3));
//!     assert!(lost.await.is_err(), "its caller is told");
//!     assert_eq!(behind.await, Ok(3), "the next incarnation starts from nothing");
//!     assert_eq!(tree.snapshot()[0].restarts, 1);
//!     tree.stop().await;
//! });
//! ```
//!
//! This crate must not know of messages, topics, files or sockets.

mod child;
mod context;
mod credit;
mod drain;
mod driver;
mod escalation;
mod guard;
mod health;
mod link;
mod placement;
mod policy;
mod reply;
mod shell;
mod tree;

pub use child::{ChildSpec, ChildState};
pub use context::ContextExt;
pub use credit::{Credits, Permit};
pub use escalation::{Escalation, Verdict};
pub use guard::quiet_panics;
pub use health::{Backlog, Health};
pub use link::State;
pub use placement::{Place, Placement};
pub use policy::{Budget, Exit, Policy};
pub use reply::Reply;
pub use shell::{Ctx, Logic, Receive, Ref, Shell, StreamLogic};
pub use tree::{Counters, KindState, Mail, Tree, halt};
