//! The body of a trace message: what clients tell of the messages that they sent and consumed.
//!
//! Text. Events end with 2, their fields are separated by 1, the first field is the kind:
//!
//! | kind | fields behind it |
//! |---|---|
//! | `Pub` | time, region, group, topic, message id, tags, keys, store host, bytes, ms, type, offset id, success, client host |
//! | `SubBefore` | time, region, group, request id, message id, tries, keys |
//! | `SubAfter` | request id, message id, ms, success, keys, code, time, group |
//! | `EndTransaction` | time, region, group, topic, message id, tags, keys, store host, type, transaction id, state, from a check |
//! | `Recall` | time, region, group, topic, message id, success |
//!
//! Older clients leave out what stands at the end; the offset id of `Pub` came later than the success
//! behind it. A field that a client does not know is empty or `null`. Both are nothing here.

use serde::Serialize;
use thiserror::Error;

const EVENT_END: char = '\u{2}';
const FIELD_END: char = '\u{1}';

/// What is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TraceKind {
    /// A message was sent.
    Pub,
    /// Its consumption began.
    SubBefore,
    /// Its consumption ended.
    SubAfter,
    /// A transaction was ended by its producer.
    EndTransaction,
    /// A timed message was taken back.
    Recall,
}

/// One event; what a kind does not have is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceEvent {
    /// What is told of.
    pub kind: TraceKind,
    /// When it began, by the client's clock, ms.
    pub time: Option<i64>,
    /// The producer's or consumer's group.
    pub group: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// The message's unique key.
    pub message_id: Option<String>,
    /// Where it is stored.
    pub offset_message_id: Option<String>,
    /// What ties the end of a consumption to its beginning.
    pub request_id: Option<String>,
    /// The message's tags.
    pub tags: Option<String>,
    /// Its keys.
    pub keys: Option<String>,
    /// The broker.
    pub store_host: Option<String>,
    /// The client.
    pub client_host: Option<String>,
    /// Bytes of the body.
    pub body_length: Option<i64>,
    /// How long it took, ms.
    pub cost: Option<i64>,
    /// Whether it succeeded.
    pub success: Option<bool>,
    /// How often the message had been consumed before.
    pub retry_times: Option<i64>,
    /// How the consumption ended: 0 success, 1 too late, 2 exception, 3 null, 4 failed.
    pub code: Option<i64>,
    /// The transaction.
    pub transaction_id: Option<String>,
    /// What its producer decided.
    pub transaction_state: Option<String>,
    /// Whether it was asked.
    pub from_check: Option<bool>,
}

/// A field that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("event {event} of the trace: field {field} is {value:?}")]
pub struct TraceError {
    /// The event's number.
    pub event: usize,
    /// What the field is.
    pub field: &'static str,
    /// What it says.
    pub value: String,
}

/// The events of a trace message, in order. Kinds that are not known are passed over, as newer clients
/// may have more.
///
/// # Errors
/// At a number that is none.
pub fn decode(body: &str) -> Result<Vec<TraceEvent>, TraceError> {
    let events = body.split(EVENT_END).enumerate();
    let decoded = events.filter_map(|(number, text)| event(number, text).transpose());
    decoded.collect()
}

fn event(number: usize, text: &str) -> Result<Option<TraceEvent>, TraceError> {
    let fields: Vec<&str> = text.split(FIELD_END).collect();
    let line = Line { number, fields };
    let kind = match line.fields.first() {
        Some(&"Pub") => TraceKind::Pub,
        Some(&"SubBefore") => TraceKind::SubBefore,
        Some(&"SubAfter") => TraceKind::SubAfter,
        Some(&"EndTransaction") => TraceKind::EndTransaction,
        Some(&"Recall") => TraceKind::Recall,
        _ => return Ok(None),
    };
    let event = match kind {
        TraceKind::Pub => line.sent()?,
        TraceKind::SubBefore => TraceEvent {
            request_id: line.text(4),
            message_id: line.text(5),
            retry_times: line.number(6, "tries")?,
            keys: line.text(7),
            ..line.begun(kind)?
        },
        TraceKind::SubAfter => TraceEvent {
            request_id: line.text(1),
            message_id: line.text(2),
            cost: line.number(3, "duration")?,
            success: line.flag(4),
            keys: line.text(5),
            code: line.number(6, "code")?,
            time: line.number(7, "time")?,
            group: line.text(8),
            ..empty(kind)
        },
        TraceKind::EndTransaction => TraceEvent {
            store_host: line.text(8),
            transaction_id: line.text(10),
            transaction_state: line.text(11),
            from_check: line.flag(12),
            ..line.of_message(kind)?
        },
        TraceKind::Recall => TraceEvent {
            topic: line.text(4),
            message_id: line.text(5),
            success: line.flag(6),
            ..line.begun(kind)?
        },
    };
    Ok(Some(event))
}

/// The fields of one event.
struct Line<'a> {
    number: usize,
    fields: Vec<&'a str>,
}

