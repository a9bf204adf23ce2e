//! Timed messages in a session: what a send asks for, and what replicas and tools ask about the timers
//! (60 GET_TIMER_CHECK_POINT, 61 GET_TIMER_METRICS).

use std::sync::Arc;

use gantry_codec::{Command, body, request_code as rq, response_code as rs};

use super::{Session, Shared};
use crate::{
    error_to_wire::SendRefusal,
    timer::{TimerRefusal, Timing},
    topic::{QueueSlot, names::WHEEL_TIMER_TOPIC},
};

impl Session {
    /// When a message with these properties is due; `None` if it does not wait.
    pub(super) fn timing(&self, properties: &str) -> Result<Option<Timing>, SendRefusal> {
        let (rules, now_ms) = (&self.shared.config.timers, self.shared.clock.now_ms());
        let timing = rules.timing(properties, now_ms).map_err(SendRefusal::Timer)?;
        if let Some(timing) = timing
            && rules.congest_max < i32::MAX as u32
        {
            let waiting = self.shared.timers.slots().get(&timing.out_ms).copied().unwrap_or(0);
            if rules.is_congested(waiting, fastrand::f64()) {
                return Err(SendRefusal::Timer(TimerRefusal::Congested { max: rules.congest_max }));
            }
        }
        Ok(timing)
    }

    /// The queue that timed messages wait in.
    pub(super) fn timer_queue(&self) -> Result<Arc<QueueSlot>, SendRefusal> {
        let view = self.shared.topics.get(WHEEL_TIMER_TOPIC);
        let slot = view.and_then(|view| view.queue(0).cloned());
        slot.ok_or_else(|| SendRefusal::NoQueue(WHEEL_TIMER_TOPIC.into()))
    }
}

/// Answers one of the codes of this file.
pub(super) fn answer(shared: &Shared, cmd: &Command) -> Command {
    let answer = Command::response(rs::SUCCESS, cmd);
    if cmd.code == rq::GET_TIMER_CHECK_POINT {
        return answer.with_body(shared.timers.checkpoint().encode());
    }
    answer.with_body(body::to_json(&*shared.timers.counts()))
}
