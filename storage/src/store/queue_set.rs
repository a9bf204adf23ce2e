//! The store's consume queues: which there are, and each one's true ends, found when it is first used.
//!
//! Opening a store looks at the names of folders only; a queue costs something when it is used. Its
//! first use in a life of the store *settles* it: it is cut to what can be relied on, and what lies
//! behind its end is cleared. Later uses open it as it is.
//!
//! | what is found | what is done |
//! |---|---|
//! | entries of records at the limit (see [`super::start`]) or behind | cut; the dispatcher makes them again |
//! | entries that the log does not confirm, at the end | cut: stale slots of a Java broker, pages of a log that was lost |
//! | a last entry that names a unit of an extension that is gone | the queue is built again from the log |
//! | fewer entries than an earlier life wrote down, or a later beginning in the same log | the queue is built again from the log |
//! | nothing, and the log has nothing of it either | it goes on behind its old end |
//!
//! What earlier lives wrote down is in the file `queue-ends` ([`super::ends`]). It is a lower limit, so
//! it need not be new. Where queues are few, all are settled at start, many at a time; where they are
//! very many, each waits for its first use.
//!
//! Clearing is not durable by itself, and what comes back is refuted as long as the log has something
//! else there. So what was cut off is on the disk before the next checkpoint says that the log is
//! dispatched, and the log's old files may go.
//!
//! Invariants: a queue is settled once in a life, before anybody appends to it; queues of one stripe
//! are settled one after the other.
//! Failure policy: a queue that cannot be settled stays as it is on disk, its user is told, and the
//! next use tries again.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{
    OpenError, StoreConfig,
    ends::{Ends, EndsTable},
    io_error,
    rebuild::{Rebuild, Wanted},
    settle::{Ask, LIGHT_QUEUE_PREFIX, ask_log, confirmed_end, last_entry},
};
use crate::{
    commit_log::CommitLog,
    consume_queue::{
        ConsumeQueue, ConsumeQueueConfig, ConsumeQueueView, IndexEntry, QueueError, ext,
        files::QueueFiles, trim_unopened,
    },
    disk::Disk,
    dispatch::DelayLevels,
    offset::{PhysicalOffset, QueueId, QueueOffset},
};

/// Queues are parted into so many stripes, by topic.
const STRIPES: usize = 64;

/// Where queues end in this life as long as nobody has used them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Entries for records from here on are cut.
    pub(super) limit: PhysicalOffset,
    /// Whether behind the ends there may be something else than zeros.
    pub(super) sweeps: bool,
}

/// One queue of the set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub queue: QueueId,
}

/// The names of queues found on disk, and what earlier lives wrote down of them.
pub(super) struct Found {
    names: Vec<QueueName>,
    rocks: Option<PathBuf>,
}

/// See the module's text.
pub(super) struct QueueSet {
    disk: Arc<dyn Disk>,
    config: ConsumeQueueConfig,
    levels: DelayLevels,
    settled_at_start_max: usize,
    log: CommitLog,
    cut: Cut,
    stripes: [Mutex<Stripe>; STRIPES],
    /// Whether the file of ends says what is not true any more.
    is_table_stale: AtomicBool,
    /// Whether what was cut off could not be brought to the disk: a later sync would not tell.
    is_poisoned: AtomicBool,
}

type Stripe = BTreeMap<Arc<str>, BTreeMap<u32, State>>;

struct State {
    /// What was written down of it last.
    known: Option<Ends>,
    now: Now,
    /// Whether what was cut off may still be on the disk.
    is_cut: bool,
}

enum Now {
    /// Not used in this life.
    Untouched,
    /// Its ends have been found.
    Settled(Ends),
    /// In use.
    Open(ConsumeQueueView),
}

/// What cutting a queue came to.
struct Settled {
    ends: Ends,
    /// Whether there may have been something behind its end.
    is_cut: bool,
    /// Its last entry.
    last: Option<IndexEntry>,
}

