//! Subscriptions to a topic by tags.
//!
//! An expression is `*` (or empty) for everything, or tags joined by `||`. Messages are compared by
//! the hash of their tag ([`crate::properties::tag_hash`]), which is what index entries hold; a
//! collision is left to the client, which compares the tags themselves. A message without tag has
//! hash 0 and matches everything only. SQL92 expressions are kept as text here; [`crate::sql`] compiles
//! them.
//!
//! What clients write differs: Go sends the hashes as strings and may leave the type empty. Hashes
//! are therefore never believed but computed from the tags.

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::{body::null_as_default, properties::tag_hash};

/// The expression that matches everything.
pub const MATCH_ALL: &str = "*";
/// Expression type of tags.
pub const TAG: &str = "TAG";
/// Expression type of SQL92.
pub const SQL92: &str = "SQL92";

/// One group's subscription to one topic, as clients write it in heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Whether a class filters, as 4.x could.
    #[serde(deserialize_with = "null_as_default")]
    pub class_filter_mode: bool,
    /// Hashes of the tags, sorted.
    #[serde(deserialize_with = "hashes")]
    pub code_set: Vec<i32>,
    /// [`TAG`] or [`SQL92`]; empty means the first.
    #[serde(deserialize_with = "null_as_default")]
    pub expression_type: String,
    /// The expression.
    #[serde(deserialize_with = "null_as_default")]
    pub sub_string: String,
    /// Grows with each change by the client: ms or ns.
    #[serde(deserialize_with = "null_as_default")]
    pub sub_version: i64,
    /// The tags in the order of the expression; empty to match everything.
    #[serde(deserialize_with = "null_as_default")]
    pub tags_set: Vec<String>,
    /// The topic.
    #[serde(deserialize_with = "null_as_default")]
    pub topic: String,
}

/// Why an expression is no list of tags.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubscriptionError {
    /// Nothing but separators.
    #[error("the expression {0:?} holds no tag")]
    NoTag(String),
}

impl SubscriptionData {
    /// Parses a tag expression; the version is for the caller to set.
    pub fn build(topic: &str, expression: &str) -> Result<Self, SubscriptionError> {
        let mut data = Self {
            topic: topic.into(),
            sub_string: if expression.is_empty() { MATCH_ALL } else { expression }.into(),
            expression_type: TAG.into(),
            ..Self::default()
        };
        if data.sub_string != MATCH_ALL {
            data.tags_set = split_tags(expression).map(str::to_owned).collect();
            if data.tags_set.is_empty() {
                return Err(SubscriptionError::NoTag(expression.into()));
            }
            data.compute_codes();
        }
        Ok(data)
    }

    /// Sets the hashes (and the tags, if only the expression is there) as [`Self::build`] would; for
    /// a subscription that a client sent.
    pub fn normalize(&mut self) {
        if self.is_sql92() || self.class_filter_mode {
            return;
        }
        if self.matches_all() {
            self.tags_set.clear();
        } else if self.tags_set.is_empty() {
            self.tags_set = split_tags(&self.sub_string).map(str::to_owned).collect();
        }
        self.compute_codes();
    }

    fn compute_codes(&mut self) {
        self.code_set = self.tags_set.iter().map(|tag| tag_hash(tag)).collect();
        self.code_set.sort_unstable();
        self.code_set.dedup();
    }

    /// Whether the expression is SQL92.
    pub fn is_sql92(&self) -> bool {
        self.expression_type.eq_ignore_ascii_case(SQL92)
    }

    /// Whether every message matches.
    pub fn matches_all(&self) -> bool {
        !self.is_sql92() && matches!(self.sub_string.as_str(), MATCH_ALL | "")
    }

    /// Whether a message with a tag of this hash may match. Everything may match SQL92 and class
    /// filters, for which tags say nothing.
    pub fn matches(&self, tag_hash: i32) -> bool {
        self.class_filter_mode
            || self.is_sql92()
            || self.matches_all()
            || self.code_set.binary_search(&tag_hash).is_ok()
    }
}

fn split_tags(expression: &str) -> impl Iterator<Item = &str> {
    expression.split("||").map(str::trim).filter(|tag| !tag.is_empty())
}

/// Hashes as numbers or, from Go, as strings; what is neither is dropped, since they are computed anew.
fn hashes<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Hash {
        Number(i64),
        Text(String),
    }
    let hashes = Option::<Vec<Hash>>::deserialize(input)?.unwrap_or_default();
    let mut hashes: Vec<i32> = hashes
        .into_iter()
        .filter_map(|hash| match hash {
            Hash::Number(number) => i32::try_from(number).ok(),
            Hash::Text(text) => text.parse().ok(),
        })
        .collect();
    hashes.sort_unstable();
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_and_hashed() {
        let data = SubscriptionData::build("T", " TagA||TagB || ").unwrap();
        assert_eq!(data.tags_set, ["TagA", "TagB"]);
        assert!(data.matches(tag_hash("TagA")) && data.matches(tag_hash("TagB")));
        assert!(!data.matches(tag_hash("TagC")) && !data.matches(0));
    }

    #[test]
    fn everything_matches_a_star_or_nothing_said() {
        for expression in ["*", ""] {
            let data = SubscriptionData::build("T", expression).unwrap();
            assert_eq!((data.sub_string.as_str(), data.tags_set.len()), ("*", 0));
            assert!(data.matches(0) && data.matches(7));
        }
    }

    #[test]
    fn separators_alone_are_an_error() {
        let error = SubscriptionError::NoTag(" || ".into());
        assert_eq!(SubscriptionData::build("T", " || "), Err(error));
    }

    #[test]
    fn what_go_sends_is_understood() {
        let text = r#"{"classFilterMode":false,"topic":"T","subString":"TagA","tagsSet":["TagA"],
            "codeSet":["2598919","x"],"subVersion":1700000000000000000,"expressionType":"","more":[1]}"#;
        let mut data: SubscriptionData = serde_json::from_str(text).unwrap();
        assert_eq!(data.code_set, [2_598_919]);
        data.code_set.clear();
        data.normalize();
        assert!(data.matches(2_598_919) && !data.is_sql92());
    }

    #[test]
    fn missing_and_null_members_are_defaults() {
        let text = r#"{"topic":"T","subString":"a || b","tagsSet":null,"codeSet":null}"#;
        let mut data: SubscriptionData = serde_json::from_str(text).unwrap();
        data.normalize();
        assert_eq!(data.tags_set, ["a", "b"]);
        assert!(data.matches(tag_hash("b")));
    }

    #[test]
    fn sql_is_not_decided_by_tags() {
        let text = r#"{"topic":"T","subString":"a > 1","expressionType":"SQL92"}"#;
        let data: SubscriptionData = serde_json::from_str(text).unwrap();
        assert!(data.is_sql92() && data.matches(0) && !data.matches_all());
    }

    #[test]
    fn written_as_java_does() {
        let data = SubscriptionData::build("T", "TagA").unwrap();
        let text = r#"{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":0,"tagsSet":["TagA"],"topic":"T"}"#;
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
    }
}
