//! What drivers report to their tree: deaths and restarts, which are logged, a child's end, and
//! escalations, which are decided here.

use std::time::Duration;

use slog::{OwnedKV, SendSyncRefUnwindSafeKV, crit, error, info, o, warn};
use tokio::time::Instant;

use super::{Tree, lock};
use crate::escalation::{Escalation, Verdict};
use crate::guard::guarded;
use crate::link::{Link, State, Want};
use crate::policy::{Exit, Policy};

impl Tree {
    /// Decides about a child that its driver holds.
    pub(crate) fn escalate(&self, link: &Link, exit: Exit) {
        let escalation = Escalation {
            child: format!("{}/{}", self.inner.path, link.name),
            kind: link.kind,
            policy: link.policy,
            exit,
            restarts: link.restarts(),
        };
        error!(self.inner.world.log, "actor given up, asking its parent"; self.who(link),
            "policy" => ?link.policy, "exit" => %escalation.exit, "restarts" => escalation.restarts);
        let mut tree = self;
        while !tree.settle(&escalation, link) {
            match &tree.inner.parent {
                Some(parent) => tree = parent,
                None => {
                    crit!(self.inner.world.log, "actor stays down, nobody decided"; self.who(link));
                    return link.set_want(Want::Stop);
                }
            }
        }
    }

    /// Carries out this tree's verdict; false: it has none, or no budget left for it.
    fn settle(&self, escalation: &Escalation, link: &Link) -> bool {
        let verdict = self.verdict(escalation);
        info!(self.inner.world.log, "verdict"; "tree" => &*self.inner.path,
            "actor" => &escalation.child, "verdict" => ?verdict);
        match verdict {
            // Its stop, which is under way, comes to the child too.
            Verdict::RestartAll(_) | Verdict::StopAll if self.nodes().closed => true,
            Verdict::Escalate => false,
            Verdict::Leave => {
                link.set_want(Want::Stop);
                true
            }
            Verdict::StopAll => {
                let tree = self.clone();
                actix::spawn(async move { tree.stop().await });
                true
            }
            Verdict::RestartAll(budget) => {
                let mut rng = self.rng(link);
                let wait = lock(&self.inner.tally).charge(&budget, Instant::now(), &mut rng);
                wait.inspect(|&wait| self.restart_after(wait)).is_some()
            }
        }
    }

    fn restart_after(&self, wait: Duration) {
        let tree = self.clone();
        let begun = tree.restarts_begun();
        actix::spawn(async move {
            tokio::time::sleep(wait).await;
            tree.restart_since(begun).await;
        });
    }

    fn verdict(&self, escalation: &Escalation) -> Verdict {
        let Some(decide) = lock(&self.inner.on_escalate).clone() else { return Verdict::Escalate };
        guarded(|| decide(escalation)).unwrap_or_else(|exit| {
            crit!(self.inner.world.log, "no verdict"; "tree" => &*self.inner.path, "exit" => %exit);
            Verdict::Escalate
        })
    }

    /// The child has ended and its mailbox is closed. One that was left down stays listed, for whoever
    /// looks for it.
    pub(crate) fn let_go(&self, link: &Link, exit: &Exit) {
        link.note_exit(exit);
        let is_expected = matches!(exit, Exit::Stopped | Exit::Killed);
        if is_expected || link.policy == Policy::Stop {
            self.nodes().by_id.remove(&link.id);
            lock(&self.inner.world.past).entry(link.kind).or_default().add(link);
        }
        link.set_state(State::Ended);
    }

    pub(crate) fn log_death(&self, link: &Link, exit: &Exit, backtrace: Option<String>) {
        let log = self.inner.world.log.new(self.who(link));
        match (exit, backtrace) {
            (Exit::Panicked { message, site }, backtrace) => {
                error!(log, "actor panicked"; "panic" => message,
                    "at" => site.as_deref().unwrap_or("unknown"), "backtrace" => backtrace);
            }
            _ => warn!(log, "actor failed"; "reason" => %exit),
        }
    }

    pub(crate) fn log_restart(&self, link: &Link, wait: Duration) {
        info!(self.inner.world.log, "actor will be made again"; self.who(link),
            "policy" => ?link.policy, "restarts" => link.restarts(),
            "wait_ms" => wait.as_millis() as u64);
    }

    pub(super) fn who(&self, link: &Link) -> OwnedKV<impl SendSyncRefUnwindSafeKV + 'static> {
        let name = format!("{}/{}", self.inner.path, link.name);
        o!("actor" => name, "kind" => link.kind, "incarnation" => link.incarnation())
    }

    /// Randomness for the next wait of a child: a function of seed, child and incarnation.
    pub(crate) fn rng(&self, link: &Link) -> fastrand::Rng {
        let stream = link.id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        let seed = self.inner.world.seed ^ stream.wrapping_add(u64::from(link.incarnation()));
        fastrand::Rng::with_seed(seed)
    }
}
