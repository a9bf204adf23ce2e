//! The configuration of gantry's daemons: what keys there are, where their values come from, and the
//! typed structs that the rest reads.
//!
//! ```text
//! broker.toml (shipped, embedded) ← file of -c ← environment ← --set ← -n      weakest first
//!         │                            │ TOML or Java properties
//!         └── Schema: keys, kinds      └── admit: unknown keys, kinds, Java's habits
//!                          merge (crate `config`) → fill from the machine → typed views → checks
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `broker`, `broker_parts`, `namesrv`, `network`, `metrics`, `log` | the typed structs: ranges, contradictions |
//! | `values` | readers of values that are more than a number or a string |
//! | `schema` | the keys, from the shipped files; misspelt ones; the environment's names |
//! | `java_keys` | keys that the Java daemons know and that mean nothing here |
//! | `layer`, `admit`, `merge` | one layer; what is taken from it; all together |
//! | `properties` | the reader of Java properties |
//! | `change`, `edit` | changes at run time, and the file's text after them |
//! | `effective` | what `-p` prints |
//! | `surroundings` | what is taken from the machine |
//!
//! Invariants: a key with an effect exists once, in a shipped file, with a field here that reads it.
//! A value that nobody checked does not leave this crate. Nothing is written, and nothing is read but
//! the file that was named. An actor is given the struct that it needs, never the whole.
//!
//! Failure policy: what is wrong stops the start with one line that names the file, the line, the key
//! and the reason ([`LoadError`]); what is merely surprising is a [`Warning`].
//!
//! This crate must not know of actors, sockets or the store.

mod admit;
mod broker;
mod broker_parts;
mod change;
mod edit;
mod effective;
mod error;
mod java_keys;
mod layer;
mod log;
mod merge;
mod metrics;
mod namesrv;
mod network;
mod pop;
pub mod properties;
mod schema;
mod surroundings;
mod values;

pub use broker::{BrokerConfig, Role};
pub use broker_parts::{
    FlushConfig, GroupConfig, IdentityConfig, IndexConfig, LightConfig, PullConfig,
    RegistrationConfig, RetentionConfig, StoreConfig, TimerConfig, TopicConfig, TransactionConfig,
};
pub use change::{
    AT_RUN_TIME, ChangeError, Changed, Difference, edited_broker_file, edited_namesrv_file,
};
pub use effective::{Effective, Setting};
pub use error::{LoadError, Warning};
pub use log::LogConfig;
pub use merge::Sources;
pub use metrics::{MetricsConfig, MetricsExporter};
pub use namesrv::{NamesrvConfig, RouteConfig};
pub use network::NetworkConfig;
pub use pop::PopConfig;
pub use surroundings::{HomeFrom, Surroundings};
pub use values::{AppenderPlacement, FlushDiskType, LogFormat, LogLevel, LogLevels, RequestMode};

/// A configuration that holds, and what its owner should know about it.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// In the order in which they were found.
    pub warnings: Vec<Warning>,
}
