//! How far a member of a broadcasting group is: kept by itself, in a file, since brokers know one offset per
//! group and here each member has its own.
//!
//! The file is that of the Java client (`offsets.json` in its directory of local offsets): one table of queues
//! and offsets. It is written whole to another name, synced and put in place, so that a crash leaves the old
//! one or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gantry_codec::body::{MessageQueue, MessageQueueMap};
use gantry_codec::fastjson;
use serde::{Deserialize, Serialize};

/// See the module's text.
#[derive(Debug)]
pub(super) struct LocalOffsets {
    path: PathBuf,
    table: Mutex<BTreeMap<MessageQueue, i64>>,
    /// What the file has. Held while it is written, so that an older table never replaces a newer one.
    saved: Mutex<BTreeMap<MessageQueue, i64>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    offset_table: MessageQueueMap<i64>,
}

impl LocalOffsets {
    /// Reads the file; one that is not there has nothing.
    ///
    /// # Errors
    /// It cannot be read, or is no table of offsets.
    pub(super) fn open(path: &Path) -> io::Result<LocalOffsets> {
        let table = match fs::read(path) {
            Ok(text) => {
                let content: Content = fastjson::from_slice(&text)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                content.offset_table.0
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let saved = Mutex::new(table.clone());
        Ok(LocalOffsets { path: path.to_owned(), table: Mutex::new(table), saved })
    }

    /// The next message to consume, if the queue was ever consumed.
    pub(super) fn get(&self, queue: &MessageQueue) -> Option<i64> {
        locked(&self.table).get(queue).copied()
    }

    /// The next message to consume from now on; in the file with the next save.
    pub(super) fn set(&self, queue: &MessageQueue, offset: i64) {
        locked(&self.table).insert(queue.clone(), offset);
    }

    /// Brings the file up to date.
    ///
    /// # Errors
    /// It cannot be written; it has what it had.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut saved = locked(&self.saved);
        let table = locked(&self.table).clone();
        if *saved == table {
            return Ok(());
        }
        let content = Content { offset_table: MessageQueueMap(table.clone()) };
        let text = fastjson::to_vec_object_keys(&content)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut other = self.path.clone().into_os_string();
        other.push(".tmp");
        let mut file = File::create(&other)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&other, &self.path)?;
        *saved = table;
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".into(), queue_id, topic: "t".into() }
    }

    /// A file that goes with its test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let dir = format!("gantry-local-offsets-{}-{name}", std::process::id());
            Place(std::env::temp_dir().join(dir))
        }

        fn file(&self) -> PathBuf {
            self.0.join("g").join("offsets.json")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // What is left lies where it disturbs nobody.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn offsets_come_back_from_a_file_as_java_writes_it() {
        let place = Place::new("round");
        let offsets = LocalOffsets::open(&place.file()).unwrap();
        assert_eq!(offsets.get(&queue(0)), None);
        offsets.set(&queue(0), 5);
        offsets.set(&queue(1), 6);
        offsets.save().unwrap();
        let text = fs::read_to_string(place.file()).unwrap();
        let expected = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:5,{"brokerName":"b","queueId":1,"topic":"t"}:6}}"#;
        assert_eq!(text, expected);
        let again = LocalOffsets::open(&place.file()).unwrap();
        assert_eq!((again.get(&queue(0)), again.get(&queue(1))), (Some(5), Some(6)));
        fs::write(place.file(), "{\n\t\"offsetTable\":{{\n\t\t\"brokerName\":\"b\",\n\t\t\"queueId\":3,\n\t\t\"topic\":\"t\"\n\t}:7}\n}").unwrap();
        assert_eq!(LocalOffsets::open(&place.file()).unwrap().get(&queue(3)), Some(7));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_stays() {
        let place = Place::new("bad");
        fs::create_dir_all(place.file().parent().unwrap()).unwrap();
        fs::write(place.file(), "{\"offsetTable\":").unwrap();
        assert_eq!(
            LocalOffsets::open(&place.file()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(fs::read_to_string(place.file()).unwrap(), "{\"offsetTable\":");
    }
}
