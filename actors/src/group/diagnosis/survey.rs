//! What is seen of each queue that a group consumes: gathered from what groups, sessions, the offsets and
//! the queues publish.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gantry_codec::body::ConsumeType;
use tokio::time::Instant;

use super::{
    WatchParts,
    activity::Activity,
    conflicts::Conflict,
    judge::{Place, Seen},
};
use crate::{
    group::{configs::PREDEFINED, membership::Membership, view::GroupView},
    net::ConnectionId,
};

/// Everything at one time.
#[derive(Default)]
pub struct Survey {
    /// The queues.
    pub queues: Vec<Seen>,
    /// What pulls of each of them have left behind.
    pub activities: Vec<Option<Arc<Activity>>>,
    /// Clients that differ, with their groups.
    pub conflicts: Vec<(Arc<str>, Conflict)>,
}

/// Looks at all groups but those of tools.
pub fn survey(parts: &WatchParts, now: Instant) -> Survey {
    let mut survey = Survey::default();
    for (group, view) in parts.directory.all().iter() {
        if !PREDEFINED.contains(&&**group) {
            survey.group(parts, group, view, now);
        }
    }
    survey
}

impl Survey {
    fn group(&mut self, parts: &WatchParts, group: &Arc<str>, view: &GroupView, now: Instant) {
        let conflicts = view.slot().conflicts.load();
        self.conflicts.extend(conflicts.iter().map(|one| (group.clone(), one.clone())));
        let membership = view.membership();
        let exists = |topic: &str, queue_id: i32| {
            parts.facts.topic(topic).is_some_and(|config| queue_id < config.read_queue_nums)
        };
        let pulled: BTreeMap<_, _> = view.slot().activities.all(exists).into_iter().collect();
        let mut places: BTreeSet<(Arc<str>, i32)> = pulled.keys().cloned().collect();
        for topic in membership.subscriptions.keys() {
            let queues = parts.facts.topic(topic).map_or(0, |config| config.read_queue_nums);
            places.extend((0..queues).map(|queue_id| (topic.clone(), queue_id)));
        }
        let locks = view.locks();
        for (topic, queue_id) in places {
            let activity = pulled.get(&(topic.clone(), queue_id)).cloned();
            let lock = locks.owner(&topic, queue_id, now).cloned();
            let place = Place { group: group.clone(), topic, queue_id };
            if let Some(seen) = see(parts, place, &membership, activity.as_deref(), lock) {
                self.queues.push(seen);
                self.activities.push(activity);
            }
        }
    }
}

/// None: it cannot be judged, see [`super`].
fn see(
    parts: &WatchParts,
    place: Place,
    membership: &Membership,
    activity: Option<&Activity>,
    lock: Option<Arc<str>>,
) -> Option<Seen> {
    let (first, end) = parts.facts.range(&place.topic, place.queue_id);
    let committed = parts.offsets.get(&place.group, &place.topic, place.queue_id);
    let committed = committed.filter(|offset| *offset >= 0);
    if !membership.is_online() && committed.is_none() {
        return None;
    }
    let last = activity.and_then(Activity::last);
    let pops = last.map_or(membership.consume_type == ConsumeType::Pop, |last| last.is_pop);
    // What pops have out is not waiting for anybody.
    let out = last.filter(|_| pops).map_or(first, |last| last.offset);
    let position = committed.or(last.map(|last| last.offset)).unwrap_or(first).max(out).max(first);
    Some(Seen {
        place,
        end,
        position,
        committed,
        pulled: last.map(|last| (last.at_ms, last.offset)),
        delivered: activity.map_or(0, Activity::total),
        owner: lock.or(last.and_then(|last| member(membership, last.connection))),
        commits: !membership.is_broadcasting(),
        pops,
    })
}

/// The member on that connection.
pub fn member(membership: &Membership, connection: ConnectionId) -> Option<Arc<str>> {
    let found = membership.members.iter().find(|member| member.connection.id() == connection);
    found.map(|member| member.id.clone())
}
