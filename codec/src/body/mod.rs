//! JSON bodies, as typed structs.
//!
//! Read them with [`crate::fastjson::from_slice`], which takes standard JSON and the dialect of Java
//! peers; write them with [`to_json`], or with [`crate::fastjson::to_vec_object_keys`] where a map has
//! queues for keys ([`MessageQueueMap`]). Members stand in alphabetical order, as Java writes them.
//! Unknown members are ignored, except in the configurations of topics and groups, which keep them
//! for the next version that knows them. A member that is missing or null has its default, unless a
//! body makes no sense without it.

mod client;
mod config;
mod diagnosis;
mod filters;
mod message_queue;
mod pop;
mod register;
mod route;
mod stats;
mod transactions;

use serde::{Deserialize, Deserializer, Serialize};

pub use crate::filter::SubscriptionData;
pub use client::*;
pub use config::*;
pub use diagnosis::*;
pub use filters::*;
pub use message_queue::*;
pub use pop::*;
pub use register::*;
pub use route::*;
pub use stats::*;
pub use transactions::*;

/// Compact standard JSON.
///
/// # Panics
/// If the body cannot be expressed in JSON; those of this module can.
#[cfg_attr(
    not(test),
    expect(clippy::expect_used, reason = "a matter of the type, not of its content")
)]
pub fn to_json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("the body's type is expressible in JSON")
}

/// A null is what a missing member is; Java leaves nulls out, Go writes them for empty lists.
pub(crate) fn null_as_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}
