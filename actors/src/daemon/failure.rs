//! Why a daemon ended other than in order. The message is one line, the kind decides the exit code.

use std::process::ExitCode;

use gantry_conf::LoadError;
use thiserror::Error;

use super::logging::LogFileError;

/// See the module's text.
#[derive(Debug, Error)]
pub enum Failure {
    /// The command line was not understood.
    #[error("{0} (try --help)")]
    Usage(String),
    /// The configuration does not hold.
    #[error(transparent)]
    Configuration(#[from] LoadError),
    /// A value of the configuration does not hold on this machine.
    #[error("{0}")]
    Environment(String),
    /// The program's log cannot be written where it should.
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    /// The store cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(String),
    /// A service did not start for another reason.
    #[error("{0}")]
    Start(String),
}

impl Failure {
    /// 2: usage or configuration; 3: the store; 1: anything else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Configuration(_) | Self::Environment(_) | Self::LogFile(_) => 2,
            Self::Store(_) => 3,
            Self::Start(_) => 1,
        })
    }
}
