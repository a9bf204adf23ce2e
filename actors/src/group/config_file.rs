//! A JSON file of this side, with the disk that it lies on.

use std::{path::PathBuf, sync::Arc};

use gantry_storage::{Disk, JsonFile};
use serde::{Serialize, de::DeserializeOwned};

/// A file that is read at start and replaced whole, so that a crash leaves the old or the new one.
#[derive(Clone)]
pub struct ConfigFile {
    file: Arc<JsonFile>,
    disk: Arc<dyn Disk>,
}

impl ConfigFile {
    /// The file at `path`.
    pub fn new(path: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { file: Arc::new(JsonFile::new(path)), disk }
    }

    /// Its content, or that of its backup; None if there is neither. The error says what is wrong.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, String> {
        self.file.load(&*self.disk).map_err(|e| e.to_string())
    }

    /// Replaces its content. The error says why it cannot be.
    pub fn save<T: Serialize>(&self, content: &T) -> Result<(), String> {
        self.file.save(&*self.disk, content).map_err(|e| e.to_string())
    }
}
