//! Who consumes and produces what, for administrators: 203, 204, 328; 300, 343, 345.

use std::collections::BTreeSet;

use gantry_codec::{
    Command, Header,
    body::{
        ConsumerConnection, GroupList, ProducerConnection, SubscriptionByConsumer, TopicsByConsumer,
    },
    requests::{
        group::{ConsumerGroupHeader, GroupHeader, GroupTopicHeader, ProducerGroupHeader},
        route::TopicHeader,
    },
};

use super::{Answer, Control, ControlRefusal, json};
use crate::group::{
    client::Client,
    producers::{AllProducers, ProducersOf},
};

impl Control {
    /// GET_CONSUMER_CONNECTION_LIST (203).
    pub(super) fn consumer_connections(&self, cmd: &Command) -> Answer {
        let header = ConsumerGroupHeader::decode(&cmd.ext)?;
        let view = self.group(&header.consumer_group);
        let view = view.filter(|view| view.membership().is_online());
        let Some(view) = view else { return Err(ControlRefusal::Offline(header.consumer_group)) };
        let membership = view.membership();
        let subscriptions = membership.subscriptions.iter();
        json(
            cmd,
            &ConsumerConnection {
                connection_set: membership.members.iter().map(Client::describe).collect(),
                subscription_table: subscriptions
                    .map(|(topic, subscription)| (topic.to_string(), subscription.as_ref().clone()))
                    .collect(),
                consume_type: membership.consume_type,
                message_model: membership.message_model,
                consume_from_where: membership.consume_from_where,
            },
        )
    }

    /// GET_PRODUCER_CONNECTION_LIST (204).
    pub(super) async fn producer_connections(&self, cmd: &Command) -> Answer {
        let header = ProducerGroupHeader::decode(&cmd.ext)?;
        let group = header.producer_group;
        match self.0.producers.send(ProducersOf(group.as_str().into())).await? {
            Some(connection_set) => json(cmd, &ProducerConnection { connection_set }),
            None => Err(ControlRefusal::NoProducer(group)),
        }
    }

    /// GET_ALL_PRODUCER_INFO (328).
    pub(super) async fn all_producers(&self, cmd: &Command) -> Answer {
        let table = self.0.producers.send(AllProducers).await?;
        json(cmd, &table)
    }

    /// QUERY_TOPIC_CONSUME_BY_WHO (300): groups that subscribe the topic now or have offsets in it.
    pub(super) fn topic_consumers(&self, cmd: &Command) -> Answer {
        let header = TopicHeader::decode(&cmd.ext)?;
        let online = self.0.directory.subscribers_of(&header.topic);
        let known = self.0.offset_view.groups_of(&header.topic);
        let groups: BTreeSet<_> = online.into_iter().chain(known).collect();
        let group_list = groups.iter().map(|group| group.to_string()).collect();
        json(cmd, &GroupList { group_list })
    }

    /// QUERY_TOPICS_BY_CONSUMER (343): topics in which the group has offsets.
    pub(super) fn consumed_topics(&self, cmd: &Command) -> Answer {
        let header = GroupHeader::decode(&cmd.ext)?;
        let topics = self.0.offset_view.topics_of(&header.group);
        json(
            cmd,
            &TopicsByConsumer {
                topic_list: topics.iter().map(|topic| topic.to_string()).collect(),
                broker_addr: self.0.config.broker_addr.to_string(),
            },
        )
    }

    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    pub(super) fn subscription(&self, cmd: &Command) -> Answer {
        let GroupTopicHeader { group, topic } = GroupTopicHeader::decode(&cmd.ext)?;
        let view = self.group(&group);
        let subscription_data = view.and_then(|view| {
            view.membership().subscription(&topic).map(|data| data.as_ref().clone())
        });
        json(cmd, &SubscriptionByConsumer { subscription_data, group, topic })
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::request_code as rq;
    use serde_json::json;

    use super::*;
    use crate::group::{
        bench::{Bench, with_body},
        testing::{run, settle},
    };

    #[test]
    fn consumers_are_shown_with_their_subscriptions() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let request = || {
                Command::request(rq::GET_CONSUMER_CONNECTION_LIST).with_ext("consumerGroup", "g")
            };
            let offline = peer.ask(request()).await;
            assert_eq!(offline.code, 206);
            assert_eq!(offline.remark.as_deref(), Some("the consumer group[g] not online"));
            peer.beat("one", "g", &["t"]).await;
            let body = peer.body(request()).await;
            assert_eq!(
                body["connectionSet"],
                json!([{"clientAddr": "10.0.0.1:40001",
                "clientId": "one", "language": "JAVA", "version": 407}])
            );
            assert_eq!(body["consumeType"], json!("CONSUME_PASSIVELY"));
            assert_eq!(body["messageModel"], json!("CLUSTERING"));
            assert_eq!(body["consumeFromWhere"], json!("CONSUME_FROM_LAST_OFFSET"));
            assert_eq!(body["subscriptionTable"]["t"]["subString"], json!("*"));
            peer.close();
            settle().await;
            assert_eq!(peer.ask(request()).await.code, 206);
        });
    }

    #[test]
    fn producers_are_shown_by_group_and_all_together() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let request = || {
                Command::request(rq::GET_PRODUCER_CONNECTION_LIST).with_ext("producerGroup", "p")
            };
            assert_eq!(peer.ask(request()).await.code, 1);
            let data = json!({"clientID": "one", "producerDataSet": [{"groupName": "p"}]});
            peer.ask(with_body(rq::HEART_BEAT, &data)).await;
            let body = peer.body(request()).await;
            assert_eq!(body["connectionSet"][0]["clientId"], json!("one"));
            let all = peer.body(Command::request(rq::GET_ALL_PRODUCER_INFO)).await;
            assert_eq!(all["data"]["p"][0]["remoteIP"], json!("/10.0.0.1:40001"));
            assert_eq!(all["data"]["p"][0]["lastUpdateTimestamp"], json!(1_700_000_000_000_i64));
        });
    }

    #[test]
    fn who_consumes_a_topic_and_what_a_group_consumes() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            peer.beat("one", "online", &["t"]).await;
            peer.session.offsets.commit("offline", "t", 0, 1);
            peer.session.offsets.commit("offline", "u", 0, 1);
            peer.session.offsets.flush().await.unwrap();
            let by_topic = Command::request(rq::QUERY_TOPIC_CONSUME_BY_WHO).with_ext("topic", "t");
            let body = peer.body(by_topic).await;
            assert_eq!(body, json!({"groupList": ["offline", "online"]}));
            let by_group =
                Command::request(rq::QUERY_TOPICS_BY_CONSUMER).with_ext("group", "offline");
            let body = peer.body(by_group).await;
            assert_eq!(body, json!({"brokerAddr": "10.0.0.2:10911", "topicList": ["t", "u"]}));
            let subscription = |group: &str| {
                Command::request(rq::QUERY_SUBSCRIPTION_BY_CONSUMER)
                    .with_ext("group", group)
                    .with_ext("topic", "t")
            };
            let body = peer.body(subscription("online")).await;
            assert_eq!(body["subscriptionData"]["topic"], json!("t"));
            let body = peer.body(subscription("offline")).await;
            assert_eq!(body, json!({"group": "offline", "topic": "t"}));
        });
    }
}
