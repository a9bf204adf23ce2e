//! Statistics as tools ask for them (315 VIEW_BROKER_STATS_DATA): how much came and went over the last
//! minute, hour and day, by topic, by group, and for the whole broker.
//!
//! | name | key | counts |
//! |---|---|---|
//! | `TOPIC_PUT_NUMS`, `TOPIC_PUT_SIZE` | topic | messages stored, bytes of their records |
//! | `GROUP_GET_NUMS`, `GROUP_GET_SIZE` | `topic@group` | messages pulled, bytes of their records |
//! | `SNDBCK_PUT_NUMS` | `topic@group` | messages that came back to be tried again |
//! | `BROKER_PUT_NUMS`, `BROKER_GET_NUMS` | cluster | messages stored for clients, and pulled |
//!
//! Nothing is counted for their sake: [`Sources`] reads counters that others raise anyway, and the
//! [`Sampler`] notes every ten seconds where they stand. [`Statistics`] keeps those notes, the finest for
//! a minute, coarser ones for an hour and a day, and only for what has moved, so that many idle topics
//! cost little. An answer reaches from the oldest note of its window to the counter as it is now.
//!
//! Counting begins with the process. Failure policy of the sampler: restart empty; the notes live on,
//! outside of it.

mod sampler;
mod series;
mod sources;

pub use sampler::Sampler;
pub use series::Statistics;
pub use sources::{SendBacks, Sources};

/// What is counted, and of whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The name of the statistic.
    pub name: &'static str,
    /// A topic, `topic@group` or the cluster.
    pub of: Box<str>,
}

/// The statistics that there are.
pub mod names {
    /// Messages stored, by topic.
    pub const TOPIC_PUT_NUMS: &str = "TOPIC_PUT_NUMS";
    /// Bytes stored, by topic.
    pub const TOPIC_PUT_SIZE: &str = "TOPIC_PUT_SIZE";
    /// Messages pulled, by topic and group.
    pub const GROUP_GET_NUMS: &str = "GROUP_GET_NUMS";
    /// Bytes pulled, by topic and group.
    pub const GROUP_GET_SIZE: &str = "GROUP_GET_SIZE";
    /// Messages sent back, by topic and group.
    pub const SNDBCK_PUT_NUMS: &str = "SNDBCK_PUT_NUMS";
    /// Messages stored.
    pub const BROKER_PUT_NUMS: &str = "BROKER_PUT_NUMS";
    /// Messages pulled.
    pub const BROKER_GET_NUMS: &str = "BROKER_GET_NUMS";
}
