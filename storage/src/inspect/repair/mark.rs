//! Records without content, in place of what is damaged in the middle of a log.
//!
//! Both brokers go through a log by the sizes of its records and stop at the first that does not hold: a
//! recovery then cuts the log there, and takes the sound records behind away. So a damaged stretch is
//! filled with a record that holds:
//!
//! | known of the stretch | what is written | who sees it |
//! |---|---|---|
//! | all but the body (wrong CRC) | the same record, its body empty | consumers get the message without body and with the property |
//! | the entry of a queue (topic, queue, place) | a record of that queue and place, its body empty | likewise; queue offsets have no gap |
//! | nothing | a record of a rolled back transaction, which is in no queue and no index | nobody |
//! | nothing, and it reaches to its file's end | a filler | nobody |
//!
//! The property [`DAMAGED`] takes up the room, as far as properties may; zeros in the body the rest.

use std::{io, ops::Range, path::Path};

use gantry_codec::{
    Record, body_crc,
    properties::{self, NAME_END, PAIR_END},
    record::{BLANK_MAGIC, PROPERTIES_BYTES_MAX, RecordHead, encoded_len, sys_flag},
};

use super::{
    super::{
        RowFile,
        diagnosis::{Diagnosis, LostEntry},
        log_scan::whole_record_at,
    },
    RepairError, io_error,
};
use crate::{consume_queue::RECORD_BYTES_MIN, disk::Disk};

/// The property of a record whose content was damaged.
pub const DAMAGED: &str = "GANTRY_DAMAGED";
/// Stretches of which nothing is known become records of at most this size.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// A stretch of a file, and what is written there.
#[derive(Debug)]
pub(super) struct Piece {
    at: u64,
    bytes: Vec<u8>,
}

/// What is known of a record.
struct Identity<'a> {
    topic: &'a str,
    queue: i32,
    queue_offset: i64,
    sys_flag: i32,
    properties: &'a str,
    store_timestamp: i64,
    born_timestamp: i64,
    hosts: (std::net::SocketAddr, std::net::SocketAddr),
}

impl<'a> Identity<'a> {
    fn nobody(store_timestamp: i64) -> Self {
        let host = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            topic: "",
            queue: 0,
            queue_offset: 0,
            sys_flag: sys_flag::ROLLBACK,
            properties: "",
            store_timestamp,
            born_timestamp: store_timestamp,
            hosts: (host, host),
        }
    }

    fn of_entry(lost: &'a LostEntry, store_timestamp: i64) -> Self {
        let (queue, queue_offset) = (lost.queue as i32, lost.slot as i64);
        let nobody = Self::nobody(store_timestamp);
        Self { topic: &lost.topic, queue, queue_offset, sys_flag: 0, ..nobody }
    }

    fn of_record(record: &Record<'a>) -> Self {
        Self {
            topic: record.topic,
            queue: record.queue_id,
            queue_offset: record.queue_offset,
            sys_flag: record.sys_flag,
            properties: record.properties,
            store_timestamp: record.store_timestamp,
            born_timestamp: record.born_timestamp,
            hosts: (record.born_host, record.store_host),
        }
    }

    /// What can be read of a record, of which the hosts may not be any.
    fn of_head(head: &RecordHead, bytes: &'a [u8]) -> Self {
        Self {
            // Both have been read before.
            topic: head.topic(bytes).unwrap_or_default(),
            properties: head.properties(bytes).unwrap_or_default(),
            queue: head.queue_id,
            queue_offset: head.queue_offset,
            sys_flag: head.sys_flag,
            born_timestamp: head.born_timestamp,
            ..Self::nobody(head.store_timestamp)
        }
    }

    /// A record of exactly `size` bytes at log offset `offset`; `None` if it takes more.
    fn record(&self, offset: u64, size: usize) -> Option<Vec<u8>> {
        let v6 = (self.hosts.0.is_ipv6(), self.hosts.1.is_ipv6());
        let least = encoded_len(self.topic.len(), self.properties.len(), 0, v6.0, v6.1);
        let spare = size.checked_sub(least)?;
        let mut text = self.properties.to_owned();
        let separator = usize::from(!text.is_empty() && !text.ends_with(PAIR_END));
        let around = separator + DAMAGED.len() + NAME_END.len_utf8() + PAIR_END.len_utf8();
        let room = (PROPERTIES_BYTES_MAX - text.len().min(PROPERTIES_BYTES_MAX)).min(spare);
        if let Some(value) = room.checked_sub(around).filter(|value| *value > 0) {
            properties::append(&mut text, DAMAGED, &"-".repeat(value));
        }
        let body = vec![0; spare - (text.len() - self.properties.len())];
        let record = Record {
            queue_id: self.queue,
            flag: 0,
            queue_offset: self.queue_offset,
            physical_offset: offset as i64,
            // The body is not compressed, nor a batch.
            sys_flag: self.sys_flag & sys_flag::TRANSACTION,
            born_timestamp: self.born_timestamp,
            born_host: self.hosts.0,
            store_timestamp: self.store_timestamp,
            store_host: self.hosts.1,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: if body.is_empty() { 0 } else { body_crc(&body) },
            body: &body,
            topic: self.topic,
            properties: &text,
        };
        if record.encoded_len() != size {
            return None;
        }
        let mut bytes = vec![0; size];
        record.write_to(&mut bytes);
        Some(bytes)
    }
}

