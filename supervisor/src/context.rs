//! [`ContextExt`]: what a logic asks of its actix context, in terms of the logic instead of its shell.
//!
//! Everything spawned here belongs to the incarnation: a restart drops it. Closures run behind the
//! panic guard and count as activity for the on-drained hook.

use std::future::Future;
use std::time::Duration;

use actix::{ActorContext, ActorFutureExt, AsyncContext, SpawnHandle, fut};

use crate::guard;
use crate::policy::Exit;
use crate::shell::{Ctx, Logic};

/// Additions to a supervised actor's context.
pub trait ContextExt<L: Logic> {
    /// Ends this incarnation as failed once the running handler returns; its reply is still delivered.
    /// The policy decides what follows.
    fn fail(&mut self, reason: impl Into<String>);

    /// Runs `future` beside the mailbox, then hands its result to the logic.
    fn spawn_then<F: Future + 'static>(
        &mut self,
        future: F,
        then: impl FnOnce(&mut L, F::Output, &mut Self) + 'static,
    ) -> SpawnHandle;

    /// Runs `future` while the mailbox waits, then hands its result to the logic.
    fn wait_then<F: Future + 'static>(
        &mut self,
        future: F,
        then: impl FnOnce(&mut L, F::Output, &mut Self) + 'static,
    );

    /// Runs `f` after `delay`.
    fn after(
        &mut self,
        delay: Duration,
        f: impl FnOnce(&mut L, &mut Self) + 'static,
    ) -> SpawnHandle;

    /// Runs `f` every `period`, first after one period.
    fn every(
        &mut self,
        period: Duration,
        f: impl FnMut(&mut L, &mut Self) + 'static,
    ) -> SpawnHandle;
}

impl<L: Logic> ContextExt<L> for Ctx<L> {
    fn fail(&mut self, reason: impl Into<String>) {
        guard::note_failure(Exit::Failed(reason.into()));
        self.stop();
    }

    fn spawn_then<F: Future + 'static>(
        &mut self,
        future: F,
        then: impl FnOnce(&mut L, F::Output, &mut Self) + 'static,
    ) -> SpawnHandle {
        self.spawn(fut::wrap_future(future).map(|output, shell: &mut crate::Shell<L>, ctx| {
            shell.end_with(ctx, |logic, ctx| then(logic, output, ctx));
        }))
    }

    fn wait_then<F: Future + 'static>(
        &mut self,
        future: F,
        then: impl FnOnce(&mut L, F::Output, &mut Self) + 'static,
    ) {
        self.wait(fut::wrap_future(future).map(|output, shell: &mut crate::Shell<L>, ctx| {
            shell.end_with(ctx, |logic, ctx| then(logic, output, ctx));
        }));
    }

    fn after(
        &mut self,
        delay: Duration,
        f: impl FnOnce(&mut L, &mut Self) + 'static,
    ) -> SpawnHandle {
        self.run_later(delay, |shell, ctx| shell.end_with(ctx, f))
    }

    fn every(
        &mut self,
        period: Duration,
        mut f: impl FnMut(&mut L, &mut Self) + 'static,
    ) -> SpawnHandle {
        self.run_interval(period, move |shell, ctx| shell.with(ctx, &mut f))
    }
}
