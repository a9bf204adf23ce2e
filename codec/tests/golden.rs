//! The codec against bytes that official clients and brokers wrote; see `golden/README.md`.
//!
//! Every frame is decoded at every split point, its fields are checked, and encoding it again gives
//! the same bytes (but for empty values in binary headers, which are not kept).

use std::{fs, path::PathBuf};

use bytes::{Bytes, BytesMut};
use gantry_codec::{
    BatchMessages, Command, CommandCodec, Header, Language, OffsetMessageId, PullHeader, Record,
    SendHeader, SerializeType,
    body::{
        self, ConsumeFromWhere, ConsumeStats, ConsumeType, ConsumerOffsetTable, HeartbeatData,
        MessageModel, MessageQueue, RegisterBrokerBody, ResetOffsetBody, TopicRouteData,
    },
    fastjson, properties,
    record::{decode_head, sys_flag},
    requests::{
        offset::{QueryConsumerOffsetHeader, UpdateConsumerOffsetHeader},
        route::RouteHeader,
        send::SendResponse,
    },
};
use tokio_util::codec::Decoder;

const VERSIONS: [&str; 3] = ["4.3.2", "4.9.7", "5.5.0"];
/// An entry of a binary header with a name of one letter and no value.
const EMPTY_ENTRY_BYTES: usize = 7;
const BODY: &str = "body é😀";

fn file(version: &str, name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
    fs::read(path.join(name)).unwrap_or_else(|e| panic!("{version}/{name}: {e}"))
}

/// Calls `check` with the command in every version and serialize type.
fn each(name: &str, check: impl Fn(&str, &Command)) {
    for version in VERSIONS {
        for (suffix, serialize_type) in
            [("json", SerializeType::Json), ("binary", SerializeType::RocketMq)]
        {
            let frame = file(version, &format!("{name}.{suffix}.frame"));
            let command = Command::decode(Bytes::from(frame.clone())).expect(version);
            assert_eq!((command.serialize_type, command.opaque), (serialize_type, 12345));
            assert_eq!(command.language, Language::Java);
            check(version, &command);
            splits(&frame, &command);
            let mut again = BytesMut::new();
            command.encode(&mut again);
            if name == "send_batch" && serialize_type == SerializeType::RocketMq {
                // Its property string is empty, which in this form means that it is absent.
                assert_eq!(again.len() + EMPTY_ENTRY_BYTES, frame.len());
                continue;
            }
            assert_eq!(again, frame, "{version} {name} {suffix}");
        }
    }
}

/// The frame comes in two pieces, cut anywhere, with the beginning of the next one behind it.
fn splits(frame: &[u8], command: &Command) {
    for cut in 0..frame.len() {
        let mut buf = BytesMut::from(&frame[..cut]);
        assert!(CommandCodec.decode(&mut buf).unwrap().is_none(), "{cut}");
        buf.extend_from_slice(&frame[cut..]);
        buf.extend_from_slice(&frame[..7]);
        assert_eq!(CommandCodec.decode(&mut buf).unwrap().as_ref(), Some(command), "{cut}");
        assert_eq!(buf, frame[..7]);
    }
}

#[test]
fn sends() {
    for name in ["send_v1", "send_v2"] {
        each(name, |_, command| {
            assert_eq!(command.code, if name == "send_v1" { 10 } else { 310 });
            let header = SendHeader::decode(command).unwrap();
            assert_eq!((header.producer_group, header.topic), ("producers", "golden"));
            assert_eq!((header.default_topic, header.default_topic_queue_nums), ("TBW102", 4));
            assert_eq!((header.queue_id, header.sys_flag, header.flag), (2, 0, 7));
            assert_eq!((header.born_timestamp, header.batch), (1_700_000_000_000, false));
            assert_eq!((header.reconsume_times, header.max_reconsume_times), (0, None));
            assert_eq!(properties::get(header.properties, "KEYS"), Some("order-1 é😀"));
            assert_eq!(properties::get(header.properties, "quoted"), Some("a \"b\" \\ c / d\n\t"));
            assert_eq!(command.body, BODY);
        });
    }
}

#[test]
fn batches() {
    each("send_batch", |_, command| {
        assert_eq!(command.code, 320);
        assert!(SendHeader::decode(command).unwrap().batch);
        let messages: Vec<_> = BatchMessages::new(&command.body).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 3);
        for (index, message) in messages.iter().enumerate() {
            assert_eq!(message.flag, index as i32);
            assert_eq!(message.body, format!("body {index}"));
            let key = format!("k{index}");
            assert_eq!(properties::get(message.properties, "KEYS"), Some(key.as_str()));
        }
    });
}

#[test]
fn pulls() {
    each("pull", |_, command| {
        assert_eq!(command.code, 11);
        let header = PullHeader::decode(command).unwrap();
        assert_eq!((header.consumer_group, header.topic), ("consumers", "golden"));
        assert_eq!((header.queue_id, header.queue_offset, header.max_msg_nums), (2, 41, 32));
        assert_eq!((header.sys_flag, header.commit_offset), (3, 40));
        assert_eq!(
            (header.suspend_timeout_millis, header.sub_version),
            (15_000, 1_700_000_000_000)
        );
        assert_eq!(header.subscription, Some("TagA || TagB"));
        assert_eq!((header.expression_type, header.max_msg_bytes), (Some("TAG"), None));
    });
}

