//! The write side of a connection: replies gathered, then sent by one vectored write per wake-up.
//!
//! Owned by one connection. Small replies are encoded one behind the other into a single buffer;
//! large bodies (slices of the mapped log, mostly) are queued as they are, never copied.
//! Invariant: bytes leave in the order in which they were put in. The outbox itself has no limit;
//! the connection stops reading its peer above its high-water mark, and closes when nothing moves.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use gantry_codec::Command;

use super::network::ByteStream;

/// Bodies below this are copied behind their header: one `iovec` more costs about as much as copying
/// this many bytes.
const COPY_BYTES_MAX: usize = 4096;
/// Slices per vectored write.
const SLICES_MAX: usize = 64;
/// A buffer that grew beyond this is given back once it has been written out.
const KEEP_BYTES_MAX: usize = 256 * 1024;

/// Replies on their way to the socket.
#[derive(Default)]
pub struct Outbox {
    /// Complete pieces, oldest first, all before `tail`.
    sealed: VecDeque<Bytes>,
    sealed_bytes: usize,
    /// Where heads and small bodies are encoded; `tail_sent` bytes of it are out already.
    tail: BytesMut,
    tail_sent: usize,
}

impl Outbox {
    /// Bytes not yet taken by the socket.
    pub fn len(&self) -> usize {
        self.sealed_bytes + self.tail.len() - self.tail_sent
    }

    /// Whether everything has been taken by the socket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer into which whole frames, or the head of a frame whose body follows, are encoded.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Queues a whole command.
    pub fn command(&mut self, command: &Command) {
        if command.body.len() < COPY_BYTES_MAX {
            command.encode(&mut self.tail);
        } else {
            command.encode_head(command.body.len(), &mut self.tail);
            self.body(command.body.clone());
        }
    }

    /// Queues a piece of a body behind what is in the buffer.
    pub fn body(&mut self, piece: Bytes) {
        if piece.len() < COPY_BYTES_MAX {
            self.tail.extend_from_slice(&piece);
            return;
        }
        self.seal_tail();
        self.sealed_bytes += piece.len();
        self.sealed.push_back(piece);
    }

    fn seal_tail(&mut self) {
        self.tail.advance(std::mem::take(&mut self.tail_sent));
        if !self.tail.is_empty() {
            self.sealed_bytes += self.tail.len();
            self.sealed.push_back(self.tail.split().freeze());
        }
    }

    /// Writes until nothing is left or the socket takes no more. Returns the bytes written in this
    /// call; `Pending` only if the socket is full and nothing was written.
    pub fn poll_write(
        &mut self,
        stream: &mut dyn ByteStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        while !self.is_empty() {
            match self.write_once(stream, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.sent(n);
                    written += n;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending if written == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn write_once(
        &self,
        stream: &mut dyn ByteStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        let tail = self.tail.get(self.tail_sent..).unwrap_or_default();
        if self.sealed.is_empty() {
            return stream.poll_write(cx, tail);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let pieces = self.sealed.iter().map(|b| b.as_ref()).chain(std::iter::once(tail));
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        stream.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
    }

    fn sent(&mut self, mut n: usize) {
        while n > 0 {
            let Some(front) = self.sealed.front_mut() else { break };
            let step = n.min(front.len());
            front.advance(step);
            self.sealed_bytes -= step;
            n -= step;
            if front.is_empty() {
                self.sealed.pop_front();
            }
        }
        self.tail_sent += n;
        assert!(self.tail_sent <= self.tail.len(), "more bytes sent than queued");
        if self.tail_sent == self.tail.len() {
            self.tail_sent = 0;
            if self.tail.capacity() > KEEP_BYTES_MAX {
                self.tail = BytesMut::new();
            } else {
                self.tail.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    /// Takes at most `room` bytes, in steps of at most `step`.
    struct Narrow {
        taken: Vec<u8>,
        step: usize,
        room: usize,
    }

    impl AsyncRead for Narrow {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.step).min(self.room);
            if n == 0 {
                return Poll::Pending;
            }
            self.room -= n;
            self.taken.extend_from_slice(&buf[..n]);
            Poll::Ready(Ok(n))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes() {
        for step in [1, 3, 700, 5000, 1 << 20] {
            let mut out = Outbox::default();
            let mut want = Vec::new();
            for i in 0..40u8 {
                out.buffer().extend_from_slice(&[i; 9]);
                want.extend_from_slice(&[i; 9]);
                let len = if i % 3 == 0 { COPY_BYTES_MAX + usize::from(i) } else { usize::from(i) };
                out.body(Bytes::from(vec![i; len]));
                want.extend(std::iter::repeat_n(i, len));
            }
            assert_eq!(out.len(), want.len());
            let mut socket = Narrow { taken: Vec::new(), step, room: 0 };
            let mut cx = Context::from_waker(Waker::noop());
            while !out.is_empty() {
                socket.room = 10_001;
                let before = out.len();
                let n = match out.poll_write(&mut socket, &mut cx) {
                    Poll::Ready(n) => n.unwrap(),
                    Poll::Pending => panic!("there was room"),
                };
                assert_eq!(before - n, out.len());
                out.buffer().extend_from_slice(b"more");
                want.extend_from_slice(b"more");
                if want.len() > 200_000 {
                    break;
                }
            }
            socket.room = usize::MAX;
            assert!(out.is_empty() || out.poll_write(&mut socket, &mut cx).is_ready());
            assert_eq!(socket.taken, want);
        }
    }

    #[test]
    fn a_full_socket_is_pending_and_loses_nothing() {
        let mut out = Outbox::default();
        out.body(Bytes::from(vec![7; 10_000]));
        let mut socket = Narrow { taken: Vec::new(), step: 4000, room: 0 };
        let mut cx = Context::from_waker(Waker::noop());
        assert!(out.poll_write(&mut socket, &mut cx).is_pending());
        assert_eq!(out.len(), 10_000);
        socket.room = 6000;
        assert!(matches!(out.poll_write(&mut socket, &mut cx), Poll::Ready(Ok(6000))));
        assert_eq!(out.len(), 4000);
    }
}