impl Found {
    /// Looks for queues. Folders whose names are no numbers are passed over.
    pub(super) fn list(disk: &dyn Disk, config: &ConsumeQueueConfig) -> Result<Self, OpenError> {
        let mut found = Self { names: Vec::new(), rocks: None };
        for (topic, len) in disk.list(&config.dir).map_err(|e| io_error(&config.dir, e))? {
            let topic_dir = config.dir.join(&topic);
            if len.is_some() {
                found.rocks = found.rocks.or(topic.ends_with(".sst").then_some(topic_dir));
                continue;
            }
            let topic: Arc<str> = topic.into();
            for (name, len) in disk.list(&topic_dir).map_err(|e| io_error(&topic_dir, e))? {
                if let (None, Ok(id)) = (len, name.parse()) {
                    found.names.push(QueueName { topic: topic.clone(), queue: QueueId(id) });
                }
            }
        }
        match found.rocks {
            Some(path) => Err(OpenError::RocksDb { path: path.display().to_string() }),
            None => Ok(found),
        }
    }

    /// How many queues there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The end of the newest record that a queue has an entry for, if the entry is one of the log.
    pub(super) fn indexed_end(
        &self,
        disk: &dyn Disk,
        config: &ConsumeQueueConfig,
        limit: PhysicalOffset,
        ask: &Ask<'_>,
    ) -> Result<Option<PhysicalOffset>, QueueError> {
        let newest = |name: &QueueName| {
            let files = name.files(disk, config)?;
            let end = confirmed_end(&files, limit, |at, entry| ask(name, at, entry))?;
            Ok(last_entry(&files, end)?.map(|entry| entry.end()))
        };
        Ok(in_parallel(&self.names, newest)?.into_iter().flatten().max())
    }

    /// Whether the files of the first queue that has some can be of this configuration: that another
    /// size is configured is told at start, however many queues there are.
    pub(super) fn check_layout(
        &self,
        disk: &dyn Disk,
        config: &ConsumeQueueConfig,
    ) -> Result<(), QueueError> {
        for name in &self.names {
            if !name.files(disk, config)?.starts().is_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl QueueName {
    fn files<'a>(
        &self,
        disk: &'a dyn Disk,
        config: &ConsumeQueueConfig,
    ) -> Result<QueueFiles<'a>, QueueError> {
        QueueFiles::list(disk, config, &self.dir(config))
    }

    fn dir(&self, config: &ConsumeQueueConfig) -> PathBuf {
        config.queue_dir(&self.topic, self.queue)
    }
}

impl QueueSet {
    /// The queues that were `found`, of which earlier lives wrote down `ends`.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        config: &StoreConfig,
        log: CommitLog,
        cut: Cut,
        found: &Found,
        ends: EndsTable,
    ) -> Self {
        let stripes = std::array::from_fn(|_| Mutex::default());
        let set = Self {
            disk,
            config: config.queues.clone(),
            levels: config.delay_levels.clone(),
            settled_at_start_max: config.settled_at_start_max,
            log,
            cut,
            stripes,
            is_table_stale: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
        };
        for (name, ends) in ends {
            set.enter(&name, State { known: Some(ends), ..State::UNKNOWN });
        }
        for name in &found.names {
            let mut stripe = set.stripe(&name.topic);
            let topic = stripe.entry(name.topic.clone()).or_default();
            topic.entry(name.queue.0).or_insert(State::UNKNOWN);
        }
        set
    }

