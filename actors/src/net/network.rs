//! The seam to the network: how sockets are opened and how bytes move.
//!
//! Real daemons use [`TcpNetwork`]; a simulator puts its own [`Network`] under the same listener and
//! connection actors. A connection is accepted on one thread and served on another, so an accepted
//! connection is [`Accepted`], not yet tied to a thread's event loop, until `attach` is called there.
//! Cost on the hot path: one indirect call per read or write of a whole burst.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

/// A two-way stream of bytes.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

/// A connection that was accepted and is not yet served.
pub struct Accepted {
    /// The peer, IPv4-mapped addresses as IPv4 (old clients cannot read the mapped form).
    pub remote: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
    /// Ties the connection to the calling thread's event loop.
    pub attach: Attach,
}

/// See [`Accepted::attach`].
pub type Attach = Box<dyn FnOnce() -> io::Result<Box<dyn ByteStream>> + Send>;

/// A listening socket.
pub trait Acceptor: Unpin + Send {
    /// The address that it is bound to, with the port that the system chose if it was 0.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The next connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>>;
}

/// Opens listening sockets on the calling thread's event loop.
pub trait Network: Send + Sync {
    /// Listens on `addr`; port 0 lets the system choose.
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Acceptor>>;
}

/// The operating system's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

impl Network for TcpNetwork {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Acceptor>> {
        let socket = match addr {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(Box::new(TcpAcceptor(socket.listen(1024)?)))
    }
}

struct TcpAcceptor(TcpListener);

impl Acceptor for TcpAcceptor {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let (stream, remote) = std::task::ready!(self.0.poll_accept(cx))?;
        // The peer may be gone already; that is its failure, not the listener's.
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr()?;
        let stream = stream.into_std()?;
        let attach: Attach = Box::new(move || {
            TcpStream::from_std(stream).map(|s| Box::new(s) as Box<dyn ByteStream>)
        });
        Poll::Ready(Ok(Accepted { remote: plain(remote), local: plain(local), attach }))
    }
}

/// An IPv4-mapped IPv6 address as the IPv4 address that it stands for.
fn plain(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), addr.port()),
            None => addr,
        },
        IpAddr::V4(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mapped: SocketAddr = "[::ffff:10.0.0.7]:99".parse().unwrap();
        assert_eq!(plain(mapped), "10.0.0.7:99".parse().unwrap());
        let v6: SocketAddr = "[2001:db8::1]:99".parse().unwrap();
        assert_eq!(plain(v6), v6);
    }
}
