//! The codec actor: one per connection, between a peer's bytes and a [`Service`].
//!
//! Owns the socket, the read buffer and the outbox. Talks to its service by plain calls; other actors
//! reach it through a [`ConnectionHandle`] or with an event for its service. A way through it:
//!
//! ```text
//! socket → BurstReader → Command → Service ─┬─ answered at once ──────────────→ Outbox → socket
//!                                           ├─ Outcome::Later (other actors) ─→ Outbox
//!                                           └─ Deliver(event) ────────────────→ Outbox
//! ```
//!
//! Invariants: what cannot be decoded closes the connection with a log line that says why; reading
//! stops while the outbox, the unfinished input or the number of open answers is over its limit; a
//! peer that takes nothing for the stall limit, or is silent for the idle limit, is closed.
//! Failure policy: stop. A panic ends this connection alone; the peer sees a close and reconnects.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix::{ActorContext, AsyncContext, Message};
use futures_util::{FutureExt, future::LocalBoxFuture};
use gantry_codec::{Command, frame};
use gantry_conf::NetworkConfig;
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply, Shell, StreamLogic};
use slog::{Logger, debug, info};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Outbox,
    burst::{Burst, BurstReader, Gate, ReadError, SharedStream},
    listener::Open,
    network::ByteStream,
    service::{ConnectionHandle, ConnectionId, Deliver, Outcome, Push, Service, ServiceFactory},
};

/// What one connection may hold and for how long.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Reading stops while more output than this waits for the peer, in bytes.
    pub outbox_bytes: usize,
    /// Reading stops while the service holds more input than this, in bytes.
    pub held_bytes: usize,
    /// Reading stops while more answers than this are being worked on by other actors.
    pub open_answers: usize,
    /// A peer that leaves waiting output untouched for this long is closed.
    pub stall: Duration,
    /// A connection without a byte in either direction for this long is closed (wire.md 1.6).
    pub idle: Option<Duration>,
}

impl ConnectionLimits {
    /// How often the time limits are looked at.
    fn tick(&self) -> Duration {
        let stall = self.stall / 2;
        self.idle.map_or(stall, |idle| stall.min(idle / 8))
    }
}

impl From<&NetworkConfig> for ConnectionLimits {
    fn from(config: &NetworkConfig) -> Self {
        Self {
            outbox_bytes: config.connection_outbox_bytes,
            stall: config.client_stall_timeout,
            idle: config.idle_time_max,
            ..Self::default()
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            outbox_bytes: 4 << 20,
            held_bytes: 8 << 20,
            open_answers: 4096,
            stall: Duration::from_secs(30),
            idle: Some(Duration::from_secs(120)),
        }
    }
}

/// See the module's text.
pub struct Connection<S: Service> {
    service: S,
    handle: ConnectionHandle,
    outbox: Rc<RefCell<Outbox>>,
    gate: Rc<Gate>,
    traffic: Rc<RefCell<Traffic>>,
    asks: HashMap<i32, oneshot::Sender<Command>>,
    next_opaque: i32,
    open_answers: usize,
    limits: ConnectionLimits,
    log: Logger,
    _open: Open,
}

/// When bytes last moved.
struct Traffic {
    last_read: Instant,
    last_write: Instant,
}

/// A request that other actors had to work for is done.
#[derive(Message)]
#[rtype(result = "()")]
struct Finished {
    of: Request,
    /// See [`Outcome::Again`]; `None` if the work panicked.
    result: Option<Result<Command, Command>>,
}

/// What is kept of a request until it is answered.
#[derive(Clone, Copy)]
struct Request {
    code: i32,
    oneway: bool,
}

/// The outbox has become shorter while reading was stopped.
#[derive(Message)]
#[rtype(result = "()")]
struct Resume;

/// The orders to make a connection actor that a listener gives to a thread.
pub(super) struct Opening {
    pub id: ConnectionId,
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub limits: ConnectionLimits,
    pub log: Logger,
    pub open: Open,
}

impl<S: Service> Connection<S> {
    /// Wires `stream` to a new service inside the context of its actor.
    pub(super) fn open(
        opening: Opening,
        stream: Box<dyn ByteStream>,
        factory: &ServiceFactory<S>,
        ctx: &mut Ctx<Self>,
    ) -> Self {
        let Opening { id, remote, local, limits, log, open } = opening;
        let handle = ConnectionHandle::new(id, remote, local, ctx.address().recipient());
        let mut service = factory(&handle);
        service.opened(&handle, ctx.address().recipient());
        let stream: SharedStream = Rc::new(RefCell::new(stream));
        let outbox = Rc::new(RefCell::new(Outbox::default()));
        let gate = Rc::new(Gate::default());
        let now = Instant::now();
        let traffic = Rc::new(RefCell::new(Traffic { last_read: now, last_write: now }));
        Shell::<Self>::attach_stream(ctx, BurstReader::new(stream.clone(), gate.clone()));
        let writer =
            Writer { stream, outbox: outbox.clone(), traffic: traffic.clone(), gate: gate.clone() };
        ctx.spawn(writer);
        ctx.after(limits.tick(), Self::tick);
        debug!(log, "connection opened");
        Self {
            service,
            handle,
            outbox,
            gate,
            traffic,
            asks: HashMap::new(),
            next_opaque: 0,
            open_answers: 0,
            limits,
            log,
            _open: open,
        }
    }

