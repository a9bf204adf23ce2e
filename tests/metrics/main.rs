//! The port of figures and health of a broker in this process: pages that a strict reader accepts, that
//! follow what happens, and that have everything the dashboard asks for.

mod exposition;
mod figures;
mod rig;
#[path = "../harness/traffic.rs"]
#[expect(dead_code, reason = "each test binary uses its own part")]
mod traffic;
