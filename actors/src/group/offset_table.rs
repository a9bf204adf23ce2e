//! The committed offsets of all groups, as one actor writes and everybody reads them.
//!
//! Group → topic → queue → cell. The maps are persistent and published whole, behind one atomic
//! pointer, when an entry is added or removed; the number in a cell is an atomic that is written in
//! place. So a commit to a known queue costs two look-ups and a store, and a reader sees it at once.
//! Writer: [`OffsetTable`], owned by the `Offsets` actor alone. Readers: [`OffsetView`].
//!
//! A server-side reset marks its cell: until a pull has been told the new offset, commits to the cell are
//! ignored, as the clients that send them have not heard of the reset (wire.md 5.8).
//!
//! The published part survives a restart of its actor; it is then where the actor starts from.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;

/// Offsets of one group and topic, ordered by queue.
pub type QueueCells = Arc<[(i32, Arc<Cell>)]>;

type Topics = imbl::HashMap<Arc<str>, QueueCells>;
type Groups = imbl::HashMap<Arc<str>, Topics>;

/// The committed offset of one group in one queue.
pub struct Cell {
    offset: AtomicI64,
    /// A reset that no pull has been told yet.
    reset: AtomicBool,
}

/// What a client reports: it needs nothing below this offset any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The consumer group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
    /// The next offset to consume.
    pub offset: i64,
    /// Whether it counts only if it is not behind what was committed before.
    pub only_forward: bool,
}

/// The published offsets; clones read the same table.
#[derive(Clone, Default)]
pub struct OffsetView(Arc<Published>);

#[derive(Default)]
struct Published {
    groups: ArcSwap<Groups>,
    /// How many cells are marked; pulls look for a mark only if there is one.
    resets: AtomicUsize,
    /// Whether the content of the file is in.
    filled: AtomicBool,
}

impl OffsetView {
    /// The committed offset, if there is one.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.cell(group, topic, queue_id).map(|cell| cell.offset.load(Ordering::Acquire))
    }

    /// The offset that the next pull of this queue has to be sent to, after a server-side reset.
    pub fn pending_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if self.0.resets.load(Ordering::Acquire) == 0 {
            return None;
        }
        let cell = self.cell(group, topic, queue_id)?;
        cell.reset.load(Ordering::Acquire).then(|| cell.offset.load(Ordering::Acquire))
    }

    /// All queues of a topic in which the group has an offset, in order.
    pub fn queues(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        let groups = self.0.groups.load();
        let cells = groups.get(group).and_then(|topics| topics.get(topic));
        cells.map(|cells| values(cells).collect()).unwrap_or_default()
    }

    /// The topics in which the group has offsets, in order of their names.
    pub fn topics_of(&self, group: &str) -> Vec<Arc<str>> {
        let groups = self.0.groups.load();
        let mut topics: Vec<_> =
            groups.get(group).into_iter().flat_map(|topics| topics.keys().cloned()).collect();
        topics.sort_unstable();
        topics
    }

    /// The groups that have offsets in the topic, in order of their names.
    pub fn groups_of(&self, topic: &str) -> Vec<Arc<str>> {
        let groups = self.0.groups.load();
        let mut groups: Vec<_> = groups
            .iter()
            .filter(|(_, topics)| topics.contains_key(topic))
            .map(|(group, _)| group.clone())
            .collect();
        groups.sort_unstable();
        groups
    }

    /// Calls `f` with every group, topic and its queues, in no order.
    pub fn for_each(&self, mut f: impl FnMut(&str, &str, Vec<(i32, i64)>)) {
        let groups = self.0.groups.load();
        for (group, topics) in groups.iter() {
            for (topic, cells) in topics {
                f(group, topic, values(cells).collect());
            }
        }
    }

    fn cell(&self, group: &str, topic: &str, queue_id: i32) -> Option<Arc<Cell>> {
        find(self.0.groups.load().get(group)?.get(topic)?, queue_id).cloned()
    }
}

fn values(cells: &QueueCells) -> impl Iterator<Item = (i32, i64)> + '_ {
    cells.iter().map(|(queue, cell)| (*queue, cell.offset.load(Ordering::Acquire)))
}

fn find(cells: &QueueCells, queue_id: i32) -> Option<&Arc<Cell>> {
    let at = cells.binary_search_by_key(&queue_id, |(queue, _)| *queue).ok()?;
    cells.get(at).map(|(_, cell)| cell)
}

/// The writing side; there is one per view.
pub struct OffsetTable {
    view: OffsetView,
    groups: Groups,
    unpublished: bool,
}

impl OffsetTable {
    /// A table that goes on from what `view` shows.
    pub fn new(view: OffsetView) -> Self {
        let groups = Groups::clone(&view.0.groups.load());
        Self { view, groups, unpublished: false }
    }

