//! The bytes of an index file (store.md 2.5): places, header, entries, hash and names, without state.
//!
//! | offset | size | field of the header |
//! |---|---|---|
//! | 0 | 8 | store time of the first entry, ms |
//! | 8 | 8 | store time of the last entry |
//! | 16 | 8 | log offset of the first entry's record |
//! | 24 | 8 | log offset of the last entry's record |
//! | 32 | 4 | hash slots in use (Java 4.3 counts every entry) |
//! | 36 | 4 | number of the next entry; entries count from 1 |
//!
//! Behind the header lie the hash slots, 4 bytes each: the number of the newest entry whose key falls
//! into the slot, 0 for none. Behind them lie the entries, 20 bytes each:
//!
//! | offset | size | field of an entry |
//! |---|---|---|
//! | 0 | 4 | hash of the key |
//! | 4 | 8 | log offset of the record |
//! | 12 | 4 | seconds from the file's first time to the record's |
//! | 16 | 4 | number of the entry before in the same slot, 0 for none |
//!
//! Entry 0 is never used, so a file for `n` entries holds `n - 1`. Every field is a multiple of 4 bytes
//! at a multiple of 4: a file is an array of 32-bit words. All numbers are big-endian.

use chrono::DateTime;

use crate::offset::PhysicalOffset;

/// Bytes of the header.
pub const HEADER_BYTES: u64 = 40;
/// Bytes of a hash slot.
pub const SLOT_BYTES: u64 = 4;
/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 20;
/// Number of the first entry.
pub const FIRST_ENTRY: u32 = 1;
/// Digits of a file's name.
pub const NAME_DIGITS: usize = 17;

/// How many slots and entries a file has: `maxHashSlotNum` and `maxIndexNum`. All files of a store have
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLayout {
    /// Hash slots.
    pub hash_slots: u32,
    /// Entries, with the unused entry 0.
    pub entries: u32,
}

impl IndexLayout {
    /// Bytes of a file.
    pub fn file_bytes(&self) -> u64 {
        self.entry_at(self.entries)
    }

    /// The slot of a hash.
    pub fn slot_of(&self, hash: u32) -> u32 {
        hash.checked_rem(self.hash_slots).unwrap_or(0)
    }

    /// Where a slot lies in the file.
    pub fn slot_at(&self, slot: u32) -> u64 {
        HEADER_BYTES + u64::from(slot) * SLOT_BYTES
    }

    /// Where an entry lies in the file.
    pub fn entry_at(&self, number: u32) -> u64 {
        self.slot_at(self.hash_slots) + u64::from(number) * ENTRY_BYTES
    }

    /// Whether `number` can be that of an entry, if `next` is that of the next one.
    pub fn is_entry(&self, number: u32, next: u32) -> bool {
        (FIRST_ENTRY..next.min(self.entries)).contains(&number)
    }
}

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    /// Store time of the first entry, ms; in a file without entries, the last time of the file before.
    pub begin_timestamp: i64,
    /// Store time of the last entry, likewise.
    pub end_timestamp: i64,
    /// Place of the first entry's record; in a file without entries, the last of the file before.
    pub begin_offset: PhysicalOffset,
    /// Place of the last entry's record, likewise.
    pub end_offset: PhysicalOffset,
    /// Slots in use; of no consequence.
    pub hash_slot_count: u32,
    /// Number of the next entry.
    pub next_entry: u32,
}

impl Default for IndexHeader {
    /// Of the first file of a store, before its first entry.
    fn default() -> Self {
        Self {
            begin_timestamp: 0,
            end_timestamp: 0,
            begin_offset: PhysicalOffset(0),
            end_offset: PhysicalOffset(0),
            hash_slot_count: 0,
            next_entry: FIRST_ENTRY,
        }
    }
}

