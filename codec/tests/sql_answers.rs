//! What the SQL92 filter of the Java broker (5.5.0) answered to expressions and properties, and what
//! gantry's answers: the same. `sql/answers.tsv` has a case per line: the answer, the expression, names
//! and values of properties, separated by tabs. Some are written by hand for the corners of the
//! language, the others made by the example `sql_cases`; `tests/peer/filter` asks for thousands more.

use gantry_codec::sql::Sql;

fn answer(expression: &str, properties: &[String]) -> &'static str {
    let Ok(sql) = Sql::compile(expression) else { return "refused" };
    let lookup = |name: &str| {
        let found = properties.chunks(2).rfind(|pair| pair[0] == name)?;
        Some(found[1].as_str())
    };
    match sql.evaluate(&lookup) {
        Ok(Some(true)) => "true",
        Ok(Some(false)) => "false",
        Ok(None) => "null",
        Err(_) => "failed",
    }
}

/// Tabs, ends of lines and backslashes are written as escapes.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        plain.push(match escaped {
            None => c,
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\x0c',
            Some(other) => other,
        });
    }
    plain
}

#[test]
fn every_answer_is_that_of_java() {
    let mut cases = 0;
    for line in include_str!("sql/answers.tsv").lines() {
        let fields: Vec<String> = line.split('\t').map(plain).collect();
        assert_eq!(answer(&fields[1], &fields[2..]), fields[0], "{line}");
        cases += 1;
    }
    assert!(cases > 800, "only {cases} cases were read");
}
