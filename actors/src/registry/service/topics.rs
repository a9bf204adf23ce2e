//! Routes and lists of topics.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use gantry_codec::{
    Command, Header,
    requests::route::{
        DeleteTopicInNamesrvHeader, RouteHeader, TopicHeader, TopicsByClusterHeader,
    },
};

use super::{Answer, Outcome, Refusal, Served, success, when_done, with_body};
use crate::registry::{
    announcement::read_queue_datas,
    kv_table::ORDER_TOPIC_CONFIG,
    orders::{AddTopic, DeleteTopic},
    route_query::UnitTopics,
    settings::Settings,
    table::RouteTable,
};

impl Served {
    /// The routes as they are now.
    pub(super) fn routes(&self) -> Guard<Arc<RouteTable>> {
        self.views.routes.load()
    }

    /// The settings as they are now.
    pub(super) fn settings(&self) -> Guard<Arc<Settings>> {
        self.views.settings.load()
    }

    /// Code 105. Only code 17 makes clients fall back to the default topic, so an unknown topic is nothing
    /// else (wire.md 6.2, gotcha 12).
    pub(super) fn route(&self, cmd: &Command) -> Answer {
        let header = RouteHeader::decode(&cmd.ext)?;
        let settings = self.settings();
        let wait = Duration::from_secs(settings.wait_seconds_for_service);
        if settings.need_wait_for_service && self.started.elapsed() < wait {
            return Err(Refusal::NotReady);
        }
        let kv = self.kv_view.load();
        let order_conf = match settings.order_message_enable {
            true => kv.get(ORDER_TOPIC_CONFIG, &header.topic),
            false => None,
        };
        match self.routes().route(&header.topic, settings.support_acting_master, order_conf) {
            Some(route) => Ok(with_body(cmd, route)),
            None => Err(Refusal::NoRoute(header.topic)),
        }
    }

    /// Code 206.
    pub(super) fn all_topics(&self, cmd: &Command) -> Answer {
        if !self.settings().enable_all_topic_list {
            return Err(Refusal::Disabled);
        }
        Ok(with_body(cmd, self.routes().topic_list()))
    }

    /// Code 224.
    pub(super) fn topics_by_cluster(&self, cmd: &Command) -> Answer {
        if !self.settings().enable_topic_list {
            return Err(Refusal::Disabled);
        }
        let header = TopicsByClusterHeader::decode(&cmd.ext)?;
        Ok(with_body(cmd, self.routes().topics_by_cluster(&header.cluster)))
    }

    /// Codes 311 to 313.
    pub(super) fn unit_topics(&self, cmd: &Command, which: UnitTopics) -> Answer {
        if !self.settings().enable_topic_list {
            return Err(Refusal::Disabled);
        }
        Ok(with_body(cmd, self.routes().unit_topics(which)))
    }

    /// Code 216. An empty cluster name is none.
    pub(super) fn delete_topic(&self, cmd: &Command) -> Answer {
        let header = DeleteTopicInNamesrvHeader::decode(&cmd.ext)?;
        let cluster = header.cluster_name.filter(|name| !name.is_empty()).map(Into::into);
        let order = DeleteTopic { topic: header.topic.into(), cluster };
        Ok(when_done(cmd, self.registry.send(order), |answer, ()| Ok(answer)))
    }

    /// Code 217. Without queue data there is nothing to do.
    pub(super) fn add_topic(&self, cmd: &Command) -> Answer {
        let header = TopicHeader::decode(&cmd.ext)?;
        let queues = read_queue_datas(&cmd.body)?;
        if queues.is_empty() {
            return Ok(Outcome::Reply(success(cmd)));
        }
        let order = AddTopic { topic: header.topic.into(), queues };
        Ok(when_done(cmd, self.registry.send(order), |answer, added| {
            added.map(|()| answer).map_err(Refusal::UnknownBroker)
        }))
    }
}
