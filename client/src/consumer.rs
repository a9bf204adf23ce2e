//! Pulling: one request for one queue, with or without waiting for messages to come.
//!
//! A pull consumer keeps no position and joins no rebalancing: the caller says queue and offset, and
//! stores its progress with the calls of `offsets`. The subscription travels with each request, so no
//! heartbeat has to come before. A broker may hold a request that found nothing; the time limit of
//! the call is that time and the usual one on top.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gantry_codec::body::{ConsumerData, MessageQueue};
use gantry_codec::requests::pull::{PullResponse, pull_flag};
use gantry_codec::requests::send::ConsumerSendMsgBackHeader;
use gantry_codec::{Command, Header, PullHeader, request_code, response_code};

use crate::client::{Client, QueueError};
use crate::error::CallError;
use crate::message::MessageExt;
use crate::remoting::{malformed, refused};
use crate::route::RouteError;

/// What messages are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Those with one of these tags, `a || b`; `*` for all. Brokers compare hashes of tags, so a
    /// message with another tag may slip through.
    Tags(String),
    /// Those whose properties match this SQL92 expression.
    Sql92(String),
}

impl Filter {
    /// All messages.
    pub fn all() -> Filter {
        Filter::Tags("*".to_owned())
    }

    /// The expression and its type, as they are sent.
    fn wire(&self) -> (&str, &'static str) {
        match self {
            Filter::Tags(expression) => (expression, "TAG"),
            Filter::Sql92(expression) => (expression, "SQL92"),
        }
    }
}

/// One pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The queue.
    pub queue: MessageQueue,
    /// The place of the first message wanted.
    pub offset: i64,
    /// Messages wanted at most; brokers give 32 at most by default.
    pub messages_max: i32,
    /// What messages.
    pub filter: Filter,
    /// How long the broker may hold the request while there is nothing; zero for an answer at once.
    pub hold: Duration,
    /// Progress to store for the group in passing.
    pub commit: Option<i64>,
}

impl PullRequest {
    /// At most 32 messages of any kind from `offset` on, answered at once.
    pub fn new(queue: MessageQueue, offset: i64) -> PullRequest {
        PullRequest {
            queue,
            offset,
            messages_max: 32,
            filter: Filter::all(),
            hold: Duration::ZERO,
            commit: None,
        }
    }

    /// Lets the broker hold the request for `hold`.
    #[must_use]
    pub fn held(self, hold: Duration) -> PullRequest {
        PullRequest { hold, ..self }
    }

    fn command(&self, group: &str) -> Command {
        let (subscription, expression_type) = self.filter.wire();
        let mut sys_flag = pull_flag::SUBSCRIPTION;
        if self.commit.is_some() {
            sys_flag |= pull_flag::COMMIT_OFFSET;
        }
        if !self.hold.is_zero() {
            sys_flag |= pull_flag::SUSPEND;
        }
        let header = PullHeader {
            consumer_group: group,
            topic: &self.queue.topic,
            queue_id: self.queue.queue_id,
            queue_offset: self.offset,
            max_msg_nums: self.messages_max,
            sys_flag,
            commit_offset: self.commit.unwrap_or(0),
            suspend_timeout_millis: i64::try_from(self.hold.as_millis()).unwrap_or(i64::MAX),
            subscription: Some(subscription),
            sub_version: 0,
            expression_type: Some(expression_type),
            ..PullHeader::default()
        };
        let mut request = Command::request(request_code::PULL_MESSAGE);
        header.encode(&mut request.ext);
        request
    }
}

/// What a pull came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages are there.
    Found,
    /// No message at this place yet.
    NoNewMessage,
    /// Messages are there, but the filter wants none of those looked at; go on.
    NoMatchedMessage,
    /// The offset lies outside the queue; go on at the one given.
    OffsetMoved,
}

/// The answer to a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullResult {
    /// What it came to.
    pub status: PullStatus,
    /// The messages, in the order of the queue.
    pub messages: Vec<MessageExt>,
    /// The offset to ask for next.
    pub next_begin_offset: i64,
    /// The queue's first offset.
    pub min_offset: i64,
    /// The queue's end.
    pub max_offset: i64,
}

