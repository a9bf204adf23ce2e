//! Topic requests of operators: create and change (17), delete (215), list (21), one (351).

use std::{collections::BTreeMap, sync::Arc};

use actix::MailboxError;
use gantry_codec::{
    Command, Header,
    body::{self, TopicConfig, TopicFilterType},
    pop::TopicMark,
    request_code as rq,
    requests::admin::{CreateTopicHeader, GetTopicConfigHeader},
    response_code as rs,
};

use super::Shared;
use crate::{
    error_to_wire,
    net::Outcome,
    topic::{AllTopics, RemoveTopic, TopicError, UpdateTopic},
};

/// Whether this code is answered here.
pub(super) fn handles(code: i32) -> bool {
    matches!(
        code,
        rq::UPDATE_AND_CREATE_TOPIC
            | rq::DELETE_TOPIC_IN_BROKER
            | rq::GET_ALL_TOPIC_CONFIG
            | rq::GET_TOPIC_CONFIG
    )
}

/// Answers it.
pub(super) fn request(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    match cmd.code {
        rq::UPDATE_AND_CREATE_TOPIC => update(shared, cmd),
        rq::DELETE_TOPIC_IN_BROKER => delete(shared, cmd),
        rq::GET_TOPIC_CONFIG => Outcome::Reply(one(shared, &cmd)),
        _ => all(shared, cmd),
    }
}

fn update(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let header = match CreateTopicHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return Outcome::Reply(error_to_wire::bad_header(&cmd, &e)),
    };
    let config = TopicConfig {
        topic_name: header.topic,
        read_queue_nums: header.read_queue_nums,
        write_queue_nums: header.write_queue_nums,
        perm: header.perm,
        topic_filter_type: match header.topic_filter_type.as_deref() {
            Some("MULTI_TAG") => TopicFilterType::MultiTag,
            _ => TopicFilterType::SingleTag,
        },
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        order: header.order,
        attributes: attribute_changes(header.attributes.as_deref().unwrap_or_default()),
        ..TopicConfig::default()
    };
    let topics = shared.topics_root.clone();
    Outcome::Later(Box::pin(async move {
        match topics.send(UpdateTopic(config)).await {
            Ok(Ok(())) => Command::response(rs::SUCCESS, &cmd),
            Ok(Err(e)) => error_to_wire::topic(&cmd, &e),
            Err(_) => error_to_wire::lost(&cmd),
        }
    }))
}

/// `+name=value,-name` as changes by name; whether they can be is for the topics to say.
fn attribute_changes(text: &str) -> BTreeMap<String, String> {
    let changes = text.split(',').map(str::trim).filter(|change| !change.is_empty());
    let change = |change: &str| {
        let (name, value) = change.split_once('=').unwrap_or((change, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    changes.map(change).collect()
}

fn delete(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let header = match GetTopicConfigHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return Outcome::Reply(error_to_wire::bad_header(&cmd, &e)),
    };
    let shared = shared.clone();
    Outcome::Later(Box::pin(async move {
        let retries = pop_retry_topics(&shared, &header.topic);
        match delete_one(&shared, header.topic).await {
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return error_to_wire::topic(&cmd, &e),
            Err(_) => return error_to_wire::lost(&cmd),
        }
        for topic in retries {
            // Nobody pops from it any more; one that is left does no harm.
            let _ = delete_one(&shared, topic).await;
        }
        Command::response(rs::SUCCESS, &cmd)
    }))
}

async fn delete_one(
    shared: &Shared,
    topic: String,
) -> Result<Result<bool, TopicError>, MailboxError> {
    let removed = shared.light.as_ref().and_then(|light| light.remove(&topic));
    let deleted = match removed {
        Some(removed) => {
            removed.await;
            Ok(true)
        }
        None => shared.topics_root.send(RemoveTopic(topic.clone())).await?,
    };
    if deleted.is_ok() {
        shared.control.topic_deleted(&topic);
        shared.pops.forget_topic(&topic);
    }
    Ok(deleted)
}

/// The topics of retries that groups pop of `topic`.
fn pop_retry_topics(shared: &Shared, topic: &str) -> Vec<String> {
    let groups = shared.control.offsets().groups_of(topic);
    let names = groups.iter().flat_map(|group| {
        [TopicMark::Retry, TopicMark::RetryV2].map(|mark| mark.real_topic(topic, group))
    });
    names.filter(|name| shared.topics.get(name).is_some()).collect()
}

fn one(shared: &Arc<Shared>, cmd: &Command) -> Command {
    let header = match GetTopicConfigHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return error_to_wire::bad_header(cmd, &e),
    };
    match shared.topics.get(&header.topic) {
        Some(view) => Command::response(rs::SUCCESS, cmd).with_body(body::to_json(&view.config)),
        None => error_to_wire::no_topic(cmd, &header.topic),
    }
}

fn all(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let topics = shared.topics_root.clone();
    Outcome::Later(Box::pin(async move {
        match topics.send(AllTopics).await {
            Ok(table) => Command::response(rs::SUCCESS, &cmd).with_body(body::to_json(&*table)),
            Err(_) => error_to_wire::lost(&cmd),
        }
    }))
}
