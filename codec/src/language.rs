//! The language of a peer, as it names itself in each header.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! languages {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal,)*) => {
        /// See the module's text. Numbers are those of the binary header, names those of JSON.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Language {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Language {
            /// The language of a number; [`Language::Other`] for one that is not known.
            pub fn from_number(number: u8) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    _ => Self::Other,
                }
            }

            /// The language of a name; [`Language::Other`] for one that is not known.
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    _ => Self::Other,
                }
            }

            /// The name in a JSON header.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

languages! {
    /// Java; also what this broker calls itself, since old peers know no later number.
    #[default]
    Java = 0 "JAVA",
    /// C++.
    Cpp = 1 "CPP",
    /// .NET.
    Dotnet = 2 "DOTNET",
    /// Python.
    Python = 3 "PYTHON",
    /// Delphi.
    Delphi = 4 "DELPHI",
    /// Erlang.
    Erlang = 5 "ERLANG",
    /// Ruby.
    Ruby = 6 "RUBY",
    /// None of the others.
    Other = 7 "OTHER",
    /// An HTTP gateway.
    Http = 8 "HTTP",
    /// Go.
    Go = 9 "GO",
    /// PHP.
    Php = 10 "PHP",
    /// OpenMessaging.
    Oms = 11 "OMS",
    /// Rust.
    Rust = 12 "RUST",
    /// Node.js.
    NodeJs = 13 "NODE_JS",
}

impl Language {
    /// The number in a binary header.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// By name, as in the bodies that list clients.
impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = Option::<String>::deserialize(input)?;
        Ok(name.map_or(Self::Other, |name| Self::from_name(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for number in 0..=13 {
            let language = Language::from_number(number);
            assert_eq!(language.number(), number);
            assert_eq!(Language::from_name(language.name()), language);
        }
        assert_eq!(Language::from_number(200), Language::Other);
        assert_eq!(Language::from_name("COBOL"), Language::Other);
    }
}
