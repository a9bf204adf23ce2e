//! The seam between the client and the network.
//!
//! A [`Connector`] turns a broker's address into a byte stream; [`TcpConnector`] is the one for
//! real use, a simulator or a test brings its own and keeps everything in one thread and in
//! memory. Nothing else in this crate opens a socket.
//!
//! The stream is boxed: one virtual call for each read or write of a whole burst does not show
//! beside the system call it stands for.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connected byte stream; whatever reads, writes and may move between threads is one.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a [`Connector`] hands back.
pub type BoxedStream = Box<dyn Stream>;

/// A connection attempt under way.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send + 'a>>;

/// Opens byte streams by address (`host:port`).
pub trait Connector: Send + Sync + 'static {
    /// Connects to `address`. The time limit is the caller's affair.
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a>;
}

/// TCP with Nagle's delay off, as every client of the protocol sets it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}
