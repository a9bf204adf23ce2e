//! What others may read of topics and queues without a message.
//!
//! A topic actor publishes an immutable [`TopicView`]; the [`TopicTable`] holds the current view of
//! every topic behind one atomic pointer. A [`QueueSlot`] is the part of a queue that several actors
//! share, each writing its own fields only: the appender the next offset, the queue actor its read
//! view, the topic actor the life flag. Readers never wait and never see a half-made change.
//!
//! A slot knows nothing of its queue until somebody uses it: the first one to ask for its range, or to
//! take offsets, has the store look at the queue's files ([`QueueSource`]), which takes some small reads.
//!
//! Invariant: a slot that is no longer alive takes no more messages, so a topic that is deleted while
//! a batch is on its way to the appender cannot be written late.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use actix::{Addr, Message, Recipient};
use arc_swap::{ArcSwap, ArcSwapOption};
use gantry_codec::body::TopicConfig;
use gantry_storage::ConsumeQueueView;
use gantry_supervisor::Shell;

use super::{kind::TopicKind, names::PERM_READ, queue::Queue};
use crate::{
    dedup::{Settings, Window},
    expiry::Lifetime,
};

/// A queue that is watched has a new end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct QueueAdvanced {
    /// The queue's number.
    pub queue_id: u32,
}

/// A queue has a new end; told once to each who asked by [`QueueSlot::watch_once`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Arrived {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue's number.
    pub queue_id: u32,
}

/// One queue of one topic, as shared between the actors that deal with it.
pub struct QueueSlot {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The queue's number within its topic.
    pub queue_id: u32,
    alive: AtomicBool,
    /// Offset of the next message; written by the appender, raised by the dispatcher at start.
    next_offset: AtomicU64,
    /// The appender's running value within its current round; see [`QueueSlot::take_offsets`].
    round_offset: AtomicU64,
    round: AtomicU64,
    /// The dispatcher's place for this queue within its current round.
    dispatch_round: AtomicU64,
    dispatch_place: AtomicU64,
    /// The checkpoint in which it was last touched.
    touched_in: AtomicU64,
    /// Messages and bytes that were written since the start; by the appender alone.
    written: [AtomicU64; 2],
    /// What the store found, once it was asked; the beginning rises when log files are removed.
    settled: OnceLock<(AtomicU64, u64)>,
    view: ArcSwapOption<ConsumeQueueView>,
    actor: OnceLock<Addr<Shell<Queue>>>,
    watcher: OnceLock<Recipient<QueueAdvanced>>,
    /// Those who are told of the next end only.
    once: Mutex<Vec<Recipient<Arrived>>>,
    has_once: AtomicBool,
    source: Arc<dyn QueueSource>,
}

/// What stands behind the slots.
pub trait QueueSource: Send + Sync {
    /// First offset and one past the last of a queue, as its files have it.
    ///
    /// # Errors
    /// Why they cannot be read, in words.
    fn range(&self, slot: &QueueSlot) -> Result<(u64, u64), String>;
    /// A queue's actor has let it begin later.
    fn trimmed(&self) {}
    /// Starts the actor of a queue.
    fn start(&self, slot: &Arc<QueueSlot>) -> Addr<Shell<Queue>>;
}

/// In place of the next offset of a queue that nobody has looked at.
const UNKNOWN: u64 = u64::MAX;

impl QueueSlot {
    /// A slot for a queue of which nothing is known yet.
    pub fn new(topic: Arc<str>, queue_id: u32, source: Arc<dyn QueueSource>) -> Arc<Self> {
        Arc::new(Self {
            topic,
            queue_id,
            alive: AtomicBool::new(true),
            next_offset: AtomicU64::new(UNKNOWN),
            round_offset: AtomicU64::new(0),
            round: AtomicU64::new(0),
            dispatch_round: AtomicU64::new(0),
            dispatch_place: AtomicU64::new(0),
            touched_in: AtomicU64::new(0),
            written: Default::default(),
            settled: OnceLock::new(),
            view: ArcSwapOption::empty(),
            actor: OnceLock::new(),
            watcher: OnceLock::new(),
            once: Mutex::default(),
            has_once: AtomicBool::new(false),
            source,
        })
    }

