//! What the faulty disk does, and that a seed decides it.

use std::collections::BTreeSet;

use super::*;

fn write(segment: &Arc<Segment>, at: u64, text: &[u8]) {
    let mut writer = segment.writer().unwrap();
    writer.bytes(at, text.len() as u64).unwrap().copy_from_slice(text);
    writer.publish(at + text.len() as u64);
}

#[test]
fn a_crash_leaves_what_was_synced() {
    let disk = MemDisk::new();
    let path = Path::new("/log/0");
    let segment = disk.create_segment(path, 0, 8192).unwrap();
    write(&segment, 0, b"one");
    segment.sync(0, 3).unwrap();
    write(&segment, 3, b"two");
    assert_eq!(disk.read_at(path, 0, 7).unwrap(), b"onetwo\0", "what programs see");
    assert_eq!(disk.crash().read_at(path, 0, 7).unwrap(), b"one\0\0\0\0");
    let kept = disk.crash_keeping(|_, at| at == 0);
    assert_eq!(kept.read_at(path, 0, 7).unwrap(), b"onetwo\0");
}

#[test]
fn names_need_a_sync_of_their_folder() {
    let disk = MemDisk::new();
    let (dir, path) = (Path::new("/q"), Path::new("/q/0"));
    disk.create_sparse_segment(path, 0, 20).unwrap();
    disk.sync_dir(dir).unwrap();
    assert_eq!(disk.crash().list(dir).unwrap(), [], "the folder itself may be lost");
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_file(path).unwrap();
    disk.remove(path).unwrap();
    assert_eq!(disk.crash().list(dir).unwrap(), [("0".to_owned(), Some(20))]);
    disk.sync_dir(dir).unwrap();
    assert_eq!(disk.crash().list(dir).unwrap(), []);
}

#[test]
fn a_folder_that_is_made_again_is_another_one() {
    let disk = MemDisk::new();
    let (root, dir, old, new) = (Path::new("/"), Path::new("/q"), "/q/old", "/q/new");
    let make = |path: &str| {
        disk.create_sparse_segment(Path::new(path), 0, 20).unwrap();
        disk.sync_file(Path::new(path)).unwrap();
        disk.sync_dir(dir).unwrap();
    };
    let names = |disk: MemDisk| {
        let listed = disk.list(dir).unwrap();
        listed.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    make(old);
    disk.sync_dir(root).unwrap();
    disk.remove_dir(dir).unwrap();
    assert_eq!(names(disk.kill().crash()), ["old"], "the removal was lost");
    make(new);
    assert_eq!(names(disk.crash()), ["old"], "and the new folder with it");
    disk.sync_dir(root).unwrap();
    assert_eq!(names(disk.crash()), ["new"]);
    disk.remove_dir(dir).unwrap();
    disk.sync_dir(root).unwrap();
    assert_eq!(names(disk.crash()), [""; 0]);
}

#[test]
fn a_disk_can_be_full_and_can_fail_to_sync() {
    let disk = MemDisk::new();
    disk.set_free_bytes(Some(100));
    let full = disk.create_segment(Path::new("/a"), 0, 101).err().unwrap();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert!(disk.list(Path::new("/")).unwrap().is_empty());
    let segment = disk.create_segment(Path::new("/a"), 0, 60).unwrap();
    assert!(disk.write_atomic(Path::new("/b"), &[0; 41]).is_err());
    disk.fail_syncs(true);
    write(&segment, 0, b"x");
    assert!(segment.sync(0, 1).is_err());
    assert!(disk.write_atomic(Path::new("/b"), &[]).is_err());
}

#[test]
fn segments_of_a_file_share_its_bytes() {
    let disk = MemDisk::new();
    let path = Path::new("/log/0");
    write(&disk.create_segment(path, 0, 4096).unwrap(), 0, b"one");
    let again = disk.open_segment(path, 0, 4096, 3).unwrap();
    assert_eq!(again.read_from(0).unwrap(), b"one");
    drop(again);
    disk.corrupt(path, 1).unwrap();
    disk.clear_from(path, 2).unwrap();
    let after = disk.crash().open_segment(path, 0, 4096, 4096).unwrap();
    assert_eq!(after.read(0, 4).unwrap(), [0, !b'n', 0, 0], "the rest was not synced");
    assert!(disk.open_segment(path, 0, 4095, 0).is_err());
}

#[test]
fn a_lock_is_given_back() {
    let disk = MemDisk::new();
    let path = Path::new("/lock");
    let lock = disk.lock(path).unwrap();
    assert!(disk.lock(path).is_err());
    drop(lock);
    assert!(disk.lock(path).is_ok());
}

/// A small piece of work that meets every kind of operation; it ends at the first error.
fn work(disk: &MemDisk) -> io::Result<()> {
    let (log, queue, json) = (Path::new("/s/log/0"), Path::new("/s/q/0"), Path::new("/s/json"));
    let _lock = disk.lock(Path::new("/s/lock"))?;
    let segment = disk.create_segment(log, 0, 16384)?;
    disk.create_sparse_segment(queue, 0, 1000)?;
    disk.reserve(queue, 0, 1000)?;
    for at in 0..8 {
        write(&segment, at * 2048, &[7; 2048]);
        disk.step()?;
    }
    segment.sync(0, 16384)?;
    disk.write_atomic(json, &[1; 3000])?;
    disk.write_atomic(json, &[2; 3000])?;
    disk.open_segment(queue, 0, 1000, 0)?;
    disk.clear_from(log, 9000)?;
    disk.read(json)?;
    disk.list(Path::new("/s"))?;
    disk.remove(json)?;
    disk.remove_dir(Path::new("/s"))
}

/// Every file and its bytes.
fn image(disk: &MemDisk) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let state = disk.state();
    let names = state.names.below(Path::new("/")).into_iter();
    let bytes = |path: &PathBuf| state.file(path).ok().map(|file| file.bytes());
    names.map(|path| (path.clone(), bytes(&path))).collect()
}

