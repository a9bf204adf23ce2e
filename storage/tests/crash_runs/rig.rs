//! A broker on one thread that may be stopped anywhere: what the actors do, with every error handed on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    sync::Arc,
};

use gantry_codec::record::sys_flag;
use gantry_storage::{
    AppendError, ConsumeQueue, ConsumeQueueView, Disk, DispatchMark, DispatchReader, Index,
    IndexConfig, IndexEntry, IndexLayout, IndexWriter, KeyQuery, LogFlusher, LogTail, ManualClock,
    MemDisk, PhysicalOffset, QueryKey, QueueId, QueueOffset, Store, StoreConfig, allocate_segment,
    find_by_key,
};

use super::{
    common::record,
    oracle::{Oracle, Written},
};

pub const QUEUES: u32 = 4;
/// Two topics of two queues each.
pub fn topic(queue: u32) -> &'static str {
    if queue < 2 { "orders" } else { "%RETRY%billing" }
}

/// Properties with a key.
pub const KEYED: &str = "KEYS\u{1}invoice\u{2}";
/// Few entries, so that there are many files.
const INDEX: IndexLayout = IndexLayout { hash_slots: 3, entries: 8 };
/// What files of the index are named by, ms.
const NOW: i64 = 1_795_602_030_000;

pub type Table = BTreeMap<String, u64>;
/// What a step that failed says.
pub type Failure = String;

/// See the module's text.
pub struct Rig {
    pub disk: MemDisk,
    pub store: Store,
    pub tail: LogTail,
    pub flusher: LogFlusher,
    reader: DispatchReader,
    queues: BTreeMap<u32, ConsumeQueue>,
    /// Entries that were read and could not be written yet.
    pending: VecDeque<(u32, QueueOffset, IndexEntry)>,
    pub index: Index,
    keys: IndexWriter,
    /// How far the queues have everything.
    mark: DispatchMark,
    /// Topics that the table of topics does not have.
    deleted: BTreeSet<&'static str>,
    now: i64,
}

fn text(error: impl ToString) -> Failure {
    error.to_string()
}

