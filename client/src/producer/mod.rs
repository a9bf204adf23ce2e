//! Sending: one message and its answer, many in a pipeline, one-way, and batches.
//!
//! A producer takes the queues of a topic in turn, from a start drawn by the client's seed. A send
//! that waits for its answer is tried again on the next queue of another broker where there is one,
//! when the connection failed, the time was over, or the broker answered with a code that official
//! clients retry: the message may then be stored twice, with one unique key. Pipelined and one-way
//! sends are never tried again, since that would change their order.

mod parcel;
mod receipt;
mod transaction;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_codec::body::MessageQueue;
use gantry_codec::{Command, properties, request_code};
use tokio::time::Instant;

use self::parcel::Parcel;
use self::receipt::{Origin, receipt};
pub use self::receipt::{SendError, SendInFlight, SendReceipt, SendStatus};
pub use self::transaction::TransactionEnd;
pub(crate) use self::transaction::outcome_code;
use crate::client::Client;
use crate::error::CallError;
use crate::message::Message;
use crate::route::TopicRoute;

/// How often a send is tried in all.
const TRIES: usize = 3;

/// A sender of one group; clones share the turn of the queues.
#[derive(Debug, Clone)]
pub struct Producer {
    client: Client,
    group: Arc<str>,
    /// By topic: the number of the next send.
    turns: Arc<Mutex<HashMap<String, usize>>>,
}

impl Producer {
    pub(crate) fn new(client: Client, group: &str) -> Producer {
        client.inner().groups.add_producer(group);
        Producer { client, group: group.into(), turns: Arc::default() }
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Sends a message to the next queue of its topic and waits for the answer.
    ///
    /// # Errors
    /// What the last try met.
    pub async fn send(&self, message: &Message) -> Result<SendReceipt, SendError> {
        self.send_with_tries(&Parcel::single(&self.client, message)).await
    }

    /// Sends a message to one queue and waits for the answer; it is not tried again.
    ///
    /// # Errors
    /// What the send met.
    pub async fn send_to(
        &self,
        queue: &MessageQueue,
        message: &Message,
    ) -> Result<SendReceipt, SendError> {
        self.submit(queue, &Parcel::single(&self.client, message)).await?.await
    }

    /// Sends messages of one topic in one request to one queue, where they get consecutive places.
    ///
    /// # Errors
    /// NotABatch, or what the last try met.
    pub async fn send_batch(&self, messages: &[Message]) -> Result<SendReceipt, SendError> {
        self.send_with_tries(&Parcel::batch(&self.client, messages)?).await
    }

    /// Like [`Producer::send_batch`], to one queue and without another try.
    ///
    /// # Errors
    /// NotABatch, or what the send met.
    pub async fn send_batch_to(
        &self,
        queue: &MessageQueue,
        messages: &[Message],
    ) -> Result<SendReceipt, SendError> {
        self.submit(queue, &Parcel::batch(&self.client, messages)?).await?.await
    }

    /// Queues a message to be sent and returns the future of its receipt. Messages to one broker leave
    /// in the order in which these calls return (a broker that handles sends on several threads may
    /// all the same store them in another one).
    ///
    /// # Errors
    /// No queue or connection, or a full outbox: nothing was sent.
    pub async fn send_async(&self, message: &Message) -> Result<SendInFlight, SendError> {
        let queue = self.next_queue(&message.topic, None).await?;
        self.submit(&queue, &Parcel::single(&self.client, message)).await
    }

    /// Like [`Producer::send_async`], to one queue.
    ///
    /// # Errors
    /// No connection, or a full outbox: nothing was sent.
    pub async fn send_async_to(
        &self,
        queue: &MessageQueue,
        message: &Message,
    ) -> Result<SendInFlight, SendError> {
        self.submit(queue, &Parcel::single(&self.client, message)).await
    }

    /// Sends a message to the next queue without waiting for anything but the connection; it may be
    /// lost without a trace. Returns its unique key.
    ///
    /// # Errors
    /// No queue or connection, or a full outbox.
    pub async fn send_oneway(&self, message: &Message) -> Result<String, SendError> {
        let queue = self.next_queue(&message.topic, None).await?;
        let parcel = Parcel::single(&self.client, message);
        let mut request = parcel.request(&self.group, queue.queue_id, self.client.config());
        request.flag = Command::oneway(request.code).flag;
        let address = self.client.master_of(&queue).await?;
        self.client.connection(&address).await?.oneway(request)?;
        Ok(parcel.unique_key)
    }

    /// Sends a half message: consumers do not see it before [`Producer::end_transaction`].
    ///
    /// # Errors
    /// What the last try met.
    pub async fn send_half(&self, message: Message) -> Result<SendReceipt, SendError> {
        let half = message
            .with_property(properties::TRAN_MSG, "true")
            .with_property(properties::PGROUP, &self.group);
        self.send(&half).await
    }

    /// Ends the transaction of a half message. The request is one-way, as the protocol has it: a broker that misses it asks the group later.
    ///
    /// # Errors
    /// The broker of the half message could not be reached.
    pub async fn end_transaction(
        &self,
        half: &SendReceipt,
        end: TransactionEnd,
    ) -> Result<(), SendError> {
        let address = self.client.master_of(&half.queue).await?;
        let header = transaction::end_of(&self.group, half, end, &address)?;
        let request = Command::oneway(request_code::END_TRANSACTION).with_header(&header);
        Ok(self.client.remoting().oneway(&address, request).await?)
    }

    /// Tells the brokers that this client has no producer of the group any more.
    ///
    /// # Errors
    /// The first broker's failure; the others were told all the same.
    pub async fn unregister(&self) -> Result<(), CallError> {
        self.client.inner().groups.remove_producer(&self.group);
        self.client.unregister(Some(&self.group), None).await
    }
}

impl Producer {
    async fn send_with_tries(&self, parcel: &Parcel) -> Result<SendReceipt, SendError> {
        let mut last_broker: Option<String> = None;
        let mut tried = 0;
        loop {
            let queue = self.next_queue(&parcel.topic, last_broker.as_deref()).await?;
            tried += 1;
            let outcome = async { self.submit(&queue, parcel).await?.await }.await;
            match outcome {
                Err(error) if error.is_retried() && tried < TRIES => {}
                done => return done,
            }
            last_broker = Some(queue.broker_name);
        }
    }

