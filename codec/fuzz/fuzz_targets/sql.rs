//! An expression and a property string: refused with a reason, or evaluated.

#![no_main]

use gantry_codec::sql::Sql;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (expression, properties) = input;
    match Sql::compile(expression) {
        Ok(sql) => {
            sql.matches(properties);
            // Every name is a text that the fuzzer has chosen.
            let _ = sql.evaluate(&|_: &str| Some(properties));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
