//! A connection that moves bursts: one write for all frames stamped, one read for all answers there.
//!
//! Reading and writing go on side by side in [`BurstStream::turn`], so a peer that stops reading
//! while its own answers pile up cannot lock the two sides against each other. All state lives in the
//! struct and a turn may be dropped at any point, for example by `select!`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use gantry_codec::{FrameError, peek_frame_len};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::BoxedStream;

/// Free room offered to each read.
const READ_BYTES: usize = 256 * 1024;

/// The connection is of no more use.
#[derive(Debug, Error)]
pub enum BurstError {
    /// The peer closed.
    #[error("closed by the peer")]
    Closed,
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A stream with a buffer on either side.
pub struct BurstStream {
    stream: BoxedStream,
    outbound: Vec<u8>,
    written: usize,
    inbound: Vec<u8>,
    consumed: usize,
    filled: usize,
}

impl BurstStream {
    /// Wraps a connected stream.
    pub fn new(stream: BoxedStream) -> BurstStream {
        BurstStream {
            stream,
            outbound: Vec::new(),
            written: 0,
            inbound: Vec::new(),
            consumed: 0,
            filled: 0,
        }
    }

    /// Where frames are appended; they leave with the next turn.
    pub fn outbound(&mut self) -> &mut Vec<u8> {
        &mut self.outbound
    }

    /// Writes what is outbound and waits for bytes to come in. Returns after one read; whole frames
    /// are then to be had from [`BurstStream::next_frame`].
    ///
    /// # Errors
    /// Closed or Io.
    pub async fn turn(&mut self) -> Result<(), BurstError> {
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// The next whole frame that has come in, length word included.
    ///
    /// # Errors
    /// Frame, when what came is no frame.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, BurstError> {
        let unread = &self.inbound[self.consumed..self.filled];
        match peek_frame_len(unread)? {
            Some(len) if len <= unread.len() => {
                let start = self.consumed;
                self.consumed += len;
                Ok(Some(&self.inbound[start..start + len]))
            }
            _ => Ok(None),
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BurstError>> {
        // A write that would block leaves its waker; reading goes on regardless.
        while self.written < self.outbound.len() {
            let rest = &self.outbound[self.written..];
            match Pin::new(&mut self.stream).poll_write(cx, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(BurstError::Closed)),
                Poll::Ready(len) => self.written += len,
                Poll::Pending => break,
            }
        }
        if self.written == self.outbound.len() {
            self.outbound.clear();
            self.written = 0;
            // Nothing to do for TCP; a stream that buffers on its own must let go here.
            let _ = Pin::new(&mut self.stream).poll_flush(cx)?;
        }
        self.poll_fill(cx)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BurstError>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.inbound[self.filled..]);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        match room.filled().len() {
            0 => Poll::Ready(Err(BurstError::Closed)),
            len => {
                self.filled += len;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Moves the unread rest to the front and offers `READ_BYTES` behind it. The rest is at most the
    /// beginning of one frame when frames are taken as they come, so the move is short.
    fn make_room(&mut self) {
        if self.consumed > 0 {
            self.inbound.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.consumed = 0;
        }
        if self.inbound.len() < self.filled + READ_BYTES {
            self.inbound.resize(self.filled + READ_BYTES, 0);
        }
    }
}