    /// The next queue of the topic in turn, on another broker than `avoided` if there is one.
    async fn next_queue(
        &self,
        topic: &str,
        avoided: Option<&str>,
    ) -> Result<MessageQueue, SendError> {
        let route = self.client.routes().get_or_borrow(topic).await?;
        let turn = self.turn(topic, route.publish.len());
        pick(&route, turn, avoided)
            .cloned()
            .ok_or_else(|| SendError::NoQueue { topic: topic.to_owned() })
    }

    /// Counts the sends of a topic, from a start drawn at random among its `queues`.
    fn turn(&self, topic: &str, queues: usize) -> usize {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        match turns.get_mut(topic) {
            Some(turn) => {
                *turn = turn.wrapping_add(1);
                *turn
            }
            None => {
                let start = self.client.random_below(queues.max(1));
                turns.insert(topic.to_owned(), start);
                start
            }
        }
    }

    async fn submit(
        &self,
        queue: &MessageQueue,
        parcel: &Parcel,
    ) -> Result<SendInFlight, SendError> {
        let address = self.client.master_of(queue).await?;
        let connection = self.client.connection(&address).await?;
        let request = parcel.request(&self.group, queue.queue_id, self.client.config());
        let code = request.code;
        let after = self.client.config().request_timeout;
        let deadline = Instant::now() + after;
        let response = connection.submit(request)?;
        let origin = Origin { queue: queue.clone(), unique_key: parcel.unique_key.clone() };
        let answered = async move {
            match tokio::time::timeout_at(deadline, response).await {
                Ok(answer) => Ok(receipt(origin, connection.remote(), code, &answer?)?),
                Err(_) => Err(connection.timed_out(code, after).into()),
            }
        };
        Ok(SendInFlight::new(answered))
    }
}

/// The queue whose turn it is, or the first one after it that is not on the `avoided` broker.
fn pick<'a>(route: &'a TopicRoute, turn: usize, avoided: Option<&str>) -> Option<&'a MessageQueue> {
    let queues = &route.publish;
    let start = turn.checked_rem(queues.len())?;
    let in_turn = || queues.iter().cycle().skip(start).take(queues.len());
    let elsewhere = in_turn().find(|queue| avoided != Some(queue.broker_name.as_str()));
    elsewhere.or_else(|| in_turn().next())
}
