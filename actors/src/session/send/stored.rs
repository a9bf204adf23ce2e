//! The property string as it is stored: the client's, and what the broker adds.

use std::ops::Range;

use bytes::Bytes;
use gantry_codec::{IdText, properties as names, record::PROPERTIES_BYTES_MAX};

use super::super::properties::Scan;
use crate::{error_to_wire::SendRefusal, log::batch::NewMessage};

/// Where a stored property string and its unique key are.
pub(in crate::session) struct Stored {
    range: Range<usize>,
    unique_key: Range<usize>,
}

/// `properties` with these pairs in place of whatever they had under the same names; one without a value
/// takes its property out.
pub(in crate::session) fn with_properties(properties: &str, pairs: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(properties.len() + 128);
    for (name, value) in names::iter(properties) {
        if !pairs.iter().any(|(replaced, _)| *replaced == name) {
            names::append(&mut text, name, value);
        }
    }
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        names::append(&mut text, name, value);
    }
    text
}

/// Appends `properties`, a unique key if there is none, and `extra` (what the broker adds, already
/// encoded) to `text`.
pub(in crate::session) fn append_properties(
    text: &mut String,
    properties: &str,
    scan: &Scan,
    extra: &str,
    fresh_key: impl FnOnce() -> IdText,
) -> Result<Stored, SendRefusal> {
    let start = text.len();
    if scan.drops_any() {
        for (name, value) in names::iter(properties).filter(|(name, _)| !scan.drops(name)) {
            names::append(text, name, value);
        }
    } else {
        text.push_str(properties);
    }
    if text.len() > start && !text.ends_with(names::PAIR_END) {
        text.push(names::PAIR_END);
    }
    let unique_key = match &scan.unique_key {
        Some(range) if !scan.drops_any() => start + range.start..start + range.end,
        _ => names::get(&text[start..], names::UNIQ_KEY)
            .map(|key| {
                let from = key.as_ptr() as usize - text.as_ptr() as usize;
                from..from + key.len()
            })
            .unwrap_or_else(|| append_unique_key(text, &fresh_key())),
    };
    if !scan.cluster {
        text.push_str(extra);
    }
    let len = text.len() - start;
    if len > PROPERTIES_BYTES_MAX {
        text.truncate(start);
        return Err(SendRefusal::PropertiesTooLarge { len, max: PROPERTIES_BYTES_MAX });
    }
    Ok(Stored { range: start..text.len(), unique_key })
}

fn append_unique_key(text: &mut String, key: &IdText) -> Range<usize> {
    names::append(text, names::UNIQ_KEY, key.as_str());
    let end = text.len() - 1;
    end - key.as_str().len()..end
}

pub(in crate::session) fn message(flag: i32, body: Bytes, stored: Stored) -> NewMessage {
    // Masked to 31 bits, as everywhere in this protocol; an empty body has 0.
    let body_crc = gantry_codec::body_crc(&body);
    NewMessage {
        flag,
        body,
        body_crc,
        properties: stored.range,
        unique_key: stored.unique_key,
        offset: Default::default(),
    }
}
