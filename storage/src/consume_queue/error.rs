//! What can go wrong with a queue's files, each with the place and the numbers that were wrong.

use std::{io, path::Path};

use thiserror::Error;

use crate::offset::QueueOffset;

/// Why a queue could not be opened, written, flushed or removed.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A file of another length than configured.
    #[error("{path} has {len} bytes, {want} are configured (mappedFileSizeConsumeQueue)")]
    Length {
        /// The file.
        path: String,
        /// Its bytes.
        len: u64,
        /// What they should be.
        want: u64,
    },
    /// A file whose name is not the place of a queue's file.
    #[error("{path} is no file of a queue")]
    Foreign {
        /// The file.
        path: String,
    },
    /// Entries that do not continue the queue.
    #[error("entries from {first} do not continue the queue, which ends at {end}")]
    Gap {
        /// Offset of the first entry given.
        first: QueueOffset,
        /// The queue's end.
        end: QueueOffset,
    },
    /// Slots that no queue can have: the offset is of a damaged record or file.
    #[error("{path}: {count} entries from {first} reach beyond what a queue can have")]
    Beyond {
        /// The queue's folder.
        path: String,
        /// The first slot.
        first: QueueOffset,
        /// How many.
        count: u64,
    },
    /// An entry within the queue cannot be read.
    #[error("{path}: the entry at {offset} cannot be read")]
    Unreadable {
        /// The queue's folder.
        path: String,
        /// The entry.
        offset: QueueOffset,
    },
    /// An earlier flush failed.
    #[error("{path}: an earlier flush has failed")]
    Poisoned {
        /// The queue's folder.
        path: String,
    },
}

pub(crate) fn io_error(path: &Path, error: io::Error) -> QueueError {
    QueueError::Io { path: path.display().to_string(), error }
}
