//! An answer: tables and lines for people, one JSON value for programs.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Report {
    parts: Vec<String>,
    json: Value,
    /// The answer is that something is wrong.
    pub found_trouble: bool,
}

impl Report {
    /// A report whose JSON form is `value`.
    pub fn new(value: &impl Serialize) -> Self {
        Self { json: serde_json::to_value(value).unwrap_or_default(), ..Self::default() }
    }

    /// Adds a line of text.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.parts.push(line.into());
        self
    }

    /// Adds a table.
    #[must_use]
    pub fn table(mut self, columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        self.parts.push(table(columns, rows));
        self
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let _ = writeln!(text, "{part}");
        }
        text
    }

    /// For programs: one line.
    pub fn json_text(&self) -> String {
        format!("{}\n", self.json)
    }
}

/// Columns under their names, numbers to the right; no frame, so that other tools can cut it up.
fn table(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|name| name.to_uppercase()));
    let is_number = |text: &String| text == "-" || text.parse::<f64>().is_ok();
    let numeric: Vec<bool> = (0..columns.len())
        .map(|at| !rows.is_empty() && rows.iter().all(|row| row.get(at).is_some_and(is_number)))
        .collect();
    for row in rows {
        table.add_row(row);
    }
    for (at, is_numeric) in numeric.into_iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, 2));
            if is_numeric {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A value that may not be known.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let rows = vec![vec!["orders".into(), "7".into()], vec!["x".into(), "1200".into()]];
        let report = Report::new(&1).table(&["topic", "behind"], rows);
        assert_eq!(report.text(), "TOPIC   BEHIND\norders       7\nx         1200\n");
        assert_eq!(report.json_text(), "1\n");
    }
}
