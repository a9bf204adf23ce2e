//! The string fields of a header (`extFields`), kept as places in text instead of as a map.
//!
//! A send carries some fifteen fields and each is read once, so a map of owned strings would be
//! most of the cost of decoding. Here a field is two spans: into the header as received, or into a
//! scratch text that holds what had to be unescaped or was pushed. Looking up is a walk over the
//! spans, from the last to the first, since a name that comes twice means its last value (as in the
//! map of a Java peer).
//!
//! The number of fields is limited by [`EXT_FIELDS_MAX`], because the spans of very many empty
//! fields would be larger than the header that brought them.

use std::{fmt, ops::Range};

use bytestring::ByteString;

/// The most fields that a received header may have.
pub const EXT_FIELDS_MAX: usize = 1024;
/// Room made with the first field: enough for any header of the data path.
const FIELDS_USUAL: usize = 16;
/// Set in the start of a [`Span`] that lies in the scratch text.
const IN_SCRATCH: u64 = 1 << 31;

/// See the module's text.
#[derive(Clone, Default)]
pub struct ExtFields {
    header: ByteString,
    scratch: String,
    fields: Vec<Field>,
    present: bool,
}

#[derive(Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
}

/// Where a text lies: its start in the upper half, its length in the lower. One number, so that a
/// scanner's result stays in registers. Both texts are shorter than 2 GiB: a frame has 16 MiB at most.
#[derive(Clone, Copy)]
pub(crate) struct Span(u64);

impl Span {
    /// A place in the received header.
    pub(crate) fn in_header(start: usize, end: usize) -> Self {
        Self((start as u64) << 32 | (end - start) as u64)
    }

    fn in_scratch(start: usize, end: usize) -> Self {
        Self((start as u64 | IN_SCRATCH) << 32 | (end - start) as u64)
    }

    fn is_in_scratch(self) -> bool {
        self.0 >> 32 & IN_SCRATCH != 0
    }

    fn range(self) -> Range<usize> {
        let start = (self.0 >> 32 & !IN_SCRATCH) as usize;
        start..start + self.0 as u32 as usize
    }
}

/// The header has more than [`EXT_FIELDS_MAX`] fields.
pub(crate) struct TooManyFields;

impl ExtFields {
    /// No fields yet, over a header in which they will be found.
    pub(crate) fn over(header: ByteString) -> Self {
        Self { header, ..Self::default() }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().rev().find(|field| self.text(field.name) == name)?;
        Some(self.text(field.value))
    }

    /// All fields in the order in which they came; a name may come twice, then the last counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|field| (self.text(field.name), self.text(field.value)))
    }

    /// Adds a field.
    pub fn push(&mut self, name: &str, value: &str) {
        let name = self.keep(name);
        let value = self.keep(value);
        self.add(name, value);
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether the header has fields at all: false for JSON null or a missing member, true for `{}`.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Forgets what was found so far; an object of fields (or null) begins.
    pub(crate) fn restart(&mut self, present: bool) {
        self.fields.clear();
        self.present = present;
    }

    /// Adds a received field.
    pub(crate) fn add_received(&mut self, name: Span, value: Span) -> Result<(), TooManyFields> {
        if self.fields.len() == EXT_FIELDS_MAX {
            return Err(TooManyFields);
        }
        self.add(name, value);
        Ok(())
    }

    /// Copies `text` into the scratch text.
    pub(crate) fn keep(&mut self, text: &str) -> Span {
        let start = self.scratch.len();
        self.scratch.push_str(text);
        self.kept_since(start)
    }

    /// The scratch text, for a reader that unescapes piece by piece.
    pub(crate) fn scratch_mut(&mut self) -> &mut String {
        &mut self.scratch
    }

    /// The span of everything in the scratch text from `start` on.
    pub(crate) fn kept_since(&self, start: usize) -> Span {
        Span::in_scratch(start, self.scratch.len())
    }

    /// The text of a span.
    pub(crate) fn text(&self, span: Span) -> &str {
        let text: &str = if span.is_in_scratch() { &self.scratch } else { &self.header };
        text.get(span.range()).unwrap_or_default()
    }

    fn add(&mut self, name: Span, value: Span) {
        if self.fields.capacity() == 0 {
            self.fields.reserve_exact(FIELDS_USUAL);
        }
        self.fields.push(Field { name, value });
        self.present = true;
    }
}

impl fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.present {
            return f.write_str("null");
        }
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The same fields in the same order, wherever their text lies.
impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.present == other.present && self.iter().eq(other.iter())
    }
}

impl Eq for ExtFields {}

/// A value that can be written as the text of a field.
pub trait ExtValue {
    /// Adds the field `name` with this value.
    fn push_to(&self, name: &str, ext: &mut ExtFields);
}

impl<T: ExtValue + ?Sized> ExtValue for &T {
    fn push_to(&self, name: &str, ext: &mut ExtFields) {
        (**self).push_to(name, ext);
    }
}

impl ExtValue for str {
    fn push_to(&self, name: &str, ext: &mut ExtFields) {
        ext.push(name, self);
    }
}

impl ExtValue for String {
    fn push_to(&self, name: &str, ext: &mut ExtFields) {
        ext.push(name, self);
    }
}

impl ExtValue for Box<str> {
    fn push_to(&self, name: &str, ext: &mut ExtFields) {
        ext.push(name, self);
    }
}

impl ExtValue for std::sync::Arc<str> {
    fn push_to(&self, name: &str, ext: &mut ExtFields) {
        ext.push(name, self);
    }
}

impl ExtValue for bool {
    fn push_to(&self, name: &str, ext: &mut ExtFields) {
        ext.push(name, if *self { "true" } else { "false" });
    }
}

impl ExtValue for f64 {
    fn push_to(&self, name: &str, ext: &mut ExtFields) {
        ext.push(name, &self.to_string());
    }
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl ExtValue for $ty {
            fn push_to(&self, name: &str, ext: &mut ExtFields) {
                ext.push(name, itoa::Buffer::new().format(*self));
            }
        }
    )*};
}

integers!(i32 i64 u32 u64 usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushed_fields_are_found_and_the_last_of_a_name_counts() {
        let mut ext = ExtFields::default();
        assert!(!ext.is_present());
        ext.push("a", "1");
        ext.push("b", "");
        42_i64.push_to("a", &mut ext);
        assert!(ext.is_present());
        assert_eq!(ext.get("a"), Some("42"));
        assert_eq!(ext.get("b"), Some(""));
        assert_eq!(ext.get("c"), None);
        assert_eq!(ext.iter().collect::<Vec<_>>(), [("a", "1"), ("b", ""), ("a", "42")]);
        assert_eq!(format!("{ext:?}"), r#"{"a": "1", "b": "", "a": "42"}"#);
    }

    #[test]
    fn null_differs_from_no_fields() {
        let mut empty = ExtFields::default();
        empty.restart(true);
        assert_ne!(empty, ExtFields::default());
        assert_eq!(format!("{empty:?} {:?}", ExtFields::default()), "{} null");
    }
}
