//! What a query finds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use gantry_storage::{
    Index, IndexConfig, IndexEvidence, IndexLayout, IndexWriter, KeyQuery, ManualClock, MemDisk,
    PhysicalOffset, QueryKey, find_by_key,
};

use crate::world::{Keys, PREPARED, ROLLBACK, World};

#[test]
fn a_message_is_found_by_its_id_its_words_and_its_tag() {
    let mut world = World::open(&MemDisk::new());
    let keys = Keys { unique: "u1", words: " a  b", tag: "x", sys_flag: 0 };
    let one = world.send("t", keys).0;
    let two = world.send("t", Keys::words("b c")).0;
    world.send("other", keys);
    world.index();
    assert_eq!(world.find("u1"), [one]);
    assert_eq!(world.find("a"), [one]);
    assert_eq!(world.find("b"), [one, two]);
    assert_eq!(world.find("c"), [two]);
    assert_eq!(world.find("x"), [0; 0], "a tag is no key");
    assert_eq!(world.query(QueryKey::Tag("x"), 0, i64::MAX), [one]);
    assert_eq!(world.query(QueryKey::Tag("u1"), 0, i64::MAX), [0; 0]);
    let (time, place) = world.index.last_update();
    assert_eq!((time, place.0 > two), (world.now, true));
}

#[test]
fn keys_with_one_hash_are_told_apart_by_the_messages() {
    let mut world = World::open(&MemDisk::new());
    let [one, two] = *world.send_keys(["Aa", "BB"]) else { panic!("two messages") };
    world.index();
    assert_eq!((world.find("Aa"), world.find("BB")), (vec![one], vec![two]));
}

#[test]
fn topics_with_one_hash_are_told_apart_by_the_messages() {
    let mut world = World::open(&MemDisk::new());
    let sent = ["Aa", "BB"].map(|topic| world.send(topic, Keys::words("k")).0);
    world.index();
    for (topic, at) in ["Aa", "BB"].into_iter().zip(sent) {
        let (begin, end) = (0, i64::MAX);
        let (messages_max, bytes_max) = (10, u64::MAX);
        let query =
            KeyQuery { topic, key: QueryKey::Key("k"), begin, end, messages_max, bytes_max };
        let found = find_by_key(&world.index, world.store.log(), &query);
        assert_eq!(found.iter().map(|record| record.offset()).collect::<Vec<_>>(), [at], "{topic}");
    }
}

#[test]
fn one_key_twice_is_one_message() {
    let mut world = World::open(&MemDisk::new());
    let at = world.send("t", Keys { unique: "k", words: "k k", ..Keys::default() }).0;
    world.index();
    assert_eq!(world.find("k"), [at]);
}

#[test]
fn half_messages_are_indexed_and_rollbacks_are_not() {
    let mut world = World::open(&MemDisk::new());
    let half = world.send("t", Keys { words: "k", sys_flag: PREPARED, ..Keys::default() }).0;
    world.send("t", Keys { words: "k", sys_flag: ROLLBACK, ..Keys::default() });
    world.index();
    assert_eq!(world.find("k"), [half]);
}

#[test]
fn messages_lie_in_many_files() {
    let mut world = World::open(&MemDisk::new());
    let all = world.send_keys(["k"; 30]);
    world.index();
    assert_eq!(world.index.file_count(), 5, "seven entries in each");
    assert_eq!(world.find("k"), all);
    let newest = KeyQuery {
        topic: "t",
        key: QueryKey::Key("k"),
        begin: 0,
        end: i64::MAX,
        messages_max: 10,
        bytes_max: u64::MAX,
    };
    let places = |query: &KeyQuery<'_>| -> Vec<u64> {
        let found = find_by_key(&world.index, world.store.log(), query);
        found.iter().map(|record| record.offset()).collect()
    };
    assert_eq!(places(&newest), all[20..]);
    assert_eq!(places(&KeyQuery { messages_max: 0, ..newest }), [0; 0]);
    assert_eq!(places(&KeyQuery { bytes_max: 0, ..newest }), all[29..], "one is always given");
    let two = 2 * (all[1] - all[0]);
    assert_eq!(places(&KeyQuery { bytes_max: two, ..newest }), all[28..]);
}

