//! Messages that expire, in a broker as a whole over a disk in memory and a clock that stands: what
//! consumers are led past and when, what is counted, and what becomes a dead letter.

#[path = "../harness/traffic.rs"]
#[allow(dead_code, reason = "each whole-system test uses its part")]
mod traffic;

#[path = "../retention/rig.rs"]
#[allow(dead_code, reason = "the tests of retention use more of it")]
mod rig;

mod buried;
mod delivered;
mod group;
mod popped;
