//! Messages whose time is over go to the group's retry topic, to be popped from there.
//!
//! Each becomes a message of its own there, with one try more and the time of its first pop; only once
//! the log has that, the old one counts as done. The retry topic is made when it is first needed. What
//! cannot be stored (the log takes nothing, say) is tried again a little later; what cannot be stored at all, as
//! the name of its retry topic would be too long, is popped again from its own queue. The old messages
//! are read by the cold readers: most have left the memory by now.

use std::sync::Arc;

use bytes::Bytes;
use gantry_codec::{Record, pop::TopicMark, properties as names};
use gantry_storage::{CommitLog, ConsumeQueueView, QueueOffset};
use gantry_supervisor::{ContextExt, Ctx};
use slog::{info, warn};

use super::PopGroup;
use crate::{
    expiry::{Lifetime, ends_of},
    log::batch::{AppendBatch, SendBatch, SendResult},
    pop::{queues::QueueKey, read::asked_topic},
    session::ColdReaders,
    topic::{CreateTopic, QueueSlot, TopicError, TopicTable, Topics},
};

/// Messages of one queue that are under way at once.
const BATCH_MAX: usize = 128;
/// Wait after a message could not be stored, ms.
const AGAIN_AFTER_MS: i64 = 1000;

/// Messages of one queue on their way to the retry topic.
pub(super) struct Revival {
    key: QueueKey,
    retry_topic: Arc<str>,
    /// Offsets, in the order of the batch.
    offsets: Vec<u64>,
}

/// Why there is no batch.
enum NoBatch {
    /// There never will be.
    Never(TopicError),
    /// Not now.
    NotNow(String),
}

/// A batch, and the offsets of messages that are no more.
struct Prepared {
    batch: Box<SendBatch>,
    offsets: Vec<u64>,
    gone: Vec<u64>,
}

impl PopGroup {
    /// Begins to store what is due.
    pub(super) fn revive_due(&mut self, now: i64, ctx: &mut Ctx<Self>) {
        let is_due = |queue: &crate::pop::queues::PopQueue| {
            queue.ledger.first_due().is_some_and(|at| at <= now)
        };
        let queues =
            self.queues.iter_mut().filter(|(_, queue)| queue.slot.is_alive() && is_due(queue));
        let due: Vec<_> = queues
            .map(|(key, queue)| {
                (key.clone(), queue.slot.clone(), queue.ledger.take_due(now, BATCH_MAX))
            })
            .collect();
        for (key, slot, messages) in due {
            self.revive(key, slot, messages, ctx);
        }
    }

    fn retry_topic(&self, topic: &Arc<str>) -> Arc<str> {
        match asked_topic(topic, &self.name) {
            Some(_) => topic.clone(),
            None if self.parts.settings.retry_v2 => {
                TopicMark::RetryV2.real_topic(topic, &self.name).into()
            }
            None => TopicMark::Retry.real_topic(topic, &self.name).into(),
        }
    }

    fn revive(
        &mut self,
        key: QueueKey,
        slot: Arc<QueueSlot>,
        messages: Vec<(u64, i64)>,
        ctx: &mut Ctx<Self>,
    ) {
        let retry_topic = self.retry_topic(&key.0);
        let source = Source {
            view: slot.view().or_else(|| self.parts.facts.queues.view(&slot)),
            log: self.parts.log.clone(),
            born_host: self.parts.store_host,
            lifetime: self.lifetime(&key.0),
        };
        let offsets: Vec<u64> = messages.iter().map(|(offset, _)| *offset).collect();
        let (topics, root) = (self.parts.facts.topics.clone(), self.parts.topics_root.clone());
        let cold = self.parts.cold.clone();
        let made_topic = retry_topic.clone();
        let prepared = async move {
            let ends = source.lifetime.is_some();
            let retry = ensure_retry_topic(&topics, &root, &made_topic, ends).await?;
            prepare(&cold, &slot, source, retry, messages).await
        };
        ctx.spawn_then(prepared, move |group, prepared, ctx| match prepared {
            Ok(prepared) => group.store(key, retry_topic, prepared, ctx),
            Err(why) => group.not_prepared(&key, &offsets, why, ctx),
        });
    }

    fn store(
        &mut self,
        key: QueueKey,
        retry_topic: Arc<str>,
        prepared: Prepared,
        ctx: &mut Ctx<Self>,
    ) {
        let Prepared { mut batch, offsets, gone } = prepared;
        if !gone.is_empty() {
            warn!(self.log, "messages that nobody acknowledged are gone from the log";
                "topic" => &*key.0, "queue" => key.1, "count" => gone.len());
            if let Some(queue) = self.queues.get_mut(&key) {
                gone.iter().for_each(|offset| queue.ledger.revived(*offset));
            }
            self.commit(&key);
        }
        if batch.sends.is_empty() {
            return self.rearm(ctx);
        }
        self.next_revival = self.next_revival.wrapping_add(1);
        batch.tag = self.next_revival;
        batch.reply_to = self.address.as_ref().map(|own| own.stored.clone());
        self.revivals.insert(self.next_revival, Revival { key, retry_topic, offsets });
        self.parts.appender.do_send(AppendBatch(batch));
    }

