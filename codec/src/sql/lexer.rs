//! Text to tokens, one at a time: the parser may stop before the end.
//!
//! The longest token wins. `0` takes no further digits, so that `007` is three numbers; a line comment
//! needs the end of its line, without it `--` are two signs.

use memchr::{memchr, memchr2, memmem};

use super::SqlError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    End,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
    /// Digits without a possible `L`.
    Whole(&'a str),
    Fraction(&'a str),
    /// Between the quotes; quotes inside are still doubled.
    Text(&'a str),
    Name(&'a str),
}

const KEYWORDS: [(&str, Token<'static>); 12] = [
    ("NOT", Token::Not),
    ("AND", Token::And),
    ("OR", Token::Or),
    ("BETWEEN", Token::Between),
    ("IN", Token::In),
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("NULL", Token::Null),
    ("IS", Token::Is),
    ("CONTAINS", Token::Contains),
    ("STARTSWITH", Token::StartsWith),
    ("ENDSWITH", Token::EndsWith),
];

/// Longer ones first.
const SYMBOLS: [(&str, Token<'static>); 11] = [
    ("<>", Token::NotEqual),
    ("<=", Token::LessOrEqual),
    (">=", Token::GreaterOrEqual),
    ("<", Token::Less),
    (">", Token::Greater),
    ("=", Token::Equal),
    ("(", Token::Open),
    (",", Token::Comma),
    (")", Token::Close),
    ("+", Token::Plus),
    ("-", Token::Minus),
];

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it begins.
    pub fn next(&mut self) -> Result<(Token<'a>, usize), SqlError> {
        self.skip_blanks();
        let at = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((Token::End, at)) };
        let (token, len) = match first {
            '\'' => text(rest).ok_or(SqlError::OpenText { at })?,
            '0'..='9' | '.' => number(rest).ok_or(SqlError::Character { at, found: first })?,
            _ if is_name_start(first) => word(rest),
            _ => symbol(rest).ok_or(SqlError::Character { at, found: first })?,
        };
        self.at += len;
        Ok((token, at))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Past blanks and comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let len = match rest.as_bytes() {
                [b' ' | b'\t' | b'\n' | b'\r' | b'\x0c', ..] => 1,
                [b'-', b'-', ..] => line_comment(rest),
                [b'/', b'*', ..] => block_comment(rest),
                _ => 0,
            };
            if len == 0 {
                return;
            }
            self.at += len;
        }
    }
}

/// Length of the comment with its line end, 0 if that is missing.
fn line_comment(rest: &str) -> usize {
    memchr2(b'\n', b'\r', rest.as_bytes()).map_or(0, |end| end + 1)
}

fn block_comment(rest: &str) -> usize {
    let inside = rest.as_bytes().get(2..).unwrap_or_default();
    memmem::find(inside, b"*/").map_or(0, |end| end + 4)
}

/// A text in quotes, where two quotes stand for one. If no quote closes it, the last two are the end
/// of one text and the beginning of another, which may never be looked at.
fn text(rest: &str) -> Option<(Token<'_>, usize)> {
    let (mut from, mut doubled) = (1, None);
    let end = loop {
        let Some(found) = memchr(b'\'', rest.as_bytes().get(from..)?) else { break doubled? };
        let end = from + found;
        if rest.as_bytes().get(end + 1) != Some(&b'\'') {
            break end;
        }
        (from, doubled) = (end + 2, Some(end));
    };
    Some((Token::Text(rest.get(1..end)?), end + 1))
}

fn number(rest: &str) -> Option<(Token<'_>, usize)> {
    let whole = digits(rest, 0);
    if rest.as_bytes().get(whole) == Some(&b'.') {
        let point = whole + 1;
        let fraction = digits(rest, point);
        if whole + fraction == 0 {
            return None;
        }
        let end = point + fraction;
        return fraction_token(rest, end + exponent(rest, end));
    }
    match exponent(rest, whole) {
        0 => whole_token(rest, whole),
        len => fraction_token(rest, whole + len),
    }
}

fn fraction_token(rest: &str, end: usize) -> Option<(Token<'_>, usize)> {
    Some((Token::Fraction(rest.get(..end)?), end))
}

fn whole_token(rest: &str, digits: usize) -> Option<(Token<'_>, usize)> {
    if rest.starts_with('0') {
        return Some((Token::Whole("0"), 1));
    }
    let suffix = matches!(rest.as_bytes().get(digits), Some(b'l' | b'L'));
    Some((Token::Whole(rest.get(..digits)?), digits + usize::from(suffix)))
}

/// How many digits are at `from`.
fn digits(rest: &str, from: usize) -> usize {
    rest.bytes().skip(from).take_while(u8::is_ascii_digit).count()
}

/// Length of the exponent at `from`, 0 if there is none.
fn exponent(rest: &str, from: usize) -> usize {
    let mut bytes = rest.bytes().skip(from);
    if !matches!(bytes.next(), Some(b'e' | b'E')) {
        return 0;
    }
    let sign = usize::from(matches!(bytes.next(), Some(b'+' | b'-')));
    match digits(rest, from + 1 + sign) {
        0 => 0,
        digits => 1 + sign + digits,
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '$')
}

/// A keyword, or the name of a property.
fn word(rest: &str) -> (Token<'_>, usize) {
    let end = rest.find(|c| !is_name_start(c) && !char::is_ascii_digit(&c)).unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or_default();
    let keyword = KEYWORDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(word));
    (keyword.map_or(Token::Name(word), |(_, token)| *token), end)
}

fn symbol(rest: &str) -> Option<(Token<'_>, usize)> {
    let (symbol, token) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol))?;
    Some((*token, symbol.len()))
}
