//! Offsets to and from the form of `consumerOffset.json` (store.md 2.9), which is also that of the answer
//! to GET_ALL_CONSUMER_OFFSET (43).
//!
//! ```text
//! {"dataVersion":{…},"offsetTable":{"topic@group":{"0":12,"1":345}}}
//! ```
//! Java writes the queue numbers without quotes and reads them with or without; here they are written
//! with, which is JSON. Its `groupTopicMap` follows from the table and is not kept.

use std::sync::Arc;

use gantry_codec::body::ConsumerOffsetTable;

use super::offset_table::{Commit, OffsetView};

/// Between topic and group in the key of an entry; no name has it.
const SEPARATOR: char = '@';

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
