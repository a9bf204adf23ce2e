//! One unit of a queue's extension, and how an entry names it (store.md 2.3).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | its bytes: 20 and those of the bitmap; 0 or less where a file ends before its length |
//! | 2 | 8 | hash of the tag, or what the topic puts in that place |
//! | 10 | 8 | when the message was stored, in ms |
//! | 18 | 2 | bytes of the bitmap |
//! | 20 | n | bitmap of the filters that the message passes |
//!
//! An entry names the unit by its *address*: the byte of the extension at which it starts, plus the least
//! 64-bit number. No hash of a tag is as small as that, and no time.

/// Bytes of a unit without its bitmap.
pub(crate) const UNIT_BYTES: u64 = 20;
/// So many bytes of a file are left free behind its last unit, for the mark.
pub(super) const END_BYTES: u64 = 4;
/// What ends a file before its length.
pub(super) const END_MARK: [u8; 2] = (-1i16).to_be_bytes();
/// Whatever is greater is no address.
pub(crate) const ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// What a unit says; a bitmap is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Hash of the tag, or what the topic puts in that place.
    pub(crate) tags_code: i64,
    /// When the message was stored, in ms.
    pub(crate) store_timestamp: i64,
}

impl Unit {
    /// Its bytes, without a bitmap.
    pub(crate) fn encode(self) -> [u8; UNIT_BYTES as usize] {
        let mut bytes = [0; UNIT_BYTES as usize];
        let (size, rest) = bytes.split_at_mut(2);
        let (tags_code, rest) = rest.split_at_mut(8);
        let (time, _) = rest.split_at_mut(8);
        size.copy_from_slice(&(UNIT_BYTES as i16).to_be_bytes());
        tags_code.copy_from_slice(&self.tags_code.to_be_bytes());
        time.copy_from_slice(&self.store_timestamp.to_be_bytes());
        bytes
    }

    /// The unit that `bytes` begin with, and its length with the bitmap; `None` if there is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u64)> {
        let [s0, s1, t0, t1, t2, t3, t4, t5, t6, t7, m0, m1, m2, m3, m4, m5, m6, m7, b0, b1] =
            *bytes.first_chunk()?;
        let size = u64::try_from(i16::from_be_bytes([s0, s1])).ok()?;
        let bitmap = u64::try_from(i16::from_be_bytes([b0, b1])).ok()?;
        let unit = Self {
            tags_code: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            store_timestamp: i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
        };
        (size == UNIT_BYTES + bitmap).then_some((unit, size))
    }
}

/// The byte of the extension that a code names; `None` if the code is no address.
#[inline]
pub(crate) fn position(code: i64) -> Option<u64> {
    (code <= ADDRESS_MAX).then(|| code.wrapping_sub(i64::MIN) as u64)
}

/// The address of the unit at `position`; `None` if no address reaches so far.
pub(super) fn address(position: u64) -> Option<i64> {
    let code = i64::try_from(position).ok()?.wrapping_add(i64::MIN);
    (code <= ADDRESS_MAX).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_javas() {
        let unit = Unit { tags_code: -2, store_timestamp: 0x0102_0304_0506_0708 };
        let bytes = unit.encode();
        let mut want = vec![0, 20];
        want.extend([255, 255, 255, 255, 255, 255, 255, 254, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
        assert_eq!(bytes[..], want);
        assert_eq!(Unit::decode(&bytes), Some((unit, 20)));
    }

    #[test]
    fn a_bitmap_is_passed_over() {
        let unit = Unit { tags_code: 7, store_timestamp: 8 };
        let mut bytes = unit.encode();
        (bytes[1], bytes[19]) = (28, 8);
        assert_eq!(Unit::decode(&bytes), Some((unit, 28)));
    }

    #[test]
    fn what_is_no_unit() {
        let whole = Unit { tags_code: 7, store_timestamp: 8 }.encode();
        assert_eq!(Unit::decode(&whole[..19]), None, "cut");
        assert_eq!(Unit::decode(&[0; 20]), None, "nothing");
        for (at, byte) in [(0, 255), (0, 1), (1, 19), (1, 21), (18, 255), (19, 1)] {
            let mut bytes = whole;
            bytes[at] = byte;
            assert_eq!(Unit::decode(&bytes), None, "{byte} at {at}");
        }
    }

    #[test]
    fn addresses_are_no_hashes() {
        assert_eq!(address(0), Some(i64::MIN));
        assert_eq!(address(40), Some(i64::MIN + 40));
        assert_eq!(position(i64::MIN + 40), Some(40));
        assert_eq!(position(i32::MIN.into()), None);
        assert_eq!(position(0), None);
        assert_eq!(position(-2_147_483_649), Some(9_223_372_034_707_292_159));
        assert_eq!(address(9_223_372_034_707_292_159), Some(-2_147_483_649));
        assert_eq!(address(9_223_372_034_707_292_160), None);
        assert_eq!(address(u64::MAX), None);
    }
}
