//! Time to live: messages that are not delivered any more from a certain time on.
//!
//! | what says so | where | meaning |
//! |---|---|---|
//! | `GANTRY_EXPIRES_MS` | property of a message | not delivered from this time on, ms since 1970 |
//! | `GANTRY_TTL_MS` | property of a message | so many ms after it got into its queue |
//! | `gantry.ttl.ms` | attribute of a topic | the same for all messages that do not say themselves |
//! | `gantry.ttl.dlq` | attribute of a topic, `true` or `false` | a group gets what expired before it was delivered as dead letters |
//! | `gantry.ttl.messages` | attribute of a topic, `true` or `false` | messages may say themselves; set by the broker before it stores the first |
//!
//! The first that is there counts. Life begins when the message gets into the queue that consumers read:
//! a delay, a timer or an open transaction does not eat it. A message that is given back by a consumer
//! takes its end along (`GANTRY_EXPIRES_MS`), so that tries do not make it live longer. Dead letters do
//! not die once more: in a dead-letter topic the topic's own attribute counts alone.
//!
//! Expired messages are passed over as those are that a filter refuses, by pulls and pops, and counted by
//! group and queue ([`Account`]). Readers find out by what the record says, and only in topics that have
//! one of these attributes ([`Lifetime`], part of the topic's published view): the others are read as if
//! there were none of this. The groups of tools see everything.
//!
//! | file | what |
//! |---|---|
//! | `lifetime` | what attributes and properties say |
//! | `account` | which expired messages a group has passed over |
//! | `reading` | reading a queue without them |
//! | `undertaker` | the actor that makes dead letters of them |

mod account;
mod lifetime;
mod reading;
mod undertaker;

pub use account::Account;
pub use lifetime::{Lifetime, MESSAGES, PropertyError, check, ends_of};
pub use reading::{Expired, Living, read};
pub use undertaker::{Burial, Bury, Undertaker, UndertakerParts};
