//! Queries by key, as a client asks them.

use std::time::Duration;

use gantry_client::{Client, MessageExt};
use gantry_codec::{Command, request_code, requests::pull::QueryMessageHeader, response_code};

/// The answer to a query by key.
pub async fn ask(client: &Client, broker: &str, topic: &str, key: &str) -> Command {
    let header = QueryMessageHeader {
        topic: topic.to_owned(),
        key: key.to_owned(),
        max_num: 64,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: false,
        index_type: None,
    };
    let request = Command::request(request_code::QUERY_MESSAGE).with_header(&header);
    client.remoting().ask(broker, request, Duration::from_secs(10)).await.unwrap()
}

/// The bodies of the messages with a key, in the order of the log.
pub async fn bodies(client: &Client, broker: &str, topic: &str, key: &str) -> Vec<String> {
    let answer = ask(client, broker, topic, key).await;
    let messages = match answer.code {
        response_code::QUERY_NOT_FOUND => Vec::new(),
        code => {
            assert_eq!(code, response_code::SUCCESS, "{answer:?}");
            MessageExt::decode_all(&answer.body).unwrap()
        }
    };
    messages.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect()
}
