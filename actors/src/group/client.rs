//! A client as its heartbeats introduce it, consumer or producer.

use std::sync::Arc;

use gantry_codec::{Language, body::ClientConnection};

use crate::net::ConnectionHandle;

/// One client on one connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The connection on which it sends its heartbeats; requests of the server go there.
    pub connection: ConnectionHandle,
    /// The name that it gave itself.
    pub id: Arc<str>,
    /// The language of its library.
    pub language: Language,
    /// The version of its library (wire.md 1.5).
    pub version: i32,
}

impl Client {
    /// The client as administrators see it.
    pub fn describe(&self) -> ClientConnection {
        ClientConnection {
            client_id: self.id.to_string(),
            client_addr: self.connection.remote().to_string(),
            language: self.language,
            version: self.version,
        }
    }
}
