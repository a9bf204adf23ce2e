//! A broker in miniature over a store: what the actors do, on one thread and without them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use gantry_codec::{Record, properties, record};
use gantry_storage::{
    AppendError, CloseError, CommitLog, ConsumeQueue, ConsumeQueueView, Disk, DispatchReader,
    IndexEntry, LogTail, OpenError, PhysicalOffset, PullLimits, PullOutcome, QueueError, QueueId,
    QueueOffset, Store, StoreConfig, allocate_segment, pull,
};

/// Small files: a log file holds some ten records, an index file fifty entries.
pub fn config() -> StoreConfig {
    StoreConfig::new(PathBuf::from("/store"), 2048, 1000)
}

pub const LIMITS: PullLimits = PullLimits {
    messages_max: 32,
    hot: (32, 256 * 1024),
    cold: (8, 64 * 1024),
    hot_bytes: u64::MAX,
    started_at: PhysicalOffset(0),
};

/// See the module's text.
pub struct Broker {
    pub disk: Arc<dyn Disk>,
    pub store: Store,
    pub tail: LogTail,
    pub reader: DispatchReader,
    pub queues: BTreeMap<(String, u32), ConsumeQueue>,
    pub next_offsets: BTreeMap<(String, u32), u64>,
    /// Topics that were deleted and not written since.
    pub deleted: BTreeSet<String>,
    pub now: i64,
}

impl Broker {
    pub fn open(disk: impl Disk + Clone) -> Self {
        Self::try_open(disk, config()).unwrap()
    }

    pub fn try_open(disk: impl Disk + Clone, config: StoreConfig) -> Result<Self, OpenError> {
        Self::try_open_without(disk, config, BTreeSet::new())
    }

