//! One layer of a configuration: keys with values and where each stands.
//!
//! A layer is read from TOML or from pairs of texts (properties, environment, `--set`), checked
//! against the [`Schema`](crate::schema::Schema) by whoever merges, and handed to the `config` crate,
//! which puts the stronger over the weaker and keeps each value's origin.

use std::ops::Range;

use config::{Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use crate::error::LoadError;

/// A key as it stands somewhere.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key as it is written.
    pub key: String,
    /// Its value: text where the place knows nothing else.
    pub value: ValueKind,
    /// File and line, or what else it came from.
    pub at: String,
}

/// All keys of one place, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer(pub Vec<Entry>);

impl Layer {
    /// Reads TOML; `name` is the file's, for the places.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, LoadError> {
        let table = DeTable::parse(text).map_err(|error| LoadError::Syntax {
            at: place(name, text, error.span().unwrap_or_default()),
            reason: error.message().replace('\n', " "),
        })?;
        let mut spanned: Vec<_> = table.into_inner().into_iter().collect();
        spanned.sort_by_key(|(key, _)| key.span().start);
        let entries = spanned.into_iter().map(|(key, value)| {
            let at = place(name, text, key.span());
            plain(value.get_ref())
                .map(|value| Entry { key: key.get_ref().to_string(), value, at: at.clone() })
                .map_err(|reason| LoadError::Value {
                    at,
                    key: key.get_ref().to_string(),
                    value: text.get(value.span()).unwrap_or_default().replace('\n', " "),
                    reason,
                })
        });
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// A layer of one value.
    pub fn single(key: &str, value: &str, at: &str) -> Self {
        Self(vec![Entry { key: key.into(), value: value.into(), at: at.into() }])
    }
}

/// A value that a key may have; or why not.
fn plain(value: &DeValue<'_>) -> Result<ValueKind, String> {
    match value {
        DeValue::String(text) => Ok(ValueKind::from(text.as_ref())),
        DeValue::Boolean(flag) => Ok(ValueKind::from(*flag)),
        DeValue::Float(number) => Ok(ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN))),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(ValueKind::I64)
            .map_err(|_| "is no number that fits into 64 bits".into()),
        DeValue::Table(_) => Err("is a table, but all keys stand at the top".into()),
        other => Err(format!("is of type {}, which no key has", other.type_str())),
    }
}

/// `FILE:LINE` of a part of a text.
fn place(name: &str, text: &str, span: Range<usize>) -> String {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    format!("{name}:{line}")
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let value = |entry: &Entry| Value::new(Some(&entry.at), entry.value.clone());
        Ok(self.0.iter().map(|entry| (entry.key.clone(), value(entry))).collect())
    }
}
