//! What brokers say in bodies: registrations, versions, and topics of a route.
//!
//! A registration's body has three forms (wire.md 4.1): the wrapper as JSON, the same compressed,
//! and, from brokers older than version 37, the bare topic table. An absent body is a broker without
//! topics. Decoding happens on the thread of the broker's connection; a name server's clients ask
//! rarely enough not to feel the milliseconds that a table of many topics takes there.

use std::{sync::Arc, time::Duration};

use gantry_codec::{
    Command,
    body::{
        DataVersion, RegisterBrokerBody, RegisterError, TopicConfigSerializeWrapper, TopicRouteData,
    },
    fastjson::{self, FastjsonError},
    record,
    requests::route::RegisterBrokerHeader,
};
use serde_json::Value;
use thiserror::Error;

use super::{registration::Registration, table::QueueData};
use crate::net::ConnectionId;

/// The first version whose brokers send the wrapper instead of the bare topic table (V3_0_11).
const WRAPPER_VERSION: i32 = 37;

/// Why a body cannot be used.
#[derive(Debug, Error)]
pub enum AnnouncementError {
    /// The body is not what the header's checksum was made of.
    #[error("crc32 not match")]
    Crc {
        /// The header's checksum.
        announced: i32,
        /// The body's.
        actual: u32,
    },
    /// It is no registration.
    #[error(transparent)]
    Registration(#[from] RegisterError),
    /// It is not the JSON that the request needs.
    #[error("the body cannot be read: {0}")]
    Json(#[from] FastjsonError),
}

/// The registration in a REGISTER_BROKER request that came on `connection`.
pub fn registration(
    header: RegisterBrokerHeader,
    cmd: &Command,
    connection: ConnectionId,
) -> Result<Registration, AnnouncementError> {
    check_crc(header.body_crc32, &cmd.body)?;
    let wrapper = topics(cmd.version, &cmd.body)?;
    let has_static_topics = wrapper.extra.get("topicQueueMappingInfoMap").is_some_and(is_filled);
    let timeout = header.heartbeat_timeout_millis.and_then(|ms| u64::try_from(ms).ok());
    Ok(Registration {
        cluster: header.cluster_name.into(),
        broker_name: header.broker_name.into(),
        addr: header.broker_addr.into(),
        broker_id: header.broker_id,
        ha_server_addr: header.ha_server_addr.into(),
        zone_name: header.zone_name.map(Into::into),
        enable_acting_master: header.enable_acting_master,
        heartbeat_timeout: timeout.filter(|ms| *ms > 0).map(Duration::from_millis),
        topics: wrapper
            .topic_config_table
            .into_iter()
            .map(|(name, topic)| {
                let data = QueueData {
                    read_queue_nums: topic.read_queue_nums,
                    write_queue_nums: topic.write_queue_nums,
                    perm: topic.perm,
                    topic_sys_flag: topic.topic_sys_flag,
                };
                (name.into(), data)
            })
            .collect(),
        has_static_topics,
        version: wrapper.data_version,
        connection,
    })
}

/// 0 means unchecked; the checksum is masked to 31 bits (wire.md 6.2, gotcha 15).
fn check_crc(announced: i32, body: &[u8]) -> Result<(), AnnouncementError> {
    let actual = record::body_crc(body);
    if announced == 0 || u32::try_from(announced) == Ok(actual) {
        return Ok(());
    }
    Err(AnnouncementError::Crc { announced, actual })
}

fn topics(version: i32, body: &[u8]) -> Result<TopicConfigSerializeWrapper, AnnouncementError> {
    if body.is_empty() {
        return Ok(TopicConfigSerializeWrapper::default());
    }
    if version < WRAPPER_VERSION {
        return Ok(fastjson::from_slice(body)?);
    }
    Ok(RegisterBrokerBody::decode(body)?.topic_config_serialize_wrapper)
}

fn is_filled(value: &Value) -> bool {
    value.as_object().is_some_and(|map| !map.is_empty())
}

/// The version in a QUERY_DATA_VERSION request.
pub fn read_data_version(body: &[u8]) -> Result<DataVersion, AnnouncementError> {
    Ok(fastjson::from_slice(body)?)
}

/// The queue data in a REGISTER_TOPIC_IN_NAMESRV request.
pub fn read_queue_datas(body: &[u8]) -> Result<Vec<(Arc<str>, QueueData)>, AnnouncementError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let route: TopicRouteData = fastjson::from_slice(body)?;
    let queues = route.queue_datas.into_iter().map(|queue| {
        let data = QueueData {
            read_queue_nums: queue.read_queue_nums,
            write_queue_nums: queue.write_queue_nums,
            perm: queue.perm,
            topic_sys_flag: queue.topic_sys_flag,
        };
        (queue.broker_name.into(), data)
    });
    Ok(queues.collect())
}

#[cfg(test)]
mod tests {
    use gantry_codec::{body::TopicConfig, request_code};

    use super::*;

    fn header() -> RegisterBrokerHeader {
        RegisterBrokerHeader {
            broker_name: "g".into(),
            broker_addr: "10.0.0.1:10911".into(),
            cluster_name: "c".into(),
            ha_server_addr: "10.0.0.1:10912".into(),
            ..RegisterBrokerHeader::default()
        }
    }

