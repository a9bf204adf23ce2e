//! Offsets as clients read and write them: 14, 15; as slaves and administrators copy them: 43, 314.

use gantry_codec::{
    Command, Header,
    requests::offset::{
        CloneGroupOffsetHeader, QueryConsumerOffsetHeader, UpdateConsumerOffsetHeader,
    },
    response_code as rs,
};

use super::{Answer, Control, ControlRefusal, ControlSession, later, now, success};
use crate::{
    group::{
        facts::QueueFacts,
        offsets::{AllOffsets, CloneOffsets},
        offsets_port::Committed,
    },
    net::{ConnectionHandle, Outcome},
};

impl ControlSession {
    /// QUERY_CONSUMER_OFFSET (14).
    pub(super) fn query_offset(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        let header = match QueryConsumerOffsetHeader::decode(&cmd.ext) {
            Ok(header) => header,
            Err(e) => return now(&cmd, Err(e.into())),
        };
        let (group, topic) = (&header.consumer_group, &header.topic);
        let facts = self.control.0.facts.clone();
        match self.offsets.committed(group, topic, header.queue_id) {
            Committed::Now(stored) => now(&cmd, answer(&cmd, &header, stored, &*facts)),
            Committed::Later(asked) => {
                let conn = conn.clone();
                later(cmd, async move |cmd| match asked.await {
                    Ok(stored) => answer(cmd, &header, stored, &*facts),
                    Err(_) => {
                        // Any code in an answer makes old clients skip to the end of the queue.
                        conn.close("offset query lost by an internal failure");
                        std::future::pending().await
                    }
                })
            }
        }
    }

    /// UPDATE_CONSUMER_OFFSET (15). One-way updates are gathered; the others are answered once every
    /// reader sees them.
    pub(super) fn update_offset(&mut self, cmd: Command) -> Outcome {
        let header = match self.checked_update(&cmd) {
            Ok(header) => header,
            Err(refusal) => return now(&cmd, Err(refusal)),
        };
        let UpdateConsumerOffsetHeader { consumer_group, topic, queue_id, commit_offset, .. } =
            header;
        if self.offsets.view().pending_reset(&consumer_group, &topic, queue_id).is_some() {
            let remark = "Offset has been previously reset";
            return now(&cmd, Ok(success(&cmd).with_remark(remark)));
        }
        self.offsets.commit(&consumer_group, &topic, queue_id, commit_offset);
        if cmd.is_oneway() {
            return Outcome::None;
        }
        let flushed = self.offsets.flush();
        later(cmd, async move |cmd| {
            flushed.await?;
            Ok(success(cmd))
        })
    }

    fn checked_update(&self, cmd: &Command) -> Result<UpdateConsumerOffsetHeader, ControlRefusal> {
        let header = UpdateConsumerOffsetHeader::decode(&cmd.ext)?;
        if self.control.group(&header.consumer_group).is_none() {
            return Err(ControlRefusal::NoGroup(header.consumer_group));
        }
        if self.control.0.facts.topic(&header.topic).is_none() {
            return Err(ControlRefusal::NoTopic(header.topic));
        }
        Ok(header)
    }
}

/// The offset to start from. A group without one starts at 0 if the queue still begins there and its
/// first message is young; else it is told so, and goes by its own policy (wire.md 2.6).
fn answer(
    cmd: &Command,
    header: &QueryConsumerOffsetHeader,
    stored: Option<i64>,
    facts: &dyn QueueFacts,
) -> Answer {
    let found = |offset: i64| Ok(success(cmd).with_ext("offset", offset));
    if let Some(offset) = stored.filter(|offset| *offset >= 0) {
        return found(offset);
    }
    if header.set_zero_if_not_found == Some(false) {
        return Err(ControlRefusal::OffsetNotFoundNorZero);
    }
    let (topic, queue_id) = (&header.topic, header.queue_id);
    let (min, _) = facts.range(topic, queue_id);
    if min <= 0 && facts.is_in_memory(topic, queue_id, 0) {
        return found(0);
    }
    Err(ControlRefusal::OffsetNotFound)
}

impl Control {
    /// GET_ALL_CONSUMER_OFFSET (43).
    pub(super) async fn all_offsets(&self, cmd: &Command) -> Answer {
        let body = self.0.offsets.send(AllOffsets).await?;
        Ok(Command::response(rs::SUCCESS, cmd).with_body(body))
    }

    /// CLONE_GROUP_OFFSET (314): of one topic, or of all in which the source has offsets. Topics that
    /// the source no longer subscribes are left out unless the order says that it is offline.
    pub(super) async fn clone_offsets(&self, cmd: &Command) -> Answer {
        let header = CloneGroupOffsetHeader::decode(&cmd.ext)?;
        let from = header.src_group.as_str();
        let topics = match header.topic.filter(|topic| !topic.trim().is_empty()) {
            Some(topic) => vec![topic.into()],
            None => self.0.offset_view.topics_of(from),
        };
        let subscriptions = self.group(from).map(|view| view.membership().subscriptions.clone());
        let subscriptions = subscriptions.unwrap_or_default();
        let wanted = |topic: &str| {
            let subscribed = subscriptions.is_empty() || subscriptions.contains_key(topic);
            self.0.facts.topic(topic).is_some() && (header.offline || subscribed)
        };
        let order = CloneOffsets {
            from: from.into(),
            to: header.dest_group.into(),
            topics: topics.into_iter().filter(|topic| wanted(topic)).collect(),
        };
        self.0.offsets.send(order).await?;
        Ok(success(cmd))
    }
}
