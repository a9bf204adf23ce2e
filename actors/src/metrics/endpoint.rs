//! The port of figures and health: one actor that answers HTTP on a thread of its own.
//!
//! Owns the listening socket. Talks to whoever makes the answers ([`Answers`]). Bounded: `OPEN_MAX`
//! connections at a time, more are closed at once; a request has `REQUEST_LIMIT` to come, an answer
//! `ANSWER_LIMIT` to be taken; a connection answers `REQUESTS_MAX` requests. Making a page may read
//! from the disk and take some milliseconds, which is why it has its own thread.
//!
//! Nothing but operators needs this port, so a port that is taken stops nothing: it is warned of once and
//! tried again. Failure policy: restart empty; a panic costs the connections that are open.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use gantry_supervisor::{ContextExt, Ctx, Logic, Shell, StreamLogic};
use slog::{Logger, debug, info, warn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::{self, HEAD_BYTES_MAX, Status, Wanted};
use crate::net::{
    Network,
    listener::Accepting,
    network::{Accepted, ByteStream},
};

/// Connections at a time.
const OPEN_MAX: usize = 64;
/// Requests that a connection may send one after the other.
const REQUESTS_MAX: usize = 10_000;
/// How long a request may take to come, with the time in which none comes.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// How long an answer may take to be taken.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Time between attempts at a port that is taken.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The answer to a request.
pub struct Answer {
    /// How it came out.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A line for people.
    pub fn text(status: Status, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Makes the answers, on the endpoint's thread.
pub trait Answers: Send + Sync {
    /// The port is open, at this address.
    fn opened(&self, _addr: SocketAddr) {}

    /// The answer to a request for this.
    fn answer(self: Arc<Self>, wanted: Wanted) -> LocalBoxFuture<'static, Answer>;
}

/// What an endpoint works with.
#[derive(Clone)]
pub struct EndpointParts {
    /// Opens the socket.
    pub network: Arc<dyn Network>,
    /// Where to listen.
    pub addr: SocketAddr,
    /// Who answers.
    pub answers: Arc<dyn Answers>,
    /// The actor's logger.
    pub log: Logger,
}

/// See the module's text.
pub struct Endpoint {
    parts: EndpointParts,
    open: Rc<()>,
    /// Whether somebody was told that the port is taken.
    has_warned: bool,
}

impl Endpoint {
    /// An endpoint that opens its port when it starts.
    pub fn new(parts: EndpointParts) -> Self {
        Self { parts, open: Rc::new(()), has_warned: false }
    }

    fn listen(&mut self, ctx: &mut Ctx<Self>) {
        let EndpointParts { network, addr, log, .. } = &self.parts;
        match network.listen(*addr).and_then(|acceptor| Ok((acceptor.local_addr()?, acceptor))) {
            Ok((addr, acceptor)) => {
                info!(log, "figures and health can be read"; "url" => format!("http://{addr}/"));
                self.parts.answers.opened(addr);
                Shell::<Self>::attach_stream(ctx, Accepting::new(acceptor));
            }
            Err(error) => {
                if !std::mem::replace(&mut self.has_warned, true) {
                    warn!(log, "the port of figures and health cannot be opened";
                        "addr" => %addr, "error" => %error,
                        "try_again_s" => TRY_AGAIN.as_secs());
                }
                ctx.after(TRY_AGAIN, Self::listen);
            }
        }
    }

    fn serve(&self, accepted: Accepted, ctx: &mut Ctx<Self>) {
        let EndpointParts { answers, log, .. } = &self.parts;
        if Rc::strong_count(&self.open) > OPEN_MAX {
            debug!(log, "connection refused, too many are open"; "remote" => %accepted.remote);
            return;
        }
        match (accepted.attach)() {
            Ok(stream) => {
                let (answers, open) = (answers.clone(), self.open.clone());
                let served = async move {
                    // A connection that fails has nobody to be told.
                    let _ = converse(stream, answers).await;
                    drop(open);
                };
                ctx.spawn_then(served, |_, (), _| {});
            }
            Err(error) => debug!(log, "connection lost"; "error" => %error),
        }
    }
}

/// Answers the requests of one connection, one after the other.
async fn converse(mut stream: Box<dyn ByteStream>, answers: Arc<dyn Answers>) -> io::Result<()> {
    let mut input = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let read = tokio::time::timeout(REQUEST_LIMIT, read_head(&mut stream, &mut input));
        let request = match read.await {
            Err(_) | Ok(Ok(None)) => return Ok(()),
            Ok(read) => read?,
        };
        let Some(request) = request else { return Ok(()) };
        let (bytes, keep_alive) = match request {
            Ok(request) => {
                let answer = match request.wanted {
                    Ok(wanted) => answers.clone().answer(wanted).await,
                    Err(status) => Answer::text(status, status.text()),
                };
                let Answer { status, content_type, body } = answer;
                let bytes = http::answer(
                    status,
                    content_type,
                    &body,
                    request.head_only,
                    request.keep_alive,
                );
                (bytes, request.keep_alive)
            }
            Err(status) => {
                let Answer { content_type, body, .. } = Answer::text(status, status.text());
                (http::answer(status, content_type, &body, false, false), false)
            }
        };
        let written = tokio::time::timeout(ANSWER_LIMIT, stream.write_all(&bytes));
        written.await.map_err(|_| io::ErrorKind::TimedOut)??;
        if !keep_alive {
            break;
        }
    }
    stream.shutdown().await
}

/// The next request and its head taken out of `input`; nothing if the peer is gone.
async fn read_head(
    stream: &mut Box<dyn ByteStream>,
    input: &mut Vec<u8>,
) -> io::Result<Option<Result<http::Request, Status>>> {
    loop {
        match http::parse(input) {
            Ok(Some(request)) => {
                input.drain(..request.len);
                return Ok(Some(Ok(request)));
            }
            Ok(None) => {}
            Err(status) => return Ok(Some(Err(status))),
        }
        let mut piece = [0; 1024];
        let room = piece.len().min(HEAD_BYTES_MAX.saturating_sub(input.len()).max(1));
        let len = stream.read(&mut piece[..room]).await?;
        if len == 0 {
            return Ok(None);
        }
        input.extend_from_slice(&piece[..len]);
    }
}

impl Logic for Endpoint {
    const NAME: &'static str = "metrics";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.listen(ctx);
    }
}

impl StreamLogic<io::Result<Accepted>> for Endpoint {
    fn item(&mut self, item: io::Result<Accepted>, ctx: &mut Ctx<Self>) {
        match item {
            Ok(accepted) => self.serve(accepted, ctx),
            Err(error) => debug!(self.parts.log, "accept failed"; "error" => %error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            OnceLock,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::{Context, Poll},
    };

    use gantry_supervisor::{ChildSpec, Placement, Policy, Tree};
    use slog::{Discard, o};
    use tokio::{io::DuplexStream, sync::mpsc};

    use super::*;
    use crate::net::Acceptor;

    /// Answers with what it is asked for.
    struct Echo;

    impl Answers for Echo {
        fn answer(self: Arc<Self>, wanted: Wanted) -> LocalBoxFuture<'static, Answer> {
            Box::pin(async move { Answer::text(Status::Ok, format!("{wanted:?}")) })
        }
    }

    async fn ask(bytes: &[u8]) -> String {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        far.write_all(bytes).await.unwrap();
        let served = converse(Box::new(near), Arc::new(Echo));
        let read = async { all(&mut far).await };
        let (_, text) = tokio::join!(served, read);
        text
    }

    async fn all(far: &mut DuplexStream) -> String {
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        text
    }

    /// A network whose port is taken for the first attempts, and then gives these connections.
    struct Busy {
        attempts: AtomicUsize,
        taken_for: usize,
        given: std::sync::Mutex<Option<mpsc::UnboundedReceiver<DuplexStream>>>,
    }

    struct Given(mpsc::UnboundedReceiver<DuplexStream>);

    const ADDR: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7);

    impl Network for Busy {
        fn listen(&self, _: SocketAddr) -> io::Result<Box<dyn Acceptor>> {
            if self.attempts.fetch_add(1, Relaxed) < self.taken_for {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            Ok(Box::new(Given(self.given.lock().unwrap().take().unwrap())))
        }
    }

    impl Acceptor for Given {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(ADDR)
        }

        fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
            let Poll::Ready(Some(stream)) = self.0.poll_recv(cx) else { return Poll::Pending };
            let attach = Box::new(move || Ok(Box::new(stream) as Box<dyn ByteStream>));
            Poll::Ready(Ok(Accepted { remote: ADDR, local: ADDR, attach }))
        }
    }

    /// Notes where the port is.
    #[derive(Default)]
    struct Noted(OnceLock<SocketAddr>);

    impl Answers for Noted {
        fn opened(&self, addr: SocketAddr) {
            self.0.set(addr).unwrap();
        }

        fn answer(self: Arc<Self>, _: Wanted) -> LocalBoxFuture<'static, Answer> {
            Box::pin(async { Answer::text(Status::Ok, "ok") })
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    async fn endpoint(network: Busy, answers: Arc<Noted>) -> Tree {
        let log = Logger::root(Discard, o!());
        let tree = Tree::root("broker", Placement::single(), log.clone(), 1);
        let parts = EndpointParts { network: Arc::new(network), addr: ADDR, answers, log };
        let spec = ChildSpec::new("metrics", Policy::RestartEmpty, move |_| {
            Ok(Endpoint::new(parts.clone()))
        });
        tree.start(spec).await.unwrap();
        tree
    }

    #[test]
    fn a_port_that_is_taken_is_tried_again_until_it_is_free() {
        run(async {
            let (given, connections) = mpsc::unbounded_channel();
            let given_to = std::sync::Mutex::new(Some(connections));
            let network = Busy { attempts: AtomicUsize::new(0), taken_for: 3, given: given_to };
            let answers = Arc::<Noted>::default();
            let tree = endpoint(network, answers.clone()).await;
            tokio::time::sleep(2 * TRY_AGAIN + TRY_AGAIN / 2).await;
            assert_eq!(answers.0.get(), None);
            tokio::time::sleep(TRY_AGAIN).await;
            assert_eq!(answers.0.get(), Some(&ADDR));
            let (mut far, near) = tokio::io::duplex(1024);
            given.send(near).unwrap();
            far.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            assert!(all(&mut far).await.ends_with("ok"));
            tree.stop().await;
        });
    }

    #[test]
    fn connections_beyond_the_limit_are_closed_at_once_and_room_comes_back() {
        run(async {
            let (given, connections) = mpsc::unbounded_channel();
            let given_to = std::sync::Mutex::new(Some(connections));
            let network = Busy { attempts: AtomicUsize::new(0), taken_for: 0, given: given_to };
            let tree = endpoint(network, Arc::default()).await;
            let mut open = Vec::new();
            for _ in 0..OPEN_MAX {
                let (far, near) = tokio::io::duplex(1024);
                given.send(near).unwrap();
                open.push(far);
            }
            let (mut refused, near) = tokio::io::duplex(1024);
            given.send(near).unwrap();
            assert_eq!(all(&mut refused).await, "");
            drop(open);
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (mut far, near) = tokio::io::duplex(1024);
            given.send(near).unwrap();
            far.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            assert!(all(&mut far).await.ends_with("ok"));
            tree.stop().await;
        });
    }

    #[tokio::test(start_paused = true)]
    async fn requests_behind_each_other_are_answered_in_order() {
        let two = "GET /healthz HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\nconnection: close\r\n\r\n";
        let text = ask(two.as_bytes()).await;
        let (health, ready) = (text.find("Health"), text.find("Readiness"));
        assert!(health.is_some() && health < ready, "{text}");
        assert_eq!(text.matches("200 OK").count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_is_told_and_closed() {
        let text = ask(b"\0\0\0\x10\0\0\0\0GET / HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("connection: close"), "{text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1);
        let text = ask(&[b'x'; 2 * HEAD_BYTES_MAX]).await;
        assert!(text.starts_with("HTTP/1.1 4"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_is_closed() {
        let text = ask(b"GET /metrics HTTP/1.1\r\n").await;
        assert_eq!(text, "", "after the limit, which a paused clock does not wait for");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_closed() {
        let (mut far, near) = tokio::io::duplex(16);
        let served = converse(Box::new(near), Arc::new(Echo));
        let asked = far.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let (served, asked) = tokio::join!(served, asked);
        asked.unwrap();
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
