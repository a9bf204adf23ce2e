//! Which queues a client gets, and whether its group pulls or pops.

use std::sync::Arc;

use gantry_codec::{
    Command,
    body::{
        self, AssignmentBody, MessageModel, MessageQueue, QueryAssignmentBody, QueueAssignment,
        RequestModeBody,
    },
    fastjson, response_code as rs,
};
use serde::de::DeserializeOwned;

use super::{Client, Detour};
use crate::{
    error_to_wire::{self, pop::PopRefusal},
    net::Outcome,
    pop::assign::{Strategy, assign},
    topic::names::RETRY_PREFIX,
};

fn read_body<T: DeserializeOwned>(cmd: &Command) -> Result<T, PopRefusal> {
    fastjson::from_slice(&cmd.body).map_err(|e| PopRefusal::Body(e.to_string()))
}

/// The share of who asks; None: not known.
fn assigned(
    asked: &QueryAssignmentBody,
    queues: Vec<MessageQueue>,
    clients: &[Arc<str>],
    mode: &RequestModeBody,
) -> Option<Vec<MessageQueue>> {
    if asked.message_model == MessageModel::Broadcasting {
        return Some(queues);
    }
    if clients.is_empty() {
        return None;
    }
    let strategy = Strategy::of(&asked.strategy_name)?;
    Some(assign(&asked.client_id, clients, queues, strategy, mode))
}

impl Client<'_> {
    /// What a client does not find in the answer it gives up; without an answer it keeps what it has.
    pub(super) fn assignment(&self, cmd: &Command) -> Result<Outcome, PopRefusal> {
        let asked: QueryAssignmentBody = read_body(cmd)?;
        let mode = self.shared.pops.mode(&asked.topic, &asked.consumer_group);
        let own = self.own_queues(&asked.topic);
        let group = self.shared.control.group(&asked.consumer_group);
        let clients = group.map(|group| group.membership().client_ids()).unwrap_or_default();
        let (routes, cmd) = (self.shared.pops.routes().clone(), cmd.clone());
        Ok(Outcome::Later(Box::pin(async move {
            let all = routes.all(&asked.topic, own).await;
            let queues = all.and_then(|all| assigned(&asked, all, &clients, &mode));
            let assignment = |message_queue| QueueAssignment { message_queue, mode: mode.mode };
            let message_queue_assignments =
                queues.map(|queues| queues.into_iter().map(assignment).collect());
            let answer = AssignmentBody { message_queue_assignments };
            Command::response(rs::SUCCESS, &cmd).with_body(body::to_json(&answer))
        })))
    }

    /// The queues of a topic that this broker has.
    fn own_queues(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let view = self.shared.topics.get(topic).filter(|view| view.is_readable())?;
        let queue = |queue_id| MessageQueue {
            topic: topic.to_owned(),
            broker_name: self.shared.config.broker_name.to_string(),
            queue_id,
        };
        Some((0..view.config.read_queue_nums).map(queue).collect())
    }

    /// All modes, in the form of their file.
    pub(super) fn all_modes(&self, cmd: &Command) -> Outcome {
        let table = self.shared.pops.modes().all();
        Outcome::Reply(Command::response(rs::SUCCESS, cmd).with_body(body::to_json(&*table)))
    }

    pub(super) fn set_mode(&self, cmd: &Command) -> Result<Outcome, Detour> {
        let mode: RequestModeBody = read_body(cmd)?;
        if mode.topic.starts_with(RETRY_PREFIX) {
            return Err(PopRefusal::RetryTopicMode.into());
        }
        self.topic(&mode.topic)?;
        if self.shared.control.group(&mode.consumer_group).is_none() {
            return Err(Detour::OpenGroup(mode.consumer_group));
        }
        let saved = self.shared.pops.modes().set(mode);
        let cmd = cmd.clone();
        Ok(Outcome::Later(Box::pin(async move {
            match saved.await {
                Ok(Ok(())) => Command::response(rs::SUCCESS, &cmd),
                Ok(Err(why)) => error_to_wire::pop::refused_pop(&cmd, &PopRefusal::NotSaved(why)),
                Err(_) => error_to_wire::lost(&cmd),
            }
        })))
    }
}
