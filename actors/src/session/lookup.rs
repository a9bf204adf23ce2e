//! Questions about offsets and single messages, answered from the published views. Those that read the
//! log go to a thread that may wait for the disk, since they ask for what is old.

use std::sync::Arc;

use gantry_codec::{
    Command, Header, HeaderError, request_code as rq,
    requests::{
        offset::{QueueHeader, SearchOffsetHeader},
        pull::ViewMessageHeader,
    },
    response_code as rs,
};
use gantry_storage::{Boundary, PhysicalOffset};

use super::Shared;
use crate::{error_to_wire, group::QueueFacts, net::Outcome};

/// Answers one of the codes of this file.
pub(super) fn answer(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    match cmd.code {
        rq::GET_MAX_OFFSET | rq::GET_MIN_OFFSET => Outcome::Reply(answer_now(shared, &cmd)),
        _ => {
            let all = shared.clone();
            shared.cold.answer(cmd, 0, move |cmd| answer_now(&all, cmd))
        }
    }
}

fn answer_now(shared: &Shared, cmd: &Command) -> Command {
    try_answer(shared, cmd).unwrap_or_else(|e| error_to_wire::bad_header(cmd, &e))
}

fn try_answer(shared: &Shared, cmd: &Command) -> Result<Command, HeaderError> {
    let facts = &shared.facts;
    Ok(match cmd.code {
        rq::GET_MAX_OFFSET | rq::GET_MIN_OFFSET => {
            let header = QueueHeader::decode(&cmd.ext)?;
            match facts.try_range(&header.topic, header.queue_id) {
                Ok((_, max)) if cmd.code == rq::GET_MAX_OFFSET => offset(cmd, max),
                Ok((min, _)) => offset(cmd, min),
                Err(why) => error_to_wire::broken_queue(cmd, &why),
            }
        }
        rq::GET_EARLIEST_MSG_STORETIME => {
            let header = QueueHeader::decode(&cmd.ext)?;
            let (min, _) = facts.range(&header.topic, header.queue_id);
            let time = facts.store_time(&header.topic, header.queue_id, min).unwrap_or(-1);
            Command::response(rs::SUCCESS, cmd).with_ext("timestamp", time)
        }
        rq::SEARCH_OFFSET_BY_TIMESTAMP => {
            let header = SearchOffsetHeader::decode(&cmd.ext)?;
            let boundary = match header.boundary_type.as_deref() {
                Some(text) if text.eq_ignore_ascii_case("upper") => Boundary::Upper,
                _ => Boundary::Lower,
            };
            let (topic, queue) = (&header.topic, header.queue_id);
            offset(cmd, facts.search_with(topic, queue, header.timestamp, boundary))
        }
        _ => message(shared, cmd, ViewMessageHeader::decode(&cmd.ext)?.offset),
    })
}

fn offset(cmd: &Command, offset: i64) -> Command {
    Command::response(rs::SUCCESS, cmd).with_ext("offset", offset)
}

fn message(shared: &Shared, cmd: &Command, offset: i64) -> Command {
    let at = u64::try_from(offset).ok().map(PhysicalOffset);
    if let Some(record) = at.and_then(|at| shared.log.record_at(at)) {
        return Command::response(rs::SUCCESS, cmd).with_body(record.into_bytes());
    }
    let damage = at.and_then(|at| shared.log.damage_at(at));
    let why = damage.map(|why| format!(": {why}")).unwrap_or_default();
    Command::response(rs::SYSTEM_ERROR, cmd)
        .with_remark(format!("can not find message by the offset, {offset}{why}"))
}
