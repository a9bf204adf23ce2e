//! The logic of one group's membership: heartbeats, leaving, expiry (wire.md 2.6, 5.7).
//!
//! A plain value with no runtime. It says what a change means for others in an [`Effect`]; publishing and
//! notifying are its caller's business. The rules are Java's:
//!
//! | heartbeat | subscriptions | told to send its subscriptions (`IS_SUB_CHANGE`) |
//! |---|---|---|
//! | v1 (fingerprint 0) | merged | always |
//! | v2 with subscriptions | merged | if the group's last fingerprint is another one |
//! | v2 without | kept | likewise; and if the group has no subscriptions |
//!
//! The last row's second half is ours: without it, the subscriptions would never come back to a broker
//! that has been restarted.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use gantry_codec::body::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use tokio::time::Instant;

use super::{client::Client, membership::Membership};
use crate::net::ConnectionId;

/// What a client's heartbeat says about one group.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The client and its connection.
    pub client: Client,
    /// Pull, push or pop.
    pub consume_type: ConsumeType,
    /// Shared or everything to everybody.
    pub message_model: MessageModel,
    /// Where a queue without offset starts.
    pub consume_from_where: ConsumeFromWhere,
    /// Its subscriptions; None: "as I sent them before" (`withoutSub`).
    pub subscriptions: Option<Vec<SubscriptionData>>,
    /// 0 in heartbeats of the first version.
    pub fingerprint: i32,
}

/// What a change means for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The snapshot is another one: publish it.
    pub changed: bool,
    /// Members or topics are others: all members have to share the queues out anew.
    pub rebalance: bool,
    /// The answer to `IS_SUB_CHANGE`.
    pub send_subscriptions: bool,
}

/// See the module's text.
pub struct Roster {
    membership: Membership,
    /// A member that was silent for longer than this is taken to be gone.
    expiry: Duration,
    last_beats: HashMap<ConnectionId, Instant>,
}

impl Roster {
    /// A roster that goes on from a published snapshot; its members get the full time to be heard of.
    pub fn new(membership: Membership, expiry: Duration, now: Instant) -> Self {
        let last_beats = membership.members.iter().map(|m| (m.connection.id(), now)).collect();
        Self { membership, expiry, last_beats }
    }

    /// The snapshot to publish.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Takes a heartbeat in.
    pub fn beat(&mut self, beat: Beat, now: Instant) -> Effect {
        let send_subscriptions = self.wants_subscriptions(&beat);
        let mut changed = self.policy(&beat);
        self.last_beats.insert(beat.client.connection.id(), now);
        let (joined, renamed) = self.join(beat.client);
        let merged = beat.subscriptions.map(|offered| self.merge(offered)).unwrap_or_default();
        changed |= joined || renamed || merged.changed;
        Effect { changed, rebalance: joined || merged.topics_changed, send_subscriptions }
    }

    /// Takes a member out, by its connection.
    pub fn leave(&mut self, connection: ConnectionId) -> Effect {
        let before = self.membership.members.len();
        self.membership.members.retain(|member| member.connection.id() != connection);
        self.last_beats.remove(&connection);
        let left = self.membership.members.len() < before;
        if left && self.membership.members.is_empty() {
            // What the next member wants is not measured against what the last one wanted.
            self.membership = Membership::default();
        }
        Effect { changed: left, rebalance: left, send_subscriptions: false }
    }

    /// Takes out the members that have been silent for too long, and names them.
    pub fn expire(&mut self, now: Instant) -> (Vec<Client>, Effect) {
        let is_late = |at: Option<&Instant>| at.is_none_or(|at| now > *at + self.expiry);
        let members = self.membership.members.iter();
        let late = members.filter(|m| is_late(self.last_beats.get(&m.connection.id())));
        let late: Vec<_> = late.cloned().collect();
        let mut effect = Effect::default();
        for member in &late {
            effect = self.leave(member.connection.id());
        }
        (late, effect)
    }

    fn wants_subscriptions(&self, beat: &Beat) -> bool {
        beat.fingerprint == 0
            || self.membership.fingerprint.is_some_and(|known| known != beat.fingerprint)
            || (beat.subscriptions.is_none() && self.membership.subscriptions.is_empty())
    }

    /// The last heartbeat's word holds for the whole group.
    fn policy(&mut self, beat: &Beat) -> bool {
        let now = &mut self.membership;
        let new = (beat.consume_type, beat.message_model, beat.consume_from_where);
        let changed = new != (now.consume_type, now.message_model, now.consume_from_where);
        (now.consume_type, now.message_model, now.consume_from_where) = new;
        let same_fingerprint = now.fingerprint.replace(beat.fingerprint) == Some(beat.fingerprint);
        changed || !same_fingerprint
    }

