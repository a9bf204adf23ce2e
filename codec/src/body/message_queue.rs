//! Queues as bodies name them, and maps with queues for keys.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
    ser::SerializeMap,
};

/// A queue of a topic on a broker. Members in this order, so that the text as a map's key is what
/// clients look for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// The broker's name.
    pub broker_name: String,
    /// The queue's number.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// A map from queues. In standard JSON the key is the text of the queue; in the dialect it is the
/// object itself ([`crate::fastjson`]). Both are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageQueueMap<V>(pub BTreeMap<MessageQueue, V>);

impl<V> Default for MessageQueueMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> FromIterator<(MessageQueue, V)> for MessageQueueMap<V> {
    fn from_iter<I: IntoIterator<Item = (MessageQueue, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for MessageQueueMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (queue, value) in &self.0 {
            let key = serde_json::to_string(queue).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(&key, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for MessageQueueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = MessageQueueMap<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with queues for keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let queue = serde_json::from_str(&key).map_err(A::Error::custom)?;
            entries.insert(queue, map.next_value()?);
        }
        Ok(MessageQueueMap(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "a".into(), queue_id, topic: "T".into() }
    }

    #[test]
    fn both_forms_are_read_and_the_dialect_is_written() {
        let map: MessageQueueMap<i64> = [(queue(0), 5), (queue(1), 6)].into_iter().collect();
        let dialect = r#"{{"brokerName":"a","queueId":0,"topic":"T"}:5,{"brokerName":"a","queueId":1,"topic":"T"}:6}"#;
        assert_eq!(fastjson::to_vec_object_keys(&map).unwrap(), dialect.as_bytes());
        let standard = serde_json::to_vec(&map).unwrap();
        for text in [dialect.as_bytes(), &standard] {
            assert_eq!(fastjson::from_slice::<MessageQueueMap<i64>>(text).unwrap(), map);
        }
    }

    #[test]
    fn other_keys_are_refused() {
        for text in ["{\"T@0\":1}", "{0:1}", "{{}:1}", "[]"] {
            assert!(fastjson::from_slice::<MessageQueueMap<i64>>(text.as_bytes()).is_err());
        }
    }
}
