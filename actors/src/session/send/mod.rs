//! Sends: from a request to a message in the burst's batch, and from results to answers.
//!
//! The checks and their order are Java's (wire.md 2.3); what they refuse carries its code and text.
//! The CRC is taken here, on the connection's thread; the body is never copied on the way, only its
//! reference goes to the appender.
//!
//! `batch` is what is different with client batches, `placement` is where a send is stored, `stored` its property string as it is stored, `answers` the
//! way back.

mod answers;
mod batch;
mod placement;
mod stored;

use std::sync::Arc;

use gantry_codec::{Command, SendHeader};
use tokio::time::Instant;

use self::placement::Placement;
pub(super) use self::stored::{Stored, append_properties, message, with_properties};
use super::{Session, Shared, properties::Scan};
use crate::{
    dedup::Window,
    error_to_wire::{self, SendRefusal},
    expiry::PropertyError,
    log::batch::{AppendBatch, Send, SendResult},
    net::{ConnectionHandle, Outcome},
    topic::{
        CreateTopic, TopicView,
        names::{self as topic_names, DLQ_PREFIX, RETRY_PREFIX},
    },
};

/// Why a send does not go straight into the batch.
pub(super) enum Detour {
    /// It is answered with an error.
    Refused(SendRefusal),
    /// Its topic has to be made first.
    CreateTopic(CreateTopic),
}

impl From<SendRefusal> for Detour {
    fn from(refusal: SendRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A send that passed the checks.
struct Accepted<'a> {
    header: SendHeader<'a>,
    placement: Placement,
    scan: Scan,
    reconsume_times: i32,
    /// Of its topic, if that stores messages once.
    window: Option<Arc<Window>>,
}

impl Session {
    /// A send of one message or of a client batch.
    pub(super) fn send(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        match self.try_send(&cmd, conn) {
            Ok(()) => Outcome::None,
            Err(Detour::Refused(refusal)) => {
                Outcome::Reply(error_to_wire::refused_send(&cmd, &refusal, &self.shared.config))
            }
            Err(Detour::CreateTopic(order)) => self.create_and_retry(cmd, order),
        }
    }

    /// Makes the topic, then puts the request once more.
    pub(super) fn create_and_retry(&self, cmd: Command, order: CreateTopic) -> Outcome {
        let shared = self.shared.clone();
        Outcome::Again(Box::pin(async move {
            match shared.topics_root.send(order).await {
                Ok(Ok(())) => Ok(cmd),
                Ok(Err(e)) => Err(error_to_wire::refused_send(&cmd, &e.into(), &shared.config)),
                Err(_) => Err(error_to_wire::lost(&cmd)),
            }
        }))
    }

    fn try_send(&mut self, cmd: &Command, conn: &ConnectionHandle) -> Result<(), Detour> {
        let header = SendHeader::decode(cmd).map_err(SendRefusal::Header)?;
        if let Some(refusal) = self.shared.log_state.refusal() {
            return Err(SendRefusal::NotWritable(refusal.reason().clone()).into());
        }
        topic_names::validate_topic(header.topic).map_err(SendRefusal::Topic)?;
        if topic_names::is_reserved(header.topic) {
            return Err(SendRefusal::Reserved(header.topic.into()).into());
        }
        let accepted = self.check(cmd, header)?;
        if accepted.header.batch {
            self.add_batch(cmd, &accepted, conn)?;
        } else {
            self.add_single(cmd, &accepted, conn)?;
        }
        Ok(())
    }

