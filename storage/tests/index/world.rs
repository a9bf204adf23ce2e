//! A store with an index, and everything that can happen to the two.

use std::{path::Path, sync::Arc};

use gantry_codec::{Record, properties, record, record::sys_flag};
use gantry_storage::{
    AppendError, Disk, DispatchMark, Index, IndexConfig, IndexError, IndexLayout, IndexReport,
    IndexWriter, KeyQuery, LogTail, ManualClock, MemDisk, PhysicalOffset, QueryKey, Store,
    StoreConfig, allocate_segment, find_by_key,
};

/// Few slots, so that chains share them, and few entries, so that there are many files.
pub const LAYOUT: IndexLayout = IndexLayout { hash_slots: 3, entries: 8 };
/// 2026-11-25 10:20:30.000.
const NOW: i64 = 1_795_602_030_000;

/// What a message is found by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys<'a> {
    pub unique: &'a str,
    pub words: &'a str,
    pub tag: &'a str,
    pub sys_flag: i32,
}

impl<'a> Keys<'a> {
    pub fn words(words: &'a str) -> Self {
        Self { words, ..Self::default() }
    }
}

pub struct World {
    pub disk: MemDisk,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub tail: LogTail,
    pub index: Index,
    pub writer: IndexWriter,
    pub report: IndexReport,
    /// Store time of the next message.
    pub now: i64,
}

impl World {
    pub fn open(disk: &MemDisk) -> Self {
        Self::try_open(disk, LAYOUT).unwrap()
    }

    pub fn try_open(disk: &MemDisk, layout: IndexLayout) -> Result<Self, IndexError> {
        let config = StoreConfig::new("/store".into(), 4096, 1000);
        let store = Store::open(config, Arc::new(disk.clone())).unwrap();
        let index = Index::new(IndexConfig { dir: store.config().index_dir(), layout });
        index.check(disk)?;
        let clock = Arc::new(ManualClock::new(NOW));
        let (shared, log) = (Arc::new(disk.clone()), store.log().clone());
        let evidence = store.index_evidence();
        let (writer, report) = IndexWriter::open(&index, shared, clock.clone(), &log, &evidence)?;
        let now = log.last_timestamp().max(NOW);
        let (disk, tail) = (disk.clone(), log.tail().unwrap());
        Ok(Self { disk, clock, store, tail, index, writer, report, now })
    }

    /// Appends a message and publishes it.
    pub fn send(&mut self, topic: &str, keys: Keys<'_>) -> PhysicalOffset {
        let mut text = String::new();
        for (name, value) in [
            (properties::KEYS, keys.words),
            (properties::UNIQ_KEY, keys.unique),
            (properties::TAGS, keys.tag),
        ] {
            if !value.is_empty() {
                properties::append(&mut text, name, value);
            }
        }
        let mut record = message(topic, &text, keys.sys_flag, self.now);
        let appended = match self.tail.append(&mut record) {
            Err(AppendError::SegmentFull { .. }) => {
                if !self.tail.advance() {
                    let next = self.tail.next_segment_start();
                    let segment = allocate_segment(&self.disk, self.store.log().config(), next);
                    self.tail.install(segment.unwrap()).unwrap();
                }
                self.tail.append(&mut record)
            }
            appended => appended,
        };
        self.tail.publish(self.now).unwrap();
        appended.unwrap().offset
    }

    /// Sends messages with one key each.
    pub fn send_keys<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) -> Vec<u64> {
        keys.into_iter().map(|key| self.send("t", Keys::words(key)).0).collect()
    }

    /// Indexes everything.
    pub fn index(&mut self) {
        let end = self.store.log().max_offset();
        while self.writer.position() < end {
            self.writer.advance(end, 5).unwrap();
        }
    }

    /// Indexes everything, and makes that durable.
    pub fn flush(&mut self) {
        self.index();
        let point = self.writer.flush().unwrap();
        self.store.checkpoint_index(point).unwrap();
    }

    /// Stops in order. If an earlier sync has failed, that is written down already.
    pub fn stop(mut self) -> MemDisk {
        self.index();
        match self.writer.flush_all() {
            Ok(point) => self.store.checkpoint_index(point).unwrap(),
            Err(e) => assert!(matches!(e, IndexError::Suspect), "{e}"),
        }
        self.stop_without_index()
    }

    /// Stops the store in order, and nobody cares about the index.
    pub fn stop_without_index(self) -> MemDisk {
        let mark = DispatchMark { end: self.store.log().max_offset(), last_record: None };
        self.store.checkpoint(mark).unwrap();
        self.store.close().unwrap();
        self.disk
    }

    /// Dies as a process that is killed.
    pub fn kill(self) -> MemDisk {
        self.disk
    }

    /// What a loss of power leaves: pages that were not synced as `kept` says.
    pub fn lose_power(self, kept: impl FnMut(&Path, u64) -> bool) -> MemDisk {
        self.disk.crash_keeping(kept)
    }

    /// Where the messages with a key of topic `t` are, oldest first.
    pub fn find(&self, key: &str) -> Vec<u64> {
        self.query(QueryKey::Key(key), 0, i64::MAX)
    }

    pub fn query(&self, key: QueryKey<'_>, begin: i64, end: i64) -> Vec<u64> {
        let query =
            KeyQuery { topic: "t", key, begin, end, messages_max: 1000, bytes_max: u64::MAX };
        let found = find_by_key(&self.index, self.store.log(), &query);
        found.iter().map(|record| record.offset()).collect()
    }

    /// The names of the index files.
    pub fn files(&self) -> Vec<String> {
        let listed = self.disk.list(&self.store.config().index_dir()).unwrap();
        listed.into_iter().map(|(name, _)| name).collect()
    }

    /// The number of entries, in all files.
    pub fn entries(&self) -> u32 {
        let dir = self.store.config().index_dir();
        let count = |name: &String| {
            let word = self.disk.read_at(&dir.join(name), 36, 4).unwrap();
            u32::from_be_bytes(word.try_into().unwrap()) - 1
        };
        self.files().iter().map(count).sum()
    }
}

fn message<'a>(topic: &'a str, properties: &'a str, sys_flag: i32, now: i64) -> Record<'a> {
    let host = "127.0.0.1:10911".parse().unwrap();
    Record {
        queue_id: 0,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: now,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body_crc: record::body_crc(b"body"),
        body: b"body",
        topic,
        properties,
    }
}

pub const PREPARED: i32 = sys_flag::PREPARED;
pub const ROLLBACK: i32 = sys_flag::ROLLBACK;
