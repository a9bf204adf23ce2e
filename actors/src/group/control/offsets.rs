//! Offsets as clients read and write them: 14, 15; as slaves and administrators copy them: 43, 314.

use gantry_codec::{
    Command, Header,
    requests::offset::{
        CloneGroupOffsetHeader, QueryConsumerOffsetHeader, UpdateConsumerOffsetHeader,
    },
    response_code as rs,
};
use tokio::time::Instant;

use super::{Answer, Control, ControlRefusal, ControlSession, later, now, success};
use crate::{
    group::{
        facts::QueueFacts,
        handover::Wait,
        offsets::{AllOffsets, CloneOffsets},
    },
    net::{ConnectionHandle, ConnectionId, Outcome},
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
        let asked = match self.handover(&header, conn.id()) {
            Some(wait) => self.offsets.committed_after(wait, group, topic, header.queue_id),
            None => self.offsets.committed(group, topic, header.queue_id),
        };
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

    /// What a member that asks for the offset of a queue has to wait for: another member that has asked
    /// for it or has pulled from it, and has not committed since.
    fn handover(&self, header: &QueryConsumerOffsetHeader, heir: ConnectionId) -> Option<Wait> {
        let view = self.control.group(&header.consumer_group)?;
        let membership = view.membership();
        if membership.is_broadcasting() || membership.id_on(heir).is_none() {
            return None;
        }
        let topic = header.topic.as_str().into();
        let activity = view.slot().activities.of(&topic, header.queue_id);
        // Who asks next waits for this one, which will have consumed something by then.
        let owner = activity.asked(heir)?;
        membership.id_on(owner)?;
        view.slot().handovers.wait(&topic, header.queue_id, owner, Instant::now())
    }

    /// A member has committed: whoever is to have the queue next may be told where it stands.
    fn handed_over(&mut self, group: &str, topic: &str, queue_id: i32, owner: ConnectionId) {
        let Some(view) = self.control.group(group) else { return };
        let slot = view.slot();
        if let Some(activity) = slot.activities.get(topic, queue_id) {
            activity.committed(owner);
        }
        if slot.handovers.is_awaited(topic, queue_id, owner) {
            // The commit is to reach the actor before the question does.
            self.offsets.send_all();
        }
        slot.handovers.committed(topic, queue_id, owner);
    }

    /// UPDATE_CONSUMER_OFFSET (15). One-way updates are gathered; the others are answered once every
    /// reader sees them.
    pub(super) fn update_offset(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
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
        self.handed_over(&consumer_group, &topic, queue_id, conn.id());
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
        if !self.control.may_commit(&header.consumer_group) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gantry_codec::request_code as rq;
    use gantry_storage::{Disk, RealDisk};
    use serde_json::json;

    use super::*;
    use crate::group::{
        bench::{Bench, Peer, answer},
        testing::{pass, run, settle},
    };

    fn query(group: &str, topic: &str, queue_id: i32) -> Command {
        Command::request(rq::QUERY_CONSUMER_OFFSET)
            .with_ext("consumerGroup", group)
            .with_ext("topic", topic)
            .with_ext("queueId", queue_id)
    }

    fn update(group: &str, topic: &str, queue_id: i32, offset: i64) -> Command {
        Command::request(rq::UPDATE_CONSUMER_OFFSET)
            .with_ext("consumerGroup", group)
            .with_ext("topic", topic)
            .with_ext("queueId", queue_id)
            .with_ext("commitOffset", offset)
    }

    fn oneway(mut cmd: Command) -> Command {
        cmd.flag = 2;
        cmd
    }

    async fn offset(peer: &mut Peer, topic: &str, queue_id: i32) -> Option<i64> {
        let answer = peer.ask(query("g", topic, queue_id)).await;
        answer.ext.get("offset").map(|offset| offset.parse().unwrap())
    }

    /// A bench with topic `t`, group `g` and one of its clients.
    async fn bench() -> (Bench, Peer) {
        let bench = Bench::new().await;
        bench.topics.topic("t", 4);
        let mut peer = bench.connect(1);
        peer.beat("one", "g", &["t"]).await;
        (bench, peer)
    }

    #[test]
    fn a_pull_does_not_take_back_what_was_committed_right_before_it() {
        run(async {
            let (_bench, mut peer) = bench().await;
            let conn = peer.conn.clone();
            peer.ask(update("g", "t", 0, 9)).await;
            // In one burst, when nobody has seen the commit yet.
            peer.session.request(oneway(update("g", "t", 0, 10)), &conn);
            peer.session.offsets.commit_forward("g", "t", 0, 9);
            peer.session.burst_end();
            assert_eq!(offset(&mut peer, "t", 0).await, Some(10));
            // In two, when the first is under way.
            peer.session.request(oneway(update("g", "t", 0, 12)), &conn);
            peer.session.burst_end();
            peer.session.offsets.commit_forward("g", "t", 0, 11);
            peer.session.burst_end();
            assert_eq!(offset(&mut peer, "t", 0).await, Some(12));
        });
    }

    #[test]
    fn a_query_finds_what_was_committed_before_on_the_same_connection() {
        run(async {
            let (_bench, mut peer) = bench().await;
            let conn = peer.conn.clone();
            for round in 1..50 {
                peer.session.offsets.commit("g", "t", 0, round);
                let sent = peer.session.request(oneway(update("g", "t", 1, round * 2)), &conn);
                assert!(matches!(sent, Outcome::None));
                let one = peer.session.request(query("g", "t", 1), &conn);
                peer.session.burst_end();
                let zero = peer.session.request(query("g", "t", 0), &conn);
                let (one, zero) = tokio::join!(answer(one), answer(zero));
                assert_eq!(one.ext.get("offset"), Some(&*(round * 2).to_string()));
                assert_eq!(zero.ext.get("offset"), Some(&*round.to_string()));
            }
        });
    }

    #[test]
    fn a_consumer_that_takes_over_finds_the_last_commit_of_the_one_that_left() {
        run(async {
            let (bench, mut peer) = bench().await;
            let mut heir = bench.connect(2);
            for round in 1..20 {
                peer.session.offsets.commit("g", "t", 0, round);
                peer.session.burst_end();
                // Asked on another connection before any actor has run.
                assert_eq!(offset(&mut heir, "t", 0).await, Some(round));
            }
        });
    }

    #[test]
    fn an_answered_update_is_seen_on_every_connection() {
        run(async {
            let (bench, mut peer) = bench().await;
            let mut other = bench.connect(2);
            assert_eq!(peer.ask(update("g", "t", 0, 7)).await.code, 0);
            assert_eq!(offset(&mut other, "t", 0).await, Some(7));
            assert_eq!(peer.ask(update("g", "t", 0, 3)).await.code, 0);
            assert_eq!(offset(&mut other, "t", 0).await, Some(3), "offsets may go back");
        });
    }

    #[test]
    fn updates_for_what_does_not_exist_are_refused() {
        run(async {
            let (_bench, mut peer) = bench().await;
            assert_eq!(peer.ask(update("unknown", "t", 0, 1)).await.code, 26);
            assert_eq!(peer.ask(update("g", "unknown", 0, 1)).await.code, 17);
            let incomplete = Command::request(rq::UPDATE_CONSUMER_OFFSET)
                .with_ext("consumerGroup", "g")
                .with_ext("topic", "t");
            assert_eq!(peer.ask(incomplete).await.code, 1);
        });
    }

    #[test]
    fn a_group_without_offset_starts_at_0_of_a_young_queue_only() {
        run(async {
            let (bench, mut peer) = bench().await;
            assert_eq!(offset(&mut peer, "t", 0).await, Some(0), "a queue never written");
            bench.topics.queue("t", 0, 0, 100, true);
            assert_eq!(offset(&mut peer, "t", 0).await, Some(0), "its first message is young");
            bench.topics.queue("t", 1, 0, 100, false);
            bench.topics.queue("t", 2, 50, 100, true);
            for queue_id in [1, 2] {
                let answer = peer.ask(query("g", "t", queue_id)).await;
                assert_eq!(answer.code, 22);
                assert!(answer.remark.unwrap().starts_with("Not found, V3_0_6_SNAPSHOT"));
            }
            let no_zero = query("g", "t", 0).with_ext("setZeroIfNotFound", false);
            assert_eq!(peer.ask(no_zero).await.code, 22);
        });
    }

    #[test]
    fn offsets_are_saved_now_and_then_and_at_the_end() {
        run(async {
            let (bench, mut peer) = bench().await;
            peer.ask(update("g", "t", 0, 7)).await;
            assert!(!bench.file("consumerOffset.json").exists());
            pass(Duration::from_secs(6)).await;
            assert_eq!(bench.json("consumerOffset.json")["offsetTable"], json!({"t@g": {"0": 7}}));
            peer.ask(update("g", "t", 1, 8)).await;
            let bench = bench.restart().await;
            let mut peer = bench.connect(2);
            assert_eq!(offset(&mut peer, "t", 0).await, Some(7));
            assert_eq!(offset(&mut peer, "t", 1).await, Some(8));
        });
    }

    #[test]
    fn a_file_of_java_is_read() {
        run(async {
            let dir = tempfile::TempDir::new().unwrap();
            let text = b"{\n\t\"offsetTable\":{\n\t\t\"t@g\":{0:12,3:345\n\t\t}\n\t}\n}";
            RealDisk.write_atomic(&dir.path().join("consumerOffset.json"), text).unwrap();
            let bench = Bench::over(dir, crate::group::bench::settings()).await;
            let mut peer = bench.connect(1);
            assert_eq!(offset(&mut peer, "t", 3).await, Some(345));
            let all = peer.body(Command::request(rq::GET_ALL_CONSUMER_OFFSET)).await;
            assert_eq!(all["offsetTable"], json!({"t@g": {"0": 12, "3": 345}}));
        });
    }

    #[test]
    fn pulls_do_not_take_a_group_back_but_its_clients_may() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let (view, offsets) = (bench.control.offsets().clone(), &mut peer.session.offsets);
            offsets.commit_forward("g", "t", 0, 9);
            offsets.flush().await.unwrap();
            offsets.commit_forward("g", "t", 0, 5);
            offsets.flush().await.unwrap();
            assert_eq!(view.get("g", "t", 0), Some(9), "a late pull");
            offsets.commit("g", "t", 0, 5);
            offsets.flush().await.unwrap();
            offsets.commit_forward("g", "t", 0, 7);
            offsets.flush().await.unwrap();
            assert_eq!(view.get("g", "t", 0), Some(7));
        });
    }

    #[test]
    fn a_commit_that_was_gathered_survives_the_end_of_its_connection() {
        run(async {
            let (bench, mut peer) = bench().await;
            peer.session.offsets.commit("g", "t", 0, 9);
            peer.close();
            settle().await;
            assert_eq!(bench.control.offsets().get("g", "t", 0), Some(9));
        });
    }

    #[test]
    fn a_deleted_topic_takes_its_offsets_along() {
        run(async {
            let (bench, mut peer) = bench().await;
            peer.ask(update("g", "t", 0, 7)).await;
            bench.control.topic_deleted("t");
            settle().await;
            assert_eq!(bench.control.offsets().get("g", "t", 0), None);
        });
    }

    #[test]
    fn offsets_are_cloned_for_topics_that_the_source_subscribes() {
        run(async {
            let (bench, mut peer) = bench().await;
            bench.topics.topic("u", 1);
            for topic in ["t", "u"] {
                peer.ask(update("g", topic, 0, 7)).await;
            }
            let clone = |topic: Option<&str>, offline: bool| {
                let cmd = Command::request(rq::CLONE_GROUP_OFFSET)
                    .with_ext("srcGroup", "g")
                    .with_ext("destGroup", "h")
                    .with_ext("offline", offline);
                topic.map_or(cmd.clone(), |topic| cmd.with_ext("topic", topic))
            };
            assert_eq!(peer.ask(clone(None, false)).await.code, 0);
            let offsets = bench.control.offsets();
            assert_eq!(offsets.topics_of("h"), ["t".into()], "u is not subscribed");
            assert_eq!(peer.ask(clone(Some("u"), true)).await.code, 0);
            assert_eq!(offsets.topics_of("h"), ["t".into(), "u".into()]);
        });
    }

    #[test]
    fn a_query_that_is_lost_closes_the_connection_instead_of_answering() {
        run(async {
            let (bench, mut peer) = bench().await;
            bench.tree.stop().await;
            peer.session.offsets.commit("g", "t", 0, 9);
            let conn = peer.conn.clone();
            let outcome = peer.session.request(query("g", "t", 0), &conn);
            let waited = tokio::time::timeout(Duration::from_secs(60), answer(outcome)).await;
            assert!(waited.is_err(), "any answer would make a client skip messages");
            assert!(peer.seen.closed().is_some());
        });
    }
}
