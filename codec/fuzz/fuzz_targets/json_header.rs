//! A JSON header: what serde_json takes is taken with the same fields, unless a member has a type
//! that it must not have; what is taken is JSON but for control characters in strings.

#![no_main]

use bytes::Bytes;
use gantry_codec::{Command, DecodeError, command::JsonError};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|header: &[u8]| {
    let mut frame = Vec::with_capacity(8 + header.len());
    frame.extend((4 + header.len() as u32).to_be_bytes());
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header);
    match (Command::decode(Bytes::from(frame)), serde_json::from_slice::<Map<String, Value>>(header)) {
        (Ok(command), Ok(header)) => compare(&command, &header),
        (Err(error), Ok(_)) => {
            use JsonError::*;
            assert!(
                matches!(
                    error,
                    DecodeError::Json(NotAnInteger { .. } | WrongType { .. } | TooManyFields | TooDeep(_))
                ),
                "{error}"
            );
        }
        (Ok(_), Err(_)) => {
            let plain: Vec<u8> = header.iter().map(|byte| (*byte).max(b' ')).collect();
            if let Err(error) = serde_json::from_slice::<Value>(&plain) {
                // Lone surrogates in skipped values, and numbers that no float can hold, are let pass.
                let error = error.to_string();
                assert!(
                    ["out of range", "surrogate", "hex escape", "recursion limit"]
                        .iter()
                        .any(|known| error.contains(known)),
                    "{error}"
                );
            }
        }
        (Err(_), Err(_)) => {}
    }
});

fn compare(command: &Command, header: &Map<String, Value>) {
    assert_eq!(command.remark.as_deref(), header.get("remark").and_then(Value::as_str));
    let fields = header.get("extFields").and_then(Value::as_object);
    assert_eq!(command.ext.is_present(), fields.is_some());
    for (name, value) in fields.into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => assert_eq!(command.ext.get(name), Some(text.as_str())),
            value => {
                let text = command.ext.get(name).expect("the field is there");
                assert_eq!(&serde_json::from_str::<Value>(text).expect("its text is JSON"), value);
            }
        }
    }
}