#[test]
fn a_record_of_many_keys_goes_on_in_the_next_file() {
    let mut world = World::open(&MemDisk::new());
    let words: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let at = world.send("t", Keys::words(&words.join(" "))).0;
    world.index();
    assert_eq!(world.index.file_count(), 3);
    assert!(words.iter().all(|key| world.find(key) == [at]));
}

#[test]
fn times_are_right_to_a_second() {
    let mut world = World::open(&MemDisk::new());
    let start = world.now;
    let mut sent = Vec::new();
    for _ in 0..20 {
        sent.push(world.send("t", Keys::words("k")).0);
        world.now += 700;
    }
    world.index();
    let stored = |n: usize| start + 700 * n as i64;
    let find = |begin, end| world.query(QueryKey::Key("k"), begin, end);
    for (first, last) in [(0, 19), (3, 3), (5, 12), (6, 7), (13, 14), (19, 19)] {
        let found = find(stored(first), stored(last));
        assert!(sent[first..=last].iter().all(|at| found.contains(at)), "{first} to {last}");
        // Times are cut to seconds, so one or two behind the end may be there too; none before.
        let most = sent[first..].iter().take(last - first + 3);
        assert!(found.iter().all(|at| most.clone().any(|m| m == at)), "{first} to {last}");
    }
    assert_eq!(find(stored(19) + 1, i64::MAX), [0; 0]);
    assert_eq!(find(0, start - 1), [0; 0]);
}

#[test]
fn messages_that_are_gone_from_the_log_are_not_found() {
    let disk = MemDisk::new();
    let mut world = World::open(&disk);
    let all = world.send_keys(["k"; 60]);
    let disk = {
        world.index();
        world.stop()
    };
    use gantry_storage::Disk;
    disk.remove(std::path::Path::new("/store/commitlog/00000000000000000000")).unwrap();
    let world = World::open(&disk);
    let min = world.store.log().min_offset().0;
    assert!(min > 0);
    assert_eq!(world.find("k"), all.iter().copied().filter(|at| *at >= min).collect::<Vec<_>>());
    let files = world.index.file_count();
    let trimmed = world.index.trim_before(&disk, PhysicalOffset(min)).unwrap();
    assert!(trimmed > 0);
    assert_eq!((world.index.file_count(), world.files().len()), (files - trimmed, files - trimmed));
    assert!(world.index.min_offset().unwrap().0 <= min + 7 * (all[1] - all[0]));
    world.index.trim_before(&disk, PhysicalOffset(u64::MAX)).unwrap();
    assert_eq!(world.index.file_count(), 1, "the last file stays");
    drop(world);
    assert_eq!(World::open(&disk).index.file_count(), 1);
}

#[test]
fn names_of_files_rise_even_if_the_clock_does_not() {
    let mut world = World::open(&MemDisk::new());
    world.send_keys(["k"; 20]);
    world.index();
    let first = "20261125102030000".to_owned();
    assert_eq!(world.files(), [first, "20261125102030001".into(), "20261125102030002".into()]);
}

#[test]
fn a_full_disk_is_an_error_and_indexing_goes_on_when_there_is_room() {
    let disk = MemDisk::new();
    let mut world = World::open(&disk);
    let words: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let at = world.send("t", Keys::words(&words.join(" "))).0;
    let end = world.store.log().max_offset();
    // Room for one file and the beginning of the next.
    disk.set_free_bytes(Some(300));
    let error = world.writer.advance(end, 10).unwrap_err().to_string();
    assert!(error.starts_with("/store/index"), "{error}");
    assert_eq!(world.writer.position().0, at);
    assert!(world.writer.advance(end, 10).is_err(), "still full");
    disk.set_free_bytes(None);
    world.index();
    assert!(words.iter().all(|key| world.find(key) == [at]));
    world.flush();
    assert_eq!(world.entries(), 20, "no entry is there twice");
}