    fn burst(&mut self, burst: &Burst, ctx: &mut Ctx<Self>) -> Result<(), String> {
        let mut rest = burst.bytes.clone();
        for _ in 0..burst.frames {
            let len = match frame::peek_frame_len(&rest) {
                Ok(Some(len)) => len,
                Ok(None) => break,
                Err(e) => return Err(e.to_string()),
            };
            let command = Command::decode(rest.split_to(len)).map_err(|e| e.to_string())?;
            self.command(command, ctx);
        }
        self.service.burst_end(&self.handle, &mut self.outbox.borrow_mut());
        Ok(())
    }

    fn command(&mut self, command: Command, ctx: &mut Ctx<Self>) {
        if command.is_response() {
            // An answer that nobody waits for (any longer) is ignored: wire.md 1.7.
            if let Some(waiter) = self.asks.remove(&command.opaque) {
                let _ = waiter.send(command);
            }
            return;
        }
        let of = Request { code: command.code, oneway: command.is_oneway() };
        let outcome = self.service.request(command, &self.handle, &mut self.outbox.borrow_mut());
        match outcome {
            Outcome::None => {}
            Outcome::Reply(reply) => self.answer(&reply, of),
            Outcome::Later(work) => {
                self.work(of, Box::pin(async move { Err(work.await) }), ctx);
            }
            Outcome::Again(work) => self.work(of, work, ctx),
        }
    }

    fn answer(&mut self, reply: &Command, of: Request) {
        self.service.answered(of.code, reply);
        if !of.oneway {
            self.outbox.borrow_mut().command(reply);
        }
    }

    fn work(
        &mut self,
        of: Request,
        work: LocalBoxFuture<'static, Result<Command, Command>>,
        ctx: &mut Ctx<Self>,
    ) {
        self.open_answers += 1;
        let me = ctx.address();
        // Beside the actor, not within it: a request that was accepted is carried out even if its
        // client goes away, as consumers do right behind their last commit or unlock.
        let carried_out = async move {
            let result = AssertUnwindSafe(work).catch_unwind().await.ok();
            me.do_send(Finished { of, result });
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the request, of which few are open"
        )]
        tokio::task::spawn_local(carried_out);
    }

    /// Reading goes on only while everything that this connection holds is within its limits.
    fn hold_back(&self) {
        let closed = self.outbox.borrow().len() > self.limits.outbox_bytes
            || self.service.held_bytes() > self.limits.held_bytes
            || self.open_answers > self.limits.open_answers;
        self.gate.set_closed(closed);
    }

    /// Looks at the stall and idle limits.
    fn tick(&mut self, ctx: &mut Ctx<Self>) {
        let waiting = self.outbox.borrow().len();
        let (read, written) = {
            let traffic = self.traffic.borrow();
            (traffic.last_read.elapsed(), traffic.last_write.elapsed())
        };
        if waiting > 0 && written > self.limits.stall {
            self.close("the peer takes no output", ctx);
        } else if self.limits.idle.is_some_and(|idle| read.min(written) > idle) {
            self.close("idle", ctx);
        } else {
            self.hold_back();
            ctx.after(self.limits.tick(), Self::tick);
        }
    }

    fn close(&mut self, reason: &str, ctx: &mut Ctx<Self>) {
        info!(self.log, "connection closed"; "reason" => reason);
        ctx.stop();
    }

    /// Sends a request of the server; its opaque is from this side's own space.
    fn send_request(&mut self, mut command: Command) -> i32 {
        self.next_opaque = self.next_opaque.wrapping_add(1);
        command.opaque = self.next_opaque;
        self.outbox.borrow_mut().command(&command);
        self.next_opaque
    }
}

impl<S: Service> Logic for Connection<S> {
    const NAME: &'static str = "connection";

    /// Having the hook is what matters: it makes the context go round its futures once more after
    /// whatever put something into the outbox, so that the `Writer` sees it in the same wake-up.
    fn drained(&mut self, _: &mut Ctx<Self>) {}
}

impl<S: Service> Drop for Connection<S> {
    /// However this connection ended, by a close, a limit or a panic, its registrations end with it.
    fn drop(&mut self) {
        self.service.closed(&self.handle);
    }
}

impl<S: Service> StreamLogic<Result<Burst, ReadError>> for Connection<S> {
    fn item(&mut self, item: Result<Burst, ReadError>, ctx: &mut Ctx<Self>) {
        self.traffic.borrow_mut().last_read = Instant::now();
        let end = match item {
            Ok(burst) => self.burst(&burst, ctx),
            Err(e) => Err(e.to_string()),
        };
        match end {
            Ok(()) => self.hold_back(),
            Err(reason) => self.close(&reason, ctx),
        }
    }

