//! INVOKE_BROKER_TO_RESET_OFFSET (222): an administrator sends a group elsewhere (wire.md 5.8).
//!
//! | way | when | online clients | group offline |
//! |---|---|---|---|
//! | here | `useServerSideResetOffset`, or a single queue is named | the next pull is sent to the offset | works |
//! | by the clients | otherwise | are sent the offsets (220), take them after some 10 s | refused |

use gantry_codec::{
    Command, Header, Language,
    body::{
        self, MessageQueue, QueueOffsetEntry, ResetOffsetBody, ResetOffsetListBody, TopicConfig,
    },
    fastjson, request_code as rq,
    requests::offset::ResetOffsetHeader,
};
use slog::info;

use super::{Answer, Control, ControlRefusal, OLDEST_CALLABLE_CLIENT, json_with_queues};
use crate::group::{client::Client, offset_table::Commit, offsets::ResetOffsets};

/// In a request's timestamp: the end of each queue.
const TO_THE_END: i64 = -1;

impl Control {
    /// INVOKE_BROKER_TO_RESET_OFFSET (222).
    pub(super) async fn reset_offset(&self, cmd: &Command) -> Answer {
        let header = ResetOffsetHeader::decode(&cmd.ext)?;
        let Some(config) = self.0.facts.topic(&header.topic) else {
            return Err(ControlRefusal::NoTopic(header.topic));
        };
        let one_queue = header.queue_id.is_some_and(|queue_id| queue_id >= 0);
        let table = if self.0.config.server_side_reset || one_queue {
            self.reset_here(&header, &config).await?
        } else {
            self.reset_by_clients(&header, &config)?
        };
        info!(self.0.log, "offsets reset"; "group" => &header.group, "topic" => &header.topic,
            "queues" => table.offset_table.0.len());
        json_with_queues(cmd, &table)
    }

    async fn reset_here(
        &self,
        header: &ResetOffsetHeader,
        config: &TopicConfig,
    ) -> Result<ResetOffsetBody, ControlRefusal> {
        if self.group(&header.group).is_none() {
            return Err(ControlRefusal::NoGroup(header.group.clone()));
        }
        let offsets = self.targets(header, config)?;
        let (group, topic) = (header.group.as_str().into(), header.topic.as_str().into());
        let order = offsets.iter().map(|(queue_id, offset)| Commit {
            group: std::sync::Arc::clone(&group),
            topic: std::sync::Arc::clone(&topic),
            queue_id: *queue_id,
            offset: *offset,
        });
        self.0.offsets.send(ResetOffsets(order.collect())).await?;
        Ok(self.table(&header.topic, offsets))
    }

    /// Queue by queue, where the group is to go on.
    fn targets(
        &self,
        header: &ResetOffsetHeader,
        config: &TopicConfig,
    ) -> Result<Vec<(i32, i64)>, ControlRefusal> {
        let by_time = |queue_id| (queue_id, self.offset_at(header, queue_id));
        let Some(queue_id) = header.queue_id.filter(|queue_id| *queue_id >= 0) else {
            return Ok((0..config.read_queue_nums).map(by_time).collect());
        };
        let Some(offset) = header.offset.filter(|offset| *offset >= 0) else {
            return Ok(vec![by_time(queue_id)]);
        };
        let (min, max) = self.0.facts.range(&header.topic, queue_id);
        // Java lets one more than the end pass, too.
        if (min..=max + 1).contains(&offset) {
            Ok(vec![(queue_id, offset)])
        } else {
            Err(ControlRefusal::OffsetRange { offset, min, max })
        }
    }

    fn offset_at(&self, header: &ResetOffsetHeader, queue_id: i32) -> i64 {
        let (facts, topic) = (&self.0.facts, &header.topic);
        let offset = match header.timestamp {
            TO_THE_END => facts.range(topic, queue_id).1,
            time_ms => facts.search(topic, queue_id, time_ms),
        };
        offset.max(0)
    }

    fn reset_by_clients(
        &self,
        header: &ResetOffsetHeader,
        config: &TopicConfig,
    ) -> Result<ResetOffsetBody, ControlRefusal> {
        let mut offsets = Vec::new();
        for queue_id in 0..config.write_queue_nums {
            let stored = self.0.offset_view.get(&header.group, &header.topic, queue_id);
            let Some(current) = stored.filter(|offset| *offset >= 0) else {
                return Err(ControlRefusal::GroupWithoutOffset(header.group.clone()));
            };
            let target = self.offset_at(header, queue_id);
            let moves = header.is_force || target < current;
            offsets.push((queue_id, if moves { target } else { current }));
        }
        let members = self.group(&header.group).map(|view| view.membership().members.clone());
        let members = members.unwrap_or_default();
        if members.is_empty() {
            return Err(ControlRefusal::ResetOffline {
                group: header.group.clone(),
                topic: header.topic.clone(),
                timestamp: header.timestamp,
            });
        }
        if let Some(old) = members.iter().find(|member| member.version < OLDEST_CALLABLE_CLIENT) {
            return Err(ControlRefusal::ClientTooOld(old.version));
        }
        let table = self.table(&header.topic, offsets);
        for member in &members {
            member.connection.push(reset_request(header, &table, member));
        }
        Ok(table)
    }

    fn table(&self, topic: &str, offsets: Vec<(i32, i64)>) -> ResetOffsetBody {
        let entry = |(queue_id, offset)| (self.queue(topic, queue_id), offset);
        ResetOffsetBody { offset_table: offsets.into_iter().map(entry).collect() }
    }

    /// A queue of this broker as clients name it.
    pub(super) fn queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        let broker_name = self.0.config.broker_name.to_string();
        MessageQueue { broker_name, queue_id, topic: topic.to_owned() }
    }
}

/// RESET_CONSUMER_CLIENT_OFFSET (220). C++ clients read the table in a form of their own.
fn reset_request(header: &ResetOffsetHeader, table: &ResetOffsetBody, to: &Client) -> Command {
    let body = match to.language {
        Language::Cpp => body::to_json(&list(table)),
        _ => fastjson::to_vec_object_keys(table).unwrap_or_default(),
    };
    Command::oneway(rq::RESET_CONSUMER_CLIENT_OFFSET)
        .with_ext("topic", header.topic.as_str())
        .with_ext("group", header.group.as_str())
        .with_ext("timestamp", header.timestamp)
        .with_ext("isForce", header.is_force)
        .with_body(body)
}

fn list(table: &ResetOffsetBody) -> ResetOffsetListBody {
    let entry = |(queue, offset): (&MessageQueue, &i64)| QueueOffsetEntry {
        broker_name: queue.broker_name.clone(),
        offset: *offset,
        queue_id: queue.queue_id,
        topic: queue.topic.clone(),
    };
    ResetOffsetListBody { offset_table: table.offset_table.0.iter().map(entry).collect() }
}