#[test]
fn offset_queries() {
    each("query_offset", |_, command| {
        let header = QueryConsumerOffsetHeader::decode(&command.ext).unwrap();
        assert_eq!((header.consumer_group.as_str(), header.queue_id), ("consumers", 2));
        assert!(command.body.is_empty());
    });
}

#[test]
fn heartbeats() {
    each("heartbeat", |_, command| {
        assert_eq!(command.code, 34);
        assert!(!command.ext.is_present());
        let beat: HeartbeatData = fastjson::from_slice(&command.body).unwrap();
        assert_eq!(beat.client_id, "10.0.0.1@1234");
        assert_eq!(beat.producer_data_set[0].group_name, "producers");
        let consumer = &beat.consumer_data_set[0];
        assert_eq!(consumer.group_name, "consumers");
        assert_eq!(consumer.consume_type, ConsumeType::Passively);
        assert_eq!(consumer.message_model, MessageModel::Clustering);
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::FirstOffset);
        let mut subscription = consumer.subscription_data_set[0].clone();
        let codes = subscription.code_set.clone();
        subscription.normalize();
        assert_eq!(subscription.code_set, codes);
        assert!(subscription.matches(properties::tag_hash("TagB")));
    });
}

#[test]
fn responses() {
    each("not_found", |_, command| {
        assert_eq!(command.code, 17);
        assert!(command.is_response() && !command.is_oneway());
        assert!(command.remark.as_deref().unwrap().ends_with("for \"details\"."));
    });
    each("send_response", |_, command| {
        let header = SendResponse::decode(&command.ext).unwrap();
        let id = OffsetMessageId::parse(&header.msg_id).unwrap();
        assert_eq!((id.host, id.offset), ("10.0.0.1:10911".parse().unwrap(), 0x1234));
        assert_eq!((header.queue_id, header.queue_offset), (2, 41));
        assert_eq!(header.region.as_deref(), Some("DefaultRegion"));
        assert_eq!(header.trace_on, Some(true));
    });
}

/// A frame of the Go client.
fn go(name: &str) -> Command {
    let frame = file("go-2.1.2", &format!("{name}.frame"));
    let command = Command::decode(Bytes::from(frame.clone())).expect(name);
    assert_eq!((command.language, command.version), (Language::Go, 317));
    assert_eq!((command.flag, command.remark.as_deref()), (0, Some("")));
    splits(&frame, &command);
    command
}

#[test]
fn sends_of_go() {
    let command = go("send_v1");
    assert_eq!((command.code, &command.body[..]), (10, &b"body 0"[..]));
    let header = SendHeader::decode(&command).unwrap();
    assert_eq!((header.topic, header.queue_id, header.batch), ("golden", 0, false));
    assert_eq!(header.max_reconsume_times, Some(0));
    assert_eq!(properties::get(header.properties, "quoted"), Some("a \"b\" \\ c / d\n\té😀<&>"));

    let command = go("send_batch");
    assert_eq!(command.code, 320);
    assert!(SendHeader::decode(&command).unwrap().batch);
    let messages: Vec<_> = BatchMessages::new(&command.body).map(Result::unwrap).collect();
    assert_eq!(messages.len(), 3);
    assert_eq!(properties::get(messages[2].properties, "KEYS"), Some("k2"));
}

#[test]
fn consumers_of_go() {
    let beat: HeartbeatData = fastjson::from_slice(&go("heartbeat").body).unwrap();
    let consumer = &beat.consumer_data_set[0];
    assert_eq!(consumer.consume_type, ConsumeType::Passively);
    assert_eq!(consumer.message_model, MessageModel::Clustering);
    assert_eq!(consumer.consume_from_where, ConsumeFromWhere::LastOffset);
    let subscriptions = &consumer.subscription_data_set;
    let mut subscription = subscriptions.iter().find(|s| s.topic == "golden").unwrap().clone();
    subscription.normalize();
    assert!(subscription.matches(properties::tag_hash("TagA")));
    assert!(!subscription.matches(properties::tag_hash("TagC")));

    let command = go("pull");
    let pull = PullHeader::decode(&command).unwrap();
    assert_eq!((pull.consumer_group, pull.queue_offset, pull.sys_flag), ("consumers", 5, 3));
    let command = go("query_offset");
    let query = QueryConsumerOffsetHeader::decode(&command.ext).unwrap();
    assert_eq!((query.topic.as_str(), query.queue_id), ("golden", 0));
    let command = go("update_offset");
    let update = UpdateConsumerOffsetHeader::decode(&command.ext).unwrap();
    assert_eq!((update.topic.as_str(), update.commit_offset), ("%RETRY%consumers", 5));
    assert!(!command.is_oneway(), "Go sets no flag, though it waits for no answer");
    let command = go("route");
    let route = RouteHeader::decode(&command.ext).unwrap();
    assert_eq!((route.topic.as_str(), route.accept_standard_json_only), ("golden", false));
}

