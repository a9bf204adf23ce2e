//! Pulls: from a request to messages out of the mapped log, without a hop while there is data.
//!
//! The checks and their order are Java's (wire.md 2.4). The queue's index and the log are read
//! through their published views on the connection's thread; small messages are copied behind the
//! answer's header, large ones leave as slices of the mapping. A pull that finds nothing and may wait
//! is parked at the queue's actor and read once more when that sends it back. One that may have to wait
//! for the disk is read by another thread ([`super::cold`]).

use std::{sync::Arc, time::Duration};

use gantry_codec::{
    Command, PullHeader, PullReply, SerializeType, filter, record, request_code as rq,
    response_code as rs,
};
use gantry_storage::{
    Clock, CommitLog, ConsumeQueueView, PullLimits, PullOutcome, PullStatus, QueueOffset, is_cold,
};
use slog::{error, warn};
use tokio::time::Instant;

use super::{MessageFilter, Session, Shared, cold::ColdPull, expired::Expiry, is_by_tags};
use crate::{
    error_to_wire::{self, PullRefusal},
    expiry::{Expired, Living, read},
    group::Activity,
    group::GroupView,
    net::{Outbox, Outcome},
    topic::{HeldPull, ParkPull, QueueSlot, names::PERM_READ},
};

/// Bits of a pull's `sysFlag`.
const COMMIT_OFFSET: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;

/// Messages that a pull gets at most, whatever it asks for; clients ask for no more.
const MESSAGES_MAX: i32 = 1024;
/// A pull is not held for longer, whatever it asks for.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// Held pulls of one connection; more are answered at once.
const HELD_PULLS_MAX: usize = 10_000;
/// Runs of messages above this leave as slices of the mapping, below it they are copied.
const SLICE_BYTES_MIN: usize = 16 * 1024;

/// What became of an attempt to read at once.
enum Read {
    Found(Pulled),
    /// It may have to wait for the disk.
    Cold,
    /// The queue has messages, and its actor has not opened it.
    Unopened,
}

/// What a pull has read.
#[derive(Debug)]
pub struct Pulled {
    /// What is for the consumer.
    pub outcome: PullOutcome,
    /// What would have been, and has expired.
    pub expired: Vec<Expired>,
}

/// Why a pull is not read now.
enum Detour {
    Refused(PullRefusal),
    OpenGroup(String),
}

