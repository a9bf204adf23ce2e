//! The way of an answer back to the connection that waits for it.
//!
//! Pops may wait for long, and their messages must not be lost with a connection that ends meanwhile. So
//! an answer is an event for its session, whose end can be seen before messages are taken for it and
//! when they are sent. One that is dropped, with a panic of its actor for instance, tells the session.

use std::sync::Arc;

use actix::dev::SendError;

use super::walk::PopAnswer;
use crate::{
    log::batch::ReplyTo,
    net::Deliver,
    session::{PopReply, SessionEvent},
};

/// What a session is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// The answer to a pop.
    Pop(PopAnswer),
    /// Whether there is something to pop; `None`: too many wait already.
    Notice(Option<bool>),
    /// The answer was lost with who had to give it.
    Lost,
}

/// See the module's text.
pub struct Back {
    reply: Option<Box<PopReply>>,
    to: Arc<ReplyTo>,
}

impl Back {
    /// The way back to `to`, which can make an answer with `reply`.
    pub fn new(reply: Box<PopReply>, to: Arc<ReplyTo>) -> Self {
        Self { reply: Some(reply), to }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        match &*self.to {
            ReplyTo::Session(session) => !session.connected(),
            ReplyTo::Actor(_) | ReplyTo::Waiter(_) => true,
        }
    }

    /// Tells it; false: the connection has ended.
    pub fn tell(mut self, told: Told) -> bool {
        let (Some(reply), ReplyTo::Session(session)) = (self.reply.take(), &*self.to) else {
            return false;
        };
        match session.try_send(Deliver(SessionEvent::PopAnswered(reply, Box::new(told)))) {
            Ok(()) => true,
            Err(SendError::Full(event)) => {
                // Room in a mailbox is no reason not to answer.
                session.do_send(event);
                true
            }
            Err(SendError::Closed(_)) => false,
        }
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        if let (Some(reply), ReplyTo::Session(session)) = (self.reply.take(), &*self.to) {
            session.do_send(Deliver(SessionEvent::PopAnswered(reply, Box::new(Told::Lost))));
        }
    }
}
