//! The name server: who the brokers are, which topics they carry, and what clients are told of it.
//!
//! | file | what it holds |
//! |---|---|
//! | `namesrv` | the root: start order, supervision, [`NamesrvConfig`], [`start`] |
//! | `service` | what the port serves: request codes to questions and orders |
//! | `announcement` | the bodies that brokers send |
//! | `registry`, `orders` | the actor that owns brokers and routes, and what it can be told |
//! | `registration` | the rules of registering and leaving |
//! | `table` | the route table, a persistent value |
//! | `entry` | one actor per registered address: is it still there? |
//! | `route_query`, `route_json` | the published table, and the answers made from it |
//! | `views` | all that is published |
//! | `notice` | telling brokers that their group's smallest id has changed |
//! | `kv`, `kv_table` | the key-value configuration, its file and its owner |
//! | `settings` | what can change at run time |
//! | `refusal` | why a request is refused |
//!
//! Reads take no message: connections load the published route table, key-value table and settings,
//! each an immutable value behind an atomic pointer. Changes go to the one actor that owns the value.
//! A name server knows only what brokers told it since its start, plus the key-value file; brokers
//! register again every few seconds, so one that was restarted is complete after their period.
//!
//! Knows nothing of messages, logs and consumer groups.

mod announcement;
mod entry;
mod kv;
mod kv_table;
mod namesrv;
mod notice;
mod orders;
mod refusal;
mod registration;
#[expect(clippy::module_inception, reason = "the actor that gives the module its name")]
mod registry;
mod route_json;
mod route_query;
mod service;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod views;

pub use namesrv::{NamesrvConfig, NamesrvRunning, Seams, StartError, start};
pub use refusal::Refusal;
pub use settings::{Settings, UpdateError};
