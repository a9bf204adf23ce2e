//! Why a command failed: what was asked of whom, and what was wrong.

use std::{io, process::ExitCode};

use gantry_client::{CallError, QueueError, RouteError, SendError};
use thiserror::Error;

/// See the module's text.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The flags do not go together, or a value is none.
    #[error("{0} (try --help)")]
    Usage(String),
    /// No name server is named.
    #[error("no name server in {0:?}: -n takes HOST:PORT, several separated by semicolons")]
    NoNameServer(String),
    /// The name servers know no broker that could be asked.
    #[error("the name servers at {namesrv} know no {what}")]
    NoBroker {
        /// The name servers.
        namesrv: String,
        /// What was looked for.
        what: String,
    },
    /// What is asked for does not exist on any broker.
    #[error("{0}")]
    NotFound(String),
    /// What was found cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A name server or broker did not do what it was asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The broker of a queue did not.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A topic cannot be found.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A message was not sent again; what was done before it.
    #[error("{what}, after {done} messages: {source}")]
    Send {
        /// Which message.
        what: String,
        /// How many were sent before.
        done: u64,
        /// Why.
        source: Box<SendError>,
    },
    /// The runtime could not be started.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl AdminError {
    /// 2 for bad usage, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::NoNameServer(_) => 2,
            _ => 1,
        })
    }
}
