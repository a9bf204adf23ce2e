//! What the requests about groups, producers and offsets mean: one function per request code.
//!
//! A [`Control`] is what all sessions share: the ways to the actors and their published views. A
//! [`ControlSession`] is a connection's own part: the commits that it has gathered, the groups that it
//! joined (so that they learn of its end), and a turn that keeps heartbeats in order. The functions decode
//! a request, ask views or actors, and build the answer; decisions are taken in the actors.
//!
//! | file | codes |
//! |---|---|
//! | `clients` | 34 HEART_BEAT, 35 UNREGISTER_CLIENT, 38 GET_CONSUMER_LIST_BY_GROUP, 46 CHECK_CLIENT_CONFIG |
//! | `locks` | 41 LOCK_BATCH_MQ, 42 UNLOCK_BATCH_MQ |
//! | `offsets` | 14 QUERY_CONSUMER_OFFSET, 15 UPDATE_CONSUMER_OFFSET, 43 GET_ALL_CONSUMER_OFFSET, 314 CLONE_GROUP_OFFSET |
//! | `configs` | 200, 225 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP(_LIST), 201, 207, 352 |
//! | `connections` | 203, 204, 328, and 300, 343, 345: who consumes and produces what |
//! | `diagnosis` | 31001 GROUP_LAG, 31002 DIAGNOSE |
//! | `relay` | 307 GET_CONSUMER_RUNNING_INFO |
//! | `reset` | 222 INVOKE_BROKER_TO_RESET_OFFSET |
//! | `progress` | 208 GET_CONSUME_STATS, 223 INVOKE_BROKER_TO_GET_CONSUMER_STATUS |
//! | `survey` | 317 GET_BROKER_CONSUME_STATS, 308 QUERY_CORRECTION_OFFSET: over all groups, from a thread that may wait |
//!
//! Never an answer that makes a client lose messages: an offset query whose actor is being restarted gets
//! no answer and a closed connection, as clients take any error for "start anew" (wire.md 2.6).

mod clients;
mod configs;
mod connections;
mod diagnosis;
mod locks;
mod offsets;
mod progress;
mod refusal;
mod relay;
mod reset;
mod survey;

pub use refusal::ControlRefusal;

use std::{cell::Cell, collections::HashSet, rc::Rc, sync::Arc};

use actix::MailboxError;
use gantry_codec::{Command, body, fastjson, request_code as rq, response_code as rs};
use gantry_storage::LIGHT_QUEUE_PREFIX;
use gantry_supervisor::Ref;
use serde::{Serialize, de::DeserializeOwned};
use slog::Logger;
use tokio::sync::Mutex;

use super::{
    diagnosis::Watch,
    facts::{QueueFacts, RetryTopics},
    filter_table::FilterDirectory,
    filters::Filters,
    group::Leave,
    groups::{Groups, OpenError, OpenGroup},
    offset_table::OffsetView,
    offsets::{DeleteTopicOffsets, Offsets},
    offsets_port::OffsetsPort,
    producer_table::ProducerDirectory,
    producers::{FindProducer, ProducerGone, Producers},
    view::{GroupDirectory, GroupView},
};
use crate::{
    error_to_wire,
    net::{ConnectionHandle, Outcome},
    settings::Live,
};

/// Clients older than this (3.0.7) cannot be asked for their offsets nor sent others.
const OLDEST_CALLABLE_CLIENT: i32 = 28;

/// What the control plane decides by itself.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The broker's name, part of every message queue's.
    pub broker_name: Arc<str>,
    /// The broker's address as clients know it.
    pub broker_addr: Arc<str>,
    /// An administrator's reset of offsets is kept here and told to the next pull
    /// (`useServerSideResetOffset`), instead of sent to the clients.
    pub server_side_reset: bool,
    /// Whether consumers may filter by SQL92 (`enablePropertyFilter`).
    pub sql92: Live<bool>,
    /// Whether groups may be named as light queues are: these need not be made, and have offsets in a file
    /// of their own.
    pub serves_light_queues: bool,
}