impl Line<'_> {
    fn text(&self, at: usize) -> Option<String> {
        let field = self.fields.get(at).filter(|field| !field.is_empty() && **field != "null");
        field.map(|field| (*field).to_owned())
    }

    fn number(&self, at: usize, field: &'static str) -> Result<Option<i64>, TraceError> {
        let wrong = |value: &str| TraceError { event: self.number, field, value: value.into() };
        self.text(at).map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
    }

    fn flag(&self, at: usize) -> Option<bool> {
        self.text(at).map(|text| text.eq_ignore_ascii_case("true"))
    }

    fn begun(&self, kind: TraceKind) -> Result<TraceEvent, TraceError> {
        Ok(TraceEvent { time: self.number(1, "time")?, group: self.text(3), ..empty(kind) })
    }

    fn of_message(&self, kind: TraceKind) -> Result<TraceEvent, TraceError> {
        let event = self.begun(kind)?;
        let (topic, message_id) = (self.text(4), self.text(5));
        Ok(TraceEvent { topic, message_id, tags: self.text(6), keys: self.text(7), ..event })
    }

    fn sent(&self) -> Result<TraceEvent, TraceError> {
        // The success was the last field before the offset id came between.
        let (offset_id, success) =
            if self.fields.len() == 13 { (None, 12) } else { (self.text(12), 13) };
        Ok(TraceEvent {
            store_host: self.text(8),
            body_length: self.number(9, "length of the body")?,
            cost: self.number(10, "duration")?,
            offset_message_id: offset_id,
            success: self.flag(success),
            client_host: self.text(14),
            ..self.of_message(TraceKind::Pub)?
        })
    }
}

fn empty(kind: TraceKind) -> TraceEvent {
    TraceEvent {
        kind,
        time: None,
        group: None,
        topic: None,
        message_id: None,
        offset_message_id: None,
        request_id: None,
        tags: None,
        keys: None,
        store_host: None,
        client_host: None,
        body_length: None,
        cost: None,
        success: None,
        retry_times: None,
        code: None,
        transaction_id: None,
        transaction_state: None,
        from_check: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(events: &[&str]) -> Vec<TraceEvent> {
        let body: String =
            events.iter().map(|event| event.replace('|', "\u{1}") + "\u{2}").collect();
        decode(&body).unwrap()
    }

    #[test]
    fn a_send_is_read_from_clients_of_all_ages() {
        let fields = "Pub|1700000000000|R|pg|orders|ID|null|k1 k2|h:1|5|12|0";
        let old = decoded(&[&format!("{fields}|true")]).remove(0);
        let later = decoded(&[&format!("{fields}|OFFSETID|true")]).remove(0);
        let newest = decoded(&[&format!("{fields}|OFFSETID|false|10.0.0.1")]).remove(0);
        for event in [&old, &later, &newest] {
            assert_eq!(
                (event.kind, event.time, event.cost),
                (TraceKind::Pub, Some(1_700_000_000_000), Some(12))
            );
            assert_eq!(
                (event.topic.as_deref(), event.message_id.as_deref()),
                (Some("orders"), Some("ID"))
            );
            assert_eq!((event.tags.as_deref(), event.keys.as_deref()), (None, Some("k1 k2")));
        }
        assert_eq!((old.offset_message_id, old.success), (None, Some(true)));
        assert_eq!(
            (later.offset_message_id.as_deref(), later.success),
            (Some("OFFSETID"), Some(true))
        );
        assert_eq!(
            (newest.success, newest.client_host.as_deref()),
            (Some(false), Some("10.0.0.1"))
        );
    }

    #[test]
    fn a_consumption_has_two_events() {
        let events = decoded(&[
            "SubBefore|17|R|cg|req|ID|3|k",
            "SubAfter|req|ID|9|true|k|0|18|cg",
            "SubAfter|req|ID|9|false|k",
        ]);
        assert_eq!((events[0].time, events[0].retry_times), (Some(17), Some(3)));
        assert_eq!((events[1].time, events[1].group.as_deref()), (Some(18), Some("cg")));
        assert_eq!((events[1].code, events[1].success), (Some(0), Some(true)));
        assert_eq!(
            (events[2].time, &events[2].group, events[2].success),
            (None, &None, Some(false))
        );
        assert!(events.iter().all(|event| event.request_id.as_deref() == Some("req")));
    }

    #[test]
    fn other_kinds_and_unknown_ones() {
        let events = decoded(&[
            "EndTransaction|17|R|pg|orders|ID|t|k|h:1|2|TX|COMMIT_MESSAGE|true",
            "Tomorrow|x|y",
            "Recall|17|R|pg|orders|ID|true",
        ]);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].transaction_state.as_deref(), Some("COMMIT_MESSAGE"));
        assert_eq!((events[0].from_check, events[1].success), (Some(true), Some(true)));
        assert!(decode("").unwrap().is_empty());
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let error = decode("Pub\u{1}soon\u{2}").unwrap_err();
        assert_eq!(error.to_string(), "event 0 of the trace: field time is \"soon\"");
    }
}
