//! Client batches: many messages in one request, stored as many records, all of them or none.
//!
//! What makes a batch different from its messages stands in the header of the request (its queue, flags
//! and property string); each message has its own property string in the body, and is stored with that
//! alone. So a batch is never delayed, timed, half of a transaction or of a priority, and a request whose
//! header says so is refused, where the Java broker would store something that nobody delivers. Compressed
//! bodies are carried as they are: the flags of the header are those of every message.
//!
//! `INNER_NUM` and the flags of an inner batch belong to topics that keep a batch as one record
//! ([`crate::topic::TopicKind`]); anywhere else clients could not read such a message.

use gantry_codec::{BatchMessages, Command, SendHeader, record::sys_flag};

use super::{
    super::{Session, properties::Scan},
    Accepted, Detour, check_end_of_item,
    stored::{append_properties, message},
};
use crate::{error_to_wire::SendRefusal, net::ConnectionHandle, topic::names::RETRY_PREFIX};

/// Flags that a message on its way into a plain topic cannot have.
const INNER_BATCH: i32 = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;

/// Whether the request may be a batch, or may not be one and says so.
pub(super) fn check(header: &SendHeader<'_>, scan: &Scan) -> Result<(), SendRefusal> {
    if header.sys_flag & INNER_BATCH != 0 || scan.inner_batch {
        return Err(SendRefusal::InnerBatch(header.topic.into()));
    }
    if !header.batch {
        return Ok(());
    }
    let half = scan.half || header.sys_flag & sys_flag::TRANSACTION != 0;
    let why = match () {
        () if header.topic.starts_with(RETRY_PREFIX) => {
            format!("does not support retry group {}", header.topic)
        }
        () if scan.delay_level > 0 => "must not be delayed".into(),
        () if scan.timed => "must not be timed".into(),
        () if half => "must not be part of a transaction".into(),
        () => return Ok(()),
    };
    Err(SendRefusal::BatchKind(why))
}

impl Session {
    pub(super) fn add_batch(
        &mut self,
        cmd: &Command,
        accepted: &Accepted<'_>,
        conn: &ConnectionHandle,
    ) -> Result<(), Detour> {
        self.check_body(cmd.body.len())?;
        let first = self.batch.messages.len();
        let start = self.batch.properties.len();
        let shared = &self.shared;
        for item in BatchMessages::new(&cmd.body) {
            let added = item.map_err(SendRefusal::Batch).map_err(Detour::from).and_then(|item| {
                let scan = Scan::of_batched(item.properties);
                if scan.ends {
                    check_end_of_item(shared, item.properties, accepted)?;
                }
                let fresh_key = || shared.unique_keys.next(shared.clock.now_ms());
                let text = &mut self.batch.properties;
                let properties = append_properties(text, item.properties, &scan, "", fresh_key)?;
                self.batch.messages.push(message(item.flag, item.body.clone(), properties));
                Ok(())
            });
            if let Err(refusal) = added {
                self.batch.messages.truncate(first);
                self.batch.properties.truncate(start);
                return Err(refusal);
            }
        }
        if self.batch.messages.len() == first {
            return Err(SendRefusal::EmptyBatch.into());
        }
        self.add_send(cmd, accepted, first, conn);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(topic: &str, sys_flag: i32, batch: bool, properties: &str) -> Option<String> {
        let header = SendHeader { topic, sys_flag, batch, ..SendHeader::default() };
        match check(&header, &Scan::of(properties)) {
            Ok(()) => None,
            Err(SendRefusal::BatchKind(why)) => Some(why),
            Err(other) => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn a_batch_is_for_plain_messages_now() {
        assert_eq!(refused("t", sys_flag::COMPRESSED | 0x200, true, "WAIT\u{1}true\u{2}"), None);
        for (topic, flags, properties, why) in [
            ("%RETRY%g", 0, "", "does not support retry group %RETRY%g"),
            ("t", 0, "DELAY\u{1}3\u{2}", "must not be delayed"),
            ("t", 0, "TIMER_DELAY_SEC\u{1}3\u{2}", "must not be timed"),
            ("t", 0, "TRAN_MSG\u{1}true\u{2}", "must not be part of a transaction"),
            ("t", sys_flag::PREPARED, "", "must not be part of a transaction"),
        ] {
            assert_eq!(refused(topic, flags, true, properties).as_deref(), Some(why));
            assert_eq!(refused(topic, flags, false, properties), None, "a single message may be");
        }
    }

    #[test]
    fn no_message_passes_itself_off_as_an_inner_batch() {
        for is_batch in [false, true] {
            for flags in [sys_flag::INNER_BATCH, sys_flag::NEED_UNWRAP] {
                assert_eq!(refused("t", flags, is_batch, "").unwrap(), r#"InnerBatch("t")"#);
            }
            let named = refused("t", 0, is_batch, "INNER_NUM\u{1}2\u{2}");
            assert_eq!(named.unwrap(), r#"InnerBatch("t")"#);
        }
    }
}
