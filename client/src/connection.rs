//! One connection to a server: requests, one-way requests, answers by `opaque`, and the server's
//! own requests.
//!
//! A [`Connection`] is a cheap handle. Behind it one task reads and writes the stream, so that any
//! number of callers can have requests under way at once and a caller that goes away disturbs
//! nobody. A caller encodes its frame into the outbox, a byte buffer under a lock held for that
//! copy only, and wakes the task; the task takes the whole outbox at each wake-up and writes it in
//! one go. Frames leave in the order in which they were submitted.
//!
//! Invariants: every submitted request ends in exactly one of answer, error, or its caller's going
//! away; after the end of the connection no request stays pending, whatever ended it (a panic in a
//! handler included); the outbox never holds more than its limit plus one frame.
//!
//! The connection does not reconnect, retry or know addresses by name: see `connections`.

use std::collections::HashMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use gantry_codec::{Command, CommandCodec, FRAME_BYTES_MAX, response_code};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::codec::FramedRead;

use crate::config::ClientConfig;
use crate::error::{CloseReason, ConnectError, RequestError};
use crate::transport::BoxedStream;

/// How long a connection that this side closes goes on writing what was queued.
const LINGER: Duration = Duration::from_secs(1);

/// A write buffer that grew beyond this for one large burst is given back after it.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// Receives the requests that a server sends on a connection of the client.
pub trait Inbound: Send + Sync + 'static {
    /// Handles one request (for example 40, NOTIFY_CONSUMER_IDS_CHANGED). What is returned is sent
    /// as the answer unless the request was one-way; an answer that takes time is sent later with
    /// [`Connection::reply`]. Called on the connection's task, so it must not block.
    fn request(&self, connection: &Connection, request: Command) -> Option<Command>;
}

/// Answers every request of the server with REQUEST_CODE_NOT_SUPPORTED.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotSupported;

impl Inbound for NotSupported {
    fn request(&self, _connection: &Connection, request: Command) -> Option<Command> {
        // The leading blank is what Java servers write for the same case.
        let remark = format!(" request type {} not supported", request.code);
        let code = response_code::REQUEST_CODE_NOT_SUPPORTED;
        Some(Command::response(code, &request).with_remark(remark))
    }
}

/// A handle to one connection; clones share it, and dropping the last one closes it.
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

impl Connection {
    /// Connects to `address` with the configured connector, time limit and inbound handler, and
    /// starts the connection's task on the current runtime.
    pub async fn open(address: &str, config: &ClientConfig) -> Result<Connection, ConnectError> {
        let after = config.connect_timeout;
        match tokio::time::timeout(after, config.connector.connect(address)).await {
            Ok(Ok(stream)) => Ok(Self::over(
                stream,
                address,
                config.outbox_bytes_max,
                Arc::clone(&config.inbound),
            )),
            Ok(Err(error)) => {
                Err(ConnectError::Io { address: address.to_owned(), source: Arc::new(error) })
            }
            Err(_) => Err(ConnectError::Timeout { address: address.to_owned(), after }),
        }
    }

    /// Starts a connection over a stream that is connected already.
    pub fn over(
        stream: BoxedStream,
        remote: &str,
        outbox_bytes_max: usize,
        inbound: Arc<dyn Inbound>,
    ) -> Connection {
        let shared = Arc::new(Shared {
            remote: remote.to_owned(),
            outbox_bytes_max,
            state: Mutex::default(),
            wake: Notify::new(),
            drained: Notify::new(),
            ended: Notify::new(),
        });
        let connection = Connection { handle: Arc::new(Handle { shared: Arc::clone(&shared) }) };
        let handle = Arc::downgrade(&connection.handle);
        tokio::spawn(drive(shared, handle, inbound, stream));
        connection
    }

    /// The address that was connected to.
    pub fn remote(&self) -> &str {
        &self.handle.shared.remote
    }

    /// Queues a request and returns the future of its answer. The request is on its way when this
    /// returns: frames leave in the order of these calls, whether or not the futures are polled.
    /// The request's opaque is replaced by one of this connection.
    ///
    /// # Errors
    /// Closed, OutboxFull or TooLarge; then nothing was queued.
    pub fn submit(&self, mut request: Command) -> Result<Response, RequestError> {
        self.try_submit(&mut request)
    }

