//! The JSON header: one pass over the text, no tree, no map.
//!
//! The scanner knows the members of a header and skips all others, whatever their type. It takes the
//! members in any order, the last of equal ones counts. Fields keep their place in the text; only a
//! string with escapes is written anew, into the scratch text of [`ExtFields`].
//!
//! It is as strict as the JSON grammar, with one exception: control characters may stand in a string
//! unescaped, because Java's reader allows it and the separators of property strings are such. A
//! nested value is skipped with a stack of bits, so depth costs no memory and is limited to
//! [`DEPTH_MAX`].

use bytes::BytesMut;
use bytestring::ByteString;
use memchr::memchr2;
use thiserror::Error;

use crate::{
    command::{Command, Head},
    ext::{ExtFields, Span, TooManyFields},
    json_text::{write_integer, write_string},
    language::Language,
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

/// Reads a whole header.
pub(crate) fn decode(text: ByteString) -> Result<Head, JsonError> {
    let mut head = Head { ext: ExtFields::over(text.clone()), ..Head::default() };
    let mut scanner = Scanner { text: &text, at: 0, error: None };
    match scanner.header(&mut head) {
        Ok(()) => Ok(head),
        Err(Failed) => Err(scanner.error.unwrap_or(JsonError::Truncated(text.len()))),
    }
}

#[derive(Clone, Copy)]
enum Member {
    Code,
    Language,
    Version,
    Opaque,
    Flag,
    Remark,
    ExtFields,
    Unknown,
}

impl Member {
    fn named(name: &str) -> Self {
        match name {
            "code" => Self::Code,
            "language" => Self::Language,
            "version" => Self::Version,
            "opaque" => Self::Opaque,
            "flag" => Self::Flag,
            "remark" => Self::Remark,
            "extFields" => Self::ExtFields,
            _ => Self::Unknown,
        }
    }
}

/// A place in a JSON text. Every method leaves it behind what it has read.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Why the scan has failed.
    error: Option<JsonError>,
}

/// The scan has failed; [`Scanner::error`] says why. A result that carried the reason itself would
/// not fit into registers, and every step of the scan would pay for it.
struct Failed;

type Scan<T> = Result<T, Failed>;

