//! The reader of Java `.properties` text (store.md 6.1), which is what a Java broker.conf is.
//!
//! | piece | rule |
//! |---|---|
//! | bytes | ISO-8859-1 in a file ([`from_latin1`]); requests carry the same syntax as UTF-8 |
//! | line | ends with LF, CR or CR LF; an odd number of backslashes at its end joins the next one, without that one's leading blanks |
//! | comment | first character other than a blank is `#` or `!`; cannot be continued |
//! | key | up to the first blank, `=` or `:` that has no backslash before it |
//! | separator | blanks, then at most one `=` or `:`, then blanks |
//! | value | the rest, trailing blanks included |
//! | escape | `\t \n \r \f`, `\uXXXX` (UTF-16 units), else the character behind the backslash |
//!
//! A key may come twice: all are kept here, in order, and the last one wins where they are used.

use std::{fmt::Write, ops::Range};

use thiserror::Error;

/// Blanks of the format.
const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// A key with its value, and the line that it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key.
    pub key: String,
    /// The value, with trailing blanks.
    pub value: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// A `\u` without four hexadecimal digits behind it. The Java broker does not start with one either.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\\u must be followed by four hexadecimal digits")]
pub struct MalformedEscape {
    /// The line that the key begins on, counted from 1.
    pub line: usize,
}

/// The text that these ISO-8859-1 bytes stand for: each byte is one character.
pub fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// All properties of a text, in order.
pub fn parse(text: &str) -> Result<Vec<Property>, MalformedEscape> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    logical_lines(&text)
        .into_iter()
        .map(|(line, content)| property(&content).ok_or(MalformedEscape { line }).map(at(line)))
        .collect()
}

/// A key, and the bytes of the text that hold it with its value, from its first character to the end of
/// its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The key.
    pub key: String,
    /// Where it stands.
    pub span: Range<usize>,
}

/// Where the keys of a text stand, in order; one that cannot be read is left out.
pub(crate) fn placed(text: &str) -> Vec<Placed> {
    let mut lines = physical_lines(text).into_iter();
    let mut all = Vec::new();
    while let Some(first) = lines.next() {
        let line = text.get(first.clone()).unwrap_or_default();
        let content = line.trim_start_matches(BLANKS);
        if content.is_empty() || content.starts_with(['#', '!']) {
            continue;
        }
        let (start, mut end) = (first.end - content.len(), first.end);
        let (mut joined, mut is_open) = (content.to_owned(), is_continued(content));
        while is_open {
            joined.pop();
            let Some(next) = lines.next() else { break };
            let more = text.get(next.clone()).unwrap_or_default().trim_start_matches(BLANKS);
            joined.push_str(more);
            (end, is_open) = (next.end, is_continued(&joined));
        }
        if let Some((key, _)) = property(&joined) {
            all.push(Placed { key, span: start..end });
        }
    }
    all
}

/// The lines of a text without their ends.
fn physical_lines(text: &str) -> Vec<Range<usize>> {
    let (mut lines, mut start) = (Vec::new(), 0);
    while start < text.len() {
        let rest = text.get(start..).unwrap_or_default();
        let len = rest.find(['\n', '\r']).unwrap_or(rest.len());
        lines.push(start..start + len);
        let ends = rest.get(len..).unwrap_or_default();
        start += len + if ends.starts_with("\r\n") { 2 } else { 1 };
    }
    lines
}

/// A value as it must be written to be read as it is.
pub fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\u{c}' => text.push_str("\\f"),
            ' ' | '=' | ':' if at == 0 => text.extend(['\\', c]),
            c if u32::from(c) < 0x100 => text.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}

/// The ISO-8859-1 bytes of a text; what they do not have is escaped.
pub fn to_latin1(text: &str) -> Vec<u8> {
    let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'?');
    text.chars().map(byte).collect()
}

fn at(line: usize) -> impl Fn((String, String)) -> Property {
    move |(key, value)| Property { key, value, line }
}

/// Lines with their continuations joined, without blank ones and comments.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = text.split('\n').zip(1..);
    let mut logical = Vec::new();
    while let Some((line, number)) = lines.next() {
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut content = line.to_owned();
        while is_continued(&content) {
            content.pop();
            let Some((next, _)) = lines.next() else { break };
            content.push_str(next.trim_start_matches(BLANKS));
        }
        if !content.is_empty() {
            logical.push((number, content));
        }
    }
    logical
}

fn is_continued(line: &str) -> bool {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    backslashes % 2 == 1
}

/// Key and value of a logical line; nothing if an escape in it is malformed.
fn property(line: &str) -> Option<(String, String)> {
    let (key, rest) = line.split_at(key_len(line));
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANKS);
    Some((unescape(key)?, unescape(value)?))
}

fn key_len(line: &str) -> usize {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = c == '\\' && !escaped;
        ends
    });
    end.unwrap_or(line.len())
}

