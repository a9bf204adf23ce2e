//! Pop consumption (5.x): clients take messages of shared queues, which are hidden from the others until
//! they are acknowledged or their time is over.
//!
//! ```text
//! connection ── Pop, Ack, Hide, Notify ──→ PopGroup (one per group) ── read views, log
//!                                             │  │ └─ offsets ──→ Offsets
//!                                             │  └─ what is over ──→ appender ──→ retry topic
//!                                             └─ what is out ──→ PopStates ── popState.json, consumerOrderInfo.json
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`ledger`], [`order`] | the state machines of one queue: in any order, in order |
//! | [`queues`] | the queues of a group |
//! | [`group`], [`orders`] | the actor of a group's pops, and what it is asked |
//! | [`walk`], [`read`] | one pop: where it looks, what it gets |
//! | [`waiters`], [`back`] | pops and notifications that wait; the way of their answers |
//! | [`states`] | what is kept over restarts |
//! | [`takeover`] | what was out at Java's broker |
//! | [`pops`], [`parts`] | where each group's actor is, and what all of them are given |
//! | [`modes`], [`assign`], [`routes`] | who pulls and who pops; which client gets which queue, of which brokers |
//!
//! The requests are decoded and answered by the session (`session/pop.rs`).

pub mod assign;
pub mod back;
pub mod group;
pub mod ledger;
pub mod modes;
pub mod order;
pub mod orders;
pub mod parts;
pub mod pops;
pub mod queues;
pub mod read;
pub mod routes;
pub mod states;
pub mod takeover;
pub mod waiters;
pub mod walk;

pub use pops::{PopStartError, PopSurroundings, Pops};