impl Scanner<'_> {
    fn header(&mut self, head: &mut Head) -> Scan<()> {
        self.object(|scanner| {
            // Names of members need no escapes; whoever writes one anyway is understood too.
            let name = scanner.string(&mut head.ext)?;
            let member = Member::named(head.ext.text(name));
            scanner.colon()?;
            scanner.member(member, head)
        })?;
        self.blanks();
        if self.peek().is_some() { self.unexpected() } else { Ok(()) }
    }

    /// Calls `each` with the scanner at each member's name; it has to read name, colon and value.
    #[inline]
    fn object(&mut self, mut each: impl FnMut(&mut Self) -> Scan<()>) -> Scan<()> {
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

    fn member(&mut self, member: Member, head: &mut Head) -> Scan<()> {
        match member {
            Member::Code => head.code = self.integer("code", &mut head.ext)?,
            Member::Version => head.version = self.integer("version", &mut head.ext)?,
            Member::Opaque => head.opaque = self.integer("opaque", &mut head.ext)?,
            Member::Flag => head.flag = self.integer("flag", &mut head.ext)?,
            Member::Language => head.language = self.language(&mut head.ext)?,
            Member::Remark => head.remark = self.remark(&mut head.ext)?,
            Member::ExtFields => self.ext_fields(&mut head.ext)?,
            Member::Unknown => self.skip_value()?,
        }
        Ok(())
    }

    fn ext_fields(&mut self, ext: &mut ExtFields) -> Scan<()> {
        match self.peek() {
            Some(b'n') => {
                ext.restart(false);
                return self.literal("null");
            }
            Some(b'{') => ext.restart(true),
            _ => return self.wrong_type("extFields", "object"),
        }
        self.object(|scanner| {
            if let Some((name, value, end)) = plain_field(scanner.text.as_bytes(), scanner.at) {
                scanner.at = end;
                return scanner.add_field(name, value, ext);
            }
            let name = scanner.string(ext)?;
            scanner.colon()?;
            let value = match scanner.peek() {
                Some(b'"') => scanner.string(ext)?,
                Some(b'n') => return scanner.literal("null"),
                _ => {
                    // A number, a boolean or a nested value is taken as its text.
                    let start = scanner.at;
                    scanner.skip_value()?;
                    Span::in_header(start, scanner.at)
                }
            };
            scanner.add_field(name, value, ext)
        })
    }

    #[inline]
    fn add_field(&mut self, name: Span, value: Span, ext: &mut ExtFields) -> Scan<()> {
        match ext.add_received(name, value) {
            Ok(()) => Ok(()),
            Err(TooManyFields) => self.fail(JsonError::TooManyFields),
        }
    }

    /// A number, a string that holds one, or null for 0: what Java reads into an `int`.
    fn integer(&mut self, member: &'static str, ext: &mut ExtFields) -> Scan<i32> {
        let start = self.at;
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                self.parse(member, self.text.get(start..self.at).unwrap_or_default())
            }
            Some(b'"') => {
                let value = self.string(ext)?;
                self.parse(member, ext.text(value))
            }
            Some(b'n') => self.literal("null").map(|()| 0),
            _ => self.wrong_type(member, "number"),
        }
    }

    fn parse(&mut self, member: &'static str, text: &str) -> Scan<i32> {
        match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.fail(JsonError::NotAnInteger { member, value: excerpt(text) }),
        }
    }

    fn language(&mut self, ext: &mut ExtFields) -> Scan<Language> {
        match self.peek() {
            Some(b'"') => {
                let name = self.string(ext)?;
                Ok(Language::from_name(ext.text(name)))
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.integer("language", ext)?;
                Ok(u8::try_from(number).map_or(Language::Other, Language::from_number))
            }
            Some(b'n') => self.literal("null").map(|()| Language::Other),
            _ => self.wrong_type("language", "string"),
        }
    }

    fn remark(&mut self, ext: &mut ExtFields) -> Scan<Option<Box<str>>> {
        match self.peek() {
            Some(b'"') => {
                let remark = self.string(ext)?;
                Ok(Some(ext.text(remark).into()))
            }
            Some(b'n') => self.literal("null").map(|()| None),
            _ => self.wrong_type("remark", "string"),
        }
    }

    /// A string: its place in the text, or in `ext`'s scratch text if it has escapes.
    #[inline]
    fn string(&mut self, ext: &mut ExtFields) -> Scan<Span> {
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
    fn skip_value(&mut self) -> Scan<()> {
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
    fn number(&mut self) -> Scan<()> {
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

    fn literal(&mut self, literal: &'static str) -> Scan<()> {
        literal.bytes().try_for_each(|byte| self.expect(byte))
    }

    #[inline]
    fn colon(&mut self) -> Scan<()> {
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok(())
    }

    #[inline]
    fn blanks(&mut self) {
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
    fn peek(&self) -> Option<u8> {
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
    fn unexpected<T>(&mut self) -> Scan<T> {
        let at = self.at;
        self.fail(match self.peek() {
            Some(byte) => JsonError::Unexpected { at, byte },
            None => JsonError::Truncated(at),
        })
    }

    #[cold]
    fn wrong_type<T>(&mut self, member: &'static str, expected: &'static str) -> Scan<T> {
        self.fail(match self.peek() {
            Some(_) => JsonError::WrongType { member, expected },
            None => JsonError::Truncated(self.at),
        })
    }

    #[cold]
    fn fail<T>(&mut self, error: JsonError) -> Scan<T> {
        self.error = Some(error);
        Err(Failed)
    }
}

/// A field as clients write nearly all of them, `"name":"value"` without blanks and escapes: the
/// places of both texts, and where it ends. The hot loop of a header: a function of plain values, so
/// that the place in the text stays in a register.
#[inline]
fn plain_field(bytes: &[u8], at: usize) -> Option<(Span, Span, usize)> {
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

/// The start of a text that may be long, for an error.
pub(crate) fn excerpt(text: &str) -> Box<str> {
    const CHARS_MAX: usize = 64;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// Writes the header as Java does: compact, members in alphabetical order, absent ones left out.
pub(crate) fn encode(command: &Command, out: &mut BytesMut) {
    out.extend_from_slice(b"{\"code\":");
    write_integer(command.code, out);
    if command.ext.is_present() {
        out.extend_from_slice(b",\"extFields\":{");
        for (index, (name, value)) in command.ext.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            write_string(name, out);
            out.extend_from_slice(b":");
            write_string(value, out);
        }
        out.extend_from_slice(b"}");
    }
    out.extend_from_slice(b",\"flag\":");
    write_integer(command.flag, out);
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(command.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    write_integer(command.opaque, out);
    if let Some(remark) = &command.remark {
        out.extend_from_slice(b",\"remark\":");
        write_string(remark, out);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    write_integer(command.version, out);
    out.extend_from_slice(b"}");
}
