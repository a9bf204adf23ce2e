//! The read side of a connection: bytes become bursts of whole frames.
//!
//! One item of the [`BurstReader`] stream is every frame that is complete in the read buffer, split
//! off once; the frames and their bodies are slices of that one allocation. Bounded by construction:
//! the buffer grows with the bytes that came, never with a length that the peer announced, and a
//! burst ends at [`BURST_BYTES_MAX`]. Closing the [`Gate`] stops reading, which is how a connection
//! that holds too much unsent output or unfinished input is held back.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use gantry_codec::frame::{self, FrameError};
use thiserror::Error;
use tokio_util::io::poll_read_buf;

use super::network::ByteStream;

/// A burst is handed on once it has this many bytes (a single larger frame is a burst of its own).
pub const BURST_BYTES_MAX: usize = 256 * 1024;
/// Frames in one burst.
pub const BURST_FRAMES_MAX: usize = 1024;
/// First read of an idle connection; 5,000 idle connections cost 20 MB at most.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 128 * 1024;

/// The stream that the read and the write side share; both live on one thread.
pub(super) type SharedStream = Rc<RefCell<Box<dyn ByteStream>>>;

/// Whole frames, back to back, each with its length word.
#[derive(Debug)]
pub struct Burst {
    /// The frames.
    pub bytes: Bytes,
    /// How many they are.
    pub frames: usize,
}

/// Why reading ended with other than a close between two frames.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The peer sent what cannot be a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer closed in the middle of a frame.
    #[error("closed within a frame after {0} bytes of it")]
    Truncated(usize),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Lets the owner of a [`BurstReader`] stop and resume it.
#[derive(Default)]
pub struct Gate {
    closed: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Gate {
    /// Whether reading is stopped.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Stops or resumes reading.
    pub fn set_closed(&self, closed: bool) {
        self.closed.set(closed);
        if !closed && let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// See the module's text.
pub struct BurstReader {
    stream: SharedStream,
    gate: Rc<Gate>,
    buffer: BytesMut,
    read_bytes: usize,
    ended: bool,
}

impl BurstReader {
    /// Reads from `stream` while `gate` is open.
    pub(super) fn new(stream: SharedStream, gate: Rc<Gate>) -> Self {
        Self { stream, gate, buffer: BytesMut::new(), read_bytes: READ_BYTES_MIN, ended: false }
    }

    /// One read; the number of bytes that came, 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(self.read_bytes);
        let room = self.buffer.capacity() - self.buffer.len();
        let mut stream = self.stream.borrow_mut();
        let n = ready!(poll_read_buf(Pin::new(&mut **stream), cx, &mut self.buffer))?;
        // Grow with what really comes, shrink for connections that went quiet.
        if n >= room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if n < self.read_bytes / 8 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(n))
    }

    fn take_frames(&mut self) -> Result<Option<Burst>, FrameError> {
        let complete = frame::complete_frames(&self.buffer, BURST_FRAMES_MAX)?;
        if complete.frames == 0 {
            return Ok(None);
        }
        let bytes = self.buffer.split_to(complete.bytes).freeze();
        Ok(Some(Burst { bytes, frames: complete.frames }))
    }
}

impl Stream for BurstReader {
    type Item = Result<Burst, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if this.gate.closed.get() {
            this.gate.waker.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        // Read until the socket is empty or the burst is large enough: one wake-up, one burst.
        let end = loop {
            if this.buffer.len() >= BURST_BYTES_MAX && this.has_frame() {
                break None;
            }
            match this.poll_fill(cx) {
                Poll::Pending => break None,
                Poll::Ready(Ok(0)) => break Some(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => break Some(Err(e)),
            }
        };
        match this.take_frames() {
            Ok(Some(burst)) => return Poll::Ready(Some(Ok(burst))),
            Ok(None) => {}
            Err(e) => return this.end_with(Some(e.into())),
        }
        match end {
            None => Poll::Pending,
            Some(Ok(())) if this.buffer.is_empty() => this.end_with(None),
            Some(Ok(())) => this.end_with(Some(ReadError::Truncated(this.buffer.len()))),
            Some(Err(e)) => this.end_with(Some(e.into())),
        }
    }
}

impl BurstReader {
    /// Whether a decision is due: a whole frame, or bytes that cannot become one.
    fn has_frame(&self) -> bool {
        !matches!(frame::complete_frames(&self.buffer, 1), Ok(c) if c.frames == 0)
    }

