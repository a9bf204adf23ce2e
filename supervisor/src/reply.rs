//! [`Reply`]: what a handler gives back to the caller of a message.
//!
//! A later answer is a future of the incarnation: it is polled in the actor's context, behind its panic
//! guard, and dropped with the incarnation, whereupon its caller gets an error. actix polls every future
//! of a context at each wake-up, which is quadratic with many open answers; so they share one
//! [`FuturesUnordered`] in the shell, and only one future of the context polls it, and with it only
//! those answers that have been woken.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix::dev::{MessageResponse, OneshotSender};
use actix::{ActorFuture, AsyncContext, Message};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::shell::{Ctx, Logic, Shell};

/// The answer to a message.
pub enum Reply<T> {
    /// The answer.
    Now(T),
    /// The answer will be this future's result. The actor goes on with its mailbox meanwhile. The end of
    /// the incarnation, an orderly one too, does not wait for it: then the caller gets an error.
    Later(LocalBoxFuture<'static, T>),
    /// There will be no answer: the caller gets `MailboxError::Closed`.
    Lost,
}

impl<T> From<T> for Reply<T> {
    fn from(answer: T) -> Self {
        Self::Now(answer)
    }
}

impl<L: Logic, M: Message> MessageResponse<Shell<L>, M> for Reply<M::Result> {
    fn handle(self, ctx: &mut Ctx<L>, tx: Option<OneshotSender<M::Result>>) {
        match self {
            Self::Now(answer) => send(tx, answer),
            Self::Later(answer) => {
                let open = Box::pin(async move { send(tx, answer.await) });
                ctx.spawn(OpenAnswer { adopted: Some(open), turn: 0 });
            }
            Self::Lost => {}
        }
    }
}

fn send<T>(tx: Option<OneshotSender<T>>, answer: T) {
    if let Some(tx) = tx {
        // A caller that has gone away needs no answer.
        let _ = tx.send(answer);
    }
}

/// The open answers of one incarnation.
#[derive(Default)]
pub(crate) struct OpenAnswers {
    futures: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// Which [`OpenAnswer`] polls `futures`: the youngest, as it is polled after the answer it brought.
    turn: u64,
}

impl OpenAnswers {
    pub fn len(&self) -> usize {
        self.futures.len()
    }
}

/// Brings one answer into the shell, and polls all of them until a younger one takes over.
struct OpenAnswer {
    adopted: Option<LocalBoxFuture<'static, ()>>,
    turn: u64,
}

impl<L: Logic> ActorFuture<Shell<L>> for OpenAnswer {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        shell: &mut Shell<L>,
        _: &mut Ctx<L>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(open) = self.open(&mut shell.answers) else { return Poll::Ready(()) };
        loop {
            match open.futures.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        shell.answers = None;
        Poll::Ready(())
    }
}

impl OpenAnswer {
    /// The answers to poll, unless another does.
    fn open<'a>(
        &mut self,
        answers: &'a mut Option<Box<OpenAnswers>>,
    ) -> Option<&'a mut OpenAnswers> {
        if let Some(answer) = self.adopted.take() {
            let open = answers.get_or_insert_default();
            open.futures.push(answer);
            open.turn += 1;
            self.turn = open.turn;
            return Some(open);
        }
        answers.as_deref_mut().filter(|open| open.turn == self.turn)
    }
}
