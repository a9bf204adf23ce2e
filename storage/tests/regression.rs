//! Faults that were found, each by what went wrong. Most came from the seeded runs in `crash_runs`.

mod common;

use std::path::{Path, PathBuf};

use common::{Broker, body, config};
use gantry_storage::{
    Disk, DiskFault, DiskOp, DispatchReader, FaultPlan, IndexPoint, MemDisk, PhysicalOffset,
    QueueId, StoreConfig,
};

fn log_file(start: u64) -> PathBuf {
    config().log.dirs[0].join(format!("{start:020}"))
}

/// The first file of queue 0 of topic `t`.
fn queue_file() -> PathBuf {
    config().queues.queue_dir("t", QueueId(0)).join(format!("{:020}", 0))
}

/// Messages that the log has.
fn count(broker: &Broker) -> usize {
    let mut count = 0;
    let mut reader = DispatchReader::new(broker.log().clone(), PhysicalOffset(0));
    reader.read(usize::MAX, |_| count += 1).unwrap();
    count
}

/// A sync failed, the broker was started again, and the kernel took pages for clean that it had not
/// written: what was acknowledged from then on lay behind a hole.
#[test]
fn a_restart_after_a_failed_sync_took_memory_for_the_disk() {
    // Files of some pages: that of the log's end is written again anyway.
    let open =
        |disk| Broker::try_open(disk, StoreConfig::new("/store".into(), 16384, 1000)).unwrap();
    let bodies: Vec<_> = (0..50).map(|number| body(number, 100)).collect();
    for seed in 0..20 {
        let disk = MemDisk::new();
        let mut broker = open(disk.clone());
        for body in &bodies[..49] {
            broker.send("t", 0, body);
        }
        disk.set_plan(FaultPlan::new(seed).at_op(DiskOp::Sync, 0, DiskFault::Io));
        assert!(broker.log().flusher().sync().is_err());
        let disk = disk.kill();
        let mut broker = open(disk.clone());
        broker.send("t", 0, &bodies[49]);
        broker.log().flusher().sync().unwrap();
        assert!(open(disk.crash()).bodies("t", 0, 0) == bodies, "seed {seed}");
    }
}

/// Files behind the log's end were removed from the first one on; when the power went in between, the
/// store could not be opened any more.
#[test]
fn a_crash_while_files_were_removed_left_a_gap() {
    for seed in 0..40 {
        let disk = MemDisk::new();
        disk.keep_order_of_names(seed % 2 == 0);
        let mut broker = Broker::open(disk.clone());
        for number in 0..60 {
            broker.send("t", 0, &body(number, 108));
        }
        broker.log().flusher().sync().unwrap();
        let disk = disk.kill();
        disk.corrupt(&log_file(2048), 150).unwrap();
        disk.set_plan(FaultPlan::new(seed).at_op(DiskOp::Remove, seed % 4, DiskFault::PowerLoss));
        assert!(Broker::try_open(disk.clone(), config()).is_err());
        assert_eq!(count(&Broker::open(disk.crash())), 10, "seed {seed}");
    }
}

/// The middle of long properties was not on the disk, and zeros were served in their place.
#[test]
fn a_sector_missing_in_the_properties_was_not_noticed() {
    for missing in [512, 1024] {
        let disk = MemDisk::new();
        let mut broker = Broker::open(disk.clone());
        broker.append("t", 0, b"body", &"tag".repeat(500));
        broker.append("t", 0, b"next", "");
        broker.publish();
        let disk = disk.kill();
        assert_eq!(count(&Broker::open(disk.kill())), 2, "all is there");
        disk.overwrite(&log_file(0), missing, &[0; 512]).unwrap();
        let broker = Broker::open(disk);
        assert_eq!(count(&broker), 0);
        assert!(broker.store.report().broken.as_ref().unwrap().starts_with("at 0: "));
    }
}

/// The check for such sectors took the unused rest of a file for one when a record without properties
/// reached into the sector with a byte of their length only.
#[test]
fn a_record_that_ended_beside_a_sector_was_taken_for_torn() {
    for len in 500..1100 {
        let disk = MemDisk::new();
        let mut broker = Broker::open(disk.clone());
        broker.send("t", 0, &body(0, len));
        assert_eq!(count(&Broker::open(disk.kill())), 1, "body of {len}");
    }
}

/// The folder of a new store was made by somebody who did not make its name durable.
#[test]
fn the_folders_above_a_new_store_were_lost() {
    let disk = MemDisk::new();
    disk.write(Path::new("/srv/data/notes.txt"), b"").unwrap();
    let config = StoreConfig::new("/srv/data/store".into(), 2048, 1000);
    let mut broker = Broker::try_open(disk.clone(), config.clone()).unwrap();
    broker.send("t", 0, b"acknowledged");
    broker.log().flusher().sync().unwrap();
    let mut broker = Broker::try_open(disk.crash(), config).unwrap();
    assert_eq!(broker.bodies("t", 0, 0), [b"acknowledged"]);
}