fn operations() -> u64 {
    let disk = MemDisk::new();
    work(&disk).unwrap();
    disk.operations()
}

#[test]
fn after_the_power_is_lost_nothing_works_until_the_crash() {
    for at in 0..operations() {
        let disk = MemDisk::new();
        disk.set_plan(FaultPlan::new(at).at(at, DiskFault::PowerLoss));
        assert!(work(&disk).is_err(), "operation {at}");
        assert!(disk.is_off() && disk.operations() == at + 1);
        assert!(disk.read(Path::new("/s/json")).is_err() && disk.step().is_err());
        let after = disk.crash();
        assert!(!after.is_off());
        after.write_atomic(Path::new("/s/json"), b"x").unwrap();
    }
}

#[test]
fn what_is_written_after_the_power_is_lost_is_not_found() {
    let disk = MemDisk::new();
    let path = Path::new("/0");
    let segment = disk.create_segment(path, 0, 4096).unwrap();
    disk.set_plan(FaultPlan::new(0).at(0, DiskFault::PowerLoss));
    assert!(disk.step().is_err());
    write(&segment, 0, &[1; 4096]);
    assert!(segment.sync(0, 4096).is_err());
    assert_eq!(disk.crash().read(path).unwrap().unwrap(), [0; 4096]);
}

#[test]
fn a_seed_decides_what_is_left() {
    let crash = |seed| {
        let disk = MemDisk::new();
        disk.set_plan(FaultPlan::new(seed).at(14, DiskFault::PowerLoss));
        let _ = work(&disk);
        image(&disk.crash())
    };
    let images: Vec<_> = (0..40).map(crash).collect();
    assert_eq!(images, (0..40).map(crash).collect::<Vec<_>>());
    let distinct: BTreeSet<_> = images.iter().collect();
    assert!(distinct.len() > 10, "{} different ones of {}", distinct.len(), images.len());
}

#[test]
fn a_replaced_file_has_old_or_new_content_whenever_the_power_goes() {
    let path = Path::new("/c/json");
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemDisk::new();
        disk.write_atomic(path, &[1; 2000]).unwrap();
        disk.set_plan(FaultPlan::new(seed).at(seed % 6, DiskFault::PowerLoss));
        let written = disk.write_atomic(path, &[2; 2000]);
        let content = disk.crash().read(path).unwrap().unwrap();
        assert!(content == [1; 2000] || content == [2; 2000], "seed {seed}: {content:?}");
        assert!(written.is_err() || content == [2; 2000], "seed {seed}: it was told to be written");
        found.insert((written.is_ok(), content[0]));
    }
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_file_that_is_not_synced_may_be_torn() {
    let path = Path::new("/c/json");
    let mut lens = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemDisk::new();
        disk.write_atomic(path, &[1; 1500]).unwrap();
        disk.write(path, &[2; 2000]).unwrap();
        let content = disk.crash_seeded(seed).read(path).unwrap().unwrap();
        let is_old = content == [1; 1500];
        assert!(is_old || content.iter().all(|byte| *byte == 2));
        lens.insert((is_old, content.len()));
    }
    let torn = [(false, 0), (false, 512), (false, 1024), (false, 1536), (false, 2000)];
    assert_eq!(lens, BTreeSet::from_iter(torn.into_iter().chain([(true, 1500)])));
}

#[test]
fn changes_of_names_that_were_not_synced_may_be_lost() {
    let names = |names: &[&str]| BTreeSet::from_iter(names.iter().map(|name| (*name).to_owned()));
    assert_eq!(names_after_losses(false), names(&["ab", "ac", "b", "c"]));
    assert_eq!(names_after_losses(true), names(&["ab", "b", "c"]));
}

