//! The metadata in `config/`: whether each file can be read, and whether it fits the queues.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use gantry_codec::{
    body::{
        ConsumerOffsetTable, DelayOffsetTable, SubscriptionGroupWrapper,
        TopicConfigSerializeWrapper,
    },
    fastjson,
};
use serde::de::DeserializeOwned;

use super::{
    expected::{LIGHT_QUEUE_PREFIX, SCHEDULE_TOPIC},
    finding::{Finding, FindingKind, Findings, Severity},
};
use crate::disk::Disk;

/// Files of JSON without the ending.
const UNNAMED_JSON: [&str; 2] = ["timermetrics", "transactionMetrics"];
/// Topics of the broker itself, which no file has to name.
const SYSTEM_TOPICS: [&str; 4] =
    ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_", "rmq_sys_", "TRANS_CHECK_MAX_TIME_TOPIC"];
/// Groups likewise.
const SYSTEM_GROUPS: [&str; 5] =
    ["CID_RMQ_SYS_", "CID_ONS", "TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP"];

/// What the files say, as far as it is compared with the queues.
#[derive(Default)]
pub(crate) struct Config {
    dir: PathBuf,
    pub(crate) files: u64,
    /// Each with its number of queues.
    topics: Option<BTreeMap<String, i32>>,
    groups: Option<BTreeSet<String>>,
    offsets: ConsumerOffsetTable,
    delays: DelayOffsetTable,
    /// Files that are broken while their backup is not.
    pub(crate) restorable: Vec<PathBuf>,
}

/// What is in a file.
enum Content {
    Missing,
    Empty,
    Broken(String),
    Sound(Vec<u8>),
}

/// Whether a name is one of a file of JSON, `.bak` left out.
pub(crate) fn is_json_name(name: &str) -> bool {
    name.ends_with(".json") || UNNAMED_JSON.contains(&name)
}

fn content(disk: &dyn Disk, path: &Path) -> Content {
    let bytes = match disk.read(path) {
        Ok(None) => return Content::Missing,
        Ok(Some(bytes)) => bytes,
        Err(e) => return Content::Broken(e.to_string()),
    };
    if bytes.trim_ascii().is_empty() {
        return Content::Empty;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match parse_as(name.trim_end_matches(".bak"), &bytes) {
        Ok(()) => Content::Sound(bytes),
        Err(e) => Content::Broken(e),
    }
}

/// Reads a file as what its name says that it is.
fn parse_as(name: &str, bytes: &[u8]) -> Result<(), String> {
    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), String> {
        fastjson::from_slice::<T>(bytes).map(drop).map_err(|e| e.to_string())
    }
    match name {
        "topics.json" => read::<TopicConfigSerializeWrapper>(bytes),
        "subscriptionGroup.json" => read::<SubscriptionGroupWrapper>(bytes),
        "consumerOffset.json" => read::<ConsumerOffsetTable>(bytes),
        "delayOffset.json" => read::<DelayOffsetTable>(bytes),
        _ => read::<serde_json::Map<String, serde_json::Value>>(bytes),
    }
}

impl Config {
    /// Reads all files, telling what is wrong with them.
    pub(crate) fn read(disk: &dyn Disk, root: &Path, findings: &mut Findings<'_>) -> Self {
        let dir = root.join("config");
        let mut config = Self { dir: dir.clone(), ..Self::default() };
        let listed = disk.list(&dir).unwrap_or_else(|e| {
            let fault = Finding::of(Severity::Fault, FindingKind::Unreadable, &dir);
            findings.add(fault.found(e.to_string()).at_start("refuses to start"));
            Vec::new()
        });
        let names: BTreeSet<_> = listed
            .iter()
            .filter(|(_, len)| len.is_some())
            .map(|(name, _)| name.strip_suffix(".bak").unwrap_or(name))
            .filter(|name| is_json_name(name))
            .collect();
        for name in names {
            config.files += 1;
            if let Some(bytes) = config.check_file(disk, name, findings) {
                config.take(name, &bytes);
            }
        }
        config
    }

    /// The content that a start would use.
    fn check_file(
        &mut self,
        disk: &dyn Disk,
        name: &str,
        findings: &mut Findings<'_>,
    ) -> Option<Vec<u8>> {
        let path = self.dir.join(name);
        let backup_path = self.dir.join(format!("{name}.bak"));
        let backup = content(disk, &backup_path);
        if let Content::Broken(why) = &backup {
            findings.add(
                Finding::of(Severity::Warning, FindingKind::ConfigBroken, &backup_path)
                    .expected("JSON")
                    .found(why.clone())
                    .at_start("uses it only if the file itself cannot be read"),
            );
        }
        let why = match content(disk, &path) {
            Content::Sound(bytes) => return Some(bytes),
            Content::Missing => "no file".to_owned(),
            Content::Empty => "an empty file".to_owned(),
            Content::Broken(why) => why,
        };
        let (severity, at_start, bytes) = match backup {
            Content::Sound(bytes) => {
                self.restorable.push(path.clone());
                (Severity::Fault, "uses the backup", Some(bytes))
            }
            Content::Missing | Content::Empty if why == "an empty file" || why == "no file" => {
                (Severity::Warning, "starts with nothing", None)
            }
            _ => (Severity::Fault, "refuses to start", None),
        };
        let finding = Finding::of(severity, FindingKind::ConfigBroken, &path);
        findings.add(finding.expected("JSON").found(why).at_start(at_start));
        bytes
    }

