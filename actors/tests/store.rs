//! `gantry store` from outside: how it reads, its JSON, its exit codes, and that it asks before it acts.
#![expect(clippy::disallowed_methods, reason = "damages files for another process")]

#[path = "../../storage/tests/common/mod.rs"]
mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use common::{Broker, body};
use gantry_storage::{Disk, RealDisk, StoreConfig};
use serde_json::Value;
use tempfile::TempDir;

/// A store of six messages of 200 bytes that was left in order, two log files of ten each.
fn store() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let config = StoreConfig::new(root.clone(), 2048, 1000);
    let mut broker = Broker::try_open(RealDisk, config).unwrap();
    broker.now = 1_700_000_000_000;
    for number in 0..6 {
        broker.append("orders", 0, &body(number, 100), "paid");
        broker.publish();
        broker.dispatch();
    }
    broker.stop();
    (dir, root)
}

fn damage(root: &Path, file: &str, at: usize, bytes: &[u8]) {
    let path = root.join(file);
    let mut content = fs::read(&path).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(&path, content).unwrap();
}

fn gantry(words: &[&str], root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command.arg("store").args(words).arg(root).env_clear();
    command
}

fn output(words: &[&str], root: &Path) -> Output {
    gantry(words, root).output().unwrap()
}

/// Standard output of a run that ends with `code`.
#[track_caller]
fn printed(words: &[&str], root: &Path, code: i32) -> String {
    let output = output(words, root);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const LOG: &str = "commitlog/00000000000000000000";
const QUEUE: &str = "consumequeue/orders/0/00000000000000000000";
const SIZE: usize = 207;

#[test]
fn a_sound_store_is_code_0_and_two_lines() {
    let (_dir, root) = store();
    let text = printed(&["verify"], &root, 0);
    let lines: Vec<_> = text.lines().collect();
    let first = "6 records in 1 file of log (0 to 1242), 1 queue with 6 entries, 0 index files with 0 keys, 0 files of metadata";
    assert_eq!(lines[0], first);
    assert!(lines[1].starts_with("0 faults, 0 warnings, 0 notes in 0."), "{text}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn findings_read_as_they_should() {
    let (_dir, root) = store();
    damage(&root, LOG, 2 * SIZE + 120, b"?");
    damage(&root, QUEUE, 4 * 20 + 19, b"?");
    let text = printed(&["verify"], &root, 1);
    let (findings, summary) = text.split_at(text.find("6 records").unwrap());
    assert_eq!(
        findings,
        "\
fault    entry-wrong          consumequeue/orders/0/00000000000000000000:80
         expected  tag code 3433164
         found     3433023
         a start   takes it as it is, so that filters miss the message
fault    record-crc           commitlog/00000000000000000000:414
         expected  the body of the record at log offset 414 as its CRC says
         found     another body
         a start   passes over it
"
    );
    assert!(summary.contains("\n2 faults, 0 warnings, 0 notes in "), "{summary}");
}

#[test]
fn json_is_one_object_a_line_with_the_summary_last() {
    let (_dir, root) = store();
    damage(&root, LOG, 2 * SIZE + 120, b"?");
    let lines = json_lines(&printed(&["verify", "--json"], &root, 1));
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["kind"], "record-crc");
    assert_eq!((&lines[0]["severity"], &lines[0]["at"]), (&"fault".into(), &414.into()));
    assert_eq!(lines[0]["file"], root.join(LOG).to_str().unwrap());
    assert_eq!(
        (&lines[1]["summary"]["faults"], &lines[1]["summary"]["records"]),
        (&1.into(), &6.into())
    );
}

#[test]
fn nothing_is_changed_without_repair_and_a_yes() {
    let (_dir, root) = store();
    damage(&root, QUEUE, 4 * 20 + 19, b"?");
    let before = fs::read(root.join(QUEUE)).unwrap();
    printed(&["verify"], &root, 1);
    let mut asked = gantry(&["verify", "--repair"], &root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    asked.stdin.take().unwrap().write_all(b"n\n").unwrap();
    let answer = asked.wait_with_output().unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    assert_eq!(answer.status.code(), Some(1));
    assert!(
        text.contains("\nwill     write queue 0 of topic orders anew from entry 4 on\n"),
        "{text}"
    );
    assert!(text.ends_with("repair   nothing was changed\n"), "{text}");
    assert_eq!(String::from_utf8(answer.stderr).unwrap(), "Do this? [y/N] ");
    assert_eq!(fs::read(root.join(QUEUE)).unwrap(), before);
}

#[test]
fn a_repair_says_what_it_does_and_looks_again() {
    let (_dir, root) = store();
    damage(&root, QUEUE, 4 * 20 + 19, b"?");
    damage(&root, LOG, 2 * SIZE + 120, b"?");
    damage(&root, LOG, 6 * SIZE, b"torn");
    let text = printed(&["verify", "--repair", "--yes"], &root, 0);
    let done: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("done     ")).collect();
    let said: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("will     ")).collect();
    assert_eq!((done.len(), &done), (3, &said), "{text}");
    assert!(text.lines().last().unwrap().starts_with("0 faults, 0 warnings"), "{text}");
    printed(&["verify"], &root, 0);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let opened = gantry_storage::Store::open(StoreConfig::new(root, 2048, 1000), disk).unwrap();
    assert_eq!(opened.report().log_end.0, 6 * SIZE as u64);
}

