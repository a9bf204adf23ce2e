//! The actor that tells the members of one group to share its queues out anew.
//!
//! Its group's actor sends [`MembersChanged`]; the rebalancer waits a moment for more changes, then sends
//! NOTIFY_CONSUMER_IDS_CHANGED (40) to every connection that the group has by then (wire.md 2.7, 5.7).
//! Clients answer by asking for the consumer list and computing their share, so with n members joining
//! one after the other, merging saves n² notifications and as many rounds of rebalancing.
//!
//! Not told: the members of a broadcasting group (everyone has all queues), of a group or under a broker
//! that has notifications switched off. Clients also look every 20 s by themselves.
//! Failure policy: restart empty; a notification that was due is lost to that 20 s look.

use std::{sync::Arc, time::Duration};

use actix::Message;
use gantry_codec::{Command, request_code};
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply};
use tokio::time::Instant;

use super::view::GroupDirectory;
use crate::settings::Live;

/// How long a change after a quiet time waits for others.
const FIRST_DELAY: Duration = Duration::from_millis(5);
/// The longest that a change waits: so long for each member, within these limits. A member that joins asks
/// for its share at once, and until the others are told, two of them consume the same queues; so few
/// members, who cost little to tell, are told soon.
const DELAY_PER_MEMBER: Duration = Duration::from_millis(2);
const DELAY_MAX: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// After this long without a notification it is quiet again.
const QUIET: Duration = Duration::from_secs(1);

/// A member has come or gone, the group's topics are others, or a queue that a member was refused the
/// lock of is free.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct MembersChanged;

/// When to notify: soon after a change, and the less often the longer changes go on.
///
/// The delay of a change counts from the first of its burst, so a steady stream of changes cannot put
/// the notification off.
#[derive(Default)]
struct Pace {
    delay: Duration,
    /// When the last notification was sent, or the pending one will be.
    last: Option<Instant>,
    pending: bool,
}

impl Pace {
    /// Something changed: how long to wait until notifying, None if that is already under way.
    fn change(&mut self, now: Instant, members: usize) -> Option<Duration> {
        if self.pending {
            return None;
        }
        let quiet = self.last.is_none_or(|last| now >= last + QUIET);
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let longest = DELAY_PER_MEMBER.saturating_mul(members).clamp(DELAY_MAX.0, DELAY_MAX.1);
        self.delay = if quiet { FIRST_DELAY } else { (self.delay * 2).min(longest) };
        self.pending = true;
        Some(self.delay)
    }

    /// The members are being notified.
    fn notified(&mut self, now: Instant) {
        self.last = Some(now);
        self.pending = false;
    }
}

/// See the module's text.
pub struct Rebalancer {
    group: Arc<str>,
    groups: GroupDirectory,
    enabled: Live<bool>,
    pace: Pace,
}

impl Rebalancer {
    /// The rebalancer of `group`; `enabled` is the broker's switch.
    pub fn new(group: Arc<str>, groups: GroupDirectory, enabled: Live<bool>) -> Self {
        Self { group, groups, enabled, pace: Pace::default() }
    }

    fn notify(&mut self) {
        self.pace.notified(Instant::now());
        let Some(view) = self.groups.get(&self.group) else { return };
        let membership = view.membership();
        let wanted = self.enabled.get() && view.config.notify_consumer_ids_changed_enable;
        if !wanted || membership.is_broadcasting() {
            return;
        }
        for member in &membership.members {
            member.connection.push(ids_changed(&self.group));
        }
    }
}

fn ids_changed(group: &str) -> Command {
    Command::oneway(request_code::NOTIFY_CONSUMER_IDS_CHANGED).with_ext("consumerGroup", group)
}

impl Logic for Rebalancer {
    const NAME: &'static str = "rebalancer";
}

impl Receive<MembersChanged> for Rebalancer {
    fn receive(&mut self, _: MembersChanged, ctx: &mut Ctx<Self>) -> Reply<()> {
        let view = self.groups.get(&self.group);
        let members = view.map_or(0, |view| view.membership().members.len());
        if let Some(delay) = self.pace.change(Instant::now(), members) {
            ctx.after(delay, |me, _| me.notify());
        }
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 1_000;

    /// Changes follow each other closely: how many notifications, and how long a change waits at most.
    fn a_minute_of_changes(members: usize) -> (usize, Duration) {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let (mut notifications, mut longest) = (0, Duration::ZERO);
        let end = now + Duration::from_secs(60);
        while now < end {
            let delay = pace.change(now, members).expect("nothing pending");
            longest = longest.max(delay);
            now += delay;
            pace.notified(now);
            notifications += 1;
        }
        (notifications, longest)
    }

    #[test]
    fn few_members_are_told_soon_whatever_goes_on() {
        assert_eq!(a_minute_of_changes(6).1, Duration::from_millis(12));
    }

    #[test]
    fn a_lone_change_is_notified_at_once() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.change(start, MANY), Some(FIRST_DELAY));
        pace.notified(start + FIRST_DELAY);
        let later = start + FIRST_DELAY + QUIET;
        assert_eq!(pace.change(later, MANY), Some(FIRST_DELAY), "quiet again");
    }

    #[test]
    fn changes_of_one_burst_are_merged_and_do_not_postpone() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.change(start, MANY).is_some());
        for ms in 1..5 {
            assert_eq!(pace.change(start + Duration::from_millis(ms), MANY), None);
        }
    }

    #[test]
    fn ongoing_changes_are_notified_less_often_but_always_within_a_second() {
        let (notifications, longest) = a_minute_of_changes(MANY);
        assert!((100..150).contains(&notifications), "{notifications} in a minute");
        assert_eq!(longest, Duration::from_millis(500));
    }
}