    fn check<'a>(&mut self, cmd: &Command, header: SendHeader<'a>) -> Result<Accepted<'a>, Detour> {
        let Some(view) = self.topic(header.topic).cloned() else {
            return Err(Detour::CreateTopic(CreateTopic::for_send(&header)));
        };
        let config = &view.config;
        let queues = config.write_queue_nums.max(config.read_queue_nums);
        if header.queue_id >= queues {
            return Err(SendRefusal::QueueId { asked: header.queue_id, view }.into());
        }
        if view.kind.is_batch_queue {
            return Err(SendRefusal::BatchQueue(header.topic.into()).into());
        }
        let mut scan = Scan::of(header.properties);
        batch::check(&header, &scan)?;
        // A consumer of an old client gives a message of a transaction back with all its properties.
        scan.half &= header.reconsume_times <= 0 || scan.delay_level == 0;
        if scan.half && self.shared.config.reject_transactions {
            return Err(SendRefusal::Transactions.into());
        }
        if scan.half && scan.timed && scan.delay_level == 0 {
            return Err(SendRefusal::TimedTransaction.into());
        }
        let retry = header.topic.starts_with(RETRY_PREFIX);
        let mut view = view;
        let mut queue_id = header.queue_id;
        let reconsume_times = header.reconsume_times;
        if retry && self.exhausted(cmd, &header)? {
            let dlq = format!("{DLQ_PREFIX}{}", &header.topic[RETRY_PREFIX.len()..]);
            view = self
                .topic(&dlq)
                .cloned()
                .ok_or_else(|| Detour::CreateTopic(CreateTopic::internal(&dlq, 1)))?;
            scan.delay_level = 0;
            queue_id = 0;
        }
        if let Some(priority) = scan.priority.filter(|_| !header.batch) {
            let last = view.config.write_queue_nums.max(1) as u32 - 1;
            queue_id = priority.min(last) as i32;
        }
        let placement = self.place(&view, queue_id, &scan, header.properties)?;
        if scan.ends {
            check_end(header.properties, &view)?;
        }
        // Here and not on the appender's thread: the first use of a queue reads its files.
        placement.slot.settle().map_err(SendRefusal::Queue)?;
        if let Some(light) = &self.shared.light {
            light.prepare(header.topic, header.properties).map_err(SendRefusal::Light)?;
        }
        Ok(Accepted { header, placement, scan, reconsume_times, window: view.window.clone() })
    }

    /// Whether a message that a consumer sends to its retry topic itself has had all its tries.
    fn exhausted(&self, cmd: &Command, header: &SendHeader<'_>) -> Result<bool, Detour> {
        let group = &header.topic[RETRY_PREFIX.len()..];
        let max = self.shared.retry_times_max(group, cmd.version, header.max_reconsume_times);
        let max = max.ok_or_else(|| SendRefusal::Group(group.into()))?;
        Ok(header.reconsume_times > max)
    }

    fn add_single(
        &mut self,
        cmd: &Command,
        accepted: &Accepted<'_>,
        conn: &ConnectionHandle,
    ) -> Result<(), SendRefusal> {
        let body = cmd.body.clone();
        self.check_body(body.len())?;
        let properties = self.add_properties(accepted)?;
        let first = self.batch.messages.len();
        self.batch.messages.push(message(accepted.header.flag, body, properties));
        self.add_send(cmd, accepted, first, conn);
        Ok(())
    }

    fn check_body(&self, len: usize) -> Result<(), SendRefusal> {
        let max = self.shared.config.message_bytes_max;
        if len > max { Err(SendRefusal::BodyTooLarge { len, max }) } else { Ok(()) }
    }

    /// Puts the message's property string behind the others, with what the broker adds.
    fn add_properties(&mut self, accepted: &Accepted<'_>) -> Result<Stored, SendRefusal> {
        let extra = &self.shared.config.property_suffix;
        let shared = &self.shared;
        let fresh_key = || shared.unique_keys.next(shared.clock.now_ms());
        let text = &mut self.batch.properties;
        let given = accepted.header.properties;
        let detour = accepted.placement.detour_properties(given, &accepted.scan, fresh_key);
        let Some(detour) = detour else {
            return append_properties(text, given, &accepted.scan, extra, fresh_key);
        };
        append_properties(text, &detour, &Scan::of(&detour), extra, fresh_key)
    }

    fn add_send(
        &mut self,
        cmd: &Command,
        accepted: &Accepted<'_>,
        first: usize,
        conn: &ConnectionHandle,
    ) {
        let batch = &mut self.batch;
        batch.bytes += cmd.body.len() + accepted.header.properties.len();
        batch.wait_flush |= !accepted.scan.no_wait;
        if let Some(window) = &accepted.window {
            batch.windows.push((batch.sends.len(), window.clone()));
        }
        batch.sends.push(Send {
            opaque: cmd.opaque,
            serialize_type: cmd.serialize_type,
            oneway: cmd.is_oneway(),
            code_only: false,
            slot: accepted.placement.slot.clone(),
            asked_queue: accepted.placement.asked_queue(),
            messages: first..batch.messages.len(),
            sys_flag: accepted.placement.sys_flag(accepted.header.sys_flag),
            born_timestamp: accepted.header.born_timestamp,
            born_host: conn.remote(),
            reconsume_times: accepted.reconsume_times,
            prepared_transaction_offset: 0,
            result: SendResult::Open,
        });
    }

    /// Hands what the burst has gathered to the appender, once its bytes fit the memory budget.
    pub(super) fn hand_over(&mut self) {
        if self.batch.sends.is_empty() {
            return;
        }
        let next = self.spare_batches.pop().unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.batch, next);
        self.held_bytes += batch.bytes;
        batch.reply_to.clone_from(&self.reply_to);
        batch.accepted = Some(Instant::now());
        let credits = &self.shared.credits;
        if let Some(permit) = credits.try_take(batch.bytes) {
            batch.permit = Some(permit);
            self.shared.appender.do_send(AppendBatch(batch));
            return;
        }
        let (credits, appender) = (credits.clone(), self.shared.appender.clone());
        // Batches of one connection wait in line and are let through in order.
        let waits = async move {
            batch.permit = Some(credits.take(batch.bytes).await);
            appender.do_send(AppendBatch(batch));
        };
        #[expect(clippy::disallowed_methods, reason = "waits for credits and ends with them")]
        tokio::task::spawn_local(waits);
    }
}

fn check_end_of_item(
    shared: &Shared,
    properties: &str,
    accepted: &Accepted<'_>,
) -> Result<(), Detour> {
    let topic = &accepted.placement.meant_for().topic;
    let view = shared.topics.get(topic);
    check_end(properties, &*view.ok_or_else(|| SendRefusal::NoQueue(topic.to_string()))?)
}

/// Has the topic noted as one whose messages may say when they end, before the first of these is stored:
/// else readers would not look.
pub(super) fn check_end(properties: &str, view: &TopicView) -> Result<(), Detour> {
    PropertyError::check(properties).map_err(SendRefusal::Property)?;
    let topic = &view.config.topic_name;
    if view.lifetime.is_some_and(|lifetime| lifetime.by_message) || topic.starts_with(DLQ_PREFIX) {
        return Ok(());
    }
    Err(Detour::CreateTopic(CreateTopic::noted_for_ends(topic)))
}