/// Of the unflushed files of a queue, an earlier one had no length after a loss of power, and the store
/// could not be opened.
#[test]
fn a_queue_file_without_length_stopped_the_start() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..170 {
        broker.send("t", 0, &body(number, 10));
    }
    let disk = disk.kill();
    disk.resize(
        &config().queues.queue_dir("t", gantry_storage::QueueId(0)).join("00000000000000001000"),
        0,
    )
    .unwrap();
    let bodies: Vec<_> = (0..170).map(|number| body(number, 10)).collect();
    assert_eq!(Broker::open(disk).bodies("t", 0, 0), bodies);
}

/// What recovery cleared behind the log's end was not synced: after the next loss of power it was back,
/// behind a record of the same size that had been written in its place.
#[test]
fn what_was_cut_came_back_behind_newer_records() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..3 {
        broker.send("t", 0, &body(number, 108));
    }
    let disk = disk.crash_keeping(|_, _| true);
    disk.overwrite(&log_file(0), 200, &[0; 200]).unwrap();
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, &body(7, 108));
    broker.log().flusher().sync().unwrap();
    let mut broker = Broker::open(disk.crash());
    assert_eq!(broker.bodies("t", 0, 0), [body(0, 108), body(7, 108)]);
}

/// The checkpoint was not believed when a bit was flipped in the one record that it names, and all that
/// was written since was cut off.
#[test]
fn damage_in_the_record_that_the_checkpoint_names_spread() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, &body(0, 108));
    broker.checkpoint().unwrap();
    broker.send("t", 0, &body(1, 108));
    broker.log().flusher().sync().unwrap();
    let disk = disk.kill();
    disk.corrupt(&log_file(0), 150).unwrap();
    let broker = Broker::open(disk);
    assert_eq!(broker.store.report().dispatch_from, PhysicalOffset(200));
    assert_eq!(count(&broker), 2);
    assert!(broker.log().damage_at(PhysicalOffset(0)).unwrap().contains("CRC"));
}

/// The removal of a deleted queue's files was not synced: its messages were there again after a loss of
/// power.
#[test]
fn a_deleted_queue_came_back() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, b"deleted");
    broker.checkpoint().unwrap();
    broker.delete_topic("t");
    let dir = config().queues.queue_dir("t", gantry_storage::QueueId(0));
    assert_eq!(disk.crash().list(&dir).unwrap(), []);
}

/// Damage cut the log before the place up to which the key index was on disk. The checkpoint went on to
/// name that place, and vouched for entries of newer records that no sync had brought to the disk.
#[test]
fn the_index_point_outlived_the_log_that_it_was_of() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..5 {
        broker.send("t", 0, &body(number, 108));
    }
    let point = IndexPoint { position: PhysicalOffset(1000), ..IndexPoint::default() };
    broker.store.checkpoint_index(point).unwrap();
    let disk = disk.kill();
    assert_eq!(Broker::open(disk.kill()).store.index_evidence().point, Some(point));
    disk.corrupt(&log_file(0), 3 * 200 + 150).unwrap();
    let broker = Broker::open(disk.clone());
    assert_eq!(broker.log().max_offset(), PhysicalOffset(600));
    assert_eq!(broker.store.index_evidence().point, None);
    let again = Broker::open(disk.crash());
    assert_eq!(again.store.index_evidence().point, None, "on disk, too");
}

/// Half a slot was left behind the end of a queue by a loss of power. It named the log's beginning, which
/// had moved on, so the log did not refute it, and the queue had a message too many.
#[test]
fn half_a_slot_was_taken_for_a_message_that_is_gone() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..40 {
        broker.send("t", 0, &body(number, 108));
    }
    broker.checkpoint().unwrap();
    broker.log().remove_before(&disk, PhysicalOffset(2048)).unwrap();
    broker.kill();
    let disk = disk.kill();
    let half = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0];
    for behind in [0, 1] {
        let disk = disk.kill();
        disk.overwrite(&queue_file(), (40 + behind) * 20, &half).unwrap();
        let broker = Broker::open(disk);
        assert_eq!(broker.range("t", 0), (10, 40), "{behind} slots behind the end");
    }
}

/// The names in a topic's folder could not be synced when a queue was deleted. The next try found
/// nothing to remove and did not sync them either, and a loss of power brought the messages back.
#[test]
fn a_deletion_that_was_tried_again_did_not_last() {
    for seed in 0..10 {
        let disk = MemDisk::new();
        let mut broker = Broker::open(disk.clone());
        broker.send("t", 0, b"to be deleted");
        broker.checkpoint().unwrap();
        disk.set_plan(FaultPlan::new(seed).at_op(DiskOp::SyncDir, 0, DiskFault::Io));
        assert!(broker.queue("t", 0).delete().is_err());
        broker.queues.clear();
        broker.queue("t", 0).delete().unwrap();
        assert!(disk.crash().read(&queue_file()).unwrap().is_none(), "seed {seed}");
    }
}

