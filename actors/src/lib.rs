//! gantry: the broker and the name server as supervised actors.
//!
//! The way of a message, and where each step is:
//!
//! | step | place |
//! |---|---|
//! | bytes become a burst of commands | [`net::burst`], [`net::connection`] |
//! | a send is checked and put into the burst's batch | [`session`], `session/send.rs` |
//! | the batch is written into the log | [`log::appender`] |
//! | it is flushed, if somebody waits for that | [`log::flusher`] |
//! | queues learn of it | [`log::dispatcher`], [`topic::queue`] |
//! | pulls that waited are answered | [`topic::held_pulls`], `session/pull.rs` |
//! | replies leave with one write | [`net::outbox`] |
//!
//! Beside it: [`group`] (consumers, producers, offsets), [`pop`] (pop consumption), [`expiry`] (messages
//! that are not delivered any more), [`dedup`] (messages that are sent twice), [`schedule`] (delayed messages),
//! [`settings`] (the configuration while it runs), [`statistics`] (what came and went),
//! [`transaction`] (half messages), [`timer`] (timed ones), [`metrics`] (figures and health),
//! [`registrar`] (name servers are told), [`registry`] (the name server itself), [`daemon`] (command
//! line, logging, signals).
//!
//! Boundaries: changes go through a mailbox, reads through a published view, one hop carries a burst.
//! `codec` and `storage` know nothing of actors, `supervisor` nothing of messaging; this crate ties
//! them together, and nothing depends on it but the binary.

pub mod broker;
pub mod daemon;
pub mod dedup;
pub mod error_to_wire;
pub mod expiry;
pub mod group;
pub mod log;
pub mod metrics;
pub mod net;
pub mod pop;
pub mod registrar;
pub mod registry;
pub mod schedule;
pub mod session;
pub mod settings;
pub mod statistics;
pub mod timer;
pub mod topic;
pub mod traffic;
pub mod transaction;