    fn end_with(&mut self, error: Option<ReadError>) -> Poll<Option<Result<Burst, ReadError>>> {
        self.ended = true;
        self.buffer = BytesMut::new();
        Poll::Ready(error.map(Err))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use gantry_codec::Command;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn reader(stream: tokio::io::DuplexStream) -> (BurstReader, Rc<Gate>) {
        let gate = Rc::new(Gate::default());
        let stream: Box<dyn ByteStream> = Box::new(stream);
        (BurstReader::new(Rc::new(RefCell::new(stream)), gate.clone()), gate)
    }

    fn frame_of(opaque: i32, body: usize) -> BytesMut {
        let mut command = Command::request(10).with_body(vec![b'x'; body]);
        command.opaque = opaque;
        let mut out = BytesMut::new();
        command.encode(&mut out);
        out
    }

    #[tokio::test]
    async fn frames_written_together_are_one_burst() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let (mut bursts, _gate) = reader(near);
        for i in 0..7 {
            far.write_all(&frame_of(i, 100)).await.unwrap();
        }
        let whole = frame_of(7, 3000);
        far.write_all(&whole[..50]).await.unwrap();
        assert_eq!(bursts.next().await.unwrap().unwrap().frames, 7);
        far.write_all(&whole[50..]).await.unwrap();
        let burst = bursts.next().await.unwrap().unwrap();
        assert_eq!((burst.frames, &burst.bytes[..]), (1, &whole[..]));
        drop(far);
        assert!(bursts.next().await.is_none());
    }

    #[tokio::test]
    async fn a_body_of_megabytes_arrives_whole() {
        let (mut far, near) = tokio::io::duplex(64 * 1024);
        let (mut bursts, _gate) = reader(near);
        let whole = frame_of(1, 4 << 20);
        let sent = whole.clone();
        let written = async move { far.write_all(&sent).await.map(|()| far) };
        let (burst, written) = tokio::join!(bursts.next(), written);
        written.unwrap();
        assert_eq!(burst.unwrap().unwrap().bytes, whole);
    }

    #[tokio::test]
    async fn a_close_within_a_frame_is_told() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let (mut bursts, _gate) = reader(near);
        far.write_all(&frame_of(1, 10)[..20]).await.unwrap();
        drop(far);
        let end = bursts.next().await.unwrap().unwrap_err();
        assert_eq!(end.to_string(), "closed within a frame after 20 bytes of it");
        assert!(bursts.next().await.is_none());
    }

    #[tokio::test]
    async fn garbage_ends_the_stream_after_the_frames_before_it() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let (mut bursts, _gate) = reader(near);
        far.write_all(&frame_of(1, 10)).await.unwrap();
        assert_eq!(bursts.next().await.unwrap().unwrap().frames, 1);
        far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(matches!(bursts.next().await, Some(Err(ReadError::Frame(_)))));
        assert!(bursts.next().await.is_none());
    }

    #[tokio::test]
    async fn a_closed_gate_reads_nothing() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let (mut bursts, gate) = reader(near);
        gate.set_closed(true);
        far.write_all(&frame_of(1, 10)).await.unwrap();
        assert!(futures_util::poll!(bursts.next()).is_pending());
        gate.set_closed(false);
        assert_eq!(bursts.next().await.unwrap().unwrap().frames, 1);
    }
}