    /// Sends a request and waits for its answer, at most `timeout` in all. While the outbox is full
    /// this waits for room. An answer with an error code is an `Ok` here.
    ///
    /// # Errors
    /// Closed, Timeout or TooLarge.
    pub async fn request(
        &self,
        mut request: Command,
        timeout: Duration,
    ) -> Result<Command, RequestError> {
        let code = request.code;
        let deadline = Instant::now() + timeout;
        let answered = tokio::time::timeout_at(deadline, async {
            loop {
                let drained = self.handle.shared.drained.notified();
                match self.try_submit(&mut request) {
                    Ok(response) => break response.await,
                    Err(RequestError::OutboxFull { .. }) => drained.await,
                    Err(error) => break Err(error),
                }
            }
        });
        answered.await.unwrap_or_else(|_| Err(self.timed_out(code, timeout)))
    }

    /// Queues a request that gets no answer.
    ///
    /// # Errors
    /// Closed, OutboxFull or TooLarge; then nothing was queued.
    pub fn oneway(&self, mut request: Command) -> Result<(), RequestError> {
        let shared = &self.handle.shared;
        let mut state = shared.open_state()?;
        request.opaque = state.free_opaque();
        shared.enqueue(&mut state, &request)
    }

    /// Queues the answer to a request of the server.
    ///
    /// # Errors
    /// Closed, OutboxFull or TooLarge; then nothing was queued.
    pub fn reply(&self, response: &Command) -> Result<(), RequestError> {
        let shared = &self.handle.shared;
        let mut state = shared.open_state()?;
        shared.enqueue(&mut state, response)
    }

    /// Ends the connection: requests under way fail at once, what was queued before is still
    /// written (for a second at most), nothing more is accepted.
    pub fn close(&self) {
        self.handle.shared.close(CloseReason::Local);
    }

    /// Why the connection has ended, None while it lives.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.handle.shared.lock().closed.clone()
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) -> CloseReason {
        let shared = &self.handle.shared;
        loop {
            let ended = shared.ended.notified();
            if let Some(reason) = self.close_reason() {
                return reason;
            }
            ended.await;
        }
    }

    /// The error of a request that was given up after `after`.
    pub(crate) fn timed_out(&self, code: i32, after: Duration) -> RequestError {
        RequestError::Timeout { remote: self.remote().to_owned(), code, after }
    }

    fn try_submit(&self, request: &mut Command) -> Result<Response, RequestError> {
        let shared = &self.handle.shared;
        let mut state = shared.open_state()?;
        request.opaque = state.free_opaque();
        shared.enqueue(&mut state, request)?;
        let (sender, answer) = oneshot::channel();
        state.pending.insert(request.opaque, sender);
        Ok(Response { connection: self.clone(), opaque: request.opaque, answer, done: false })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("remote", &self.remote())
            .field("closed", &self.close_reason())
            .finish()
    }
}

/// The answer to a submitted request, to come. It has no time limit of its own. Dropping it gives
/// the answer up; the request stays sent.
#[must_use = "dropping it gives the answer up"]
#[derive(Debug)]
pub struct Response {
    connection: Connection,
    opaque: i32,
    answer: oneshot::Receiver<Command>,
    done: bool,
}

impl Future for Response {
    type Output = Result<Command, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        self.done = true;
        Poll::Ready(answer.map_err(|_| self.connection.handle.shared.closed_error()))
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        if !self.done {
            self.connection.handle.shared.lock().pending.remove(&self.opaque);
        }
    }
}

/// Closes the connection when the last handle goes. The task holds the state, never this.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(CloseReason::Local);
    }
}

struct Shared {
    remote: String,
    outbox_bytes_max: usize,
    state: Mutex<State>,
    /// The outbox got its first bytes, or the connection is to close.
    wake: Notify,
    /// The task took the outbox away.
    drained: Notify,
    /// `State::closed` was set.
    ended: Notify,
}

#[derive(Default)]
struct State {
    outbox: BytesMut,
    pending: HashMap<i32, oneshot::Sender<Command>>,
    last_opaque: i32,
    closed: Option<CloseReason>,
}

