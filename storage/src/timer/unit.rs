//! One unit of the timer log, 52 bytes (store.md 2.7): a message that waits, and the one that waited
//! in the same slot before it.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | 52 |
//! | 4 | 8 | position of the previous unit of the slot, -1 if there is none |
//! | 12 | 4 | bit 0: a unit, bit 1: the message goes round again, bit 2: the message cancels another one |
//! | 16 | 8 | when it was written, ms |
//! | 24 | 4 | when it is due, counted from then |
//! | 28 | 8 | position of the message in the log |
//! | 36 | 4 | its bytes |
//! | 40 | 4 | Java's hash of the topic that it is meant for |
//! | 44 | 8 | zeros |
//!
//! Java's due time is that of the slot, a whole multiple of the precision. Ours is the last millisecond
//! before the message is due: it lies in the same slot, as a message that is due at a whole multiple
//! waits in the slot before, and nothing of Java's reads more of it than the slot.
//!
//! A unit may lie across two sectors, of which a loss of power may leave one. The other is zeros then,
//! and so is at least one of the two sizes: no message is empty. If the boundary lies behind them, only
//! the topic's hash can be lost, which tells nobody what to deliver.

use crate::offset::PhysicalOffset;

/// Bytes of a unit.
pub(super) const UNIT_BYTES: u64 = 52;
/// Bytes that are kept free at the end of a file, for the blank unit that closes it.
pub(super) const BLANK_BYTES: u64 = 16;
/// In the place of the flags: nothing more in this file.
const BLANK_MAGIC: u32 = 0xCBD4_3194;
/// All bits that flags may have.
const FLAGS: u32 = 0xF;

/// Flags of a unit.
pub mod flags {
    /// Every unit has it.
    pub const PLAIN: u32 = 1;
    /// The message is stored again and waits another round.
    pub const ROLL: u32 = 1 << 1;
    /// The message cancels another one.
    pub const CANCEL: u32 = 1 << 2;
}

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerUnit {
    /// The unit before it in the slot.
    pub previous: Option<u64>,
    /// See [`flags`].
    pub flags: u32,
    /// When it was written, ms.
    pub written_ms: i64,
    /// A time within its slot, ms; see the module's text.
    pub time_ms: i64,
    /// Where the message lies in the log.
    pub offset: PhysicalOffset,
    /// Its bytes.
    pub size: u32,
    /// Hash of the topic that it is meant for.
    pub topic_hash: i32,
}

/// What lies at a place of the timer log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Unit(TimerUnit),
    /// The rest of the file is unused.
    Blank,
    /// No unit: the end of what was written, or of what can be relied on.
    Nothing,
}

impl TimerUnit {
    /// Whether the message waits another round.
    pub fn rolls(&self) -> bool {
        self.flags & flags::ROLL != 0
    }

    /// Whether it cancels another message, which lies in the same slot.
    pub fn cancels(&self) -> bool {
        self.flags & flags::CANCEL != 0 && !self.rolls()
    }

    /// By how much its slot's count changes.
    pub(super) fn weight(&self) -> i32 {
        if self.flags & flags::CANCEL != 0 { -1 } else { 1 }
    }

    pub(super) fn encode(&self) -> [u8; UNIT_BYTES as usize] {
        let mut bytes = [0; UNIT_BYTES as usize];
        let previous = self.previous.map_or(-1, |previous| previous as i64);
        let delay = self.time_ms.saturating_sub(self.written_ms) as i32;
        let parts: [&[u8]; 8] = [
            &(UNIT_BYTES as u32).to_be_bytes(),
            &previous.to_be_bytes(),
            &self.flags.to_be_bytes(),
            &self.written_ms.to_be_bytes(),
            &delay.to_be_bytes(),
            &self.offset.0.to_be_bytes(),
            &self.size.to_be_bytes(),
            &self.topic_hash.to_be_bytes(),
        ];
        let filled = parts.into_iter().flatten();
        bytes.iter_mut().zip(filled).for_each(|(byte, filled)| *byte = *filled);
        bytes
    }

    /// The blank unit that closes a file of which `rest` bytes are left.
    pub(super) fn blank(rest: u64) -> [u8; BLANK_BYTES as usize] {
        let mut bytes = [0; BLANK_BYTES as usize];
        let (rest, magic) = ((rest as u32).to_be_bytes(), BLANK_MAGIC.to_be_bytes());
        let filled = rest.iter().chain(&[0; 8]).chain(&magic);
        bytes.iter_mut().zip(filled).for_each(|(byte, filled)| *byte = *filled);
        bytes
    }

