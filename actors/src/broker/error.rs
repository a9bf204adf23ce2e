//! Why a broker does not start.

use std::net::SocketAddr;

use gantry_storage::{IndexError, OpenError, QueueError};
use gantry_supervisor::Exit;
use thiserror::Error;

use crate::pop::PopStartError;

/// Why a broker did not start.
#[derive(Debug, Error)]
pub enum BrokerStartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A queue that has to be built again cannot be.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A file of the key index is not as large as configured.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A file of metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] gantry_storage::JsonFileError),
    /// Pops cannot be served.
    #[error(transparent)]
    Pops(#[from] PopStartError),
    /// The advertised host is no address.
    #[error("brokerIP1: {host} cannot be resolved: {reason}")]
    Host {
        /// The host.
        host: String,
        /// Why not.
        reason: String,
    },
    /// A port cannot be opened.
    #[error("cannot listen on {addr}: {reason}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// An actor could not be started.
    #[error("{actor} cannot be started: {reason}")]
    Actor {
        /// Its name.
        actor: &'static str,
        /// Why not.
        reason: Exit,
    },
}

impl BrokerStartError {
    /// Whether it is the store that cannot be opened (exit code 3).
    pub fn is_store(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Queue(_) | Self::Index(_) | Self::Metadata(_))
    }
}
