//! Why a benchmark could not be run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use gantry_client::CallError;
use gantry_client::burst::TemplateError;
use thiserror::Error;

use crate::process::ProcessError;

/// A benchmark that did not start, or whose measurements could not be taken. What goes wrong with
/// single requests or connections under load is part of the result, not of this.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A call to set things up failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The messages to pull could not all be sent.
    #[error("cannot fill the queues: {reason}")]
    Fill {
        /// What went wrong.
        reason: String,
    },
    /// A connection was lost, or could not be made, outside of any load.
    #[error("{address}: {reason}")]
    Lost {
        /// Where to.
        address: String,
        /// What happened.
        reason: String,
    },
    /// No broker to put load on.
    #[error("the name server knows no broker that could carry topic {topic}")]
    NoBroker {
        /// The topic.
        topic: String,
    },
    /// Nothing to pull.
    #[error("no messages in the {queues} queues asked; send some first, or use --fill")]
    NothingStored {
        /// How many queues were looked at.
        queues: usize,
    },
    /// A request cannot be made into a template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A body too short for what has to stand in it.
    #[error("--size {size} is too small, at least {min} bytes are needed here")]
    Size {
        /// The size asked for.
        size: usize,
        /// The smallest possible.
        min: usize,
    },
    /// The broker's process cannot be read.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The system gives no thread or runtime.
    #[error("cannot start a load thread: {0}")]
    Thread(io::Error),
    /// The floor cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The floor's file cannot be made or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