impl Rig {
    /// Opens the store and brings its queues up to date, but for those of topics that were `deleted`.
    pub fn open(
        disk: &MemDisk,
        config: &StoreConfig,
        deleted: BTreeSet<&'static str>,
    ) -> Result<Self, Failure> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = Store::open(config.clone(), shared).map_err(text)?;
        let tail = store.log().tail().expect("the first tail");
        let flusher = store.log().flusher();
        let reader = DispatchReader::new(store.log().clone(), store.report().dispatch_from);
        let mark = reader.mark();
        let now = store.log().last_timestamp().max(1_000_000);
        store.verify_queues(|topic| !deleted.contains(topic)).map_err(text)?;
        let config = IndexConfig { dir: store.config().index_dir(), layout: INDEX };
        let (index, clock) = (Index::new(config), Arc::new(ManualClock::new(NOW)));
        let (shared, evidence) = (Arc::new(disk.clone()), store.index_evidence());
        let keys = IndexWriter::open(&index, shared, clock, store.log(), &evidence);
        let keys = keys.map_err(text)?.0;
        let (disk, queues, pending) = (disk.clone(), BTreeMap::new(), VecDeque::new());
        let mut rig = Self {
            disk,
            store,
            tail,
            flusher,
            reader,
            queues,
            pending,
            index,
            keys,
            mark,
            deleted,
            now,
        };
        rig.dispatch()?;
        Ok(rig)
    }

    /// The queue's owner, which begins when there is something for it to do.
    fn queue(&mut self, queue: u32) -> Result<&mut ConsumeQueue, Failure> {
        match self.queues.entry(queue) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                let opened = self.store.open_queue(topic(queue), QueueId(queue));
                Ok(place.insert(opened.map_err(text)?))
            }
        }
    }

    /// What a reader of the queue sees.
    pub fn view(&self, queue: u32) -> ConsumeQueueView {
        self.store.queue_view(topic(queue), QueueId(queue)).expect("the queue can be read")
    }

    /// How many entries of a queue could not be written yet.
    pub fn pending_in(&self, queue: u32) -> usize {
        self.pending.iter().filter(|(of, _, _)| *of == queue).count()
    }

    /// Appends messages that belong together, in the next file if it has to be.
    pub fn append(
        &mut self,
        oracle: &mut Oracle,
        queue: u32,
        messages: &[(Vec<u8>, &str)],
    ) -> Result<(), Failure> {
        if self.deleted.contains(topic(queue)) {
            self.make_anew(oracle, topic(queue))?;
        }
        self.now += 1;
        let message = |(body, properties): &'_ (Vec<u8>, &str)| {
            record(topic(queue), queue, body, properties).encoded_len() as u64
        };
        let len = messages.iter().map(message).sum();
        match self.tail.check_room(len) {
            Err(AppendError::SegmentFull { .. }) => self.next_file()?,
            checked => checked.map_err(text)?,
        }
        self.tail.check_room(len).map_err(text)?;
        for (number, (body, properties)) in messages.iter().enumerate() {
            let mut record = record(topic(queue), queue, body, properties);
            record.queue_offset = oracle.len_of(queue) as i64;
            record.store_timestamp = self.now;
            let continues = number + 1 < messages.len();
            if continues {
                record.sys_flag |= sys_flag::BATCH_CONTINUES;
            }
            let offset = self.tail.append(&mut record).map_err(text)?.offset;
            let mut bytes = vec![0; record.encoded_len()];
            record.write_to(&mut bytes);
            let is_keyed = *properties == KEYED;
            let written = Written { queue, offset, bytes, is_keyed, is_damaged: false, continues };
            oracle.written.push(written);
        }
        Ok(())
    }

    fn next_file(&mut self) -> Result<(), Failure> {
        if self.tail.advance() {
            return Ok(());
        }
        let (config, next) = (self.store.log().config(), self.tail.next_segment_start());
        let segment = allocate_segment(&self.disk, config, next).map_err(text)?;
        self.tail.install(segment).map_err(text)
    }

    pub fn publish(&mut self, oracle: &mut Oracle) {
        // A log that is closed for writing publishes nothing any more.
        if self.tail.publish(self.now).is_ok() {
            oracle.published = oracle.written.len();
        }
    }

    /// The appender dies and is made again.
    pub fn new_tail(self, oracle: &mut Oracle) -> Self {
        let Self { tail, .. } = self;
        drop(tail);
        let tail = self.store.log().tail().expect("the one before is gone");
        oracle.written.truncate(oracle.published);
        Self { tail, ..self }
    }

    pub fn flush(&mut self, oracle: &mut Oracle) -> Result<(), Failure> {
        self.flusher.sync().map_err(text)?;
        oracle.flushed = oracle.published;
        Ok(())
    }

    /// Brings the queues up to date; what cannot be written waits for the next time.
    pub fn dispatch(&mut self) -> Result<(), Failure> {
        let (pending, deleted) = (&mut self.pending, &self.deleted);
        let read = self.reader.read(usize::MAX, |entry| {
            if deleted.contains(entry.topic) {
                return;
            }
            let index =
                IndexEntry { offset: entry.offset, size: entry.size, tags_code: entry.tags_code };
            pending.push_back((entry.queue_id, entry.queue_offset, index));
        });
        read.map_err(text)?;
        while let Some((queue, offset, entry)) = self.pending.front().copied() {
            let log_min = self.store.log().min_offset();
            let index = self.queue(queue)?;
            if entry.offset >= index.max_physical() {
                // All that it had is gone from the log, perhaps with what it lacks: it begins anew.
                if offset > index.max_offset() && index.max_physical() <= log_min {
                    index.delete().map_err(text)?;
                }
                index.append(offset, &[entry]).map_err(text)?;
            }
            self.pending.pop_front();
        }
        self.mark = self.reader.mark();
        Ok(())
    }

    /// Brings the key index up to date.
    pub fn index_keys(&mut self) -> Result<(), Failure> {
        let end = self.store.log().max_offset();
        while self.keys.position() < end {
            self.keys.advance(end, 100).map_err(text)?;
        }
        Ok(())
    }

    /// Brings the key index to the disk, and writes that down; all of it for an orderly stop.
    pub fn flush_index(&mut self, all: bool) -> Result<(), Failure> {
        let point = if all { self.keys.flush_all() } else { self.keys.flush() };
        let point = point.map_err(text)?;
        self.store.checkpoint_index(point).map_err(text)
    }

    /// Where the messages of a topic with the key are, of those that are indexed.
    pub fn find(&self, topic: &str) -> (BTreeSet<PhysicalOffset>, PhysicalOffset) {
        let (messages_max, bytes_max) = (usize::MAX, u64::MAX);
        let (key, begin, end) = (QueryKey::Key("invoice"), 0, i64::MAX);
        let query = KeyQuery { topic, key, begin, end, messages_max, bytes_max };
        let found = find_by_key(&self.index, self.store.log(), &query);
        let offsets = found.iter().map(|record| PhysicalOffset(record.offset()));
        (offsets.collect(), self.keys.position())
    }

    pub fn flush_queues(&mut self) -> Result<(), Failure> {
        self.queues
            .values_mut()
            .try_for_each(|queue| queue.flusher().sync().map(drop))
            .map_err(text)
    }

    /// Flushes everything, and writes down how far the queues have got.
    pub fn checkpoint(&mut self, oracle: &mut Oracle) -> Result<(), Failure> {
        let published = oracle.published;
        let written = self.store.checkpoint(self.mark).map_err(text);
        let is_flushed = self.store.log().flushed_offset() == self.store.log().max_offset();
        if is_flushed {
            oracle.flushed = published;
        }
        written?;
        oracle.checkpoint = self.mark.end;
        oracle.deleted.retain(|_, is_complete| !*is_complete);
        self.deleted = oracle.deleted.keys().copied().collect();
        Ok(())
    }

    /// Removes the oldest log files, so many at most, and trims what leads to them, as the cleaner does:
    /// whatever fails does not keep it from the rest.
    pub fn remove_old(&mut self, oracle: &mut Oracle, files: u64) -> Result<(), Failure> {
        let log = self.store.log().clone();
        let limit = log.min_offset().plus(files * log.config().segment_bytes);
        let removed = log.remove_before(&self.disk, limit.min(oracle.checkpoint)).map_err(text);
        let log_min = log.min_offset();
        oracle.files_left(log_min, removed.is_ok());
        let live = (0..QUEUES).filter(|queue| !self.deleted.contains(topic(*queue)));
        let trims: Vec<_> = live.map(|queue| trim(&self.store, &mut self.queues, queue)).collect();
        let trimmed = trims.into_iter().collect::<Result<(), _>>();
        self.store.queue_was_trimmed();
        oracle.is_trimmed |= trimmed.is_ok();
        let indexed = self.index.trim_before(&self.disk, log_min).map(drop).map_err(text);
        removed.and(trimmed).and(indexed)
    }

    /// Deletes a topic: first in the table of topics, of which the oracle is the keeper.
    pub fn delete(&mut self, oracle: &mut Oracle, topic: &'static str) -> Result<(), Failure> {
        if !self.deleted.contains(topic) {
            self.publish(oracle);
            self.dispatch()?;
            oracle.topic_leaves(topic);
            self.deleted.insert(topic);
        }
        for queue in (0..QUEUES).filter(|queue| super::rig::topic(*queue) == topic) {
            let deleted = self.queue(queue)?.delete().map_err(text);
            // The owner ends with it, whatever came of it.
            self.queues.remove(&queue);
            deleted?;
        }
        self.store.forget_queues(topic);
        oracle.deleted.insert(topic, true);
        Ok(())
    }

    /// Makes a topic again that was deleted: once nothing of it is left, nor written down.
    fn make_anew(&mut self, oracle: &mut Oracle, topic: &'static str) -> Result<(), Failure> {
        if !oracle.deleted[topic] {
            self.delete(oracle, topic)?;
        }
        self.checkpoint(oracle)
    }
}

/// Trims a queue: by its owner, if it has one.
fn trim(
    store: &Store,
    queues: &mut BTreeMap<u32, ConsumeQueue>,
    queue: u32,
) -> Result<(), Failure> {
    match queues.get_mut(&queue) {
        Some(owner) => owner.trim_before(store.log().min_offset()).map(drop).map_err(text),
        None => {
            let trimmed = store.trim_queue(topic(queue), QueueId(queue), QueueOffset(0));
            trimmed.map(drop).map_err(text)
        }
    }
}
