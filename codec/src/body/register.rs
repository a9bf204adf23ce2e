//! The body of REGISTER_BROKER: JSON, or compressed.
//!
//! The compressed form is a zlib stream of length-prefixed texts, made for brokers with very many
//! topics:
//!
//! | what | repeated |
//! |---|---|
//! | length (4), data version as JSON | |
//! | number of topics (4) | |
//! | length (4), `name read write perm SINGLE_TAG`, 5.x also a blank and the attributes as JSON | per topic |
//! | length (4), list of filter servers as JSON | |
//! | number of static topics (4), then length (4) and JSON each | from version 413 on |
//!
//! Order and flags of topics are lost in it, and static topics are not read. What comes out of the
//! stream is limited to [`REGISTER_BYTES_MAX`], since a small stream can hold very much.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{TopicConfig, TopicConfigSerializeWrapper, TopicFilterType, null_as_default};
use crate::{
    fastjson::{self, FastjsonError},
    frame::FRAME_BYTES_MAX,
    header_json::excerpt,
};

/// The most that a compressed body may hold: what an uncompressed one could.
pub const REGISTER_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64;

/// A broker's registration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Filter servers, of 4.x.
    #[serde(deserialize_with = "null_as_default")]
    pub filter_server_list: Vec<String>,
    /// The topics with their version.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}

/// Why bytes are no registration.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The stream is no zlib, ends early, or holds more than [`REGISTER_BYTES_MAX`].
    #[error("compressed registration: {0}")]
    Stream(#[from] io::Error),
    /// A length or a number is negative.
    #[error("compressed registration: {field} of {length}")]
    Length {
        /// Which.
        field: &'static str,
        /// Its value.
        length: i32,
    },
    /// A topic's line has too few words, or one that is no number.
    #[error("compressed registration: topic {0:?}")]
    Topic(Box<str>),
    /// A topic's line is not UTF-8.
    #[error("compressed registration: a topic is not UTF-8")]
    NotUtf8,
    /// A JSON part, or the whole body, is not what it should be.
    #[error("registration: {0}")]
    Json(#[from] FastjsonError),
}

impl RegisterBrokerBody {
    /// Reads either form, whatever the header says: a JSON body begins with a brace, a zlib stream
    /// cannot. (Brokers of 5.x may compress and not say so.)
    pub fn decode(body: &[u8]) -> Result<Self, RegisterError> {
        match body.trim_ascii_start().first() {
            Some(b'{') => Ok(fastjson::from_slice(body)?),
            _ => Self::decompress(body),
        }
    }

    fn decompress(body: &[u8]) -> Result<Self, RegisterError> {
        let mut parts = Parts(ZlibDecoder::new(body).take(REGISTER_BYTES_MAX));
        let data_version = parts.json("data version")?;
        let topics = parts.length("number of topics")?;
        let mut topic_config_table = BTreeMap::new();
        for _ in 0..topics {
            let line = parts.text("topic")?;
            let topic = parse_topic(&line).ok_or_else(|| RegisterError::Topic(excerpt(&line)))?;
            topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let filter_server_list = parts.json("filter server list")?;
        // The stream's checksum stands at its end.
        io::copy(&mut parts.0, &mut io::sink())?;
        Ok(Self {
            filter_server_list,
            topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
                data_version,
                topic_config_table,
                ..TopicConfigSerializeWrapper::default()
            },
        })
    }

    /// The compressed form, for a request of version 413 or later.
    pub fn compress(&self) -> io::Result<Vec<u8>> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
        write_part(&mut out, &serde_json::to_vec(&wrapper.data_version)?)?;
        out.write_all(&(wrapper.topic_config_table.len() as u32).to_be_bytes())?;
        for topic in wrapper.topic_config_table.values() {
            write_part(&mut out, topic_line(topic)?.as_bytes())?;
        }
        write_part(&mut out, &serde_json::to_vec(&self.filter_server_list)?)?;
        out.write_all(&0_u32.to_be_bytes())?;
        out.finish()
    }
}

fn write_part(out: &mut impl Write, part: &[u8]) -> io::Result<()> {
    out.write_all(&(part.len() as u32).to_be_bytes())?;
    out.write_all(part)
}

fn topic_line(topic: &TopicConfig) -> io::Result<String> {
    let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, .. } = topic;
    let attributes = serde_json::to_string(&topic.attributes)?;
    let filter = match topic.topic_filter_type {
        TopicFilterType::SingleTag => "SINGLE_TAG",
        TopicFilterType::MultiTag => "MULTI_TAG",
    };
    let line = format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter}");
    // Name servers of 4.x take exactly five words.
    Ok(if topic.attributes.is_empty() { line } else { format!("{line} {attributes}") })
}