/// What all sessions share; see the module's text. Clones are the same.
#[derive(Clone)]
pub struct Control(Arc<ControlParts>);

/// What [`Control`] works with.
pub struct ControlParts {
    /// Settings.
    pub config: ControlConfig,
    /// Published groups.
    pub directory: GroupDirectory,
    /// The root of the groups.
    pub groups: Ref<Groups>,
    /// Published producers.
    pub producer_directory: ProducerDirectory,
    /// The producers' actor.
    pub producers: Ref<Producers>,
    /// Published offsets.
    pub offset_view: OffsetView,
    /// The offsets' actor.
    pub offsets: Ref<Offsets>,
    /// Who watches over the consumption.
    pub watch: Ref<Watch>,
    /// Published SQL92 filters.
    pub filter_directory: FilterDirectory,
    /// The filters' actor.
    pub filters: Ref<Filters>,
    /// What topics and queues are like.
    pub facts: Arc<dyn QueueFacts>,
    /// Makes retry topics.
    pub retry_topics: Arc<dyn RetryTopics>,
    /// The logger of requests.
    pub log: Logger,
}

/// An answer, or why there is none.
type Answer = Result<Command, ControlRefusal>;

impl Control {
    /// A control plane over running actors.
    pub fn new(parts: ControlParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The part of one connection.
    pub fn session(&self) -> ControlSession {
        ControlSession {
            offsets: OffsetsPort::new(self.0.offsets.clone(), self.0.offset_view.clone()),
            control: self.clone(),
            joined: HashSet::new(),
            produces: false,
            turn: Rc::default(),
            gone: Rc::default(),
        }
    }

    /// A group that is configured, as it is published.
    pub fn group(&self, group: &str) -> Option<Arc<GroupView>> {
        self.0.directory.get(group)
    }

    /// All groups, as they are published.
    pub fn directory(&self) -> &GroupDirectory {
        &self.0.directory
    }

    /// Whether a group may commit: it is configured, or named as a light queue.
    fn may_commit(&self, group: &str) -> bool {
        let is_light = self.0.config.serves_light_queues && group.starts_with(LIGHT_QUEUE_PREFIX);
        is_light || self.group(group).is_some()
    }

    /// A group that is configured or may configure itself. For requests whose group is not published
    /// yet: wait for this, then look again.
    pub fn open_group(
        &self,
        group: &str,
    ) -> impl Future<Output = Result<Result<Arc<GroupView>, OpenError>, MailboxError>> + 'static
    {
        self.0.groups.send(OpenGroup(group.into()))
    }

    /// Who watches over the consumption.
    pub fn watch(&self) -> &Ref<Watch> {
        &self.0.watch
    }

    /// What topics and queues are like.
    pub fn facts(&self) -> &Arc<dyn QueueFacts> {
        &self.0.facts
    }

    /// The live producers, for those who have to call one back.
    pub fn producers(&self) -> &ProducerDirectory {
        &self.0.producer_directory
    }

    /// The connection of the producer with this client id, one included whose heartbeat has just been
    /// answered.
    pub async fn find_producer(&self, client_id: &str) -> Option<ConnectionHandle> {
        match self.0.producer_directory.of_client(client_id) {
            None => self.0.producers.send(FindProducer(client_id.into())).await.ok().flatten(),
            found => found,
        }
    }

    /// A way to the offsets for an actor that commits for its group.
    pub fn offsets_port(&self) -> OffsetsPort {
        OffsetsPort::new(self.0.offsets.clone(), self.0.offset_view.clone())
    }

    /// The committed offsets, for those who are not the client that commits them.
    pub fn offsets(&self) -> &OffsetView {
        &self.0.offset_view
    }

    /// Whether consumers may filter by SQL92.
    pub fn serves_sql92(&self) -> bool {
        self.0.config.sql92.get()
    }

    /// The SQL92 filters of groups, for those who read messages for them.
    pub fn filters(&self) -> &FilterDirectory {
        &self.0.filter_directory
    }

    /// A topic has been deleted, and with it all offsets in it.
    pub fn topic_deleted(&self, topic: &str) {
        self.0.offsets.do_send(DeleteTopicOffsets(topic.into()));
    }

    /// The group with its actor running.
    async fn opened(&self, group: &str) -> Result<Result<Arc<GroupView>, OpenError>, MailboxError> {
        match self.group(group).filter(|view| view.actor().is_some()) {
            Some(view) => Ok(Ok(view)),
            None => self.open_group(group).await,
        }
    }
}

/// A connection's part; see the module's text.
pub struct ControlSession {
    control: Control,
    /// Commits of this connection; pulls put theirs in here.
    pub offsets: OffsetsPort,
    /// Groups that this connection has sent heartbeats for.
    joined: HashSet<Arc<str>>,
    /// Whether it has sent heartbeats of producers.
    produces: bool,
    /// Held by the heartbeat that is being worked on.
    turn: Rc<Mutex<()>>,
    /// Set when the connection is gone: a heartbeat that is still being worked on then must not make a
    /// member that nobody would take out again.
    gone: Rc<Cell<bool>>,
}

impl ControlSession {
    /// Whether this code is answered here.
    pub fn handles(code: i32) -> bool {
        matches!(
            code,
            rq::HEART_BEAT
                | rq::UNREGISTER_CLIENT
                | rq::GET_CONSUMER_LIST_BY_GROUP
                | rq::CHECK_CLIENT_CONFIG
                | rq::QUERY_CONSUMER_OFFSET
                | rq::UPDATE_CONSUMER_OFFSET
                | rq::GET_ALL_CONSUMER_OFFSET
                | rq::CLONE_GROUP_OFFSET
                | rq::LOCK_BATCH_MQ
                | rq::UNLOCK_BATCH_MQ
                | rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
                | rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
                | rq::DELETE_SUBSCRIPTIONGROUP
                | rq::GET_ALL_SUBSCRIPTIONGROUP_CONFIG
                | rq::GET_SUBSCRIPTIONGROUP_CONFIG
                | rq::GET_CONSUMER_CONNECTION_LIST
                | rq::GET_PRODUCER_CONNECTION_LIST
                | rq::GET_ALL_PRODUCER_INFO
                | rq::QUERY_TOPIC_CONSUME_BY_WHO
                | rq::QUERY_TOPICS_BY_CONSUMER
                | rq::QUERY_SUBSCRIPTION_BY_CONSUMER
                | rq::INVOKE_BROKER_TO_RESET_OFFSET
                | rq::INVOKE_BROKER_TO_GET_CONSUMER_STATUS
                | rq::GET_CONSUME_STATS
                | rq::GET_CONSUMER_RUNNING_INFO
                | rq::GROUP_LAG
                | rq::DIAGNOSE
        )
    }

