//! A broker in this process, over a disk in memory and a clock that stands: what goes from its store
//! and when, what consumers notice of it, and what a full disk refuses.

#[path = "../harness/traffic.rs"]
#[allow(dead_code, reason = "each whole-system test uses its part")]
mod traffic;

mod disk_full;
mod limits;
mod rig;
