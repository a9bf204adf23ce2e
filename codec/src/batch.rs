//! The body of SEND_BATCH_MESSAGE: messages back to back.
//!
//! | size | field |
//! |---|---|
//! | 4 | total size, this field included |
//! | 4 | magic, 0 |
//! | 4 | CRC of the body, 0 |
//! | 4 | user's flag |
//! | 4 + n | body |
//! | 2 + n | properties |
//!
//! Magic and CRC mean nothing and are not looked at; the broker computes its own. The body of each
//! message is a slice of the request's.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// What a message has beside body and properties.
const FIXED_BYTES: usize = 22;

/// One message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: Bytes,
    /// The property string ([`crate::properties`]).
    pub properties: &'a str,
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The batch ends within a message.
    #[error("message {index} of the batch is cut off")]
    Truncated {
        /// Its number.
        index: usize,
    },
    /// A message's total size is not what its parts take.
    #[error("message {index} of the batch has {used} bytes, its size says {size}")]
    Size {
        /// Its number.
        index: usize,
        /// What it says.
        size: i32,
        /// What its parts take.
        used: usize,
    },
    /// A length is negative.
    #[error("message {index} of the batch has a {field} of {length} bytes")]
    Length {
        /// Its number.
        index: usize,
        /// Whose length.
        field: &'static str,
        /// The length.
        length: i32,
    },
    /// The properties are not UTF-8.
    #[error("the properties of message {index} of the batch are not UTF-8")]
    NotUtf8 {
        /// Its number.
        index: usize,
    },
}

/// The messages of a batch, in order; ends with the first error. An empty body has none.
#[derive(Clone, Debug)]
pub struct BatchMessages<'a> {
    body: &'a Bytes,
    rest: &'a [u8],
    index: usize,
}

impl<'a> BatchMessages<'a> {
    /// The messages in the body of a batch.
    pub fn new(body: &'a Bytes) -> Self {
        Self { body, rest: body, index: 0 }
    }

    fn message(&mut self) -> Result<BatchMessage<'a>, BatchError> {
        let before = self.rest.len();
        let size = self.i32()?;
        let _magic = self.i32()?;
        let _crc = self.i32()?;
        let flag = self.i32()?;
        let length = self.i32()?;
        let body = self.bytes("body", length)?;
        let length = i16::from_be_bytes(self.array()?);
        let properties = self.bytes("properties string", length.into())?;
        let used = before - self.rest.len();
        if usize::try_from(size) != Ok(used) {
            return Err(BatchError::Size { index: self.index, size, used });
        }
        let properties = std::str::from_utf8(properties)
            .map_err(|_| BatchError::NotUtf8 { index: self.index })?;
        Ok(BatchMessage { flag, body: self.body.slice_ref(body), properties })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BatchError> {
        let truncated = BatchError::Truncated { index: self.index };
        let (array, rest) = self.rest.split_first_chunk().ok_or(truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    fn i32(&mut self) -> Result<i32, BatchError> {
        self.array().map(i32::from_be_bytes)
    }

    fn bytes(&mut self, field: &'static str, length: i32) -> Result<&'a [u8], BatchError> {
        let index = self.index;
        let len =
            usize::try_from(length).map_err(|_| BatchError::Length { index, field, length })?;
        let (bytes, rest) =
            self.rest.split_at_checked(len).ok_or(BatchError::Truncated { index })?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for BatchMessages<'a> {
    type Item = Result<BatchMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.message();
        match message {
            Ok(_) => self.index += 1,
            Err(_) => self.rest = &[],
        }
        Some(message)
    }
}

/// Appends one message to the body of a batch.
///
/// # Panics
/// If the properties are longer than 32767 bytes, which no broker takes.
pub fn encode_message(flag: i32, body: &[u8], properties: &str, out: &mut BytesMut) {
    assert!(properties.len() <= i16::MAX as usize, "properties length fits into 16 bits");
    let size = FIXED_BYTES + body.len() + properties.len();
    out.reserve(size);
    out.put_u32(size as u32);
    out.put_u64(0);
    out.put_i32(flag);
    out.put_u32(body.len() as u32);
    out.put_slice(body);
    out.put_u16(properties.len() as u16);
    out.put_slice(properties.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(messages: &[(i32, Vec<u8>, String)]) -> Bytes {
        let mut out = BytesMut::new();
        for (flag, body, properties) in messages {
            encode_message(*flag, body, properties, &mut out);
        }
        out.freeze()
    }

    fn decode(body: &Bytes) -> Result<Vec<BatchMessage<'_>>, BatchError> {
        BatchMessages::new(body).collect()
    }

    #[test]
    fn bodies_are_slices_of_the_request() {
        let body =
            batch(&[(1, b"one".to_vec(), "KEYS\u{1}a\u{2}".into()), (2, vec![], String::new())]);
        let messages = decode(&body).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].flag, messages[0].properties), (1, "KEYS\u{1}a\u{2}"));
        assert_eq!(messages[0].body, "one");
        assert_eq!(messages[0].body.as_ptr(), body[20..].as_ptr());
        assert_eq!(messages[1], BatchMessage { flag: 2, body: Bytes::new(), properties: "" });
    }

    #[test]
    fn cuts_and_lies_are_found() {
        let good = batch(&[(1, b"one".to_vec(), "p".into()), (2, b"two".to_vec(), "q".into())]);
        let one = good.len() / 2;
        for len in (1..good.len()).filter(|len| *len != one) {
            let index = usize::from(len > one);
            assert_eq!(decode(&good.slice(..len)), Err(BatchError::Truncated { index }));
        }
        let with = |at: usize, byte: u8| {
            let mut bad = good.to_vec();
            bad[at] = byte;
            decode(&bad.into()).map(|messages| messages.len()).unwrap_err()
        };
        assert_eq!(with(3, 99), BatchError::Size { index: 0, size: 99, used: one });
        let length = i32::from_be_bytes([0x80, 0, 0, 3]);
        assert_eq!(with(16, 0x80), BatchError::Length { index: 0, field: "body", length });
        assert_eq!(with(25, 0xFF), BatchError::NotUtf8 { index: 0 });
        assert_eq!(BatchMessages::new(&good.slice(..30)).count(), 2, "ends with the error");
    }

    proptest! {
        #[test]
        fn any_batch_is_read_back(
            messages in proptest::collection::vec(
                (any::<i32>(), proptest::collection::vec(any::<u8>(), 0..32), any::<String>()),
                0..8,
            )
        ) {
            let body = batch(&messages);
            let read: Vec<_> = decode(&body).unwrap().into_iter()
                .map(|m| (m.flag, m.body.to_vec(), m.properties.to_owned()))
                .collect();
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn garbage_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes.into());
        }
    }
}
