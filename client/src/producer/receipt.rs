//! What comes of a send: the receipt, the error, and the future of either.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use gantry_codec::body::MessageQueue;
use gantry_codec::requests::send::SendResponse;
use gantry_codec::{Command, Header, response_code};
use thiserror::Error;

use crate::error::{CallError, ConnectError, RequestError};
use crate::remoting::{malformed, refused};
use crate::route::RouteError;

/// Codes after which another broker may take the message.
const RETRIED_CODES: [i32; 7] = [
    response_code::SYSTEM_ERROR,
    response_code::SYSTEM_BUSY,
    response_code::SERVICE_NOT_AVAILABLE,
    response_code::NO_PERMISSION,
    response_code::TOPIC_NOT_EXIST,
    NO_BUYER_ID,
    NOT_IN_CURRENT_UNIT,
];

/// Codes of old brokers, retried by every client.
const NO_BUYER_ID: i32 = 204;
const NOT_IN_CURRENT_UNIT: i32 = 205;

/// A message was not sent, or it is not known whether it was.
#[derive(Debug, Clone, Error)]
pub enum SendError {
    /// The topic's queues could not be found.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The topic has brokers, but no queue that may be written to.
    #[error("topic {topic} has no queue to send to")]
    NoQueue {
        /// The topic.
        topic: String,
    },
    /// A batch without messages, or with messages of different topics.
    #[error("a batch must hold messages of one topic, and at least one")]
    NotABatch,
    /// The properties of a batch's message do not fit into their length field.
    #[error("a message of the batch has {len} bytes of properties")]
    Properties {
        /// Their length.
        len: usize,
    },
    /// The broker could not be reached, did not answer, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        SendError::Call(error.into())
    }
}

impl From<RequestError> for SendError {
    fn from(error: RequestError) -> Self {
        SendError::Call(error.into())
    }
}

impl SendError {
    /// Whether another broker may take the message.
    pub(super) fn is_retried(&self) -> bool {
        match self {
            SendError::Call(CallError::Connect(_) | CallError::Request(_)) => true,
            SendError::Call(error) => {
                error.code().is_some_and(|code| RETRIED_CODES.contains(&code))
            }
            _ => false,
        }
    }
}

/// How safely a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As safely as the broker is set up to do.
    Stored,
    /// Stored; it could not be flushed to disk in time.
    FlushDiskTimeout,
    /// Stored; the slave did not have it in time.
    FlushSlaveTimeout,
    /// Stored; there is no slave.
    SlaveNotAvailable,
}

/// Where a message is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    /// How safely it is stored.
    pub status: SendStatus,
    /// The producer's id of the message (of a batch: the first one's).
    pub unique_key: String,
    /// The broker's id of this copy (of a batch: all of them, joined by commas).
    pub offset_message_id: String,
    /// The queue.
    pub queue: MessageQueue,
    /// The place in the queue (of a batch: the first one's).
    pub queue_offset: i64,
}

/// A send under way; its output is the receipt. Dropping it gives the answer up, not the message.
#[must_use = "dropping it gives the answer up"]
pub struct SendInFlight(Pin<Box<dyn Future<Output = Result<SendReceipt, SendError>> + Send>>);

impl SendInFlight {
    pub(super) fn new(
        answered: impl Future<Output = Result<SendReceipt, SendError>> + Send + 'static,
    ) -> SendInFlight {
        SendInFlight(Box::pin(answered))
    }
}

impl Future for SendInFlight {
    type Output = Result<SendReceipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for SendInFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendInFlight").finish_non_exhaustive()
    }
}

/// What a receipt says that the answer does not.
pub(super) struct Origin {
    pub(super) queue: MessageQueue,
    pub(super) unique_key: String,
}

/// Reads the answer to a send. The broker may have chosen another queue than the one asked for.
pub(super) fn receipt(
    origin: Origin,
    remote: &str,
    request: i32,
    answer: &Command,
) -> Result<SendReceipt, CallError> {
    let status = match answer.code {
        response_code::SUCCESS => SendStatus::Stored,
        response_code::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response_code::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response_code::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        _ => return Err(refused(remote, request, answer)),
    };
    let header =
        SendResponse::decode(&answer.ext).map_err(|error| malformed(remote, request, error))?;
    Ok(SendReceipt {
        status,
        unique_key: origin.unique_key,
        offset_message_id: header.msg_id,
        queue: MessageQueue { queue_id: header.queue_id, ..origin.queue },
        queue_offset: header.queue_offset,
    })
}