    fn stripe(&self, topic: &str) -> MutexGuard<'_, Stripe> {
        let mut hasher = DefaultHasher::new();
        topic.hash(&mut hasher);
        // As many stripes as the modulus has values.
        #[expect(clippy::indexing_slicing, reason = "the index is below the array's length")]
        let stripe = &self.stripes[hasher.finish() as usize % STRIPES];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, name: &QueueName, state: State) {
        let mut stripe = self.stripe(&name.topic);
        stripe.entry(name.topic.clone()).or_default().insert(name.queue.0, state);
    }

    /// One past the highest number of a topic's queues; 0 if there is none.
    pub(super) fn count_of(&self, topic: &str) -> u32 {
        let stripe = self.stripe(topic);
        let last = stripe.get(topic).and_then(|queues| queues.keys().next_back().copied());
        last.map_or(0, |last| last.saturating_add(1))
    }

    /// All queues that are on disk, or were once.
    pub(super) fn names(&self) -> Vec<QueueName> {
        let mut names = Vec::new();
        for stripe in &self.stripes {
            for (topic, queues) in stripe.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let name = |id: &u32| QueueName { topic: topic.clone(), queue: QueueId(*id) };
                names.extend(queues.keys().map(name));
            }
        }
        names
    }

    /// First and one past the last offset of a queue, settling it if nobody has used it yet.
    pub(super) fn ends(&self, topic: &str, queue: QueueId) -> Result<Ends, QueueError> {
        let mut stripe = self.stripe(topic);
        self.settled(&mut stripe, topic, queue)
    }

    /// Opens a queue for its owner.
    pub(super) fn open(&self, topic: &str, queue: QueueId) -> Result<ConsumeQueue, QueueError> {
        let mut stripe = self.stripe(topic);
        self.settled(&mut stripe, topic, queue)?;
        let opened = self.open_files(topic, queue)?;
        if let Some(state) = stripe.get_mut(topic).and_then(|queues| queues.get_mut(&queue.0)) {
            state.now = Now::Open(opened.view());
        }
        Ok(opened)
    }

    /// A view of a queue for whoever only reads it once, whether it is in use or not.
    pub(super) fn view(&self, topic: &str, queue: QueueId) -> Result<ConsumeQueueView, QueueError> {
        let mut stripe = self.stripe(topic);
        self.settled(&mut stripe, topic, queue)?;
        match stripe.get(topic).and_then(|queues| queues.get(&queue.0)).map(|state| &state.now) {
            Some(Now::Open(view)) => Ok(view.clone()),
            _ => self.open_files(topic, queue).map(|opened| opened.view()),
        }
    }

    fn open_files(&self, topic: &str, queue: QueueId) -> Result<ConsumeQueue, QueueError> {
        let within = (self.log.min_offset(), self.log.max_offset());
        let opened = ConsumeQueue::open(self.disk.clone(), &self.config, topic, queue, within)?;
        Ok(opened.with_ext(&self.config, &self.log))
    }

    /// Drops what is known of a topic's queues: they have been deleted.
    pub(super) fn forget(&self, topic: &str) {
        if self.stripe(topic).remove(topic).is_some() {
            self.is_table_stale.store(true, Ordering::Release);
        }
    }

    /// Settles the queues of the topics that `is_wanted` wants, if they are few, and builds again those
    /// of which too much is missing, all in one go. Which those were.
    pub(super) fn verify(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<QueueName>, QueueError> {
        let mut names = self.names();
        names.retain(|name| is_wanted(&name.topic));
        self.forget_ends(|topic| !is_wanted(topic));
        let looks_at = if names.len() <= self.settled_at_start_max {
            names
        } else {
            // Of the many, those whose folders are gone.
            names.retain(|name| self.has_lost_its_folder(name));
            names
        };
        let lacking = in_parallel(&looks_at, |name| {
            let mut stripe = self.stripe(&name.topic);
            Ok(self.settle(&mut stripe, &name.topic, name.queue)?.err().map(|old| (name, old)))
        })?;
        let lacking: Vec<_> = lacking.into_iter().flatten().collect();
        self.build_again(&lacking)?;
        let mut names: Vec<_> = lacking.into_iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// What was written down of topics that are gone says nothing about later ones of their names.
    fn forget_ends(&self, is_gone: impl Fn(&str) -> bool) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, queues) in stripe.iter_mut().filter(|(topic, _)| is_gone(topic)) {
                queues.values_mut().for_each(|state| state.known = None);
                self.is_table_stale.store(true, Ordering::Release);
            }
        }
    }

    fn has_lost_its_folder(&self, name: &QueueName) -> bool {
        let stripe = self.stripe(&name.topic);
        let state = stripe.get(&name.topic).and_then(|queues| queues.get(&name.queue.0));
        let known = state.and_then(|state| state.known);
        let had = known.is_some_and(|known| known.max.0 > 0);
        let dir = self.config.queue_dir(&name.topic, name.queue);
        // Only of queues that had something is asked: those that were never written have no folder.
        had && self.disk.list(&dir).is_ok_and(|files| files.is_empty())
    }

    /// The queue's ends; settles it and, if need be, builds it again.
    fn settled(
        &self,
        stripe: &mut Stripe,
        topic: &str,
        queue: QueueId,
    ) -> Result<Ends, QueueError> {
        match self.settle(stripe, topic, queue)? {
            Ok(ends) => Ok(ends),
            Err(old) => {
                let name = QueueName { topic: topic.into(), queue };
                let wanted = [Wanted { topic, queue, begin: old.max }];
                self.remove_files(&name)?;
                self.rebuild(&wanted)?;
                self.settle_rebuilt(stripe, &name)
            }
        }
    }

    /// The queue's ends, or those that it had once if too much of it is missing.
    fn settle(
        &self,
        stripe: &mut Stripe,
        topic: &str,
        queue: QueueId,
    ) -> Result<Result<Ends, Ends>, QueueError> {
        let state = stripe.get(topic).and_then(|queues| queues.get(&queue.0));
        let old = state.and_then(|state| state.known);
        match state.map(|state| &state.now) {
            Some(Now::Open(view)) => {
                let (min, max) = (view.min_offset(), view.max_offset());
                return Ok(Ok(Ends { min, max, log_min: self.log.min_offset() }));
            }
            Some(Now::Settled(ends)) => return Ok(Ok(*ends)),
            Some(Now::Untouched) | None => {}
        }
        let name = QueueName { topic: topic.into(), queue };
        let found = self.cut(&name)?;
        let ends = found.ends;
        if let Some(old) = old.filter(|old| ends.max < old.max || self.begins_late(&ends, old)) {
            return Ok(Err(old));
        }
        if self.lacks_unit(&name, &found)? {
            return Ok(Err(ends));
        }
        set_settled(stripe, &name, ends, found.is_cut);
        Ok(Ok(ends))
    }

    /// Whether the queue lost files at its beginning: its first entry is a later one than before, though
    /// the log begins where it did.
    fn begins_late(&self, ends: &Ends, old: &Ends) -> bool {
        ends.min > old.min && old.log_min == self.log.min_offset()
    }

    /// Whether the unit is gone that the queue's last entry names. (Those of the first ones may be: the
    /// queue may have begun later, which is not written down.) The log does not say where entries of
    /// light queues belong, so that those keep what they have.
    fn lacks_unit(&self, name: &QueueName, found: &Settled) -> Result<bool, QueueError> {
        let unit = found.last.and_then(|last| ext::position(last.tags_code));
        let Some(unit) = unit.filter(|_| !name.topic.starts_with(LIGHT_QUEUE_PREFIX)) else {
            return Ok(false);
        };
        let dir = self.config.ext_dir(&name.topic, name.queue);
        let found = ext::look(&*self.disk, &dir, unit);
        Ok(found.map_err(|e| queue_error(&dir, e))?.is_none())
    }

    /// Cuts a queue to what can be relied on.
    fn cut(&self, name: &QueueName) -> Result<Settled, QueueError> {
        let mut files = name.files(&*self.disk, &self.config)?;
        let log_min = self.log.min_offset();
        if files.starts().is_empty() {
            let ends = Ends { log_min, ..Ends::default() };
            return Ok(Settled { ends, is_cut: false, last: None });
        }
        let ask = |at, entry: &_| ask_log(&self.log, name, at, entry);
        let max = confirmed_end(&files, self.cut.limit, ask)?;
        let min = files.begin_at(log_min, max)?;
        let last = if min < max { last_entry(&files, max)? } else { None };
        let is_cut = self.cut.sweeps || files.is_used(max)?;
        if is_cut {
            files.clear_from(max)?;
        }
        Ok(Settled { ends: Ends { min, max, log_min }, is_cut, last })
    }

    fn build_again(&self, lacking: &[(&QueueName, Ends)]) -> Result<(), QueueError> {
        if lacking.is_empty() {
            return Ok(());
        }
        for (name, _) in lacking {
            self.remove_files(name)?;
        }
        let wanted: Vec<_> = lacking
            .iter()
            .map(|(name, old)| Wanted { topic: &name.topic, queue: name.queue, begin: old.max })
            .collect();
        self.rebuild(&wanted)?;
        for (name, _) in lacking {
            let mut stripe = self.stripe(&name.topic);
            self.settle_rebuilt(&mut stripe, name)?;
        }
        Ok(())
    }

    fn rebuild(&self, wanted: &[Wanted<'_>]) -> Result<(), QueueError> {
        let Self { disk, config, log, levels, cut, .. } = self;
        Rebuild { disk, config, log, levels, limit: cut.limit, wanted }.run()
    }

    fn remove_files(&self, name: &QueueName) -> Result<(), QueueError> {
        let dir = self.config.queue_dir(&name.topic, name.queue);
        self.disk.remove_dir(&dir).map_err(|error| queue_error(&dir, error))?;
        let dir = self.config.ext_dir(&name.topic, name.queue);
        self.disk.remove_dir(&dir).map_err(|error| queue_error(&dir, error))
    }

    fn settle_rebuilt(&self, stripe: &mut Stripe, name: &QueueName) -> Result<Ends, QueueError> {
        let found = self.cut(name)?;
        set_settled(stripe, name, found.ends, found.is_cut);
        Ok(found.ends)
    }

    /// Flushes all queues that are open and have something that is not on disk, and what was cut off
    /// queues in this life: it must not come back when the log cannot refute it any more.
    pub(super) fn flush(&self) -> Result<(), QueueError> {
        self.sync_cuts()?;
        for stripe in &self.stripes {
            let dirty: Vec<_> = {
                let stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
                let states = stripe.values().flat_map(BTreeMap::values);
                states.filter_map(State::dirty).cloned().collect()
            };
            for view in dirty {
                view.flusher().sync()?;
            }
        }
        Ok(())
    }

    fn sync_cuts(&self) -> Result<(), QueueError> {
        if self.is_poisoned.load(Ordering::Acquire) {
            return Err(QueueError::Poisoned { path: self.config.dir.display().to_string() });
        }
        let names = self.take_cuts();
        let synced = in_parallel(&names, |name| {
            QueueFiles::look(&*self.disk, &self.config, &name.dir(&self.config))?.sync_end()
        });
        self.is_poisoned.fetch_or(synced.is_err(), Ordering::AcqRel);
        synced.map(drop)
    }

    /// The queues of which something was cut off since the last call.
    fn take_cuts(&self) -> Vec<QueueName> {
        let mut names = Vec::new();
        for stripe in &self.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            for (topic, queues) in stripe.iter_mut() {
                let cut = queues.iter_mut().filter_map(|(id, state)| {
                    std::mem::take(&mut state.is_cut).then_some(QueueId(*id))
                });
                names.extend(cut.map(|queue| QueueName { topic: topic.clone(), queue }));
            }
        }
        names
    }

    /// What the next life shall know of the queues, all of which are on disk up to their ends.
    pub(super) fn ends_table(&self) -> EndsTable {
        let log_min = self.log.min_offset();
        self.table(|state| match &state.now {
            Now::Untouched => state.known,
            Now::Settled(ends) => Some(*ends),
            Now::Open(view) => {
                Some(Ends { min: view.min_offset(), max: view.max_offset(), log_min })
            }
        })
    }

    /// The table as it has to be written again while queues are at work, if it has to be: without
    /// topics that were deleted, and with the beginnings of queues that were trimmed. A failed write is
    /// to be told by [`keep_stale`](Self::keep_stale).
    pub(super) fn changed_table(&self) -> Option<EndsTable> {
        if !self.is_table_stale.swap(false, Ordering::AcqRel) {
            return None;
        }
        let log_min = self.log.min_offset();
        Some(self.table(|state| {
            let known = state.known?;
            let min = match &state.now {
                Now::Untouched => return Some(known),
                Now::Settled(ends) => ends.min,
                Now::Open(view) => view.min_offset(),
            };
            Some(Ends { min: min.max(known.min), max: known.max, log_min })
        }))
    }

    /// The table has to be written again after all.
    pub(super) fn keep_stale(&self) {
        self.is_table_stale.store(true, Ordering::Release);
    }

    fn table(&self, ends: impl Fn(&State) -> Option<Ends>) -> EndsTable {
        let mut table = EndsTable::new();
        for stripe in &self.stripes {
            for (topic, queues) in stripe.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                for (id, state) in queues {
                    if let Some(ends) = ends(state) {
                        let name = QueueName { topic: topic.clone(), queue: QueueId(*id) };
                        table.push((name, ends));
                    }
                }
            }
        }
        table
    }

    /// Lets a queue that has no owner begin at `min` and at the log's beginning, whichever is later:
    /// where it begins then; `None` if it has an owner, who has to do it, or no files.
    pub(super) fn trim(
        &self,
        topic: &str,
        queue: QueueId,
        min: QueueOffset,
    ) -> Result<Option<QueueOffset>, QueueError> {
        let mut stripe = self.stripe(topic);
        self.settled(&mut stripe, topic, queue)?;
        let state = stripe.get_mut(topic).and_then(|queues| queues.get_mut(&queue.0));
        let Some(State { now: Now::Settled(ends), .. }) = state else { return Ok(None) };
        let from = (self.log.min_offset(), min.max(ends.min));
        let begin = trim_unopened(&*self.disk, &self.config, (topic, queue), from)?;
        if let Some(begin) = begin {
            ends.min = begin;
            self.is_table_stale.store(true, Ordering::Release);
        }
        Ok(begin)
    }

    /// A queue's owner has let it begin later.
    pub(super) fn was_trimmed(&self) {
        self.is_table_stale.store(true, Ordering::Release);
    }
}

