//! What any end of the broker leaves of the index, and how the next one makes it whole.

use std::path::Path;

use gantry_storage::{Disk, DiskFault, DiskOp, FaultPlan, MemDisk, PhysicalOffset};

use crate::world::{Keys, World};

const CHECKPOINT: &str = "/store/checkpoint";

/// A world with two full files and a part of a third.
fn world() -> (World, Vec<u64>) {
    let mut world = World::open(&MemDisk::new());
    let sent = world.send_keys(["k"; 17]);
    (world, sent)
}

/// What a Java broker does to the checkpoint when it has taken a message.
fn move_times(disk: &MemDisk) {
    let mut file = disk.read(Path::new(CHECKPOINT)).unwrap().unwrap();
    let moved = i64::from_be_bytes(file[..8].try_into().unwrap()) + 1;
    file[..8].copy_from_slice(&moved.to_be_bytes());
    disk.write_atomic(Path::new(CHECKPOINT), &file).unwrap();
}

#[test]
fn an_orderly_stop_leaves_everything() {
    let (world, sent) = world();
    let disk = world.stop().crash();
    let mut world = World::open(&disk);
    assert!(!world.report.rebuilt);
    assert_eq!((world.report.files, world.report.removed), (3, 0));
    assert_eq!(world.report.from, world.store.log().max_offset());
    assert!(!world.writer.is_dirty());
    assert_eq!(world.find("k"), sent);
    let more = world.send_keys(["k"; 9]);
    world.index();
    assert_eq!(world.find("k"), [sent, more].concat());
}

#[test]
fn the_checkpoint_tells_java_to_keep_the_files() {
    let (world, _) = world();
    let now = world.now;
    let disk = world.stop();
    let file = disk.read(Path::new(CHECKPOINT)).unwrap().unwrap();
    assert_eq!(file[16..24], now.to_be_bytes(), "indexMsgTimestamp");
    let name = disk.list(Path::new("/store/index")).unwrap().pop().unwrap().0;
    let header = disk.read_at(&Path::new("/store/index").join(name), 0, 40).unwrap();
    assert_eq!(header[8..16], now.to_be_bytes(), "end of the last file");
    assert_eq!(header[36..], 4u32.to_be_bytes(), "three entries");
}

#[test]
fn after_a_kill_the_index_is_taken_back_to_the_point() {
    let (mut world, mut sent) = world();
    world.flush();
    let durable = world.writer.position();
    sent.extend(world.send_keys(["k"; 11]));
    world.index();
    let mut world = World::open(&world.kill());
    assert!(world.report.rebuilt);
    assert_eq!((world.report.files, world.report.removed, world.report.from), (3, 1, durable));
    assert_eq!(world.find("k"), sent[..17]);
    world.index();
    assert_eq!(world.find("k"), sent);
    world.flush();
    assert_eq!(world.entries(), 28);
}

#[test]
fn entries_survive_a_loss_of_power_and_slots_are_made_from_them() {
    // Whatever pages the system wrote by itself.
    for seed in 0..4 {
        let (mut world, mut sent) = world();
        world.flush();
        sent.extend(world.send_keys(["k"; 11]));
        world.store.log().flusher().sync().unwrap();
        world.index();
        let is_kept = |path: &Path, at: u64| {
            seed & 1 == 0 && path.starts_with("/store/index") && (at / 4096) % 2 == seed / 2
        };
        let mut world = World::open(&world.lose_power(is_kept));
        assert_eq!(world.find("k"), sent[..17], "seed {seed}");
        world.index();
        assert_eq!(world.find("k"), sent, "seed {seed}");
    }
}

#[test]
fn what_was_never_made_durable_is_made_again() {
    let (mut world, sent) = world();
    world.index();
    world.store.log().flusher().sync().unwrap();
    let mut world = World::open(&world.lose_power(|_, _| true));
    assert_eq!(world.report.from, PhysicalOffset(0));
    assert_eq!(world.find("k"), [0; 0]);
    world.index();
    assert_eq!(world.find("k"), sent);
}

#[test]
fn an_index_that_is_gone_is_made_again() {
    let (world, sent) = world();
    let disk = world.stop();
    disk.remove_dir(Path::new("/store/index")).unwrap();
    let mut world = World::open(&disk);
    assert_eq!(world.report.from, PhysicalOffset(0));
    world.index();
    assert_eq!(world.find("k"), sent);
}

#[test]
fn a_file_whose_making_was_interrupted_is_removed() {
    let (world, sent) = world();
    let disk = world.stop();
    let torn = Path::new("/store/index/20261125102031000");
    disk.write_atomic(torn, &[]).unwrap();
    disk.write_atomic(Path::new("/store/index/notes"), b"x").unwrap();
    let world = World::open(&disk);
    assert_eq!(world.find("k"), sent);
    assert!(disk.read(torn).unwrap().is_none());
    assert!(disk.read(Path::new("/store/index/notes")).unwrap().is_some(), "not ours");
}

#[test]
fn a_store_that_java_left_in_order_goes_on_behind_the_last_record() {
    let (world, sent) = world();
    let disk = world.stop();
    move_times(&disk);
    let mut world = World::open(&disk);
    assert_eq!((world.report.rebuilt, world.report.files), (false, 3));
    assert_eq!(world.report.from.0, sent[16]);
    let more = world.send_keys(["k"; 3]);
    world.flush();
    assert_eq!(world.find("k"), [sent, more].concat());
    assert_eq!(world.entries(), 20, "the last record is not there twice");
}

