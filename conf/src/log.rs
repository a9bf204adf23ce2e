//! The part of the configuration that says what the program logs, and where.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::values::{LogFormat, LogLevels, int};

/// The program's log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// How much.
    #[serde(rename = "logLevel")]
    pub levels: LogLevels,
    /// In which form.
    #[serde(rename = "logFormat")]
    pub format: LogFormat,
    /// A file beside standard error.
    #[serde(rename = "logFile", deserialize_with = "optional_path")]
    pub file: Option<PathBuf>,
    /// Bytes after which a new file is begun.
    #[serde(rename = "logFileMaxBytes", deserialize_with = "int::<4096, 1_099_511_627_776, _, _>")]
    pub file_bytes_max: usize,
    /// Old files that are kept.
    #[serde(rename = "logFileCount", deserialize_with = "int::<1, 10_000, _, _>")]
    pub old_files_max: usize,
}

fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    Ok((!text.is_empty()).then(|| text.into()))
}
