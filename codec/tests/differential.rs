//! The header scanner against serde_json, on headers, near-headers and noise.
//!
//! What serde_json takes the scanner takes too, with the same values. What the scanner takes and
//! serde_json does not is JSON but for control characters in strings.

use bytes::Bytes;
use gantry_codec::{Command, DecodeError, Language, command::JsonError};
use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value};

fn decode(header: &[u8]) -> Result<Command, DecodeError> {
    let mut frame = Vec::new();
    frame.extend((4 + header.len() as u32).to_be_bytes());
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header);
    Command::decode(frame.into())
}

/// Whether the value is what a member with a fixed type may be, by the rules of the scanner.
fn refused(error: &DecodeError) -> bool {
    use JsonError::*;
    matches!(
        error,
        DecodeError::Json(NotAnInteger { .. } | WrongType { .. } | TooManyFields | TooDeep(_))
    )
}

fn text_of(value: &Value, raw: &str) -> String {
    match value {
        Value::String(text) => text.clone(),
        _ => raw.to_owned(),
    }
}

fn integer(header: &Map<String, Value>, member: &str) -> i64 {
    match header.get(member) {
        Some(Value::Number(number)) => number.as_i64().unwrap(),
        Some(Value::String(text)) => text.parse().unwrap(),
        _ => 0,
    }
}

fn compare(command: &Command, header: &Map<String, Value>) {
    for (member, value) in [
        ("code", command.code),
        ("flag", command.flag),
        ("opaque", command.opaque),
        ("version", command.version),
    ] {
        assert_eq!(integer(header, member), i64::from(value), "{member}");
    }
    let language = match header.get("language") {
        None => Language::Java,
        Some(Value::String(name)) => Language::from_name(name),
        Some(_) => command.language,
    };
    assert_eq!(command.language, language);
    assert_eq!(command.remark.as_deref(), header.get("remark").and_then(Value::as_str));
    let fields = header.get("extFields").and_then(Value::as_object);
    assert_eq!(command.ext.is_present(), fields.is_some());
    for (name, value) in fields.into_iter().flatten() {
        // A later null does not take an earlier value of the same name away.
        if !value.is_null() {
            let found = command.ext.get(name).unwrap();
            assert_eq!(found, text_of(value, found), "{name}");
            if !value.is_string() {
                assert_eq!(&serde_json::from_str::<Value>(found).unwrap(), value);
            }
        }
    }
    for (name, _) in command.ext.iter() {
        assert!(fields.unwrap().contains_key(name), "{name}");
    }
}

fn check(text: &[u8]) {
    let ours = decode(text);
    match (serde_json::from_slice::<Map<String, Value>>(text), ours) {
        (Ok(header), Ok(command)) => compare(&command, &header),
        (Ok(_), Err(error)) => {
            assert!(refused(&error), "{error} in {:?}", String::from_utf8_lossy(text));
        }
        (Err(_), Ok(_)) => {
            let plain: Vec<u8> = text.iter().map(|byte| (*byte).max(b' ')).collect();
            let value = serde_json::from_slice::<Value>(&plain);
            let out_of_range = |e: &serde_json::Error| e.to_string().contains("out of range");
            assert!(
                value.as_ref().is_ok_and(Value::is_object)
                    || value.as_ref().is_err_and(out_of_range),
                "{:?}: {value:?}",
                String::from_utf8_lossy(text)
            );
        }
        (Err(_), Err(_)) => {}
    }
}

