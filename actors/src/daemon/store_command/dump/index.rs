//! The key index: its files, their entries, and what it has for a key.

use std::{io, ops::ControlFlow};

use gantry_storage::{
    Disk,
    inspect::{IndexFile, IndexRow, Inspection, index_contents, index_entries, index_lookup},
};
use serde_json::json;

use super::{Budget, Out, unreadable};
use crate::daemon::store_command::{Outcome, StoreFailure, args::IndexArgs, text};

/// With a key what the index has for it, newest first; with a range of log offsets or a limit the
/// entries within; else a line per file.
pub(super) fn dump(
    disk: &dyn Disk,
    inspection: &Inspection,
    args: &IndexArgs,
    out: Out<'_>,
) -> Result<Outcome, StoreFailure> {
    let selection = &args.selection;
    let files = index_contents(disk, inspection).map_err(unreadable(inspection))?;
    let mut budget = Budget::of(selection);
    let lists = selection.limit.is_some() || selection.to.is_some() || selection.from > 0;
    let mut printed = Ok(());
    let range = selection.from..selection.to.unwrap_or(u64::MAX);
    let mut print = |file: &IndexFile, row: IndexRow, out: &mut dyn io::Write| {
        if budget.is_spent() {
            return ControlFlow::Break(());
        }
        if !range.contains(&row.entry.offset.0) {
            return ControlFlow::Continue(());
        }
        budget.spend();
        printed = entry(inspection, file, &row, selection.json, out);
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match (&selection.topic, &args.key) {
        (Some(topic), Some(key)) => {
            for file in files.iter().rev() {
                let found =
                    index_lookup(disk, file, (topic, key), &mut |row| print(file, row, out));
                found.map_err(unreadable(inspection))?;
            }
        }
        (Some(_), None) => {
            let why = "the index knows hashes only: give --key with --topic";
            return Err(StoreFailure::Usage(why.into()));
        }
        (None, _) if lists => {
            for file in &files {
                let read = index_entries(disk, file, &mut |row| print(file, row, out));
                read.map_err(unreadable(inspection))?;
            }
        }
        (None, _) => {
            for file in &files {
                header(inspection, file, selection.json, out).map_err(StoreFailure::Output)?;
            }
        }
    }
    printed.map_err(StoreFailure::Output)?;
    Ok(Outcome::Sound)
}

fn entry(
    inspection: &Inspection,
    file: &IndexFile,
    row: &IndexRow,
    is_json: bool,
    out: Out<'_>,
) -> io::Result<()> {
    let name = text::short(&inspection.root, &file.path);
    let entry = row.entry;
    if is_json {
        let object = json!({
            "file": name.to_string(),
            "number": row.number,
            "offset": entry.offset.0,
            "hash": entry.hash,
            "previous": entry.previous,
            "storeTimestamp": row.store_timestamp,
        });
        return writeln!(out, "{object}");
    }
    let time = text::time(row.store_timestamp);
    writeln!(
        out,
        "{:>14}  hash {:08x}  about {time}  {name}#{}",
        entry.offset.0, entry.hash, row.number
    )
}

fn header(
    inspection: &Inspection,
    file: &IndexFile,
    is_json: bool,
    out: Out<'_>,
) -> io::Result<()> {
    let name = text::short(&inspection.root, &file.path);
    let header = file.header;
    let entries = file.entries_end() - 1;
    if is_json {
        let object = json!({
            "file": name.to_string(),
            "entries": entries,
            "entriesMax": file.layout.entries - 1,
            "hashSlots": file.layout.hash_slots,
            "beginOffset": header.begin_offset.0,
            "endOffset": header.end_offset.0,
            "beginTimestamp": header.begin_timestamp,
            "endTimestamp": header.end_timestamp,
        });
        return writeln!(out, "{object}");
    }
    writeln!(
        out,
        "{name}  {entries} of {} entries, {} slots, log offsets {} to {}, {} to {}",
        file.layout.entries - 1,
        file.layout.hash_slots,
        header.begin_offset,
        header.end_offset,
        text::time(header.begin_timestamp),
        text::time(header.end_timestamp),
    )
}
