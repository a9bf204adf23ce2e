//! Checkpoint, metadata, timer files, extensions and batch queues.

use gantry_storage::{
    Disk, MemDisk,
    inspect::{Severity, checkpoint_contents, config_contents, log_contents},
};

use crate::{
    common::config,
    support::{flip, inspection, lines, look, root_file, store, the, wrong},
};

fn put(disk: &MemDisk, name: &str, text: &str) {
    disk.write_atomic(&root_file("config").join(name), text.as_bytes()).unwrap();
}

#[test]
fn the_checkpoint_against_its_log() {
    let disk = store();
    disk.resize(&root_file("checkpoint"), 24).unwrap();
    assert_eq!(wrong(&disk), ["fault checkpoint checkpoint"]);
    let disk = store();
    disk.remove(&root_file("checkpoint")).unwrap();
    assert_eq!(wrong(&disk), ["warning checkpoint checkpoint"]);
    // Times from the future; the offset stops counting, since the checksum covers them.
    let disk = store();
    disk.overwrite(&root_file("checkpoint"), 0, &i64::MAX.to_be_bytes()).unwrap();
    assert_eq!(wrong(&disk), ["warning checkpoint checkpoint:0"]);
    // An offset behind the log's end, as when the log was put back from an older copy.
    let disk = store();
    let newest = config().log.dirs[0].join(format!("{:020}", 4096));
    disk.clear_from(&newest, 0).unwrap();
    let found = wrong(&disk);
    assert!(found.contains(&"fault checkpoint checkpoint:40".to_owned()), "{found:?}");
}

#[test]
fn the_fields_of_the_checkpoint_by_name() {
    let disk = store();
    let fields = checkpoint_contents(&disk, &config().root).unwrap().unwrap();
    assert!(fields.contains(&("physicMsgTimestamp", 1_025_000)), "{fields:?}");
    assert_eq!(fields.last(), Some(&("dispatchedOffset", 5096)));
    disk.remove(&root_file("checkpoint")).unwrap();
    assert_eq!(checkpoint_contents(&disk, &config().root).unwrap(), None);
}

#[test]
fn metadata_is_read_in_javas_dialect() {
    let disk = store();
    put(&disk, "consumerOffset.json", "{\n\t\"offsetTable\":{\n\t\t\"t@g\":{0:25\n\t\t}\n\t}\n}");
    put(&disk, "anything.json", "{\"a\":{0:1}}");
    put(&disk, "timermetrics", "{}");
    put(&disk, "broker.properties", "a=b");
    assert_eq!(wrong(&disk), [""; 0]);
    assert_eq!(look(&disk).0.config_files, 3);
    let printed = config_contents(&disk, &config().root).unwrap();
    let names: Vec<_> = printed.iter().map(|(path, _)| path.file_name().unwrap()).collect();
    assert_eq!(names, ["anything.json", "consumerOffset.json", "timermetrics"]);
    assert_eq!(printed[1].1.as_ref().unwrap()["offsetTable"]["t@g"]["0"], 25);
}

#[test]
fn broken_metadata_with_and_without_a_backup() {
    let disk = store();
    put(&disk, "topics.json", "{\"topicConfigTable\":");
    assert_eq!(wrong(&disk), ["fault config-broken config/topics.json"]);
    assert_eq!(the(&disk, "config-broken").at_start, "refuses to start");
    put(&disk, "topics.json.bak", "{\"topicConfigTable\":{\"t\":{}}}");
    assert_eq!(the(&disk, "config-broken").at_start, "uses the backup");
    put(&disk, "topics.json.bak", "{");
    let expected =
        ["fault config-broken config/topics.json", "warning config-broken config/topics.json.bak"];
    assert_eq!(wrong(&disk), expected);
    // Another shape is broken, too.
    put(&disk, "topics.json.bak", "{}");
    put(&disk, "topics.json", "{\"topicConfigTable\":[1]}");
    assert_eq!(the(&disk, "config-broken").at_start, "uses the backup");
    // Nothing at all is a start with nothing.
    disk.remove(&root_file("config/topics.json.bak")).unwrap();
    put(&disk, "topics.json", " \n");
    assert_eq!(wrong(&disk), ["warning config-broken config/topics.json"]);
}

