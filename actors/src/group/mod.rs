//! Consumers, producers and their progress: everything about clients that is not a message.
//!
//! ```text
//! connection ── ControlSession ─┬─ heartbeat, lock ──→ Group (one per group) ──→ Rebalancer ──→ members
//!                               ├─ new group, admin ─→ Groups ── subscriptionGroup.json
//!                               ├─ heartbeat ────────→ Producers
//!                               └─ burst of commits ─→ Offsets ─ consumerOffset.json
//! pull ──── reads ──→ GroupDirectory, OffsetView (published, no message)
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`control`] | the requests, one function per code; what a session calls |
//! | [`groups`], [`configs`] | which groups there are, and their file |
//! | [`group`], [`roster`], [`membership`], [`locks`] | one group: members, subscriptions, locks |
//! | [`rebalancer`] | telling members to share out anew |
//! | [`handover`] | a queue that goes from one member to another |
//! | [`producers`], [`producer_table`] | who produces |
//! | [`offsets`], [`offset_table`], [`offset_file`], [`offsets_port`] | committed offsets: actor, table, file, a connection's way there |
//! | [`view`] | what is published about groups |
//! | [`diagnosis`] | what is wrong with the consumption, and exact lag |
//! | [`popped`] | what pops have asked for |
//! | [`filters`], [`filter_table`] | SQL92 filters, and their file |
//! | [`facts`] | what this side has to know of topics and queues |
//!
//! Knows topics and queues through [`facts`] alone, and of the log nothing.

pub mod client;
pub mod config_file;
pub mod configs;
pub mod control;
pub mod diagnosis;
pub mod facts;
pub mod filter_table;
pub mod filters;
#[expect(clippy::module_inception, reason = "one file per actor, named as the actor is")]
pub mod group;
pub mod groups;
pub mod handover;
pub mod locks;
pub mod membership;
pub mod offset_file;
pub mod offset_table;
pub mod offsets;
pub mod offsets_port;
pub mod popped;
pub mod producer_table;
pub mod producers;
pub mod rebalancer;
pub mod roster;
pub mod view;

#[cfg(test)]
pub(crate) mod bench;
mod start;
#[cfg(test)]
pub(crate) mod testing;

pub use client::Client;
pub use configs::PREDEFINED;
pub use control::{Control, ControlConfig, ControlParts, ControlRefusal, ControlSession};
pub use diagnosis::{Activity, ActivityPort, Diagnose, DiagnosisSettings, Limits, Watch};
pub use facts::{Counted, QueueFacts, RetryTopic, RetryTopics, Wanted};
pub use filter_table::{Filter, FilterDirectory};
pub use offset_table::OffsetView;
pub use producer_table::ProducerDirectory;
pub use start::{GroupSettings, Surroundings, start};
pub use view::{GroupDirectory, GroupView, PullDenied};
