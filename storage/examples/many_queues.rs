//! `many_queues DIR TOPICS` — makes a store of as many topics of 8 queues in DIR, each queue with one message, and leaves it
//! in order: what `bench/runs/start` measures the start of a broker with.
#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own, which makes one time for all messages"
)]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::SystemTime};

use gantry_codec::{Record, record};
use gantry_storage::{
    AppendError, ConsumeQueue, DelayLevels, DispatchReader, JsonFile, QueueId, QueueOffset,
    RealDisk, Store, StoreConfig, allocate_segment,
};

const QUEUES: u32 = 8;
/// Small files, so that many queues need little room.
const QUEUE_FILE_BYTES: u64 = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(topics)) = (args.next(), args.next()) else {
        return Err("usage: many_queues DIR TOPICS".into());
    };
    let (root, topics) = (PathBuf::from(dir), topics.parse::<usize>()?);
    let disk = Arc::new(RealDisk);
    let config = StoreConfig::new(root.clone(), 1 << 30, QUEUE_FILE_BYTES);
    let store = Store::open(config, disk.clone())?;
    let mut tail = store.log().tail().ok_or("the log is in use")?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let (now, host) = (since.as_millis() as i64, "127.0.0.1:10911".parse()?);
    for number in 0..topics {
        let topic = format!("topic-{number:06}");
        for queue in 0..QUEUES {
            let body = b"the only message";
            let mut record = Record {
                queue_id: queue as i32,
                flag: 0,
                queue_offset: 0,
                physical_offset: 0,
                sys_flag: 0,
                born_timestamp: now,
                born_host: host,
                store_timestamp: now,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body_crc: record::body_crc(body),
                body,
                topic: &topic,
                properties: "",
            };
            if let Err(AppendError::SegmentFull { next, .. }) = tail.append(&mut record) {
                tail.install(allocate_segment(&*disk, store.log().config(), next)?)?;
                tail.append(&mut record)?;
            }
        }
        tail.publish(now)?;
    }
    let mut reader = DispatchReader::new(store.log().clone(), store.report().dispatch_from);
    let mut entries = Vec::new();
    reader.read(usize::MAX, |entry| {
        let index = entry.index_entry(&DelayLevels::default());
        entries.push((entry.topic.to_owned(), entry.queue_id, index));
    })?;
    // Opened past the store, which would keep them open: a process may have some 65,000 mappings.
    let (queues, within) = (&store.config().queues, (store.log().min_offset(), reader.position()));
    for (topic, queue, entry) in &entries {
        ConsumeQueue::open(disk.clone(), queues, topic, QueueId(*queue), within)?
            .append(QueueOffset(0), &[*entry])?;
    }
    let table: BTreeMap<_, _> =
        entries.iter().map(|(topic, ..)| (topic, topic_config(topic))).collect();
    let file = JsonFile::new(root.join("config/topics.json"));
    file.save(&*disk, &serde_json::json!({ "topicConfigTable": table }))?;
    // The queues' files are left to the system: nobody measures what a loss of power leaves of them.
    drop(tail);
    store.checkpoint(reader.mark())?;
    store.close()?;
    println!("{} queues", entries.len());
    Ok(())
}

fn topic_config(topic: &str) -> serde_json::Value {
    serde_json::json!({
        "topicName": topic, "readQueueNums": QUEUES, "writeQueueNums": QUEUES, "perm": 6,
        "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": false,
    })
}
