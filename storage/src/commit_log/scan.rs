//! Telling records from what only looks like them.
//!
//! A record is *sound* if its head and lengths fit each other and its body matches its CRC. It is
//! *certainly* one if it also names the place where it lies: that is how the next record is found again
//! behind damage that took the size of one.
//!
//! Topic and properties have no CRC. Of what was not flushed, a loss of power leaves out single sectors,
//! which are zeros then; no text has so many of them.

use std::ops::Range;

use gantry_codec::record::{self, BLANK_MAGIC, RecordHead, sys_flag};
use memchr::memmem;

use crate::offset::PhysicalOffset;

/// The bytes that the magics of records begin with (store.md 2.1), and where they lie in a record.
const MAGIC_BYTES: &[u8] = &[0xDA, 0xA3, 0x20];
const MAGIC_AT: usize = 4;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// What lies at a place in the log.
pub(crate) enum Checked {
    /// A whole record.
    Record {
        /// Its bytes.
        len: u64,
        /// When it was stored.
        timestamp: i64,
        /// Whether its texts end in zeros, as of a record whose last page was lost.
        may_be_torn: bool,
        /// Whether more records of its batch have to follow.
        continues: bool,
    },
    /// The rest of the file is unused.
    Blank,
    /// Zeros, or the file's end.
    Nothing,
    /// Something else; what is wrong with it.
    Broken(String),
}

/// Looks at the start of `bytes`, which reach to the end of their file.
pub(crate) fn check(bytes: &[u8], check_crc: bool) -> Checked {
    match record::record_len(bytes) {
        None | Some((0, 0)) => return Checked::Nothing,
        Some((_, BLANK_MAGIC)) => return Checked::Blank,
        Some(_) => {}
    }
    let head = match record::decode_head(bytes) {
        Ok(head) => head,
        Err(e) => return Checked::Broken(e.to_string()),
    };
    if check_crc && !body_is_sound(&head, bytes) {
        return Checked::Broken("the body does not match its CRC".into());
    }
    let ends_in_zero =
        |text: &Range<usize>| bytes.get(text.clone()).is_some_and(|t| t.last() == Some(&0));
    Checked::Record {
        len: head.total_size.into(),
        timestamp: head.store_timestamp,
        may_be_torn: ends_in_zero(&head.topic) || ends_in_zero(&head.properties),
        continues: head.sys_flag & sys_flag::BATCH_CONTINUES != 0,
    }
}

/// Whether the texts of the record at the start of `bytes`, which is at `place` in its file, have been
/// left out by a loss of power: a sector that begins within the record, and of which a part lies in a
/// text, is all zeros.
pub(crate) fn lacks_sector(bytes: &[u8], place: u64) -> bool {
    record::decode_head(bytes).is_ok_and(|head| {
        let mut texts = [&head.topic, &head.properties].into_iter();
        texts.any(|text| has_zero_sector(bytes, place, text))
    })
}

fn has_zero_sector(bytes: &[u8], place: u64, text: &Range<usize>) -> bool {
    let first = (place.next_multiple_of(SECTOR_BYTES as u64) - place) as usize;
    let behind_start = text.start.saturating_sub(SECTOR_BYTES - 1);
    let end = if text.is_empty() { 0 } else { text.end };
    (first..end)
        .step_by(SECTOR_BYTES)
        .skip_while(|at| *at < behind_start)
        .filter_map(|at| bytes.get(at..)?.chunks(SECTOR_BYTES).next())
        .any(|sector| sector.iter().all(|byte| *byte == 0))
}

/// Whether the body of a record matches its CRC; an empty body has none.
pub(crate) fn body_is_sound(head: &RecordHead, bytes: &[u8]) -> bool {
    let body = head.body(bytes);
    body.is_empty() || record::body_crc(body) == head.body_crc
}

/// The next record behind the start of `bytes`, which is at `offset`, that is certainly one; with the
/// bytes from it on.
pub(crate) fn next_sound_record(
    bytes: &[u8],
    offset: PhysicalOffset,
) -> Option<(PhysicalOffset, &[u8])> {
    let found = memmem::find_iter(bytes, MAGIC_BYTES).filter_map(|magic| {
        let at = magic.checked_sub(MAGIC_AT).filter(|at| *at > 0)?;
        Some((offset.plus(at as u64), bytes.get(at..)?))
    });
    found.into_iter().find(|(at, bytes)| is_certainly_record(bytes, *at))
}

/// Whether a sound record that names this place starts there.
pub(crate) fn is_certainly_record(bytes: &[u8], offset: PhysicalOffset) -> bool {
    record::decode_head(bytes)
        .is_ok_and(|head| head.physical_offset == offset.0 as i64 && body_is_sound(&head, bytes))
}
