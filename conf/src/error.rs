//! Why a configuration stops the start, and what is worth a line in the log but no more.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why there is no configuration. Each message is one line and begins with the place that is wrong.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file's name does not say what is in it.
    #[error("{}: the name must end with .toml (TOML), .conf or .properties (Java properties)", .0.display())]
    UnknownFormat(PathBuf),
    /// The file does not keep to its format.
    #[error("{at}: {reason}")]
    Syntax {
        /// File and line.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// A `--set` without `=`.
    #[error("--set {0}: must be key=value")]
    NotAPair(String),
    /// No such key.
    #[error("{at}: unknown key {key}{}", did_you_mean(nearest))]
    UnknownKey {
        /// File and line, or what else the key came from.
        at: String,
        /// The key.
        key: String,
        /// The known key most like it, if one is.
        nearest: Option<String>,
    },
    /// The value does not fit its key, or another key's value.
    #[error("{at}: {key} = {value}: {reason}")]
    Value {
        /// File and line, or what else the value came from.
        at: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it must be instead.
        reason: String,
    },
}

/// Something that the operator should know about an accepted configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Warning {
    /// No such key, where that does not stop the start.
    #[error("{at}: unknown key {key} is ignored{}", did_you_mean(nearest))]
    UnknownKey {
        /// File and line, or what else the key came from.
        at: String,
        /// The key.
        key: String,
        /// The known key most like it, if one is.
        nearest: Option<String>,
    },
    /// The Java broker knows the key; it means nothing here.
    #[error("{at}: {key} has no effect here")]
    NoEffect {
        /// File and line, or what else the key came from.
        at: String,
        /// The key.
        key: String,
    },
    /// The value is not taken as it is written.
    #[error("{at}: {key} = {value}: {reason}")]
    Value {
        /// File and line, or what else the value came from.
        at: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is made of it.
        reason: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|key| format!(" (did you mean {key}?)")).unwrap_or_default()
}