/// A reader of one group.
#[derive(Debug, Clone)]
pub struct PullConsumer {
    client: Client,
    group: Arc<str>,
    /// By broker: the id of the replica that it last told us to read from.
    replicas: Arc<Mutex<HashMap<String, i64>>>,
}

impl PullConsumer {
    pub(crate) fn new(client: Client, group: &str) -> PullConsumer {
        PullConsumer { client, group: group.into(), replicas: Arc::default() }
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The queues of a topic that may be read.
    ///
    /// # Errors
    /// The topic has no route.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, RouteError> {
        Ok(self.client.routes().get(topic).await?.subscribe.clone())
    }

    /// Makes the client a member of the group: its subscriptions go into heartbeats, beginning with
    /// one that is sent now. Pulling does not need it; being counted as a member of the group does.
    ///
    /// # Errors
    /// The first broker's failure; the others were told all the same.
    pub async fn register(&self, data: ConsumerData) -> Result<(), CallError> {
        self.client.inner().groups.add_consumer(data);
        self.client.heartbeat().await
    }

    /// Ends what [`PullConsumer::register`] began.
    ///
    /// # Errors
    /// The first broker's failure; the others were told all the same.
    pub async fn unregister(&self) -> Result<(), CallError> {
        self.client.inner().groups.remove_consumer(&self.group);
        self.client.unregister(None, Some(&self.group)).await
    }

    /// Asks for messages.
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, refused, or sent what is no message.
    pub async fn pull(&self, request: &PullRequest) -> Result<PullResult, QueueError> {
        let address = self.reader_of(&request.queue).await?;
        let timeout = self.client.config().request_timeout + request.hold;
        let command = request.command(&self.group);
        let answer = self.client.remoting().ask(&address, command, timeout).await?;
        let (result, replica) = read(&address, &answer)?;
        self.replicas().insert(request.queue.broker_name.clone(), replica);
        Ok(result)
    }

    async fn reader_of(&self, queue: &MessageQueue) -> Result<String, RouteError> {
        // A light queue (`%LMQ%…`) is on no name server; its broker is found by its name all the same.
        let route = self.client.routes().get_or_borrow(&queue.topic).await?;
        let replica = self.replicas().get(&queue.broker_name).copied().unwrap_or(0);
        let address = route.reader(&queue.broker_name, replica).map(str::to_owned);
        address.ok_or_else(|| RouteError::no_broker(queue))
    }

    fn replicas(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Gives a message of `queue` back to its broker, which delivers it to the group again by way of
    /// its retry topic, later with each try; after `tries_max` tries (None: as the group is configured) it
    /// goes to the dead letters.
    ///
    /// # Errors
    /// The broker could not be found or reached, did not answer, or refused.
    pub async fn send_back(
        &self,
        group: &str,
        queue: &MessageQueue,
        message: &MessageExt,
        tries_max: Option<i32>,
    ) -> Result<(), QueueError> {
        let header = ConsumerSendMsgBackHeader {
            offset: message.physical_offset,
            group: group.to_owned(),
            delay_level: 0,
            origin_msg_id: Some(message.offset_message_id().to_string()),
            origin_topic: Some(message.topic.to_string()),
            unit_mode: false,
            max_reconsume_times: tries_max,
        };
        let code = request_code::CONSUMER_SEND_MSG_BACK;
        self.call_master(queue, Command::request(code).with_header(&header)).await.map(|_| ())
    }
}

/// Reads the answer to a pull: the result, and the id of the replica to ask next.
fn read(remote: &str, answer: &Command) -> Result<(PullResult, i64), CallError> {
    let code = request_code::PULL_MESSAGE;
    let status = match answer.code {
        response_code::SUCCESS => PullStatus::Found,
        response_code::PULL_NOT_FOUND => PullStatus::NoNewMessage,
        response_code::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatchedMessage,
        response_code::PULL_OFFSET_MOVED => PullStatus::OffsetMoved,
        _ => return Err(refused(remote, code, answer)),
    };
    let header =
        PullResponse::decode(&answer.ext).map_err(|error| malformed(remote, code, error))?;
    let messages =
        MessageExt::decode_all(&answer.body).map_err(|error| malformed(remote, code, error))?;
    let result = PullResult {
        status,
        messages,
        next_begin_offset: header.next_begin_offset,
        min_offset: header.min_offset,
        max_offset: header.max_offset,
    };
    Ok((result, header.suggest_which_broker_id))
}
