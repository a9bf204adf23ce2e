//! Index files written anew from the log.
//!
//! From the first file that disagrees on, all are written again, since entries lie in the order of the
//! log over all of them. They get the names that they had; more files than before get the next numbers.
//! A file is written into place at once, so a crash leaves whole files or none.

use std::{ops::ControlFlow, path::PathBuf};

use super::{
    super::{
        expected::expected_keys,
        index_check::IndexFile,
        log_files::RowFile,
        log_scan::{LogItem, scan_log},
    },
    RepairError, io_error,
};
use crate::{
    disk::Disk,
    index::layout::{
        ENTRY_BYTES, FIRST_ENTRY, HEADER_BYTES, IndexHeader, IndexLayout, KeyEntry, file_name_of,
        parse_file_name,
    },
    offset::PhysicalOffset,
    segment::SegmentWriter,
};

/// A file that is being written.
struct Making {
    path: PathBuf,
    writer: SegmentWriter,
    layout: IndexLayout,
    header: IndexHeader,
}

/// Writes `bad` anew; `kept` is the file before.
pub(super) fn rewrite(
    disk: &dyn Disk,
    log: &[RowFile],
    kept: Option<&IndexFile>,
    bad: &[IndexFile],
) -> Result<(), RepairError> {
    let Some(first) = bad.first() else { return Ok(()) };
    for file in bad {
        disk.remove(&file.path).map_err(io_error(&file.path))?;
    }
    let mut names = bad.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    names.reverse();
    let behind = kept.map(|file| file.header.end_offset.0);
    // A record's keys may fill a file up and go on in the next.
    let mut have = kept.map_or(Ok(Vec::new()), |file| last_keys(disk, file))?;
    let layout = first.layout;
    let (mut making, mut failed): (Option<Making>, Option<RepairError>) = (None, None);
    scan_log(disk, log, behind.unwrap_or(0), &mut |item| {
        let LogItem::Record(record) = item else { return ControlFlow::Continue(()) };
        if behind.is_some_and(|behind| record.offset < behind) {
            return ControlFlow::Continue(());
        }
        let _ = expected_keys(&record.head, record.bytes, &mut |hash| {
            let is_there = have.iter().position(|found| (record.offset, hash) == *found);
            if let Some(place) = is_there {
                have.swap_remove(place);
                return;
            }
            if failed.is_some() {
                return;
            }
            let is_full = making.as_ref().is_none_or(Making::is_full);
            if is_full {
                failed = next_file(disk, &mut making, &mut names, layout, &first.path).err();
            }
            if let Some(file) = &mut making {
                file.put(hash, record.offset, record.head.store_timestamp);
            }
        });
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    failed.map_or(Ok(()), Err)?;
    making.map_or(Ok(()), Making::finish)
}

/// The keys of the newest record in a file, each with the record's place.
fn last_keys(disk: &dyn Disk, file: &IndexFile) -> Result<Vec<(u64, u32)>, RepairError> {
    let (mut keys, last) = (Vec::new(), file.header.end_offset);
    for number in (FIRST_ENTRY..file.entries_end()).rev() {
        let at = file.layout.entry_at(number);
        let bytes = disk.read_at(&file.path, at, ENTRY_BYTES as usize);
        let entry = KeyEntry::decode(&bytes.map_err(io_error(&file.path))?);
        match entry.filter(|entry| entry.offset == last) {
            Some(entry) => keys.push((last.0, entry.hash)),
            None => break,
        }
    }
    Ok(keys)
}

/// Finishes the current file and makes the next one.
fn next_file(
    disk: &dyn Disk,
    making: &mut Option<Making>,
    names: &mut Vec<PathBuf>,
    layout: IndexLayout,
    sample: &std::path::Path,
) -> Result<(), RepairError> {
    let last = making.as_ref().map(|file| file.path.clone());
    making.take().map_or(Ok(()), Making::finish)?;
    let path = names.pop().unwrap_or_else(|| {
        let name = last.as_deref().unwrap_or(sample).file_name().unwrap_or_default();
        let number = parse_file_name(&name.to_string_lossy()).unwrap_or(0);
        sample.with_file_name(file_name_of(number + 1))
    });
    let made = disk.create_sparse_segment(&path, 0, layout.file_bytes());
    let segment = made.map_err(io_error(&path))?;
    disk.reserve(&path, 0, layout.file_bytes()).map_err(io_error(&path))?;
    *making = segment.writer().map(|writer| Making {
        path,
        writer,
        layout,
        header: IndexHeader::default(),
    });
    Ok(())
}

impl Making {
    fn is_full(&self) -> bool {
        self.header.next_entry >= self.layout.entries
    }

    fn put(&mut self, hash: u32, offset: u64, timestamp: i64) {
        let (number, layout) = (self.header.next_entry, self.layout);
        let header = &mut self.header;
        if number == FIRST_ENTRY {
            (header.begin_offset, header.begin_timestamp) = (PhysicalOffset(offset), timestamp);
        }
        let slot_at = layout.slot_at(layout.slot_of(hash));
        let mut previous = 0;
        if let Some(Ok(slot)) = self.writer.bytes(slot_at, 4).map(<&mut [u8; 4]>::try_from) {
            previous = u32::from_be_bytes(*slot);
            *slot = number.to_be_bytes();
        }
        let seconds = header.seconds_to(timestamp);
        let entry = KeyEntry { hash, offset: PhysicalOffset(offset), seconds, previous }.encode();
        if let Some(place) = self.writer.bytes(layout.entry_at(number), entry.len() as u64) {
            place.copy_from_slice(&entry);
        }
        header.hash_slot_count += u32::from(previous == 0);
        (header.end_offset, header.end_timestamp) = (PhysicalOffset(offset), timestamp);
        header.next_entry = number + 1;
    }

    fn finish(mut self) -> Result<(), RepairError> {
        let header = self.header.encode();
        if let Some(place) = self.writer.bytes(0, HEADER_BYTES) {
            place.copy_from_slice(&header);
        }
        let len = self.layout.file_bytes();
        self.writer.publish(len);
        self.writer.segment().sync(0, len).map_err(io_error(&self.path))
    }
}
