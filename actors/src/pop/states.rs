//! What is kept of pops besides offsets, and the files that hold it.
//!
//! Each group's actor puts in here, now and then and when it stops, which messages are out; the one actor
//! of this file, [`PopStateFile`], saves what has changed. Two files: `popState.json` is this broker's
//! own; `consumerOrderInfo.json` has the form of Java's broker (store.md 2.9), as it holds orderly
//! groups alone. An actor that is made again goes on from what is in memory here.
//!
//! Neither file is needed for no message to be lost (see [`super::ledger`]): without them, or with old
//! ones, messages that were out are popped again. So a save that fails is logged and tried again.
//! Failure policy: restart with what is in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gantry_storage::{Disk, JsonFile, JsonFileError};
use gantry_supervisor::{ContextExt, Ctx, Health, Logic};
use serde::{Deserialize, Serialize};
use slog::{Logger, error};

use super::{ledger::Snapshot, order::OrderBatch, takeover::ReadTo};

/// How often the files are saved.
const SAVE_PERIOD: Duration = Duration::from_secs(3);

/// What is kept of one queue of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedQueue {
    /// Messages that are out in any order.
    pub ledger: Option<Snapshot>,
    /// Messages that are out in order.
    pub order: Option<OrderBatch>,
}

/// A group's queues, by topic and number.
pub type SavedGroup = BTreeMap<(Arc<str>, u32), SavedQueue>;

/// `popState.json`: group → topic → queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PopStateTable {
    #[serde(default)]
    groups: BTreeMap<String, BTreeMap<String, BTreeMap<u32, Snapshot>>>,
    /// Up to where the files of Java's broker have been read.
    #[serde(rename = "javaReadTo", default)]
    read_to: ReadTo,
}

/// `consumerOrderInfo.json`: `topic@group` → queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OrderTable {
    #[serde(default)]
    table: BTreeMap<String, BTreeMap<u32, OrderBatch>>,
    /// Members of later versions.
    #[serde(flatten)]
    extra: serde_json::Map<String, serde_json::Value>,
}

/// What is kept of all groups, in memory.
#[derive(Default)]
pub struct PopStates(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    groups: BTreeMap<Arc<str>, SavedGroup>,
    read_to: ReadTo,
    extra: serde_json::Map<String, serde_json::Value>,
    is_changed: bool,
}

impl PopStates {
    /// Reads both files below `dir`.
    pub fn load(files: &PopFiles) -> Result<Self, JsonFileError> {
        let states: PopStateTable = files.states.load(&*files.disk)?.unwrap_or_default();
        let orders: OrderTable = files.orders.load(&*files.disk)?.unwrap_or_default();
        let mut groups: BTreeMap<Arc<str>, SavedGroup> = BTreeMap::new();
        for (group, topics) in states.groups {
            let saved = groups.entry(group.into()).or_default();
            for (topic, queues) in topics {
                let topic: Arc<str> = topic.into();
                for (queue, snapshot) in queues {
                    saved.entry((topic.clone(), queue)).or_default().ledger = Some(snapshot);
                }
            }
        }
        for (key, queues) in orders.table {
            let Some((topic, group)) = key.split_once('@') else { continue };
            let saved = groups.entry(group.into()).or_default();
            for (queue, batch) in queues {
                saved.entry((topic.into(), queue)).or_default().order = Some(batch);
            }
        }
        Ok(Self(Mutex::new(Kept {
            groups,
            read_to: states.read_to,
            extra: orders.extra,
            is_changed: false,
        })))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Groups are replaced whole, so a panic elsewhere cannot have left a part of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The groups of which something is kept.
    pub fn groups(&self) -> Vec<Arc<str>> {
        self.kept().groups.keys().cloned().collect()
    }

    /// What is kept of a group.
    pub fn group(&self, group: &str) -> SavedGroup {
        self.kept().groups.get(group).cloned().unwrap_or_default()
    }

    /// Up to where the files of Java's broker have been read.
    pub fn read_to(&self) -> ReadTo {
        self.kept().read_to.clone()
    }

    /// They have been read up to there.
    pub fn set_read_to(&self, read_to: ReadTo) {
        let mut kept = self.kept();
        kept.read_to = read_to;
        kept.is_changed = true;
    }

    /// Keeps this of a group, in place of what was.
    pub fn put(&self, group: &Arc<str>, saved: SavedGroup) {
        let mut kept = self.kept();
        kept.is_changed = true;
        if saved.is_empty() {
            kept.groups.remove(group);
        } else {
            kept.groups.insert(group.clone(), saved);
        }
    }

    fn tables(&self) -> Option<(PopStateTable, OrderTable)> {
        let mut kept = self.kept();
        if !std::mem::take(&mut kept.is_changed) {
            return None;
        }
        let mut states = PopStateTable { read_to: kept.read_to.clone(), ..Default::default() };
        let mut orders = OrderTable { extra: kept.extra.clone(), ..OrderTable::default() };
        for (group, queues) in &kept.groups {
            for ((topic, queue), saved) in queues {
                if let Some(ledger) = &saved.ledger {
                    let topics = states.groups.entry(group.to_string()).or_default();
                    let queues = topics.entry(topic.to_string()).or_default();
                    queues.insert(*queue, ledger.clone());
                }
                if let Some(order) = &saved.order {
                    let queues = orders.table.entry(format!("{topic}@{group}")).or_default();
                    queues.insert(*queue, order.clone());
                }
            }
        }
        Some((states, orders))
    }

    fn not_saved(&self) {
        self.kept().is_changed = true;
    }
}

/// Where the files are.
#[derive(Clone)]
pub struct PopFiles {
    /// `popState.json`.
    pub states: JsonFile,
    /// `consumerOrderInfo.json`.
    pub orders: JsonFile,
    /// The disk that they are on.
    pub disk: Arc<dyn Disk>,
}

/// See the module's text. It writes on its own thread, so it has to be placed where waiting for a
/// disk is allowed.
pub struct PopStateFile {
    states: Arc<PopStates>,
    files: PopFiles,
    failing: Option<String>,
    log: Logger,
}

impl PopStateFile {
    /// Saves `states` into `files`.
    pub fn new(states: Arc<PopStates>, files: PopFiles, log: Logger) -> Self {
        Self { states, files, failing: None, log }
    }

