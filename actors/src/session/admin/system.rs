//! GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305): topics that are the broker's own, which tools leave out of
//! what they show and export.

use gantry_codec::{
    Command,
    body::{self, TopicList},
    response_code as rs,
};

use super::super::Shared;
use crate::topic::names;

/// The names of the system's topics, those of the cluster and the broker among them.
pub(super) fn topics(shared: &Shared, cmd: &Command) -> Command {
    let all = shared.topics.all();
    let (cluster, broker) = (&*shared.config.cluster, &*shared.config.broker_name);
    let named = all.keys().filter(|name| is_own(name, cluster, broker));
    let mut topic_list: Vec<String> = named.map(|name| name.to_string()).collect();
    topic_list.sort_unstable();
    let list = TopicList { topic_list, ..TopicList::default() };
    Command::response(rs::SUCCESS, cmd).with_body(body::to_json(&list))
}

fn is_own(topic: &str, cluster: &str, broker: &str) -> bool {
    names::is_system_topic(topic)
        || topic == broker
        || topic.strip_prefix(cluster).is_some_and(|rest| matches!(rest, "" | "_REPLY_TOPIC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_the_cluster_and_the_broker_are_its_own() {
        for (topic, own) in [
            ("TBW102", true),
            ("rmq_sys_wheel_timer", true),
            ("c", true),
            ("c_REPLY_TOPIC", true),
            ("broker-a", true),
            ("orders", false),
            ("corders", false),
            ("%RETRY%g", false),
        ] {
            assert_eq!(is_own(topic, "c", "broker-a"), own, "{topic}");
        }
    }
}
