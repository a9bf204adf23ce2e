//! A client of the remoting protocol: producers, consumers and administration, for gantry and for
//! every other broker that speaks it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gantry_client::{Client, ClientConfig, Message, PullRequest};
//!
//! let client = Client::new(ClientConfig::with_namesrv("127.0.0.1:9876"));
//! let receipt = client.producer("group").send(&Message::new("topic", "hello")).await?;
//! let pull = PullRequest::new(receipt.queue, receipt.queue_offset);
//! let pulled = client.pull_consumer("readers").pull(&pull).await?;
//! assert_eq!(pulled.messages[0].body, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! | where | what |
//! |---|---|
//! | `config`, `clock`, `transport` | settings, and the seams: calendar time, network, randomness |
//! | `connection` | one connection: requests and answers by opaque, the server's own requests |
//! | `connections`, `remoting` | connections by address; calls with time limit and judged answer |
//! | `route` | where a topic's queues are, cached |
//! | `client`, `heartbeat` | what producers and consumers share; what brokers are told of them |
//! | `producer`, `consumer`, `offsets`, `admin`, `group_admin` | the operations |
//! | `push` | a member of a group: its share of the queues, pushed to a handler |
//! | `transaction` | a producer of transactions, asked for those whose outcome is not known |
//! | `message` | messages as sent and as stored |
//! | [`burst`] | the hot path for load generators, beside all of the above |
//!
//! Everything runs on the tokio runtime that it is called in, a single-threaded one included. Time
//! limits use tokio's clock, random choices the configured seed, the network is a [`Connector`]: a
//! simulator controls all three.
//!
//! This crate must not know how a broker works inside: it depends on the codec alone.

pub mod burst;

mod admin;
mod client;
mod clock;
mod config;
mod connection;
mod connections;
mod consumer;
mod error;
mod group_admin;
mod heartbeat;
mod message;
mod offsets;
mod producer;
mod push;
mod remoting;
mod route;
mod transaction;
mod transport;

pub use admin::{Admin, TopicSpec};
pub use client::{Client, QueueError};
pub use clock::WallClock;
pub use config::ClientConfig;
pub use connection::{Connection, Inbound, NotSupported, Response};
pub use consumer::{Filter, PullConsumer, PullRequest, PullResult, PullStatus};
pub use error::{CallError, CloseReason, ConnectError, RequestError};
pub use gantry_codec::body::MessageQueue;
pub use group_admin::ClientOffsets;
pub use message::{Message, MessageExt};
pub use producer::{Producer, SendError, SendInFlight, SendReceipt, SendStatus, TransactionEnd};
pub use push::{Handler, Handling, PushConfig, PushConsumer, PushStartError, Verdict};
pub use remoting::Remoting;
pub use route::{RouteCache, RouteError, TEMPLATE_TOPIC, TopicRoute};
pub use transaction::{Checker, Checking, TransactionProducer};
pub use transport::{BoxedStream, Connecting, Connector, Stream, TcpConnector};
