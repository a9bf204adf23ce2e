//! Expired messages on a pop's way: noted, and buried before the group is led past them, where their
//! topic wants dead letters. The queue gives nothing to others meanwhile.

use std::sync::Arc;

use gantry_supervisor::{ContextExt, Ctx};
use tokio::sync::oneshot;

use super::{PopGroup, take::Progress};
use crate::{
    expiry::{Burial, Bury, Expired, Lifetime},
    group::Activity,
    pop::{
        queues::QueueKey,
        read::Found,
        walk::{Stop, Walk},
    },
};

impl PopGroup {
    /// How long the messages of a topic live, if not for ever.
    pub(super) fn lifetime(&self, topic: &str) -> Option<Lifetime> {
        self.parts.facts.topics.get(topic)?.lifetime
    }

    pub(super) fn activity(&self, key: &QueueKey) -> Option<Arc<Activity>> {
        let view = self.directory.get(&self.name)?;
        Some(view.slot().activities.of(&key.0, key.1 as i32))
    }

    pub(super) fn note_expired(&self, key: &QueueKey, expired: &[Expired]) {
        if let Some((activity, slot)) = self.activity(key).zip(self.slot(key)) {
            activity.expired().note(&slot, expired);
        }
    }

    /// Those that have to be buried before the pop may take what was found.
    pub(super) fn unburied(&self, walk: &Walk, stop: &Stop, found: &Found) -> Option<Vec<Expired>> {
        let is_idle = found.expired.is_empty() || walk.request.is_peek;
        if is_idle || !self.lifetime(&stop.key.0)?.buries {
            return None;
        }
        let (activity, slot) = self.activity(&stop.key).zip(self.slot(&stop.key))?;
        let fresh = activity.expired().fresh(&slot, &found.expired);
        (!fresh.is_empty()).then_some(fresh)
    }

    /// Rests until they are buried; if they cannot be, the queue is passed over for this time.
    pub(super) fn bury(
        &mut self,
        mut walk: Walk,
        stop: Stop,
        expired: Vec<Expired>,
        ctx: &mut Ctx<Self>,
    ) -> Progress {
        let place = self.activity(&stop.key).zip(self.slot(&stop.key));
        let (done, buried) = oneshot::channel();
        // Without them the order fails with `done`, as one that is lost does.
        if let Some((activity, slot)) = place {
            let burial = Burial { group: self.name.clone(), slot, expired, activity };
            // Nobody waits any more if this actor is gone.
            let done = Box::new(move |result| drop(done.send(result)));
            self.parts.undertaker.do_send(Bury { burial, done });
        }
        self.set_busy(&stop.key, true);
        ctx.spawn_then(buried, move |group, buried, ctx| {
            group.set_busy(&stop.key, false);
            if let Ok(Ok(())) = buried {
                walk.stops.push(stop);
            }
            group.resume(walk, ctx);
        });
        Progress::Reading
    }
}
