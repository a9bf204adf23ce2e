//! What a port serves: the trait between the codec actor and the meaning of requests.
//!
//! A [`Service`] is a plain struct, one per connection, made on the connection's own thread and
//! called by it alone; it needs no locks and no mailbox. Replies that are ready at once go straight
//! into the [`Outbox`] or come back as a [`Command`]; replies that other actors have to work for come
//! back as a future, or as an event of the service's own type ([`Deliver`]).

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use actix::{Message, Recipient};
use futures_util::future::LocalBoxFuture;
use gantry_codec::Command;
use thiserror::Error;

use super::Outbox;

/// Number of a connection, unique within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An order from the server to one connection.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Push {
    /// Send this request one-way; the connection assigns the opaque.
    Oneway(Box<Command>),
    /// Send this request and hand its answer to the sender half.
    Ask(Box<Command>, tokio::sync::oneshot::Sender<Command>, Duration),
    /// Close, after what is in the outbox has been tried once.
    Close(&'static str),
    /// Panic; for tests of the supervision.
    Panic,
}

/// Why a request of the server to a client brought no answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AskError {
    /// The connection ended first.
    #[error("connection to {0} closed")]
    Closed(SocketAddr),
    /// The client did not answer in time.
    #[error("no answer from {0} within {1:?}")]
    Timeout(SocketAddr, Duration),
}

/// A connection as other actors see it: cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct ConnectionHandle(Arc<Inner>);

struct Inner {
    id: ConnectionId,
    remote: SocketAddr,
    local: SocketAddr,
    push: Recipient<Push>,
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} from {}", self.0.id, self.0.remote)
    }
}

impl PartialEq for ConnectionHandle {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl ConnectionHandle {
    /// A handle whose orders go to `push`. Tests give a recipient of their own.
    pub fn new(
        id: ConnectionId,
        remote: SocketAddr,
        local: SocketAddr,
        push: Recipient<Push>,
    ) -> Self {
        Self(Arc::new(Inner { id, remote, local, push }))
    }

    /// The connection's number.
    pub fn id(&self) -> ConnectionId {
        self.0.id
    }

    /// The peer's address, IPv4-mapped IPv6 addresses already as IPv4.
    pub fn remote(&self) -> SocketAddr {
        self.0.remote
    }

    /// Our side's address.
    pub fn local(&self) -> SocketAddr {
        self.0.local
    }

    /// Sends a one-way request to the peer; nothing happens if the connection is gone.
    pub fn push(&self, command: Command) {
        self.0.push.do_send(Push::Oneway(Box::new(command)));
    }

    /// Sends a request to the peer and waits for its answer.
    pub async fn ask(&self, command: Command, timeout: Duration) -> Result<Command, AskError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.0.push.do_send(Push::Ask(Box::new(command), sender, timeout));
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Closed(self.0.remote)),
            Err(_) => Err(AskError::Timeout(self.0.remote, timeout)),
        }
    }

    /// Closes the connection; `reason` is logged.
    pub fn close(&self, reason: &'static str) {
        self.0.push.do_send(Push::Close(reason));
    }

    /// Makes the connection's actor panic; for tests of the supervision.
    pub fn panic(&self) {
        self.0.push.do_send(Push::Panic);
    }
}

/// What becomes of a request.
pub enum Outcome {
    /// Answer now.
    Reply(Command),
    /// Answer when the future is done; the connection serves others meanwhile.
    Later(LocalBoxFuture<'static, Command>),
    /// When the future is done, either put the request to the service once more (something it lacked
    /// has been made) or answer.
    Again(LocalBoxFuture<'static, Result<Command, Command>>),
    /// Nothing to answer, or the answer is in the outbox, or it will come with an event.
    None,
}

/// An event of a service's own type, delivered to it by the connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver<E: Send + 'static>(pub E);

/// The event type of services that have none.
#[derive(Debug)]
pub enum NoEvent {}

/// What a port serves; see the module's text.
pub trait Service: Unpin + 'static {
    /// What other actors send back to this service; [`NoEvent`] if nothing.
    type Event: Send + 'static;

    /// Called once before anything else: where events for this service go.
    fn opened(&mut self, _conn: &ConnectionHandle, _events: Recipient<Deliver<Self::Event>>) {}

    /// One request. A reply to a one-way request is dropped by the connection.
    fn request(&mut self, cmd: Command, conn: &ConnectionHandle, out: &mut Outbox) -> Outcome;

    /// All requests of one burst have been put: hand on what was gathered.
    fn burst_end(&mut self, _conn: &ConnectionHandle, _out: &mut Outbox) {}

    /// An event for this service.
    fn event(&mut self, event: Self::Event, conn: &ConnectionHandle, out: &mut Outbox);

    /// A request of this code has been answered by other than an entry of the service's own into the
    /// outbox.
    fn answered(&mut self, _request_code: i32, _reply: &Command) {}

    /// Bytes of input that this service still holds; the connection stops reading above its limit.
    fn held_bytes(&self) -> usize {
        0
    }

    /// The connection is gone.
    fn closed(&mut self, _conn: &ConnectionHandle) {}
}

/// Makes the service of a new connection, on the connection's thread.
pub type ServiceFactory<S> = Arc<dyn Fn(&ConnectionHandle) -> S + Send + Sync>;
