//! Clients that come, stay and go: heartbeats, leaving, the consumer list, the check of a filter.

use std::{cell::Cell, rc::Rc};

use gantry_codec::{
    Command, Header,
    body::{CheckClientBody, ConsumerData, ConsumerListBody, HeartbeatData, SubscriptionData},
    filter::{SQL92, TAG},
    requests::group::{ConsumerGroupHeader, UnregisterClientHeader},
    sql::Sql,
};
use slog::warn;

use super::{
    Answer, Control, ControlRefusal, ControlSession, json, later, now, read_body, success,
};
use crate::{
    group::{
        client::Client,
        facts::RetryTopic,
        filters::RegisterFilters,
        group::{Heartbeat, Leave},
        producers::{ProducerBeat, ProducerLeave},
        roster::Beat,
        view::GroupView,
    },
    net::{ConnectionHandle, Outcome},
};

/// In answers to heartbeats: this broker understands the second version of them.
const SUPPORTS_V2: &str = "IS_SUPPORT_HEART_BEAT_V2";
/// In answers to heartbeats: the client shall send its subscriptions.
const SEND_SUBSCRIPTIONS: &str = "IS_SUB_CHANGE";

impl ControlSession {
    /// HEART_BEAT (34). Heartbeats of one connection take effect in the order in which they came,
    /// whatever each has to wait for.
    pub(super) fn heartbeat(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        let data: HeartbeatData = match read_body(&cmd) {
            Ok(data) => data,
            Err(refusal) => return now(&cmd, Err(refusal)),
        };
        let consumes = data.consumer_data_set.iter();
        self.joined.extend(consumes.map(|consumer| consumer.group_name.as_str().into()));
        self.produces |= !data.producer_data_set.is_empty();
        let client = Client {
            connection: conn.clone(),
            id: data.client_id.as_str().into(),
            language: cmd.language,
            version: cmd.version,
        };
        let (control, turn) = (self.control.clone(), Rc::clone(&self.turn));
        let gone = Rc::clone(&self.gone);
        later(cmd, async move |cmd| {
            let _in_order = turn.lock().await;
            control.heartbeat(cmd, data, client, &gone).await
        })
    }

    /// UNREGISTER_CLIENT (35).
    pub(super) fn unregister(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        let header = match UnregisterClientHeader::decode(&cmd.ext) {
            Ok(header) => header,
            Err(e) => return now(&cmd, Err(e.into())),
        };
        let (control, turn, connection) = (self.control.clone(), Rc::clone(&self.turn), conn.id());
        later(cmd, async move |cmd| {
            let _in_order = turn.lock().await;
            if let Some(group) = header.producer_group {
                let group = group.into();
                control.0.producers.send(ProducerLeave { group, connection }).await?;
            }
            let view = header.consumer_group.and_then(|group| control.group(&group));
            if let Some(actor) = view.as_ref().and_then(|view| view.actor()) {
                actor.send(Leave(connection)).await?;
            }
            Ok(success(cmd))
        })
    }
}

impl Control {
    /// GET_CONSUMER_LIST_BY_GROUP (38).
    pub(super) fn consumer_list(&self, cmd: &Command) -> Answer {
        let header = ConsumerGroupHeader::decode(&cmd.ext)?;
        let view = self.group(&header.consumer_group);
        let ids = view.map(|view| view.membership().client_ids()).unwrap_or_default();
        if ids.is_empty() {
            return Err(ControlRefusal::NoConsumer(header.consumer_group));
        }
        let consumer_id_list = ids.iter().map(|id| id.to_string()).collect();
        json(cmd, &ConsumerListBody { consumer_id_list })
    }

    /// CHECK_CLIENT_CONFIG (46): whether a subscription's expression can be served.
    pub(super) fn check_client(&self, cmd: &Command) -> Answer {
        let body: CheckClientBody = read_body(cmd)?;
        let subscription = body.subscription_data;
        if matches!(subscription.expression_type.as_str(), "" | TAG) {
            return Ok(success(cmd));
        }
        if !self.0.config.sql92.get() || subscription.expression_type != SQL92 {
            return Err(ControlRefusal::ExpressionType(subscription.expression_type));
        }
        Sql::compile(&subscription.sub_string)?;
        Ok(success(cmd))
    }

