//! Popped messages are done, one or many at once, or hidden for another while.

use std::sync::Arc;

use gantry_codec::{
    Command, Header,
    body::{BatchAck, BatchAckBody},
    fastjson,
    pop::{ExtraInfo, ORDER_REVIVE_QUEUE, TopicMark},
    requests::pull::{AckMessageHeader, ChangeInvisibleTimeHeader, ChangeInvisibleTimeResponse},
    response_code as rs,
};

use super::Client;
use crate::{
    error_to_wire::{self, pop::PopRefusal},
    net::Outcome,
    pop::orders::{Ack, AckResult, Hide},
};

/// A queue with what its messages' offsets can be.
struct Place {
    topic: Arc<str>,
    queue_id: u32,
    range: (u64, u64),
}

impl Client<'_> {
    pub(super) fn ack(&self, cmd: &Command) -> Result<Outcome, PopRefusal> {
        let header = AckMessageHeader::decode(&cmd.ext).map_err(PopRefusal::Header)?;
        let place = self.place(&header.topic, header.queue_id)?;
        let offset = place.offset(header.offset, true)?;
        let pop = ExtraInfo::parse(&header.extra_info).map_err(PopRefusal::ExtraInfo)?;
        let acked = self.shared.pops.group(&header.consumer_group).send(Ack {
            topic: place.topic,
            queue_id: place.queue_id,
            offsets: vec![offset],
            pop_time: pop.pop_time,
            in_order: pop.is_order(),
        });
        let cmd = cmd.clone();
        Ok(Outcome::Later(Box::pin(async move {
            match acked.await {
                Ok(AckResult::Accepted) => Command::response(rs::SUCCESS, &cmd),
                Ok(AckResult::Unknown(committed)) => {
                    let (topic, queue_id) = (header.topic, header.queue_id);
                    let offset = header.offset;
                    let refusal = PopRefusal::NotOut { topic, queue_id, offset, committed };
                    error_to_wire::pop::refused_pop(&cmd, &refusal)
                }
                Err(_) => error_to_wire::lost(&cmd),
            }
        })))
    }

    pub(super) fn batch_ack(&self, cmd: &Command) -> Result<Outcome, PopRefusal> {
        if cmd.body.is_empty() {
            return Err(PopRefusal::NothingToAck);
        }
        let body: BatchAckBody =
            fastjson::from_slice(&cmd.body).map_err(|e| PopRefusal::Body(e.to_string()))?;
        if body.acks.is_empty() {
            return Err(PopRefusal::NothingToAck);
        }
        // Of queues that are gone there is nothing left to acknowledge.
        let orders = body.acks.iter().filter_map(|ack| Some((ack, self.batch_order(ack)?)));
        let acked: Vec<_> = orders
            .map(|(ack, order)| self.shared.pops.group(&ack.consumer_group).send(order))
            .collect();
        let cmd = cmd.clone();
        Ok(Outcome::Later(Box::pin(async move {
            let results = futures_util::future::join_all(acked).await;
            if results.iter().any(Result::is_err) {
                return error_to_wire::lost(&cmd);
            }
            Command::response(rs::SUCCESS, &cmd)
        })))
    }

    fn batch_order(&self, ack: &BatchAck) -> Option<Ack> {
        let topic = TopicMark::of(&ack.mark).real_topic(&ack.topic, &ack.consumer_group);
        let place = self.place(&topic, ack.queue_id).ok()?;
        let (min, max) = place.range;
        let start = u64::try_from(ack.start_offset).ok()?;
        let offsets = ack.bits.ones().filter_map(|bit| start.checked_add(bit));
        Some(Ack {
            topic: place.topic,
            queue_id: place.queue_id,
            offsets: offsets.filter(|offset| (min..=max).contains(offset)).collect(),
            pop_time: ack.pop_time,
            in_order: ack.revive_qid == ORDER_REVIVE_QUEUE,
        })
    }

    pub(super) fn hide(&self, cmd: &Command) -> Result<Outcome, PopRefusal> {
        let header = ChangeInvisibleTimeHeader::decode(&cmd.ext).map_err(PopRefusal::Header)?;
        let place = self.place(&header.topic, header.queue_id)?;
        let offset = place.offset(header.offset, false)?;
        let pop = ExtraInfo::parse(&header.extra_info).map_err(PopRefusal::ExtraInfo)?;
        let revive_qid = pop.revive_qid;
        let hidden = self.shared.pops.group(&header.consumer_group).send(Hide {
            topic: place.topic,
            queue_id: place.queue_id,
            offset,
            pop_time: pop.pop_time,
            in_order: pop.is_order(),
            invisible_time: header.invisible_time.max(0),
        });
        let cmd = cmd.clone();
        Ok(Outcome::Later(Box::pin(async move {
            let Ok(hidden) = hidden.await else { return error_to_wire::lost(&cmd) };
            let (pop_time, invisible_time) = (hidden.pop_time, hidden.invisible_time);
            let header = ChangeInvisibleTimeResponse { pop_time, invisible_time, revive_qid };
            Command::response(rs::SUCCESS, &cmd).with_header(&header)
        })))
    }

    /// The queue that a request is about, if it exists.
    fn place(&self, topic: &str, queue_id: i32) -> Result<Place, PopRefusal> {
        let view = self.topic(topic)?;
        let known = u32::try_from(queue_id)
            .ok()
            .filter(|_| queue_id < view.config.read_queue_nums)
            .and_then(|queue| view.queue(queue).cloned());
        let Some(slot) = known else {
            let (client, code) = (self.conn.remote(), rs::MESSAGE_ILLEGAL);
            return Err(PopRefusal::QueueId { asked: queue_id, view, client, code });
        };
        let range = slot.range().map_err(PopRefusal::Queue)?;
        Ok(Place { topic: slot.topic.clone(), queue_id: slot.queue_id, range })
    }
}

impl Place {
    /// The offset, if a message of the queue can have it; `or_end`: its end will do.
    fn offset(&self, offset: i64, or_end: bool) -> Result<u64, PopRefusal> {
        let (min, max) = self.range;
        let end = max + u64::from(or_end);
        let known = u64::try_from(offset).ok().filter(|offset| (min..end).contains(offset));
        known.ok_or_else(|| PopRefusal::Offset {
            topic: self.topic.to_string(),
            queue_id: self.queue_id as i32,
            offset,
            range: self.range,
        })
    }
}
