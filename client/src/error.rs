//! Errors of the steps that all operations share: connecting, one request, one typed call.
//!
//! Operations with failures of their own (sending, routing) define their own enums beside their
//! code and carry these inside. Each variant is something that a caller can act on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use gantry_codec::{CodecError, response_code};
use thiserror::Error;

/// No connection could be had.
#[derive(Debug, Clone, Error)]
pub enum ConnectError {
    /// The network refused.
    #[error("cannot connect to {address}: {source}")]
    Io {
        /// The address asked for.
        address: String,
        /// What the network said.
        source: Arc<io::Error>,
    },
    /// Nobody answered in time.
    #[error("cannot connect to {address}: no answer within {after:?}")]
    Timeout {
        /// The address asked for.
        address: String,
        /// The time limit.
        after: Duration,
    },
}

/// Why a connection ended; every request that was under way on it gets the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// `close` was called, or the last handle was dropped.
    #[error("closed by this side")]
    Local,
    /// The peer closed.
    #[error("closed by the peer")]
    Peer,
    /// Reading or writing failed.
    #[error("i/o error: {message}")]
    Io {
        /// The kind of the failure.
        kind: io::ErrorKind,
        /// Its text.
        message: Arc<str>,
    },
    /// The peer sent what is not a frame of the protocol.
    #[error("malformed frame: {0}")]
    Malformed(Arc<str>),
    /// The task that drives the connection ended early: its runtime stopped or a handler panicked.
    #[error("the connection's task ended")]
    Abandoned,
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        CloseReason::Io { kind: error.kind(), message: error.to_string().into() }
    }
}

impl From<CodecError> for CloseReason {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Io(error) => error.into(),
            malformed => CloseReason::Malformed(malformed.to_string().into()),
        }
    }
}

/// One request got no answer.
#[derive(Debug, Clone, Error)]
pub enum RequestError {
    /// The connection ended before the answer. Whether the server acted on the request is unknown.
    #[error("connection to {remote} ended: {reason}")]
    Closed {
        /// The server.
        remote: String,
        /// Why the connection ended.
        reason: CloseReason,
    },
    /// No answer in time. Whether the server acted on the request is unknown.
    #[error("{remote} did not answer request {code} within {after:?}")]
    Timeout {
        /// The server.
        remote: String,
        /// The request's code.
        code: i32,
        /// The time limit.
        after: Duration,
    },
    /// Too many unsent bytes wait already; nothing was queued.
    #[error("{queued} bytes wait to be sent to {remote} already")]
    OutboxFull {
        /// The server.
        remote: String,
        /// Bytes waiting.
        queued: usize,
    },
    /// The frame would exceed what the protocol allows; nothing was queued.
    #[error("a frame of {len} bytes exceeds the protocol's limit of {max}")]
    TooLarge {
        /// The frame's length with its length word.
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// A call to one server failed.
#[derive(Debug, Clone, Error)]
pub enum CallError {
    /// A name server is to be asked, and none is configured.
    #[error("no name server is configured")]
    NoNameServer,
    /// The server could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The request got no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server answered with an error code.
    #[error("{remote} refused request {request}: {} ({code}): {remark}", code_name(*code))]
    Refused {
        /// The server.
        remote: String,
        /// The request's code.
        request: i32,
        /// The response code.
        code: i32,
        /// The server's text, empty when it gave none.
        remark: String,
    },
    /// The answer's header or body was not what the request asks for.
    #[error("{remote} answered request {request} with something else: {reason}")]
    Malformed {
        /// The server.
        remote: String,
        /// The request's code.
        request: i32,
        /// What was wrong.
        reason: String,
    },
}

impl CallError {
    /// The response code, when the server answered with one.
    pub fn code(&self) -> Option<i32> {
        match self {
            CallError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

fn code_name(code: i32) -> &'static str {
    response_code::name(code).unwrap_or("unknown code")
}
