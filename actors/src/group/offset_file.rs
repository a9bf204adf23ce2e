//! Offsets to and from the form of `consumerOffset.json` (store.md 2.9), which is also that of the answer
//! to GET_ALL_CONSUMER_OFFSET (43).
//!
//! ```text
//! {"dataVersion":{…},"offsetTable":{"topic@group":{"0":12,"1":345}}}
//! ```
//! Java writes the queue numbers without quotes and reads them with or without; here they are written
//! with, which is JSON. Its `groupTopicMap` follows from the table and is not kept.
//!
//! A Java broker that serves light queues has the offsets in `lmqConsumerOffset.json`, where groups with names
//! of light queues have a table of their own. So does this one then, and goes on from there if the file
//! exists; it writes both, so that nothing is lost when light queues are not asked for any more.

use std::{collections::BTreeMap, sync::Arc};

use gantry_codec::body::{ConsumerOffsetTable, LightOffsetTable};
use gantry_storage::LIGHT_QUEUE_PREFIX;

use super::{
    config_file::ConfigFile,
    offset_table::{Commit, OffsetView},
};

/// Between topic and group in the key of an entry; no name has it.
const SEPARATOR: char = '@';

/// See the module's text.
#[derive(Clone)]
pub struct OffsetFiles {
    /// `consumerOffset.json`.
    pub plain: ConfigFile,
    /// `lmqConsumerOffset.json`, if light queues are served.
    pub light: Option<ConfigFile>,
}

impl OffsetFiles {
    /// What was kept. The error says what is wrong.
    pub fn load(&self) -> Result<Option<ConsumerOffsetTable>, String> {
        let light = self.light.as_ref().map_or(Ok(None), ConfigFile::load::<LightOffsetTable>)?;
        light.map_or_else(|| self.plain.load(), |light| Ok(Some(joined(light))))
    }

    /// Keeps it. The error says why that cannot be.
    pub fn save(&self, content: &ConsumerOffsetTable) -> Result<(), String> {
        if let Some(light) = &self.light {
            light.save(&split(content.clone()))?;
        }
        self.plain.save(content)
    }
}

fn joined(mut file: LightOffsetTable) -> ConsumerOffsetTable {
    for (key, offset) in file.lmq_offset_table {
        file.offset_table.entry(key).or_default().insert(0, offset);
    }
    ConsumerOffsetTable { data_version: file.data_version, offset_table: file.offset_table }
}

fn split(content: ConsumerOffsetTable) -> LightOffsetTable {
    let (mut lmq_offset_table, mut offset_table) = (BTreeMap::new(), BTreeMap::new());
    for (key, queues) in content.offset_table {
        let group = key.split_once(SEPARATOR).map(|(_, group)| group);
        let is_light = group.is_some_and(|group| group.starts_with(LIGHT_QUEUE_PREFIX));
        match queues.get(&0).filter(|_| is_light) {
            Some(offset) => drop(lmq_offset_table.insert(key, *offset)),
            None => drop(offset_table.insert(key, queues)),
        }
    }
    LightOffsetTable { data_version: content.data_version, lmq_offset_table, offset_table }
}

/// Takes the offsets of groups in topics out of `file`. What is left has keys that mean nothing here.
pub fn take_offsets(file: &mut ConsumerOffsetTable) -> Vec<Commit> {
    let mut commits = Vec::new();
    for (key, queues) in std::mem::take(&mut file.offset_table) {
        let Some((topic, group)) = key.split_once(SEPARATOR) else {
            file.offset_table.insert(key, queues);
            continue;
        };
        let (topic, group): (Arc<str>, Arc<str>) = (topic.into(), group.into());
        commits.extend(queues.into_iter().map(|(queue_id, offset)| Commit {
            group: group.clone(),
            topic: topic.clone(),
            queue_id,
            offset,
            only_forward: false,
        }));
    }
    commits
}

/// Puts the offsets that `view` shows into `file`.
pub fn put_offsets(file: &mut ConsumerOffsetTable, view: &OffsetView) {
    view.for_each(|group, topic, queues| {
        let key = format!("{topic}{SEPARATOR}{group}");
        file.offset_table.insert(key, queues.into_iter().collect());
    });
}

#[cfg(test)]
mod tests {
    use gantry_codec::{body::to_json, fastjson};

    use super::*;
    use crate::group::offset_table::OffsetTable;

    #[test]
    fn groups_named_as_light_queues_have_a_table_of_their_own() {
        let text = br#"{"dataVersion":{"counter":7},"lmqOffsetTable":{"%LMQ%a@%LMQ%g":12},
            "offsetTable":{"t@g":{0:3,1:4}}}"#;
        let file: LightOffsetTable = fastjson::from_slice(text).unwrap();
        let content = joined(file.clone());
        assert_eq!(content.offset_table["%LMQ%a@%LMQ%g"], BTreeMap::from([(0, 12)]));
        assert_eq!(split(content), file);
    }

    #[test]
    fn what_java_wrote_is_read_and_comes_out_as_json() {
        let text = br#"{
	"dataVersion":{"counter":7,"stateVersion":0,"timestamp":1700000000000},
	"groupTopicMap":{"g":["t"]},
	"offsetTable":{"%RETRY%g@g":{0:3},"t@g":{0:12,1:345,10:1},"odd":{0:1}}
}"#;
        let mut file: ConsumerOffsetTable = fastjson::from_slice(text).unwrap();
        let commits = take_offsets(&mut file);
        assert_eq!(commits.len(), 4);
        assert!(commits.iter().all(|commit| &*commit.group == "g"));
        let view = OffsetView::default();
        let mut table = OffsetTable::new(view.clone());
        commits.iter().for_each(|commit| assert!(table.commit(commit)));
        table.publish();
        put_offsets(&mut file, &view);
        let json: serde_json::Value = serde_json::from_slice(&to_json(&file)).unwrap();
        assert_eq!(
            json["offsetTable"].to_string(),
            r#"{"%RETRY%g@g":{"0":3},"odd":{"0":1},"t@g":{"0":12,"1":345,"10":1}}"#
        );
        assert_eq!(json["dataVersion"]["counter"], 7);
    }
}
