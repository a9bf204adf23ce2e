//! Reading JSON text: strings, numbers, values to skip; what a header scanner is made of.
//!
//! As strict as the JSON grammar, with one exception: control characters may stand in a string
//! unescaped, because Java's reader allows it and the separators of property strings are such. A
//! nested value is skipped with a stack of bits, so depth costs no memory and is limited to
//! [`DEPTH_MAX`].
//!
//! The functions of plain values at the end take the common forms; whatever they do not take goes to
//! the methods, which know all forms and all errors.

use memchr::memchr2;
use thiserror::Error;

use crate::{
    ext::{ExtFields, Span},
    properties::{NAME_END, PAIR_END},
};

/// How deep the values of unknown members may be nested.
const DEPTH_MAX: u32 = 127;
/// Strings are searched in words of 8 bytes this far, then with SIMD.
const SHORT_STRING_BYTES: usize = 32;
/// Room made for a string with escapes; the property string of a message as a rule.
const SCRATCH_BYTES_USUAL: usize = 512;

/// Why a text is no JSON header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    /// A byte that cannot stand there.
    #[error("unexpected byte {byte:#04x} at {at}")]
    Unexpected {
        /// Its place in the header.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// The text ends too early.
    #[error("ends after {0} bytes")]
    Truncated(usize),
    /// `\` is followed by something that is not an escape.
    #[error("bad escape at {0}")]
    BadEscape(usize),
    /// The member has to be a 32-bit integer.
    #[error("{member} is no 32-bit integer: {value}")]
    NotAnInteger {
        /// The member's name.
        member: &'static str,
        /// What stands there.
        value: Box<str>,
    },
    /// The member has to be of another type.
    #[error("{member} is no {expected}")]
    WrongType {
        /// The member's name.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Nested deeper than 127.
    #[error("nested deeper than {DEPTH_MAX} at {0}")]
    TooDeep(usize),
    /// More fields than [`crate::ext::EXT_FIELDS_MAX`].
    #[error("more than {} ext fields", crate::ext::EXT_FIELDS_MAX)]
    TooManyFields,
}

/// A place in a JSON text. Every method leaves it behind what it has read.
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
    /// Why the scan has failed.
    pub(crate) error: Option<JsonError>,
}

/// The scan has failed; [`Scanner::error`] says why. A result that carried the reason itself would
/// not fit into registers, and every step of the scan would pay for it.
pub(crate) struct Failed;

pub(crate) type Scan<T> = Result<T, Failed>;