impl IndexHeader {
    /// Reads the header at the start of a file; `None` if there are too few bytes. A count that is not
    /// positive is read as that of a file without entries, a negative offset as 0.
    pub fn decode(file: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(i64::from_be_bytes(*file.get(at..)?.first_chunk()?));
        let int = |at: usize| Some(i32::from_be_bytes(*file.get(at..)?.first_chunk()?));
        let offset = |at| Some(PhysicalOffset(u64::try_from(long(at)?).unwrap_or(0)));
        Some(Self {
            begin_timestamp: long(0)?,
            end_timestamp: long(8)?,
            begin_offset: offset(16)?,
            end_offset: offset(24)?,
            hash_slot_count: u32::try_from(int(32)?).unwrap_or(0),
            next_entry: u32::try_from(int(36)?).unwrap_or(0).max(FIRST_ENTRY),
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let longs = [
            self.begin_timestamp,
            self.end_timestamp,
            self.begin_offset.0 as i64,
            self.end_offset.0 as i64,
        ];
        let ints = [self.hash_slot_count, self.next_entry];
        let bytes = longs.iter().flat_map(|long| long.to_be_bytes());
        let mut header = [0; HEADER_BYTES as usize];
        for (to, from) in
            header.iter_mut().zip(bytes.chain(ints.iter().flat_map(|i| i.to_be_bytes())))
        {
            *to = from;
        }
        header
    }

    /// Whether the times of the file's entries and the span from `begin` to `end` have something in
    /// common. Spans are taken as Java takes them: one that ends before it begins may match too.
    pub fn overlaps(&self, begin: i64, end: i64) -> bool {
        let (first, last) = (self.begin_timestamp, self.end_timestamp);
        let is_within = |time| (first..=last).contains(&time);
        (begin < first && end > last) || is_within(begin) || is_within(end)
    }

    /// The seconds of an entry for a record that was stored at `timestamp`: between 0 and `i32::MAX`,
    /// and 0 as long as the file has no first time.
    pub fn seconds_to(&self, timestamp: i64) -> u32 {
        if self.begin_timestamp <= 0 {
            return 0;
        }
        let seconds = timestamp.saturating_sub(self.begin_timestamp) / 1000;
        seconds.clamp(0, i32::MAX.into()) as u32
    }
}

/// An entry: that a record has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Hash of the key, see [`key_hash`].
    pub hash: u32,
    /// Where the record lies.
    pub offset: PhysicalOffset,
    /// Seconds from the file's first time to the record's.
    pub seconds: u32,
    /// The entry before in the same slot; 0 is none.
    pub previous: u32,
}

impl KeyEntry {
    /// Reads the entry at the start of `bytes`; `None` if there are too few.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self::from_words([word(0)?, word(4)?, word(8)?, word(12)?, word(16)?]))
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let mut bytes = [0; ENTRY_BYTES as usize];
        let words = self.to_words();
        for (to, from) in bytes.iter_mut().zip(words.iter().flat_map(|word| word.to_be_bytes())) {
            *to = from;
        }
        bytes
    }

    /// The entry of these words.
    pub fn from_words([hash, high, low, seconds, previous]: [u32; 5]) -> Self {
        let offset = PhysicalOffset(u64::from(high) << 32 | u64::from(low));
        Self { hash, offset, seconds, previous }
    }

    /// Its words, as numbers.
    pub fn to_words(&self) -> [u32; 5] {
        let (high, low) = ((self.offset.0 >> 32) as u32, self.offset.0 as u32);
        [self.hash, high, low, self.seconds, self.previous]
    }
}

/// The key as it is hashed.
pub fn key_string(topic: &str, key: &str) -> String {
    format!("{topic}#{key}")
}

/// The hash of a key of a topic: Java's hash of [`key_string`] without its sign. The one number that
/// has no positive counterpart becomes 0.
pub fn key_hash(topic: &str, key: &str) -> u32 {
    TopicHash::new(topic).of(key)
}

/// The key that stands for a tag, as Java indexes it from 5.4 on.
pub fn tag_string(topic: &str, tag: &str) -> String {
    format!("{topic}#T#{tag}")
}

/// The hash of a topic, from which those of its keys go on: neighbours in the log are often of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicHash(i32);

impl TopicHash {
    /// Of this topic.
    pub fn new(topic: &str) -> Self {
        Self(java_hash(java_hash(0, topic), "#"))
    }

    /// The hash of one of the topic's keys; see [`key_hash`].
    pub fn of(self, key: &str) -> u32 {
        without_sign(java_hash(self.0, key))
    }

    /// The hash of a tag of the topic, likewise; see [`tag_string`].
    pub fn of_tag(self, tag: &str) -> u32 {
        without_sign(java_hash(java_hash(self.0, "T#"), tag))
    }
}

fn without_sign(hash: i32) -> u32 {
    hash.checked_abs().unwrap_or(0) as u32
}