#[test]
fn a_record_that_java_indexed_in_part_is_gone_on_with() {
    let disk = MemDisk::new();
    let mut world = World::open(&disk);
    let words: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    let at = world.send("t", Keys::words(&words.join(" "))).0;
    // As after a crash of Java: the full file stays, the next one goes.
    let disk = world.stop();
    move_times(&disk);
    let next = disk.list(Path::new("/store/index")).unwrap().pop().unwrap().0;
    disk.remove(&Path::new("/store/index").join(next)).unwrap();
    let mut world = World::open(&disk);
    assert_eq!(world.find("k9"), [0; 0]);
    world.flush();
    assert!(words.iter().all(|key| world.find(key) == [at]));
    assert_eq!(world.entries(), 10);
}

#[test]
fn after_an_abrupt_end_of_another_broker_newer_files_go() {
    let (mut world, mut sent) = world();
    world.now += 5000;
    sent.extend(world.send_keys(["k"; 8]));
    let disk = world.stop();
    // The first two files are older than the checkpoint says.
    let mut file = disk.read(Path::new(CHECKPOINT)).unwrap().unwrap();
    let older = i64::from_be_bytes(file[16..24].try_into().unwrap()) - 5000;
    file[16..24].copy_from_slice(&older.to_be_bytes());
    disk.write_atomic(Path::new(CHECKPOINT), &file).unwrap();
    disk.write_atomic(Path::new("/store/abort"), b"").unwrap();
    let mut world = World::open(&disk);
    assert_eq!((world.report.files, world.report.removed), (2, 2));
    assert_eq!(world.report.from.0, sent[13]);
    world.index();
    assert_eq!(world.find("k"), sent);
}

#[test]
fn entries_of_records_that_the_log_lost_are_cut() {
    let (mut world, sent) = world();
    world.store.log().flusher().sync().unwrap();
    let more = world.send_keys(["k"; 11]);
    world.index();
    // The index reaches the disk, the log does not.
    world.writer.flush_all().unwrap();
    let disk = world.lose_power(|path, _| path.ends_with("checkpoint"));
    disk.remove(Path::new("/store/abort")).unwrap();
    let mut world = World::open(&disk);
    assert_eq!(world.store.log().max_offset().0, more[0]);
    assert_eq!((world.report.files, world.report.removed), (3, 1));
    let other = world.send("t", Keys::words("other")).0;
    world.index();
    assert_eq!(other, more[0], "the place is taken by another");
    assert_eq!((world.find("k"), world.find("other")), (sent, vec![other]));
}

#[test]
fn after_a_failed_sync_nothing_behind_the_point_is_relied_on() {
    let (mut world, mut sent) = world();
    world.flush();
    let durable = world.writer.position();
    sent.extend(world.send_keys(["k"; 3]));
    world.index();
    world.disk.fail_syncs(true);
    assert!(world.writer.flush().is_err());
    world.disk.fail_syncs(false);
    let again = world.writer.flush().unwrap_err().to_string();
    assert!(again.contains("an earlier sync of the index has failed"), "{again}");
    world.store.checkpoint_index(world.writer.durable()).unwrap();
    assert_eq!(world.find("k"), sent, "it goes on in memory");
    let mut world = World::open(&world.stop_without_index());
    assert_eq!((world.report.rebuilt, world.report.from), (true, durable));
    world.index();
    assert_eq!(world.find("k"), sent);
}

#[test]
fn a_point_without_its_entries_does_not_count() {
    let (mut world, sent) = world();
    world.flush();
    let disk = world.kill();
    let name = disk.list(Path::new("/store/index")).unwrap().pop().unwrap().0;
    // The second of the last file's entries is zeros, as a page that was lost.
    let at = 40 + 3 * 4 + 2 * 20;
    disk.overwrite(&Path::new("/store/index").join(name), at, &[0; 20]).unwrap();
    let mut world = World::open(&disk);
    assert_eq!(world.report.from.0, sent[14]);
    world.index();
    assert_eq!(world.find("k"), sent);
}

/// The point of a file that is gone must not come to mean a later one of its name: that one's entries
/// were never said to be on the disk.
#[test]
fn no_file_is_named_as_one_that_a_point_may_still_name() {
    let (mut world, _) = world();
    world.flush();
    let disk = world.kill();
    let index = Path::new("/store/index");
    let names = || disk.list(index).unwrap().into_iter().map(|(name, _)| name);
    let last = names().next_back().unwrap();
    disk.remove_dir(index).unwrap();
    let mut world = World::open(&disk);
    world.index();
    assert!(names().next().unwrap() > last);
}

/// What a creation left that failed, and could not be tidied up either, does not stand in the way.
#[test]
fn a_file_that_could_not_be_made_is_made_under_another_name() {
    let mut world = World::open(&MemDisk::new());
    let sent = world.send_keys(["k"; 3]);
    let plan = FaultPlan::new(0).at_op(DiskOp::Reserve, 0, DiskFault::Full);
    world.disk.set_plan(plan.at_op(DiskOp::Remove, 0, DiskFault::Io));
    assert!(world.writer.advance(world.store.log().max_offset(), 5).is_err());
    world.index();
    assert_eq!(world.find("k"), sent);
}

/// The index ended before the log began, and as many entries as its last record had were left out of
/// those of the log's first one.
#[test]
fn an_index_that_ends_before_the_log_lets_nothing_out() {
    let (mut world, _) = world();
    world.index();
    let end = world.store.log().max_offset();
    let sent = world.send_keys(["k"; 120]);
    let log = world.store.log().clone();
    log.remove_before(&world.disk, log.next_segment_after(end)).unwrap();
    let disk = world.stop_without_index();
    let mut world = World::open(&disk);
    world.index();
    let there = sent.into_iter().filter(|at| PhysicalOffset(*at) >= log.min_offset());
    assert_eq!(world.find("k"), there.collect::<Vec<_>>());
}
