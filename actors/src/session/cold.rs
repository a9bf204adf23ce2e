//! Reads that may wait for the disk, kept off the threads that serve everybody else.
//!
//! A page of the log that is not in memory stops the thread that touches it, and with it every connection
//! of that thread. So reads of what is old, or was there before this process, are done by
//! [`ColdReader`]s on threads of their own: they read, which also checks what they read, and by then
//! its pages are in memory when the connection writes them to its socket.
//!
//! A reader owns nothing. A queue's reads go to one reader, so that a slow disk under one consumer does
//! not take them all.
//! Failure policy: restart empty. A read that panicked is answered with an error.

use std::sync::Arc;

use actix::{Addr, Message};
use gantry_codec::Command;
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use tokio::sync::oneshot;

use super::{PullRequest, Pulled, SessionEvent};
use crate::{error_to_wire, log::batch::ReplyTo, net::Deliver, net::Outcome, topic::QueueSlot};

/// Something to be read.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ColdRead(Box<dyn FnOnce() + Send>);

/// See the module's text.
pub struct ColdReader;

impl Logic for ColdReader {
    const NAME: &'static str = "cold reader";
}

impl Receive<ColdRead> for ColdReader {
    fn receive(&mut self, ColdRead(read): ColdRead, _: &mut Ctx<Self>) -> Reply<()> {
        read();
        Reply::Now(())
    }
}

/// The readers, for sessions.
#[derive(Clone)]
pub struct ColdReaders(Arc<[Addr<Shell<ColdReader>>]>);

impl ColdReaders {
    /// These readers, at least one.
    pub fn new(readers: Vec<Addr<Shell<ColdReader>>>) -> Self {
        assert!(!readers.is_empty(), "there is no cold reader");
        Self(readers.into())
    }

    fn send(&self, place: usize, read: impl FnOnce() + Send + 'static) {
        if let Some(reader) = self.0.get(place % self.0.len()) {
            reader.do_send(ColdRead(Box::new(read)));
        }
    }

    /// Reads about this queue; the result, or an error if it was lost.
    pub fn read<T: Send + 'static>(
        &self,
        slot: &Arc<QueueSlot>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        self.read_at(place_of(slot), read)
    }

    fn read_at<T: Send + 'static>(
        &self,
        place: usize,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, result) = oneshot::channel();
        self.send(place, move || {
            // Nobody waits any more if whoever asked is gone.
            let _ = sender.send(read());
        });
        result
    }

    /// Reads for a pull and gives it back to its session.
    pub(super) fn pull(
        &self,
        pull: ColdPull,
        read: impl FnOnce(&PullRequest) -> Pulled + Send + 'static,
    ) {
        let place = pull.request.as_ref().map_or(0, |request| place_of(&request.slot));
        self.send(place, move || pull.done(read));
    }

    /// Has something read that is about no queue; nothing if the reader failed.
    pub(super) fn read_apart<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + 'static {
        let result = self.read_at(0, read);
        async move { result.await.ok() }
    }

    /// Has a request answered that is about one queue, or about none.
    pub(super) fn answer(
        &self,
        cmd: Command,
        place: usize,
        answer: impl FnOnce(&Command) -> Command + Send + 'static,
    ) -> Outcome {
        let (sender, answered) = oneshot::channel();
        let lost = error_to_wire::lost(&cmd);
        self.send(place, move || {
            // Nobody waits any more if the connection is gone.
            let _ = sender.send(answer(&cmd));
        });
        Outcome::Later(Box::pin(async move { answered.await.unwrap_or(lost) }))
    }
}

fn place_of(slot: &Arc<QueueSlot>) -> usize {
    // Addresses of slots are multiples of their alignment.
    Arc::as_ptr(slot) as usize >> 8
}

/// A pull under way to a reader. However it ends, it goes back to its session.
pub struct ColdPull {
    request: Option<Box<PullRequest>>,
    back: Arc<ReplyTo>,
}

impl ColdPull {
    pub(super) fn new(request: Box<PullRequest>, back: Arc<ReplyTo>) -> Self {
        Self { request: Some(request), back }
    }

    fn done(mut self, read: impl FnOnce(&PullRequest) -> Pulled) {
        let found = self.request.as_ref().map(|request| read(request));
        self.give_back(found);
    }

    fn give_back(&mut self, found: Option<Pulled>) {
        if let (Some(request), ReplyTo::Session(session)) = (self.request.take(), &*self.back) {
            session.do_send(Deliver(SessionEvent::PullRead(request, found.map(Box::new))));
        }
    }
}

impl Drop for ColdPull {
    fn drop(&mut self) {
        self.give_back(None);
    }
}