/// What a start cut off a queue came back with the next loss of power. By then the log had other records
/// in that place, and they had left it with their file, so that it did not refute the entries.
#[test]
fn what_was_cut_off_a_queue_came_back_when_the_log_had_moved_on() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    for number in 0..8 {
        broker.send("t", 0, &body(number, 108));
    }
    broker.checkpoint().unwrap();
    for number in 8..10 {
        broker.send("t", 0, &body(number, 108));
    }
    broker.queue("t", 0).flush().unwrap();
    broker.kill();
    // The queue had been written back, the log had not.
    let disk = disk.crash();
    let mut broker = Broker::open(disk.clone());
    assert_eq!(broker.range("t", 0), (0, 8));
    for number in 0..20 {
        broker.send("other", 0, &body(number, 108));
    }
    broker.checkpoint().unwrap();
    broker.log().remove_before(&disk, PhysicalOffset(2048)).unwrap();
    broker.kill();
    assert_eq!(Broker::open(disk.crash()).range("t", 0), (8, 8));
}

/// The folder could not be synced when a log file was removed. The next try found the file gone and did
/// not sync the folder either; with the next file in another folder, the log had a hole after a loss of
/// power.
#[test]
fn a_removal_that_was_tried_again_did_not_last() {
    for seed in 0..10 {
        let disk = MemDisk::new();
        let mut broker = Broker::open(disk.clone());
        for number in 0..40 {
            broker.send("t", 0, &body(number, 108));
        }
        broker.checkpoint().unwrap();
        disk.set_plan(FaultPlan::new(seed).at_op(DiskOp::SyncDir, 0, DiskFault::Io));
        assert!(broker.log().remove_before(&disk, PhysicalOffset(2048)).is_err());
        broker.log().remove_before(&disk, PhysicalOffset(2048)).unwrap();
        broker.kill();
        let broker = Broker::open(disk.crash());
        assert_eq!(broker.log().min_offset(), PhysicalOffset(2048), "seed {seed}");
    }
}

/// The file of ends was written, the checkpoint behind it was not, and then a topic was deleted. The next
/// start did not believe the file, nor did it write it again; once the log had grown, the start after
/// that believed it, missed the topic's queue and built it again from the log.
#[test]
fn a_file_of_ends_that_said_nothing_was_believed_later() {
    let disk = MemDisk::new();
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, b"one");
    broker.stop();
    let mut broker = Broker::open(disk.clone());
    broker.send("t", 0, b"two");
    broker.store.queue_was_trimmed();
    disk.set_plan(FaultPlan::new(1).at_op(DiskOp::Rename, 1, DiskFault::Io));
    assert!(broker.checkpoint().is_err());
    assert_eq!(disk.faults_met().len(), 1);
    disk.set_plan(FaultPlan::default());
    broker.delete_topic("t");
    let deleted = std::mem::take(&mut broker.deleted);
    broker.kill();
    let disk = disk.kill();
    let mut broker = Broker::try_open_without(disk.clone(), config(), deleted).unwrap();
    broker.send("other", 0, b"three");
    broker.checkpoint().unwrap();
    broker.kill();
    assert_eq!(Broker::open(disk.kill()).range("t", 0), (0, 0));
}

/// All entries of a queue were cut off at a start, those before had left with the log's files, and the
/// queue's only file went too: its offsets began at 0 again.
#[test]
fn a_queue_that_was_cut_to_nothing_began_again() {
    let open = |disk| Broker::try_open(disk, StoreConfig::new("/store".into(), 2048, 100)).unwrap();
    let disk = MemDisk::new();
    let mut broker = open(disk.clone());
    for number in 0..5 {
        broker.send("t", 0, &body(number, 108));
    }
    for number in 0..20 {
        broker.send("other", 0, &body(number, 108));
    }
    broker.checkpoint().unwrap();
    broker.send("t", 0, b"in the queue's second file, and lost from the log");
    broker.queue("t", 0).flush().unwrap();
    broker.log().remove_before(&disk, PhysicalOffset(2048)).unwrap();
    let log_min = broker.log().min_offset();
    assert_eq!(broker.queue("t", 0).trim_before(log_min).unwrap().0, 5);
    disk.sync_dir(queue_file().parent().unwrap()).unwrap();
    broker.kill();
    assert_eq!(open(disk.crash()).range("t", 0), (5, 5));
}

/// A log file was removed, but its folder could not be synced; whoever opened the store next took it for
/// gone for good.
#[test]
fn a_removal_that_a_life_before_could_not_finish_did_not_last() {
    for seed in 0..10 {
        let disk = MemDisk::new();
        let mut broker = Broker::open(disk.clone());
        for number in 0..40 {
            broker.send("t", 0, &body(number, 108));
        }
        broker.checkpoint().unwrap();
        disk.set_plan(FaultPlan::new(seed).at_op(DiskOp::SyncDir, 0, DiskFault::Io));
        assert!(broker.log().remove_before(&disk, PhysicalOffset(2048)).is_err());
        broker.kill();
        let disk = disk.kill();
        disk.set_plan(FaultPlan::default());
        let broker = Broker::open(disk.clone());
        let log_min = broker.log().min_offset();
        broker.kill();
        assert_eq!(Broker::open(disk.crash()).log().min_offset(), log_min, "seed {seed}");
    }
}
