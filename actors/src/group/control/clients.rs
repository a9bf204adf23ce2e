//! Clients that come, stay and go: heartbeats, leaving, the consumer list, the check of a filter.

use std::rc::Rc;

use gantry_codec::{
    Command, Header,
    body::{CheckClientBody, ConsumerData, ConsumerListBody, HeartbeatData},
    filter::TAG,
    requests::group::{ConsumerGroupHeader, UnregisterClientHeader},
};
use slog::warn;

use super::{
    Answer, Control, ControlRefusal, ControlSession, json, later, now, read_body, success,
};
use crate::{
    group::{
        client::Client,
        facts::RetryTopic,
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
        later(cmd, async move |cmd| {
            let _in_order = turn.lock().await;
            control.heartbeat(cmd, data, client).await
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
        let Some(check) = self.0.config.check_expression else {
            return Err(ControlRefusal::ExpressionType(subscription.expression_type));
        };
        check(&subscription.sub_string).map_err(ControlRefusal::Expression)?;
        Ok(success(cmd))
    }

    async fn heartbeat(&self, cmd: &Command, data: HeartbeatData, client: Client) -> Answer {
        let fingerprint = data.heartbeat_fingerprint;
        let keeps_subscriptions = fingerprint != 0 && data.without_sub;
        let mut send_subscriptions = fingerprint == 0;
        for consumer in data.consumer_data_set {
            // A group that may not be made is passed over without a word, as Java does.
            let Ok(view) = self.opened(&consumer.group_name).await? else { continue };
            self.ensure_retry_topic(&view, &consumer, keeps_subscriptions).await;
            let beat = Beat {
                client: client.clone(),
                consume_type: consumer.consume_type,
                message_model: consumer.message_model,
                consume_from_where: consumer.consume_from_where,
                subscriptions: (!keeps_subscriptions).then_some(consumer.subscription_data_set),
                fingerprint,
            };
            if let Some(actor) = view.actor() {
                send_subscriptions |= actor.send(Heartbeat(beat)).await?;
            }
        }
        if !data.producer_data_set.is_empty() {
            let groups = data.producer_data_set.into_iter().map(|data| data.group_name.into());
            let beat = ProducerBeat { producer: client, groups: groups.collect() };
            self.0.producers.send(beat).await?;
        }
        Ok(success(cmd)
            .with_ext(SUPPORTS_V2, true)
            .with_ext(SEND_SUBSCRIPTIONS, send_subscriptions))
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
