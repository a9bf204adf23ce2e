//! Typed headers: structs that are read from and written to ext fields.
//!
//! A header struct is written down once with `headers!`, each field with its name on the wire. A
//! field of type `Option` may be absent, one marked `[default]` then has its type's default, any
//! other is required. Values travel as text; a value that does not parse refuses the request, and
//! the error names field and value.

use thiserror::Error;

use crate::{
    ext::{ExtFields, ExtValue},
    header_json::excerpt,
};

/// A header of one request or response code.
pub trait Header: Sized {
    /// Reads the header; unknown fields are ignored.
    fn decode(ext: &ExtFields) -> Result<Self, HeaderError>;
    /// Adds the header's fields; absent ones are left out.
    fn encode(&self, ext: &mut ExtFields);
}

/// Why ext fields are not the header that they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// A required field is absent.
    #[error("the header field {field} is missing")]
    Missing {
        /// Its name on the wire.
        field: &'static str,
    },
    /// A field does not parse.
    #[error("the header field {field} has the value {value:?}, which cannot be read")]
    Invalid {
        /// Its name on the wire.
        field: &'static str,
        /// Its value, cut off if long.
        value: Box<str>,
    },
}

/// A type that a header's field can have.
pub trait HeaderField: Sized {
    /// Reads the field `name`.
    fn read(name: &'static str, ext: &ExtFields) -> Result<Self, HeaderError> {
        match ext.get(name) {
            Some(text) => Self::parse(name, text),
            None => Self::absent(name),
        }
    }

    /// Reads the field from its text.
    fn parse(name: &'static str, text: &str) -> Result<Self, HeaderError>;

    /// What it means that the field is absent.
    fn absent(name: &'static str) -> Result<Self, HeaderError> {
        Err(HeaderError::Missing { field: name })
    }

    /// Adds the field.
    fn write(&self, name: &'static str, ext: &mut ExtFields);
}

impl<T: HeaderField> HeaderField for Option<T> {
    fn parse(name: &'static str, text: &str) -> Result<Self, HeaderError> {
        T::parse(name, text).map(Some)
    }

    fn absent(_: &'static str) -> Result<Self, HeaderError> {
        Ok(None)
    }

    fn write(&self, name: &'static str, ext: &mut ExtFields) {
        if let Some(value) = self {
            value.write(name, ext);
        }
    }
}

impl HeaderField for String {
    fn parse(_: &'static str, text: &str) -> Result<Self, HeaderError> {
        Ok(text.to_owned())
    }

    fn write(&self, name: &'static str, ext: &mut ExtFields) {
        ext.push(name, self);
    }
}

/// As Java's `parseBoolean`: everything but `true` is false.
impl HeaderField for bool {
    fn parse(_: &'static str, text: &str) -> Result<Self, HeaderError> {
        Ok(text.eq_ignore_ascii_case("true"))
    }

    fn write(&self, name: &'static str, ext: &mut ExtFields) {
        self.push_to(name, ext);
    }
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl HeaderField for $ty {
            fn parse(name: &'static str, text: &str) -> Result<Self, HeaderError> {
                text.parse().map_err(|_| invalid(name, text))
            }

            fn write(&self, name: &'static str, ext: &mut ExtFields) {
                self.push_to(name, ext);
            }
        }
    )*};
}

numbers!(i32 i64 f64);

fn invalid(field: &'static str, value: &str) -> HeaderError {
    HeaderError::Invalid { field, value: excerpt(value) }
}

/// Which required fields have been there, for headers that are read in one pass over the fields: a
/// bit for each, in the order of their names.
pub(crate) struct Required {
    names: &'static [&'static str],
    seen: u16,
}

impl Required {
    pub(crate) fn new(names: &'static [&'static str]) -> Self {
        Self { names, seen: 0 }
    }

    /// Notes the field of this number and passes its value on.
    pub(crate) fn seen<'a>(&mut self, number: u32, value: &'a str) -> &'a str {
        self.seen |= 1 << number;
        value
    }

    /// Whether all have been there.
    pub(crate) fn check(&self) -> Result<(), HeaderError> {
        match self.names.get(self.seen.trailing_ones() as usize) {
            Some(field) => Err(HeaderError::Missing { field }),
            None => Ok(()),
        }
    }
}

/// Declares header structs; see the module's text.
macro_rules! headers {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $ty:ty = $wire:literal $([$default:ident])?,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl $crate::header::Header for $name {
            fn decode(
                ext: &$crate::ext::ExtFields,
            ) -> Result<Self, $crate::header::HeaderError> {
                Ok(Self { $($field: headers!(@read ext, $ty, $wire $(, $default)?),)* })
            }

            fn encode(&self, ext: &mut $crate::ext::ExtFields) {
                $($crate::header::HeaderField::write(&self.$field, $wire, ext);)*
            }
        }
    )*};
    (@read $ext:ident, $ty:ty, $wire:literal) => {
        <$ty as $crate::header::HeaderField>::read($wire, $ext)?
    };
    (@read $ext:ident, $ty:ty, $wire:literal, default) => {
        <Option<$ty> as $crate::header::HeaderField>::read($wire, $ext)?.unwrap_or_default()
    };
}

pub(crate) use headers;