    fn not_prepared(&mut self, key: &QueueKey, offsets: &[u64], why: NoBatch, ctx: &mut Ctx<Self>) {
        let due = self.now() + AGAIN_AFTER_MS;
        let Some(queue) = self.queues.get_mut(key) else { return };
        match why {
            NoBatch::Never(e) => {
                info!(self.log, "no retry topic, messages stay in their queue";
                    "topic" => &*key.0, "reason" => %e);
                offsets.iter().for_each(|offset| queue.ledger.revive_here(*offset));
                self.stir(&key.0);
            }
            NoBatch::NotNow(why) => {
                warn!(self.log, "messages cannot be tried again now"; "topic" => &*key.0,
                    "queue" => key.1, "reason" => why);
                offsets.iter().for_each(|offset| queue.ledger.not_revived(*offset, due));
            }
        }
        self.commit(key);
        self.serve(ctx);
        self.rearm(ctx);
    }

    /// The log has answered.
    pub(super) fn stored(&mut self, batch: &SendBatch, ctx: &mut Ctx<Self>) {
        let Some(revival) = self.revivals.remove(&batch.tag) else { return };
        let due = self.now() + AGAIN_AFTER_MS;
        let mut refused = 0;
        if let Some(queue) = self.queues.get_mut(&revival.key) {
            for (send, offset) in batch.sends.iter().zip(&revival.offsets) {
                if matches!(send.result, SendResult::Stored(_)) {
                    queue.ledger.revived(*offset);
                } else {
                    refused += 1;
                    queue.ledger.not_revived(*offset, due);
                }
            }
        }
        if refused > 0 {
            warn!(self.log, "messages were not stored for another try, trying again";
                "topic" => &*revival.key.0, "queue" => revival.key.1, "count" => refused);
        }
        self.commit(&revival.key);
        // The retry topic may be one that nobody could watch before.
        self.stir(&revival.retry_topic);
        self.rearm(ctx);
    }
}

/// The one queue of the retry topic, which is made if it is not there, and noted as one whose messages say
/// when they end, if they do.
async fn ensure_retry_topic(
    topics: &TopicTable,
    root: &gantry_supervisor::Ref<Topics>,
    name: &str,
    ends: bool,
) -> Result<Arc<QueueSlot>, NoBatch> {
    if topics.get(name).is_none() {
        order(root, CreateTopic::internal(name, 1)).await?;
    }
    if ends && topics.get(name).and_then(|v| v.lifetime).is_none_or(|l| !l.by_message) {
        order(root, CreateTopic::noted_for_ends(name)).await?;
    }
    let queue = topics.get(name).and_then(|view| view.queue(0).cloned());
    queue.ok_or_else(|| NoBatch::NotNow(format!("topic {name} has no queue")))
}

async fn order(root: &gantry_supervisor::Ref<Topics>, order: CreateTopic) -> Result<(), NoBatch> {
    match root.send(order).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e @ TopicError::Name(_))) => Err(NoBatch::Never(e)),
        Ok(Err(e)) => Err(NoBatch::NotNow(e.to_string())),
        Err(e) => Err(NoBatch::NotNow(e.to_string())),
    }
}

/// Where the old messages are.
struct Source {
    view: Option<Arc<ConsumeQueueView>>,
    log: CommitLog,
    born_host: std::net::SocketAddr,
    /// How long they live.
    lifetime: Option<Lifetime>,
}

async fn prepare(
    cold: &ColdReaders,
    slot: &Arc<QueueSlot>,
    source: Source,
    retry: Arc<QueueSlot>,
    messages: Vec<(u64, i64)>,
) -> Result<Prepared, NoBatch> {
    let read = cold.read(slot, move || {
        // Here and not on the appender's thread: the first use of a queue reads its files.
        retry.settle().map_err(NoBatch::NotNow)?;
        Ok(source.batch(&retry, &messages))
    });
    read.await.unwrap_or_else(|_| Err(NoBatch::NotNow("the read was lost".to_owned())))
}

impl Source {
    fn batch(&self, retry: &Arc<QueueSlot>, messages: &[(u64, i64)]) -> Prepared {
        let (batch, offsets, gone) = Default::default();
        let mut prepared = Prepared { batch, offsets, gone };
        for &(offset, pop_time) in messages {
            match self.message(offset) {
                Some(bytes) if self.add(&mut prepared.batch, &bytes, retry, pop_time) => {
                    prepared.offsets.push(offset);
                }
                _ => prepared.gone.push(offset),
            }
        }
        prepared
    }

