//! Values put into the text of a configuration file, and nothing else touched: comments, order, blanks
//! and line ends stay as somebody wrote them.
//!
//! | format | a key that is there | a key that is not |
//! |---|---|---|
//! | TOML | its value is replaced | a line at the end |
//! | Java properties | the last of its lines that hold it, which is the one that counts; a value over several lines becomes one | a line at the end |
//!
//! A key may stand in the file under an older spelling; it keeps that.

use std::{ops::Range, path::Path};

use config::ValueKind;
use toml::de::DeTable;

use crate::{admit::Place, error::LoadError, merge::place_of, properties, schema::Schema};

/// The bytes of a configuration file after `changes`: keys, as the schema names them, with values of
/// their kinds.
pub(crate) fn edited(
    schema: &Schema,
    path: &Path,
    bytes: &[u8],
    changes: &[(String, ValueKind)],
) -> Result<Vec<u8>, LoadError> {
    let name = path.display().to_string();
    match place_of(path) {
        Some(Place::Toml) => {
            let text = std::str::from_utf8(bytes).map_err(|_| not_utf8(&name))?;
            Ok(edited_toml(schema, &name, text, changes)?.into_bytes())
        }
        Some(Place::Properties) => {
            let text = properties::from_latin1(bytes);
            Ok(properties::to_latin1(&edited_properties(schema, &text, changes)))
        }
        _ => Err(LoadError::UnknownFormat(path.into())),
    }
}

fn not_utf8(name: &str) -> LoadError {
    LoadError::Syntax { at: name.into(), reason: "is not UTF-8".into() }
}

fn edited_toml(
    schema: &Schema,
    name: &str,
    text: &str,
    changes: &[(String, ValueKind)],
) -> Result<String, LoadError> {
    let table = DeTable::parse(text).map_err(|error| LoadError::Syntax {
        at: name.into(),
        reason: error.message().replace('\n', " "),
    })?;
    let spans: Vec<(&str, Range<usize>)> = table
        .get_ref()
        .iter()
        .map(|(key, value)| (schema.name_of(key.get_ref()), value.span()))
        .collect();
    let mut edits = Vec::new();
    let mut added = Vec::new();
    for (key, value) in changes {
        let literal = literal(value);
        match spans.iter().find(|(name, _)| name == key) {
            Some((_, span)) => edits.push((span.clone(), literal)),
            None => added.push(format!("{key} = {literal}")),
        }
    }
    Ok(apply(text, edits, added))
}

/// A value as TOML has it.
fn literal(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => toml::Value::String(text.clone()).to_string(),
        plain => plain.to_string(),
    }
}

fn edited_properties(schema: &Schema, text: &str, changes: &[(String, ValueKind)]) -> String {
    let lines = properties::placed(text);
    let mut edits = Vec::new();
    let mut added = Vec::new();
    for (key, value) in changes {
        let value = properties::escaped(&value.to_string());
        match lines.iter().rev().find(|line| schema.name_of(&line.key) == key) {
            Some(line) => edits.push((line.span.clone(), format!("{}={value}", line.key))),
            None => added.push(format!("{key}={value}")),
        }
    }
    apply(text, edits, added)
}

/// Replaces parts of a text, and adds lines to its end.
fn apply(text: &str, mut edits: Vec<(Range<usize>, String)>, added: Vec<String>) -> String {
    let mut text = text.to_owned();
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    // From behind, so that the places of the others hold.
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    for (span, new) in edits {
        text.replace_range(span, &new);
    }
    if !added.is_empty() && !text.is_empty() && !text.ends_with('\n') {
        text.push_str(line_end);
    }
    for line in added {
        text.push_str(&line);
        text.push_str(line_end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(name: &str, text: &str, changes: &[(&str, ValueKind)]) -> String {
        let changes: Vec<_> = changes.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let schema = Schema::broker().unwrap();
        let bytes = edited(&schema, Path::new(name), text.as_bytes(), &changes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn toml_keeps_everything_but_the_values() {
        let text = "# mine\nfileReservedTime = 48 # two days\n\n  deleteWhen='04'\n# end";
        let changes =
            [("fileReservedTime", ValueKind::I64(24)), ("deleteWhen", ValueKind::from("02;14"))];
        let after = "# mine\nfileReservedTime = 24 # two days\n\n  deleteWhen=\"02;14\"\n# end";
        assert_eq!(edit("a.toml", text, &changes), after);
    }

    #[test]
    fn keys_that_are_not_there_are_added() {
        let changes = [("neverDeleteUnconsumed", ValueKind::Boolean(true))];
        assert_eq!(edit("a.toml", "# x", &changes), "# x\nneverDeleteUnconsumed = true\n");
        assert_eq!(edit("a.toml", "", &changes), "neverDeleteUnconsumed = true\n");
        assert_eq!(edit("a.conf", "a=1\r\n", &changes), "a=1\r\nneverDeleteUnconsumed=true\r\n");
    }

    #[test]
    fn properties_keep_comments_and_the_line_that_counts_is_changed() {
        let text = "#fileReservedTime=1\n fileReservedTime : 48\nbrokerName = a\\\n   b\nfileReservedTime=72\n";
        let changes = [("fileReservedTime", ValueKind::I64(24))];
        let after = "#fileReservedTime=1\n fileReservedTime : 48\nbrokerName = a\\\n   b\nfileReservedTime=24\n";
        assert_eq!(edit("broker.conf", text, &changes), after);
    }

    #[test]
    fn a_value_over_several_lines_is_replaced_whole() {
        let text = "deleteWhen = 0\\\n   4\n# after\n";
        let changes = [("deleteWhen", ValueKind::from("12"))];
        assert_eq!(edit("b.properties", text, &changes), "deleteWhen=12\n# after\n");
    }

    #[test]
    fn an_older_spelling_is_kept() {
        let text = "mapedFileSizeCommitLog=1\n";
        let changes = [("mappedFileSizeCommitLog", ValueKind::I64(2))];
        assert_eq!(edit("b.conf", text, &changes), "mapedFileSizeCommitLog=2\n");
    }

    #[test]
    fn what_was_written_is_what_is_read() {
        let value = " a\\b=c:d\té\u{4e2d} ";
        let changes = [("regionId", ValueKind::from(value))];
        let schema = Schema::broker().unwrap();
        let changes: Vec<_> = changes.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let bytes = edited(&schema, Path::new("b.conf"), b"", &changes).unwrap();
        let read = properties::parse(&properties::from_latin1(&bytes)).unwrap();
        assert_eq!(read[0].value, value);
        let bytes = edited(&schema, Path::new("b.toml"), b"", &changes).unwrap();
        let read: toml::Table = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
        assert_eq!(read["regionId"].as_str(), Some(value));
    }
}
