//! The binary header, called ROCKETMQ by the protocol.
//!
//! | size | field |
//! |---|---|
//! | 2 | code, signed |
//! | 1 | language number |
//! | 2 | version, signed |
//! | 4 | opaque |
//! | 4 | flag |
//! | 4 + n | remark, length 0 = none |
//! | 4 + m | ext fields: bytes of the block, then entries up to its end |
//!
//! An entry is a name (length of 2 bytes) and a value (length of 4 bytes). A value of length 0 means
//! that the field is absent, so empty and absent values cannot be told apart here as they can in JSON;
//! a block of such entries is as good as none.
//!
//! A code above 32767 does not fit and arrives cut off. Eight request codes (the POP family) are so
//! large, their remains are not used otherwise, and are mapped back on reading.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use crate::{
    command::{Command, FLAG_RESPONSE, Head},
    ext::{ExtFields, TooManyFields},
    language::Language,
    request_code,
};

/// Why bytes are no binary header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BinaryError {
    /// The header ends within this field.
    #[error("ends within {0}")]
    Truncated(&'static str),
    /// A length is negative.
    #[error("length {length} of {field}")]
    NegativeLength {
        /// Whose length it is.
        field: &'static str,
        /// The length.
        length: i32,
    },
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// The header goes on behind the ext fields.
    #[error("{0} bytes behind the ext fields")]
    TrailingBytes(usize),
    /// More fields than [`crate::ext::EXT_FIELDS_MAX`].
    #[error("more than {} ext fields", crate::ext::EXT_FIELDS_MAX)]
    TooManyFields,
}

impl From<TooManyFields> for BinaryError {
    fn from(_: TooManyFields) -> Self {
        Self::TooManyFields
    }
}

/// Reads a whole header.
pub(crate) fn decode(header: &[u8]) -> Result<Head, BinaryError> {
    let mut reader = Reader { rest: header };
    let code = i16::from_be_bytes(reader.array("code")?);
    let [language] = reader.array("language")?;
    let version = i16::from_be_bytes(reader.array("version")?);
    let opaque = i32::from_be_bytes(reader.array("opaque")?);
    let flag = i32::from_be_bytes(reader.array("flag")?);
    let remark = reader.text("remark")?;
    let ext_bytes = reader.sized("ext fields")?;
    if !reader.rest.is_empty() {
        return Err(BinaryError::TrailingBytes(reader.rest.len()));
    }
    let code = if flag & FLAG_RESPONSE == 0 { widen(code) } else { code.into() };
    Ok(Head {
        code,
        language: Language::from_number(language),
        version: version.into(),
        opaque,
        flag,
        remark: (!remark.is_empty()).then(|| remark.into()),
        ext: decode_ext(ext_bytes)?,
    })
}

fn decode_ext(block: &[u8]) -> Result<ExtFields, BinaryError> {
    let mut ext = ExtFields::default();
    ext.scratch_mut().reserve_exact(block.len());
    let mut reader = Reader { rest: block };
    while !reader.rest.is_empty() {
        let name = reader.short_text("ext name")?;
        let value = reader.text("ext value")?;
        if name.is_empty() || value.is_empty() {
            continue;
        }
        let (name, value) = (ext.keep(name), ext.keep(value));
        ext.add_received(name, value)?;
    }
    Ok(ext)
}

/// The request code that was cut off to these 16 bits.
fn widen(code: i16) -> i32 {
    use request_code::*;
    const CUT_OFF: [i32; 8] = [
        POP_MESSAGE,
        ACK_MESSAGE,
        PEEK_MESSAGE,
        CHANGE_MESSAGE_INVISIBLETIME,
        NOTIFICATION,
        POLLING_INFO,
        POP_ROLLBACK,
        BATCH_ACK_MESSAGE,
    ];
    CUT_OFF.into_iter().find(|wide| *wide as i16 == code).unwrap_or(code.into())
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], BinaryError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(BinaryError::Truncated(field))?;
        self.rest = rest;
        Ok(*array)
    }

    fn bytes(&mut self, length: i32, field: &'static str) -> Result<&'a [u8], BinaryError> {
        let length =
            usize::try_from(length).map_err(|_| BinaryError::NegativeLength { field, length })?;
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or(BinaryError::Truncated(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Bytes behind their length of 4 bytes.
    fn sized(&mut self, field: &'static str) -> Result<&'a [u8], BinaryError> {
        let length = i32::from_be_bytes(self.array(field)?);
        self.bytes(length, field)
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, BinaryError> {
        let bytes = self.sized(field)?;
        std::str::from_utf8(bytes).map_err(|_| BinaryError::NotUtf8(field))
    }

    /// A text behind its length of 2 bytes.
    fn short_text(&mut self, field: &'static str) -> Result<&'a str, BinaryError> {
        let length = i16::from_be_bytes(self.array(field)?);
        let bytes = self.bytes(length.into(), field)?;
        std::str::from_utf8(bytes).map_err(|_| BinaryError::NotUtf8(field))
    }
}

/// Writes the header. Code and version are cut off to 16 bits, as by every peer; a name that is empty
/// or beyond 32767 bytes is left out, since it cannot be written.
pub(crate) fn encode(command: &Command, out: &mut BytesMut) {
    let fixed = Fixed {
        code: command.code,
        language: command.language,
        version: command.version,
        opaque: command.opaque,
        flag: command.flag,
    };
    fixed.write(out);
    write_text(command.remark.as_deref().unwrap_or_default(), out);
    write_ext_block(out, |out| {
        for (name, value) in command.ext.iter() {
            write_entry(name, value, out);
        }
    });
}

/// The part of a header in front of the remark.
pub(crate) struct Fixed {
    pub(crate) code: i32,
    pub(crate) language: Language,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
}

impl Fixed {
    pub(crate) fn write(&self, out: &mut BytesMut) {
        out.put_i16(self.code as i16);
        out.put_u8(self.language.number());
        out.put_i16(self.version as i16);
        out.put_i32(self.opaque);
        out.put_i32(self.flag);
    }
}

/// A text behind its length of 4 bytes.
pub(crate) fn write_text(text: &str, out: &mut BytesMut) {
    out.put_i32(text.len() as i32);
    out.put_slice(text.as_bytes());
}

/// The ext block: its length, then the entries that `entries` writes.
pub(crate) fn write_ext_block(out: &mut BytesMut, entries: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    entries(out);
    let length = (out.len() - start - 4) as i32;
    if let Some(word) = out.get_mut(start..start + 4) {
        word.copy_from_slice(&length.to_be_bytes());
    }
}

/// One entry.
pub(crate) fn write_entry(name: &str, value: &str, out: &mut BytesMut) {
    let length = match i16::try_from(name.len()) {
        Ok(length) if length > 0 => length,
        _ => return,
    };
    out.put_i16(length);
    out.put_slice(name.as_bytes());
    write_text(value, out);
}
