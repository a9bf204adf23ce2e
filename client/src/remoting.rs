//! Calls to servers by address: the pooled connection, the time limit, the judgement of the answer.
//!
//! Everything above (routes, producers, consumers, admin calls) talks to servers through this. It
//! keeps no routes and retries nothing, except that a name server which cannot be reached or does not
//! answer makes it ask the next one and stay there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gantry_codec::{Command, fastjson, response_code};
use serde::de::DeserializeOwned;

use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::connections::Connections;
use crate::error::{CallError, ConnectError};

/// Calls by address over shared connections.
#[derive(Debug)]
pub struct Remoting {
    config: ClientConfig,
    connections: Connections,
    /// Index of the name server that answered last.
    namesrv: AtomicUsize,
}

impl Remoting {
    pub(crate) fn new(config: ClientConfig) -> Remoting {
        Remoting { config, connections: Connections::default(), namesrv: AtomicUsize::new(0) }
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The live connection to `address`, opened if need be.
    ///
    /// # Errors
    /// The network's refusal or its silence.
    pub async fn connection(&self, address: &str) -> Result<Connection, ConnectError> {
        self.connections.get(address, &self.config).await
    }

    /// Sends a request and returns the answer, whatever its code.
    ///
    /// # Errors
    /// Connect or Request.
    pub async fn ask(
        &self,
        address: &str,
        mut request: Command,
        timeout: Duration,
    ) -> Result<Command, CallError> {
        request.serialize_type = self.config.serialize_type;
        let connection = self.connection(address).await?;
        Ok(connection.request(request, timeout).await?)
    }

    /// Sends a request and returns the answer if its code is SUCCESS, within the configured time.
    ///
    /// # Errors
    /// Connect, Request, or Refused for any other code.
    pub async fn call(&self, address: &str, request: Command) -> Result<Command, CallError> {
        let code = request.code;
        let answer = self.ask(address, request, self.config.request_timeout).await?;
        accept(address, code, answer)
    }

    /// Sends a request that gets no answer.
    ///
    /// # Errors
    /// Connect or Request; without one the request is on its way, no more.
    pub async fn oneway(&self, address: &str, mut request: Command) -> Result<(), CallError> {
        request.serialize_type = self.config.serialize_type;
        Ok(self.connection(address).await?.oneway(request)?)
    }

    /// Calls one name server: the one that answered last, then the others in turn.
    ///
    /// # Errors
    /// NoNameServer without a configured one; else the last one's failure. A refusal is an answer, and
    /// no reason to ask another server.
    pub async fn call_namesrv(&self, request: Command) -> Result<Command, CallError> {
        let servers = &self.config.namesrv;
        let first = self.namesrv.load(Ordering::Relaxed);
        let mut failure = CallError::NoNameServer;
        for number in 0..servers.len() {
            let index = first.wrapping_add(number) % servers.len();
            match self.call(&servers[index], request.clone()).await {
                Err(error @ (CallError::Connect(_) | CallError::Request(_))) => failure = error,
                answered => {
                    self.namesrv.store(index, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(failure)
    }

    pub(crate) fn close(&self) {
        self.connections.close_all();
    }
}

/// The answer if its code is SUCCESS.
pub(crate) fn accept(remote: &str, request: i32, answer: Command) -> Result<Command, CallError> {
    if answer.code == response_code::SUCCESS {
        Ok(answer)
    } else {
        Err(refused(remote, request, &answer))
    }
}

pub(crate) fn refused(remote: &str, request: i32, answer: &Command) -> CallError {
    CallError::Refused {
        remote: remote.to_owned(),
        request,
        code: answer.code,
        remark: answer.remark.as_deref().unwrap_or_default().to_owned(),
    }
}

/// An answer's JSON body.
pub(crate) fn json_body<T: DeserializeOwned>(
    remote: &str,
    request: i32,
    answer: &Command,
) -> Result<T, CallError> {
    fastjson::from_slice(&answer.body).map_err(|error| malformed(remote, request, error))
}

/// An answer that lacks what the request asks for.
pub(crate) fn malformed(remote: &str, request: i32, reason: impl std::fmt::Display) -> CallError {
    CallError::Malformed { remote: remote.to_owned(), request, reason: reason.to_string() }
}