impl Scanner<'_> {
    /// Calls `each` with the scanner at each member's name; it has to read name, colon and value.
    #[inline]
    pub(crate) fn object(&mut self, mut each: impl FnMut(&mut Self) -> Scan<()>) -> Scan<()> {
        self.blanks();
        self.expect(b'{')?;
        self.blanks();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            each(self)?;
            self.blanks();
            if !self.eat(b',') {
                return self.expect(b'}');
            }
            self.blanks();
        }
    }

    /// A string: its place in the text, or in `ext`'s scratch text if it has escapes.
    #[inline]
    pub(crate) fn string(&mut self, ext: &mut ExtFields) -> Scan<Span> {
        match plain_string(self.text.as_bytes(), self.at) {
            Some(end) => {
                let start = self.at + 1;
                self.at = end + 1;
                Ok(Span::in_header(start, end))
            }
            None => self.escaped_string(ext),
        }
    }

    /// A string with escapes, or one that is none.
    #[inline(never)]
    fn escaped_string(&mut self, ext: &mut ExtFields) -> Scan<Span> {
        self.expect(b'"')?;
        let mut run = self.at;
        self.seek_quote_or_backslash()?;
        let text = self.text;
        let scratch = ext.scratch_mut();
        scratch.reserve(text.len().saturating_sub(run).min(SCRATCH_BYTES_USUAL));
        let kept = scratch.len();
        loop {
            scratch.push_str(text.get(run..self.at).unwrap_or_default());
            if self.eat(b'"') {
                return Ok(ext.kept_since(kept));
            }
            scratch.push(match self.separator() {
                Some(separator) => separator,
                None => self.escape()?,
            });
            run = self.at;
            self.seek_quote_or_backslash()?;
        }
    }

    /// The escapes of [`NAME_END`] and [`PAIR_END`], of which property strings are full.
    #[inline]
    fn separator(&mut self) -> Option<char> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let separator = match rest.first_chunk()? {
            b"\\u0001" => NAME_END,
            b"\\u0002" => PAIR_END,
            _ => return None,
        };
        self.at += 6;
        Some(separator)
    }

    /// Goes to the next quote or backslash and returns it.
    #[inline]
    fn seek_quote_or_backslash(&mut self) -> Scan<u8> {
        let bytes = self.text.as_bytes();
        match quote_or_backslash(bytes, self.at) {
            Some(at) => {
                self.at = at;
                self.peek().ok_or(Failed)
            }
            None => self.fail(JsonError::Truncated(bytes.len())),
        }
    }

    /// One escape, a surrogate pair included.
    fn escape(&mut self) -> Scan<char> {
        let start = self.at;
        self.expect(b'\\')?;
        Ok(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => return self.unicode_escape(start),
            _ => return self.fail(JsonError::BadEscape(start)),
        })
    }

    fn unicode_escape(&mut self, start: usize) -> Scan<char> {
        let unit = self.hex4(start)?;
        let mut scalar = unit;
        if let 0xD800..=0xDBFF = unit {
            if !(self.eat(b'\\') && self.eat(b'u')) {
                return self.fail(JsonError::BadEscape(start));
            }
            let low = self.hex4(start)?.wrapping_sub(0xDC00);
            if low > 0x3FF {
                return self.fail(JsonError::BadEscape(start));
            }
            scalar = 0x10000 + ((unit - 0xD800) << 10) + low;
        }
        match char::from_u32(scalar) {
            Some(char) => Ok(char),
            None => self.fail(JsonError::BadEscape(start)),
        }
    }

    /// Four digits of the escape that began at `start`.
    fn hex4(&mut self, start: usize) -> Scan<u32> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let Some(digits) = rest.first_chunk::<4>() else {
            return self.fail(JsonError::Truncated(self.text.len()));
        };
        let mut unit = 0;
        for digit in digits {
            match char::from(*digit).to_digit(16) {
                Some(digit) => unit = unit << 4 | digit,
                None => return self.fail(JsonError::BadEscape(start)),
            }
        }
        self.at += 4;
        Ok(unit)
    }

    /// Skips a value of any type, without recursion: one bit per open bracket, 1 for an object.
    pub(crate) fn skip_value(&mut self) -> Scan<()> {
        let mut open = 0_u128;
        let mut depth = 0;
        loop {
            self.blanks();
            match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return self.fail(JsonError::TooDeep(self.at));
                    }
                    self.at += 1;
                    depth += 1;
                    open = open << 1 | u128::from(byte == b'{');
                    self.blanks();
                    if !self.eat(if byte == b'{' { b'}' } else { b']' }) {
                        self.skip_name_if(byte == b'{')?;
                        continue;
                    }
                    depth -= 1;
                    open >>= 1;
                }
                byte => self.skip_scalar(byte)?,
            }
            // A value is complete: close what closes, or go to the next value.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let in_object = open & 1 == 1;
                self.blanks();
                if self.eat(b',') {
                    self.blanks();
                    self.skip_name_if(in_object)?;
                    break;
                }
                self.expect(if in_object { b'}' } else { b']' })?;
                depth -= 1;
                open >>= 1;
            }
        }
    }

    fn skip_name_if(&mut self, in_object: bool) -> Scan<()> {
        if in_object {
            self.skip_string()?;
            self.colon()?;
        }
        Ok(())
    }

    fn skip_scalar(&mut self, first: Option<u8>) -> Scan<()> {
        match first {
            Some(b'"') => self.skip_string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.number(),
        }
    }

    fn skip_string(&mut self) -> Scan<()> {
        self.expect(b'"')?;
        loop {
            let start = self.at;
            if self.seek_quote_or_backslash()? == b'"' {
                self.at += 1;
                return Ok(());
            }
            self.at += 1;
            match self.next()? {
                b'"' | b'\\' | b'/' | b'n' | b'r' | b't' | b'b' | b'f' => {}
                b'u' => drop(self.hex4(start)?),
                _ => return self.fail(JsonError::BadEscape(start)),
            }
        }
    }

    /// A number of the JSON grammar.
    pub(crate) fn number(&mut self) -> Scan<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Scan<()> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { self.unexpected() } else { Ok(()) }
    }

    pub(crate) fn literal(&mut self, literal: &'static str) -> Scan<()> {
        literal.bytes().try_for_each(|byte| self.expect(byte))
    }

    #[inline]
    pub(crate) fn colon(&mut self) -> Scan<()> {
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok(())
    }

    #[inline]
    pub(crate) fn blanks(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_blanks();
        }
    }

    /// Compact text, as every client writes it, never comes here.
    #[cold]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Scan<u8> {
        let Some(byte) = self.peek() else { return self.unexpected() };
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Scan<()> {
        if self.eat(byte) { Ok(()) } else { self.unexpected() }
    }

    #[cold]
    pub(crate) fn unexpected<T>(&mut self) -> Scan<T> {
        let at = self.at;
        self.fail(match self.peek() {
            Some(byte) => JsonError::Unexpected { at, byte },
            None => JsonError::Truncated(at),
        })
    }

    #[cold]
    pub(crate) fn wrong_type<T>(
        &mut self,
        member: &'static str,
        expected: &'static str,
    ) -> Scan<T> {
        self.fail(match self.peek() {
            Some(_) => JsonError::WrongType { member, expected },
            None => JsonError::Truncated(self.at),
        })
    }

    #[cold]
    pub(crate) fn fail<T>(&mut self, error: JsonError) -> Scan<T> {
        self.error = Some(error);
        Err(Failed)
    }
}

