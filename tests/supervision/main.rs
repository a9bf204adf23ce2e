//! A broker in this process, with an actor of it struck down in the middle of traffic: what was
//! acknowledged is delivered in order, the rest of the broker goes on, and the fall is counted and
//! logged.

#[path = "../harness/by_key.rs"]
mod by_key;
#[path = "../harness/traffic.rs"]
#[allow(dead_code, reason = "each whole-system test uses its part")]
mod traffic;

mod panics;
mod rig;
mod transactions;
