//! Conflicting subscriptions: clients of one group that do not subscribe the same.
//!
//! A group has one subscription per topic, that of whoever sent it last, so clients that differ take
//! each other's messages away in silence: a message that one of them wants goes to a queue of the other,
//! which drops it. Here it is remembered what each client said, and who differs.
//!
//! Not counted: a group's own retry topic, and clients that subscribe nothing at all (those that are
//! assigned their queues).

use std::collections::{BTreeMap, BTreeSet};

use gantry_codec::body::{FindingClient, SubscriptionData};

use crate::{group::client::Client, net::ConnectionId, topic::names::RETRY_PREFIX};

/// Conflicts of one group that are told.
const CONFLICTS_MAX: usize = 100;

/// Two clients that differ in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The topic.
    pub topic: String,
    /// The client that has been there longer.
    pub one: FindingClient,
    /// The first one that differs from it.
    pub other: FindingClient,
    /// How many clients there are, and how many different subscriptions they have.
    pub clients: usize,
    /// See above.
    pub kinds: usize,
}

/// What each client of a group subscribes.
#[derive(Default)]
pub struct Conflicts(BTreeMap<ConnectionId, Said>);

struct Said {
    client_id: Box<str>,
    /// By topic, the expression.
    topics: BTreeMap<String, String>,
}

impl Conflicts {
    /// A client has said what it subscribes; whether that is news.
    pub fn said(&mut self, client: &Client, subscriptions: &[SubscriptionData]) -> bool {
        let counted = subscriptions.iter().filter(|data| !data.topic.starts_with(RETRY_PREFIX));
        let topics: BTreeMap<_, _> =
            counted.map(|data| (data.topic.clone(), expression(data))).collect();
        let said = Said { client_id: (*client.id).into(), topics };
        let before = self.0.get(&client.connection.id());
        let is_news = before.is_none_or(|before| {
            before.topics != said.topics || before.client_id != said.client_id
        });
        if is_news {
            self.0.insert(client.connection.id(), said);
        }
        is_news
    }

    /// A client is gone; whether it was known.
    pub fn left(&mut self, connection: ConnectionId) -> bool {
        self.0.remove(&connection).is_some()
    }

    /// Who differs, at most once per topic.
    pub fn find(&self) -> Vec<Conflict> {
        let clients: Vec<_> = self.0.values().filter(|said| !said.topics.is_empty()).collect();
        let topics: BTreeSet<&String> =
            clients.iter().flat_map(|said| said.topics.keys()).collect();
        topics
            .into_iter()
            .filter_map(|topic| in_topic(topic, &clients))
            .take(CONFLICTS_MAX)
            .collect()
    }
}

fn in_topic(topic: &str, clients: &[&Said]) -> Option<Conflict> {
    let named = |said: &Said| FindingClient {
        client_id: said.client_id.to_string(),
        expression: said.topics.get(topic).cloned(),
    };
    let one = clients.first()?;
    let other = clients.iter().find(|said| said.topics.get(topic) != one.topics.get(topic))?;
    let kinds: BTreeSet<_> = clients.iter().map(|said| said.topics.get(topic)).collect();
    Some(Conflict {
        topic: topic.to_owned(),
        one: named(one),
        other: named(other),
        clients: clients.len(),
        kinds: kinds.len(),
    })
}

/// The expression as it is compared and shown. Tags mean the same in any order.
fn expression(data: &SubscriptionData) -> String {
    if data.is_sql92() {
        return format!("SQL92: {}", data.sub_string);
    }
    let mut tags: Vec<_> = data.sub_string.split("||").map(str::trim).collect();
    tags.retain(|tag| !tag.is_empty());
    tags.sort_unstable();
    tags.dedup();
    if tags.is_empty() { "*".to_owned() } else { tags.join(" || ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::testing::{client, subscription};

    fn conflicts(clients: &[&[(&str, &str)]]) -> Vec<Conflict> {
        let mut conflicts = Conflicts::default();
        for (number, subscriptions) in clients.iter().enumerate() {
            let client = client(number as u64, &format!("client-{number}"));
            let data: Vec<_> =
                subscriptions.iter().map(|(topic, tags)| subscription(topic, tags, 1)).collect();
            conflicts.said(&client, &data);
        }
        conflicts.find()
    }

    fn named(number: u32, expression: Option<&str>) -> FindingClient {
        let client_id = format!("client-{number}");
        FindingClient { client_id, expression: expression.map(str::to_owned) }
    }

    #[test]
    fn clients_that_agree_have_no_conflict() {
        assert_eq!(conflicts(&[]), []);
        assert_eq!(conflicts(&[&[("t", "A || B")], &[("t", "B||A")]]), []);
        assert_eq!(conflicts(&[&[("t", "*")], &[("t", "*"), ("%RETRY%g", "*")], &[]]), []);
    }

    #[test]
    fn who_differs_is_named_with_both_expressions() {
        let found = conflicts(&[&[("t", "A")], &[("t", "A")], &[("t", "B")], &[("t", "C")]]);
        let expected = Conflict {
            topic: "t".into(),
            one: named(0, Some("A")),
            other: named(2, Some("B")),
            clients: 4,
            kinds: 3,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn different_topics_conflict_in_both() {
        let found = conflicts(&[&[("t", "*")], &[("u", "*")]]);
        let both: Vec<_> = found.into_iter().map(|c| (c.topic, c.one, c.other)).collect();
        let (one, other) = (named(0, Some("*")), named(1, Some("*")));
        let expected = [("t".into(), one, named(1, None)), ("u".into(), named(0, None), other)];
        assert_eq!(both, expected);
    }

    #[test]
    fn a_conflict_ends_with_who_leaves_or_changes_its_mind() {
        let mut conflicts = Conflicts::default();
        let (one, two) = (client(1, "one"), client(2, "two"));
        assert!(conflicts.said(&one, &[subscription("t", "A", 1)]));
        assert!(!conflicts.said(&one, &[subscription("t", "A", 2)]), "nothing new");
        assert!(conflicts.said(&two, &[subscription("t", "B", 1)]));
        assert_eq!(conflicts.find().len(), 1);
        assert!(conflicts.said(&two, &[subscription("t", "A", 2)]));
        assert_eq!(conflicts.find(), []);
        conflicts.said(&two, &[subscription("t", "B", 3)]);
        assert!(conflicts.left(two.connection.id()) && !conflicts.left(two.connection.id()));
        assert_eq!(conflicts.find(), []);
    }
}
