//! Timers on disk: messages that wait for a time, in the Java broker's files (store.md 2.7 and 4.2).
//!
//! A timed message lies in the topic `rmq_sys_wheel_timer`. The *timer log* (`log`) has a unit for
//! each ([`mod@unit`]), chained backwards by slot; the *wheel* (`wheel`) says for each slot of time where
//! its chain ends. [`TimerStore`] is both, with the checkpoint that says how far they are. It belongs to
//! one owner; what waits for the disk is handed out as a [`FlushJob`].
//!
//! All of it is derived: the messages are in the log, and recovery (`recovery`) drops whatever cannot
//! be relied on and says from which message of the topic on units have to be made again ([`CatchUp`]).
//!
//! Invariants: a unit is never changed; a slot in the wheel's file names units that are on the disk;
//! what the checkpoint says to have been delivered has been delivered, and is on the disk.
//! Failure policy: a unit that cannot be written is an error to the caller, who tries again. After a
//! failed flush every later one fails too: the checkpoint stays where it is, and the next start makes
//! the rest again.

mod checkpoint;
mod error;
mod flush;
mod log;
mod recovery;
pub mod unit;
mod wheel;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

pub use self::{
    checkpoint::TimerCheckpoint,
    error::TimerError,
    flush::{FlushJob, Flushed},
    recovery::{CatchUp, TimerReport},
    unit::TimerUnit,
    wheel::{Slot, WheelLayout},
};
use self::{
    log::TimerLog,
    unit::flags,
    wheel::{Wheel, WheelFile},
};
use crate::{disk::Disk, offset::PhysicalOffset};

/// Where timers lie and how time is cut.
#[derive(Clone, Debug)]
pub struct TimerConfig {
    /// The wheel's file.
    pub wheel: PathBuf,
    /// The folder of the timer log.
    pub log_dir: PathBuf,
    /// Bytes of a file of it.
    pub log_file_bytes: u64,
    /// The checkpoint.
    pub check: PathBuf,
    /// The wheel's slots.
    pub layout: WheelLayout,
}

impl TimerConfig {
    /// The usual layout of a store at `root`.
    pub fn new(root: &std::path::Path, log_file_bytes: u64, precision_ms: i64) -> Self {
        Self {
            wheel: root.join("timerwheel"),
            log_dir: root.join("timerlog"),
            log_file_bytes,
            check: root.join("config").join("timercheck"),
            layout: WheelLayout::new(precision_ms),
        }
    }
}

/// See the module's text. Times are in ms; those of slots are whole multiples of the precision.
pub struct TimerStore {
    disk: Arc<dyn Disk>,
    config: TimerConfig,
    log: TimerLog,
    wheel: Wheel,
    file: Arc<Mutex<WheelFile>>,
    /// What is on the disk.
    check: TimerCheckpoint,
    /// Up to where the timer log has been handed to a flush.
    handed: u64,
    /// A flush is under way, or has failed.
    is_flushing: bool,
    poisoned: Option<String>,
}

impl TimerStore {
    /// The slot of a time.
    pub fn slot_of(&self, time_ms: i64) -> i64 {
        self.wheel.slot_of(time_ms)
    }

    /// Length of a slot.
    pub fn precision_ms(&self) -> i64 {
        self.config.layout.precision_ms
    }

    /// What is on the disk.
    pub fn checkpoint(&self) -> &TimerCheckpoint {
        &self.check
    }

    /// The units of a slot.
    pub fn slot(&self, slot_ms: i64) -> Option<Slot> {
        self.wheel.get(slot_ms)
    }

    /// The first slot at `from_ms` or later that holds something.
    pub fn next_slot(&self, from_ms: i64) -> Option<(i64, Slot)> {
        self.wheel.next(from_ms)
    }

    /// The first slot after this one that holds something.
    pub fn slot_after(&self, slot_ms: i64) -> Option<(i64, Slot)> {
        self.wheel.slots_after(slot_ms)
    }

    /// Timers in all slots from `from_ms` on; those that cancel others are taken off.
    pub fn count(&self, from_ms: i64) -> i64 {
        self.wheel.count(from_ms)
    }

    /// Where the oldest message lies that a slot from `from_ms` on waits for.
    pub fn oldest_message(&self, from_ms: i64) -> Option<PhysicalOffset> {
        let first = |(_, slot): (i64, Slot)| self.log.unit(slot.first).map(|unit| unit.offset);
        self.wheel.iter().filter(|(time, _)| *time >= from_ms).filter_map(first).min()
    }

    /// The unit at `position`, if it belongs to this slot.
    pub fn unit(&self, position: u64, slot_ms: i64) -> Option<TimerUnit> {
        self.log.unit(position).filter(|unit| self.slot_of(unit.time_ms) == slot_ms)
    }

    /// All units of a slot, by a look through the whole log: for a chain that is broken.
    pub fn search_slot(&self, slot_ms: i64) -> Vec<(u64, TimerUnit)> {
        let mut units = Vec::new();
        self.log.each(|position, unit| {
            if self.slot_of(unit.time_ms) == slot_ms {
                units.push((position, *unit));
            }
        });
        units
    }

