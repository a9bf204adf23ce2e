//! The on-drained hook: once per wake-up, after the mailbox and the streams have been emptied and
//! before the actor sleeps, [`Logic::drained`] runs. Commits and vectored writes belong there.
//!
//! Built from a fact of actix: after it has emptied the mailbox, a context polls the futures spawned
//! into it, new ones last, and goes round again while there are new ones. The first message of a wake-up
//! spawns [`RunDrained`]; it is polled when the mailbox is empty and every other future has had its
//! turn. It has no fields, so boxing it allocates nothing.
//!
//! One case breaks that order: actix fills the place of a future that is done with the last one. So when
//! a future of [`ContextExt`](crate::ContextExt) or a stream has ended meanwhile, the hook goes to the
//! back once more. A future spawned by hand that ends is not noticed; the hook may then run
//! a second time in one wake-up, which costs time but leaves nothing uncommitted.
//!
//! The default body of `drained` spawns [`Unused`], which turns the hook off: a logic without the hook
//! pays one extra round in its life and a branch per message.
//!
//! A stopping context polls no futures; the shell then runs a due hook itself, before
//! [`Logic::stopping`]. A failing or panicking incarnation gets no hook: its state is not to be kept.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix::{ActorFuture, AsyncContext};

use crate::shell::{Ctx, Logic, Shell};

/// Whether the hook is due, and whether there is one.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    due: bool,
    unused: bool,
    /// A future has ended since the hook was put at the back.
    is_out_of_order: bool,
}

impl Drain {
    /// The logic has been given something: the hook is due at the end of this wake-up.
    #[inline]
    pub fn touch<L: Logic>(&mut self, ctx: &mut Ctx<L>) {
        if !self.due && !self.unused {
            self.due = true;
            self.put_at_the_back(ctx);
        }
    }

    /// A future has ended: what was at the back is now in its place.
    pub fn note_end(&mut self) {
        self.is_out_of_order = true;
    }

    fn put_at_the_back<L: Logic>(&mut self, ctx: &mut Ctx<L>) {
        self.is_out_of_order = false;
        ctx.spawn(RunDrained);
    }

    /// Whether the hook was due; it no longer is.
    pub fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.due)
    }
}

/// Turns the hook off: the logic has only the default body.
pub(crate) fn mark_unused<L: Logic>(ctx: &mut Ctx<L>) {
    ctx.spawn(Unused);
}

struct RunDrained;

impl<L: Logic> ActorFuture<Shell<L>> for RunDrained {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        shell: &mut Shell<L>,
        ctx: &mut Ctx<L>,
        _: &mut Context<'_>,
    ) -> Poll<()> {
        if shell.drain.due && shell.drain.is_out_of_order {
            shell.drain.put_at_the_back(ctx);
        } else {
            shell.run_drained(ctx);
        }
        Poll::Ready(())
    }
}

struct Unused;

impl<L: Logic> ActorFuture<Shell<L>> for Unused {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        shell: &mut Shell<L>,
        _: &mut Ctx<L>,
        _: &mut Context<'_>,
    ) -> Poll<()> {
        shell.drain.unused = true;
        Poll::Ready(())
    }
}