#[test]
fn files_of_another_size_are_refused() {
    let disk = MemDisk::new();
    let mut world = World::open(&disk);
    world.send_keys(["k"]);
    let disk = world.stop();
    let other = IndexLayout { hash_slots: 4, entries: 8 };
    let error = World::try_open(&disk, other).err().unwrap().to_string();
    assert!(error.contains("20261125102030000 has 212 bytes"), "{error}");
    assert!(error.contains("maxHashSlotNum 4 and maxIndexNum 8 ask for 216"), "{error}");
}

#[test]
fn there_is_one_writer() {
    let mut world = World::open(&MemDisk::new());
    let sent = world.send_keys(["k", "k"]);
    world.writer.advance(PhysicalOffset(sent[1]), 10).unwrap();
    let open = |world: &World| {
        let (disk, clock) = (Arc::new(world.disk.clone()), world.clock.clone());
        let evidence = world.store.index_evidence();
        IndexWriter::open(&world.index, disk, clock, world.store.log(), &evidence)
    };
    assert_eq!(open(&world).err().unwrap().to_string(), "the index has a writer");
    // One that dies is followed by one that goes on where it was.
    let Some(other) = spare_writer() else { panic!("a writer") };
    drop(std::mem::replace(&mut world.writer, other));
    world.writer = open(&world).unwrap().0;
    assert_eq!(world.writer.position().0, sent[1]);
    world.index();
    assert_eq!(world.find("k"), sent);
    world.flush();
    assert_eq!(world.entries(), 2);
}

/// The writer of another index.
fn spare_writer() -> Option<IndexWriter> {
    let world = World::open(&MemDisk::new());
    let index = Index::new(IndexConfig { dir: "/spare".into(), layout: crate::world::LAYOUT });
    let (disk, clock) = (Arc::new(MemDisk::new()), Arc::new(ManualClock::new(0)));
    let evidence = IndexEvidence::default();
    Some(IndexWriter::open(&index, disk, clock, world.store.log(), &evidence).ok()?.0)
}

#[test]
fn readers_see_whole_chains_while_the_writer_writes() {
    const MESSAGES: usize = 2000;
    let layout = IndexLayout { hash_slots: 3, entries: 300 };
    let mut world = World::try_open(&MemDisk::new(), layout).unwrap();
    let sent = world.send_keys((0..MESSAGES).map(|n| ["a", "b"][n % 2]));
    let indexed = Arc::new(AtomicUsize::new(0));
    let reader = {
        let (index, log, indexed) =
            (world.index.clone(), world.store.log().clone(), indexed.clone());
        let all: Vec<u64> = sent.iter().copied().step_by(2).collect();
        let watch = move || {
            loop {
                let least = indexed.load(Ordering::Acquire).div_ceil(2);
                let query = KeyQuery {
                    topic: "t",
                    key: QueryKey::Key("a"),
                    begin: 0,
                    end: i64::MAX,
                    messages_max: usize::MAX,
                    bytes_max: u64::MAX,
                };
                let found = find_by_key(&index, &log, &query);
                let found: Vec<u64> = found.iter().map(|record| record.offset()).collect();
                assert!(found.len() >= least, "{} of {least}", found.len());
                assert!(found == all[..found.len()], "a hole in a chain");
                if found.len() == all.len() {
                    return;
                }
            }
        };
        thread::Builder::new().name("reader".into()).spawn(watch).unwrap()
    };
    for n in 1..=MESSAGES {
        world.writer.advance(PhysicalOffset(u64::MAX), 1).unwrap();
        indexed.store(n, Ordering::Release);
    }
    reader.join().unwrap();
}
