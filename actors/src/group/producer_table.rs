//! Who produces: the logic of producer registration (wire.md 2.6), and its published form.
//!
//! A producer is known by its heartbeats, on the connection on which they come. Two look-ups are published
//! for other actors: a live connection of a group (transaction checks) and the connection of a client id
//! (replies of request-reply).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::Recipient;
use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::client::Client;
use crate::{
    net::{ConnectionHandle, ConnectionId},
    transaction::orders::GroupsAppeared,
};

/// The published look-ups; clones read the same table.
#[derive(Clone, Default)]
pub struct ProducerDirectory(Arc<Published>);

#[derive(Default)]
struct Published {
    tables: ArcSwap<Tables>,
    /// Whose turn it is among the producers of a group.
    turn: AtomicUsize,
    /// Who is told of groups that get their first producer.
    watcher: Mutex<Option<Recipient<GroupsAppeared>>>,
}

#[derive(Clone, Default)]
struct Tables {
    by_group: imbl::HashMap<Arc<str>, Arc<[Client]>>,
    by_client: imbl::HashMap<Arc<str>, ConnectionHandle>,
}

impl ProducerDirectory {
    /// A connection of a producer of `group`; another one each time, in turn.
    pub fn of_group(&self, group: &str) -> Option<ConnectionHandle> {
        let tables = self.0.tables.load();
        let producers = tables.by_group.get(group)?;
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        producers.get(turn.checked_rem(producers.len())?).map(|p| p.connection.clone())
    }

    /// Calls `f` with each producer of each group, in no order.
    pub fn each(&self, f: impl FnMut(&Client)) {
        let tables = self.0.tables.load();
        tables.by_group.values().flat_map(|producers| producers.iter()).for_each(f);
    }

    /// Has `watcher`, from now on and in place of any other, told of groups that get their first
    /// producer: whoever finds none for a group after this call is told of the next one.
    pub fn watch(&self, watcher: Recipient<GroupsAppeared>) {
        *self.0.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    }

    fn tell(&self, appeared: Vec<Arc<str>>) {
        let watcher = self.0.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = watcher.as_ref().filter(|_| !appeared.is_empty()) {
            watcher.do_send(GroupsAppeared(appeared));
        }
    }

    /// The connection of the producer with that client id.
    pub fn of_client(&self, client_id: &str) -> Option<ConnectionHandle> {
        self.0.tables.load().by_client.get(client_id).cloned()
    }
}

/// The producers of all groups; the writing side, there is one per directory.
pub struct ProducerTable {
    directory: ProducerDirectory,
    groups: HashMap<Arc<str>, Vec<Entry>>,
    unpublished: bool,
}

/// A producer and when it was last heard of.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The producer.
    pub producer: Client,
    /// By the clock that expiry goes by.
    pub heard: Instant,
    /// By the wall clock, in milliseconds.
    pub heard_ms: i64,
}

impl ProducerTable {
    /// A table that goes on from what `directory` shows; its producers get the full time to be heard of.
    pub fn new(directory: ProducerDirectory, now: Instant, now_ms: i64) -> Self {
        let tables = directory.0.tables.load_full();
        let entry =
            |producer: &Client| Entry { producer: producer.clone(), heard: now, heard_ms: now_ms };
        let groups = tables.by_group.iter();
        let groups = groups.map(|(group, list)| (group.clone(), list.iter().map(entry).collect()));
        Self { groups: groups.collect(), directory, unpublished: false }
    }

    /// A producer of `group` is alive. True: it is new.
    pub fn beat(&mut self, group: &str, producer: Client, now: Instant, now_ms: i64) -> bool {
        let entries = match self.groups.get_mut(group) {
            Some(entries) => entries,
            None => self.groups.entry(group.into()).or_default(),
        };
        let id = producer.connection.id();
        if let Some(known) = entries.iter_mut().find(|entry| entry.producer.connection.id() == id) {
            (known.heard, known.heard_ms) = (now, now_ms);
            return false;
        }
        entries.push(Entry { producer, heard: now, heard_ms: now_ms });
        self.unpublished = true;
        true
    }