impl State {
    /// The next opaque that no request under way uses; the numbers wrap.
    fn free_opaque(&mut self) -> i32 {
        loop {
            self.last_opaque = self.last_opaque.wrapping_add(1);
            if !self.pending.contains_key(&self.last_opaque) {
                return self.last_opaque;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a connection that still takes frames.
    fn open_state(&self) -> Result<MutexGuard<'_, State>, RequestError> {
        let state = self.lock();
        match &state.closed {
            None => Ok(state),
            Some(reason) => {
                Err(RequestError::Closed { remote: self.remote.clone(), reason: reason.clone() })
            }
        }
    }

    fn enqueue(&self, state: &mut State, command: &Command) -> Result<(), RequestError> {
        let queued = state.outbox.len();
        if queued >= self.outbox_bytes_max {
            return Err(RequestError::OutboxFull { remote: self.remote.clone(), queued });
        }
        command.encode(&mut state.outbox);
        let len = state.outbox.len() - queued;
        if len > FRAME_BYTES_MAX {
            state.outbox.truncate(queued);
            return Err(RequestError::TooLarge { len, max: FRAME_BYTES_MAX });
        }
        if queued == 0 {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn closed_error(&self) -> RequestError {
        let reason = self.lock().closed.clone().unwrap_or(CloseReason::Abandoned);
        RequestError::Closed { remote: self.remote.clone(), reason }
    }

    /// Marks the end; the first reason stays. Dropping the senders fails the requests under way.
    fn close(&self, reason: CloseReason) {
        let pending = {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason);
            mem::take(&mut state.pending)
        };
        drop(pending);
        self.wake.notify_one();
        self.drained.notify_waiters();
        self.ended.notify_waiters();
    }

    /// Swaps the outbox with the empty `burst`; false when the connection is closing and nothing
    /// is left to write.
    async fn next_burst(&self, burst: &mut BytesMut) -> bool {
        loop {
            let woken = self.wake.notified();
            {
                let mut state = self.lock();
                if !state.outbox.is_empty() {
                    mem::swap(&mut state.outbox, burst);
                    drop(state);
                    self.drained.notify_waiters();
                    return true;
                }
                if state.closed.is_some() {
                    return false;
                }
            }
            woken.await;
        }
    }

    async fn lingered(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().closed.is_some() {
                break;
            }
            ended.await;
        }
        tokio::time::sleep(LINGER).await;
    }
}

/// Marks the connection closed however its task ends: by return, panic, or with its runtime.
struct CloseOnExit(Arc<Shared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close(CloseReason::Abandoned);
    }
}

async fn drive(
    shared: Arc<Shared>,
    handle: Weak<Handle>,
    inbound: Arc<dyn Inbound>,
    stream: BoxedStream,
) {
    let guard = CloseOnExit(shared);
    let shared = &*guard.0;
    let (reader, writer) = tokio::io::split(stream);
    let reason = tokio::select! {
        // In this order, not a random one: a simulation must see the same thing each time.
        biased;
        reason = read(shared, &handle, &*inbound, reader) => reason,
        reason = write(shared, writer) => reason,
        () = shared.lingered() => CloseReason::Local,
    };
    shared.close(reason);
}

/// Writes bursts until the connection closes.
async fn write(shared: &Shared, mut writer: WriteHalf<BoxedStream>) -> CloseReason {
    let mut burst = BytesMut::new();
    while shared.next_burst(&mut burst).await {
        if let Err(error) = writer.write_all(&burst).await {
            return error.into();
        }
        if let Err(error) = writer.flush().await {
            return error.into();
        }
        if burst.capacity() > BUFFER_BYTES_KEPT {
            burst = BytesMut::new();
        }
        burst.clear();
    }
    // The reason is known already; a peer that is gone makes this fail, and nobody needs to know.
    let _ = writer.shutdown().await;
    CloseReason::Local
}

/// Reads frames until the peer closes: answers to their callers, requests to the handler.
async fn read(
    shared: &Shared,
    handle: &Weak<Handle>,
    inbound: &dyn Inbound,
    reader: ReadHalf<BoxedStream>,
) -> CloseReason {
    let mut frames = FramedRead::new(reader, CommandCodec);
    loop {
        match frames.next().await {
            None => return CloseReason::Peer,
            Some(Err(error)) => return error.into(),
            Some(Ok(command)) if command.is_response() => deliver(shared, command),
            Some(Ok(request)) => {
                let Some(handle) = handle.upgrade() else { return CloseReason::Local };
                serve(&Connection { handle }, inbound, request);
            }
        }
    }
}

/// Hands an answer to its caller; answers that nobody waits for any more are dropped.
fn deliver(shared: &Shared, answer: Command) {
    let waiter = shared.lock().pending.remove(&answer.opaque);
    if let Some(waiter) = waiter {
        let _ = waiter.send(answer);
    }
}

fn serve(connection: &Connection, inbound: &dyn Inbound, request: Command) {
    let wants_answer = !request.is_oneway();
    let answer = inbound.request(connection, request);
    if let (true, Some(answer)) = (wants_answer, answer) {
        // Fails only when the connection is closing or its peer does not read: the peer's request
        // then ends in its own time limit.
        let _ = connection.reply(&answer);
    }
}