    /// Has the store look at the queue, unless somebody did before; its range then.
    ///
    /// # Errors
    /// Why its files cannot be read. The next caller tries again.
    pub fn settle(&self) -> Result<(u64, u64), String> {
        let load = |(min, max): &(AtomicU64, u64)| (min.load(Ordering::Acquire), *max);
        if let Some(range) = self.settled.get() {
            return Ok(load(range));
        }
        let (min, max) = self.source.range(self)?;
        let range = load(self.settled.get_or_init(|| (AtomicU64::new(min), max)));
        // What the log had of it, or what was appended since, is newer.
        let (ok, failed) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.next_offset.compare_exchange(UNKNOWN, range.1, ok, failed);
        Ok(range)
    }

    /// Whether the queue still exists.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// The topic has been deleted.
    pub fn retire(&self) {
        self.alive.store(false, Ordering::Release);
    }

    /// Assigns `count` consecutive offsets in the appender's round number `round` and returns the
    /// first. They become final with [`commit_round`](Self::commit_round); a round that was never
    /// committed (its appender died) leaves no gap. To be called by the appender alone.
    ///
    /// # Errors
    /// Why the queue's files cannot be read, if nobody has looked at them before.
    pub fn take_offsets(&self, round: u64, count: u64) -> Result<u64, String> {
        if self.next_offset.load(Ordering::Relaxed) == UNKNOWN {
            self.settle()?;
        }
        let fresh = self.round.load(Ordering::Relaxed) != round;
        let first = if fresh { &self.next_offset } else { &self.round_offset };
        let first = first.load(Ordering::Relaxed);
        self.round_offset.store(first + count, Ordering::Relaxed);
        self.round.store(round, Ordering::Relaxed);
        Ok(first)
    }