/// A field as clients write nearly all of them, `"name":"value"` without blanks and escapes: the
/// places of both texts, and where it ends. The hot loop of a header: a function of plain values, so
/// that the place in the text stays in a register.
#[inline]
pub(crate) fn plain_field(bytes: &[u8], at: usize) -> Option<(Span, Span, usize)> {
    let name_end = plain_string(bytes, at)?;
    let value = name_end + 2;
    if bytes.get(name_end + 1) != Some(&b':') {
        return None;
    }
    let value_end = plain_string(bytes, value)?;
    let (name, value) = (Span::in_header(at + 1, name_end), Span::in_header(value + 1, value_end));
    Some((name, value, value_end + 1))
}

/// The place of the closing quote of a string without escapes that begins at `at`.
#[inline]
fn plain_string(bytes: &[u8], at: usize) -> Option<usize> {
    // Most names and numbers of a send have one character.
    if let [b'"', byte, b'"', ..] = bytes.get(at..)?
        && !matches!(byte, b'"' | b'\\')
    {
        return Some(at + 2);
    }
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = quote_or_backslash(bytes, at + 1)?;
    (bytes.get(end) == Some(&b'"')).then_some(end)
}

/// A number of few digits and how many they are, if a member ends behind it.
#[inline]
pub(crate) fn plain_integer(bytes: &[u8]) -> Option<(i32, usize)> {
    const DIGITS_MAX: usize = 9;
    let mut number = 0;
    for (digits, byte) in bytes.iter().enumerate().take(DIGITS_MAX + 1) {
        match byte {
            b'0'..=b'9' if digits < DIGITS_MAX => number = number * 10 + i32::from(byte - b'0'),
            b',' | b'}' if digits == 1 || digits > 1 && bytes.first() != Some(&b'0') => {
                return Some((number, digits));
            }
            _ => return None,
        }
    }
    None
}

/// The place of the next quote or backslash.
#[inline]
fn quote_or_backslash(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = bytes.get(at..)?.first_chunk() {
        let found = first_end(u64::from_le_bytes(*word));
        at += found;
        if found < 8 {
            return Some(at);
        }
        if at >= from + SHORT_STRING_BYTES {
            break;
        }
    }
    memchr2(b'"', b'\\', bytes.get(at..)?).map(|found| at + found)
}

/// The first byte of eight, in the order of memory, that is a quote or a backslash; 8 if none is.
/// Borrows run upwards only, so the lowest mark is always a true one.
#[inline]
fn first_end(word: u64) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOPS: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let quotes = zeros(word ^ (ONES * b'"' as u64));
    let backslashes = zeros(word ^ (ONES * b'\\' as u64));
    (quotes | backslashes).trailing_zeros() as usize / 8
}
