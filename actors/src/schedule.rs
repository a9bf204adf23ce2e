//! Delayed messages: brings each to its real topic when its time has come (wire.md 5.3).
//!
//! Messages with a delay level lie in `SCHEDULE_TOPIC_XXXX`, one queue per level, so that within a
//! queue they fall due in order; the index entry of each carries its delivery time where others carry
//! a tag's hash. This actor watches those queues, sleeps until the first of their heads is due, and
//! has the appender store the due ones under their real topic and queue.
//!
//! Owns: the offset per level, kept in `delayOffset.json` (saved every few seconds and at stop).
//! Invariants: a level's offset moves only over messages that have been stored; so a crash delivers
//! some again and loses none. One batch per level is under way at a time, which keeps their order.
//! Failure policy: restart from disk, at the offsets in the file.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Addr, AsyncContext};
use gantry_codec::{Record, properties as names};
use gantry_storage::{Clock, CommitLog, DelayLevels, Disk, IndexEntry, JsonFile, QueueOffset};
use gantry_supervisor::{ContextExt, Ctx, Logic, Receive, Reply, Shell};
use serde::{Deserialize, Serialize};
use slog::{Logger, debug, error, warn};

use crate::{
    log::{
        appender::Appender,
        batch::{AppendBatch, BatchAppended, ReplyTo, SendBatch, SendResult},
    },
    topic::{OpenQueue, QueueAdvanced, QueueSlot, TopicTable, names::SCHEDULE_TOPIC},
};

/// Messages of one level that are under way at once.
const BATCH_MAX: usize = 256;
/// Wait after a delivery that was refused, e.g. by a full disk.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// `delayOffset.json`: next offset per level.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct DelayOffsets {
    #[serde(rename = "offsetTable", default)]
    offsets: BTreeMap<u32, u64>,
    /// Of a 5.x broker, kept as it is: this broker has no replicas that would compare it.
    #[serde(rename = "dataVersion", default, skip_serializing_if = "Option::is_none")]
    data_version: Option<serde_json::Value>,
}

/// What the actor works with.
#[derive(Clone)]
pub struct ScheduleParts {
    /// The levels.
    pub levels: DelayLevels,
    /// Published topics.
    pub topics: Arc<TopicTable>,
    /// The log, to read.
    pub log: CommitLog,
    /// The log's writer.
    pub appender: Addr<Shell<Appender>>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// The files' layer.
    pub disk: Arc<dyn Disk>,
    /// `delayOffset.json`.
    pub file: JsonFile,
    /// How often the file is saved.
    pub save_interval: Duration,
    /// The actor's logger.
    pub log_to: Logger,
}

/// See the module's text.
pub struct Schedule {
    parts: ScheduleParts,
    offsets: DelayOffsets,
    saved: BTreeMap<u32, u64>,
    /// Levels with a batch under way.
    under_way: BTreeMap<u32, u64>,
    reply_to: Option<Arc<ReplyTo>>,
    alarm: Option<actix::SpawnHandle>,
}

impl Schedule {
    /// Opens the file; the error says why it cannot be read.
    pub fn open(parts: ScheduleParts) -> Result<Self, String> {
        let offsets: DelayOffsets =
            parts.file.load(&*parts.disk).map_err(|e| e.to_string())?.unwrap_or_default();
        let saved = offsets.offsets.clone();
        Ok(Self { parts, offsets, saved, under_way: BTreeMap::new(), reply_to: None, alarm: None })
    }

    fn slot(&self, level: u32) -> Option<Arc<QueueSlot>> {
        self.parts.topics.get(SCHEDULE_TOPIC)?.queue(level - 1).cloned()
    }

    /// Sends what is due in every level, and sleeps until the next head is.
    fn run(&mut self, ctx: &mut Ctx<Self>) {
        let now = self.parts.clock.now_ms();
        let mut next: Option<i64> = None;
        for level in 1..=self.parts.levels.count() {
            if self.under_way.contains_key(&level) {
                continue;
            }
            if let Some(due) = self.run_level(level, now) {
                next = Some(next.map_or(due, |n| n.min(due)));
            }
        }
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        if let Some(due) = next {
            let wait = Duration::from_millis((due - now).max(1) as u64);
            self.alarm = Some(ctx.after(wait, Self::run));
        }
    }

    /// Sends what is due in one level; the time of its head if that is not due yet.
    fn run_level(&mut self, level: u32, now: i64) -> Option<i64> {
        let slot = self.slot(level)?;
        let view = slot.view()?;
        let from = self.offsets.offsets.get(&level).copied().unwrap_or(0).max(view.min_offset().0);
        let delay = self.parts.levels.delay_ms(level);
        let mut batch = Box::<SendBatch>::default();
        let mut head = None;
        let mut next = from;
        while batch.sends.len() < BATCH_MAX
            && let Some(entry) = view.entry(QueueOffset(next))
        {
            // A time beyond the level's delay comes from a clock or a configuration that has changed.
            let time = self.time_of(&entry, delay);
            let due = time.min(now + delay);
            if due > now && time <= now + delay {
                head = Some(due);
                break;
            }
            self.add(&mut batch, &entry);
            next += 1;
        }
        if batch.sends.is_empty() {
            if next > from {
                self.offsets.offsets.insert(level, next);
            }
            return head;
        }
        debug!(self.parts.log_to, "delivering delayed messages"; "level" => level,
            "count" => batch.sends.len());
        batch.reply_to.clone_from(&self.reply_to);
        batch.tag = level;
        self.under_way.insert(level, next);
        self.parts.appender.do_send(AppendBatch(batch));
        None
    }

