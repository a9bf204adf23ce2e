//! `gantry store`: an off-line look into a store directory, ours or the Java broker's.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the command line |
//! | `verify` | checking a store, and mending it |
//! | `dump` | printing what is in it |
//! | `text` | how findings, records and sizes read |
//!
//! What is checked and how is the storage crate's business ([`gantry_storage::inspect`]); here is what
//! is asked and how it is told. Results go to standard output, as lines for people or as JSON objects,
//! one a line; progress and questions to standard error.
//!
//! Exit codes: 0 sound, 1 faults were found, 2 bad usage, 3 the store cannot be read or is in use.

mod args;
mod dump;
mod text;
mod verify;

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    process::ExitCode,
};

use gantry_storage::inspect::{Inspection, store_holder};
use thiserror::Error;

pub use args::StoreArgs;
use args::{Place, StoreCommand};

/// Why a store was not looked at, or not to the end.
#[derive(Debug, Error)]
enum StoreFailure {
    /// The words do not go together.
    #[error("{0} (try --help)")]
    Usage(String),
    /// The store cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Nothing may be changed while a broker has the store.
    #[error("the store at {root} is in use by process {pid}; stop it before a repair", root = root.display())]
    InUse {
        /// The store's folder.
        root: PathBuf,
        /// The process; 0 if it is on another machine.
        pid: i32,
    },
    /// A repair did not go through.
    #[error("the repair stopped: {0}")]
    Repair(String),
    /// Standard output is gone.
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

impl StoreFailure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Unreadable { .. } | Self::InUse { .. } | Self::Repair(_) => 3,
            Self::Output(_) => 1,
        })
    }
}

/// What a look into a store came to.
enum Outcome {
    Sound,
    Faults,
}

/// Does what `gantry store …` says.
pub fn run(args: StoreArgs) -> ExitCode {
    let outcome = match args.command {
        StoreCommand::Verify(args) => verify::verify(&args),
        StoreCommand::Dump(command) => dump::dump(&command),
    };
    match outcome {
        Ok(Outcome::Sound) => ExitCode::SUCCESS,
        Ok(Outcome::Faults) => ExitCode::FAILURE,
        // A reader that has gone away has read enough.
        Err(StoreFailure::Output(e)) if e.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            super::complain(&failure.to_string());
            failure.exit_code()
        }
    }
}

/// The store at a place, and the process that has it open, if one has.
fn inspection(place: &Place) -> Result<(Inspection, Option<i32>), StoreFailure> {
    let root = place.dir.clone();
    let unreadable = |error| StoreFailure::Unreadable { path: root.clone(), error };
    let holder = store_holder(&root).map_err(unreadable)?;
    let mut inspection = Inspection::new(root.clone());
    if !place.commitlog.is_empty() {
        inspection.log_dirs.clone_from(&place.commitlog);
    }
    inspection.index_slots = place.index_slots;
    inspection.is_in_use = holder.is_some();
    Ok((inspection, holder))
}