    async fn heartbeat(
        &self,
        cmd: &Command,
        data: HeartbeatData,
        client: Client,
        gone: &Cell<bool>,
    ) -> Answer {
        let fingerprint = data.heartbeat_fingerprint;
        let keeps_subscriptions = fingerprint != 0 && data.without_sub;
        let mut send_subscriptions = fingerprint == 0;
        for consumer in data.consumer_data_set {
            // A group that may not be made is passed over without a word, as Java does.
            let Ok(view) = self.opened(&consumer.group_name).await? else { continue };
            self.ensure_retry_topic(&view, &consumer, keeps_subscriptions).await;
            let filters = self.new_filters(&view, &consumer);
            let beat = Beat {
                client: client.clone(),
                consume_type: consumer.consume_type,
                message_model: consumer.message_model,
                consume_from_where: consumer.consume_from_where,
                subscriptions: (!keeps_subscriptions).then_some(consumer.subscription_data_set),
                fingerprint,
            };
            // Its leave is on the way already, and would come before.
            if gone.get() {
                return Ok(success(cmd));
            }
            if let Some(actor) = view.actor() {
                send_subscriptions |= actor.send(Heartbeat(beat)).await?;
            }
            if let Some(filters) = filters {
                self.0.filters.send(filters).await?;
            }
        }
        if !data.producer_data_set.is_empty() && !gone.get() {
            let groups = data.producer_data_set.into_iter().map(|data| data.group_name.into());
            let beat = ProducerBeat { producer: client, groups: groups.collect() };
            self.0.producers.send(beat).await?;
        }
        Ok(success(cmd)
            .with_ext(SUPPORTS_V2, true)
            .with_ext(SEND_SUBSCRIPTIONS, send_subscriptions))
    }

    /// The SQL92 filters that a heartbeat brings and the table lacks.
    fn new_filters(&self, view: &GroupView, consumer: &ConsumerData) -> Option<RegisterFilters> {
        let is_new = |data: &&SubscriptionData| {
            data.is_sql92() && !self.0.filter_directory.has(&view.name, data)
        };
        let subscriptions: Vec<_> =
            consumer.subscription_data_set.iter().filter(is_new).cloned().collect();
        let group = view.name.clone();
        (!subscriptions.is_empty()).then_some(RegisterFilters { group, subscriptions })
    }