    /// Answers a request of one of these codes.
    pub fn request(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        match cmd.code {
            rq::HEART_BEAT => self.heartbeat(cmd, conn),
            rq::UNREGISTER_CLIENT => self.unregister(cmd, conn),
            rq::QUERY_CONSUMER_OFFSET => self.query_offset(cmd, conn),
            rq::UPDATE_CONSUMER_OFFSET => self.update_offset(cmd, conn),
            rq::LOCK_BATCH_MQ => self.lock(cmd, conn),
            _ => self.control.request(cmd),
        }
    }

    /// The connection's burst of requests has ended.
    pub fn burst_end(&mut self) {
        self.offsets.burst_end();
    }

    /// The connection is gone: so are its client's registrations.
    pub fn closed(&mut self, conn: &ConnectionHandle) {
        self.offsets.send_all();
        self.gone.set(true);
        for group in self.joined.drain() {
            if let Some(actor) = self.control.group(&group).as_ref().and_then(|view| view.actor()) {
                actor.do_send(Leave(conn.id()));
            }
        }
        if self.produces {
            self.control.0.producers.do_send(ProducerGone(conn.id()));
        }
    }
}

impl Control {
    /// Requests that do not depend on the connection that they come from.
    fn request(&self, cmd: Command) -> Outcome {
        match cmd.code {
            rq::GET_CONSUMER_LIST_BY_GROUP => now(&cmd, self.consumer_list(&cmd)),
            rq::CHECK_CLIENT_CONFIG => now(&cmd, self.check_client(&cmd)),
            rq::GET_SUBSCRIPTIONGROUP_CONFIG => now(&cmd, self.one_group(&cmd)),
            rq::GET_CONSUMER_CONNECTION_LIST => now(&cmd, self.consumer_connections(&cmd)),
            rq::QUERY_TOPIC_CONSUME_BY_WHO => now(&cmd, self.topic_consumers(&cmd)),
            rq::QUERY_TOPICS_BY_CONSUMER => now(&cmd, self.consumed_topics(&cmd)),
            rq::QUERY_SUBSCRIPTION_BY_CONSUMER => now(&cmd, self.subscription(&cmd)),
            rq::GET_CONSUME_STATS => now(&cmd, self.consume_stats(&cmd)),
            _ => {
                let control = self.clone();
                later(cmd, async move |cmd| control.ask(cmd).await)
            }
        }
    }