type Marked = (RowFile, u64, u64, Vec<Piece>);

/// What to write over each damaged stretch; stretches that no record fits into are left.
pub(super) fn plan(disk: &dyn Disk, found: &Diagnosis) -> io::Result<Vec<Marked>> {
    let mut marked = Vec::new();
    for (range, before) in &found.damages {
        let Some(file) = file_of(&found.files, range.start) else { continue };
        let mut lost: Vec<_> =
            found.lost.iter().filter(|lost| range.contains(&lost.offset)).collect();
        lost.sort_by_key(|lost| lost.offset);
        lost.dedup_by_key(|lost| lost.offset);
        if let Some(pieces) = pieces(file, range, *before, &lost) {
            marked.push((file.clone(), range.start - file.start, range.end - file.start, pieces));
        }
    }
    for (range, before) in &found.wrong_crcs {
        let Some(file) = file_of(&found.files, range.start) else { continue };
        let Some((head, bytes)) = whole_record_at(disk, &found.files, range.start)? else {
            continue;
        };
        // If a queue knows it by another name, then more than the body is damaged.
        let entry = found.lost.iter().find(|lost| lost.offset == range.start);
        let identity = match (entry, Record::decode(&bytes)) {
            (Some(lost), _) => Identity::of_entry(lost, *before),
            (None, Ok(record)) => Identity::of_record(&record),
            (None, Err(_)) => Identity::of_head(&head, &bytes),
        };
        if let Some(bytes) = identity.record(range.start, bytes.len()) {
            let at = range.start - file.start;
            marked.push((file.clone(), at, range.end - file.start, vec![Piece { at, bytes }]));
        }
    }
    Ok(marked)
}

fn file_of(files: &[RowFile], offset: u64) -> Option<&RowFile> {
    files.iter().rev().find(|file| file.start <= offset)
}

/// Records that fill `range` together.
fn pieces(
    file: &RowFile,
    range: &Range<u64>,
    before: i64,
    lost: &[&LostEntry],
) -> Option<Vec<Piece>> {
    let (mut pieces, mut next) = (Vec::new(), range.start);
    for (index, entry) in lost.iter().enumerate() {
        nobodys(&mut pieces, file, next..entry.offset, before)?;
        let limit = lost.get(index + 1).map_or(range.end, |following| following.offset);
        let own = entry.offset.saturating_add(entry.size.into());
        // What would be left is the next record's, or too little for one of its own.
        let end = if own.saturating_add(RECORD_BYTES_MIN) <= limit { own } else { limit };
        let size = usize::try_from(end - entry.offset).ok()?;
        let bytes = Identity::of_entry(entry, before).record(entry.offset, size)?;
        pieces.push(Piece { at: entry.offset - file.start, bytes });
        next = end;
    }
    nobodys(&mut pieces, file, next..range.end, before)?;
    Some(pieces)
}

/// Fills a stretch of which nothing is known.
fn nobodys(pieces: &mut Vec<Piece>, file: &RowFile, range: Range<u64>, before: i64) -> Option<()> {
    let (mut at, end) = (range.start, range.end);
    if end == file.end() && at < end {
        let size = u32::try_from(end - at).ok().filter(|size| *size >= 8)?;
        let bytes = [size.to_be_bytes(), BLANK_MAGIC.to_be_bytes()].concat();
        pieces.push(Piece { at: at - file.start, bytes });
        return Some(());
    }
    while at < end {
        let rest = end - at;
        let size = if rest < 2 * PIECE_BYTES_MAX { rest } else { PIECE_BYTES_MAX };
        let bytes = Identity::nobody(before).record(at, usize::try_from(size).ok()?)?;
        pieces.push(Piece { at: at - file.start, bytes });
        at += size;
    }
    Some(())
}

/// Writes the pieces, having kept what was there.
pub(super) fn write(
    disk: &dyn Disk,
    root: &Path,
    file: &RowFile,
    pieces: &[Piece],
) -> Result<(), RepairError> {
    for Piece { at, bytes } in pieces {
        let io = || io_error(&file.path);
        let old = disk.read_at(&file.path, *at, bytes.len()).map_err(io())?;
        keep(disk, root, file.start + at, &old)?;
        let len = bytes.len() as u64;
        let segment = disk.open_segment(&file.path, file.start, file.len, *at).map_err(io())?;
        let mut writer = segment.writer();
        let place = writer.as_mut().and_then(|writer| writer.bytes(*at, len));
        let place = place.ok_or(io::ErrorKind::InvalidInput.into()).map_err(io())?;
        place.copy_from_slice(bytes);
        if let Some(writer) = &mut writer {
            writer.publish(at + len);
        }
        segment.sync(*at, at + len).map_err(io())?;
    }
    Ok(())
}

/// Puts bytes of the log aside; what was put aside before from that place stays.
pub(super) fn keep(
    disk: &dyn Disk,
    root: &Path,
    offset: u64,
    bytes: &[u8],
) -> Result<(), RepairError> {
    let path = root.join("damaged").join(format!("{offset:020}"));
    if bytes.is_empty() || disk.read(&path).map_err(io_error(&path))?.is_some() {
        return Ok(());
    }
    disk.write_atomic(&path, bytes).map_err(io_error(&path))
}