#[test]
fn stored_messages() {
    for version in VERSIONS {
        for (hosts, born, store, flags) in [
            ("v4_v4", "10.1.2.3", "10.1.2.4", 0),
            ("v6_v4", "[2001:db8::1]", "10.1.2.4", sys_flag::BORN_HOST_V6),
            (
                "v6_v6",
                "[2001:db8::1]",
                "[2001:db8::2]",
                sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6,
            ),
        ] {
            if version == "4.3.2" && flags != 0 {
                continue;
            }
            let bytes = file(version, &format!("record_{hosts}.bin"));
            let record = Record::decode(&bytes).unwrap();
            assert_eq!((record.topic, record.body), ("golden", BODY.as_bytes()));
            assert_eq!((record.queue_id, record.queue_offset, record.flag), (2, 41, 7));
            assert_eq!((record.physical_offset, record.sys_flag), (0x1234, flags));
            assert_eq!(record.born_host, format!("{born}:54321").parse().unwrap());
            assert_eq!(record.store_host, format!("{store}:10911").parse().unwrap());
            assert_eq!((record.reconsume_times, record.prepared_transaction_offset), (1, 99));
            assert_eq!(properties::get(record.properties, "TAGS"), Some("TagA"));
            assert!(record.check_body_crc());
            assert_eq!(decode_head(&bytes).unwrap().total_size as usize, bytes.len());
            let mut again = vec![0; record.encoded_len()];
            record.write_to(&mut again);
            assert_eq!(again, bytes);
            let id = OffsetMessageId { host: record.store_host, offset: 0x1234 };
            assert_eq!(id.to_string().as_bytes(), file(version, &format!("record_{hosts}.id")));
        }
    }
}

#[test]
fn registrations() {
    for version in VERSIONS {
        let json = RegisterBrokerBody::decode(&file(version, "register.json")).unwrap();
        let compressed = RegisterBrokerBody::decode(&file(version, "register.zlib")).unwrap();
        for body in [&json, &compressed] {
            let wrapper = &body.topic_config_serialize_wrapper;
            assert_eq!(wrapper.data_version.counter, 5, "{version}");
            assert_eq!(wrapper.data_version.timestamp, 1_700_000_000_000);
            let topic = &wrapper.topic_config_table["golden"];
            assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (8, 4, 6));
            let attribute = topic.attributes.get("message.type").map(String::as_str);
            assert_eq!(attribute, (version == "5.5.0").then_some("NORMAL"));
        }
        assert_eq!(
            json.topic_config_serialize_wrapper.topic_config_table,
            compressed.topic_config_serialize_wrapper.topic_config_table
        );
        let again = RegisterBrokerBody::decode(&json.compress().unwrap()).unwrap();
        assert_eq!(again, compressed);
    }
}

#[test]
fn routes() {
    for version in VERSIONS {
        let route: TopicRouteData = fastjson::from_slice(&file(version, "route.json")).unwrap();
        assert_eq!(route.broker_datas[0].broker_addrs[&0], "10.0.0.1:10911");
        assert_eq!(route.broker_datas[0].broker_addrs[&1], "10.0.0.2:10911");
        assert_eq!(route.queue_datas[0].read_queue_nums, 8);
        let standard = body::to_json(&route);
        assert!(
            standard.starts_with(br#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"#)
        );
    }
}

#[test]
fn maps_with_queues_for_keys() {
    let queue = |queue_id| MessageQueue {
        broker_name: "broker-a".into(),
        queue_id,
        topic: "golden".into(),
    };
    for version in VERSIONS {
        let stats: ConsumeStats =
            fastjson::from_slice(&file(version, "consume_stats.json")).unwrap();
        assert_eq!(stats.offset_table.0[&queue(1)].consumer_offset, 51);
        let text = file(version, "reset_offset.json");
        let reset: ResetOffsetBody = fastjson::from_slice(&text).unwrap();
        assert_eq!(reset.offset_table.0[&queue(0)], 12);
        // A map has no order, so it is the length that tells that the form is the same.
        assert_eq!(fastjson::to_vec_object_keys(&reset).unwrap().len(), text.len());
    }
}

#[test]
fn offset_files() {
    for version in VERSIONS {
        let table: ConsumerOffsetTable =
            fastjson::from_slice(&file(version, "consumer_offset.json")).unwrap();
        assert_eq!(table.offset_table["golden@consumers"], [(0, 12), (1, 345)].into());
    }
}

#[test]
fn tag_hashes() {
    for version in VERSIONS {
        let text = String::from_utf8(file(version, "tag_hashes.txt")).unwrap();
        for (hash, tag) in text.lines().map(|line| line.split_once(' ').unwrap()) {
            assert_eq!(properties::tag_hash(tag), hash.parse::<i32>().unwrap(), "{tag:?}");
        }
    }
}