    /// Reads what lies at the start of `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Found {
        let mut reader = Reader(bytes);
        reader.found().unwrap_or(Found::Nothing)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn found(&mut self) -> Option<Found> {
        let size = self.u32()?;
        let previous = self.i64()?;
        let flags = self.u32()?;
        if flags == BLANK_MAGIC {
            return Some(Found::Blank);
        }
        let (written_ms, delay) = (self.i64()?, self.u32()? as i32);
        let (offset, size_of_message) = (self.i64()?, self.u32()?);
        let topic_hash = self.u32()? as i32;
        self.take::<8>()?;
        let is_unit = u64::from(size) == UNIT_BYTES
            && flags | FLAGS == FLAGS
            && previous >= -1
            && offset >= 0
            && written_ms >= 0
            && size_of_message != 0;
        let unit = TimerUnit {
            previous: u64::try_from(previous).ok(),
            flags,
            written_ms,
            time_ms: written_ms.saturating_add(delay.into()),
            offset: PhysicalOffset(offset as u64),
            size: size_of_message,
            topic_hash,
        };
        Some(if is_unit { Found::Unit(unit) } else { Found::Nothing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: TimerUnit = TimerUnit {
        previous: Some(0x0102),
        flags: flags::PLAIN | flags::ROLL,
        written_ms: 1_700_000_000_000,
        time_ms: 1_700_000_004_321,
        offset: PhysicalOffset(0xABCD),
        size: 300,
        topic_hash: -5,
    };

    #[test]
    fn bytes_are_javas() {
        let bytes = UNIT.encode();
        assert_eq!(bytes[..16], [0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]);
        assert_eq!(bytes[16..24], 1_700_000_000_000_i64.to_be_bytes());
        assert_eq!(bytes[24..28], 4321_i32.to_be_bytes());
        assert_eq!(bytes[28..40], [0, 0, 0, 0, 0, 0, 0xAB, 0xCD, 0, 0, 1, 44]);
        assert_eq!(bytes[40..], [0xFF, 0xFF, 0xFF, 0xFB, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(TimerUnit::decode(&bytes), Found::Unit(UNIT));
        let first = TimerUnit { previous: None, ..UNIT };
        assert_eq!(first.encode()[4..12], [0xFF; 8]);
        assert_eq!(TimerUnit::decode(&first.encode()), Found::Unit(first));
    }

    #[test]
    fn a_blank_closes_a_file() {
        let bytes = TimerUnit::blank(40);
        assert_eq!(bytes, [0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0xCB, 0xD4, 0x31, 0x94]);
        assert_eq!(TimerUnit::decode(&bytes), Found::Blank);
    }

    #[test]
    fn what_is_no_unit_is_nothing() {
        assert_eq!(TimerUnit::decode(&[0; 52]), Found::Nothing);
        assert_eq!(TimerUnit::decode(&UNIT.encode()[..51]), Found::Nothing);
        for (at, byte) in [(3, 53), (4, 0x80), (12, 1), (15, 0x11), (16, 0xFF), (28, 0x80)] {
            let mut bytes = UNIT.encode();
            bytes[at] = byte;
            assert_eq!(TimerUnit::decode(&bytes), Found::Nothing, "byte {at}");
        }
    }

    #[test]
    fn a_unit_that_a_sector_cuts_in_two_is_nothing() {
        let whole = UNIT.encode();
        for cut in (4..=36).step_by(4) {
            let (mut head, mut tail) = (whole, whole);
            head[cut..].fill(0);
            assert_eq!(TimerUnit::decode(&head), Found::Nothing, "{cut} bytes left");
            tail[..cut].fill(0);
            assert_eq!(TimerUnit::decode(&tail), Found::Nothing, "{cut} bytes lost");
        }
        let mut head = whole;
        head[40..].fill(0);
        let without_hash = TimerUnit { topic_hash: 0, ..UNIT };
        assert_eq!(TimerUnit::decode(&head), Found::Unit(without_hash));
    }

    #[test]
    fn a_cancelling_unit_takes_one_from_the_count() {
        let cancels = TimerUnit { flags: flags::PLAIN | flags::CANCEL, ..UNIT };
        assert!(cancels.cancels() && cancels.weight() == -1);
        let later = TimerUnit { flags: cancels.flags | flags::ROLL, ..UNIT };
        assert!(later.rolls() && !later.cancels());
        assert_eq!(UNIT.weight(), 1);
    }
}
