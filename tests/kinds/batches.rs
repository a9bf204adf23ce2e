//! A batch is there as a whole or not at all, wherever the daemon is killed.

use bytes::BytesMut;
use futures_util::future::join_all;
use gantry_client::{Client, Message, MessageExt, MessageQueue};
use gantry_codec::{
    Command, SendHeader, batch::encode_message, properties as names, record::sys_flag,
    request_code as rq,
};
use tokio::sync::Notify;

use crate::{
    harness::{
        daemon::{Daemon, Home},
        traffic::{create_topic, eventually},
    },
    read_all, texts,
};

/// Small files, so that batches meet their ends.
const SETTINGS: [&str; 2] = ["mappedFileSizeCommitLog=1048576", "flushDiskType=SYNC_FLUSH"];
/// Messages of a batch, and senders, each of which has a queue.
const BATCH: usize = 7;
const SENDERS: i32 = 4;

#[tokio::test]
async fn batches_are_whole_after_kills() {
    let home = Home::new();
    let mut daemon = Daemon::start(&home, &SETTINGS);
    create_topic(&daemon.client(), &daemon.broker, "orders", SENDERS).await;
    let mut acknowledged = vec![Vec::new(); SENDERS as usize];
    for round in 0..3 {
        let client = daemon.client();
        eventually("the route", async || client.routes().get("orders").await.is_ok()).await;
        let queues = client.routes().get("orders").await.unwrap().publish.clone();
        let enough = Notify::new();
        let floods = queues.iter().map(|queue| flood(&client, queue, round, &enough));
        let kill = async {
            enough.notified().await;
            daemon.kill();
        };
        let (sent, ()) = tokio::join!(join_all(floods), kill);
        acknowledged.iter_mut().zip(sent).for_each(|(all, sent)| all.extend(sent));
        daemon = Daemon::start(&home, &SETTINGS);
        let client = daemon.client();
        eventually("the route", async || client.routes().get("orders").await.is_ok()).await;
        for (queue, acknowledged) in queues.iter().zip(&acknowledged) {
            check(&read_all(&client, queue).await, acknowledged);
        }
    }
}

/// Sends batch after batch until the daemon is gone, which is killed when one sender has sent some; which were
/// acknowledged, and where.
async fn flood(
    client: &Client,
    queue: &MessageQueue,
    round: usize,
    enough: &Notify,
) -> Vec<(String, i64)> {
    let producer = client.producer("senders");
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if number == 12 + round * 7 {
            enough.notify_one();
        }
        let name = format!("{round}/{}/{number}", queue.queue_id);
        let message = |place| {
            let body = format!("{name}/{place}{}", "x".repeat(number * 13 % 400));
            Message::new("orders", body).with_tag(&format!("t{place}"))
        };
        let batch: Vec<_> = (0..BATCH).map(message).collect();
        match producer.send_batch_to(queue, &batch).await {
            Ok(receipt) => acknowledged.push((name, receipt.queue_offset)),
            Err(_) => break,
        }
    }
    acknowledged
}

/// Each batch is whole and in its order, and those that were acknowledged are where they were.
fn check(messages: &[MessageExt], acknowledged: &[(String, i64)]) {
    let texts = texts(messages);
    assert_eq!(texts.len() % BATCH, 0, "half a batch at the end: {:?}", texts.last());
    let name = |text: &String| text.rsplit_once('/').map(|(name, _)| name.to_owned()).unwrap();
    for (batch, messages) in texts.chunks(BATCH).zip(messages.chunks(BATCH)) {
        for (place, (text, message)) in batch.iter().zip(messages).enumerate() {
            assert_eq!(name(text), name(&batch[0]));
            assert_eq!(names::get(&message.properties, names::TAGS), Some(&*format!("t{place}")));
            let continues = message.sys_flag & sys_flag::BATCH_CONTINUES != 0;
            assert_eq!(continues, place + 1 < BATCH);
        }
    }
    for (batch, offset) in acknowledged {
        assert_eq!(name(&texts[*offset as usize]), *batch, "at {offset}");
    }
}

#[tokio::test]
async fn compressed_batches_are_carried_as_they_are() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let client = daemon.client();
    create_topic(&client, &daemon.broker, "orders", 1).await;
    let queue = client.routes().get("orders").await.unwrap().publish[0].clone();
    let mut body = BytesMut::new();
    for _ in 0..3 {
        encode_message(0, b"not really compressed", "", &mut body);
    }
    // As they are sent: zlib by old clients, then LZ4, zstd and zlib by newer ones.
    for way in [0, 0x100, 0x200, 0x300] {
        let header = SendHeader {
            producer_group: "senders",
            topic: "orders",
            default_topic: "TBW102",
            sys_flag: sys_flag::COMPRESSED | way,
            batch: true,
            ..SendHeader::default()
        };
        let mut request = Command::request(rq::SEND_BATCH_MESSAGE).with_body(body.clone().freeze());
        header.encode_v2(&mut request.ext);
        client.remoting().call(&daemon.broker, request).await.unwrap();
    }
    let messages = read_all(&client, &queue).await;
    let flags: Vec<_> = messages.iter().map(|m| m.body_flags() & !sys_flag::COMPRESSED).collect();
    assert_eq!(flags, [0, 0, 0, 0x100, 0x100, 0x100, 0x200, 0x200, 0x200, 0x300, 0x300, 0x300]);
    assert!(messages.iter().all(|m| m.body == "not really compressed"));
}