    /// Whether the member is new, and whether a known one has another name now.
    fn join(&mut self, client: Client) -> (bool, bool) {
        match self.membership.on(client.connection.id()) {
            None => {
                self.membership.members.push(client);
                (true, false)
            }
            Some(known) if known.id != client.id => {
                *known = client;
                (false, true)
            }
            Some(_) => (false, false),
        }
    }

    /// New topics are added, absent ones removed, known ones replaced by a greater version only.
    fn merge(&mut self, offered: Vec<SubscriptionData>) -> Merged {
        let known = &mut self.membership.subscriptions;
        let mut merged = Merged::default();
        let topics: HashSet<Box<str>> =
            offered.iter().map(|data| data.topic.as_str().into()).collect();
        for mut data in offered {
            let old = known.get(data.topic.as_str());
            if old.is_some_and(|old| data.sub_version <= old.sub_version) {
                continue;
            }
            // What clients say of tags and their hashes differs; the expression is the same everywhere.
            data.normalize();
            merged.topics_changed |= old.is_none();
            merged.changed = true;
            known.insert(data.topic.as_str().into(), Arc::new(data));
        }
        let absent: Vec<_> = known.keys().filter(|t| !topics.contains(&***t)).cloned().collect();
        merged.topics_changed |= !absent.is_empty();
        merged.changed |= !absent.is_empty();
        for topic in absent {
            known.remove(&topic);
        }
        merged
    }
}

/// What merging subscriptions did.
#[derive(Default)]
struct Merged {
    changed: bool,
    topics_changed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::testing::{client, subscription};

    const EXPIRY: Duration = Duration::from_secs(120);

    fn roster() -> Roster {
        Roster::new(Membership::default(), EXPIRY, Instant::now())
    }

    fn beat(id: u64, topics: &[(&str, i64)]) -> Beat {
        let subscriptions =
            topics.iter().map(|(topic, version)| subscription(topic, "*", *version));
        Beat {
            client: client(id, &format!("client-{id}")),
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
            subscriptions: Some(subscriptions.collect()),
            fingerprint: 0,
        }
    }

    fn without_subscriptions(id: u64, fingerprint: i32) -> Beat {
        Beat { subscriptions: None, fingerprint, ..beat(id, &[]) }
    }

    fn topics(roster: &Roster) -> Vec<(String, i64)> {
        let subscriptions = &roster.membership().subscriptions;
        let mut topics: Vec<_> =
            subscriptions.values().map(|data| (data.topic.clone(), data.sub_version)).collect();
        topics.sort();
        topics
    }

    #[test]
    fn members_join_stay_and_leave() {
        let (mut roster, now) = (roster(), Instant::now());
        let joined = Effect { changed: true, rebalance: true, send_subscriptions: true };
        assert_eq!(roster.beat(beat(1, &[("t", 1)]), now), joined);
        assert_eq!(roster.beat(beat(2, &[("t", 1)]), now), joined);
        let same = Effect { changed: false, rebalance: false, send_subscriptions: true };
        assert_eq!(roster.beat(beat(1, &[("t", 1)]), now), same);
        assert_eq!(roster.membership().client_ids(), ["client-1".into(), "client-2".into()]);
        let left = Effect { changed: true, rebalance: true, send_subscriptions: false };
        assert_eq!(roster.leave(ConnectionId(1)), left);
        assert_eq!(roster.leave(ConnectionId(1)), Effect::default(), "it has left already");
        assert!(roster.membership().is_online());
    }

