//! Transactions: a message that consumers see if and only if a local transaction succeeded.
//!
//! ```text
//! send ── half message ──→ broker           consumers do not see it
//!      ── local transaction: Commit, Rollback or Unknown
//!      ── its outcome (37) ──→ broker       consumers see it, or never
//!      ←── what has become of it? (39) ── broker, if it was not told ──→ the checker
//! ```
//!
//! The outcome has to be looked up from somewhere that outlives this process: whoever of the group the
//! broker asks has to know it, and a producer may die between its local transaction and its word.
//!
//! | file | what |
//! |---|---|
//! | `checker` | who knows what became of a transaction |
//! | `questions` | what brokers ask of the producer |

mod checker;
mod questions;

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::checker::{Checker, Checking};
use self::questions::Questions;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::CallError;
use crate::message::Message;
use crate::producer::{Producer, SendError, SendReceipt, TransactionEnd};

/// A producer of transactions, with a client of its own. Dropping it ends it as a crash would: the brokers
/// ask other members of its group for what it leaves open.
#[derive(Debug)]
pub struct TransactionProducer {
    client: Client,
    producer: Producer,
    /// Topics whose brokers know of this producer.
    known_at: Mutex<HashSet<String>>,
}

impl TransactionProducer {
    /// A producer of the group; `checker` is asked by the brokers for transactions of any of its members.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        mut config: ClientConfig,
        group: &str,
        checker: impl Checker,
    ) -> TransactionProducer {
        let questions = Questions::new(group, Arc::new(checker), Arc::clone(&config.inbound));
        config.inbound = Arc::new(questions);
        let client = Client::new(config);
        let producer = client.producer(group);
        TransactionProducer { client, producer, known_at: Mutex::default() }
    }

    /// The client that it works with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The producer of its half messages.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Sends the message as a half message, runs the local transaction, and tells the broker its outcome.
    ///
    /// The word about the outcome may be lost on its way; the broker then asks for it.
    ///
    /// # Errors
    /// The half message was not stored, or nobody knows whether it was: `local` has not been run. That the
    /// outcome could not be told is no error.
    pub async fn send<L>(
        &self,
        message: Message,
        local: impl FnOnce(SendReceipt) -> L,
    ) -> Result<(SendReceipt, TransactionEnd), SendError>
    where
        L: Future<Output = TransactionEnd>,
    {
        let receipt = self.send_half(message).await?;
        let end = local(receipt.clone()).await;
        // Not told, it is asked for.
        let _ = self.producer.end_transaction(&receipt, end).await;
        Ok((receipt, end))
    }

    /// Sends a half message alone; [`Producer::end_transaction`] tells its outcome.
    ///
    /// # Errors
    /// It was not stored, or nobody knows whether it was.
    pub async fn send_half(&self, message: Message) -> Result<SendReceipt, SendError> {
        self.introduce(&message.topic).await?;
        self.producer.send_half(message).await
    }

    /// Has the brokers of a topic know of this producer, so that they can ask it: what its group has left
    /// open, for instance. Sending does that by itself.
    ///
    /// # Errors
    /// The topic has no route.
    pub async fn introduce(&self, topic: &str) -> Result<(), SendError> {
        if self.known_at.lock().unwrap_or_else(PoisonError::into_inner).contains(topic) {
            return Ok(());
        }
        self.client.routes().get_or_borrow(topic).await?;
        // Who does not hear it now is told with the next heartbeat.
        if self.client.heartbeat().await.is_ok() {
            let mut known = self.known_at.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(topic.to_owned());
        }
        Ok(())
    }

    /// Leaves in order: the brokers ask others from now on.
    ///
    /// # Errors
    /// A broker that could not be told; it learns of it when the connection ends.
    pub async fn stop(self) -> Result<(), CallError> {
        let told = self.producer.unregister().await;
        self.client.close();
        told
    }
}