    /// Makes the offsets taken in this round final, if there are any. By the appender alone.
    pub fn commit_round(&self, round: u64) {
        if self.round.load(Ordering::Relaxed) != round {
            return;
        }
        self.next_offset.store(self.round_offset.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Counts messages, and the bytes of their records, as written. By the appender alone, which is why
    /// no addition that several may make at a time is needed.
    pub fn count_written(&self, messages: u64, bytes: u64) {
        for (counter, more) in self.written.iter().zip([messages, bytes]) {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        }
    }

    /// Messages, and the bytes of their records, written since the start.
    pub fn written(&self) -> [u64; 2] {
        self.written.each_ref().map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Where this queue's entries are gathered in the dispatcher's round number `round`, if it was met
    /// in this round before. To be called by the dispatcher alone.
    pub fn dispatch_place(&self, round: u64) -> Option<usize> {
        let met = self.dispatch_round.load(Ordering::Relaxed) == round;
        met.then(|| self.dispatch_place.load(Ordering::Relaxed) as usize)
    }

    /// Where they are gathered from now on. To be called by the dispatcher alone.
    pub fn set_dispatch_place(&self, round: u64, place: usize) {
        self.dispatch_round.store(round, Ordering::Relaxed);
        self.dispatch_place.store(place as u64, Ordering::Relaxed);
    }

    /// Notes that it has been sent something in the checkpoint number `round`, from 1; whether that is
    /// the first time. To be called by the dispatcher alone.
    pub fn touch(&self, round: u64) -> bool {
        self.touched_in.swap(round, Ordering::Relaxed) != round
    }

    /// The log, read in its order before anybody writes, holds a message of this queue at `offset`. The
    /// last word counts: a topic that was made again has lower offsets behind higher ones.
    pub fn saw_offset(&self, offset: u64) {
        self.next_offset.store(offset + 1, Ordering::Release);
    }

    /// The offset that the next message will get, at least the maximum offset of the index; `None` as
    /// long as nobody has used the queue.
    pub fn next_offset(&self) -> Option<u64> {
        Some(self.next_offset.load(Ordering::Acquire)).filter(|next| *next != UNKNOWN)
    }

    /// The index, once its actor has opened it.
    pub fn view(&self) -> Option<Arc<ConsumeQueueView>> {
        self.view.load_full()
    }

    /// Called by the queue's actor when it has opened its files, after a restart once more.
    pub fn publish(&self, view: ConsumeQueueView) {
        self.view.store(Some(Arc::new(view)));
    }

    /// First and one past the last offset that consumers can read.
    ///
    /// # Errors
    /// Why the queue's files cannot be read, if nobody has looked at them before.
    pub fn range(&self) -> Result<(u64, u64), String> {
        match &*self.view.load() {
            Some(view) => Ok((view.min_offset().0, view.max_offset().0)),
            None => self.settle(),
        }
    }

    /// The first offset as far as it is known without looking at files.
    pub fn known_min(&self) -> u64 {
        match &*self.view.load() {
            Some(view) => view.min_offset().0,
            None => self.settled.get().map_or(0, |(min, _)| min.load(Ordering::Acquire)),
        }
    }

    /// Called by the cleaner when it has removed the beginning of a queue that nobody has opened.
    /// If nobody has looked at the queue yet, whoever does finds that.
    pub fn raise_settled_min(&self, min: u64) {
        if let Some((first, end)) = self.settled.get() {
            first.fetch_max(min.min(*end), Ordering::AcqRel);
        }
    }

    /// Called by the queue's actor when it has let the queue begin later.
    pub fn trimmed(&self) {
        self.source.trimmed();
    }

    /// The queue's actor, started now if it was not running.
    pub fn actor(self: &Arc<Self>) -> &Addr<Shell<Queue>> {
        self.actor.get_or_init(|| self.source.start(self))
    }

    /// Has `watcher` told of every new end; the first one stays.
    pub fn watch(&self, watcher: Recipient<QueueAdvanced>) {
        let _ = self.watcher.set(watcher);
    }

    /// Called by the queue's actor when it has published a new end.
    pub fn advanced(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.do_send(QueueAdvanced { queue_id: self.queue_id });
        }
        if self.has_once.load(Ordering::SeqCst) {
            self.tell_once();
        }
    }

    fn tell_once(&self) {
        let waiting = {
            let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
            self.has_once.store(false, Ordering::SeqCst);
            std::mem::take(&mut *once)
        };
        for waiting in waiting {
            let (topic, queue_id) = (self.topic.clone(), self.queue_id);
            waiting.do_send(Arrived { topic, queue_id });
        }
    }

    /// Has `watcher` told of the next new end, once. Whoever looks at the range after this call misses
    /// none: an end that is not in the range yet is told.
    pub fn watch_once(&self, watcher: Recipient<Arrived>) {
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        once.push(watcher);
        self.has_once.store(true, Ordering::SeqCst);
        drop(once);
        // The store above is seen before the range that the caller loads next.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// The queue's actor, if it was ever needed.
    pub fn started_actor(&self) -> Option<&Addr<Shell<Queue>>> {
        self.actor.get()
    }
}

/// A topic as readers see it: one immutable snapshot, and whether a newer one has taken its place.
pub struct TopicView {
    /// The topic's configuration.
    pub config: TopicConfig,
    /// What kind of messages it is for.
    pub kind: TopicKind,
    /// How long its messages live, if not for ever.
    pub lifetime: Option<Lifetime>,
    /// Within which messages are stored once, if they are.
    pub window: Option<Arc<Window>>,
    /// Its queues by number; as many as it ever had in this life.
    pub queues: Box<[Arc<QueueSlot>]>,
    current: AtomicBool,
}

impl fmt::Debug for TopicView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {} with {} queues", self.config.topic_name, self.queues.len())
    }
}

impl TopicView {
    /// A view that is about to be published, in the place of `before`.
    pub fn new(config: TopicConfig, queues: Vec<Arc<QueueSlot>>, before: Option<&Self>) -> Self {
        let lifetime = Lifetime::of(&config.topic_name, &config.attributes);
        let settings = Settings::of(&config.attributes);
        let before = before.and_then(|view| view.window.as_deref());
        let topic = config.topic_name.as_str();
        let window = settings.map(|settings| Window::changed(before, topic, settings));
        Self {
            kind: TopicKind::of(&config.attributes),
            config,
            lifetime,
            window: window.map(Arc::new),
            queues: queues.into(),
            current: AtomicBool::new(true),
        }
    }

    /// The queue of that number.
    pub fn queue(&self, queue_id: u32) -> Option<&Arc<QueueSlot>> {
        self.queues.get(queue_id as usize)
    }

