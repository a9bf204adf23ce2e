//! A message that an administrator has one consumer take at once: CONSUME_MESSAGE_DIRECTLY (309).
//!
//! The request names the message by its id, whose offset is a place in this broker's log. The record found
//! there goes with the request to the client; what the client answers is passed through unread. Neither
//! the queue nor the group's progress is touched.

use std::sync::Arc;

use gantry_codec::{
    Command, Header, message_id::OffsetMessageId, requests::group::ConsumeMessageDirectlyHeader,
};
use gantry_storage::PhysicalOffset;

use super::Shared;
use crate::{error_to_wire, group::ControlRefusal, net::Outcome};

/// Answers CONSUME_MESSAGE_DIRECTLY.
pub(super) fn consume(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let header = match ConsumeMessageDirectlyHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return Outcome::Reply(error_to_wire::bad_header(&cmd, &e)),
    };
    let shared = shared.clone();
    Outcome::Later(Box::pin(async move {
        match relay(&shared, &cmd, header).await {
            Ok(answer) => answer,
            Err(refusal) => error_to_wire::refused_control(&cmd, &refusal),
        }
    }))
}

async fn relay(
    shared: &Arc<Shared>,
    cmd: &Command,
    mut header: ConsumeMessageDirectlyHeader,
) -> Result<Command, ControlRefusal> {
    let group = header.consumer_group.clone();
    let client = header.client_id.clone().unwrap_or_default();
    let no_message = |id: &str| ControlRefusal::NoMessage(id.to_owned());
    let id = header.msg_id.clone().unwrap_or_default();
    let at = OffsetMessageId::parse(&id).map_err(|_| no_message(&id))?;
    let log = shared.log.clone();
    let record = shared.cold.read_apart(move || log.record_at(PhysicalOffset(at.offset)));
    let record = record.await.flatten().ok_or_else(|| no_message(&id))?;
    header.broker_name = Some(shared.config.broker_name.to_string());
    let request = Command::request(cmd.code).with_header(&header).with_body(record.into_bytes());
    shared.control.relay(cmd, &group, &client, request).await
}