    #[test]
    fn the_last_one_takes_the_subscriptions_along() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 9)]), now);
        roster.leave(ConnectionId(1));
        assert!(!roster.membership().is_online());
        assert_eq!(topics(&roster), []);
        roster.beat(beat(2, &[("t", 5)]), now);
        assert_eq!(topics(&roster), [("t".to_owned(), 5)], "an older version is the newest now");
    }

    #[test]
    fn only_a_greater_version_replaces() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 5)]), now);
        for version in [4, 5] {
            let effect = roster.beat(beat(1, &[("t", version)]), now);
            assert!(!effect.changed && !effect.rebalance);
        }
        let effect = roster.beat(beat(1, &[("t", 6)]), now);
        assert!(effect.changed, "it has to be published");
        assert!(!effect.rebalance, "the topics are the same");
        assert_eq!(topics(&roster), [("t".to_owned(), 6)]);
    }

    #[test]
    fn go_counts_in_nanoseconds_and_wins() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 1_700_000_000_000_000_000)]), now);
        assert!(!roster.beat(beat(1, &[("t", 1_800_000_000_000)]), now).changed);
    }

    #[test]
    fn topics_are_added_and_removed_and_the_last_heartbeat_wins() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 1)]), now);
        let more = roster.beat(beat(1, &[("t", 1), ("u", 1)]), now);
        assert!(more.changed && more.rebalance);
        roster.beat(beat(2, &[("v", 1)]), now);
        assert_eq!(topics(&roster), [("v".to_owned(), 1)], "two clients that differ fight");
        assert!(roster.beat(beat(1, &[("t", 1)]), now).rebalance);
    }

    #[test]
    fn what_clients_say_of_hashes_is_not_believed() {
        let (mut roster, now) = (roster(), Instant::now());
        let mut go = subscription("t", "TagA || TagB", 1);
        go.code_set = vec![1, 2, 3];
        go.tags_set = Vec::new();
        go.expression_type = String::new();
        roster.beat(Beat { subscriptions: Some(vec![go]), ..beat(1, &[]) }, now);
        let data = roster.membership().subscription("t").unwrap();
        let expected = subscription("t", "TagA || TagB", 1);
        assert_eq!(data.code_set, expected.code_set);
        assert_eq!(data.tags_set, ["TagA", "TagB"]);
    }

    #[test]
    fn the_last_word_on_model_and_start_holds() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 1)]), now);
        let other = Beat { message_model: MessageModel::Broadcasting, ..beat(1, &[("t", 1)]) };
        let effect = roster.beat(other, now);
        assert!(effect.changed && !effect.rebalance);
        assert!(roster.membership().is_broadcasting());
    }

    #[test]
    fn a_client_may_take_another_name_on_its_connection() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 1)]), now);
        let renamed = Beat { client: client(1, "other"), ..beat(1, &[("t", 1)]) };
        let effect = roster.beat(renamed, now);
        assert!(effect.changed && !effect.rebalance);
        assert_eq!(roster.membership().client_ids(), ["other".into()]);
    }

    #[test]
    fn two_connections_of_one_client_are_one_in_the_list() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 1)]), now);
        roster.beat(Beat { client: client(2, "client-1"), ..beat(2, &[("t", 1)]) }, now);
        assert_eq!(roster.membership().members.len(), 2);
        assert_eq!(roster.membership().client_ids(), ["client-1".into()]);
        let member = roster.membership().client("client-1").unwrap();
        assert_eq!(member.connection.id(), ConnectionId(2), "the last to join is the one to call");
    }

    #[test]
    fn the_second_version_keeps_subscriptions_and_asks_when_they_differ() {
        let (mut roster, now) = (roster(), Instant::now());
        let full = Beat { fingerprint: 7, ..beat(1, &[("t", 1)]) };
        assert!(!roster.beat(full.clone(), now).send_subscriptions);
        assert!(!roster.beat(without_subscriptions(1, 7), now).send_subscriptions);
        assert_eq!(topics(&roster), [("t".to_owned(), 1)]);
        let other = roster.beat(without_subscriptions(1, 8), now);
        assert!(other.send_subscriptions, "another fingerprint");
        let first_version = roster.beat(beat(1, &[("t", 1)]), now);
        assert!(first_version.send_subscriptions, "always in the first version");
        assert!(roster.beat(full, now).send_subscriptions, "0 was another fingerprint");
    }

    #[test]
    fn a_broker_without_subscriptions_asks_for_them() {
        let (mut roster, now) = (roster(), Instant::now());
        let effect = roster.beat(without_subscriptions(1, 7), now);
        assert!(effect.send_subscriptions && effect.rebalance);
    }

    #[test]
    fn the_silent_are_taken_out_after_their_time() {
        let (mut roster, start) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 1)]), start);
        roster.beat(beat(2, &[("t", 1)]), start + EXPIRY / 2);
        let (late, effect) = roster.expire(start + EXPIRY);
        assert!(late.is_empty() && effect == Effect::default());
        let (late, effect) = roster.expire(start + EXPIRY + Duration::from_millis(1));
        assert_eq!(late.len(), 1);
        assert_eq!(&*late[0].id, "client-1");
        assert!(effect.changed && effect.rebalance);
        assert_eq!(roster.membership().client_ids(), ["client-2".into()]);
    }

    #[test]
    fn who_goes_on_from_a_snapshot_gives_everybody_the_full_time() {
        let (mut roster, start) = (roster(), Instant::now());
        roster.beat(beat(1, &[("t", 1)]), start);
        let later = start + EXPIRY;
        let mut next = Roster::new(roster.membership().clone(), EXPIRY, later);
        assert!(next.expire(later + EXPIRY).0.is_empty());
        assert_eq!(next.expire(later + EXPIRY * 2).0.len(), 1);
    }
}
