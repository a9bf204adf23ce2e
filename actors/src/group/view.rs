//! The published table of consumer groups: what connections read in pulls, and where requests to a
//! group's actor go.
//!
//! Two writers that do not meet: `Groups` writes the table (which groups there are and how they are
//! configured), each `Group` actor its own [`GroupSlot`] (who is in it, what they subscribe, which queues
//! are locked). A slot outlives a restart of its actor, which goes on from there.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use gantry_codec::body::{SubscriptionData, SubscriptionGroupConfig};
use gantry_supervisor::{Ref, Tree};
use thiserror::Error;

use super::{
    diagnosis::{Activities, Conflict},
    group::Group,
    handover::Handovers,
    locks::QueueLocks,
    membership::Membership,
    popped::PoppedTopics,
};

/// A group as readers see it.
pub struct GroupView {
    /// Its name.
    pub name: Arc<str>,
    /// How it is configured, at the time when this view was taken from the table.
    pub config: Arc<SubscriptionGroupConfig>,
    slot: Arc<GroupSlot>,
}

impl GroupView {
    /// A view of a group that is configured like this and lives in `slot`.
    pub fn new(name: Arc<str>, config: Arc<SubscriptionGroupConfig>, slot: Arc<GroupSlot>) -> Self {
        Self { name, config, slot }
    }

    /// Who consumes and what, now.
    pub fn membership(&self) -> Guard<Arc<Membership>> {
        self.slot.membership.load()
    }

    /// The locks on queues, now.
    pub fn locks(&self) -> Guard<Arc<QueueLocks>> {
        self.slot.locks.load()
    }

    /// The group's actor, if it was ever needed.
    pub fn actor(&self) -> Option<&Ref<Group>> {
        self.slot.acting.get().map(|acting| &acting.group)
    }

    /// What the group's actor publishes.
    pub fn slot(&self) -> &Arc<GroupSlot> {
        &self.slot
    }
}

/// Why a pull without a subscription of its own gets nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PullDenied {
    /// No member of the group is known by its heartbeats, or none subscribes the topic.
    #[error("the consumer's subscription not exist")]
    NotSubscribed,
    /// The group broadcasts and may not.
    #[error("the consumer group can not consume by broadcast way")]
    Broadcast,
    /// The client has changed its subscription and the heartbeat that says so has not come yet.
    #[error("the consumer's subscription not latest")]
    NotLatest,
}

impl GroupView {
    /// What a pull of `topic` is to be filtered by, if the pull itself does not say. The checks and
    /// their order are Java's (wire.md 2.4).
    pub fn subscription_for_pull(
        &self,
        topic: &str,
        sub_version: i64,
    ) -> Result<Arc<SubscriptionData>, PullDenied> {
        let membership = self.membership();
        if !membership.is_online() {
            return Err(PullDenied::NotSubscribed);
        }
        if membership.is_broadcasting() && !self.config.consume_broadcast_enable {
            return Err(PullDenied::Broadcast);
        }
        let data = membership.subscription(topic).ok_or(PullDenied::NotSubscribed)?;
        if data.sub_version < sub_version {
            return Err(PullDenied::NotLatest);
        }
        Ok(data.clone())
    }
}

/// What a `Group` actor publishes, and where it is reached.
#[derive(Default)]
pub struct GroupSlot {
    pub(super) membership: ArcSwap<Membership>,
    pub(super) locks: ArcSwap<QueueLocks>,
    /// Clients that do not subscribe the same.
    pub(super) conflicts: ArcSwap<Vec<Conflict>>,
    /// What pulls leave behind; written by sessions.
    pub activities: Activities,
    /// What pops have asked for; written by sessions.
    pub popped: PoppedTopics,
    /// Questions that wait for the member that had a queue; written by sessions.
    pub(super) handovers: Handovers,
    pub(super) acting: OnceLock<Acting>,
}

/// The actors of a group, once they have been needed.
#[derive(Clone)]
pub(super) struct Acting {
    pub(super) group: Ref<Group>,
    /// The tree that holds them.
    pub(super) tree: Tree,
}

/// The current views of all groups; clones read the same table.
#[derive(Clone, Default)]
pub struct GroupDirectory(Arc<ArcSwap<imbl::HashMap<Arc<str>, Arc<GroupView>>>>);

impl GroupDirectory {
    /// The group's current view; None if it is not configured.
    pub fn get(&self, group: &str) -> Option<Arc<GroupView>> {
        self.0.load().get(group).cloned()
    }

    /// All groups as they are now.
    pub fn all(&self) -> Arc<imbl::HashMap<Arc<str>, Arc<GroupView>>> {
        self.0.load_full()
    }

    /// The groups with a member online that subscribe `topic`, in order of their names.
    pub fn subscribers_of(&self, topic: &str) -> Vec<Arc<str>> {
        let groups = self.0.load();
        let subscribe = |view: &&Arc<GroupView>| view.membership().subscription(topic).is_some();
        let mut names: Vec<_> = groups.values().filter(subscribe).map(|v| v.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Publishes another table. For `Groups` alone, and for tests.
    pub(crate) fn store(&self, table: imbl::HashMap<Arc<str>, Arc<GroupView>>) {
        self.0.store(Arc::new(table));
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::body::MessageModel;

    use super::*;
    use crate::group::testing::{client, subscription};

    fn view(broadcast_enable: bool, membership: Membership) -> GroupView {
        let config = SubscriptionGroupConfig {
            consume_broadcast_enable: broadcast_enable,
            ..SubscriptionGroupConfig::default()
        };
        let slot =
            GroupSlot { membership: ArcSwap::from_pointee(membership), ..Default::default() };
        GroupView::new("g".into(), Arc::new(config), Arc::new(slot))
    }

    #[test]
    fn pulls_are_checked_in_order() {
        let offline = Membership::default();
        assert_eq!(
            view(true, offline).subscription_for_pull("t", 0),
            Err(PullDenied::NotSubscribed)
        );
        let online = Membership {
            members: vec![client(1, "one")],
            message_model: MessageModel::Broadcasting,
            subscriptions: [("t".into(), Arc::new(subscription("t", "A", 5)))]
                .into_iter()
                .collect(),
            ..Membership::default()
        };
        let broadcast = view(false, online.clone());
        assert_eq!(broadcast.subscription_for_pull("t", 0), Err(PullDenied::Broadcast));
        let view = view(true, online);
        assert_eq!(view.subscription_for_pull("u", 0), Err(PullDenied::NotSubscribed));
        assert_eq!(view.subscription_for_pull("t", 6), Err(PullDenied::NotLatest));
        let data = view.subscription_for_pull("t", 5).unwrap();
        assert_eq!(data.sub_string, "A");
        assert!(view.subscription_for_pull("t", 0).is_ok(), "an older one of the client will do");
    }
}
