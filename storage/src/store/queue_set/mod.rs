//! The store's consume queues: which there are, and each one's true ends, found when it is first used.
//!
//! Opening a store looks at the names of folders only; a queue costs something when it is used. Its
//! first use in a life of the store *settles* it: it is cut to what can be relied on, and what lies
//! behind its end is cleared. Later uses open it as it is.
//!
//! | file | what it holds |
//! |---|---|
//! | [`found`] | the queues on disk |
//! | [`settling`] | the first use of each |
//! | [`written`] | flushes, and what the next life is told |
//!
//! Invariants: a queue is settled once in a life, before anybody appends to it; queues of one stripe
//! are settled one after the other.
//! Failure policy: an error is the user's of that queue; the others go on.

mod found;
mod settling;
mod written;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub(super) use found::Found;
pub use found::QueueName;

use super::{
    StoreConfig,
    ends::{Ends, EndsTable},
};
use crate::{
    commit_log::CommitLog,
    consume_queue::{
        ConsumeQueue, ConsumeQueueConfig, ConsumeQueueView, QueueError, trim_unopened,
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
