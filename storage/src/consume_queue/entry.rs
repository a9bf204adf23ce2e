//! One slot of a consume queue, 20 bytes (store.md 2.2).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | position of the record in the log |
//! | 8 | 4 | its bytes; 0 marks an unused slot |
//! | 12 | 8 | hash of its tag, or what its topic puts in that place |

use crate::offset::PhysicalOffset;

/// Bytes of a slot.
pub(crate) const ENTRY_BYTES: u64 = 20;
/// A queue cannot have more slots: Java counts bytes by a signed number.
pub(crate) const SLOTS_MAX: u64 = i64::MAX as u64 / ENTRY_BYTES;
/// Size field of the slots before the first entry of a queue that does not begin at 0.
const PRE_BLANK_SIZE: u32 = 0x7FFF_FFFF;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Position of the record in the log.
    pub offset: PhysicalOffset,
    /// Bytes of the record.
    pub size: u32,
    /// Hash of its tag; see the module's text.
    pub tags_code: i64,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing.
    Unused,
    /// Nothing, but entries follow: before the first one, or for a message whose record is lost.
    PreBlank,
    /// A message.
    Entry(IndexEntry),
}

impl IndexEntry {
    /// One past its record's last byte.
    pub fn end(&self) -> PhysicalOffset {
        self.offset.plus(self.size.into())
    }
}

impl From<IndexEntry> for Slot {
    fn from(entry: IndexEntry) -> Self {
        Self::Entry(entry)
    }
}

impl Slot {
    /// Reads a slot; fewer bytes than one hold nothing.
    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let Some(bytes) = bytes.first_chunk() else { return Self::Unused };
        let [o0, o1, o2, o3, o4, o5, o6, o7, s0, s1, s2, s3, t0, t1, t2, t3, t4, t5, t6, t7] =
            *bytes;
        let offset = u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let tags_code = i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        // Both numbers are signed ones, and negative in no entry.
        if size == 0 || size > PRE_BLANK_SIZE || offset > i64::MAX as u64 {
            Self::Unused
        } else if size == PRE_BLANK_SIZE {
            Self::PreBlank
        } else {
            Self::Entry(IndexEntry { offset: PhysicalOffset(offset), size, tags_code })
        }
    }

    /// Writes a slot into its 20 bytes.
    #[inline]
    pub(crate) fn encode(self, out: &mut [u8]) {
        let (offset, size, tags_code) = match self {
            Self::Unused => (0, 0, 0),
            Self::PreBlank => (0, PRE_BLANK_SIZE, 0),
            Self::Entry(entry) => (entry.offset.0, entry.size, entry.tags_code),
        };
        let mut bytes = [0; ENTRY_BYTES as usize];
        let (out_offset, rest) = bytes.split_at_mut(8);
        let (out_size, out_tags_code) = rest.split_at_mut(4);
        out_offset.copy_from_slice(&offset.to_be_bytes());
        out_size.copy_from_slice(&size.to_be_bytes());
        out_tags_code.copy_from_slice(&tags_code.to_be_bytes());
        out.copy_from_slice(&bytes);
    }

    /// The entry, if it is one.
    pub(crate) fn entry(self) -> Option<IndexEntry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Unused | Self::PreBlank => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_javas() {
        let entry = IndexEntry {
            offset: PhysicalOffset(0x0102_0304_0506_0708),
            size: 0x0A0B,
            tags_code: -2,
        };
        let mut bytes = [0xEE; 20];
        Slot::Entry(entry).encode(&mut bytes);
        assert_eq!(
            bytes,
            [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 10, 11, 255, 255, 255, 255, 255, 255, 255, 254]
        );
        assert_eq!(Slot::decode(&bytes), Slot::Entry(entry));
        assert_eq!(entry.end(), PhysicalOffset(0x0102_0304_0506_0708 + 0x0A0B));
    }

    #[test]
    fn slots_that_hold_no_entry() {
        let slot = |offset: i64, size: i32| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&offset.to_be_bytes());
            bytes[8..12].copy_from_slice(&size.to_be_bytes());
            Slot::decode(&bytes)
        };
        assert_eq!(slot(0, 0), Slot::Unused);
        assert_eq!(slot(7, 0), Slot::Unused);
        assert_eq!(slot(-1, 5), Slot::Unused);
        assert_eq!(slot(7, -1), Slot::Unused);
        assert_eq!(slot(0, i32::MAX), Slot::PreBlank);
        assert_eq!(Slot::decode(&[1; 19]), Slot::Unused);
        let mut blank = [0xEE; 20];
        Slot::PreBlank.encode(&mut blank);
        assert_eq!(blank, [0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