/// Enters where a queue ends, and whether something was cut off there.
fn set_settled(stripe: &mut Stripe, name: &QueueName, ends: Ends, is_cut: bool) {
    let queues = stripe.entry(name.topic.clone()).or_default();
    let state = queues.entry(name.queue.0).or_insert(State::UNKNOWN);
    (state.now, state.is_cut) = (Now::Settled(ends), is_cut);
}

impl State {
    const UNKNOWN: Self = Self { known: None, now: Now::Untouched, is_cut: false };

    fn dirty(&self) -> Option<&ConsumeQueueView> {
        match &self.now {
            Now::Open(view) if view.is_dirty() => Some(view),
            _ => None,
        }
    }
}

fn queue_error(path: &Path, error: std::io::Error) -> QueueError {
    QueueError::Io { path: path.display().to_string(), error }
}

/// Calls `f` for all of `items`, on as many threads as there are cores.
fn in_parallel<'a, T: Sync, R: Send, E: Send>(
    items: &'a [T],
    f: impl Fn(&'a T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(threads).max(64);
    let mut results = Vec::with_capacity(items.len());
    thread::scope(|scope| {
        let mut parts = items.chunks(share);
        let own = parts.next().unwrap_or_default();
        let others: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().map(&f).collect::<Result<Vec<R>, E>>()))
            .collect();
        for item in own {
            results.push(f(item)?);
        }
        for other in others {
            match other.join() {
                Ok(part) => results.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
    .map(|()| results)
}
