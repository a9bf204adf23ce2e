//! One connection against a peer that the test plays itself, frame by frame.

mod common;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use common::success;
use futures_util::{SinkExt, StreamExt};
use gantry_client::{CloseReason, Connection, Inbound, NotSupported, RequestError};
use gantry_codec::{Command, CommandCodec, FRAME_BYTES_MAX, request_code, response_code};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_util::codec::Framed;

const SECOND: Duration = Duration::from_secs(1);
const OUTBOX_BYTES: usize = 1024 * 1024;

type Peer = Framed<DuplexStream, CommandCodec>;

fn connect(inbound: impl Inbound) -> (Connection, Peer) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connection = Connection::over(Box::new(near), "peer:1", OUTBOX_BYTES, Arc::new(inbound));
    (connection, Framed::new(far, CommandCodec))
}

async fn receive(peer: &mut Peer) -> Command {
    peer.next().await.expect("not closed").expect("a frame")
}

fn reason_of(error: RequestError) -> CloseReason {
    match error {
        RequestError::Closed { reason, .. } => reason,
        other => panic!("not closed: {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_requests_in_any_order() {
    let (connection, mut peer) = connect(NotSupported);
    let first = connection.submit(Command::request(1)).expect("queued");
    let second = connection.submit(Command::request(2)).expect("queued");
    let (one, two) = (receive(&mut peer).await, receive(&mut peer).await);
    assert_eq!((one.code, two.code), (1, 2), "sent in the order of the calls");
    assert_ne!(one.opaque, two.opaque);
    for request in [&two, &one] {
        let answer = success(request).with_remark(format!("to {}", request.code));
        peer.send(&answer).await.expect("sent");
    }
    assert_eq!(first.await.expect("answered").remark.as_deref(), Some("to 1"));
    assert_eq!(second.await.expect("answered").remark.as_deref(), Some("to 2"));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_answer_ends_in_its_time() {
    let (connection, mut peer) = connect(NotSupported);
    let start = tokio::time::Instant::now();
    let error = connection.request(Command::request(7), SECOND).await.expect_err("no answer");
    assert!(matches!(error, RequestError::Timeout { code: 7, after: SECOND, .. }), "{error}");
    assert_eq!(start.elapsed(), SECOND);
    // The answer that comes too late is nobody's; the connection goes on.
    let late = receive(&mut peer).await;
    peer.send(&success(&late)).await.expect("sent");
    let next = connection.submit(Command::request(8)).expect("queued");
    let request = receive(&mut peer).await;
    assert_ne!(request.opaque, late.opaque);
    peer.send(&success(&request)).await.expect("sent");
    assert_eq!(next.await.expect("answered").code, response_code::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_the_connection_ends_its_requests() {
    let (connection, peer) = connect(NotSupported);
    let response = connection.submit(Command::request(1)).expect("queued");
    drop(peer);
    assert_eq!(reason_of(response.await.expect_err("closed")), CloseReason::Peer);

    let (connection, mut peer) = connect(NotSupported);
    let response = connection.submit(Command::request(1)).expect("queued");
    peer.get_mut().write_all(&[0, 0, 0, 1]).await.expect("sent");
    let reason = reason_of(response.await.expect_err("closed"));
    assert!(matches!(reason, CloseReason::Malformed(_)), "{reason}");
    assert_eq!(connection.closed().await, reason);
    let refused = connection.submit(Command::request(2)).expect_err("closed");
    assert_eq!(reason_of(refused), reason);

    let (connection, _peer) = connect(NotSupported);
    let response = connection.submit(Command::request(1)).expect("queued");
    connection.close();
    assert_eq!(reason_of(response.await.expect_err("closed")), CloseReason::Local);
}

struct Panics;

impl Inbound for Panics {
    fn request(&self, _connection: &Connection, _request: Command) -> Option<Command> {
        panic!("the handler of this test panics")
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_handler_leaves_no_request_hanging() {
    let (connection, mut peer) = connect(Panics);
    let response = connection.submit(Command::request(1)).expect("queued");
    peer.send(Command::request(request_code::NOTIFY_CONSUMER_IDS_CHANGED)).await.expect("sent");
    assert_eq!(reason_of(response.await.expect_err("closed")), CloseReason::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_is_written_before_the_last_handle_closes() {
    let (connection, mut peer) = connect(NotSupported);
    connection.oneway(Command::oneway(5)).expect("queued");
    drop(connection);
    assert_eq!(receive(&mut peer).await.code, 5);
    assert!(peer.next().await.is_none(), "closed after it");
}

#[tokio::test(start_paused = true)]
async fn a_response_to_come_keeps_the_connection() {
    let (connection, mut peer) = connect(NotSupported);
    let response = connection.submit(Command::request(1)).expect("queued");
    drop(connection);
    let request = receive(&mut peer).await;
    peer.send(&success(&request)).await.expect("sent");
    response.await.expect("answered");
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_refuses_or_waits() {
    let (connection, mut peer) = connect(NotSupported);
    let big = || Command::request(1).with_body(vec![0; OUTBOX_BYTES]);
    let first = connection.submit(big()).expect("queued");
    let error = connection.submit(big()).expect_err("full");
    assert!(matches!(error, RequestError::OutboxFull { queued, .. } if queued > OUTBOX_BYTES));
    let waiting = {
        let connection = connection.clone();
        tokio::spawn(async move { connection.request(big(), SECOND).await })
    };
    for _ in 0..2 {
        let request = receive(&mut peer).await;
        peer.send(&success(&request)).await.expect("sent");
    }
    first.await.expect("answered");
    waiting.await.expect("no panic").expect("answered");
}

#[tokio::test(start_paused = true)]
async fn a_frame_beyond_the_limit_is_refused_and_nothing_is_sent() {
    let (connection, mut peer) = connect(NotSupported);
    let huge = Command::request(1).with_body(vec![0; FRAME_BYTES_MAX]);
    let error = connection.submit(huge).expect_err("too large");
    assert!(matches!(error, RequestError::TooLarge { max: FRAME_BYTES_MAX, .. }), "{error}");
    connection.oneway(Command::oneway(2)).expect("queued");
    assert_eq!(receive(&mut peer).await.code, 2);
}

struct Echo;

impl Inbound for Echo {
    fn request(&self, connection: &Connection, request: Command) -> Option<Command> {
        match request.code {
            request_code::GET_CONSUMER_RUNNING_INFO => {
                let connection = connection.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(SECOND).await;
                    connection.reply(&success(&request).with_remark("later"))
                });
                None
            }
            _ => Some(success(&request).with_remark("at once")),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_the_server_are_handled() {
    let (_connection, mut peer) = connect(Echo);
    let mut ask = async |code, opaque, oneway: bool| {
        let mut request = if oneway { Command::oneway(code) } else { Command::request(code) };
        request.opaque = opaque;
        peer.send(&request).await.expect("sent");
        if oneway { None } else { Some(receive(&mut peer).await) }
    };
    assert!(ask(request_code::NOTIFY_CONSUMER_IDS_CHANGED, 1, true).await.is_none());
    // Had the one-way request been answered, this would get that answer.
    let answer = ask(request_code::PUSH_REPLY_MESSAGE_TO_CLIENT, 2, false).await.expect("one");
    assert_eq!((answer.opaque, answer.remark.as_deref()), (2, Some("at once")));
    assert!(answer.is_response());
    let answer = ask(request_code::GET_CONSUMER_RUNNING_INFO, 3, false).await.expect("one");
    assert_eq!((answer.opaque, answer.remark.as_deref()), (3, Some("later")));
}

#[tokio::test(start_paused = true)]
async fn without_a_handler_requests_of_the_server_are_refused() {
    let (_connection, mut peer) = connect(NotSupported);
    peer.send(Command::request(221)).await.expect("sent");
    let answer = receive(&mut peer).await;
    assert_eq!(answer.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
    assert_eq!(answer.remark.as_deref(), Some(" request type 221 not supported"));
}

/// Counts the writes that reach it.
struct Counted {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn requests_queued_together_leave_in_one_write() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Counted { stream: near, writes: Arc::clone(&writes) };
    let connection =
        Connection::over(Box::new(counted), "peer:1", OUTBOX_BYTES, Arc::new(NotSupported));
    let mut peer = Framed::new(far, CommandCodec);
    let pending: Vec<_> =
        (0..100).map(|code| connection.submit(Command::request(code)).expect("queued")).collect();
    for code in 0..100 {
        assert_eq!(receive(&mut peer).await.code, code);
    }
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    drop(pending);
}
