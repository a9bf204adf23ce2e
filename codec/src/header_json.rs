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
    ext::{ExtFields, Span},
    json_text::{write_integer, write_string},
    language::Language,
};

/// How deep the values of unknown members may be nested.
pub const DEPTH_MAX: u32 = 127;
/// Strings are searched byte by byte this far, then with SIMD.
const SHORT_STRING: usize = 12;

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
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} at {0}")]
    TooDeep(usize),
    /// More fields than [`crate::ext::EXT_FIELDS_MAX`].
    #[error("more than {} ext fields", crate::ext::EXT_FIELDS_MAX)]
    TooManyFields,
}

/// Reads a whole header.
pub(crate) fn decode(text: ByteString) -> Result<Head, JsonError> {
    let mut head = Head { ext: ExtFields::over(text.clone()), ..Head::default() };
    let mut scanner = Scanner { text: &text, at: 0 };
    scanner.object(|scanner| {
        let name = scanner.string(&mut head.ext)?;
        // The names of members need no escapes; whoever writes one anyway is understood too.
        let member = Member::named(head.ext.text(name));
        scanner.colon()?;
        scanner.member(member, &mut head)
    })?;
    scanner.blanks();
    match scanner.peek() {
        None => Ok(head),
        Some(_) => Err(scanner.unexpected()),
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
}

impl Scanner<'_> {
    /// Calls `each` with the scanner at each member's name; it has to read name, colon and value.
    fn object(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.blanks();
        self.expect(b'{')?;
        self.blanks();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.blanks();
            each(self)?;
            self.blanks();
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn member(&mut self, member: Member, head: &mut Head) -> Result<(), JsonError> {
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

    fn ext_fields(&mut self, ext: &mut ExtFields) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'n') => {
                ext.restart(false);
                return self.literal("null");
            }
            Some(b'{') => ext.restart(true),
            Some(_) => return Err(self.wrong_type("extFields", "object")),
            None => return Err(JsonError::Truncated(self.at)),
        }
        self.object(|scanner| {
            let name = scanner.string(ext)?;
            scanner.colon()?;
            match scanner.peek() {
                Some(b'"') => {
                    let value = scanner.string(ext)?;
                    ext.add_received(name, value).map_err(|_| JsonError::TooManyFields)
                }
                Some(b'n') => scanner.literal("null"),
                _ => {
                    // A number, a boolean or a nested value is taken as its text.
                    let start = scanner.at;
                    scanner.skip_value()?;
                    let value = Span::in_header(start, scanner.at);
                    ext.add_received(name, value).map_err(|_| JsonError::TooManyFields)
                }
            }
        })
    }

    /// A number, a string that holds one, or null for 0: what Java reads into an `int`.
    fn integer(&mut self, member: &'static str, ext: &mut ExtFields) -> Result<i32, JsonError> {
        let value = match self.peek() {
            Some(b'"') => self.string(ext)?,
            Some(b'n') => {
                self.literal("null")?;
                return Ok(0);
            }
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                self.number()?;
                Span::in_header(start, self.at)
            }
            Some(_) => return Err(self.wrong_type(member, "number")),
            None => return Err(JsonError::Truncated(self.at)),
        };
        let text = ext.text(value);
        text.parse().map_err(|_| JsonError::NotAnInteger { member, value: excerpt(text) })
    }

    fn language(&mut self, ext: &mut ExtFields) -> Result<Language, JsonError> {
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
            Some(_) => Err(self.wrong_type("language", "string")),
            None => Err(JsonError::Truncated(self.at)),
        }
    }

    fn remark(&mut self, ext: &mut ExtFields) -> Result<Option<Box<str>>, JsonError> {
        match self.peek() {
            Some(b'"') => {
                let remark = self.string(ext)?;
                Ok(Some(ext.text(remark).into()))
            }
            Some(b'n') => self.literal("null").map(|()| None),
            Some(_) => Err(self.wrong_type("remark", "string")),
            None => Err(JsonError::Truncated(self.at)),
        }
    }

    /// A string: its place in the text, or in `ext`'s scratch text if it has escapes.
    fn string(&mut self, ext: &mut ExtFields) -> Result<Span, JsonError> {
        self.expect(b'"')?;
        let start = self.at;
        self.seek_quote_or_backslash()?;
        if self.eat(b'"') {
            return Ok(Span::in_header(start, self.at - 1));
        }
        let kept = ext.scratch_mut().len();
        let mut run = start;
        loop {
            ext.scratch_mut().push_str(self.text.get(run..self.at).unwrap_or_default());
            if self.eat(b'"') {
                return Ok(ext.kept_since(kept));
            }
            let escaped = self.escape()?;
            ext.scratch_mut().push(escaped);
            run = self.at;
            self.seek_quote_or_backslash()?;
        }
    }

    /// Goes to the next quote or backslash.
    fn seek_quote_or_backslash(&mut self) -> Result<(), JsonError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let is_end = |byte: &u8| matches!(byte, b'"' | b'\\');
        let found = rest.iter().take(SHORT_STRING).position(is_end).or_else(|| {
            let far = rest.get(SHORT_STRING..)?;
            memchr2(b'"', b'\\', far).map(|at| at + SHORT_STRING)
        });
        match found {
            Some(at) => {
                self.at += at;
                Ok(())
            }
            None => Err(JsonError::Truncated(self.text.len())),
        }
    }

    /// One escape, a surrogate pair included.
    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.expect(b'\\')?;
        let byte = self.next()?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => return self.unicode_escape(start),
            _ => return Err(JsonError::BadEscape(start)),
        };
        Ok(plain)
    }

    fn unicode_escape(&mut self, start: usize) -> Result<char, JsonError> {
        let bad = JsonError::BadEscape(start);
        let unit = self.hex4()?;
        let scalar = match unit {
            0xD800..=0xDBFF => {
                if !(self.eat(b'\\') && self.eat(b'u')) {
                    return Err(bad);
                }
                let low = self.hex4()?.wrapping_sub(0xDC00);
                if low > 0x3FF {
                    return Err(bad);
                }
                0x10000 + ((unit - 0xD800) << 10) + low
            }
            unit => unit,
        };
        char::from_u32(scalar).ok_or(bad)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let at = self.at;
            let digit = char::from(self.next()?).to_digit(16).ok_or(JsonError::BadEscape(at))?;
            unit = unit << 4 | digit;
        }
        Ok(unit)
    }

    /// Skips a value of any type, without recursion: one bit per open bracket, 1 for an object.
    fn skip_value(&mut self) -> Result<(), JsonError> {
        let mut open = 0_u128;
        let mut depth = 0;
        loop {
            self.blanks();
            let byte = self.peek().ok_or(JsonError::Truncated(self.at))?;
            if let b'{' | b'[' = byte {
                if depth == DEPTH_MAX {
                    return Err(JsonError::TooDeep(self.at));
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
            } else {
                self.skip_scalar(byte)?;
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

    fn skip_name_if(&mut self, in_object: bool) -> Result<(), JsonError> {
        if in_object {
            self.skip_string()?;
            self.colon()?;
        }
        Ok(())
    }

    fn skip_scalar(&mut self, first: u8) -> Result<(), JsonError> {
        match first {
            b'"' => self.skip_string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    fn skip_string(&mut self) -> Result<(), JsonError> {
        self.expect(b'"')?;
        loop {
            self.seek_quote_or_backslash()?;
            if self.eat(b'"') {
                return Ok(());
            }
            let start = self.at;
            self.at += 1;
            match self.next()? {
                b'"' | b'\\' | b'/' | b'n' | b'r' | b't' | b'b' | b'f' => {}
                b'u' => drop(self.hex4()?),
                _ => return Err(JsonError::BadEscape(start)),
            }
        }
    }

    /// A number of the JSON grammar.
    fn number(&mut self) -> Result<(), JsonError> {
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

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected()) } else { Ok(()) }
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), JsonError> {
        literal.bytes().try_for_each(|byte| self.expect(byte))
    }

    fn colon(&mut self) -> Result<(), JsonError> {
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, JsonError> {
        let byte = self.peek().ok_or(JsonError::Truncated(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> JsonError {
        match self.peek() {
            Some(byte) => JsonError::Unexpected { at: self.at, byte },
            None => JsonError::Truncated(self.at),
        }
    }

    fn wrong_type(&self, member: &'static str, expected: &'static str) -> JsonError {
        JsonError::WrongType { member, expected }
    }
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