    /// Whether this is the topic's newest view, so that a cached one can be used.
    pub fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire)
    }

    /// A newer view is about to be published, or the topic is gone.
    pub fn supersede(&self) {
        self.current.store(false, Ordering::Release);
    }

    /// Whether consumers may read from it.
    pub fn is_readable(&self) -> bool {
        self.config.perm & PERM_READ != 0
    }
}

/// The current views of all topics.
#[derive(Default)]
pub struct TopicTable(ArcSwap<imbl::HashMap<Arc<str>, Arc<TopicView>>>);

impl TopicTable {
    /// The topic's current view.
    pub fn get(&self, topic: &str) -> Option<Arc<TopicView>> {
        self.0.load().get(topic).cloned()
    }

    /// All topics as they are now.
    pub fn all(&self) -> Arc<imbl::HashMap<Arc<str>, Arc<TopicView>>> {
        self.0.load_full()
    }

    /// Publishes a topic's new view.
    pub fn insert(&self, name: &Arc<str>, view: &Arc<TopicView>) {
        self.0.rcu(|table| table.update(name.clone(), view.clone()));
    }

    /// Takes a topic out.
    pub fn remove(&self, name: &str) {
        self.0.rcu(|table| table.without(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queues on disk that end at this offset, or cannot be read.
    struct OnDisk(Result<u64, String>);

    impl QueueSource for OnDisk {
        fn range(&self, _: &QueueSlot) -> Result<(u64, u64), String> {
            self.0.clone().map(|max| (0, max))
        }

        fn start(&self, _: &Arc<QueueSlot>) -> Addr<Shell<Queue>> {
            panic!("no actor is needed here")
        }
    }

    fn slot(max: u64) -> Arc<QueueSlot> {
        QueueSlot::new("t".into(), 0, Arc::new(OnDisk(Ok(max))))
    }

    #[test]
    fn offsets_are_final_with_their_round_only() {
        let slot = slot(7);
        assert_eq!(slot.next_offset(), None, "nobody has looked");
        assert_eq!((slot.take_offsets(1, 1), slot.take_offsets(1, 3)), (Ok(7), Ok(8)));
        assert_eq!(slot.next_offset(), Some(7), "nothing is final yet");
        slot.commit_round(1);
        assert_eq!(slot.next_offset(), Some(11));
        // An appender that dies within its round leaves no gap to the next one.
        assert_eq!(slot.take_offsets(2, 5), Ok(11));
        assert_eq!(slot.take_offsets(1 << 40, 1), Ok(11));
        assert_eq!(slot.range(), Ok((0, 7)), "the index is not there yet");
    }

    #[test]
    fn a_round_that_took_nothing_changes_nothing() {
        let slot = slot(7);
        slot.settle().unwrap();
        // A send that was refused belongs to the round, but has taken no offset of its queue.
        slot.commit_round(1);
        assert_eq!(slot.next_offset(), Some(7));
    }

    #[test]
    fn the_beginning_of_an_unopened_queue_rises_up_to_its_end() {
        let slot = slot(7);
        slot.settle().unwrap();
        slot.raise_settled_min(4);
        slot.raise_settled_min(2);
        assert_eq!(slot.range(), Ok((4, 7)));
        slot.raise_settled_min(9);
        assert_eq!(slot.range(), Ok((7, 7)));
    }

    #[test]
    fn the_last_life_of_a_topic_counts() {
        let slot = slot(0);
        for offset in [41, 42, 0, 1] {
            slot.saw_offset(offset);
        }
        assert_eq!(slot.next_offset(), Some(2));
    }

    #[test]
    fn what_the_log_had_is_newer_than_the_index() {
        let slot = slot(5);
        slot.saw_offset(8);
        assert_eq!(slot.range(), Ok((0, 5)));
        assert_eq!(slot.take_offsets(1, 1), Ok(9));
    }

    #[test]
    fn a_queue_that_cannot_be_read_gives_no_offsets() {
        let slot = QueueSlot::new("t".into(), 0, Arc::new(OnDisk(Err("broken".into()))));
        assert_eq!(slot.take_offsets(1, 1), Err("broken".into()));
        assert_eq!(slot.range(), Err("broken".into()));
        assert_eq!(slot.next_offset(), None);
    }
}
