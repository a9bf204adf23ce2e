//! VIEW_BROKER_STATS_DATA (315): one counter over the last minute, hour and day.

use gantry_codec::{
    Command, Header, body, requests::admin::ViewBrokerStatsDataHeader, response_code as rs,
};

use super::super::Shared;
use crate::error_to_wire;

/// The counter that the request names.
pub(super) fn view(shared: &Shared, cmd: &Command) -> Command {
    let header = match ViewBrokerStatsDataHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return error_to_wire::bad_header(cmd, &e),
    };
    let (name, of) = (header.stats_name.as_str(), header.stats_key.as_str());
    let Some((key, value)) = shared.counters.one(name, of) else {
        return error_to_wire::no_statistic(cmd, name, of);
    };
    let data = shared.statistics.of(&key, shared.clock.now_ms(), value);
    Command::response(rs::SUCCESS, cmd).with_body(body::to_json(&data))
}