    fn request(version: i32, body: impl Into<bytes::Bytes>) -> Command {
        Command { version, ..Command::request(request_code::REGISTER_BROKER).with_body(body) }
    }

    fn read(
        header: RegisterBrokerHeader,
        cmd: &Command,
    ) -> Result<Registration, AnnouncementError> {
        registration(header, cmd, ConnectionId(7))
    }

    const TABLE: &str = r#"{"dataVersion":{"counter":3,"timestamp":9},"topicConfigTable":{"t":{"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":1,"writeQueueNums":4}}}"#;

    fn topic() -> QueueData {
        QueueData { read_queue_nums: 8, write_queue_nums: 4, perm: 6, topic_sys_flag: 1 }
    }

    fn wrapper() -> String {
        format!(r#"{{"filterServerList":[],"topicConfigSerializeWrapper":{TABLE}}}"#)
    }

    #[test]
    fn the_wrapper_is_read() {
        let got = read(header(), &request(277, wrapper())).unwrap();
        assert_eq!(got.topics, [("t".into(), topic())]);
        assert_eq!(got.version, DataVersion { counter: 3, timestamp: 9, state_version: 0 });
        assert_eq!((&*got.addr, &*got.cluster, got.broker_id), ("10.0.0.1:10911", "c", 0));
        assert_eq!((got.heartbeat_timeout, got.enable_acting_master), (None, None));
        assert!(!got.has_static_topics);
        assert_eq!(got.connection, ConnectionId(7));
    }

    #[test]
    fn the_bare_table_of_an_old_broker_is_read() {
        let got = read(header(), &request(36, TABLE)).unwrap();
        assert_eq!(got.topics, [("t".into(), topic())]);
    }

    #[test]
    fn the_compressed_form_is_read() {
        let config = TopicConfig {
            topic_name: "t".into(),
            read_queue_nums: 8,
            write_queue_nums: 4,
            ..TopicConfig::default()
        };
        let mut body = RegisterBrokerBody::default();
        body.topic_config_serialize_wrapper.topic_config_table.insert("t".into(), config);
        body.topic_config_serialize_wrapper.data_version.counter = 5;
        let header = RegisterBrokerHeader { compressed: true, ..header() };
        let got = read(header, &request(413, body.compress().unwrap())).unwrap();
        assert_eq!(got.topics, [("t".into(), QueueData { topic_sys_flag: 0, ..topic() })]);
        assert_eq!(got.version.counter, 5);
    }

    #[test]
    fn no_body_is_a_broker_without_topics() {
        let got = read(header(), &request(479, "")).unwrap();
        assert_eq!((got.topics.len(), got.version), (0, DataVersion::default()));
    }

    #[test]
    fn the_checksum_is_compared_if_there_is_one() {
        let body = wrapper();
        let right = record::body_crc(body.as_bytes()) as i32;
        for (body_crc32, fits) in [(0, true), (right, true), (right ^ 1, false), (-right, false)] {
            let got =
                read(RegisterBrokerHeader { body_crc32, ..header() }, &request(479, wrapper()));
            assert_eq!(got.is_ok(), fits, "{body_crc32}");
            if let Err(e) = got {
                assert_eq!(e.to_string(), "crc32 not match");
            }
        }
    }

    #[test]
    fn a_broker_of_5x_says_more() {
        let header = RegisterBrokerHeader {
            broker_id: 2,
            heartbeat_timeout_millis: Some(10_000),
            enable_acting_master: Some(true),
            zone_name: Some("z".into()),
            ..header()
        };
        let body = wrapper().replace(
            r#""topicConfigTable""#,
            r#""topicQueueMappingInfoMap":{"s":{"currIdMap":{0:1}}},"topicConfigTable""#,
        );
        let got = read(header, &request(479, body)).unwrap();
        assert_eq!(got.heartbeat_timeout, Some(Duration::from_secs(10)));
        assert_eq!((got.enable_acting_master, got.zone_name.as_deref()), (Some(true), Some("z")));
        assert!(got.has_static_topics);
    }

    #[test]
    fn a_timeout_that_is_none_is_not_taken() {
        for ms in [0, -1, i64::MIN] {
            let header = RegisterBrokerHeader { heartbeat_timeout_millis: Some(ms), ..header() };
            assert_eq!(read(header, &request(479, "")).unwrap().heartbeat_timeout, None);
        }
    }

    #[test]
    fn garbage_is_refused() {
        for (version, body) in
            [(479, "{"), (479, "x"), (36, "[]"), (479, r#"{"filterServerList":3}"#)]
        {
            assert!(read(header(), &request(version, body)).is_err(), "{body}");
        }
        assert!(read_data_version(b"").is_err());
        assert!(read_queue_datas(b"7").is_err());
    }

    #[test]
    fn queue_data_of_a_route_is_read() {
        let body = r#"{"brokerDatas":[],"queueDatas":[{"brokerName":"g","perm":6,"readQueueNums":8,"topicSysFlag":1,"writeQueueNums":4}]}"#;
        assert_eq!(read_queue_datas(body.as_bytes()).unwrap(), [("g".into(), topic())]);
        assert_eq!(read_queue_datas(b"").unwrap(), []);
    }
}
