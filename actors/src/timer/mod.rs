//! Timed messages: each is brought to its topic at the millisecond that it asked for (store.md 4.2).
//!
//! A send that asks for a time is stored in `rmq_sys_wheel_timer` first ([`timing`] has the rules). That
//! topic's queue tells [`timer`], an actor on a thread of its own, of every new end; the actor writes a
//! unit for each message into the Java broker's files, reads the slots ahead that come due next, and has
//! the appender store what is due under its real topic and queue.
//!
//! | file | what it holds |
//! |---|---|
//! | [`timing`] | what a message asks for, and what its record says: rules |
//! | [`timers`] | the logic: taking in, reading ahead, what is done |
//! | [`agenda`] | what is due next, in memory |
//! | [`delivery`] | from the message that waited to the one that is delivered |
//! | [`timer`] | the actor |
//! | [`flusher`] | waits for the disk in its place |
//! | [`returns`] | where the appender gives batches back |
//! | [`figures`] | what others may see of it all |
//!
//! The way of a timed message: placed (session) → log → timer topic's queue → unit in the wheel →
//! agenda → appender → real queue. A recall is a timed message as well, for the same slot, and names
//! the one that it takes back.

pub mod agenda;
pub mod delivery;
pub mod figures;
pub mod flusher;
pub mod returns;
#[expect(clippy::module_inception, reason = "the actor is named after what it is")]
pub mod timer;
pub mod timers;
pub mod timing;

pub use figures::TimerFigures;
pub use flusher::TimerFlusher;
pub use returns::{ReturnBox, Returns};
pub use timer::{Timer, TimerParts};
pub use timing::{TimerRefusal, TimerRules, Timing};
