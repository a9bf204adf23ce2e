//! The answers to pops and notifications, into the outbox of their connection.

use bytes::Bytes;
use gantry_codec::{
    Command,
    pop::ORDER_REVIVE_QUEUE,
    requests::pull::{NotificationResponse, PopMessageResponse},
    response_code as rs,
};

use crate::{
    error_to_wire,
    net::Outbox,
    pop::{
        back::Told,
        walk::{PopAnswer, Popped},
    },
};

/// How a pop or a notification is answered.
pub struct PopReply {
    /// The request, without its body.
    pub(super) cmd: Command,
    pub(super) invisible_time: i64,
    pub(super) in_order: bool,
    /// The code if there is nothing.
    pub(super) nothing: i32,
}

impl PopReply {
    /// Answers it.
    pub(in crate::session) fn answer(&self, told: Told, out: &mut Outbox) {
        if self.cmd.is_oneway() {
            return;
        }
        match told {
            Told::Pop(answer) => self.answer_pop(answer, out),
            Told::Notice(has_msg) => {
                let polling_full = Some(has_msg.is_none());
                let has_msg = has_msg.unwrap_or(false);
                let header = NotificationResponse { has_msg, polling_full };
                out.command(&Command::response(rs::SUCCESS, &self.cmd).with_header(&header));
            }
            Told::Lost => out.command(&error_to_wire::lost(&self.cmd)),
        }
    }

    fn answer_pop(&self, answer: PopAnswer, out: &mut Outbox) {
        let (code, remark, popped) = match answer {
            PopAnswer::Found(popped) => (rs::SUCCESS, "FOUND", popped),
            PopAnswer::Nothing(popped) => (self.nothing, "NO_MESSAGE_IN_QUEUE", popped),
            PopAnswer::Full(popped) => (rs::POLLING_FULL, "NO_MESSAGE_IN_QUEUE", popped),
        };
        let Popped { pop_time, rest, info, pieces, .. } = popped;
        let header = PopMessageResponse {
            pop_time,
            invisible_time: self.invisible_time,
            revive_qid: if self.in_order { ORDER_REVIVE_QUEUE } else { 0 },
            rest_num: rest as i64,
            start_offset_info: Some(info.start),
            msg_offset_info: Some(info.messages),
            order_count_info: self.in_order.then_some(info.order_counts),
        };
        let answer = Command::response(code, &self.cmd).with_header(&header).with_remark(remark);
        answer.encode_head(pieces.iter().map(Bytes::len).sum(), out.buffer());
        pieces.into_iter().for_each(|piece| out.body(piece));
    }
}