/// Of files a and b, when a was removed and then b renamed to c.
fn names_after_losses(keeps_order: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemDisk::new();
        disk.keep_order_of_names(keeps_order);
        for name in ["/d/a", "/d/b"] {
            disk.write_atomic(Path::new(name), name.as_bytes()).unwrap();
        }
        disk.remove(Path::new("/d/a")).unwrap();
        disk.rename(Path::new("/d/b"), Path::new("/d/c")).unwrap();
        let names = disk.crash_seeded(seed).list(Path::new("/d")).unwrap();
        found.insert(names.into_iter().map(|(name, _)| name).collect::<String>());
    }
    found
}

#[test]
fn pages_of_a_failed_sync_count_as_clean_until_they_change() {
    let path = Path::new("/0");
    let (mut given_up, mut rescued) = (0, 0);
    for seed in 0..20 {
        let disk = MemDisk::new();
        let segment = disk.create_segment(path, 0, 4096).unwrap();
        disk.set_plan(FaultPlan::new(seed).at_op(DiskOp::Sync, 0, DiskFault::Io));
        write(&segment, 0, b"one");
        assert!(segment.sync(0, 3).is_err());
        segment.sync(0, 3).unwrap();
        let is_lost = disk.crash().read_at(path, 0, 3).unwrap() == [0; 3];
        given_up += u32::from(is_lost);
        if seed % 2 == 0 {
            write(&segment, 3, b"two");
            segment.sync(3, 6).unwrap();
        } else {
            disk.rewrite(path, 0, 3).unwrap();
            segment.sync(0, 3).unwrap();
        }
        rescued += u32::from(disk.crash().read_at(path, 0, 3).unwrap() == b"one");
    }
    assert!(0 < given_up && given_up < 20, "{given_up}");
    assert_eq!(rescued, 20);
}

#[test]
fn faults_of_every_kind_of_operation() {
    use DiskOp::*;
    for op in [
        Create, Map, Reserve, Clear, List, Read, Write, Sync, Rename, Remove, CreateDir, SyncDir,
        Lock,
    ] {
        for (fault, kind) in
            [(DiskFault::Io, io::ErrorKind::Other), (DiskFault::Full, io::ErrorKind::StorageFull)]
        {
            let disk = MemDisk::new();
            disk.set_plan(FaultPlan::new(1).at_op(op, 0, fault));
            assert_eq!(work(&disk).err().map(|e| e.kind()), Some(kind), "{op:?}");
            assert!(!disk.is_off());
        }
    }
}

#[test]
fn a_write_that_does_not_fit_is_short_and_removing_it_gives_its_room_back() {
    let disk = MemDisk::new();
    let path = Path::new("/d/file");
    disk.create_dir(Path::new("/d")).unwrap();
    disk.set_free_bytes(Some(100));
    assert_eq!(disk.write(path, &[1; 101]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read(path).unwrap().unwrap(), [1; 100]);
    assert!(disk.write_atomic(Path::new("/d/other"), &[2]).is_err());
    disk.remove(path).unwrap();
    for _ in 0..3 {
        disk.write_atomic(path, &[3; 50]).unwrap();
    }
    assert_eq!(disk.list(Path::new("/d")).unwrap(), [("file".to_owned(), Some(50))]);
}

#[test]
fn a_slow_sync_takes_its_time() {
    let disk = MemDisk::new();
    let clock = Arc::new(ManualClock::new(0));
    disk.slow_syncs(clock.clone(), 40);
    disk.write_atomic(Path::new("/a"), b"x").unwrap();
    assert_eq!(crate::clock::Clock::now_ms(&*clock), 80, "the file and its folder");
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_nothing_that_it_does_later() {
    let disk = MemDisk::new();
    let path = Path::new("/0");
    let segment = disk.create_segment(path, 0, 4096).unwrap();
    write(&segment, 0, b"one");
    let _lock = disk.lock(Path::new("/lock")).unwrap();
    let after = disk.kill();
    write(&segment, 3, b"two");
    segment.sync(0, 6).unwrap();
    assert_eq!(after.read_at(path, 0, 6).unwrap(), b"one\0\0\0");
    assert_eq!(after.crash().read_at(path, 0, 6).unwrap(), [0; 6], "nothing of it was synced");
    assert!(after.lock(Path::new("/lock")).is_ok());
}

#[test]
fn room_and_times_are_as_told() {
    let disk = MemDisk::new();
    let space = |dir: &str| disk.space(Path::new(dir)).unwrap();
    assert_eq!(space("/a").used_percent(), Some(0));
    disk.set_free_bytes(Some(TOTAL_BYTES / 4));
    assert_eq!(space("/a").used_percent(), Some(75));
    let full = Space { total: 10, free: 0, available: 0 };
    disk.set_space(Path::new("/a"), Some(full));
    assert_eq!((space("/a/b"), space("/c").used_percent()), (full, Some(75)));
    disk.set_space(Path::new("/a"), None);
    assert_eq!(space("/a/b").used_percent(), Some(75));
    let path = Path::new("/a/file");
    assert_eq!(disk.modified_ms(path).unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.write_atomic(path, b"x").unwrap();
    disk.set_modified_ms(path, 7);
    assert_eq!(disk.modified_ms(path).unwrap(), 7);
}
