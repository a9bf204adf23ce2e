//! The JSON header: one pass over the text, no tree, no map.
//!
//! The scanner knows the members of a header and skips all others, whatever their type. It takes the
//! members in any order, the last of equal ones counts. Fields keep their place in the text; only a
//! string with escapes is written anew, into the scratch text of [`ExtFields`].

use bytes::BytesMut;
use bytestring::ByteString;

pub use crate::json_scan::JsonError;
use crate::{
    command::{Command, Head},
    ext::{ExtFields, Span, TooManyFields},
    json_scan::{Failed, Scan, Scanner, plain_field, plain_integer},
    json_text::{write_integer, write_string},
    language::Language,
};

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
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        if let Some((number, digits)) = plain_integer(rest) {
            self.at += digits;
            return Ok(number);
        }
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
