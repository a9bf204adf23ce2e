//! What a send request carries, apart from the queue that it goes to.

use bytes::{Bytes, BytesMut};
use gantry_codec::record::{PROPERTIES_BYTES_MAX, sys_flag};
use gantry_codec::{Command, SendHeader, batch, properties, request_code};

use super::receipt::SendError;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::message::Message;
use crate::route::TEMPLATE_TOPIC;

/// One message or one batch, made once, so that every try has the same unique key and born time.
pub(super) struct Parcel {
    pub(super) topic: String,
    pub(super) unique_key: String,
    born_ms: i64,
    flag: i32,
    sys_flag: i32,
    properties: String,
    body: Bytes,
    is_batch: bool,
}

impl Parcel {
    pub(super) fn single(client: &Client, message: &Message) -> Parcel {
        let (unique_key, born_ms) = birth(client, message);
        let is_half = message.property(properties::TRAN_MSG) == Some("true");
        Parcel {
            topic: message.topic.clone(),
            properties: message.wire_properties(&unique_key),
            unique_key,
            born_ms,
            flag: message.flag,
            sys_flag: message.body_flags | if is_half { sys_flag::PREPARED } else { 0 },
            body: message.body.clone(),
            is_batch: false,
        }
    }

    pub(super) fn batch(client: &Client, messages: &[Message]) -> Result<Parcel, SendError> {
        let first = messages.first().ok_or(SendError::NotABatch)?;
        if messages.iter().any(|message| message.topic != first.topic) {
            return Err(SendError::NotABatch);
        }
        let (first_key, born_ms) = birth(client, first);
        let mut body = BytesMut::new();
        for (number, message) in messages.iter().enumerate() {
            let key = if number == 0 { first_key.clone() } else { birth(client, message).0 };
            let properties = message.wire_properties(&key);
            if properties.len() > PROPERTIES_BYTES_MAX {
                return Err(SendError::Properties { len: properties.len() });
            }
            batch::encode_message(message.flag, &message.body, &properties, &mut body);
        }
        Ok(Parcel {
            topic: first.topic.clone(),
            unique_key: first_key,
            born_ms,
            flag: 0,
            sys_flag: 0,
            properties: String::new(),
            body: body.freeze(),
            is_batch: true,
        })
    }

    /// The request that sends this to a queue.
    pub(super) fn request(&self, group: &str, queue_id: i32, config: &ClientConfig) -> Command {
        let code = if self.is_batch {
            request_code::SEND_BATCH_MESSAGE
        } else {
            request_code::SEND_MESSAGE_V2
        };
        let header = SendHeader {
            producer_group: group,
            topic: &self.topic,
            default_topic: TEMPLATE_TOPIC,
            default_topic_queue_nums: config.default_topic_queues,
            queue_id,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_ms,
            flag: self.flag,
            properties: &self.properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: self.is_batch,
        };
        let mut request = Command::request(code).with_body(self.body.clone());
        header.encode_v2(&mut request.ext);
        request.serialize_type = config.serialize_type;
        request
    }
}

/// The message's unique key, its own or a fresh one, and the time now.
fn birth(client: &Client, message: &Message) -> (String, i64) {
    let (fresh, born_ms) = client.birth();
    let own = message.property(properties::UNIQ_KEY).map(str::to_owned);
    (own.unwrap_or(fresh), born_ms)
}
