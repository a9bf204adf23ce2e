//! The two ids of a message, both as upper-case hexadecimal text.
//!
//! | id | made by | holds |
//! |---|---|---|
//! | offset message id | broker | store host (4 or 16 bytes), port (4), offset in the log (8) |
//! | unique key | producer, or the broker for one that sent none | address (4 or 16), process (2), salt (4), ms since the month began (4), counter (2) |
//!
//! Clients read the first: the end of a transaction goes to the offset in it, a query to the address
//! in it. The second is opaque to everybody, except that tools show the time in it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use thiserror::Error;

/// Text of an id with an IPv6 address.
const TEXT_MAX: usize = 56;
const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// Where a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetMessageId {
    /// The broker's address for clients.
    pub host: SocketAddr,
    /// The message's offset in its log.
    pub offset: u64,
}

/// Why a text is no offset message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageIdError {
    /// Neither 32 nor 56 characters.
    #[error("a message id of {0} characters")]
    Length(usize),
    /// Not hexadecimal.
    #[error("a message id with a character that is not hexadecimal")]
    NotHex,
    /// The port does not fit into 16 bits.
    #[error("a message id with port {0}")]
    Port(u32),
}

impl OffsetMessageId {
    /// The id as text, without an allocation.
    pub fn text(&self) -> IdText {
        let mut text = IdText::default();
        text.push_ip(self.host.ip());
        text.push(u32::from(self.host.port()).to_be_bytes());
        text.push(self.offset.to_be_bytes());
        text
    }

    /// Appends the id to `out`.
    pub fn push_to(&self, out: &mut String) {
        out.push_str(self.text().as_str());
    }

    /// Reads an id, in upper or lower case.
    pub fn parse(text: &str) -> Result<Self, MessageIdError> {
        let (ip, rest): (IpAddr, &[u8]) = match text.len() {
            32 => {
                let (ip, rest) = unhex(text.as_bytes())?;
                (Ipv4Addr::from(ip).into(), rest)
            }
            56 => {
                let (ip, rest) = unhex(text.as_bytes())?;
                (Ipv6Addr::from(ip).into(), rest)
            }
            len => return Err(MessageIdError::Length(len)),
        };
        let (port, rest) = unhex(rest)?;
        let (offset, _) = unhex(rest)?;
        let port = u32::from_be_bytes(port);
        let port = u16::try_from(port).map_err(|_| MessageIdError::Port(port))?;
        Ok(Self { host: SocketAddr::new(ip, port), offset: u64::from_be_bytes(offset) })
    }
}

impl fmt::Display for OffsetMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

fn unhex<const N: usize>(text: &[u8]) -> Result<([u8; N], &[u8]), MessageIdError> {
    let (digits, rest) = text.split_at_checked(2 * N).ok_or(MessageIdError::NotHex)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let digit = char::from(*digit).to_digit(16).ok_or(MessageIdError::NotHex)?;
            *byte = *byte << 4 | digit as u8;
        }
    }
    Ok((bytes, rest))
}

/// Text of an id, on the stack.
#[derive(Clone, Copy)]
pub struct IdText {
    chars: [u8; TEXT_MAX],
    len: usize,
}

impl Default for IdText {
    fn default() -> Self {
        Self { chars: [0; TEXT_MAX], len: 0 }
    }
}

impl IdText {
    /// The text.
    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits are ever written.
        self.chars.get(..self.len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        let places = self.chars.iter_mut().skip(self.len);
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
        for (place, digit) in places.zip(digits) {
            *place = HEX.get(usize::from(digit)).copied().unwrap_or(b'0');
        }
        self.len = (self.len + 2 * N).min(TEXT_MAX);
    }

