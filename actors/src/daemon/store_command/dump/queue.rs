//! Queues: which there are, and the entries of those that are asked for.

use std::ops::ControlFlow;

use gantry_storage::{
    Disk,
    inspect::{Inspection, QueueRow, queue_contents, queue_names},
};
use serde_json::json;

use super::{Budget, Out, unreadable};
use crate::daemon::store_command::{Outcome, StoreFailure, args::Selection, text};

/// Without a topic, a line per queue; with one, a line per entry.
pub(super) fn dump(
    disk: &dyn Disk,
    inspection: &Inspection,
    selection: &Selection,
    out: Out<'_>,
) -> Result<Outcome, StoreFailure> {
    let mut names = queue_names(disk, &inspection.root).map_err(unreadable(inspection))?;
    if let Some(topic) = &selection.topic {
        names.retain(|name, _| name == topic);
    }
    if let Some(queue) = selection.queue {
        names.values_mut().for_each(|ids| ids.retain(|id| *id == queue));
    }
    if names.values().all(Vec::is_empty) {
        return Err(StoreFailure::Usage("there is no such queue".into()));
    }
    let mut budget = Budget::of(selection);
    for (topic, ids) in &names {
        for id in ids {
            if selection.topic.is_some() {
                entries(disk, inspection, (topic, *id), selection, &mut budget, out)?;
            } else if !budget.is_spent() {
                budget.spend();
                extent(disk, inspection, (topic, *id), selection.json, out)?;
            }
        }
    }
    Ok(Outcome::Sound)
}

fn entries(
    disk: &dyn Disk,
    inspection: &Inspection,
    name: (&str, u32),
    selection: &Selection,
    budget: &mut Budget,
    out: Out<'_>,
) -> Result<(), StoreFailure> {
    let range = selection.from..selection.to.unwrap_or(u64::MAX);
    let mut printed = Ok(());
    let read = queue_contents(disk, &inspection.root, name, range, &mut |row| {
        if budget.is_spent() {
            return ControlFlow::Break(());
        }
        budget.spend();
        printed = entry(name, &row, selection.json, out);
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    read.map_err(unreadable(inspection))?;
    printed.map_err(StoreFailure::Output)
}

fn entry(
    (topic, queue): (&str, u32),
    row: &QueueRow,
    is_json: bool,
    out: Out<'_>,
) -> std::io::Result<()> {
    if is_json {
        let object = json!({
            "topic": topic,
            "queueId": queue,
            "queueOffset": row.queue_offset.0,
            "offset": row.offset.0,
            "size": row.size,
            "tagsCode": row.tags_code,
        });
        return writeln!(out, "{object}");
    }
    let name = format!("{}/{queue}#{}", text::clean(topic), row.queue_offset);
    writeln!(
        out,
        "{name:<32} {:>14} {:>8} bytes  tag code {}",
        row.offset.0, row.size, row.tags_code
    )
}

/// The first and the last entry of a queue.
fn extent(
    disk: &dyn Disk,
    inspection: &Inspection,
    name: (&str, u32),
    is_json: bool,
    out: Out<'_>,
) -> Result<(), StoreFailure> {
    let (mut first, mut last) = (None, None);
    let read = queue_contents(disk, &inspection.root, name, 0..u64::MAX, &mut |row| {
        first = first.or(Some(row.queue_offset.0));
        last = Some(row.queue_offset.0);
        ControlFlow::Continue(())
    });
    read.map_err(unreadable(inspection))?;
    let (first, end) = (first.unwrap_or(0), last.map_or(0, |last| last + 1));
    let printed = if is_json {
        let object = json!({"topic": name.0, "queueId": name.1, "first": first, "end": end});
        writeln!(out, "{object}")
    } else {
        let queue = format!("{}/{}", text::clean(name.0), name.1);
        writeln!(out, "{queue:<32} {first:>14} to {end}")
    };
    printed.map_err(StoreFailure::Output)
}
