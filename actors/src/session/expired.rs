//! Pulls that meet expired messages: counted, and buried first where their topic wants dead letters.

use std::sync::Arc;

use super::{PullRequest, Session, SessionEvent, pull::fail_pull};
use crate::{
    error_to_wire,
    expiry::{Burial, Bury, Expired, Lifetime},
    group::configs::PREDEFINED,
    log::batch::ReplyTo,
    net::{Deliver, Outbox},
};

/// What a pull goes by that reads a topic with a lifetime.
pub struct Expiry {
    /// How long messages live.
    pub lifetime: Lifetime,
    /// Who pulls.
    pub group: Arc<str>,
}

impl Expiry {
    /// For a group; nothing for those of tools, which see everything.
    pub fn of(lifetime: Lifetime, group: &Arc<str>) -> Option<Self> {
        let is_tools = PREDEFINED.contains(&&**group);
        (!is_tools).then(|| Self { lifetime, group: group.clone() })
    }
}

impl Session {
    /// Whether the pull may lead its consumer past these; they are counted then.
    pub(super) fn pass_over(&self, request: &PullRequest, expired: &[Expired]) -> bool {
        let account = request.activity.expired();
        let buries = request.expiry.as_ref().is_some_and(|expiry| expiry.lifetime.buries);
        if buries && !account.fresh(&request.slot, expired).is_empty() {
            return false;
        }
        account.note(&request.slot, expired);
        true
    }

    /// Has them buried; the pull comes back then.
    pub(super) fn bury(&mut self, request: Box<PullRequest>, expired: Vec<Expired>) {
        let (Some(back), Some(expiry)) = (&self.reply_to, &request.expiry) else { return };
        self.held_pulls += 1;
        let burial = Burial {
            group: expiry.group.clone(),
            slot: request.slot.clone(),
            expired,
            activity: request.activity.clone(),
        };
        let waiting = Waiting { request: Some(request), back: back.clone() };
        let done = Box::new(move |result| waiting.done(result));
        self.shared.undertaker.do_send(Bury { burial, done });
    }

    /// They are buried, or cannot be.
    pub(super) fn buried(
        &mut self,
        request: Box<PullRequest>,
        result: Result<(), String>,
        out: &mut Outbox,
    ) {
        match result {
            Ok(()) => self.pull_due(request, out),
            Err(why) => {
                self.held_pulls = self.held_pulls.saturating_sub(1);
                fail_pull(&self.shared, &request, &error_to_wire::not_buried(&request, &why), out);
            }
        }
    }
}

/// A pull that waits for a burial. However that ends, it goes back to its session.
struct Waiting {
    request: Option<Box<PullRequest>>,
    back: Arc<ReplyTo>,
}

impl Waiting {
    fn done(mut self, result: Result<(), String>) {
        self.give_back(result);
    }

    fn give_back(&mut self, result: Result<(), String>) {
        if let (Some(request), ReplyTo::Session(session)) = (self.request.take(), &*self.back) {
            session.do_send(Deliver(SessionEvent::Buried(request, result)));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.give_back(Err("the order was lost by an internal failure, try again".to_owned()));
    }
}
