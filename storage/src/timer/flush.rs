//! Bringing timers to the disk, on a thread that may wait for it.
//!
//! The order is what recovery relies on: first the units, then the slots that name them, then the
//! checkpoint that says how far both are.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    checkpoint::TimerCheckpoint,
    error::{TimerError, io_error},
    wheel::{Slot, WheelFile},
};
use crate::{disk::Disk, segment::Segment};

/// What is to be brought to the disk, as it was when the job was made.
#[must_use = "nothing is on the disk before it is run"]
pub struct FlushJob {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log_dir: PathBuf,
    pub(super) units: Vec<(Arc<Segment>, u64, u64)>,
    pub(super) has_new_names: bool,
    pub(super) file: Arc<Mutex<WheelFile>>,
    pub(super) slots: Vec<(i64, Slot)>,
    pub(super) check_path: PathBuf,
    pub(super) check: TimerCheckpoint,
}

/// What a job has brought to the disk.
#[derive(Clone, Copy, Debug)]
pub struct Flushed(pub(super) TimerCheckpoint);

impl FlushJob {
    /// Does it.
    ///
    /// # Errors
    /// If the system cannot; then nobody knows what of it is on the disk.
    pub fn run(self) -> Result<Flushed, TimerError> {
        for (segment, from, to) in &self.units {
            segment.sync(*from, *to).map_err(|e| io_error(&self.log_dir, e))?;
        }
        if self.has_new_names {
            self.disk.sync_dir(&self.log_dir).map_err(|e| io_error(&self.log_dir, e))?;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write(&self.slots).map_err(|e| io_error(&self.check_path, e))?;
        drop(file);
        let written = self.disk.write_atomic(&self.check_path, &self.check.file());
        written.map_err(|e| io_error(&self.check_path, e))?;
        Ok(Flushed(self.check))
    }
}