    /// Takes what the file holds in and publishes it, the first time. A later writer finds the published
    /// table, which is younger.
    pub fn fill(&mut self, stored: &[Commit]) {
        if self.view.0.filled.swap(true, Ordering::AcqRel) {
            return;
        }
        for commit in stored {
            self.commit(commit);
        }
        self.publish();
    }

    /// Takes a commit. False: it is ignored, as a reset of this queue is still pending. An offset may
    /// go back: consumers seek.
    pub fn commit(&mut self, commit: &Commit) -> bool {
        let cell = self.known_cell(&commit.group, &commit.topic, commit.queue_id);
        match cell {
            Some(cell) if cell.reset.load(Ordering::Relaxed) => return false,
            Some(cell)
                if commit.only_forward && cell.offset.load(Ordering::Relaxed) > commit.offset =>
            {
                return false;
            }
            Some(cell) => cell.offset.store(commit.offset, Ordering::Release),
            None => {
                self.insert(&commit.group, &commit.topic, commit.queue_id, commit.offset);
            }
        }
        true
    }

    /// Sets an offset by order of the server and keeps commits out until a pull has been told.
    pub fn reset(&mut self, commit: &Commit) {
        let cell = match self.known_cell(&commit.group, &commit.topic, commit.queue_id) {
            Some(cell) => cell.clone(),
            None => self.insert(&commit.group, &commit.topic, commit.queue_id, commit.offset),
        };
        cell.offset.store(commit.offset, Ordering::Release);
        if !cell.reset.swap(true, Ordering::AcqRel) {
            self.view.0.resets.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A pull has been told of the reset: commits count again.
    pub fn reset_delivered(&mut self, group: &str, topic: &str, queue_id: i32) {
        if let Some(cell) = self.known_cell(group, topic, queue_id) {
            self.unmark(cell);
        }
    }

    /// Forgets all offsets in a topic.
    pub fn delete_topic(&mut self, topic: &str) {
        let groups = self.groups.iter().filter(|(_, topics)| topics.contains_key(topic));
        let groups: Vec<_> = groups.map(|(group, _)| group.clone()).collect();
        for group in groups {
            let Some(topics) = self.groups.get_mut(&group) else { continue };
            let cells = topics.remove(topic);
            if topics.is_empty() {
                self.groups.remove(&group);
            }
            self.removed(cells.as_slice());
        }
    }

    /// Forgets all offsets of a group.
    pub fn delete_group(&mut self, group: &str) {
        if let Some(topics) = self.groups.remove(group) {
            let cells: Vec<_> = topics.values().cloned().collect();
            self.removed(&cells);
        }
    }

    /// Gives `to` the offsets that `from` has in `topic`; those that `to` had in it are gone.
    pub fn clone_offsets(&mut self, from: &str, to: &Arc<str>, topic: &Arc<str>) {
        let source = self.view_of(from, topic);
        if source.is_empty() {
            return;
        }
        let cells: QueueCells =
            source.into_iter().map(|(queue, offset)| (queue, cell(offset))).collect();
        let old = self.groups.entry(to.clone()).or_default().insert(topic.clone(), cells);
        self.removed(old.as_slice());
    }

    /// Makes added and removed entries visible. To be called before anybody is told of them.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.unpublished) {
            self.view.0.groups.store(Arc::new(self.groups.clone()));
        }
    }

    /// What readers see.
    pub fn view(&self) -> &OffsetView {
        &self.view
    }

    fn view_of(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        let cells = self.groups.get(group).and_then(|topics| topics.get(topic));
        cells.map(|cells| values(cells).collect()).unwrap_or_default()
    }

    fn known_cell(&self, group: &str, topic: &str, queue_id: i32) -> Option<&Arc<Cell>> {
        find(self.groups.get(group)?.get(topic)?, queue_id)
    }

    fn insert(&mut self, group: &Arc<str>, topic: &Arc<str>, queue: i32, offset: i64) -> Arc<Cell> {
        let cell = cell(offset);
        let cells = self.groups.entry(group.clone()).or_default().entry(topic.clone()).or_default();
        let mut queues = cells.to_vec();
        let at = queues.partition_point(|(other, _)| *other < queue);
        queues.insert(at, (queue, cell.clone()));
        *cells = queues.into();
        self.unpublished = true;
        cell
    }

    fn removed(&mut self, gone: &[QueueCells]) {
        for (_, cell) in gone.iter().flat_map(|cells| cells.iter()) {
            self.unmark(cell);
        }
        self.unpublished = true;
    }

