//! What operators ask and order beyond topics, groups and queues: one function per request code.
//!
//! | file | codes |
//! |---|---|
//! | `settings` | 25 UPDATE_BROKER_CONFIG |
//! | (control) | 317 GET_BROKER_CONSUME_STATS, 308 QUERY_CORRECTION_OFFSET |
//! | `statistics` | 315 VIEW_BROKER_STATS_DATA |
//! | `system` | 305 GET_SYSTEM_TOPIC_LIST_FROM_BROKER |
//! | `replication` | 907 GET_BROKER_HA_STATUS |
//!
//! Answers come from published views where they can, changes from the actor that owns what is changed.

mod replication;
mod settings;
mod statistics;
mod system;

use std::sync::Arc;

use gantry_codec::{Command, request_code as rq};

use super::Shared;
use crate::{error_to_wire, net::Outcome};

/// Whether this code is answered here.
pub(super) fn handles(code: i32) -> bool {
    matches!(
        code,
        rq::UPDATE_BROKER_CONFIG
            | rq::GET_SYSTEM_TOPIC_LIST_FROM_BROKER
            | rq::GET_BROKER_HA_STATUS
            | rq::VIEW_BROKER_STATS_DATA
            | rq::GET_BROKER_CONSUME_STATS
            | rq::QUERY_CORRECTION_OFFSET
            | rq::UPDATE_AND_CREATE_STATIC_TOPIC
    )
}

/// Answers it.
pub(super) fn request(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    match cmd.code {
        rq::UPDATE_BROKER_CONFIG => settings::update(shared, cmd),
        rq::GET_BROKER_HA_STATUS => Outcome::Reply(replication::status(shared, &cmd)),
        rq::VIEW_BROKER_STATS_DATA => Outcome::Reply(statistics::view(shared, &cmd)),
        rq::GET_BROKER_CONSUME_STATS | rq::QUERY_CORRECTION_OFFSET => {
            let control = shared.control.clone();
            shared.cold.answer(cmd, 0, move |cmd| control.survey(cmd))
        }
        rq::UPDATE_AND_CREATE_STATIC_TOPIC => Outcome::Reply(error_to_wire::no_static_topics(&cmd)),
        _ => Outcome::Reply(system::topics(shared, &cmd)),
    }
}