    /// Puts a unit behind the others of its slot, whatever `previous` says; its position.
    ///
    /// # Errors
    /// If the system gives no room; nothing has changed then.
    pub fn add(&mut self, unit: &TimerUnit) -> Result<u64, TimerError> {
        let slot_ms = self.slot_of(unit.time_ms);
        let previous = self.wheel.get(slot_ms).map(|slot| slot.last);
        let unit = TimerUnit { previous, ..*unit };
        let position = self.log.append(&unit)?;
        self.wheel.add(slot_ms, position, unit.weight());
        Ok(position)
    }

    /// Has a slot hold these units alone: for one of which a part has been delivered. The last of them
    /// should be a [`marker`](Self::marker) that names the newest message of the timer topic: a Java
    /// broker takes messages in from behind the one that the last unit of the timer log names, and
    /// either takes the last unit of a slot for the end of its chain.
    ///
    /// # Errors
    /// If the system gives no room; the slot is then as it was.
    pub fn replace_slot(&mut self, slot_ms: i64, units: &[TimerUnit]) -> Result<(), TimerError> {
        let before = self.wheel.get(slot_ms);
        self.wheel.clear(slot_ms);
        for unit in units {
            if let Err(e) = self.add(unit) {
                self.wheel.restore(slot_ms, before);
                return Err(e);
            }
        }
        Ok(())
    }

    /// A unit that waits for nothing: it cancels a message, and does not say which. The message that it
    /// names is read by whoever recovers, and must be one of the timer topic.
    pub fn marker(slot_ms: i64, offset: PhysicalOffset, size: u32) -> TimerUnit {
        TimerUnit {
            previous: None,
            flags: flags::PLAIN | flags::CANCEL,
            written_ms: slot_ms,
            time_ms: slot_ms,
            offset,
            size,
            topic_hash: 0,
        }
    }

    /// Everything before `read_time_ms` has been delivered: forgets it.
    pub fn delivered_before(&mut self, read_time_ms: i64) {
        self.wheel.forget_before(read_time_ms);
    }

    /// What is to be brought to the disk, unless that is under way or nothing has changed. All slots
    /// before `read_time_ms` must have been delivered, with what was delivered on the disk, and all
    /// messages of the topic before `queue_offset` must have been taken in.
    ///
    /// # Errors
    /// If an earlier flush failed.
    pub fn flush(
        &mut self,
        read_time_ms: i64,
        queue_offset: u64,
        now_ms: i64,
    ) -> Result<Option<FlushJob>, TimerError> {
        let is_new = self.check.read_time_ms != read_time_ms || self.has_news(queue_offset);
        if self.is_flushing || !is_new {
            return self.check_poison().map(|()| None);
        }
        self.final_flush(read_time_ms, queue_offset, now_ms).map(Some)
    }

    /// Whether something but the time differs from what is on the disk.
    pub fn has_news(&self, queue_offset: u64) -> bool {
        self.taken_before(queue_offset) != (self.check.queue_offset, self.check.lost)
            || self.check.flushed != self.log.end()
            || self.wheel.has_changes()
    }

    /// What the checkpoint is to say of the topic when its messages before `queue_offset` have been taken
    /// in: up to where that was ever so, and whether some of those may have lost their units. After a
    /// loss it begins anew, and until it is where it was, the next start has to begin anew as well.
    fn taken_before(&self, queue_offset: u64) -> (u64, bool) {
        let lost = self.check.lost && queue_offset < self.check.queue_offset;
        (if lost { self.check.queue_offset } else { queue_offset }, lost)
    }

    fn check_poison(&self) -> Result<(), TimerError> {
        match &self.poisoned {
            Some(why) => Err(TimerError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    /// As [`flush`](Self::flush), whatever has changed; to be run behind the one that is under way.
    ///
    /// # Errors
    /// If an earlier flush failed.
    pub fn final_flush(
        &mut self,
        read_time_ms: i64,
        queue_offset: u64,
        now_ms: i64,
    ) -> Result<FlushJob, TimerError> {
        self.check_poison()?;
        self.is_flushing = true;
        let end = self.log.end();
        let (queue_offset, lost) = self.taken_before(queue_offset);
        let check = TimerCheckpoint {
            read_time_ms,
            flushed: end,
            queue_offset,
            timestamp_ms: now_ms,
            counter: self.check.counter + 1,
            precision_ms: self.config.layout.precision_ms,
            lost,
        };
        let units = self.log.unsynced(self.handed);
        self.handed = end;
        Ok(FlushJob {
            disk: self.disk.clone(),
            log_dir: self.log.dir().clone(),
            units,
            has_new_names: std::mem::take(&mut self.log.has_new_names),
            file: self.file.clone(),
            slots: self.wheel.take_changes(),
            check_path: self.config.check.clone(),
            check,
        })
    }

    /// Takes in how a job went.
    pub fn flushed(&mut self, result: &Result<Flushed, TimerError>) {
        self.is_flushing = false;
        match result {
            Ok(flushed) => self.check = flushed.0,
            Err(e) => self.poisoned = Some(e.to_string()),
        }
    }

    /// Removes files of the timer log whose messages all lie before `log_min`; how many.
    ///
    /// # Errors
    /// If the system cannot.
    pub fn remove_before(&mut self, log_min: PhysicalOffset) -> Result<usize, TimerError> {
        self.log.remove_before(log_min)
    }
}
