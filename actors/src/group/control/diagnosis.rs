//! What only this broker answers: GROUP_LAG (31001), exact and with the filter, and DIAGNOSE (31002).

use gantry_codec::{Command, Header, requests::group::ConsumeStatsHeader};

use super::{Answer, Control, json};
use crate::group::diagnosis::{Diagnose, LagOf};

impl Control {
    /// GROUP_LAG: topics are chosen as for GET_CONSUME_STATS.
    pub(super) async fn group_lag(&self, cmd: &Command) -> Answer {
        let header = ConsumeStatsHeader::decode(&cmd.ext)?;
        let topics = self.topics_asked_for(&header);
        let order = LagOf { group: header.consumer_group.into(), topics };
        json(cmd, &self.0.watch.send(order).await?)
    }

    /// DIAGNOSE: of the group in the field `group`, or of all.
    pub(super) async fn diagnose(&self, cmd: &Command) -> Answer {
        let group = cmd.ext.get("group").map(Into::into);
        json(cmd, &self.0.watch.send(Diagnose { group }).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use gantry_codec::{
        body::{ConsumeStats, Diagnosis, GroupLag, QueueLag},
        fastjson, request_code as rq,
    };
    use gantry_storage::Clock;
    use serde_json::json;

    use super::*;
    use crate::{
        group::{
            bench::{Bench, Peer, with_body},
            testing::{pass, run},
        },
        net::ConnectionId,
    };

    /// Topic `t` with one queue of 100 messages, of which group `g` has consumed 40.
    async fn bench() -> (Bench, Peer) {
        let bench = Bench::new().await;
        bench.topics.topic("t", 1);
        bench.topics.queue("t", 0, 10, 100, true);
        let mut peer = bench.connect(1);
        peer.session.offsets.commit("g", "t", 0, 40);
        peer.session.offsets.flush().await.unwrap();
        (bench, peer)
    }

    fn lag() -> Command {
        Command::request(rq::GROUP_LAG).with_ext("consumerGroup", "g")
    }

    async fn beat(peer: &mut Peer, client: &str, kind: &str, expression: &str) {
        let subscription =
            json!({"topic": "t", "subString": expression, "expressionType": kind, "subVersion": 1});
        let consumer = json!({"groupName": "g", "subscriptionDataSet": [subscription]});
        let body = json!({"clientID": client, "consumerDataSet": [consumer]});
        assert_eq!(peer.ask(with_body(rq::HEART_BEAT, &body)).await.code, 0);
    }

    async fn queue_lag(peer: &mut Peer) -> QueueLag {
        let answer = peer.ask(lag()).await;
        let lag: GroupLag = fastjson::from_slice(&answer.body).unwrap();
        lag.queues.into_iter().next().unwrap()
    }

    #[test]
    fn the_lag_is_counted_from_the_committed_offset_whoever_is_online() {
        run(async {
            let (_bench, mut peer) = bench().await;
            let lag = queue_lag(&mut peer).await;
            assert_eq!((lag.behind, lag.broker_offset, lag.consumer_offset), (60, 100, Some(40)));
            assert_eq!(lag.behind_ms, 1_700_000_000_000 - 400, "since message 40 was stored");
            assert_eq!((lag.matching, lag.filter, lag.client_id), (None, None, None));
        });
    }

    #[test]
    fn what_matches_is_counted_where_the_filter_is_of_tags() {
        run(async {
            let (_bench, mut peer) = bench().await;
            // The tags code of a message is its offset here: "2" hashes to 50.
            beat(&mut peer, "one", "TAG", "2").await;
            let lag = queue_lag(&mut peer).await;
            assert_eq!((lag.matching, lag.unseen), (Some(1), 0));
            assert_eq!(lag.filter.as_deref(), Some("2"));
        });
    }

    #[test]
    fn everything_matches_without_a_filter() {
        run(async {
            let (_bench, mut peer) = bench().await;
            beat(&mut peer, "one", "TAG", "*").await;
            assert_eq!(queue_lag(&mut peer).await.matching, Some(60));
        });
    }

    #[test]
    fn what_matches_by_its_properties_is_counted_and_costs_more() {
        run(async {
            let (bench, mut peer) = bench().await;
            // A message has its offset as a property here.
            beat(&mut peer, "one", "SQL92", "offset BETWEEN 90 AND 200").await;
            let lag = queue_lag(&mut peer).await;
            assert_eq!((lag.matching, lag.behind, lag.unseen), (Some(10), 60, 0));
            bench.topics.queue("t", 0, 0, 100_140, true);
            let lag = queue_lag(&mut peer).await;
            assert_eq!((lag.matching, lag.behind, lag.unseen), (Some(111), 100_100, 100));
        });
    }

    #[test]
    fn what_is_too_much_to_look_at_is_told() {
        run(async {
            let (bench, mut peer) = bench().await;
            bench.topics.queue("t", 0, 0, 1_000_140, true);
            beat(&mut peer, "one", "TAG", "2").await;
            let lag = queue_lag(&mut peer).await;
            assert_eq!((lag.behind, lag.matching, lag.unseen), (1_000_100, Some(1), 100));
        });
    }

    #[test]
    fn the_rate_is_what_pulls_have_delivered() {
        run(async {
            let (bench, mut peer) = bench().await;
            beat(&mut peer, "one", "TAG", "*").await;
            let view = bench.control.group("g").unwrap();
            let activity = view.slot().activities.of(&Arc::from("t"), 0);
            pass(Duration::from_secs(11)).await;
            activity.pulled(bench.clock.now_ms(), 40, ConnectionId(1));
            activity.delivered(50);
            bench.clock.advance(10_000);
            pass(Duration::from_secs(10)).await;
            let stats = Command::request(rq::GET_CONSUME_STATS).with_ext("consumerGroup", "g");
            let stats: ConsumeStats = fastjson::from_slice(&peer.ask(stats).await.body).unwrap();
            assert!((stats.consume_tps - 5.0).abs() < 1e-9, "{}", stats.consume_tps);
            let lag = queue_lag(&mut peer).await;
            assert_eq!(lag.client_id.as_deref(), Some("one"), "who pulled last");
        });
    }

    #[test]
    fn who_asks_is_told_of_conflicts_at_once() {
        run(async {
            let (bench, mut one) = bench().await;
            let mut two = bench.connect(2);
            beat(&mut one, "one", "TAG", "A").await;
            beat(&mut two, "two", "TAG", "B").await;
            let ask = |group: &str| Command::request(rq::DIAGNOSE).with_ext("group", group);
            let found: Diagnosis = fastjson::from_slice(&one.ask(ask("g")).await.body).unwrap();
            assert_eq!(found.findings[0].text, "one subscribes \"A\", two subscribes \"B\"");
            assert_eq!(found.counts["conflictingSubscriptions"].now, 1);
            let none: Diagnosis = fastjson::from_slice(&one.ask(ask("h")).await.body).unwrap();
            assert_eq!(none.findings, []);
            two.close();
            let over: Diagnosis = fastjson::from_slice(&one.ask(ask("g")).await.body).unwrap();
            assert_eq!(over.findings, []);
        });
    }
}
