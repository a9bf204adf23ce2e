//! Questions to producers (CHECK_TRANSACTION_STATE, code 39): what has become of your transaction?
//!
//! A question carries the half message as its producer made it, under its real topic and queue, and
//! names the place of the half message, by which the answer finds it (wire.md 2.7).

use std::sync::Arc;

use gantry_codec::{
    Command, OffsetMessageId, Record, properties as names, request_code as rq,
    requests::transaction::CheckTransactionStateHeader,
};
use gantry_storage::{CommitLog, PhysicalOffset};

use super::{forms::with_checks, ledger::Due, settlement::source};
use crate::topic::names::HALF_TOPIC;

/// The question for a half message; none if its record is gone.
pub fn question(log: &CommitLog, due: &Due, broker_name: &Arc<str>) -> Option<Command> {
    let bytes = log.record_at(PhysicalOffset(due.physical))?.into_bytes();
    Some(question_about(&source(&bytes)?.record, due.checks + 1, broker_name))
}

fn question_about(record: &Record<'_>, times: u32, broker_name: &str) -> Command {
    let get = |name| names::get(record.properties, name);
    let unique_key = get(names::UNIQ_KEY).map(str::to_owned);
    let place = OffsetMessageId { host: record.store_host, offset: record.physical_offset as u64 };
    let header = CheckTransactionStateHeader {
        topic: Some(HALF_TOPIC.to_owned()),
        tran_state_table_offset: record.queue_offset,
        commit_log_offset: record.physical_offset,
        msg_id: unique_key.clone(),
        transaction_id: unique_key,
        offset_msg_id: Some(place.to_string()),
        broker_name: Some(broker_name.to_owned()),
    };
    let mut properties = String::with_capacity(record.properties.len() + 32);
    with_checks(&mut properties, record.properties, times);
    let shown = Record {
        topic: get(names::REAL_TOPIC).unwrap_or_default(),
        queue_id: get(names::REAL_QID).and_then(|queue| queue.parse().ok()).unwrap_or(0),
        properties: &properties,
        ..record.clone()
    };
    let mut body = vec![0; shown.encoded_len()];
    shown.write_to(&mut body);
    Command::request(rq::CHECK_TRANSACTION_STATE).with_header(&header).with_body(body)
}

#[cfg(test)]
mod tests {
    use gantry_codec::Header;

    use super::*;
    use crate::transaction::half::tests::half_record;

    #[test]
    fn a_question_shows_the_message_where_it_is_meant_to_go() {
        let text = "UNIQ_KEY\u{1}K\u{2}PGROUP\u{1}g\u{2}REAL_TOPIC\u{1}t\u{2}REAL_QID\u{1}3\u{2}\
            TRANSACTION_CHECK_TIMES\u{1}1\u{2}";
        let asked = question_about(&half_record(text, 77), 2, "broker-a");
        let header = CheckTransactionStateHeader::decode(&asked.ext).unwrap();
        assert_eq!((header.tran_state_table_offset, header.commit_log_offset), (4, 77));
        assert_eq!(header.transaction_id.as_deref(), Some("K"));
        assert_eq!(header.broker_name.as_deref(), Some("broker-a"));
        let id = OffsetMessageId::parse(&header.offset_msg_id.unwrap()).unwrap();
        assert_eq!((id.offset, id.host), (77, "10.0.0.2:2".parse().unwrap()));
        let shown = Record::decode(&asked.body).unwrap();
        assert_eq!((shown.topic, shown.queue_id, shown.body), ("t", 3, &b"body"[..]));
        let get = |name| names::get(shown.properties, name);
        assert_eq!(
            (get(names::TRANSACTION_CHECK_TIMES), get(names::PGROUP)),
            (Some("2"), Some("g"))
        );
    }
}