    /// When an entry is due. One whose unit cannot be read has its time in the log.
    fn time_of(&self, entry: &IndexEntry, delay: i64) -> i64 {
        if entry.names_a_unit() {
            self.parts.log.store_timestamp(entry.offset).map_or(0, |stored| stored + delay)
        } else {
            entry.tags_code
        }
    }

    fn add(&self, batch: &mut SendBatch, entry: &IndexEntry) {
        let stored = self.parts.log.record_at(entry.offset).map(|slice| slice.into_bytes());
        let Some(bytes) = stored else {
            warn!(self.parts.log_to, "delayed message is gone"; "offset" => entry.offset.0);
            return;
        };
        let Ok(record) = Record::decode(&bytes) else {
            error!(self.parts.log_to, "delayed message cannot be read"; "offset" => entry.offset.0);
            return;
        };
        let Some(slot) = self.real_queue(&record) else {
            warn!(self.parts.log_to, "delayed message has no topic any more";
                "offset" => entry.offset.0);
            return;
        };
        let from = batch.properties.len();
        batch.properties.push_str(record.properties);
        batch.push_copy(slot, &record, &bytes, from, |_| {});
    }

    fn real_queue(&self, record: &Record<'_>) -> Option<Arc<QueueSlot>> {
        let topic = names::get(record.properties, names::REAL_TOPIC)?;
        let queue = names::get(record.properties, names::REAL_QID)?.parse().ok()?;
        let view = self.parts.topics.get(topic)?;
        view.queue(queue).or_else(|| view.queue(0)).cloned()
    }

    /// Takes over the offsets of a delivered batch; whether all of it was stored.
    fn delivered(&mut self, batch: &SendBatch, level: u32) -> bool {
        let Some(next) = self.under_way.remove(&level) else { return true };
        let open = batch.sends.iter().position(|send| {
            // A topic that was deleted meanwhile takes its messages with it.
            !matches!(send.result, SendResult::Stored(_) | SendResult::QueueGone)
        });
        // What was stored before the first refusal is delivered again: seldom, and never lost.
        if open.is_none() {
            self.offsets.offsets.insert(level, next);
        }
        open.is_none()
    }

    fn save(&mut self) {
        if self.offsets.offsets == self.saved {
            return;
        }
        match self.parts.file.save(&*self.parts.disk, &self.offsets) {
            Ok(()) => self.saved.clone_from(&self.offsets.offsets),
            Err(e) => error!(self.parts.log_to, "delay offsets cannot be saved"; "error" => %e),
        }
    }
}

impl Logic for Schedule {
    const NAME: &'static str = "schedule";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.reply_to = Some(Arc::new(ReplyTo::Actor(ctx.address().recipient())));
        ctx.every(self.parts.save_interval, |schedule, _| schedule.save());
        for level in 1..=self.parts.levels.count() {
            let Some(slot) = self.slot(level) else { continue };
            slot.watch(ctx.address().recipient());
            if slot.range().is_ok_and(|(_, max)| max > 0) {
                let opened = slot.actor().send(OpenQueue);
                ctx.spawn_then(opened, |schedule, _, ctx| schedule.run(ctx));
            }
        }
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.save();
    }
}

impl Receive<QueueAdvanced> for Schedule {
    fn receive(&mut self, _: QueueAdvanced, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.run(ctx);
        Reply::Now(())
    }
}

impl Receive<BatchAppended> for Schedule {
    fn receive(&mut self, BatchAppended(batch): BatchAppended, ctx: &mut Ctx<Self>) -> Reply<()> {
        let level = batch.tag;
        if self.delivered(&batch, level) {
            self.run(ctx);
        } else {
            warn!(self.parts.log_to, "delayed messages were refused, trying again"; "level" => level);
            ctx.after(RETRY_AFTER, Self::run);
        }
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use gantry_storage::MemDisk;

    use super::*;

    #[test]
    fn a_newer_brokers_file_keeps_its_version() {
        let (disk, file) = (MemDisk::new(), JsonFile::new("/delayOffset.json".into()));
        let java = br#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":17},"offsetTable":{1:5,18:2}}"#;
        disk.write_atomic(file.path(), java).unwrap();
        let mut offsets: DelayOffsets = file.load(&disk).unwrap().unwrap();
        assert_eq!(offsets.offsets, BTreeMap::from([(1, 5), (18, 2)]));
        offsets.offsets.insert(1, 6);
        file.save(&disk, &offsets).unwrap();
        let saved: serde_json::Value = file.load(&disk).unwrap().unwrap();
        assert_eq!(saved["dataVersion"]["counter"], 3);
        assert_eq!(saved["offsetTable"]["1"], 6);
    }
}
