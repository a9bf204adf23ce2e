//! Sockets and the codec actor: everything between the bytes of a peer and a [`Service`].
//!
//! Owns: the listening sockets ([`listener`]), one actor per connection ([`connection`]), the read
//! side that turns bytes into bursts of commands ([`burst`]), the write side that turns replies into
//! one vectored write per wake-up ([`outbox`]), and the seam to the operating system's network
//! ([`network`]). Knows nothing of topics, logs or groups: what a request means is the business of
//! the [`Service`] that a port was opened with.
//!
//! Invariants: a connection answers every two-way request once or closes; it never holds more unread
//! input or unsent output than its limits; a panic inside one connection ends that connection alone.

pub mod burst;
pub mod connection;
pub mod listener;
pub mod network;
pub mod outbox;
pub mod service;

pub use connection::{Connection, ConnectionLimits};
pub use listener::{Listener, PortSpec, io_threads};
pub use network::{Acceptor, Network, TcpNetwork};
pub use outbox::Outbox;
pub use service::{
    AskError, ConnectionHandle, ConnectionId, Deliver, NoEvent, Outcome, Service, ServiceFactory,
};
