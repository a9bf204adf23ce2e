//! Records of the log.

use std::{io, ops::ControlFlow};

use gantry_codec::{Record, properties};
use gantry_storage::{
    Disk,
    inspect::{Inspection, LogItem, LogRecord, log_contents, scan_log},
};
use serde_json::{Map, Value, json};

use super::{Budget, Out};
use crate::daemon::store_command::{
    Outcome, StoreFailure,
    args::{BodyForm, LogArgs},
    text,
};

/// Characters of a body that are shown to people.
const PREVIEW_CHARS: usize = 80;

/// Prints the records that the command line selects. Stretches that are no records are told, too.
pub(super) fn dump(
    disk: &dyn Disk,
    inspection: &Inspection,
    args: &LogArgs,
    out: Out<'_>,
) -> Result<Outcome, StoreFailure> {
    let files = log_contents(disk, inspection);
    let (mut budget, selection) = (Budget::of(&args.selection), &args.selection);
    let (mut failed, mut outcome) = (None, Outcome::Sound);
    scan_log(disk, &files, selection.from, &mut |item| {
        if budget.is_spent() || selection.to.is_some_and(|to| place(&item) >= to) {
            return ControlFlow::Break(());
        }
        let printed = match &item {
            LogItem::Record(record) => match Record::decode(record.bytes) {
                Ok(decoded) if is_wanted(&decoded, args) => {
                    budget.spend();
                    print(record, &decoded, args, out)
                }
                Ok(_) => Ok(()),
                Err(e) => {
                    damage(record.offset, record.bytes.len() as u64, &e.to_string(), args, out)
                }
            },
            LogItem::Blank { .. } => Ok(()),
            LogItem::Damage { file, at, to, why } => {
                outcome = Outcome::Faults;
                damage(file.start + at, to - at, why, args, out)
            }
            LogItem::Unreadable { file, at, error } => {
                outcome = Outcome::Faults;
                damage(file.start + at, file.len - at, &error.to_string(), args, out)
            }
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        }
    });
    failed.map_or(Ok(outcome), |e| Err(StoreFailure::Output(e)))
}

fn place(item: &LogItem<'_>) -> u64 {
    match item {
        LogItem::Record(record) => record.offset,
        LogItem::Blank { file, at, .. }
        | LogItem::Damage { file, at, .. }
        | LogItem::Unreadable { file, at, .. } => file.start + at,
    }
}

fn is_wanted(record: &Record<'_>, args: &LogArgs) -> bool {
    let selection = &args.selection;
    selection.topic.as_ref().is_none_or(|topic| record.topic == topic)
        && selection.queue.is_none_or(|queue| record.queue_id as u32 == queue)
        && args.key.as_ref().is_none_or(|key| has_key(record.properties, key))
}

fn has_key(text: &str, key: &str) -> bool {
    properties::get(text, properties::UNIQ_KEY) == Some(key)
        || properties::get(text, properties::KEYS)
            .is_some_and(|keys| keys.split(' ').any(|found| found == key))
}

fn print(
    found: &LogRecord<'_>,
    record: &Record<'_>,
    args: &LogArgs,
    out: Out<'_>,
) -> io::Result<()> {
    if args.selection.json {
        return writeln!(out, "{}", to_json(found, record, args.body));
    }
    let crc = if found.is_crc_right { "" } else { "  THE BODY DOES NOT MATCH ITS CRC" };
    writeln!(
        out,
        "{:>12}  {}/{}#{}  {}  {} bytes{crc}",
        found.offset,
        text::clean(record.topic),
        record.queue_id,
        record.queue_offset,
        text::time(record.store_timestamp),
        found.bytes.len(),
    )?;
    let pairs: Vec<_> = properties::iter(record.properties)
        .map(|(name, value)| format!("{}={}", text::clean(name), text::clean(value)))
        .collect();
    if !pairs.is_empty() {
        writeln!(out, "{:14}{}", "", pairs.join("  "))?;
    }
    match args.body {
        BodyForm::None => Ok(()),
        BodyForm::Hex => writeln!(out, "{:14}body {}: {}", "", record.body.len(), hex(record.body)),
        BodyForm::Text => {
            writeln!(out, "{:14}body {}: {}", "", record.body.len(), preview(record.body))
        }
    }
}

fn damage(offset: u64, bytes: u64, why: &str, args: &LogArgs, out: Out<'_>) -> io::Result<()> {
    if args.selection.json {
        return writeln!(out, "{}", json!({"offset": offset, "size": bytes, "error": why}));
    }
    writeln!(out, "{offset:>12}  {bytes} bytes that are no record: {why}")
}

fn to_json(found: &LogRecord<'_>, record: &Record<'_>, form: BodyForm) -> Value {
    let pairs: Map<String, Value> = properties::iter(record.properties)
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let mut object = json!({
        "offset": found.offset,
        "size": found.bytes.len(),
        "topic": record.topic,
        "queueId": record.queue_id,
        "queueOffset": record.queue_offset,
        "storeTimestamp": record.store_timestamp,
        "bornTimestamp": record.born_timestamp,
        "bornHost": record.born_host.to_string(),
        "storeHost": record.store_host.to_string(),
        "sysFlag": record.sys_flag,
        "flag": record.flag,
        "reconsumeTimes": record.reconsume_times,
        "preparedTransactionOffset": record.prepared_transaction_offset,
        "isCrcRight": found.is_crc_right,
        "bodyLength": record.body.len(),
        "properties": pairs,
    });
    let body = match form {
        BodyForm::None => return object,
        BodyForm::Hex => ("bodyHex", hex(record.body)),
        BodyForm::Text => ("body", String::from_utf8_lossy(record.body).into_owned()),
    };
    if let Some(members) = object.as_object_mut() {
        members.insert(body.0.into(), json!(body.1));
    }
    object
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn preview(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut shown: String = text.chars().take(PREVIEW_CHARS).collect();
    if text.chars().nth(PREVIEW_CHARS).is_some() {
        shown.push('…');
    }
    text::clean(&shown)
}
