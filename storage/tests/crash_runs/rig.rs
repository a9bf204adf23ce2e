//! A broker on one thread that may be stopped anywhere: what the actors do, with every error handed on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use gantry_storage::{
    AppendError, ConsumeQueue, Disk, DispatchMark, DispatchReader, Index, IndexConfig, IndexEntry,
    IndexLayout, IndexWriter, KeyQuery, LogFlusher, LogTail, ManualClock, MemDisk, PhysicalOffset,
    QueryKey, QueueId, QueueOffset, Store, StoreConfig, allocate_segment, find_by_key,
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
    now: i64,
}

fn text(error: impl ToString) -> Failure {
    error.to_string()
}

impl Rig {
    /// Opens the store and brings its queues up to date.
    pub fn open(disk: &MemDisk, config: &StoreConfig) -> Result<Self, Failure> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = Store::open(config.clone(), shared).map_err(text)?;
        let tail = store.log().tail().expect("the first tail");
        let flusher = store.log().flusher();
        let reader = DispatchReader::new(store.log().clone(), store.report().dispatch_from);
        let mark = reader.mark();
        let now = store.log().last_timestamp().max(1_000_000);
        store.verify_queues(|_| true).map_err(text)?;
        let config = IndexConfig { dir: store.config().index_dir(), layout: INDEX };
        let (index, clock) = (Index::new(config), Arc::new(ManualClock::new(NOW)));
        let (shared, evidence) = (Arc::new(disk.clone()), store.index_evidence());
        let keys = IndexWriter::open(&index, shared, clock, store.log(), &evidence);
        let keys = keys.map_err(text)?.0;
        let (disk, queues, pending) = (disk.clone(), BTreeMap::new(), VecDeque::new());
        let mut rig =
            Self { disk, store, tail, flusher, reader, queues, pending, index, keys, mark, now };
        for queue in 0..QUEUES {
            rig.open_queue(queue)?;
        }
        rig.dispatch()?;
        Ok(rig)
    }

    fn open_queue(&mut self, queue: u32) -> Result<(), Failure> {
        let opened = self.store.open_queue(topic(queue), QueueId(queue));
        self.queues.insert(queue, opened.map_err(text)?);
        Ok(())
    }

    pub fn queue(&mut self, queue: u32) -> &mut ConsumeQueue {
        self.queues.get_mut(&queue).expect("all are open")
    }

    /// How many entries of a queue could not be written yet.
    pub fn pending_in(&self, queue: u32) -> usize {
        self.pending.iter().filter(|(of, _, _)| *of == queue).count()
    }

    /// Appends a message, in the next file if it has to be.
    pub fn append(
        &mut self,
        oracle: &mut Oracle,
        queue: u32,
        body: &[u8],
        properties: &str,
    ) -> Result<(), Failure> {
        self.now += 1;
        let mut record = record(topic(queue), queue, body, properties);
        record.queue_offset = oracle.len_of(queue) as i64;
        record.store_timestamp = self.now;
        let appended = match self.tail.append(&mut record) {
            Err(AppendError::SegmentFull { .. }) => {
                self.next_file()?;
                self.tail.append(&mut record)
            }
            appended => appended,
        };
        let offset = appended.map_err(text)?.offset;
        let mut bytes = vec![0; record.encoded_len()];
        record.write_to(&mut bytes);
        let is_keyed = properties == KEYED;
        oracle.written.push(Written { queue, offset, bytes, is_keyed, is_damaged: false });
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
        let Self { disk, store, tail, flusher, reader, queues, pending, index, keys, mark, now } =
            self;
        drop(tail);
        let tail = store.log().tail().expect("the one before is gone");
        oracle.written.truncate(oracle.published);
        Self { disk, store, tail, flusher, reader, queues, pending, index, keys, mark, now }
    }

    pub fn flush(&mut self, oracle: &mut Oracle) -> Result<(), Failure> {
        self.flusher.sync().map_err(text)?;
        oracle.flushed = oracle.published;
        Ok(())
    }

    /// Brings the queues up to date; what cannot be written waits for the next time.
    pub fn dispatch(&mut self) -> Result<(), Failure> {
        let pending = &mut self.pending;
        let read = self.reader.read(usize::MAX, |entry| {
            let index =
                IndexEntry { offset: entry.offset, size: entry.size, tags_code: entry.tags_code };
            pending.push_back((entry.queue_id, entry.queue_offset, index));
        });
        read.map_err(text)?;
        while let Some((queue, offset, entry)) = self.pending.front().copied() {
            let index = self.queue(queue);
            if entry.offset >= index.max_physical() {
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
        Ok(())
    }
}