#[test]
fn offsets_and_names_that_fit_nothing() {
    let disk = store();
    put(&disk, "topics.json", "{\"topicConfigTable\":{\"t\":{\"topicName\":\"t\"}}}");
    put(
        &disk,
        "subscriptionGroup.json",
        "{\"subscriptionGroupTable\":{\"g\":{\"groupName\":\"g\"}}}",
    );
    put(
        &disk,
        "consumerOffset.json",
        r#"{"offsetTable":{"t@g":{"0":25},"t@CID_RMQ_SYS_TRANS":{"0":1}}}"#,
    );
    assert_eq!(wrong(&disk), [""; 0]);
    put(&disk, "consumerOffset.json", r#"{"offsetTable":{"t@g":{"0":26}}}"#);
    assert_eq!(wrong(&disk), ["warning offset-beyond-queue config/consumerOffset.json"]);
    assert_eq!(
        the(&disk, "offset-beyond-queue").expected,
        "t@g, queue 0: up to 25, where the queue ends"
    );
    put(&disk, "consumerOffset.json", r#"{"offsetTable":{"t@gone":{"0":1},"gone@g":{"0":1}}}"#);
    assert_eq!(wrong(&disk), ["warning config-stale config/consumerOffset.json"; 2]);
    disk.remove(&root_file("config/consumerOffset.json")).unwrap();
    put(&disk, "delayOffset.json", r#"{"offsetTable":{"1":0,"3":7}}"#);
    assert_eq!(wrong(&disk), ["warning offset-beyond-queue config/delayOffset.json"]);
    disk.remove(&root_file("config/delayOffset.json")).unwrap();
    put(&disk, "topics.json", "{\"topicConfigTable\":{\"u\":{}}}");
    assert_eq!(wrong(&disk), ["warning config-stale consumequeue/t"]);
}

#[test]
fn timer_files_have_their_lengths() {
    let disk = store();
    disk.write_atomic(&root_file("timerwheel"), &[0; 64]).unwrap();
    assert_eq!(wrong(&disk), ["fault timer-wheel timerwheel"]);
    disk.write_atomic(&root_file("timerwheel"), b"").unwrap();
    let timer_log = |start: u64| root_file("timerlog").join(format!("{start:020}"));
    disk.write_atomic(&timer_log(0), &[0; 128]).unwrap();
    disk.write_atomic(&timer_log(128), &[0; 128]).unwrap();
    assert_eq!(wrong(&disk), [""; 0]);
    disk.write_atomic(&timer_log(512), &[0; 128]).unwrap();
    assert_eq!(wrong(&disk), ["fault file-gap timerlog/512"]);
}

#[test]
fn a_damaged_file_of_queue_ends_is_noted_and_does_no_harm() {
    let (disk, path) = (store(), root_file("queue-ends"));
    let len = disk.read(&path).unwrap().unwrap().len() as u64;
    let noted = |disk: &MemDisk| lines(&look(disk).1, Severity::Note);
    let is_noted = |disk: &MemDisk| noted(disk).contains(&"note queue-ends queue-ends".to_owned());
    assert!(!is_noted(&disk), "{:?}", noted(&disk));
    for at in 0..len {
        let disk = store();
        flip(&disk, &path, at);
        assert!(is_noted(&disk), "{at}");
        assert_eq!(wrong(&disk), [""; 0]);
    }
    disk.write_atomic(&path, b"").unwrap();
    assert!(is_noted(&disk));
    disk.remove(&path).unwrap();
    assert!(!is_noted(&disk), "a Java broker has none");
}

#[test]
fn units_of_batch_queues_follow_each_other() {
    let unit = |offset: u64, size: u32, base: u64, count: i16| {
        let mut bytes = [0; 46];
        bytes[..8].copy_from_slice(&offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&size.to_be_bytes());
        bytes[28..36].copy_from_slice(&base.to_be_bytes());
        bytes[36..38].copy_from_slice(&count.to_be_bytes());
        bytes
    };
    let disk = store();
    let path = root_file("batchconsumequeue/b/0").join(format!("{:020}", 0));
    let mut bytes = [unit(0, 100, 0, 4), unit(100, 100, 4, 2), [0; 46]].concat();
    disk.write_atomic(&path, &bytes).unwrap();
    assert_eq!((wrong(&disk), look(&disk).0.side_units), (Vec::new(), 2));
    bytes[46..92].copy_from_slice(&unit(100, 100, 5, 2));
    disk.write_atomic(&path, &bytes).unwrap();
    assert_eq!(wrong(&disk), ["fault batch-unit batchconsumequeue/b/0/0:46"]);
    bytes[46..92].copy_from_slice(&unit(100, 100, 4, 0));
    disk.write_atomic(&path, &bytes).unwrap();
    assert_eq!(the(&disk, "batch-unit").found, "a batch of 0 messages");
}

#[test]
fn units_of_extensions_fit_their_bitmaps() {
    let disk = store();
    let path = root_file("consumequeue_ext/t/0").join(format!("{:020}", 0));
    let mut bytes = vec![0; 128];
    bytes[..2].copy_from_slice(&23i16.to_be_bytes());
    bytes[18..20].copy_from_slice(&3i16.to_be_bytes());
    bytes[23..25].copy_from_slice(&20i16.to_be_bytes());
    disk.write_atomic(&path, &bytes).unwrap();
    assert_eq!((wrong(&disk), look(&disk).0.side_units), (Vec::new(), 2));
    bytes[42] = 1;
    disk.write_atomic(&path, &bytes).unwrap();
    assert_eq!(wrong(&disk), ["fault ext-unit consumequeue_ext/t/0/0:23"]);
}

#[test]
fn the_logs_files_are_listed_in_order() {
    let starts: Vec<_> = log_contents(&store(), &inspection()).iter().map(|f| f.start).collect();
    assert_eq!(starts, [0, 2048, 4096]);
}
