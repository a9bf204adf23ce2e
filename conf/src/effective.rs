//! The configuration in effect, as `-p` prints it: TOML, each line with where its value came from.

use std::fmt;

use config::ValueKind;

/// A key with its value in effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The key, as the Java broker names it.
    pub key: String,
    /// The value: a number, a flag or text.
    pub(crate) value: ValueKind,
    /// File and line, or what else the value came from.
    pub origin: String,
}

impl Setting {
    /// The value as text, as a properties file has it.
    pub fn value(&self) -> String {
        self.value.to_string()
    }
}

/// Every key with an effect, in the order of the shipped file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective(pub Vec<Setting>);

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Setting { key, value, origin } in &self.0 {
            // A control character in a file's name must not end the comment.
            let origin = origin.replace(char::is_control, "?");
            match value {
                ValueKind::String(text) => {
                    let quoted = toml::Value::String(text.clone());
                    writeln!(f, "{key} = {quoted} # {origin}")?;
                }
                plain => writeln!(f, "{key} = {plain} # {origin}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_again() {
        let setting =
            |key: &str, value: ValueKind| Setting { key: key.into(), value, origin: "a\nb".into() };
        let effective = Effective(vec![
            setting("brokerName", ValueKind::from("a \"b\"\n\\ # é")),
            setting("listenPort", ValueKind::I64(1)),
            setting("traceOn", ValueKind::Boolean(true)),
        ]);
        let text = effective.to_string();
        assert_eq!(text.lines().last(), Some("traceOn = true # a?b"));
        let read: toml::Table = text.parse().unwrap();
        assert_eq!(read["brokerName"].as_str(), Some("a \"b\"\n\\ # é"));
        assert_eq!(read["listenPort"].as_integer(), Some(1));
    }
}