fn parse_topic(line: &str) -> Option<TopicConfig> {
    let mut words = line.splitn(6, ' ');
    let topic_name = words.next().filter(|name| !name.is_empty())?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    let topic_filter_type = TopicFilterType::from_name(words.next()?)?;
    let attributes = match words.next() {
        Some(json) => fastjson::from_slice(json.as_bytes()).ok()?,
        None => BTreeMap::new(),
    };
    Some(TopicConfig {
        attributes,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        write_queue_nums,
        ..TopicConfig::default()
    })
}

/// The parts of an opened stream. Memory grows with what comes out, not with announced lengths.
struct Parts<R>(R);

impl<R: Read> Parts<R> {
    fn length(&mut self, field: &'static str) -> Result<u32, RegisterError> {
        let mut word = [0; 4];
        self.0.read_exact(&mut word)?;
        let length = i32::from_be_bytes(word);
        u32::try_from(length).map_err(|_| RegisterError::Length { field, length })
    }

    fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, RegisterError> {
        let length = self.length(field)?;
        let mut bytes = Vec::new();
        (&mut self.0).take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() < length as usize {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }

    fn text(&mut self, field: &'static str) -> Result<String, RegisterError> {
        let bytes = self.bytes(field)?;
        String::from_utf8(bytes).map_err(|_| RegisterError::NotUtf8)
    }

    fn json<T: DeserializeOwned + Default>(
        &mut self,
        field: &'static str,
    ) -> Result<T, RegisterError> {
        let bytes = self.bytes(field)?;
        let value: Option<T> = fastjson::from_slice(&bytes)?;
        Ok(value.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zlib(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
        for part in parts {
            out.write_all(part).unwrap();
        }
        out.finish().unwrap()
    }

    /// Length and bytes.
    fn part(bytes: &str) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes.as_bytes()].concat()
    }

    fn registration() -> RegisterBrokerBody {
        let topic = TopicConfig {
            topic_name: "T".into(),
            attributes: BTreeMap::from([("message.type".into(), "NORMAL ONE".into())]),
            read_queue_nums: 8,
            ..TopicConfig::default()
        };
        let mut body = RegisterBrokerBody::default();
        body.topic_config_serialize_wrapper.data_version.counter = 7;
        body.topic_config_serialize_wrapper.topic_config_table.insert("T".into(), topic);
        body.filter_server_list.push("10.0.0.1:1".into());
        body
    }

    #[test]
    fn both_forms_are_read_back() {
        let body = registration();
        assert_eq!(RegisterBrokerBody::decode(&super::super::to_json(&body)).unwrap(), body);
        assert_eq!(RegisterBrokerBody::decode(&body.compress().unwrap()).unwrap(), body);
    }

    #[test]
    fn the_form_of_an_old_broker_ends_without_static_topics() {
        let version = part(r#"{"counter":1,"timestamp":2}"#);
        let parts = [&version, &[0, 0, 0, 1][..], &part("T 4 2 6 MULTI_TAG"), &part("null")];
        let body = RegisterBrokerBody::decode(&zlib(&parts)).unwrap();
        let topic = &body.topic_config_serialize_wrapper.topic_config_table["T"];
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (4, 2, 6));
        assert_eq!(topic.topic_filter_type, TopicFilterType::MultiTag);
    }

    #[test]
    fn a_stream_cut_anywhere_is_refused() {
        let good = registration().compress().unwrap();
        for len in 0..good.len() {
            assert!(RegisterBrokerBody::decode(&good[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn lies_are_refused() {
        let decode = |parts: &[&[u8]]| RegisterBrokerBody::decode(&zlib(parts)).unwrap_err();
        let version = part("{}");
        let negative = decode(&[&[0xFF; 4]]);
        assert!(matches!(negative, RegisterError::Length { field: "data version", length: -1 }));
        let many = decode(&[&version, &[0x7F, 0xFF, 0xFF, 0xFF]]);
        assert!(matches!(many, RegisterError::Stream(_)));
        for line in
            ["", "T", "T 1 2", "T 1 2 x SINGLE_TAG", "T 1 2 6 NO_TAG", "T 1 2 6 SINGLE_TAG {"]
        {
            let error = decode(&[&version, &[0, 0, 0, 1], &part(line)]);
            assert!(matches!(error, RegisterError::Topic(text) if *text == *line));
        }
        let not_utf8 = decode(&[&version, &[0, 0, 0, 1], &[0, 0, 0, 1, 0xFF]]);
        assert!(matches!(not_utf8, RegisterError::NotUtf8));
    }

    #[test]
    fn a_small_stream_that_holds_very_much_is_refused() {
        let blanks = vec![b' '; 1 << 20];
        let length = (64_u32 << 20).to_be_bytes();
        let mut parts = vec![&length[..]];
        parts.resize(65, &blanks);
        let stream = zlib(&parts);
        assert!(stream.len() < 1 << 20);
        assert!(matches!(RegisterBrokerBody::decode(&stream), Err(RegisterError::Stream(_))));
    }
}
