//! What is wrong with the consumption, and how far groups are behind: seen by the broker before its
//! users do.
//!
//! | file | what |
//! |---|---|
//! | `activity` | what pulls leave behind |
//! | `conflicts` | clients of one group that do not subscribe the same |
//! | `judge` | what is wrong, from what is seen of each queue: limits, beginnings, ends |
//! | `meter` | rates |
//! | `survey` | what is seen of each queue, gathered from the published views |
//! | `lag` | a group's exact lag |
//! | here | the [`Watch`], the actor around them |
//!
//! The watch looks at all groups every few seconds, more often if its limits are short, and when it is
//! asked. A finding is one line in the log when it begins and one when it ends; between, whoever asks is
//! told ([`Diagnose`]). It reads what others publish and writes nothing but rates; looking may take some
//! milliseconds and touch the disk, so it has a thread of its own.
//!
//! Not judged: groups that broadcast, which keep their offsets to themselves, and queues of groups that are
//! offline and have committed nothing there.
//! Failure policy: restart empty. Limits then begin anew, and findings that last are told once more.

mod activity;
mod conflicts;
mod judge;
#[cfg(test)]
mod judge_tests;
mod lag;
mod meter;
mod survey;

use std::{sync::Arc, time::Duration};

use actix::Message;
use gantry_codec::body::{Diagnosis, Finding, GroupLag};
use gantry_storage::Clock;
use gantry_supervisor::{ContextExt, Ctx, Logic, Place, Receive, Reply};
use slog::{Logger, info, warn};
use tokio::time::Instant;

pub use activity::{Activities, Activity, ActivityPort, LastPull};
pub use conflicts::{Conflict, Conflicts};
pub use judge::{Judge, KINDS, Limits};

use super::{
    facts::QueueFacts, filter_table::FilterDirectory, offset_table::OffsetView,
    view::GroupDirectory,
};

/// Between two looks at most, and at least.
const PERIOD_MAX_MS: i64 = 10_000;
const PERIOD_MIN_MS: i64 = 250;

/// What a watch is told by the configuration.
#[derive(Clone, Debug)]
pub struct DiagnosisSettings {
    /// How long something may be so until it is wrong.
    pub limits: Limits,
    /// The watch's thread.
    pub place: Place,
}

/// What a watch works with.
#[derive(Clone)]
pub struct WatchParts {
    /// The broker's name.
    pub broker: Arc<str>,
    /// Limits.
    pub limits: Limits,
    /// Published groups.
    pub directory: GroupDirectory,
    /// Published offsets.
    pub offsets: OffsetView,
    /// Published SQL92 filters.
    pub filters: FilterDirectory,
    /// What topics and queues are like.
    pub facts: Arc<dyn QueueFacts>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// The actor's logger.
    pub log: Logger,
}

/// What is wrong now, of one group or of all.
#[derive(Message)]
#[rtype(result = "Diagnosis")]
pub struct Diagnose {
    /// The group.
    pub group: Option<Box<str>>,
}

/// How far a group is behind.
#[derive(Message)]
#[rtype(result = "GroupLag")]
pub struct LagOf {
    /// The group.
    pub group: Box<str>,
    /// In these topics.
    pub topics: Vec<Arc<str>>,
}

/// See the module's text.
pub struct Watch {
    parts: WatchParts,
    judge: Judge,
}

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(parts: WatchParts) -> Self {
        Self { judge: Judge::new(parts.limits, parts.broker.clone()), parts }
    }

    /// Looks at everything.
    fn look(&mut self) {
        let parts = &self.parts;
        let survey = survey::survey(parts, Instant::now());
        let now_ms = parts.clock.now_ms();
        let rate = |at: usize, rate: f64| {
            if let Some(activity) = survey.activities.get(at).and_then(Option::as_ref) {
                activity.set_rate(rate);
            }
        };
        let changes = self.judge.scan(now_ms, &survey.queues, &survey.conflicts, rate);
        for finding in &changes.begun {
            tell_of_begin(&parts.log, finding);
        }
        for finding in &changes.ended {
            tell_of_end(&parts.log, finding, now_ms);
        }
    }
}

fn tell_of_begin(log: &Logger, finding: &Finding) {
    warn!(log, "consumption is in trouble"; "kind" => &finding.kind, "group" => &finding.group,
        "topic" => &finding.topic, "queue" => finding.queue_id, "what" => &finding.text);
}

fn tell_of_end(log: &Logger, finding: &Finding, now_ms: i64) {
    info!(log, "consumption is out of trouble"; "kind" => &finding.kind,
        "group" => &finding.group, "topic" => &finding.topic, "queue" => finding.queue_id,
        "seconds" => (now_ms - finding.since) / 1000);
}

impl Logic for Watch {
    const NAME: &'static str = "watch";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let Limits { stuck_ms, commit_ms } = self.parts.limits;
        let period_ms = (stuck_ms.min(commit_ms) / 4).clamp(PERIOD_MIN_MS, PERIOD_MAX_MS);
        ctx.every(Duration::from_millis(period_ms.unsigned_abs()), |me, _| me.look());
    }
}

impl Receive<Diagnose> for Watch {
    fn receive(&mut self, order: Diagnose, _: &mut Ctx<Self>) -> Reply<Diagnosis> {
        self.look();
        self.judge.diagnosis(order.group.as_deref()).into()
    }
}

impl Receive<LagOf> for Watch {
    fn receive(&mut self, order: LagOf, _: &mut Ctx<Self>) -> Reply<GroupLag> {
        lag::lag(&self.parts, &order.group, &order.topics).into()
    }
}
