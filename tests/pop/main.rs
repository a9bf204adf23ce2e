//! Pops against a broker in this process, over a disk in memory: what clients see, and what stays of it
//! when the broker stops in order or is killed.

mod consuming;
mod refusals;
mod restarts;
mod rig;
mod settings;
mod told;