#[test]
fn what_cannot_be_read_is_code_3_and_bad_usage_2() {
    let dir = tempfile::tempdir().unwrap();
    for (words, code, start) in [
        (&["verify"][..], 3, "gantry: "),
        (&["verify", "--yes"][..], 2, "gantry: the following required arguments were not provided"),
        (&["dump", "checkpoint"][..], 3, "gantry: "),
        (&["dump", "queue"][..], 2, "gantry: there is no such queue"),
        (&["dump", "index", "--key", "k"][..], 2, "gantry: the following required arguments"),
    ] {
        let output = output(words, dir.path());
        let why = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {why}");
        assert!(why.starts_with(start) && why.matches('\n').count() == 1, "{words:?}: {why}");
    }
}

#[test]
fn a_store_in_use_is_looked_at_and_not_mended() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    let mut broker = Command::new(env!("CARGO_BIN_EXE_gantry"))
        .args(["standalone", "--home", home, "--set", "bindAddress=127.0.0.1"])
        .args(["--set", "listenPort=0", "--set", "namesrvListenPort=0"])
        .args(["--set", "mappedFileSizeCommitLog=1048576"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(broker.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().take(2).map(Result::unwrap).collect::<Vec<_>>();
    assert!(ready[1].contains("ready"), "{ready:?}");
    let root = dir.path().join("store");
    let text = printed(&["verify"], &root, 0);
    assert!(text.starts_with("note     in-use               lock\n"), "{text}");
    let refused = output(&["verify", "--repair", "--yes"], &root);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let pid = broker.id();
    assert!(why.contains(&format!("is in use by process {pid}; stop it before")), "{why}");
    broker.kill().unwrap();
    broker.wait().unwrap();
    assert!(printed(&["verify"], &root, 0).contains("abrupt-stop"));
}

#[test]
fn records_are_printed_for_people_and_for_programs() {
    let (_dir, root) = store();
    let words = ["dump", "log", "--from", "414", "--limit", "1"];
    let text = printed(&words, &root, 0);
    assert_eq!(
        text,
        format!(
            "         414  orders/0#2  2023-11-14T22:13:20.000Z  207 bytes\n{:14}TAGS=paid\n{:14}body 100: 2:{}…\n",
            "",
            "",
            "x".repeat(78)
        )
    );
    let all = json_lines(&printed(&["dump", "log", "--json", "--body", "hex"], &root, 0));
    assert_eq!(all.len(), 6);
    assert_eq!((&all[5]["queueOffset"], &all[5]["offset"]), (&5.into(), &1035.into()));
    assert!(all[5]["bodyHex"].as_str().unwrap().starts_with("353a78"));
    assert_eq!(all[5]["properties"]["TAGS"], "paid");
    assert_eq!(printed(&["dump", "log", "--topic", "other"], &root, 0), "");
    assert_eq!(
        printed(&["dump", "log", "--queue", "0", "--to", "300", "--body", "none"], &root, 0)
            .lines()
            .count(),
        4
    );
    damage(&root, LOG, 4, b"????");
    let text = printed(&["dump", "log", "--to", "1"], &root, 1);
    assert_eq!(text, "           0  207 bytes that are no record: magic 0x3f3f3f3f\n");
}

#[test]
fn queues_checkpoint_and_metadata_are_printed() {
    let (_dir, root) = store();
    let text = printed(&["dump", "queue"], &root, 0);
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["orders/0", "0", "to", "6"]);
    let words = ["dump", "queue", "--topic", "orders", "--json", "--from", "5"];
    let rows = json_lines(&printed(&words, &root, 0));
    assert_eq!((rows.len(), &rows[0]["offset"]), (1, &1035.into()));
    let text = printed(&["dump", "checkpoint"], &root, 0);
    assert!(text.contains("dispatchedOffset     1242\n"), "{text}");
    assert!(
        text.contains("physicMsgTimestamp   1700000000000  2023-11-14T22:13:20.000Z\n"),
        "{text}"
    );
    fs::create_dir_all(root.join("config")).unwrap();
    fs::write(root.join("config/delayOffset.json"), "{\"offsetTable\":{1:7}}").unwrap();
    let files = json_lines(&printed(&["dump", "config", "--json"], &root, 0));
    assert_eq!(files[0]["content"]["offsetTable"]["1"], 7);
    fs::write(root.join("config/topics.json"), "{").unwrap();
    assert!(printed(&["dump", "config"], &root, 1).contains("# config/topics.json cannot be read"));
}
