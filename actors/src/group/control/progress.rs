//! How far groups have come: GET_CONSUME_STATS (208) by the broker's offsets,
//! INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223) by those that the clients have in memory.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use gantry_codec::{
    Command, Header,
    body::{ConsumeOffset, ConsumeStats, ConsumerStatusBody, ConsumerStatusTable, MessageQueueMap},
    fastjson, request_code as rq,
    requests::group::{ConsumeStatsHeader, ConsumerStatusHeader},
    response_code as rs,
};

use super::{Answer, Control, ControlRefusal, OLDEST_CALLABLE_CLIENT, json_with_queues};
use crate::group::client::Client;

/// How long a client may take to tell its offsets.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

impl Control {
    /// GET_CONSUME_STATS (208).
    pub(super) fn consume_stats(&self, cmd: &Command) -> Answer {
        let header = ConsumeStatsHeader::decode(&cmd.ext)?;
        let group = header.consumer_group.as_str();
        let topics = self.topics_asked_for(&header);
        let rate = self.group(group).map_or(0.0, |view| view.slot().activities.rate(&topics));
        let mut stats = ConsumeStats { consume_tps: rate, ..ConsumeStats::default() };
        for topic in topics {
            let Some(config) = self.0.facts.topic(&topic) else { continue };
            for queue_id in 0..config.read_queue_nums {
                let progress = self.progress(group, &topic, queue_id);
                stats.offset_table.0.insert(self.queue(&topic, queue_id), progress);
            }
        }
        json_with_queues(cmd, &stats)
    }

    /// A list of topics is taken as it is; else it is one topic, or all in which the group has offsets, as
    /// far as the group still subscribes them.
    pub(super) fn topics_asked_for(&self, header: &ConsumeStatsHeader) -> Vec<Arc<str>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        if let Some(list) = given(&header.topic_list) {
            return list.split(';').filter(|topic| !topic.is_empty()).map(Into::into).collect();
        }
        let mut topics = match given(&header.topic) {
            Some(topic) => vec![topic.into()],
            None => self.0.offset_view.topics_of(&header.consumer_group),
        };
        if let Some(view) = self.group(&header.consumer_group) {
            let membership = view.membership();
            let none = membership.subscriptions.is_empty();
            topics.retain(|topic| none || membership.subscription(topic).is_some());
        }
        topics
    }

    pub(super) fn progress(&self, group: &str, topic: &str, queue_id: i32) -> ConsumeOffset {
        let (_, broker_offset) = self.0.facts.range(topic, queue_id);
        let consumer_offset = self.0.offset_view.get(group, topic, queue_id).unwrap_or(0).max(0);
        let last = consumer_offset - 1;
        let consumed_at =
            (last >= 0).then(|| self.0.facts.store_time(topic, queue_id, last)).flatten();
        ConsumeOffset {
            broker_offset,
            consumer_offset,
            pull_offset: consumer_offset,
            last_timestamp: consumed_at.unwrap_or(0),
        }
    }

    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): asks the clients, all at the same time. One that does
    /// not answer is left out.
    pub(super) async fn consumer_status(&self, cmd: &Command) -> Answer {
        let header = ConsumerStatusHeader::decode(&cmd.ext)?;
        let members = self.group(&header.group).map(|view| view.membership().members.clone());
        let members = members.unwrap_or_default();
        if members.is_empty() {
            return Err(ControlRefusal::NobodyOnline(header.group));
        }
        let one = header.client_addr.as_deref().filter(|id| !id.trim().is_empty());
        let asked = members.iter().filter(|member| one.is_none_or(|id| *member.id == *id));
        let asked: Vec<_> = asked.collect();
        if let Some(old) = asked.iter().find(|member| member.version < OLDEST_CALLABLE_CLIENT) {
            return Err(ControlRefusal::ClientTooOld(old.version));
        }
        let answers = join_all(asked.into_iter().map(|member| status_of(member, &header))).await;
        let consumer_table = answers.into_iter().flatten().collect();
        json_with_queues(cmd, &ConsumerStatusTable { consumer_table })
    }
}

