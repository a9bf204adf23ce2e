//! Why the name server refuses a request.
//!
//! Codes and remarks of these are chosen in `error_to_wire.rs`.

use std::sync::Arc;

use gantry_codec::HeaderError;
use gantry_storage::JsonFileError;
use thiserror::Error;

use super::{announcement::AnnouncementError, settings::UpdateError};

/// See the module's text.
#[derive(Debug, Error)]
pub enum Refusal {
    /// A header field is missing or cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// What a broker said about itself or its topics cannot be used.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// The body is no properties text.
    #[error("the properties cannot be read: {0}")]
    Properties(String),
    /// No broker carries the topic.
    #[error("No topic route info in name server for the topic: {0}")]
    NoRoute(String),
    /// Routes are not given yet.
    #[error("name server not ready")]
    NotReady,
    /// The list is switched off.
    #[error("disable")]
    Disabled,
    /// There is no such key.
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoKey {
        /// The namespace.
        namespace: String,
        /// The key.
        key: String,
    },
    /// There is no such namespace.
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    /// The key-value configuration could not be written; nothing has changed.
    #[error(transparent)]
    KvFile(#[from] JsonFileError),
    /// The settings stay as they are.
    #[error(transparent)]
    Settings(#[from] UpdateError),
    /// A topic was to be added for a group that is not registered.
    #[error("broker {0} is not registered")]
    UnknownBroker(Arc<str>),
    /// The actor that had to answer died with the request.
    #[error("the request was lost by an internal failure, try again")]
    Lost,
}

impl From<actix::MailboxError> for Refusal {
    fn from(_: actix::MailboxError) -> Self {
        Self::Lost
    }
}