/// Java's hash of a text that goes on with `more`, over UTF-16 units.
fn java_hash(hash: i32, more: &str) -> i32 {
    more.encode_utf16().fold(hash, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

/// The name of a file that is made when local clocks show `local_ms` (ms since 1970 on the clock, that
/// is, with the time zone's distance added): year to millisecond, 17 digits.
pub fn file_name(local_ms: i64) -> String {
    let local = DateTime::from_timestamp_millis(local_ms).unwrap_or_default();
    local.format("%Y%m%d%H%M%S%3f").to_string()
}

/// The number that a file's name is; `None` if it is not the name of an index file.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let is_name = name.len() == NAME_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    name.parse().ok().filter(|_| is_name)
}

/// The name of the file with this number.
pub fn file_name_of(number: u64) -> String {
    format!("{number:017}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: IndexLayout = IndexLayout { hash_slots: 5_000_000, entries: 20_000_000 };

    #[test]
    fn a_file_of_the_usual_size() {
        assert_eq!(LAYOUT.file_bytes(), 420_000_040);
        assert_eq!(LAYOUT.slot_at(0), 40);
        assert_eq!(LAYOUT.slot_at(4_999_999), 20_000_036);
        assert_eq!(LAYOUT.entry_at(0), 20_000_040);
        assert_eq!(LAYOUT.entry_at(1), 20_000_060);
        assert_eq!(LAYOUT.slot_of(5_000_001), 1);
    }

    #[test]
    fn entry_0_and_those_to_come_are_none() {
        assert!(!LAYOUT.is_entry(0, 3));
        assert!(LAYOUT.is_entry(1, 3));
        assert!(LAYOUT.is_entry(2, 3));
        assert!(!LAYOUT.is_entry(3, 3));
        assert!(!LAYOUT.is_entry(20_000_000, u32::MAX));
    }

    fn header() -> IndexHeader {
        IndexHeader {
            begin_timestamp: 1,
            end_timestamp: 2,
            begin_offset: PhysicalOffset(3),
            end_offset: PhysicalOffset(4),
            hash_slot_count: 5,
            next_entry: 6,
        }
    }

    #[test]
    fn the_header_is_read_as_it_was_written() {
        let bytes = header().encode();
        assert_eq!(bytes[..16], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(bytes[24..], [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6]);
        assert_eq!(IndexHeader::decode(&bytes), Some(header()));
        assert_eq!(IndexHeader::decode(&bytes[..39]), None);
    }

    #[test]
    fn a_count_that_is_not_positive_is_one() {
        assert_eq!(IndexHeader::decode(&[0; 40]), Some(IndexHeader::default()));
        let mut bytes = header().encode();
        bytes[36..].copy_from_slice(&(-7i32).to_be_bytes());
        assert_eq!(IndexHeader::decode(&bytes).unwrap().next_entry, 1);
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let offset = PhysicalOffset(0x0102_0304_0506_0708);
        let entry = KeyEntry { hash: 9, offset, seconds: 10, previous: 11 };
        let bytes = entry.encode();
        assert_eq!(bytes, [0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 10, 0, 0, 0, 11]);
        assert_eq!(KeyEntry::decode(&bytes), Some(entry));
        assert_eq!(KeyEntry::decode(&bytes[..19]), None);
    }

    #[test]
    fn the_hash_is_javas_without_its_sign() {
        assert_eq!(key_string("T", "k"), "T#k");
        // "T#k" = (84 * 31 + 35) * 31 + 107.
        assert_eq!(key_hash("T", "k"), 81_916);
        assert_eq!(key_hash("T", ""), 84 * 31 + 35);
        let keys = ["a", "bb", "OrderID188", "0A0B0C0D0E0F"];
        let signed = keys.map(|key| java_hash(0, &key_string("TopicTest", key)));
        assert!(signed.iter().any(|hash| *hash < 0), "{signed:?}");
        assert_eq!(keys.map(|key| key_hash("TopicTest", key)), signed.map(i32::unsigned_abs));
        let tag = java_hash(0, &tag_string("TopicTest", "TagA"));
        assert_eq!(TopicHash::new("TopicTest").of_tag("TagA"), tag.unsigned_abs());
        // A character beyond the first plane is two units.
        assert_eq!(key_hash("T", "😀"), ((84 * 31 + 35) * 31 + 0xD83D) * 31 + 0xDE00);
    }

    #[test]
    fn the_number_without_a_positive_counterpart_becomes_0() {
        assert_eq!(java_hash(0, "polygenelubricants"), i32::MIN);
        assert_eq!(TopicHash(java_hash(0, "polygene")).of("lubricants"), 0);
    }

    #[test]
    fn seconds_are_within_what_an_entry_takes() {
        let header = IndexHeader { begin_timestamp: 10_000, ..IndexHeader::default() };
        assert_eq!(header.seconds_to(10_999), 0);
        assert_eq!(header.seconds_to(11_000), 1);
        assert_eq!(header.seconds_to(5_000), 0);
        assert_eq!(header.seconds_to(i64::MAX), i32::MAX as u32);
        assert_eq!(IndexHeader::default().seconds_to(11_000), 0);
    }

    #[test]
    fn spans_overlap_as_javas_do() {
        let header = IndexHeader { begin_timestamp: 10, end_timestamp: 20, ..header() };
        for (begin, end, overlaps) in [
            (0, 9, false),
            (0, 10, true),
            (0, 30, true),
            (12, 15, true),
            (20, 99, true),
            (21, 99, false),
            (15, 12, true),
            (30, 0, false),
        ] {
            assert_eq!(header.overlaps(begin, end), overlaps, "{begin} to {end}");
        }
    }

    #[test]
    fn names_are_times_on_the_clock() {
        assert_eq!(file_name(1_558_606_385_007), "20190523101305007");
        assert_eq!(parse_file_name("20190523101305007"), Some(20_190_523_101_305_007));
        assert_eq!(file_name_of(20_190_523_101_305_007), "20190523101305007");
        for name in ["2019052310130500", "201905231013050070", "+0190523101305007", "x", ""] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