    /// A client no longer produces for `group`.
    pub fn leave(&mut self, group: &str, connection: ConnectionId) -> bool {
        let Some(entries) = self.groups.get_mut(group) else { return false };
        let before = entries.len();
        entries.retain(|entry| entry.producer.connection.id() != connection);
        let left = entries.len() < before;
        self.tidy(left);
        left
    }

    /// A connection is gone, with all groups that it produced for.
    pub fn close(&mut self, connection: ConnectionId) -> bool {
        let mut left = false;
        for entries in self.groups.values_mut() {
            let before = entries.len();
            entries.retain(|entry| entry.producer.connection.id() != connection);
            left |= entries.len() < before;
        }
        self.tidy(left);
        left
    }

    /// Takes out the producers that have been silent for longer than `expiry`, and names them with their groups.
    pub fn expire(&mut self, expiry: Duration, now: Instant) -> Vec<(Arc<str>, Client)> {
        let mut late = Vec::new();
        for (group, entries) in &mut self.groups {
            entries.retain(|entry| {
                let alive = now <= entry.heard + expiry;
                if !alive {
                    late.push((group.clone(), entry.producer.clone()));
                }
                alive
            });
        }
        self.tidy(!late.is_empty());
        late
    }

    /// The producers of one group, in the order in which they came; None if there is none.
    pub fn group(&self, group: &str) -> Option<&[Entry]> {
        self.groups.get(group).map(Vec::as_slice)
    }

