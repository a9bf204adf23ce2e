//! How long the codec takes for the messages of the data path, in nanoseconds.
//!
//! `cargo run --release -p gantry-codec --example timing`. Each line is the best of several rounds,
//! so that a busy machine disturbs it little.

use std::{hint::black_box, time::Instant};

use bytes::{Bytes, BytesMut};
use gantry_codec::{
    BatchMessages, Command, OffsetMessageId, PullHeader, PullReply, Record, SendHeader, SendReply,
    SerializeType, batch, body_crc, record,
};

const ROUNDS: u32 = 30;
const CALLS: u32 = 20_000;

const SEND_V2: &str = r#"{"code":310,"extFields":{"a":"please_rename_unique_group_name","b":"TopicTest","c":"TBW102","d":"4","e":"2","f":"0","g":"1700000000000","h":"0","i":"KEYS\u0001order-12345\u0002UNIQ_KEY\u00017F00000100002A9F18B4AAC20F8A0001\u0002WAIT\u0001true\u0002TAGS\u0001TagA","j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":12345,"serializeTypeCurrentRPC":"JSON","version":407}"#;

fn main() {
    let json = frame(SEND_V2, &[b'x'; 128]);
    let command = Command::decode(json.clone()).expect("a whole frame");
    let binary = reencoded(&command, SerializeType::RocketMq);
    time("decode SEND_V2, JSON", || Command::decode(json.clone()));
    time("decode SEND_V2, binary", || Command::decode(binary.clone()));
    time("read its header", || SendHeader::decode(&command).map(|header| header.queue_id));
    let pull = pull_request();
    let pull_json = reencoded(&pull, SerializeType::Json);
    time("decode PULL, JSON", || Command::decode(pull_json.clone()));
    time("read its header", || PullHeader::decode(&pull).map(|header| header.queue_offset));
    replies();
    records();
}

/// Prints the best time of one call.
fn time<T>(what: &str, mut call: impl FnMut() -> T) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    println!("{what:<32} {best:7.1} ns");
}

fn frame(header: &str, body: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    frame.extend(((4 + header.len() + body.len()) as u32).to_be_bytes());
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    frame.into()
}

fn reencoded(command: &Command, serialize_type: SerializeType) -> Bytes {
    let mut out = BytesMut::new();
    Command { serialize_type, ..command.clone() }.encode(&mut out);
    out.freeze()
}

fn pull_request() -> Command {
    let header = PullHeader {
        consumer_group: "please_rename_unique_group_name",
        topic: "TopicTest",
        queue_id: 2,
        queue_offset: 123_456,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 123_400,
        suspend_timeout_millis: 15_000,
        sub_version: 1_700_000_000_000,
        expression_type: Some("TAG"),
        ..PullHeader::default()
    };
    let mut pull = Command::request(11);
    header.encode(&mut pull.ext);
    pull
}

fn replies() {
    let mut out = BytesMut::with_capacity(4096);
    for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
        let reply = SendReply {
            opaque: 12345,
            code: 0,
            remark: None,
            serialize_type,
            msg_id: "0A00000100002A9F0000000000001234",
            queue_id: 2,
            queue_offset: 123_456,
            transaction_id: Some("7F00000100002A9F18B4AAC20F8A0001"),
            recall_handle: None,
            region: "DefaultRegion",
            trace_on: true,
        };
        time(&format!("write SendReply, {serialize_type:?}"), || {
            out.clear();
            reply.encode(&mut out);
            out.len()
        });
        let reply = PullReply {
            opaque: 12345,
            code: 0,
            remark: "FOUND",
            serialize_type,
            suggest_which_broker_id: 0,
            next_begin_offset: 123_456,
            min_offset: 0,
            max_offset: 1_234_567,
        };
        time(&format!("write PullReply, {serialize_type:?}"), || {
            out.clear();
            reply.encode_head(8192, &mut out);
            out.len()
        });
    }
}

fn records() {
    let body = [b'x'; 128];
    let record = Record {
        queue_id: 2,
        flag: 0,
        queue_offset: 123_456,
        physical_offset: 1 << 30,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: "10.0.0.1:54321".parse().expect("an address"),
        store_timestamp: 1_700_000_000_001,
        store_host: "10.0.0.2:10911".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body_crc: body_crc(&body),
        body: &body,
        topic: "TopicTest",
        properties: "KEYS\u{1}order-12345\u{2}UNIQ_KEY\u{1}7F00000100002A9F18B4AAC20F8A0001\u{2}",
    };
    let mut out = vec![0; record.encoded_len()];
    let id = OffsetMessageId { host: record.store_host, offset: 1 << 30 };
    let mut text = String::with_capacity(64);
    time("write a message id", || {
        text.clear();
        id.push_to(&mut text);
        text.len()
    });
    time("CRC of 128 bytes", || body_crc(black_box(&body)));
    time("write a record", || record.write_to(&mut out));
    time("read a record", || Record::decode(&out).map(|record| record.queue_id));
    time("read its head", || record::decode_head(&out).map(|head| head.queue_id));
    let mut batched = BytesMut::new();
    for _ in 0..32 {
        batch::encode_message(0, &body, record.properties, &mut batched);
    }
    let batched = batched.freeze();
    time("read a batch of 32", || BatchMessages::new(&batched).map_while(Result::ok).count());
}