fn unescape(text: &str) -> Option<String> {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let unit = match c {
            '\\' => escape(&mut rest)?,
            c => Unescaped::Char(c),
        };
        match unit {
            Unescaped::Unit(unit) => units.push(unit),
            Unescaped::Char(c) => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
        }
    }
    // Half a surrogate pair is legal in Java and nowhere else.
    Some(String::from_utf16_lossy(&units))
}

enum Unescaped {
    Char(char),
    Unit(u16),
}

/// What stands behind a backslash.
fn escape(rest: &mut std::str::Chars<'_>) -> Option<Unescaped> {
    Some(Unescaped::Char(match rest.next() {
        Some('t') => '\t',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('f') => '\u{c}',
        Some('u') => return hexadecimal(rest).map(Unescaped::Unit),
        Some(c) => c,
        None => return Some(Unescaped::Char('\\')),
    }))
}

fn hexadecimal(rest: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits = rest.as_str().get(..4)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    rest.nth(3);
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|p| (p.key, p.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0)
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn every_separator_means_the_same() {
        for text in ["k=v", "k:v", "k v", "k\tv", "k = v", "  k  :   v", "k\u{c}=\u{c}v"] {
            assert_eq!(one(text), pair("k", "v"), "{text:?}");
        }
    }

    #[test]
    fn only_the_first_separator_separates() {
        assert_eq!(one("k==v"), pair("k", "=v"));
        assert_eq!(one("k : = v"), pair("k", "= v"));
        assert_eq!(one("k v=w"), pair("k", "v=w"));
        assert_eq!(one("namesrvAddr=a:1;b:2"), pair("namesrvAddr", "a:1;b:2"));
    }

    #[test]
    fn a_key_may_have_no_value_and_a_value_no_key() {
        assert_eq!(one("k"), pair("k", ""));
        assert_eq!(one("k="), pair("k", ""));
        assert_eq!(one("= v"), pair("", "v"));
    }

    #[test]
    fn blanks_before_a_value_go_and_those_behind_it_stay() {
        assert_eq!(one("\t k =  v \t"), pair("k", "v \t"));
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        assert_eq!(pairs("# a=b\n ! c=d \\\n\n \t\ne=#f\n"), [pair("e", "#f")]);
    }

    #[test]
    fn any_line_end_ends_a_line() {
        let all = [pair("a", "1"), pair("b", "2"), pair("c", "3"), pair("d", "4")];
        assert_eq!(pairs("a=1\nb=2\r\nc=3\rd=4"), all);
    }

    #[test]
    fn a_backslash_joins_the_next_line_without_its_blanks() {
        assert_eq!(one("k=a,\\\n  \tb,\\\r\nc"), pair("k", "a,b,c"));
        assert_eq!(one("k\\\n=v"), pair("k", "v"));
        assert_eq!(one("k=v\\\n#no comment"), pair("k", "v#no comment"));
        assert_eq!(pairs("k=v\\\n\nl=w"), [pair("k", "v"), pair("l", "w")]);
        assert_eq!(pairs("k=v\\\\\nl=w"), [pair("k", "v\\"), pair("l", "w")]);
        assert_eq!(one("k=v\\\\\\\nw"), pair("k", "v\\w"));
        assert_eq!(one("k=v\\"), pair("k", "v"));
        assert_eq!(pairs("\\\n"), []);
    }

    #[test]
    fn escapes() {
        assert_eq!(one(r"a\=b\:c\ d=\t\n\r\f\q\\"), pair("a=b:c d", "\t\n\r\u{c}q\\"));
        assert_eq!(one(r"\u006bey=\u00E9\u4f60\ud83d\ude00"), pair("key", "é你😀"));
        assert_eq!(one(r"k=\ud83d."), pair("k", "\u{fffd}."));
        assert_eq!(one(r"k=\\u0041"), pair("k", r"\u0041"));
    }

    #[test]
    fn a_malformed_escape_is_refused_with_its_line() {
        for bad in [r"k=\u12", r"k=\u12g4", r"k=\u", r"k=\u+123", "k=\\u12é4"] {
            let text = format!("a=b\n\n{bad}\n");
            assert_eq!(parse(&text), Err(MalformedEscape { line: 3 }), "{bad}");
        }
    }

    #[test]
    fn a_property_knows_the_line_that_it_begins_on() {
        let lines: Vec<usize> =
            parse("# x\na=1\\\n2\\\n3\nb=4\n\nc=5").unwrap().iter().map(|p| p.line).collect();
        assert_eq!(lines, [2, 5, 7]);
    }

    #[test]
    fn duplicates_are_kept_in_order() {
        assert_eq!(pairs("k=1\nk=2"), [pair("k", "1"), pair("k", "2")]);
    }

    #[test]
    fn bytes_are_iso_8859_1() {
        assert_eq!(from_latin1(b"n=caf\xe9 \x80"), "n=caf\u{e9} \u{80}");
    }
}