    fn push_ip(&mut self, ip: IpAddr) {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.push(ip.octets()),
            IpAddr::V6(ip) => self.push(ip.octets()),
        }
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes unique keys: unique within the process by time and counter, among processes by address,
/// process id and salt. Shared by reference.
#[derive(Debug)]
pub struct UniqueKeys {
    /// The part that does not change.
    prefix: IdText,
    counter: AtomicU16,
}

impl UniqueKeys {
    /// A maker for the process `pid` on the host `ip`; `salt` tells it from others of this process.
    pub fn new(ip: IpAddr, pid: u32, salt: u32) -> Self {
        let mut prefix = IdText::default();
        prefix.push_ip(ip);
        prefix.push((pid as u16).to_be_bytes());
        prefix.push(salt.to_be_bytes());
        Self { prefix, counter: AtomicU16::new(0) }
    }

    /// The next key, at a time in ms since 1970.
    pub fn next(&self, now_ms: i64) -> IdText {
        let mut key = self.prefix;
        key.push((ms_of_month(now_ms) as u32).to_be_bytes());
        key.push(self.counter.fetch_add(1, Relaxed).wrapping_add(1).to_be_bytes());
        key
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Milliseconds since the month began (UTC).
fn ms_of_month(now_ms: i64) -> i64 {
    let day_of_month = day_of_month(now_ms.div_euclid(DAY_MS));
    (day_of_month - 1) * DAY_MS + now_ms.rem_euclid(DAY_MS)
}

/// The day of the month of a day since 1970-01-01, in the Gregorian calendar. Years are counted from
/// March so that the leap day is the last one.
fn day_of_month(day: i64) -> i64 {
    let day_of_era = (day + 719_468).rem_euclid(146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(host: &str, offset: u64) -> OffsetMessageId {
        OffsetMessageId { host: host.parse().unwrap(), offset }
    }

    #[test]
    fn ids_have_the_protocols_form() {
        let text = id("10.0.0.1:10911", 0x1234).to_string();
        assert_eq!(text, "0A00000100002A9F0000000000001234");
        assert_eq!(OffsetMessageId::parse(&text), Ok(id("10.0.0.1:10911", 0x1234)));
        let text = id("[2001:db8::1]:10911", 1).to_string();
        assert_eq!(text, "20010DB800000000000000000000000100002A9F0000000000000001");
        assert_eq!(OffsetMessageId::parse(&text), Ok(id("[2001:db8::1]:10911", 1)));
    }

    #[test]
    fn other_texts_are_refused() {
        use MessageIdError::*;
        assert_eq!(OffsetMessageId::parse(""), Err(Length(0)));
        assert_eq!(OffsetMessageId::parse(&"0".repeat(31)), Err(Length(31)));
        assert_eq!(OffsetMessageId::parse(&"g".repeat(32)), Err(NotHex));
        assert_eq!(OffsetMessageId::parse(&"é".repeat(16)), Err(NotHex));
        assert_eq!(OffsetMessageId::parse(&"F".repeat(32)), Err(Port(u32::MAX)));
    }

    #[test]
    fn keys_differ_and_hold_their_parts() {
        let keys = UniqueKeys::new("10.0.0.1".parse().unwrap(), 0x1_0002, 0xCAFE);
        let at = 31 * DAY_MS + 5; // 1970-02-01
        assert_eq!(keys.next(at).as_str(), "0A00000100020000CAFE000000050001");
        assert_eq!(keys.next(at).as_str(), "0A00000100020000CAFE000000050002");
    }

    #[test]
    fn months_begin_where_the_calendar_says() {
        let day = |day: i64| day_of_month(day);
        assert_eq!([day(0), day(30), day(31), day(58), day(59)], [1, 31, 1, 28, 1]);
        assert_eq!([day(11_016), day(11_017), day(19_782)], [29, 1, 29]); // 2000-02-29, 03-01, 2024-02-29
        assert_eq!(day(-1), 31);
    }

    proptest! {
        #[test]
        fn any_id_is_read_back(ip in any::<IpAddr>(), port: u16, offset: u64) {
            let id = OffsetMessageId { host: SocketAddr::new(ip.to_canonical(), port), offset };
            prop_assert_eq!(OffsetMessageId::parse(&id.to_string()), Ok(id));
        }

        #[test]
        fn any_text_is_refused_or_read(text in any::<String>()) {
            let _ = OffsetMessageId::parse(&text);
        }
    }
}