async fn status_of(
    client: &Client,
    header: &ConsumerStatusHeader,
) -> Option<(String, MessageQueueMap<i64>)> {
    let request = Command::request(rq::GET_CONSUMER_STATUS_FROM_CLIENT)
        .with_ext("topic", header.topic.as_str())
        .with_ext("group", header.group.as_str());
    let answer = client.connection.ask(request, CLIENT_TIMEOUT).await.ok()?;
    if answer.code != rs::SUCCESS {
        return None;
    }
    let body: ConsumerStatusBody = fastjson::from_slice(&answer.body).ok()?;
    Some((client.id.to_string(), body.message_queue_table))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::group::{bench::Bench, testing::run};

    fn stats(extra: &[(&str, &str)]) -> Command {
        let cmd = Command::request(rq::GET_CONSUME_STATS).with_ext("consumerGroup", "g");
        extra.iter().fold(cmd, |cmd, (name, value)| cmd.with_ext(name, *value))
    }

    /// The topics in the answer, each as often as it has queues.
    fn topics(answer: &Command) -> Vec<String> {
        let stats: ConsumeStats = fastjson::from_slice(&answer.body).unwrap();
        stats.offset_table.0.into_keys().map(|queue| queue.topic).collect()
    }

    #[test]
    fn progress_queue_by_queue() {
        run(async {
            let bench = Bench::new().await;
            bench.topics.topic("t", 2);
            bench.topics.queue("t", 0, 0, 100, true);
            let mut peer = bench.connect(1);
            peer.session.offsets.commit("g", "t", 0, 40);
            peer.session.offsets.flush().await.unwrap();
            let answer = peer.ask(stats(&[])).await;
            let text = concat!(
                r#"{"consumeTps":0.0,"offsetTable":{"#,
                r#"{"brokerName":"broker-a","queueId":0,"topic":"t"}:"#,
                r#"{"brokerOffset":100,"consumerOffset":40,"lastTimestamp":390,"pullOffset":40},"#,
                r#"{"brokerName":"broker-a","queueId":1,"topic":"t"}:"#,
                r#"{"brokerOffset":0,"consumerOffset":0,"lastTimestamp":0,"pullOffset":0}}}"#,
            );
            assert_eq!(std::str::from_utf8(&answer.body).unwrap(), text);
        });
    }

    #[test]
    fn topics_are_those_asked_for_and_still_subscribed() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            for topic in ["t", "u", "v"] {
                bench.topics.topic(topic, 1);
                peer.session.offsets.commit("g", topic, 0, 1);
            }
            peer.session.offsets.commit("g", "deleted", 0, 1);
            peer.session.offsets.flush().await.unwrap();
            assert_eq!(topics(&peer.ask(stats(&[])).await), ["t", "u", "v"]);
            assert_eq!(topics(&peer.ask(stats(&[("topic", "u")])).await), ["u"]);
            peer.beat("one", "g", &["t"]).await;
            assert_eq!(topics(&peer.ask(stats(&[])).await), ["t"]);
            assert_eq!(topics(&peer.ask(stats(&[("topic", "u")])).await), [""; 0]);
            let listed = peer.ask(stats(&[("topicList", "u;v")])).await;
            assert_eq!(topics(&listed), ["u", "v"], "a list is taken as it is");
        });
    }

    #[test]
    fn clients_are_asked_for_what_they_have() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            let request = |client: Option<&str>| {
                let cmd = Command::request(rq::INVOKE_BROKER_TO_GET_CONSUMER_STATUS)
                    .with_ext("topic", "t")
                    .with_ext("group", "g");
                client.map_or(cmd.clone(), |client| cmd.with_ext("clientAddr", client))
            };
            assert_eq!(one.ask(request(None)).await.code, 1, "nobody online");
            one.beat("one", "g", &["t"]).await;
            two.beat("two", "g", &["t"]).await;
            let body =
                r#"{"messageQueueTable":{{"brokerName":"broker-a","queueId":0,"topic":"t"}:5}}"#;
            one.seen.will_answer(Command::request(rs::SUCCESS).with_body(body));
            let answer = one.ask(request(None)).await;
            let text = r#"{"consumerTable":{"one":{{"brokerName":"broker-a","queueId":0,"topic":"t"}:5}}}"#;
            assert_eq!(std::str::from_utf8(&answer.body).unwrap(), text, "two does not answer");
            let answer = one.body(request(Some("two"))).await;
            assert_eq!(answer, json!({"consumerTable": {}}));
        });
    }
}