    /// All groups with their producers, in no order.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &[Entry])> {
        self.groups.iter().map(|(group, entries)| (group, entries.as_slice()))
    }

    fn tidy(&mut self, changed: bool) {
        if changed {
            self.groups.retain(|_, entries| !entries.is_empty());
            self.unpublished = true;
        }
    }

    /// Publishes what has changed. Both look-ups are built anew, so this is for the end of a burst.
    pub fn publish(&mut self) {
        if !std::mem::take(&mut self.unpublished) {
            return;
        }
        let mut tables = Tables::default();
        for (group, entries) in &self.groups {
            let producers = entries.iter().map(|entry| entry.producer.clone());
            tables.by_group.insert(group.clone(), producers.collect());
        }
        // The connection heard of last comes last: of a client that has come back, and whose old connection
        // nobody has missed yet, the new one counts.
        let mut all: Vec<_> = self.groups.values().flatten().collect();
        all.sort_unstable_by_key(|entry| (entry.heard, entry.producer.connection.id()));
        for Entry { producer, .. } in all {
            tables.by_client.insert(producer.id.clone(), producer.connection.clone());
        }
        let before = self.directory.0.tables.swap(Arc::new(tables));
        let appeared = self.groups.keys().filter(|group| !before.by_group.contains_key(&***group));
        self.directory.tell(appeared.cloned().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::testing::{client, run, settle};

    const EXPIRY: Duration = Duration::from_secs(120);

    fn table() -> (ProducerTable, ProducerDirectory) {
        let directory = ProducerDirectory::default();
        (ProducerTable::new(directory.clone(), Instant::now(), 0), directory)
    }

    #[test]
    fn producers_are_found_by_group_in_turn_and_by_client() {
        let ((mut table, directory), now) = (table(), Instant::now());
        assert!(table.beat("g", client(1, "one"), now, 10));
        assert!(table.beat("g", client(2, "two"), now, 10));
        assert!(!table.beat("g", client(1, "one"), now, 20), "it is known");
        assert!(directory.of_group("g").is_none(), "not published yet");
        table.publish();
        let mut turns: Vec<_> = (0..4).map(|_| directory.of_group("g").unwrap().id().0).collect();
        assert_eq!(turns[0], turns[2]);
        turns.truncate(2);
        turns.sort_unstable();
        assert_eq!(turns, [1, 2]);
        assert_eq!(directory.of_client("two").unwrap().id().0, 2);
        assert!(directory.of_client("three").is_none());
        assert_eq!(table.group("g").unwrap()[0].heard_ms, 20);
    }

    #[test]
    fn leaving_one_group_is_not_leaving_the_other() {
        let ((mut table, directory), now) = (table(), Instant::now());
        table.beat("g", client(1, "one"), now, 0);
        table.beat("h", client(1, "one"), now, 0);
        assert!(table.leave("g", ConnectionId(1)));
        assert!(!table.leave("g", ConnectionId(1)));
        assert!(!table.leave("nobody", ConnectionId(1)));
        table.publish();
        assert!(directory.of_group("g").is_none() && table.group("g").is_none());
        assert!(directory.of_client("one").is_some());
        assert!(table.close(ConnectionId(1)));
        table.publish();
        assert!(directory.of_client("one").is_none() && directory.of_group("h").is_none());
    }

    #[test]
    fn of_two_connections_of_one_client_the_one_heard_of_last_counts() {
        for order in [["g", "h"], ["h", "g"]] {
            let ((mut table, directory), now) = (table(), Instant::now());
            table.beat(order[0], client(7, "one"), now + EXPIRY / 4, 0);
            table.beat(order[1], client(3, "one"), now + EXPIRY / 2, 0);
            table.publish();
            assert_eq!(directory.of_client("one").unwrap().id().0, 3);
        }
    }

    #[test]
    fn the_silent_are_taken_out() {
        let ((mut table, _), start) = (table(), Instant::now());
        table.beat("g", client(1, "one"), start, 0);
        table.beat("g", client(2, "two"), start + EXPIRY / 2, 0);
        assert!(table.expire(EXPIRY, start + EXPIRY).is_empty());
        let late = table.expire(EXPIRY, start + EXPIRY + Duration::from_millis(1));
        assert_eq!(late.len(), 1);
        assert_eq!((&*late[0].0, &*late[0].1.id), ("g", "one"));
        assert_eq!(table.groups().count(), 1);
    }

    #[test]
    fn a_new_writer_goes_on_from_the_published_table() {
        let ((mut table, directory), start) = (table(), Instant::now());
        table.beat("g", client(1, "one"), start, 0);
        table.publish();
        let mut next = ProducerTable::new(directory, start + EXPIRY, 5);
        assert_eq!(next.group("g").unwrap()[0].heard_ms, 5);
        assert!(next.expire(EXPIRY, start + EXPIRY * 2).is_empty());
    }

    #[derive(Default)]
    struct Watcher(Arc<Mutex<Vec<Arc<str>>>>);

    impl actix::Actor for Watcher {
        type Context = actix::Context<Self>;
    }

    impl actix::Handler<GroupsAppeared> for Watcher {
        type Result = ();

        fn handle(&mut self, GroupsAppeared(groups): GroupsAppeared, _: &mut Self::Context) {
            self.0.lock().unwrap().extend(groups);
        }
    }

    #[test]
    fn a_groups_first_producer_is_told_of() {
        run(async {
            let ((mut table, directory), now) = (table(), Instant::now());
            let watcher = Watcher::default();
            let seen = watcher.0.clone();
            directory.watch(actix::Actor::start(watcher).recipient());
            for number in 1..3 {
                table.beat("g", client(number, "one"), now, 0);
                table.publish();
            }
            table.close(ConnectionId(1));
            table.publish();
            table.close(ConnectionId(2));
            table.publish();
            table.beat("g", client(3, "one"), now, 0);
            table.publish();
            settle().await;
            assert_eq!(
                *seen.lock().unwrap(),
                ["g".into(), "g".into()],
                "the first, and the next one"
            );
        });
    }
}
