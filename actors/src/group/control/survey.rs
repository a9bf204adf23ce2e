//! What is asked over all groups: how far each of them has come (317 GET_BROKER_CONSUME_STATS), and which
//! offset of a topic nobody is behind (308 QUERY_CORRECTION_OFFSET). Times of messages are read from the log
//! for it, so whoever calls may have to wait for the disk.

use std::collections::{BTreeMap, HashSet};

use gantry_codec::{
    Command, Header,
    body::{BrokerConsumeStats, ConsumeStats, CorrectionOffsets},
    request_code as rq,
    requests::{group::BrokerConsumeStatsHeader, offset::QueryCorrectionOffsetHeader},
};

use super::{Answer, Control, json, json_with_queues};
use crate::error_to_wire;

impl Control {
    /// Answers one of the codes of this file.
    pub fn survey(&self, cmd: &Command) -> Command {
        let answer = match cmd.code {
            rq::GET_BROKER_CONSUME_STATS => self.all_consume_stats(cmd),
            _ => self.correction_offsets(cmd),
        };
        answer.unwrap_or_else(|refusal| error_to_wire::refused_control(cmd, &refusal))
    }

    /// GET_BROKER_CONSUME_STATS (317): every configured group, with one entry for each topic that it has
    /// offsets in and, if it is online, still subscribes.
    fn all_consume_stats(&self, cmd: &Command) -> Answer {
        let header = BrokerConsumeStatsHeader::decode(&cmd.ext)?;
        let mut stats = BrokerConsumeStats {
            broker_addr: self.0.config.broker_addr.to_string(),
            ..BrokerConsumeStats::default()
        };
        for (group, view) in self.0.directory.all().iter() {
            let membership = view.membership();
            let mut by_topic = Vec::new();
            for topic in self.0.offset_view.topics_of(group) {
                let Some(config) = self.0.facts.topic(&topic) else { continue };
                let passed_over = header.is_order && !config.order
                    || !membership.subscriptions.is_empty()
                        && membership.subscription(&topic).is_none();
                if passed_over {
                    continue;
                }
                let rate = view.slot().activities.rate(std::slice::from_ref(&topic));
                let mut one = ConsumeStats { consume_tps: rate, ..ConsumeStats::default() };
                for queue_id in 0..config.write_queue_nums {
                    let progress = self.progress(group, &topic, queue_id);
                    stats.total_diff += progress.broker_offset - progress.consumer_offset;
                    stats.total_inflight_diff += progress.pull_offset - progress.consumer_offset;
                    one.offset_table.0.insert(self.queue(&topic, queue_id), progress);
                }
                by_topic.push(one);
            }
            if !by_topic.is_empty() {
                stats.consume_stats_list.push(BTreeMap::from([(group.to_string(), by_topic)]));
            }
        }
        json_with_queues(cmd, &stats)
    }

    /// QUERY_CORRECTION_OFFSET (308): for each queue of the topic the smallest offset that a group has, or
    /// the largest number if the group that is compared is the one that is behind.
    fn correction_offsets(&self, cmd: &Command) -> Answer {
        let header = QueryCorrectionOffsetHeader::decode(&cmd.ext)?;
        let topic = header.topic.as_str();
        let left_out: HashSet<&str> =
            header.filter_groups.as_deref().unwrap_or_default().split(',').collect();
        let mut smallest: BTreeMap<i32, i64> = BTreeMap::new();
        for group in self.0.offset_view.groups_of(topic) {
            if left_out.contains(&*group) {
                continue;
            }
            for (queue_id, offset) in self.0.offset_view.queues(&group, topic) {
                // One below the first message is not a place where anybody is.
                if offset >= self.0.facts.range(topic, queue_id).0 {
                    let known = smallest.entry(queue_id).or_insert(offset);
                    *known = offset.min(*known);
                }
            }
        }
        for (queue_id, compared) in self.0.offset_view.queues(&header.compare_group, topic) {
            if let Some(offset) = smallest.get_mut(&queue_id)
                && *offset > compared
            {
                *offset = i64::MAX;
            }
        }
        json(cmd, &CorrectionOffsets { correction_offsets: smallest })
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::fastjson;
    use serde_json::{Value, json};

    use super::*;
    use crate::group::{bench::Bench, testing::run};

    /// Groups g and h in a topic of two queues with a hundred messages each.
    async fn bench() -> Bench {
        let bench = Bench::new().await;
        bench.topics.topic("t", 2);
        let mut peer = bench.connect(1);
        for (group, offsets) in [("g", [40, 70]), ("h", [60, 20])] {
            peer.beat("one", group, &["t"]).await;
            for (queue_id, offset) in (0..).zip(offsets) {
                bench.topics.queue("t", queue_id, 10, 100, true);
                peer.session.offsets.commit(group, "t", queue_id, offset);
            }
        }
        peer.session.offsets.flush().await.unwrap();
        bench
    }

    #[test]
    fn all_groups_with_what_they_lack_in_all() {
        run(async {
            let bench = bench().await;
            let ask = |order: bool| {
                Command::request(rq::GET_BROKER_CONSUME_STATS).with_ext("isOrder", order)
            };
            let answer = bench.control.survey(&ask(false));
            let stats: BrokerConsumeStats = fastjson::from_slice(&answer.body).unwrap();
            assert_eq!(stats.total_diff, 60 + 30 + 40 + 80);
            assert_eq!(stats.broker_addr, "10.0.0.2:10911");
            let groups = stats.consume_stats_list.iter().flat_map(BTreeMap::keys);
            let mut groups: Vec<_> = groups.map(String::as_str).collect();
            groups.sort_unstable();
            assert_eq!(groups, ["g", "h"]);
            let one = stats.consume_stats_list.iter().find_map(|one| one.get("g")).unwrap();
            assert_eq!((one.len(), one[0].offset_table.0.len()), (1, 2));
            let answer = bench.control.survey(&ask(true));
            let none: BrokerConsumeStats = fastjson::from_slice(&answer.body).unwrap();
            assert!(none.consume_stats_list.is_empty(), "t is no order topic");
        });
    }

    #[test]
    fn the_smallest_offsets_and_who_is_behind_them() {
        run(async {
            let bench = bench().await;
            let ask = |compare: &str, filter: &str| -> Value {
                let cmd = Command::request(rq::QUERY_CORRECTION_OFFSET)
                    .with_ext("topic", "t")
                    .with_ext("compareGroup", compare)
                    .with_ext("filterGroups", filter);
                fastjson::from_slice(&bench.control.survey(&cmd).body).unwrap()
            };
            let none = ask("nobody", "");
            assert_eq!(none, json!({"correctionOffsets": {"0": 40, "1": 20}}));
            let without_h = ask("nobody", "x,h");
            assert_eq!(without_h, json!({"correctionOffsets": {"0": 40, "1": 70}}));
            let compared = ask("h", "h");
            assert_eq!(compared, json!({"correctionOffsets": {"0": 40, "1": i64::MAX}}));
        });
    }
}
