//! The indexer without a runtime, over a disk in memory.

use std::path::Path;

use gantry_codec::{Record, properties, record};
use gantry_storage::{
    IndexConfig, IndexEvidence, IndexLayout, LogTail, ManualClock, MemDisk, StoreConfig,
    allocate_segment,
};
use slog::o;

use super::*;
use crate::log::key_lookup::{FindByKey, KeyLookup, KeyMatches};

const MESSAGE_MS: i64 = 1_795_602_030_000;

struct World {
    disk: MemDisk,
    parts: IndexerParts,
    tail: LogTail,
}

impl World {
    fn open(disk: &MemDisk) -> Self {
        let store = StoreConfig::new("/store".into(), 1 << 16, 1000);
        let store = Arc::new(Store::open(store, Arc::new(disk.clone())).unwrap());
        let tail = store.log().tail().unwrap();
        let layout = IndexLayout { hash_slots: 8, entries: 100 };
        let index = Index::new(IndexConfig { dir: store.config().index_dir(), layout });
        let end = store.log().max_offset();
        let parts = IndexerParts {
            store,
            index,
            disk: Arc::new(disk.clone()),
            clock: Arc::new(ManualClock::new(MESSAGE_MS)),
            dispatched: Arc::new(DispatchSignal::new(end, end)),
            signal: Arc::default(),
            log_to: Logger::root(slog::Discard, o!()),
        };
        Self { disk: disk.clone(), parts, tail }
    }

    /// Appends messages with this key, and lets the dispatcher have gone through them.
    fn send(&mut self, key: &str, messages: usize) {
        let mut text = String::new();
        properties::append(&mut text, properties::KEYS, key);
        for _ in 0..messages {
            let mut record = message(&text);
            if self.tail.append(&mut record).is_err() {
                let config = self.parts.store.log().config();
                let next = self.tail.next_segment_start();
                self.tail.install(allocate_segment(&self.disk, config, next).unwrap()).unwrap();
                self.tail.append(&mut record).unwrap();
            }
        }
        let end = self.tail.publish(MESSAGE_MS).unwrap();
        self.parts.dispatched = Arc::new(DispatchSignal::new(end, end));
    }

    fn indexer(&self) -> Indexer {
        Indexer::new(self.parts.clone(), 0)
    }

    fn find(&self, key: &str) -> KeyMatches {
        let lookup = KeyLookup::new(self.parts.index.clone(), self.parts.store.log().clone());
        let (topic, key) = ("t".to_owned(), key.to_owned());
        lookup.find(&FindByKey {
            topic,
            key,
            is_tag: false,
            begin: 0,
            end: i64::MAX,
            messages_max: 100_000,
        })
    }

    fn count(&self, key: &str) -> usize {
        let records = self.find(key).records;
        std::iter::successors(Some(&records[..]), |rest| {
            let (len, _) = record::record_len(rest)?;
            Some(&rest[len..])
        })
        .count()
            - 1
    }
}

fn message(properties: &str) -> Record<'_> {
    let host = "127.0.0.1:10911".parse().unwrap();
    Record {
        queue_id: 0,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: MESSAGE_MS,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body_crc: record::body_crc(b"body"),
        body: b"body",
        topic: "t",
        properties,
    }
}

#[test]
fn it_indexes_in_rounds_up_to_where_the_dispatcher_is() {
    let mut world = World::open(&MemDisk::new());
    let mut indexer = world.indexer();
    assert_eq!(indexer.round(), Went::Idle);
    world.send("k", 3);
    let behind = world.indexer();
    // This one was made before the messages: it looks no further than its dispatcher.
    assert_eq!(indexer.round(), Went::Idle);
    drop(indexer);
    let mut indexer = behind;
    assert_eq!(indexer.round(), Went::Done);
    assert_eq!((indexer.round(), world.count("k")), (Went::Idle, 3));
    world.send("k", ROUND_RECORDS_MAX + 1);
    indexer.parts = world.parts.clone();
    assert_eq!((indexer.round(), indexer.round()), (Went::More, Went::Done));
    assert_eq!(world.count("k"), ROUND_RECORDS_MAX + 4);
    assert_eq!(world.find("k").behind, 0);
    assert_eq!(world.find("k").last_timestamp, MESSAGE_MS);
    assert_eq!(
        world.find("another"),
        KeyMatches { records: Default::default(), ..world.find("k") }
    );
}

#[test]
fn a_full_disk_is_told_and_overcome() {
    let mut world = World::open(&MemDisk::new());
    world.send("k", 3);
    world.disk.set_free_bytes(Some(10));
    let mut indexer = world.indexer();
    assert_eq!((indexer.round(), indexer.round()), (Went::Failed, Went::Failed));
    assert!(matches!(indexer.health(), Health::Degraded(why) if why.starts_with("/store/index")));
    assert!(world.parts.signal.is_failing());
    world.disk.set_free_bytes(None);
    assert_eq!((indexer.round(), indexer.health()), (Went::Done, Health::Up));
    assert!(!world.parts.signal.is_failing());
    assert_eq!(world.count("k"), 3);
}

#[test]
fn what_it_has_synced_is_written_down() {
    let mut world = World::open(&MemDisk::new());
    world.send("k", 3);
    let mut indexer = world.indexer();
    indexer.round();
    indexer.flush();
    let point = world.parts.store.index_evidence().point.unwrap();
    assert_eq!((point.next_entry, point.position), (4, world.parts.store.log().max_offset()));
    assert_eq!(point.position, world.parts.store.log().flushed_offset(), "the log before it");
    let world = World::open(&world.disk.crash());
    assert_eq!(world.indexer().round(), Went::Idle);
    assert_eq!(world.count("k"), 3);
}

#[test]
fn a_failed_sync_is_written_down_as_such() {
    let mut world = World::open(&MemDisk::new());
    world.send("k", 3);
    world.parts.store.log().flusher().sync().unwrap();
    let mut indexer = world.indexer();
    indexer.round();
    // Only while the entries are synced: the checkpoint itself can be written.
    world.disk.fail_syncs(true);
    let flushed = indexer.writer.as_mut().unwrap().flush();
    world.disk.fail_syncs(false);
    indexer.write_down(flushed);
    let IndexEvidence { point, .. } = world.parts.store.index_evidence();
    assert!(point.unwrap().suspect);
    assert!(matches!(indexer.health(), Health::Degraded(_)));
}

#[test]
fn a_wrong_file_keeps_nobody_but_the_index() {
    let mut world = World::open(&MemDisk::new());
    world.send("k", 3);
    let path = Path::new("/store/index/20200101000000000");
    world.disk.write_atomic(path, &[0; 100]).unwrap();
    let mut indexer = world.indexer();
    assert_eq!(indexer.round(), Went::Failed);
    assert_eq!(world.count("k"), 0);
    world.disk.remove(path).unwrap();
    assert_eq!((indexer.round(), world.count("k")), (Went::Done, 3));
}