    /// Requests that actors or clients have to be asked for.
    async fn ask(&self, cmd: &Command) -> Answer {
        match cmd.code {
            rq::UNLOCK_BATCH_MQ => self.unlock(cmd).await,
            rq::GET_ALL_CONSUMER_OFFSET => self.all_offsets(cmd).await,
            rq::CLONE_GROUP_OFFSET => self.clone_offsets(cmd).await,
            rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.put_group(cmd).await,
            rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.put_groups(cmd).await,
            rq::DELETE_SUBSCRIPTIONGROUP => self.delete_group(cmd).await,
            rq::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.all_groups(cmd).await,
            rq::GET_PRODUCER_CONNECTION_LIST => self.producer_connections(cmd).await,
            rq::GET_ALL_PRODUCER_INFO => self.all_producers(cmd).await,
            rq::INVOKE_BROKER_TO_RESET_OFFSET => self.reset_offset(cmd).await,
            rq::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => self.consumer_status(cmd).await,
            rq::GET_CONSUMER_RUNNING_INFO => self.running_info(cmd).await,
            rq::GROUP_LAG => self.group_lag(cmd).await,
            rq::DIAGNOSE => self.diagnose(cmd).await,
            _ => Ok(error_to_wire::unsupported(cmd)),
        }
    }
}

/// An answer that is known now.
fn now(cmd: &Command, answer: Answer) -> Outcome {
    Outcome::Reply(answer.unwrap_or_else(|refusal| error_to_wire::refused_control(cmd, &refusal)))
}

/// An answer that `work` has to find.
fn later(cmd: Command, work: impl AsyncFnOnce(&Command) -> Answer + 'static) -> Outcome {
    Outcome::Later(Box::pin(async move {
        let answer = work(&cmd).await;
        answer.unwrap_or_else(|refusal| error_to_wire::refused_control(&cmd, &refusal))
    }))
}

fn success(cmd: &Command) -> Command {
    Command::response(rs::SUCCESS, cmd)
}

fn json(cmd: &Command, answer: &impl Serialize) -> Answer {
    Ok(success(cmd).with_body(body::to_json(answer)))
}

/// For answers with queues as the keys of maps.
fn json_with_queues(cmd: &Command, answer: &impl Serialize) -> Answer {
    let body = fastjson::to_vec_object_keys(answer);
    Ok(success(cmd).with_body(body.map_err(|e| ControlRefusal::Body(e.to_string()))?))
}

fn read_body<T: DeserializeOwned>(cmd: &Command) -> Result<T, ControlRefusal> {
    fastjson::from_slice(&cmd.body).map_err(|e| ControlRefusal::Body(e.to_string()))
}