    /// Opens a store of which the table of topics says that some were deleted.
    pub fn try_open_without(
        disk: impl Disk + Clone,
        config: StoreConfig,
        deleted: BTreeSet<String>,
    ) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let store = Store::open(config, disk.clone())?;
        let tail = store.log().tail().unwrap();
        let reader = DispatchReader::new(store.log().clone(), store.report().dispatch_from);
        let now = store.log().last_timestamp().max(1_000_000);
        let (queues, next_offsets) = (BTreeMap::new(), BTreeMap::new());
        let mut broker = Self { disk, store, tail, reader, queues, next_offsets, deleted, now };
        broker.store.verify_queues(|topic| !broker.deleted.contains(topic))?;
        for found in broker.store.queue_names() {
            if !broker.deleted.contains(&*found.topic) {
                broker.queue(&found.topic, found.queue.0);
            }
        }
        broker.dispatch();
        for ((topic, queue), index) in &broker.queues {
            broker.next_offsets.insert((topic.clone(), *queue), index.max_offset().0);
        }
        Ok(broker)
    }

    pub fn log(&self) -> &CommitLog {
        self.store.log()
    }

    pub fn queue(&mut self, topic: &str, queue: u32) -> &mut ConsumeQueue {
        self.queues
            .entry((topic.to_owned(), queue))
            .or_insert_with(|| self.store.open_queue(topic, QueueId(queue)).unwrap())
    }

    /// First offset of a queue and one past its last, as found at opening or since.
    pub fn range(&self, topic: &str, queue: u32) -> (u64, u64) {
        let (min, max) = self.store.queue_range(topic, QueueId(queue)).unwrap();
        (min.0, max.0)
    }

    pub fn view(&mut self, topic: &str, queue: u32) -> ConsumeQueueView {
        self.queue(topic, queue).view()
    }

    /// Appends without publishing; the place in the log.
    pub fn append(&mut self, topic: &str, queue: u32, body: &[u8], tag: &str) -> PhysicalOffset {
        self.try_append(topic, queue, body, tag).unwrap()
    }

    pub fn try_append(
        &mut self,
        topic: &str,
        queue: u32,
        body: &[u8],
        tag: &str,
    ) -> Result<PhysicalOffset, AppendError> {
        let key = (topic.to_owned(), queue);
        let next = self.next_offsets.get(&key).copied().unwrap_or(0);
        let mut text = String::new();
        if !tag.is_empty() {
            properties::append(&mut text, properties::TAGS, tag);
        }
        let mut record = record(topic, queue, body, &text);
        record.queue_offset = next as i64;
        record.store_timestamp = self.now;
        let appended = match self.tail.append(&mut record) {
            Err(AppendError::SegmentFull { .. }) => {
                if !self.tail.advance() {
                    let (config, next) = (self.log().config(), self.tail.next_segment_start());
                    let Ok(segment) = allocate_segment(&*self.disk, config, next) else {
                        return Err(AppendError::SegmentFull { len: 0, next });
                    };
                    self.tail.install(segment).unwrap();
                }
                self.tail.append(&mut record)?
            }
            appended => appended?,
        };
        self.next_offsets.insert(key, next + 1);
        if self.deleted.remove(topic) {
            // What a crash may have left of its life before.
            self.queue(topic, queue).delete().unwrap();
        }
        Ok(appended.offset)
    }

    /// Deletes a topic of which everything was dispatched.
    pub fn delete_topic(&mut self, topic: &str) {
        let (deleted, kept) = std::mem::take(&mut self.queues)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|((of, _), _)| of == topic);
        self.queues = kept;
        deleted.into_values().for_each(|mut queue| queue.delete().unwrap());
        self.store.forget_queues(topic);
        self.next_offsets.retain(|(of, _), _| of != topic);
        self.deleted.insert(topic.to_owned());
    }

    pub fn publish(&mut self) -> PhysicalOffset {
        self.tail.publish(self.now).unwrap()
    }

    /// Appends, publishes and indexes.
    pub fn send(&mut self, topic: &str, queue: u32, body: &[u8]) -> PhysicalOffset {
        let offset = self.append(topic, queue, body, "");
        self.publish();
        self.dispatch();
        offset
    }

    /// Brings the queues up to date with what is published.
    pub fn dispatch(&mut self) {
        self.try_dispatch().unwrap();
    }

    pub fn try_dispatch(&mut self) -> Result<(), QueueError> {
        let mut entries = Vec::new();
        let read = self.reader.read(usize::MAX, |entry| {
            let index =
                IndexEntry { offset: entry.offset, size: entry.size, tags_code: entry.tags_code };
            entries.push((entry.topic.to_owned(), entry.queue_id, entry.queue_offset, index));
            let light = entry.light_queues();
            entries.extend(light.map(|(topic, place)| (topic.to_owned(), 0, place, index)));
        });
        assert!(read.is_ok(), "{read:?}");
        entries.retain(|(topic, ..)| !self.deleted.contains(topic));
        for (topic, queue, offset, entry) in entries {
            let index = self.queue(&topic, queue);
            if entry.offset < index.max_physical() {
                continue;
            }
            if offset < index.max_offset() {
                // A later life of a topic that was deleted and made again.
                index.delete()?;
            }
            index.append(offset, &[entry])?;
        }
        Ok(())
    }

    /// Writes down that everything that was dispatched is on disk, after seeing to it.
    pub fn checkpoint(&mut self) -> Result<(), CloseError> {
        self.store.checkpoint(self.reader.mark())
    }

    /// Stops in order.
    pub fn stop(mut self) {
        self.checkpoint().unwrap();
        self.store.close().unwrap();
    }

    /// Dies as a process that is killed: nothing is tidied up, only the system gives its lock back.
    pub fn kill(self) {
        std::mem::forget(self.tail);
    }

    /// The bodies of a queue from `from` on.
    pub fn bodies(&mut self, topic: &str, queue: u32, from: u64) -> Vec<Vec<u8>> {
        let view = self.view(topic, queue);
        let (mut bodies, mut next) = (Vec::new(), QueueOffset(from));
        while next < view.max_offset() {
            let outcome = pull(&view, self.log(), next, &LIMITS, None);
            for (_, bytes) in outcome.records() {
                let record = Record::decode(bytes).unwrap();
                assert!(record.check_body_crc());
                assert_eq!((record.topic, record.queue_id), (topic, queue as i32));
                assert_eq!(record.queue_offset as u64, from + bodies.len() as u64);
                bodies.push(record.body.to_vec());
            }
            assert!(outcome.next_begin_offset > next, "{outcome:?}");
            next = outcome.next_begin_offset;
        }
        bodies
    }

    pub fn pull(&mut self, topic: &str, queue: u32, from: u64) -> PullOutcome {
        let view = self.view(topic, queue);
        pull(&view, self.log(), QueueOffset(from), &LIMITS, None)
    }
}

/// A record of which the places and the store time are still to be set.
pub fn record<'a>(topic: &'a str, queue: u32, body: &'a [u8], properties: &'a str) -> Record<'a> {
    let host = "127.0.0.1:10911".parse().unwrap();
    Record {
        queue_id: queue as i32,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body_crc: record::body_crc(body),
        body,
        topic,
        properties,
    }
}

/// Bytes of a record of topic `t` without properties: 91, the topic and the body.
pub fn record_len(body: usize) -> u64 {
    92 + body as u64
}

/// A body that says which it is, of `len` bytes.
pub fn body(number: usize, len: usize) -> Vec<u8> {
    let mut body = format!("{number}:").into_bytes();
    body.resize(len.max(body.len()), b'x');
    body
}
