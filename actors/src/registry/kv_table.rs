//! The key-value configuration that the name server keeps for its administrators.
//!
//! A plain value: namespaces of keys. Its JSON is the file that the Java name server writes
//! (`kvConfig.json`: `{"configTable":{namespace:{key:value}}}`), so either can be started on the
//! file of the other. Small and rarely changed: a change copies it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The namespace that holds `topic → brokerName:queues;…` for topics in strict order.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// The keys and values of one namespace.
pub type Namespace = BTreeMap<String, String>;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvTable {
    #[serde(default)]
    config_table: BTreeMap<String, Namespace>,
}

impl KvTable {
    /// The value of a key.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespace(namespace)?.get(key).map(String::as_str)
    }

    /// A namespace; once made, it stays when its last key is deleted.
    pub fn namespace(&self, namespace: &str) -> Option<&Namespace> {
        self.config_table.get(namespace)
    }

    /// Sets a value.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) {
        self.config_table.entry(namespace.into()).or_default().insert(key.into(), value.into());
    }

    /// Deletes a key; returns whether it was there.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        self.config_table.get_mut(namespace).is_some_and(|keys| keys.remove(key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_put_replaced_and_deleted() {
        let mut table = KvTable::default();
        table.put("ns", "k", "1");
        table.put("ns", "k", "2");
        assert_eq!(table.get("ns", "k"), Some("2"));
        assert!(table.delete("ns", "k"));
        assert!(!table.delete("ns", "k"));
        assert!(!table.delete("other", "k"));
        assert_eq!(table.get("ns", "k"), None);
        assert_eq!(table.namespace("ns").map(|keys| keys.len()), Some(0));
        assert_eq!(table.namespace("other"), None);
    }

    #[test]
    fn the_file_of_the_java_name_server_is_read_and_written() {
        let text = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"t":"broker-a:4;broker-b:2"}}}"#;
        let table = serde_json::from_str::<KvTable>(text).unwrap();
        assert_eq!(table.get(ORDER_TOPIC_CONFIG, "t"), Some("broker-a:4;broker-b:2"));
        assert_eq!(serde_json::to_string(&table).unwrap(), text);
    }
}