    fn save(&mut self) {
        let Some((states, orders)) = self.states.tables() else { return };
        let disk = &*self.files.disk;
        let saved = self
            .files
            .states
            .save(disk, &states)
            .and_then(|()| self.files.orders.save(disk, &orders));
        let failing = saved.err().map(|e| e.to_string());
        if let Some(why) = &failing {
            self.states.not_saved();
            if self.failing.is_none() {
                error!(self.log, "pop state cannot be saved"; "reason" => why);
            }
        }
        self.failing = failing;
    }
}

impl Logic for PopStateFile {
    const NAME: &'static str = "pop state";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.every(SAVE_PERIOD, |file, _| file.save());
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.save();
    }

    fn health(&self) -> Health {
        match &self.failing {
            Some(why) => Health::Degraded(format!("pop state cannot be saved: {why}")),
            None => Health::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_storage::MemDisk;
    use slog::{Discard, o};

    use super::*;

    fn files(disk: &Arc<MemDisk>) -> PopFiles {
        let file = |name: &str| JsonFile::new(format!("/config/{name}").into());
        PopFiles {
            states: file("popState.json"),
            orders: file("consumerOrderInfo.json"),
            disk: disk.clone(),
        }
    }

    fn saved() -> SavedGroup {
        let ledger = Snapshot { committed: 3, next: 9, open: vec![(3, 1, 50), (5, 0, 0)] };
        let order = OrderBatch::new(&[4, 6], 10, 20, None, None);
        let in_order = SavedQueue { ledger: None, order: Some(order) };
        SavedGroup::from([
            (("t".into(), 0), SavedQueue { ledger: Some(ledger), order: None }),
            (("u".into(), 2), in_order),
        ])
    }

    #[test]
    fn what_was_put_is_saved_and_loaded() {
        let disk = Arc::new(MemDisk::new());
        let states = Arc::new(PopStates::load(&files(&disk)).unwrap());
        states.put(&"g".into(), saved());
        let log = Logger::root(Discard, o!());
        PopStateFile::new(states, files(&disk), log.clone()).save();
        let states = Arc::new(PopStates::load(&files(&disk)).unwrap());
        assert_eq!(states.groups(), ["g".into()]);
        assert_eq!(states.group("g"), saved());
        assert_eq!(states.group("h"), SavedGroup::new());
        states.put(&"g".into(), SavedGroup::new());
        PopStateFile::new(states, files(&disk), log).save();
        assert_eq!(PopStates::load(&files(&disk)).unwrap().groups(), []);
    }

    #[test]
    fn javas_file_of_orderly_groups_is_taken_over_and_kept() {
        let disk = Arc::new(MemDisk::new());
        let java = br#"{"orderedConsumptionLevel":"QUEUE","table":{"t@g":{0:{"popTime":1000,"i":500,"o":[7,2],"l":1000,"cm":1}}}}"#;
        disk.write_atomic(files(&disk).orders.path(), java).unwrap();
        let states = Arc::new(PopStates::load(&files(&disk)).unwrap());
        let group = states.group("g");
        let order = group[&("t".into(), 0)].order.as_ref().unwrap();
        assert_eq!(order.next_offset(), 9);
        states.put(&"g".into(), group);
        PopStateFile::new(states, files(&disk), Logger::root(Discard, o!())).save();
        let written: serde_json::Value = files(&disk).orders.load(&*disk).unwrap().unwrap();
        assert_eq!(written["orderedConsumptionLevel"], "QUEUE");
        assert_eq!(written["table"]["t@g"]["0"]["o"], serde_json::json!([7, 2]));
    }

    #[test]
    fn a_save_that_fails_is_made_up_for() {
        let disk = Arc::new(MemDisk::new());
        let states = Arc::new(PopStates::load(&files(&disk)).unwrap());
        states.put(&"g".into(), saved());
        let mut file = PopStateFile::new(states, files(&disk), Logger::root(Discard, o!()));
        disk.set_free_bytes(Some(0));
        file.save();
        assert!(matches!(file.health(), Health::Degraded(_)));
        disk.set_free_bytes(None);
        file.save();
        assert_eq!(file.health(), Health::Up);
        assert_eq!(PopStates::load(&files(&disk)).unwrap().group("g"), saved());
    }
}
