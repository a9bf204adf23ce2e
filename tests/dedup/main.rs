//! Messages that are sent twice, in a broker as a whole: stored once within their topic's window and answered
//! as the first time, in a burst, over two connections, after a restart and after a crash.
#![expect(clippy::disallowed_methods, reason = "looks at the files of another process")]

#[path = "../harness/mod.rs"]
#[allow(dead_code, reason = "each whole-system test uses its part")]
mod harness;

use harness::traffic;

#[path = "../retention/rig.rs"]
#[allow(dead_code, reason = "the tests of retention use more of it")]
mod rig;

mod crashes;
mod once;
