//! Expressions from anywhere: whatever the text is, compiling and evaluating end without a panic, and
//! a text that is made of the language's own words gets into the corners that others do not reach.

use gantry_codec::sql::Sql;
use proptest::prelude::*;

const WORDS: [&str; 44] = [
    "a",
    "b",
    "_c$1",
    "TRUE",
    "false",
    "NULL",
    "AND",
    "or",
    "NOT",
    "IS",
    "IN",
    "BETWEEN",
    "CONTAINS",
    "STARTSWITH",
    "endswith",
    "=",
    "<>",
    ">",
    ">=",
    "<",
    "<=",
    "(",
    ")",
    ",",
    "+",
    "-",
    "'",
    "''",
    "'x'",
    "'1'",
    "0",
    "1",
    "1L",
    "9223372036854775807",
    "9223372036854775808",
    "1.5",
    ".5e3",
    "1e999",
    "--",
    "\n",
    "/*",
    "*/",
    "٣",
    "@",
];

fn words() -> impl Strategy<Value = String> {
    let blank = prop_oneof![Just(" "), Just("")];
    let word = (prop::sample::select(&WORDS[..]), blank);
    prop::collection::vec(word, 0..24)
        .prop_map(|words| words.into_iter().flat_map(|(word, blank)| [word, blank]).collect())
}

proptest! {
    #[test]
    fn no_text_is_a_panic(expression in prop_oneof![any::<String>(), words()], properties: String) {
        match Sql::compile(&expression) {
            Ok(sql) => { sql.matches(&properties); }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_value_is_a_panic(value: String, other in "[-+]?[0-9a-fxXpPeE.]{0,24}[fd]?") {
        let all = "a = b OR a > b OR a = 1 OR a < 1.5 OR a > 99999999999 OR a = TRUE";
        let sql = Sql::compile(all).expect("it is well formed");
        for (a, b) in [(&value, &other), (&other, &value)] {
            let _ = sql.evaluate(&|name: &str| match name {
                "a" => Some(a.as_str()),
                _ => Some(b.as_str()),
            });
        }
    }
}
