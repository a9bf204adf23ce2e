//! What becomes of the keys of one layer: taken, taken differently, passed over or refused.
//!
//! | place | unknown key | value of another kind |
//! |---|---|---|
//! | TOML | stops the start | stops the start |
//! | `--set` | stops the start | read from text, or stops the start |
//! | environment | warning (others may own the name) | read from text, or stops the start |
//! | Java properties | warning | read as the Java broker reads it ([`java_value`]) |
//!
//! A key of the Java broker without an effect here is a warning everywhere.

use config::ValueKind;

use crate::{
    error::{LoadError, Warning},
    java_keys,
    layer::{Entry, Layer},
    schema::{Known, Schema},
};

/// What kind of place a layer was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Toml,
    Properties,
    /// The command line or the environment, where every value is text.
    Text,
}

/// What becomes of a value.
#[derive(Debug, PartialEq)]
enum Fit {
    Taken(ValueKind),
    Instead(ValueKind, &'static str),
    PassedOver(&'static str),
    Refused(&'static str),
}

const AN_INTEGER: &str = "must be a whole number";
const A_FLAG: &str = "must be true or false";
const A_TEXT: &str = "must be text in quotes";

/// The keys of `layer` that have an effect, with the names and kinds that the schema gives them. Of
/// several values of one key the last holds.
pub(crate) fn admit(
    schema: &Schema,
    layer: Layer,
    place: Place,
    warnings: &mut Vec<Warning>,
) -> Result<Layer, LoadError> {
    let mut admitted = Vec::new();
    for entry in layer.0 {
        match schema.look_up(&entry.key) {
            Known::Key(name, kind) => {
                let value = fit(name, kind, &entry.value, place);
                if let Some(value) = settle(value, &entry, warnings)? {
                    let spelling = entry.key;
                    let entry = Entry { key: name.to_owned(), value, at: entry.at };
                    put(&mut admitted, Spelt { spelling, entry })?;
                }
            }
            Known::WithoutEffect => warnings.push(without_effect(entry)?),
            Known::Unknown { nearest } => {
                let Entry { key, at, .. } = entry;
                if place != Place::Properties {
                    return Err(LoadError::UnknownKey { at, key, nearest });
                }
                warnings.push(Warning::UnknownKey { at, key, nearest });
            }
        }
    }
    Ok(Layer(admitted.into_iter().map(|spelt| spelt.entry).collect()))
}

/// An entry under the name that its key has now, and the name that it was written with.
struct Spelt {
    spelling: String,
    entry: Entry,
}

/// Each Java version reads one spelling of a key and ignores the other, so two spellings with two
/// values say nothing.
fn put(admitted: &mut Vec<Spelt>, new: Spelt) -> Result<(), LoadError> {
    let Some(old) = admitted.iter_mut().find(|old| old.entry.key == new.entry.key) else {
        admitted.push(new);
        return Ok(());
    };
    if old.spelling != new.spelling && old.entry.value != new.entry.value {
        let Spelt { spelling, entry: Entry { value, at, .. } } = old;
        return Err(LoadError::Value {
            at: new.entry.at,
            key: new.spelling,
            value: new.entry.value.to_string(),
            reason: format!("contradicts {spelling} = {value} ({at})"),
        });
    }
    *old = new;
    Ok(())
}

fn without_effect(entry: Entry) -> Result<Warning, LoadError> {
    let Entry { key, value, at } = entry;
    let value = value.to_string();
    match java_keys::refusal(&key, &value) {
        Some(reason) => Err(LoadError::Value { at, key, value, reason: reason.into() }),
        None => Ok(Warning::NoEffect { at, key }),
    }
}

fn settle(
    fit: Fit,
    entry: &Entry,
    warnings: &mut Vec<Warning>,
) -> Result<Option<ValueKind>, LoadError> {
    let (at, key, value) = (entry.at.clone(), entry.key.clone(), entry.value.to_string());
    let (taken, reason) = match fit {
        Fit::Taken(value) => return Ok(Some(value)),
        Fit::Refused(reason) => {
            return Err(LoadError::Value { at, key, value, reason: reason.into() });
        }
        Fit::Instead(value, reason) => (Some(value), reason),
        Fit::PassedOver(reason) => (None, reason),
    };
    warnings.push(Warning::Value { at, key, value, reason: reason.into() });
    Ok(taken)
}

fn fit(key: &str, kind: &ValueKind, value: &ValueKind, place: Place) -> Fit {
    match (place, value) {
        (Place::Text, ValueKind::String(text)) => text_value(kind, text.trim()),
        (Place::Properties, ValueKind::String(text)) => java_value(key, kind, text),
        (_, value) => typed_value(kind, value),
    }
}

fn typed_value(kind: &ValueKind, value: &ValueKind) -> Fit {
    match (kind, value) {
        (ValueKind::I64(_), ValueKind::I64(_))
        | (ValueKind::Boolean(_), ValueKind::Boolean(_))
        | (ValueKind::String(_), ValueKind::String(_)) => Fit::Taken(value.clone()),
        (ValueKind::I64(_), _) => Fit::Refused(AN_INTEGER),
        (ValueKind::Boolean(_), _) => Fit::Refused(A_FLAG),
        _ => Fit::Refused(A_TEXT),
    }
}

fn text_value(kind: &ValueKind, text: &str) -> Fit {
    match kind {
        ValueKind::I64(_) => match text.parse() {
            Ok(number) => Fit::Taken(ValueKind::I64(number)),
            Err(_) => Fit::Refused(AN_INTEGER),
        },
        ValueKind::Boolean(_) => match text.to_ascii_lowercase().parse() {
            Ok(flag) => Fit::Taken(ValueKind::Boolean(flag)),
            Err(_) => Fit::Refused(A_FLAG),
        },
        _ => Fit::Taken(ValueKind::from(text)),
    }
}

/// A value of a properties file as the Java broker takes it (store.md 6.1, gotcha 44), except that
/// what it ignores in silence is told, and what is no number at all is refused.
fn java_value(key: &str, kind: &ValueKind, text: &str) -> Fit {
    match text_value(kind, text.trim()) {
        Fit::Taken(ValueKind::I64(number)) if key == "brokerId" && number > 0 => {
            Fit::Instead(ValueKind::I64(0), "a master has the id 0, as in the Java broker")
        }
        Fit::Taken(ValueKind::I64(_)) if text != text.trim() => {
            Fit::PassedOver("passed over for the blanks behind it, as by the Java broker")
        }
        Fit::Refused(AN_INTEGER) if text.trim().is_empty() => {
            Fit::PassedOver("passed over because it is empty, as by the Java broker")
        }
        Fit::Taken(ValueKind::Boolean(true)) if text != text.trim() => Fit::Instead(
            ValueKind::Boolean(false),
            "false for the blanks behind it, as for the Java broker",
        ),
        Fit::Refused(A_FLAG) => {
            Fit::Instead(ValueKind::Boolean(false), "false, as for the Java broker")
        }
        fit => fit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn java(kind: ValueKind, text: &str) -> Fit {
        java_value("key", &kind, text)
    }

    #[test]
    fn java_numbers() {
        let number = ValueKind::I64(0);
        assert_eq!(java(number.clone(), "500"), Fit::Taken(ValueKind::I64(500)));
        assert_eq!(java(number.clone(), "-5"), Fit::Taken(ValueKind::I64(-5)));
        assert!(matches!(java(number.clone(), "500 "), Fit::PassedOver(_)));
        assert!(matches!(java(number.clone(), ""), Fit::PassedOver(_)));
        assert_eq!(java(number.clone(), "5k"), Fit::Refused(AN_INTEGER));
        assert_eq!(java(number, "1 000"), Fit::Refused(AN_INTEGER));
    }

    #[test]
    fn java_flags() {
        let flag = ValueKind::Boolean(true);
        assert_eq!(java(flag.clone(), "TRUE"), Fit::Taken(ValueKind::Boolean(true)));
        assert_eq!(java(flag.clone(), "false "), Fit::Taken(ValueKind::Boolean(false)));
        for no in ["true ", "yes", "1", ""] {
            let fit = java(flag.clone(), no);
            assert!(matches!(fit, Fit::Instead(ValueKind::Boolean(false), _)), "{no:?}: {fit:?}");
        }
    }

    #[test]
    fn java_text_is_trimmed() {
        let text = ValueKind::from("");
        assert_eq!(java(text, "broker-a "), Fit::Taken(ValueKind::from("broker-a")));
    }

    #[test]
    fn a_java_master_has_the_id_0() {
        let id = |text| java_value("brokerId", &ValueKind::I64(0), text);
        assert!(matches!(id("3"), Fit::Instead(ValueKind::I64(0), _)));
        assert_eq!(id("0"), Fit::Taken(ValueKind::I64(0)));
        assert_eq!(id("-1"), Fit::Taken(ValueKind::I64(-1)));
    }

    #[test]
    fn text_of_command_line_and_environment() {
        let number = ValueKind::I64(0);
        assert_eq!(text_value(&number, "7"), Fit::Taken(ValueKind::I64(7)));
        assert_eq!(text_value(&number, "7.0"), Fit::Refused(AN_INTEGER));
        let flag = ValueKind::Boolean(true);
        assert_eq!(text_value(&flag, "False"), Fit::Taken(ValueKind::Boolean(false)));
        assert_eq!(text_value(&flag, "off"), Fit::Refused(A_FLAG));
    }

    #[test]
    fn toml_values_keep_their_kind() {
        let (number, flag, text) =
            (ValueKind::I64(0), ValueKind::Boolean(true), ValueKind::from(""));
        assert_eq!(typed_value(&number, &text), Fit::Refused(AN_INTEGER));
        assert_eq!(typed_value(&number, &ValueKind::Float(1.0)), Fit::Refused(AN_INTEGER));
        assert_eq!(typed_value(&flag, &number), Fit::Refused(A_FLAG));
        assert_eq!(typed_value(&text, &flag), Fit::Refused(A_TEXT));
        assert_eq!(typed_value(&flag, &flag), Fit::Taken(flag.clone()));
    }
}