    fn finished(&mut self, ctx: &mut Ctx<Self>) {
        debug!(self.log, "peer closed the connection");
        ctx.stop();
    }
}

impl<S: Service> Receive<Deliver<S::Event>> for Connection<S> {
    fn receive(&mut self, Deliver(event): Deliver<S::Event>, _: &mut Ctx<Self>) -> Reply<()> {
        self.service.event(event, &self.handle, &mut self.outbox.borrow_mut());
        self.hold_back();
        Reply::Now(())
    }
}

impl<S: Service> Receive<Push> for Connection<S> {
    fn receive(&mut self, push: Push, ctx: &mut Ctx<Self>) -> Reply<()> {
        match push {
            Push::Oneway(command) => {
                self.send_request(*command);
            }
            Push::Ask(command, waiter, _) => {
                self.asks.retain(|_, waiter| !waiter.is_closed());
                let opaque = self.send_request(*command);
                self.asks.insert(opaque, waiter);
            }
            Push::Close(reason) => self.close(reason, ctx),
            Push::Panic => panic!("panic on request in connection {}", self.handle.id()),
        }
        Reply::Now(())
    }
}

impl<S: Service> Receive<Finished> for Connection<S> {
    fn receive(&mut self, Finished { of, result }: Finished, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.open_answers -= 1;
        match result {
            Some(Ok(again)) => {
                self.command(again, ctx);
                self.service.burst_end(&self.handle, &mut self.outbox.borrow_mut());
            }
            Some(Err(reply)) => self.answer(&reply, of),
            None => ctx.fail("a request panicked"),
        }
        self.hold_back();
        Reply::Now(())
    }
}

impl<S: Service> Receive<Resume> for Connection<S> {
    fn receive(&mut self, _: Resume, _: &mut Ctx<Self>) -> Reply<()> {
        self.hold_back();
        Reply::Now(())
    }
}

/// Writes the outbox out whenever its actor has run: after a mailbox and a stream have been drained,
/// the context polls this, so the replies of one wake-up leave with one write.
struct Writer {
    stream: SharedStream,
    outbox: Rc<RefCell<Outbox>>,
    traffic: Rc<RefCell<Traffic>>,
    gate: Rc<Gate>,
}

impl<S: Service> actix::fut::ActorFuture<Shell<Connection<S>>> for Writer {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Shell<Connection<S>>,
        ctx: &mut Ctx<Connection<S>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_empty() {
            return Poll::Pending;
        }
        let mut stream = self.stream.borrow_mut();
        match outbox.poll_write(&mut **stream, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(_)) => {
                self.traffic.borrow_mut().last_write = Instant::now();
                if self.gate.is_closed() {
                    ctx.notify(Resume);
                }
                Poll::Pending
            }
            Poll::Ready(Err(_)) => {
                // The reader sees the same failure; nothing can be answered any more.
                ctx.stop();
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::BytesMut;
    use gantry_supervisor::{ChildSpec, Placement, Tree};
    use slog::{Discard, o};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::net::NoEvent;

    /// Needs a moment for every request, and notes when it is done.
    struct Slow(Arc<Mutex<Vec<&'static str>>>);

    impl Service for Slow {
        type Event = NoEvent;

        fn request(&mut self, cmd: Command, _: &ConnectionHandle, _: &mut Outbox) -> Outcome {
            let events = self.0.clone();
            Outcome::Later(Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                events.lock().unwrap().push("done");
                Command::response(0, &cmd)
            }))
        }

        fn event(&mut self, event: NoEvent, _: &ConnectionHandle, _: &mut Outbox) {
            match event {}
        }

        fn closed(&mut self, _: &ConnectionHandle) {
            self.0.lock().unwrap().push("closed");
        }
    }

    #[test]
    fn an_accepted_request_is_carried_out_though_its_client_is_gone() {
        let events: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let seen = events.clone();
        actix::System::new().block_on(async move {
            let log = Logger::root(Discard, o!());
            let tree = Tree::root("test", Placement::single(), log.clone(), 1);
            let (mut far, near) = tokio::io::duplex(4096);
            let opening = Opening {
                id: ConnectionId(1),
                remote: "127.0.0.1:1".parse().unwrap(),
                local: "127.0.0.1:2".parse().unwrap(),
                limits: ConnectionLimits::default(),
                log,
                open: Open::one_more(Arc::default()),
            };
            let factory: ServiceFactory<Slow> = Arc::new(move |_| Slow(seen.clone()));
            tree.spawn(ChildSpec::once("connection", move |ctx| {
                Ok(Connection::open(opening, Box::new(near), &factory, ctx))
            }));
            let mut frame = BytesMut::new();
            Command::request(42).encode(&mut frame);
            far.write_all(&frame).await.unwrap();
            drop(far);
            while events.lock().unwrap().len() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(*events.lock().unwrap(), ["closed", "done"]);
        });
    }
}