    /// A group consumes from its retry topic too. Should it fail to be made, consuming the other topics
    /// goes on, and the next heartbeat tries again.
    async fn ensure_retry_topic(
        &self,
        view: &GroupView,
        consumer: &ConsumerData,
        keeps_subscriptions: bool,
    ) {
        let is_ordered = |topic: &str| self.0.facts.topic(topic).is_some_and(|config| config.order);
        let any_ordered =
            || consumer.subscription_data_set.iter().any(|data| is_ordered(&data.topic));
        let topic = RetryTopic {
            group: (&*view.name).into(),
            queue_nums: view.config.retry_queue_nums,
            order: (!keeps_subscriptions).then(any_ordered),
            unit_mode: consumer.unit_mode,
        };
        if let Err(reason) = self.0.retry_topics.ensure(topic).await {
            warn!(self.0.log, "no retry topic"; "group" => &*view.name, "reason" => reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gantry_codec::request_code as rq;
    use serde_json::json;

    use super::*;
    use crate::group::{
        bench::{Bench, Peer, answer, heartbeat, settings, with_body},
        testing::{pass, run, settle},
    };

    const BURST: Duration = Duration::from_millis(600);

    fn list(group: &str) -> Command {
        Command::request(rq::GET_CONSUMER_LIST_BY_GROUP).with_ext("consumerGroup", group)
    }

    fn leave(client: &str, group: &str) -> Command {
        Command::request(rq::UNREGISTER_CLIENT)
            .with_ext("clientID", client)
            .with_ext("consumerGroup", group)
    }

    /// How often the client was told to share out anew since it was asked last.
    fn notified(peer: &Peer) -> usize {
        let pushed = peer.seen.pushed();
        for cmd in &pushed {
            assert_eq!(cmd.code, rq::NOTIFY_CONSUMER_IDS_CHANGED);
            assert!(cmd.is_oneway());
            assert_eq!(cmd.ext.get("consumerGroup"), Some("g"));
        }
        pushed.len()
    }

    #[test]
    fn a_heartbeat_makes_group_retry_topic_and_membership() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            assert_eq!(peer.ask(list("g")).await.code, 1, "nobody there yet");
            let answer = peer.beat("one", "g", &["t", "%RETRY%g"]).await;
            assert_eq!(answer.code, 0);
            assert!(answer.version >= 232, "SQL92 consumers look at it");
            assert_eq!(answer.ext.get("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
            assert_eq!(answer.ext.get("IS_SUB_CHANGE"), Some("true"));
            let ensured = bench.topics.ensured.lock().unwrap()[0].clone();
            assert_eq!((&*ensured.group, ensured.queue_nums, ensured.order), ("g", 1, Some(false)));
            assert_eq!(peer.body(list("g")).await, json!({"consumerIdList": ["one"]}));
            let view = bench.control.group("g").unwrap();
            assert!(view.subscription_for_pull("t", 1).is_ok());
        });
    }

    #[test]
    fn a_group_that_may_not_be_made_is_passed_over() {
        run(async {
            let mut settings = settings();
            settings.groups.auto_create = crate::settings::Live::new(false);
            let bench = Bench::with(settings).await;
            let mut peer = bench.connect(1);
            assert_eq!(peer.beat("one", "g", &["t"]).await.code, 0);
            assert!(bench.control.group("g").is_none());
            assert_eq!(peer.beat("one", "TOOLS_CONSUMER", &["t"]).await.code, 0);
            assert_eq!(peer.ask(list("TOOLS_CONSUMER")).await.code, 0, "it is predefined");
            assert_eq!(peer.beat("one", "bad name", &["t"]).await.code, 0);
        });
    }

    #[test]
    fn members_are_told_of_joins_and_leaves_and_bursts_are_merged() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            one.beat("one", "g", &["t"]).await;
            pass(Duration::from_millis(10)).await;
            assert_eq!(notified(&one), 1, "the new one is told too");
            pass(Duration::from_secs(2)).await;
            let mut others: Vec<Peer> = (3..20).map(|id| bench.connect(id)).collect();
            two.beat("two", "g", &["t"]).await;
            for (n, other) in others.iter_mut().enumerate() {
                other.beat(&format!("other-{n}"), "g", &["t"]).await;
            }
            pass(BURST).await;
            assert!((1..=3).contains(&notified(&one)), "a burst is merged");
            assert!(notified(&two) >= 1);
            pass(Duration::from_secs(2)).await;
            assert_eq!(notified(&one), 0, "nothing new, nothing told");
            one.beat("one", "g", &["t"]).await;
            assert_eq!(two.ask(leave("two", "g")).await.code, 0);
            others[0].close();
            pass(BURST).await;
            assert!(notified(&one) >= 1);
            assert_eq!(notified(&two), 0, "it is no member any more");
            assert_eq!(bench.control.group("g").unwrap().membership().members.len(), 17);
        });
    }

    #[test]
    fn notifications_can_be_switched_off_and_broadcasts_need_none() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let quiet = json!({"groupName": "g", "notifyConsumerIdsChangedEnable": false});
            peer.ask(with_body(rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &quiet)).await;
            peer.beat("one", "g", &["t"]).await;
            pass(BURST).await;
            assert_eq!(notified(&peer), 0, "switched off for the group");

            let mut all_off = settings();
            all_off.groups.notify = crate::settings::Live::new(false);
            let bench = Bench::with(all_off).await;
            let mut peer = bench.connect(1);
            peer.beat("one", "g", &["t"]).await;
            pass(BURST).await;
            assert_eq!(notified(&peer), 0, "switched off for the broker");

            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let consumer = json!({"groupName": "g", "messageModel": "BROADCASTING"});
            let body = json!({"clientID": "one", "consumerDataSet": [consumer]});
            peer.ask(with_body(rq::HEART_BEAT, &body)).await;
            pass(BURST).await;
            assert_eq!(notified(&peer), 0, "a broadcasting group");
        });
    }

    #[test]
    fn heartbeats_of_one_connection_keep_their_order() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            *bench.topics.delays.lock().unwrap() = vec![Duration::from_secs(1), Duration::ZERO];
            let conn = peer.conn.clone();
            let first = peer.session.request(heartbeat("one", "g", &["t"]), &conn);
            let second = peer.session.request(heartbeat("one", "g", &["t", "u"]), &conn);
            tokio::join!(answer(first), answer(second));
            let view = bench.control.group("g").unwrap();
            assert_eq!(view.membership().subscriptions.len(), 2, "the later one holds");
        });
    }

    #[test]
    fn a_heartbeat_that_is_late_for_its_connection_makes_no_member() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            *bench.topics.delays.lock().unwrap() = vec![Duration::from_secs(1)];
            let conn = peer.conn.clone();
            let beat = peer.session.request(heartbeat("one", "g", &["t"]), &conn);
            tokio::join!(answer(beat), async {
                pass(Duration::from_millis(500)).await;
                peer.close();
            });
            settle().await;
            assert!(!bench.control.group("g").unwrap().membership().is_online());
        });
    }

    #[test]
    fn silent_clients_are_closed_and_forgotten() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            one.beat("one", "g", &["t"]).await;
            two.beat("two", "g", &["t"]).await;
            for _ in 0..5 {
                pass(Duration::from_secs(30)).await;
                two.beat("two", "g", &["t"]).await;
            }
            assert_eq!(one.seen.closed(), Some("no heartbeat"));
            assert_eq!(two.seen.closed(), None);
            assert_eq!(two.body(list("g")).await, json!({"consumerIdList": ["two"]}));
        });
    }

    #[test]
    fn the_second_version_of_heartbeats() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let consumer = |topics: &[&str]| {
                let data = |t: &&str| json!({"topic": t, "subString": "*", "subVersion": 1});
                let data: Vec<_> = topics.iter().map(data).collect();
                json!([{"groupName": "g", "subscriptionDataSet": data}])
            };
            let beat = |topics: &[&str], without_sub: bool, fingerprint: i32| {
                let body = json!({"clientID": "one", "consumerDataSet": consumer(topics),
                    "heartbeatFingerprint": fingerprint, "withoutSub": without_sub});
                with_body(rq::HEART_BEAT, &body)
            };
            let sub_change = |cmd: Command| cmd.ext.get("IS_SUB_CHANGE").map(str::to_owned);
            let asks = peer.ask(beat(&[], true, 7)).await;
            assert_eq!(sub_change(asks).as_deref(), Some("true"), "it has been forgotten");
            let full = peer.ask(beat(&["t"], false, 7)).await;
            assert_eq!(sub_change(full).as_deref(), Some("false"));
            let short = peer.ask(beat(&[], true, 7)).await;
            assert_eq!(sub_change(short).as_deref(), Some("false"));
            assert_eq!(bench.topics.ensured.lock().unwrap()[2].order, None, "not known now");
            let view = bench.control.group("g").unwrap();
            assert!(view.subscription_for_pull("t", 1).is_ok(), "kept");
        });
    }

    #[test]
    fn bodies_that_cannot_be_read_are_refused_with_a_reason() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let answer = peer.ask(Command::request(rq::HEART_BEAT).with_body("{")).await;
            assert_eq!(answer.code, 1);
            assert!(answer.remark.unwrap().contains("cannot be read"));
            let answer = peer.ask(Command::request(rq::GET_CONSUMER_LIST_BY_GROUP)).await;
            assert!(answer.remark.unwrap().contains("consumerGroup"));
        });
    }

    #[test]
    fn filters_are_checked_before_a_consumer_starts() {
        run(async {
            let check = |kind: &str, text: &str| {
                let data = json!({"topic": "t", "subString": text, "expressionType": kind});
                let body = json!({"clientId": "one", "group": "g", "subscriptionData": data});
                with_body(rq::CHECK_CLIENT_CONFIG, &body)
            };
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            assert_eq!(peer.ask(check("TAG", "a || b")).await.code, 0);
            assert_eq!(peer.ask(check("", "a")).await.code, 0);
            let off = peer.ask(check("SQL92", "a > 1")).await;
            assert_eq!(off.code, 1);
            assert!(off.remark.unwrap().ends_with("filter message by SQL92"));

            let mut on = settings();
            on.control.sql92 = crate::settings::Live::new(true);
            let bench = Bench::with(on).await;
            let mut peer = bench.connect(1);
            assert_eq!(peer.ask(check("SQL92", "a > 1")).await.code, 0);
            let refused = peer.ask(check("SQL92", "a >")).await;
            assert_eq!(refused.code, 23);
            let remark = refused.remark.unwrap();
            assert!(remark.starts_with("Invalid MessageSelector. the end at 3"), "{remark}");
        });
    }

    #[test]
    fn producers_come_and_go() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            let data = json!({"clientID": "one", "producerDataSet": [{"groupName": "p"}]});
            peer.ask(with_body(rq::HEART_BEAT, &data)).await;
            settle().await;
            assert_eq!(bench.control.producers().of_group("p"), Some(peer.conn.clone()));
            assert_eq!(bench.control.producers().of_client("one"), Some(peer.conn.clone()));
            let leave = Command::request(rq::UNREGISTER_CLIENT)
                .with_ext("clientID", "one")
                .with_ext("producerGroup", "p");
            assert_eq!(peer.ask(leave).await.code, 0);
            settle().await;
            assert_eq!(bench.control.producers().of_group("p"), None);
            peer.ask(with_body(rq::HEART_BEAT, &data)).await;
            peer.close();
            settle().await;
            assert_eq!(bench.control.producers().of_client("one"), None);
        });
    }
}