    fn take(&mut self, name: &str, bytes: &[u8]) {
        match name {
            "topics.json" => {
                let table = fastjson::from_slice::<TopicConfigSerializeWrapper>(bytes);
                self.topics = table.ok().map(|table| {
                    let topics = table.topic_config_table.into_iter();
                    topics
                        .map(|(name, t)| (name, t.read_queue_nums.max(t.write_queue_nums)))
                        .collect()
                });
            }
            "subscriptionGroup.json" => {
                let table = fastjson::from_slice::<SubscriptionGroupWrapper>(bytes);
                self.groups = table.ok().map(|t| t.subscription_group_table.into_keys().collect());
            }
            "consumerOffset.json" => self.offsets = fastjson::from_slice(bytes).unwrap_or_default(),
            "delayOffset.json" => self.delays = fastjson::from_slice(bytes).unwrap_or_default(),
            _ => {}
        }
    }

    /// Whether a topic exists. Without a list of topics, all do.
    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.contains_key(topic))
            || SYSTEM_TOPICS.iter().any(|name| topic.starts_with(name))
            || topic.starts_with(LIGHT_QUEUE_PREFIX)
    }

    /// Whether a topic exists and has a queue.
    pub(crate) fn has_queue(&self, topic: &str, queue: u32) -> bool {
        let queues = self.topics.as_ref().and_then(|topics| topics.get(topic));
        self.has_topic(topic) && queues.is_none_or(|queues| i64::from(queue) < i64::from(*queues))
    }

    fn has_group(&self, group: &str) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.contains(group))
            || SYSTEM_GROUPS.iter().any(|name| group.starts_with(name))
            // Groups that are named as light queues need not be made.
            || group.starts_with(LIGHT_QUEUE_PREFIX)
    }

    /// Offsets and names against the queues, of which `ends` has the ends.
    pub(crate) fn check(
        &self,
        root: &Path,
        ends: &BTreeMap<String, BTreeMap<u32, u64>>,
        findings: &mut Findings<'_>,
    ) {
        let path = self.dir.join("consumerOffset.json");
        for (key, queues) in &self.offsets.offset_table {
            let Some((topic, group)) = key.split_once('@') else { continue };
            if !self.has_topic(topic) {
                findings.add(stale(
                    &path,
                    "a topic that exists",
                    format!("{key}: no topic {topic}"),
                ));
                continue;
            }
            if !self.has_group(group) {
                findings.add(stale(
                    &path,
                    "a group that exists",
                    format!("{key}: no group {group}"),
                ));
            }
            for (queue, offset) in queues {
                beyond(&path, ends, topic, *queue, *offset, key, findings);
            }
        }
        let path = self.dir.join("delayOffset.json");
        for (level, offset) in &self.delays.offset_table {
            let what = format!("level {level}");
            beyond(&path, ends, SCHEDULE_TOPIC, level - 1, *offset, &what, findings);
        }
        for topic in ends.keys().filter(|topic| !self.has_topic(topic)) {
            let dir = root.join("consumequeue").join(topic);
            findings.add(stale(&dir, "a topic that exists", format!("queues of {topic}")));
        }
    }
}

fn stale(path: &Path, expected: &str, found: String) -> Finding {
    let warning = Finding::of(Severity::Warning, FindingKind::ConfigStale, path);
    warning.expected(expected).found(found).at_start("keeps it")
}

fn beyond(
    path: &Path,
    ends: &BTreeMap<String, BTreeMap<u32, u64>>,
    topic: &str,
    queue: i32,
    offset: i64,
    what: &str,
    findings: &mut Findings<'_>,
) {
    let id = u32::try_from(queue).ok();
    let end = id.and_then(|id| ends.get(topic)?.get(&id)).copied().unwrap_or(0);
    if i128::from(offset) > i128::from(end) {
        findings.add(
            Finding::of(Severity::Warning, FindingKind::OffsetBeyondQueue, path)
                .expected(format!("{what}, queue {queue}: up to {end}, where the queue ends"))
                .found(offset.to_string())
                .at_start("keeps it; consumers are set back to the end"),
        );
    }
}