impl From<PullRefusal> for Detour {
    fn from(refusal: PullRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A pull that has passed its checks, as it is parked and read.
pub struct PullRequest {
    /// Correlation id.
    pub opaque: i32,
    /// The request's header type; the answer mirrors it.
    pub serialize_type: SerializeType,
    /// The queue.
    pub slot: Arc<QueueSlot>,
    /// First offset wanted.
    pub offset: u64,
    /// As many messages at most.
    pub messages_max: u32,
    /// `None`: every message.
    pub filter: Option<MessageFilter>,
    /// Where it is noted for the diagnosis.
    pub activity: Arc<Activity>,
    /// `None`: nothing in this queue expires.
    pub expiry: Option<Expiry>,
}

/// A filter that came with a pull, and what it was made from.
pub(super) struct BroughtFilter {
    expression: Box<str>,
    filter: MessageFilter,
}

impl Session {
    pub(super) fn pull(&mut self, cmd: Command, out: &mut Outbox) -> Outcome {
        match self.try_pull(&cmd, out) {
            Ok(()) => Outcome::None,
            Err(Detour::Refused(refusal)) => {
                Outcome::Reply(error_to_wire::refused_pull(&cmd, &refusal))
            }
            Err(Detour::OpenGroup(group)) => super::open_group(&self.shared, cmd, &group),
        }
    }

    fn try_pull(&mut self, cmd: &Command, out: &mut Outbox) -> Result<(), Detour> {
        let header = PullHeader::decode(cmd).map_err(PullRefusal::Header)?;
        let request = self.check_pull(cmd, &header)?;
        let (group, topic, queue) = (header.consumer_group, header.topic, header.queue_id);
        let reset = self.control.offsets.view().pending_reset(group, topic, queue);
        if let Some(offset) = reset {
            // An administrator has moved the group: told once, instead of committing and reading.
            self.control.offsets.reset_delivered(group, topic, queue);
            answer_reset(&request, offset, out);
            return Ok(());
        }
        if header.sys_flag & COMMIT_OFFSET != 0 && header.commit_offset >= 0 {
            self.control.offsets.commit_forward(group, topic, queue, header.commit_offset);
        }
        if cmd.is_oneway() {
            return Ok(());
        }
        let may_hold = header.sys_flag & SUSPEND != 0 && self.held_pulls < HELD_PULLS_MAX;
        match self.read(&request) {
            Read::Found(found)
                if may_hold && code(&request, &found.outcome) == rs::PULL_NOT_FOUND =>
            {
                self.park(request, header.suspend_timeout_millis);
            }
            Read::Found(found) => self.found(request, found, out),
            Read::Cold => self.read_cold(Box::new(request)),
            // Its actor opens the queue and sends the pull back.
            Read::Unopened => self.park(request, 0),
        }
        Ok(())
    }

    fn check_pull(
        &mut self,
        cmd: &Command,
        header: &PullHeader<'_>,
    ) -> Result<PullRequest, Detour> {
        if self.shared.limits.load().permission & PERM_READ == 0 {
            return Err(PullRefusal::Broker.into());
        }
        let Some(group) = self.shared.control.group(header.consumer_group) else {
            return Err(Detour::OpenGroup(header.consumer_group.into()));
        };
        if !group.config.consume_enable {
            return Err(PullRefusal::GroupDisabled(header.consumer_group.into()).into());
        }
        let view = self
            .topic(header.topic)
            .ok_or_else(|| PullRefusal::Topic(header.topic.into()))?
            .clone();
        if view.kind.is_batch_queue {
            return Err(PullRefusal::BatchQueue(header.topic.into()).into());
        }
        if !view.is_readable() {
            return Err(PullRefusal::TopicPermission(header.topic.into()).into());
        }
        let slot = u32::try_from(header.queue_id)
            .ok()
            .filter(|id| *id < view.config.read_queue_nums as u32)
            .and_then(|id| view.queue(id))
            .ok_or(PullRefusal::QueueId { asked: header.queue_id, view: view.clone() })?;
        slot.range().map_err(PullRefusal::Queue)?;
        let activity = self.activity.of(group.slot(), &slot.topic, header.queue_id).clone();
        let now_ms = self.shared.clock.now_ms();
        activity.pulled(now_ms, header.queue_offset, self.connection);
        let filter = if header.sys_flag & SUBSCRIPTION != 0 {
            self.filter_of_request(header)?
        } else {
            self.filter_of_group(&group, header)?
        };
        Ok(PullRequest {
            opaque: cmd.opaque,
            serialize_type: cmd.serialize_type,
            slot: slot.clone(),
            offset: header.queue_offset.max(0) as u64,
            messages_max: header.max_msg_nums.clamp(1, MESSAGES_MAX) as u32,
            filter,
            activity,
            expiry: view.lifetime.and_then(|lifetime| Expiry::of(lifetime, &group.name)),
        })
    }

    /// The filter that the group's heartbeats have brought.
    fn filter_of_group(
        &self,
        group: &GroupView,
        header: &PullHeader<'_>,
    ) -> Result<Option<MessageFilter>, PullRefusal> {
        let data = group
            .subscription_for_pull(header.topic, header.sub_version)
            .map_err(|denied| PullRefusal::Denied(denied, header.consumer_group.into()))?;
        if !data.is_sql92() {
            return Ok((!data.matches_all()).then_some(MessageFilter::Tags(data)));
        }
        if !self.shared.control.serves_sql92() {
            return Err(PullRefusal::Sql92);
        }
        let filter = self.shared.control.filters().get(header.topic, header.consumer_group);
        let filter = filter.ok_or(PullRefusal::NoFilter)?;
        if filter.version < header.sub_version {
            return Err(PullRefusal::OldFilter);
        }
        let (sql, log) = (filter.sql.clone(), self.shared.log.clone());
        Ok(Some(MessageFilter::Properties { sql, log }))
    }

    /// The filter that the request brings along; the last one is kept, as it seldom changes.
    fn filter_of_request(
        &mut self,
        header: &PullHeader<'_>,
    ) -> Result<Option<MessageFilter>, PullRefusal> {
        let expression = header.subscription.unwrap_or_default();
        let is_tags = is_by_tags(header.expression_type);
        if is_tags && matches!(expression, "" | filter::MATCH_ALL) {
            return Ok(None);
        }
        if !is_tags && !self.shared.control.serves_sql92() {
            return Err(PullRefusal::Sql92);
        }
        let same = |last: &&BroughtFilter| {
            *last.expression == *expression
                && matches!(last.filter, MessageFilter::Tags(_)) == is_tags
        };
        if let Some(last) = self.last_filter.as_ref().filter(same) {
            return Ok(Some(last.filter.clone()));
        }
        let log = &self.shared.log;
        let filter = MessageFilter::compile(header.topic, expression, is_tags, log)
            .map_err(PullRefusal::Expression)?;
        self.last_filter =
            Some(BroughtFilter { expression: expression.into(), filter: filter.clone() });
        Ok(Some(filter))
    }

    /// Reads from the views, if that needs no disk.
    fn read(&self, request: &PullRequest) -> Read {
        let Some(view) = request.slot.view() else {
            let never_written = request.slot.range().is_ok_and(|(_, max)| max == 0);
            return if never_written {
                Read::Found(PullOutcome::never_written().into())
            } else {
                Read::Unopened
            };
        };
        let limits = &self.shared.limits.load().pull;
        if is_cold(&view, &self.shared.log, QueueOffset(request.offset), limits) {
            return Read::Cold;
        }
        Read::Found(read_queue(&view, &self.shared.log, limits, request, &*self.shared.clock))
    }

    /// Has a thread read that may wait for the disk.
    fn read_cold(&mut self, request: Box<PullRequest>) {
        let (Some(back), Some(view)) = (&self.reply_to, request.slot.view()) else { return };
        self.held_pulls += 1;
        let (log, limits) = (self.shared.log.clone(), self.shared.limits.load().pull);
        let (pull, shared) = (ColdPull::new(request, back.clone()), self.shared.clone());
        self.shared.cold.pull(pull, move |request| {
            let begun = Instant::now();
            let found = read_queue(&view, &log, &limits, request, &*shared.clock);
            shared.about.traffic.read_took(begun.elapsed());
            found
        });
    }

    /// Answers a pull that another thread has read.
    pub(super) fn pull_read(
        &mut self,
        request: Box<PullRequest>,
        found: Option<Pulled>,
        out: &mut Outbox,
    ) {
        self.held_pulls = self.held_pulls.saturating_sub(1);
        match found {
            Some(found) => self.found(*request, found, out),
            None => fail_pull(&self.shared, &request, error_to_wire::UNREADABLE_QUEUE, out),
        }
    }

    /// Answers a pull, once what it had met expired is noted, and is buried if that is wanted.
    fn found(&mut self, request: PullRequest, found: Pulled, out: &mut Outbox) {
        if !found.expired.is_empty() && !self.pass_over(&request, &found.expired) {
            return self.bury(Box::new(request), found.expired);
        }
        self.answer_pull(&request, &found.outcome, out);
    }

    /// Leaves the pull with the queue's actor until there is something for it.
    fn park(&mut self, request: PullRequest, suspend_ms: i64) {
        let Some(reply_to) = &self.reply_to else { return };
        let limits = self.shared.limits.load();
        let hold = if limits.long_polling { suspend_ms } else { limits.short_polling_ms };
        let hold = Duration::from_millis(hold.max(0) as u64).min(HOLD_MAX);
        self.held_pulls += 1;
        let slot = request.slot.clone();
        slot.actor().do_send(ParkPull(HeldPull {
            filter: request.filter.clone(),
            request: Box::new(request),
            deadline: Instant::now() + hold,
            held: self.shared.metrics.held_pulls.one_more(),
            back: reply_to.clone(),
        }));
    }

    /// A parked pull came back: read once more, and answer whatever that gives.
    pub(super) fn pull_due(&mut self, request: Box<PullRequest>, out: &mut Outbox) {
        self.held_pulls = self.held_pulls.saturating_sub(1);
        match self.read(&request) {
            Read::Found(found) => self.found(*request, found, out),
            Read::Cold => self.read_cold(request),
            // Not an offset: a consumer would take that for the truth.
            Read::Unopened => {
                fail_pull(&self.shared, &request, error_to_wire::UNREADABLE_QUEUE, out)
            }
        }
    }

    /// Notes how long the messages of an answer were on their way: as long as the oldest.
    fn note_delivery(&self, request: &PullRequest, found: &PullOutcome) {
        let Some(first) = found.slices.first() else { return };
        request.activity.delivered_bytes(found.bytes() as u64);
        if let Ok(head) = record::decode_head(first.as_ref()) {
            let age_ms = self.shared.clock.now_ms() - head.store_timestamp;
            let age = Duration::from_millis(age_ms.try_into().unwrap_or(0));
            self.shared.metrics.delivered.record(age, found.count.into());
        }
    }

    fn answer_pull(&self, request: &PullRequest, found: &PullOutcome, out: &mut Outbox) {
        if let Some(damage) = &found.damage {
            let slot = &request.slot;
            error!(self.shared.log_to, "message is damaged"; "topic" => &*slot.topic,
                "queue" => slot.queue_id, "offset" => request.offset, "damage" => %damage);
            if !self.shared.limits.load().skip_damaged {
                let remark = error_to_wire::damaged(request, damage);
                return fail_pull(&self.shared, request, &remark, out);
            }
        }
        if let Some(offset) = found.unknown_tag {
            let slot = &request.slot;
            warn!(self.shared.log_to, "tag is not known, its unit cannot be read: passes the filter";
                "topic" => &*slot.topic, "queue" => slot.queue_id, "offset" => offset.0);
        }
        self.shared.about.traffic.delivered(found.count.into());
        let reply = PullReply {
            opaque: request.opaque,
            code: code(request, found),
            remark: found.status.name(),
            serialize_type: request.serialize_type,
            suggest_which_broker_id: 0,
            next_begin_offset: found.next_begin_offset.0 as i64,
            min_offset: found.min_offset.0 as i64,
            max_offset: found.max_offset.0 as i64,
        };
        request.activity.delivered(found.count.into());
        self.note_delivery(request, found);
        reply.encode_head(found.bytes(), out.buffer());
        for slice in &found.slices {
            if slice.len() < SLICE_BYTES_MIN {
                out.buffer().extend_from_slice(slice.as_ref());
            } else {
                out.body(slice.clone().into_bytes());
            }
        }
    }
}

fn read_queue(
    view: &ConsumeQueueView,
    log: &CommitLog,
    limits: &PullLimits,
    request: &PullRequest,
    clock: &dyn Clock,
) -> Pulled {
    let limits = PullLimits { messages_max: request.messages_max, ..*limits };
    let (from, filter) = (QueueOffset(request.offset), request.filter.as_ref());
    let living = request.expiry.as_ref().map(|e| Living::new(e.lifetime, clock.now_ms()));
    let outcome = read(view, log, from, &limits, filter, living.as_ref());
    Pulled { outcome, expired: living.map(Living::into_expired).unwrap_or_default() }
}

impl From<PullOutcome> for Pulled {
    fn from(outcome: PullOutcome) -> Self {
        Self { outcome, expired: Vec::new() }
    }
}

/// Answers a pull with an error; where its consumer is does not change.
pub(super) fn fail_pull(shared: &Shared, request: &PullRequest, remark: &str, out: &mut Outbox) {
    shared.metrics.refusals.answered(rq::PULL_MESSAGE, rs::SYSTEM_ERROR);
    let (min, max) = request.slot.range().unwrap_or_default();
    let reply = PullReply {
        opaque: request.opaque,
        code: rs::SYSTEM_ERROR,
        remark,
        serialize_type: request.serialize_type,
        suggest_which_broker_id: 0,
        next_begin_offset: request.offset as i64,
        min_offset: min as i64,
        max_offset: max as i64,
    };
    reply.encode_head(0, out.buffer());
}

/// Tells the client where its group has been moved to.
fn answer_reset(request: &PullRequest, offset: i64, out: &mut Outbox) {
    let (min, max) = request.slot.range().unwrap_or_default();
    let reply = PullReply {
        opaque: request.opaque,
        code: rs::PULL_OFFSET_MOVED,
        remark: "OFFSET_RESET",
        serialize_type: request.serialize_type,
        suggest_which_broker_id: 0,
        next_begin_offset: offset,
        min_offset: min as i64,
        max_offset: max as i64,
    };
    reply.encode_head(0, out.buffer());
}

/// The response code of a read (wire.md 2.4).
fn code(request: &PullRequest, found: &PullOutcome) -> i32 {
    match found.status {
        PullStatus::Found => rs::SUCCESS,
        PullStatus::OffsetOverflowOne | PullStatus::OffsetFoundNull => rs::PULL_NOT_FOUND,
        PullStatus::NoMessageInQueue if request.offset == 0 => rs::PULL_NOT_FOUND,
        PullStatus::NoMatchedMessage
        | PullStatus::MessageWasRemoving
        | PullStatus::MessageDamaged => rs::PULL_RETRY_IMMEDIATELY,
        _ => rs::PULL_OFFSET_MOVED,
    }
}
