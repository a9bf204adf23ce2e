//! The port of figures and health of a broker in this process: pages that a strict reader accepts, that
//! follow what happens, and that have everything the dashboard asks for.

#[path = "../harness/by_key.rs"]
mod by_key;
mod exposition;
mod figures;
mod rig;
#[path = "../harness/traffic.rs"]
mod traffic;
