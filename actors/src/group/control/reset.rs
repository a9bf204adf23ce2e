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
            only_forward: false,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::group::{
        bench::{Bench, Peer, heartbeat, settings},
        testing::run,
    };

    const TWO_QUEUES: &str = concat!(
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"t"}:20,"#,
        r#"{"brokerName":"broker-a","queueId":1,"topic":"t"}:20}}"#
    );

    fn reset(timestamp: i64, is_force: bool) -> Command {
        Command::request(rq::INVOKE_BROKER_TO_RESET_OFFSET)
            .with_ext("topic", "t")
            .with_ext("group", "g")
            .with_ext("timestamp", timestamp)
            .with_ext("isForce", is_force)
    }

    fn reset_queue(queue_id: i32, offset: i64) -> Command {
        reset(0, true).with_ext("queueId", queue_id).with_ext("offset", offset)
    }

    /// Topic `t` with two queues of 100 messages, of which group `g` has consumed 50 each.
    async fn bench(server_side: bool) -> (Bench, Peer) {
        let mut settings = settings();
        settings.control.server_side_reset = server_side;
        let bench = Bench::with(settings).await;
        bench.topics.topic("t", 2);
        let mut peer = bench.connect(1);
        bench.control.open_group("g").await.unwrap().unwrap();
        for queue_id in 0..2 {
            bench.topics.queue("t", queue_id, 10, 100, true);
            peer.session.offsets.commit("g", "t", queue_id, 50);
        }
        peer.session.offsets.flush().await.unwrap();
        (bench, peer)
    }

    fn text(answer: &Command) -> &str {
        std::str::from_utf8(&answer.body).unwrap()
    }

    #[test]
    fn here_it_works_offline_and_holds_until_a_pull_was_told() {
        run(async {
            let (bench, mut peer) = bench(true).await;
            let answer = peer.ask(reset(200, false)).await;
            assert_eq!((answer.code, text(&answer)), (0, TWO_QUEUES));
            let offsets = bench.control.offsets();
            assert_eq!(offsets.pending_reset("g", "t", 0), Some(20));
            peer.session.offsets.commit("g", "t", 0, 51);
            peer.session.offsets.flush().await.unwrap();
            assert_eq!(offsets.get("g", "t", 0), Some(20), "its clients have not heard of it");
            let late = Command::request(rq::UPDATE_CONSUMER_OFFSET)
                .with_ext("consumerGroup", "g")
                .with_ext("topic", "t")
                .with_ext("queueId", 0)
                .with_ext("commitOffset", 52);
            let answer = peer.ask(late).await;
            assert_eq!((answer.code, offsets.get("g", "t", 0)), (0, Some(20)));
            peer.session.offsets.reset_delivered("g", "t", 0);
            peer.session.offsets.commit("g", "t", 0, 21);
            peer.session.offsets.flush().await.unwrap();
            assert_eq!(offsets.get("g", "t", 0), Some(21));
            assert_eq!(offsets.pending_reset("g", "t", 1), Some(20));
        });
    }

    #[test]
    fn one_queue_can_be_sent_to_an_offset_or_a_time() {
        run(async {
            for server_side in [true, false] {
                let (bench, mut peer) = bench(server_side).await;
                assert_eq!(peer.ask(reset_queue(1, 77)).await.code, 0);
                let offsets = bench.control.offsets();
                assert_eq!(offsets.pending_reset("g", "t", 1), Some(77));
                assert_eq!(offsets.pending_reset("g", "t", 0), None);
                let by_time = reset(300, true).with_ext("queueId", 0).with_ext("offset", -1);
                assert_eq!(peer.ask(by_time).await.code, 0);
                assert_eq!(offsets.pending_reset("g", "t", 0), Some(30));
                for outside in [9, 102] {
                    let answer = peer.ask(reset_queue(0, outside)).await;
                    assert_eq!(answer.code, 1);
                    assert!(answer.remark.unwrap().ends_with("range [10-100]"));
                }
            }
        });
    }

    #[test]
    fn what_does_not_exist_is_not_reset() {
        run(async {
            let (_bench, mut peer) = bench(true).await;
            assert_eq!(peer.ask(reset(0, true).with_ext("topic", "unknown")).await.code, 17);
            assert_eq!(peer.ask(reset(0, true).with_ext("group", "unknown")).await.code, 26);
        });
    }

    #[test]
    fn by_clients_the_online_ones_are_sent_the_offsets() {
        run(async {
            let (bench, mut peer) = bench(false).await;
            let offline = peer.ask(reset(200, true)).await;
            assert_eq!(offline.code, 206, "the old tool falls back on this code");
            peer.beat("one", "g", &["t"]).await;
            let mut cpp = bench.connect(2);
            let mut beat = heartbeat("two", "g", &["t"]);
            beat.language = Language::Cpp;
            cpp.ask(beat).await;
            let answer = peer.ask(reset(200, false)).await;
            assert_eq!((answer.code, text(&answer)), (0, TWO_QUEUES));
            crate::group::testing::settle().await;
            let sent = peer.seen.pushed();
            let sent =
                sent.iter().find(|cmd| cmd.code == rq::RESET_CONSUMER_CLIENT_OFFSET).unwrap();
            assert!(sent.is_oneway());
            assert_eq!(text(sent), TWO_QUEUES, "no blank, members in this order");
            assert_eq!(sent.ext.get("timestamp"), Some("200"));
            let sent = cpp.seen.pushed();
            let sent =
                sent.iter().find(|cmd| cmd.code == rq::RESET_CONSUMER_CLIENT_OFFSET).unwrap();
            let list: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
            let first = json!({"brokerName": "broker-a", "offset": 20, "queueId": 0, "topic": "t"});
            assert_eq!(list["offsetTable"][0], first);
            assert_eq!(bench.control.offsets().get("g", "t", 0), Some(50), "they commit it");
        });
    }

    #[test]
    fn by_clients_it_goes_forward_only_by_force() {
        run(async {
            let (_bench, mut peer) = bench(false).await;
            peer.beat("one", "g", &["t"]).await;
            let kept = peer.ask(reset(-1, false)).await;
            assert!(text(&kept).contains(r#""queueId":0,"topic":"t"}:50"#));
            let forced = peer.ask(reset(-1, true)).await;
            assert!(text(&forced).contains(r#""queueId":0,"topic":"t"}:100"#));
        });
    }

    #[test]
    fn by_clients_a_group_needs_an_offset_in_every_queue_and_clients_that_can() {
        run(async {
            let (bench, mut peer) = bench(false).await;
            let mut old = heartbeat("one", "g", &["t"]);
            old.version = 20;
            peer.ask(old).await;
            assert_eq!(peer.ask(reset(200, true)).await.code, 1);
            bench.topics.topic("t", 3);
            let answer = peer.ask(reset(200, true)).await;
            assert_eq!(answer.remark.as_deref(), Some("THe consumer group <g> not exist"));
        });
    }
}
