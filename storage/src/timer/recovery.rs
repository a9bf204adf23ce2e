//! Opening the timers' files, however they were left.
//!
//! | found | done |
//! |---|---|
//! | timer log behind the checkpoint, or a file less | its units are checked; the first one that is none, or whose message the log does not have, ends it, and everything behind is cleared |
//! | units that the wheel does not know yet | they are put into their slots |
//! | wheel missing, of another length or precision, or naming units that are not there or not of that slot | made anew from the whole timer log |
//! | snapshots of the wheel, which a Java broker was told to make instead | likewise, and they are removed |
//! | timer log shorter than the checkpoint says | the wheel is made anew; messages of the whole topic are taken in again, but for those that have a unit or had been delivered; the checkpoint says so until that is done |
//! | slots from before now | kept, however old: they are due |
//!
//! A Java broker passes over slots that are older than seven days, and over units that are gone.
//! What is found first is decided by reading; only then are files cut.

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{
    TimerConfig, TimerStore,
    checkpoint::TimerCheckpoint,
    error::{TimerError, io_error},
    log::{FoundFiles, TimerLog},
    wheel::{Wheel, WheelFile},
};
use crate::{disk::Disk, offset::PhysicalOffset};

/// Which messages of the timer topic have to be taken in again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    /// From here on; `None`: from the topic's beginning.
    pub from: Option<u64>,
    /// But not those of these places in the log: they have a unit.
    pub known: HashSet<PhysicalOffset>,
    /// Nor those before this place in the topic …
    pub taken_before: u64,
    /// … that were due before this time: they have been delivered.
    pub delivered_before_ms: i64,
}

/// How the files were left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerReport {
    /// Timers that wait, those that cancel others taken off.
    pub timers: i64,
    /// Where the timer log ends.
    pub log_end: u64,
    /// Whether the wheel was made anew.
    pub rebuilt: bool,
    /// Whether units were lost that had been on the disk, now or at an earlier start.
    pub lost: bool,
}

impl fmt::Display for TimerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} timers, timer log to {}", self.timers, self.log_end)?;
        if self.rebuilt {
            write!(f, ", wheel made anew")?;
        }
        if self.lost {
            write!(f, ", units lost")?;
        }
        Ok(())
    }
}

impl TimerStore {
    /// Opens the files, none if there were never any. `log_end` is the end of the log that the messages
    /// are in.
    ///
    /// # Errors
    /// If files cannot be read, or are none of timers.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: TimerConfig,
        log_end: PhysicalOffset,
    ) -> Result<(Self, CatchUp, TimerReport), TimerError> {
        let check = disk.read(&config.check).map_err(|e| io_error(&config.check, e))?;
        let mut check = TimerCheckpoint::decode(&check.unwrap_or_default());
        let (dir, bytes) = (config.log_dir.clone(), config.log_file_bytes);
        let files = FoundFiles::list(disk.clone(), dir, bytes, check.flushed)?;
        let wheel = Wheel::read(&*disk, &config.wheel, config.layout, check.read_time_ms);
        let snapshots = snapshots(&*disk, &config.wheel)?;
        let wheel = wheel.map_err(|e| io_error(&config.wheel, e))?;
        let wheel = wheel.filter(|_| snapshots.is_empty());
        let had_wheel = wheel.is_some();
        let mut wheel = wheel.unwrap_or_else(|| Wheel::new(config.layout));

        let mut known = HashSet::new();
        let from = check.flushed.saturating_sub(config.log_file_bytes);
        let end = files.scan(from, |position, unit| {
            let is_sound = unit.offset.plus(unit.size.into()) <= log_end;
            if is_sound && position >= check.flushed {
                known.insert(unit.offset);
            }
            let slot_ms = wheel.slot_of(unit.time_ms);
            if is_sound && slot_ms >= check.read_time_ms {
                wheel.revise(slot_ms, position, unit, position >= check.flushed);
            }
            is_sound
        })?;
        let has_files = !files.is_empty();
        let log = files.open(end)?;
        let lost = check.lost || log.end() < check.flushed;
        if lost && !check.lost {
            // Units that are made from now on would hide from the next start how short the log is.
            check.lost = true;
            let written = disk.write_atomic(&config.check, &check.file());
            written.map_err(|e| io_error(&config.check, e))?;
        }
        let is_cut_alike = [0, config.layout.precision_ms].contains(&check.precision_ms);
        let is_sound = had_wheel && !lost && is_cut_alike && wheel_matches(&wheel, &log);
        let rebuilt = (has_files || had_wheel) && !is_sound;
        if rebuilt {
            known.clear();
            wheel = from_log(&log, &config, &check, lost, &mut known);
        }
        let file = WheelFile::new(disk.clone(), config.wheel.clone(), config.layout);
        if !had_wheel || rebuilt {
            for path in snapshots.iter().chain([&config.wheel]) {
                disk.remove(path).map_err(|e| io_error(path, e))?;
            }
            wheel.touch_all();
        }
        let catch_up = CatchUp {
            from: (!lost).then_some(check.queue_offset),
            known,
            taken_before: check.queue_offset,
            delivered_before_ms: check.read_time_ms,
        };
        let report = TimerReport { timers: wheel.count(0), log_end: log.end(), rebuilt, lost };
        let handed = check.flushed.min(log.end());
        let file = Arc::new(Mutex::new(file));
        let store = Self {
            disk,
            config,
            log,
            wheel,
            file,
            check,
            handed,
            is_flushing: false,
            poisoned: None,
        };
        Ok((store, catch_up, report))
    }
}

/// What a Java broker with `timerWheelSnapshotFlush` keeps in place of the wheel, which is old then.
fn snapshots(disk: &dyn Disk, wheel: &Path) -> Result<Vec<PathBuf>, TimerError> {
    let dir = wheel.parent().unwrap_or(Path::new("."));
    let names = disk.list(dir).map_err(|e| io_error(dir, e))?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let snapshots = names.into_iter().filter_map(|(name, _)| {
        let end = name.strip_prefix("timerwheel.")?;
        is_number(end).then(|| dir.join(&name))
    });
    Ok(snapshots.collect())
}

/// Whether every slot names units that are there and its own.
fn wheel_matches(wheel: &Wheel, log: &TimerLog) -> bool {
    wheel.iter().all(|(slot_ms, slot)| {
        let is_own = |position: u64| {
            log.unit(position).is_some_and(|unit| wheel.slot_of(unit.time_ms) == slot_ms)
        };
        slot.first <= slot.last && is_own(slot.first) && is_own(slot.last)
    })
}

/// The wheel as the units have it. `known` is given the places of the messages that have a unit: of
/// all if `all` of the topic is going to be taken in again, else of those behind the checkpoint.
fn from_log(
    log: &TimerLog,
    config: &TimerConfig,
    check: &TimerCheckpoint,
    all: bool,
    known: &mut HashSet<PhysicalOffset>,
) -> Wheel {
    let mut wheel = Wheel::new(config.layout);
    log.each(|position, unit| {
        if all || position >= check.flushed {
            known.insert(unit.offset);
        }
        let slot_ms = wheel.slot_of(unit.time_ms);
        if slot_ms >= check.read_time_ms {
            wheel.revise(slot_ms, position, unit, true);
        }
    });
    wheel
}