    fn message(&self, offset: u64) -> Option<Bytes> {
        let entry = self.view.as_ref()?.entry(QueueOffset(offset))?;
        Some(self.log.record_at(entry.offset)?.into_bytes())
    }

    fn add(
        &self,
        batch: &mut SendBatch,
        bytes: &Bytes,
        retry: &Arc<QueueSlot>,
        pop_time: i64,
    ) -> bool {
        let Ok(record) = Record::decode(bytes) else { return false };
        let from = batch.properties.len();
        let end = ends_of(self.lifetime, record.store_timestamp, record.properties);
        add_properties(&mut batch.properties, &record, pop_time, end);
        if batch.properties.len() - from > gantry_codec::record::PROPERTIES_BYTES_MAX {
            // Without a trace of where it comes from rather than not at all.
            batch.properties.truncate(from);
            batch.properties.push_str(record.properties);
        }
        batch.push_copy(retry.clone(), &record, bytes, from, |send| {
            send.born_host = self.born_host;
            send.reconsume_times += 1;
            send.prepared_transaction_offset = 0;
        });
        true
    }
}

/// The message's own properties, with the topic that it comes from, the time of its first pop, and its
/// end: its tries do not make it live longer.
fn add_properties(text: &mut String, record: &Record<'_>, pop_time: i64, end: Option<i64>) {
    let keeps_first = record.reconsume_times > 0
        && names::get(record.properties, names::FIRST_POP_TIME).is_some();
    let goes = |name: &str| match name {
        names::POP_CK => true,
        names::FIRST_POP_TIME => !keeps_first,
        names::GANTRY_EXPIRES_MS => end.is_some(),
        _ => false,
    };
    for (name, value) in names::iter(record.properties).filter(|(name, _)| !goes(name)) {
        names::append(text, name, value);
    }
    if names::get(record.properties, names::RETRY_TOPIC).is_none() {
        names::append(text, names::RETRY_TOPIC, record.topic);
    }
    if !keeps_first {
        names::append(text, names::FIRST_POP_TIME, &pop_time.to_string());
    }
    if let Some(end) = end {
        names::append(text, names::GANTRY_EXPIRES_MS, itoa::Buffer::new().format(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(properties: &'a str, reconsume_times: i32) -> Record<'a> {
        Record {
            queue_id: 0,
            flag: 0,
            queue_offset: 4,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "10.0.0.1:1".parse().unwrap(),
            store_timestamp: 2,
            store_host: "10.0.0.2:2".parse().unwrap(),
            reconsume_times,
            prepared_transaction_offset: 0,
            body_crc: 0,
            body: b"",
            topic: "t",
            properties,
        }
    }

    fn properties_of(record: &Record<'_>) -> String {
        properties_with(record, None)
    }

    fn properties_with(record: &Record<'_>, end: Option<i64>) -> String {
        let mut text = "before".to_owned();
        add_properties(&mut text, record, 77, end);
        text["before\u{2}".len()..].replace('\u{1}', "=").replace('\u{2}', ";")
    }

    #[test]
    fn the_first_try_notes_where_and_when_it_was() {
        let first = record("KEYS\u{1}k\u{2}POP_CK\u{1}x\u{2}", 0);
        assert_eq!(properties_of(&first), "KEYS=k;RETRY_TOPIC=t;1ST_POP_TIME=77;");
    }

    #[test]
    fn tries_take_the_end_of_their_message_along() {
        let first = record("GANTRY_TTL_MS\u{1}5\u{2}", 0);
        let text = properties_with(&first, Some(7));
        assert_eq!(text, "GANTRY_TTL_MS=5;RETRY_TOPIC=t;1ST_POP_TIME=77;GANTRY_EXPIRES_MS=7;");
        let later =
            record("RETRY_TOPIC\u{1}o\u{2}1ST_POP_TIME\u{1}5\u{2}GANTRY_EXPIRES_MS\u{1}7\u{2}", 1);
        let text = properties_with(&later, Some(7));
        assert_eq!(text, "RETRY_TOPIC=o;1ST_POP_TIME=5;GANTRY_EXPIRES_MS=7;");
    }

    #[test]
    fn later_tries_keep_it() {
        let later = record("RETRY_TOPIC\u{1}o\u{2}1ST_POP_TIME\u{1}5\u{2}", 1);
        assert_eq!(properties_of(&later), "RETRY_TOPIC=o;1ST_POP_TIME=5;");
        let first = record("1ST_POP_TIME\u{1}5\u{2}", 0);
        assert_eq!(properties_of(&first), "RETRY_TOPIC=t;1ST_POP_TIME=77;");
    }
}