    fn unmark(&self, cell: &Cell) {
        if cell.reset.swap(false, Ordering::AcqRel) {
            self.view.0.resets.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn cell(offset: i64) -> Arc<Cell> {
    Arc::new(Cell { offset: AtomicI64::new(offset), reset: AtomicBool::new(false) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(group: &str, topic: &str, queue_id: i32, offset: i64) -> Commit {
        let (group, topic) = (group.into(), topic.into());
        Commit { group, topic, queue_id, offset, only_forward: false }
    }

    fn table() -> (OffsetTable, OffsetView) {
        let view = OffsetView::default();
        (OffsetTable::new(view.clone()), view)
    }

    #[test]
    fn commits_replace_and_may_go_back() {
        let (mut table, view) = table();
        assert_eq!(view.get("g", "t", 0), None);
        assert!(table.commit(&commit("g", "t", 0, 10)));
        table.publish();
        assert_eq!(view.get("g", "t", 0), Some(10));
        assert!(table.commit(&commit("g", "t", 0, 4)));
        assert_eq!(view.get("g", "t", 0), Some(4), "a known queue needs no publishing");
        let forward = |offset| Commit { only_forward: true, ..commit("g", "t", 0, offset) };
        assert!(!table.commit(&forward(3)), "but for those that go forward only");
        assert!(table.commit(&forward(5)));
        assert_eq!(view.get("g", "t", 0), Some(5));
        assert_eq!(view.get("g", "t", 1), None);
        assert_eq!(view.get("g", "other", 0), None);
        assert_eq!(view.get("other", "t", 0), None);
    }

    #[test]
    fn queues_are_in_order_whatever_came_first() {
        let (mut table, view) = table();
        for queue in [7, 0, 3, 5, 1] {
            assert!(table.commit(&commit("g", "t", queue, i64::from(queue) * 10)));
        }
        table.publish();
        assert_eq!(view.queues("g", "t"), [(0, 0), (1, 10), (3, 30), (5, 50), (7, 70)]);
    }

    #[test]
    fn a_pending_reset_keeps_commits_out_until_delivered() {
        let (mut table, view) = table();
        assert!(table.commit(&commit("g", "t", 0, 10)));
        table.reset(&commit("g", "t", 0, 3));
        table.reset(&commit("g", "t", 1, 8));
        table.publish();
        assert_eq!(view.pending_reset("g", "t", 0), Some(3));
        assert_eq!(view.pending_reset("g", "t", 1), Some(8), "works for a queue without offset");
        assert!(!table.commit(&commit("g", "t", 0, 11)));
        assert_eq!(view.get("g", "t", 0), Some(3), "a query gets the offset of the reset");
        table.reset_delivered("g", "t", 0);
        assert_eq!(view.pending_reset("g", "t", 0), None);
        assert!(table.commit(&commit("g", "t", 0, 4)));
        assert_eq!(view.pending_reset("g", "t", 1), Some(8));
    }

    #[test]
    fn a_second_reset_counts_once_and_deletion_clears_the_mark() {
        let (mut table, view) = table();
        table.reset(&commit("g", "t", 0, 3));
        table.reset(&commit("g", "t", 0, 5));
        table.publish();
        assert_eq!(view.0.resets.load(Ordering::Relaxed), 1);
        table.delete_topic("t");
        table.publish();
        assert_eq!(view.0.resets.load(Ordering::Relaxed), 0);
        assert_eq!(view.pending_reset("g", "t", 0), None);
    }

    #[test]
    fn topics_and_groups_can_be_deleted() {
        let (mut table, view) = table();
        for (group, topic) in [("g", "t"), ("g", "u"), ("h", "t")] {
            assert!(table.commit(&commit(group, topic, 0, 1)));
        }
        table.publish();
        assert_eq!(view.topics_of("g"), ["t".into(), "u".into()]);
        assert_eq!(view.groups_of("t"), ["g".into(), "h".into()]);
        table.delete_topic("t");
        table.publish();
        assert_eq!(view.topics_of("g"), ["u".into()]);
        assert_eq!(view.groups_of("t"), []);
        table.delete_group("g");
        table.publish();
        assert_eq!(view.topics_of("g"), []);
    }

    #[test]
    fn offsets_are_cloned_and_then_apart() {
        let (mut table, view) = table();
        assert!(table.commit(&commit("g", "t", 0, 5)));
        assert!(table.commit(&commit("g", "t", 2, 7)));
        assert!(table.commit(&commit("h", "t", 1, 99)));
        table.clone_offsets("g", &"h".into(), &"t".into());
        table.clone_offsets("nobody", &"h".into(), &"t".into());
        table.publish();
        assert_eq!(view.queues("h", "t"), [(0, 5), (2, 7)], "its own are replaced");
        assert!(table.commit(&commit("g", "t", 0, 6)));
        assert_eq!(view.get("h", "t", 0), Some(5));
    }

    #[test]
    fn a_new_writer_goes_on_from_the_published_table() {
        let (mut table, view) = table();
        assert!(table.commit(&commit("g", "t", 0, 5)));
        table.publish();
        assert!(table.commit(&commit("g", "t", 1, 6)));
        let table = OffsetTable::new(view);
        assert_eq!(
            table.view_of("g", "t"),
            [(0, 5)],
            "what was not published is lost with its writer"
        );
        assert!(table.known_cell("g", "t", 0).is_some());
    }
}