#[test]
fn odd_headers() {
    let nested = format!("{{\"x\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    for text in [
        "{}",
        " { } ",
        "",
        "[]",
        "null",
        "{\"code\":1}x",
        "{\"code\":01}",
        "{\"code\":0,\"flag\":00}",
        "{\"code\":123456789,\"opaque\":1234567890,\"flag\":12345678901}",
        "{\"code\":,\"flag\":1}",
        "{\"code\":-0,\"flag\":1e0}",
        "{\"code\":1.0}",
        "{\"code\":\"12\"}",
        "{\"code\":null,\"opaque\":-2147483648,\"version\":2147483648}",
        "{\"code\":1,}",
        "{,}",
        "{\"extFields\":{,}}",
        "{\"extFields\":null}",
        "{\"extFields\":[]}",
        "{\"extFields\":{\"a\":null,\"b\":1.50e+3,\"c\":true,\"d\":{\"x\":[1,\"]\"]},\"e\":[]}}",
        "{\"extFields\":{\"a\":\"1\",\"a\":\"2\"},\"opaque\":1,\"opaque\":2}",
        "{\"extFields\":{\"a\":\"1\"},\"extFields\":{\"b\":\"2\"}}",
        "{\"remark\":\"\\ud83d\\ude00 \\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u0000\"}",
        "{\"remark\":\"\\ud83d\"}",
        "{\"remark\":\"\\ude00\"}",
        "{\"remark\":\"\\ud83d\\u0041\"}",
        "{\"remark\":\"\\x\"}",
        "{\"remark\":\"\\u12\"}",
        "{\"remark\":\"raw \u{1} and \u{2}\"}",
        "{\"remark\":null,\"language\":null}",
        "{\"language\":\"GO\",\"language2\":[{\"a\":{}},[],[[]],\"\",-0.0,1e5,false]}",
        "{\"\\u0063ode\":7,\"extFields\":{\"\\u0061\":\"x\"}}",
        "{\"x\":-}",
        "{\"x\":1.}",
        "{\"x\":1e}",
        "{\"x\":tru}",
        "{\"x\" 1}",
        "{\"x\":[1 2]}",
        "{\"x\":[1}}",
        "{\"x\":{\"a\":1]}",
        "{\"x\":\"",
        "{\"x\":1\u{1}}",
        "\u{feff}{}",
        &nested,
    ] {
        check(text.as_bytes());
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            check(&text.as_bytes()[..cut]);
        }
    }
    check(b"{\"remark\":\"\xFF\"}");
}

#[test]
fn depth_costs_nothing_and_is_limited() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode(nested(127).as_bytes()).is_ok());
    let too_deep = decode(nested(128).as_bytes());
    assert!(matches!(too_deep, Err(DecodeError::Json(JsonError::TooDeep(_)))));
    assert!(decode(nested(1_000_000).as_bytes()).is_err());
}

/// Parts of headers, in a random order: mostly JSON, seldom a header.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let part = select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u0001",
        "\\ud83d",
        "\\ude00",
        " ",
        "\n",
        "\u{1}",
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "1e9",
        "\"code\"",
        "\"opaque\"",
        "\"remark\"",
        "\"extFields\"",
        "\"a\"",
        "\"\"",
        "é",
        "😀",
    ]);
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat().into_bytes())
}

/// A JSON value.
fn json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A header with members of any kind in any order.
fn header() -> impl Strategy<Value = Value> {
    let number = any::<i32>().prop_map(Value::from);
    let text = any::<String>().prop_map(Value::from);
    let fields = proptest::collection::btree_map("[a-z]{0,3}|\\PC{1,4}", json(), 0..8)
        .prop_map(|map| Value::Object(map.into_iter().collect()));
    let member = prop_oneof![
        (select(vec!["code", "opaque", "flag", "version"]), number).boxed(),
        (select(vec!["remark", "language", "serializeTypeCurrentRPC"]), text).boxed(),
        (Just("extFields"), fields).boxed(),
        (select(vec!["unknown", "code", "extFields", "remark"]), json()).boxed(),
    ];
    proptest::collection::vec(member, 0..10).prop_map(|members| {
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn headers_agree(header in header(), pretty: bool) {
        let text = if pretty {
            serde_json::to_vec_pretty(&header)
        } else {
            serde_json::to_vec(&header)
        };
        check(&text.unwrap());
    }

    #[test]
    fn damaged_headers_agree(header in header(), at: prop::sample::Index, byte: u8, cut: bool) {
        let mut text = serde_json::to_vec(&header).unwrap();
        let at = at.index(text.len());
        if cut {
            text.truncate(at);
        } else {
            text[at] = byte;
        }
        check(&text);
    }

    #[test]
    fn noise_agrees(text in noise()) {
        check(&text);
    }

    #[test]
    fn any_bytes_agree(text in proptest::collection::vec(any::<u8>(), 0..64)) {
        check(&text);
    }
}

#[test]
fn bodies_are_not_looked_at() {
    let header = b"{\"code\":0}";
    let mut frame = Vec::new();
    frame.extend((4 + header.len() as u32 + 3).to_be_bytes());
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header);
    frame.extend([0xFF, 0, 0xFE]);
    let command = Command::decode(frame.into()).unwrap();
    assert_eq!(command.body, Bytes::from_static(&[0xFF, 0, 0xFE]));
}
