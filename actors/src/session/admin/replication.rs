//! GET_BROKER_HA_STATUS (907): how replication is doing. There is no slave, and the answer says so in
//! the words that tools read.

use gantry_codec::{
    Command,
    body::{self, HaRuntimeInfo},
    response_code as rs,
};

use super::super::Shared;

/// The state of a master that nobody follows.
pub(super) fn status(shared: &Shared, cmd: &Command) -> Command {
    let info = HaRuntimeInfo {
        master: true,
        master_commit_log_max_offset: shared.log.max_offset().0,
        ..HaRuntimeInfo::default()
    };
    Command::response(rs::SUCCESS, cmd).with_body(body::to_json(&info))
}
