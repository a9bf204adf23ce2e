//! What can go wrong with the timers' files.

use std::{io, path::Path};

use thiserror::Error;

/// Why the timers' files could not be opened, written or flushed.
#[derive(Debug, Error)]
pub enum TimerError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A file of another length than configured.
    #[error("{path} has {len} bytes, {want} are configured (mappedFileSizeTimerLog)")]
    Length {
        /// The file.
        path: String,
        /// Its bytes.
        len: u64,
        /// What they should be.
        want: u64,
    },
    /// A file whose name is not the place of a file of the timer log.
    #[error("{path} is no file of the timer log")]
    Foreign {
        /// The file.
        path: String,
    },
    /// An earlier flush failed, so nobody knows what is on the disk.
    #[error("an earlier flush of the timers has failed: {0}")]
    Poisoned(String),
}

pub(super) fn io_error(path: &Path, error: io::Error) -> TimerError {
    TimerError::Io { path: path.display().to_string(), error }
}
