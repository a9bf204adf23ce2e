//! Pops and notifications that wait: until something arrives, becomes free, or their time is over.

use std::sync::Arc;

use gantry_supervisor::Ctx;

use super::{PopGroup, take::Progress};
use crate::pop::{
    back::{Back, Told},
    orders::Notify,
    queues::QueueKey,
    read::asked_topic,
    waiters::Waiting,
    walk::{PopAnswer, PopRequest, Popped, Walk},
};

/// A notification that waits.
pub(super) struct Notice {
    request: PopRequest,
    back: Back,
}

impl Waiting for Notice {
    fn deadline(&self) -> i64 {
        self.request.deadline
    }

    fn is_gone(&self) -> bool {
        self.back.is_closed()
    }
}

/// Tells a pop something else than messages; there is nothing to be lost with its connection.
fn answer(walk: Walk, answer: impl FnOnce(Popped) -> PopAnswer) {
    walk.back.tell(Told::Pop(answer(walk.popped)));
}

/// Tells a notification, likewise.
fn note(notice: Notice, has_msg: Option<bool>) {
    notice.back.tell(Told::Notice(has_msg));
}

impl PopGroup {
    /// A pop has found nothing: it waits if it may.
    pub(super) fn wait(&mut self, mut walk: Walk, ctx: &mut Ctx<Self>) {
        let request = walk.request.clone();
        let (topic, queue_id, deadline) = (&request.topic, request.queue_id, request.deadline);
        if deadline <= self.now() || walk.request.is_peek {
            return answer(walk, PopAnswer::Nothing);
        }
        let has_waited = std::mem::replace(&mut walk.has_waited, true);
        match self.waiters.hold(topic, queue_id, walk, has_waited) {
            Ok(()) => {
                self.watch(&request);
                self.alarm_at(deadline, ctx);
            }
            Err(walk) => answer(walk, PopAnswer::Full),
        }
    }

    /// NOTIFICATION: tells at once if there is something, else when something comes.
    pub(super) fn notify(&mut self, notify: Notify, ctx: &mut Ctx<Self>) {
        let notice = Notice { request: notify.request, back: notify.back };
        if self.has_more(&notice.request) {
            return note(notice, Some(true));
        }
        let deadline = notice.request.deadline;
        if deadline <= self.now() {
            return note(notice, Some(false));
        }
        let request = notice.request.clone();
        match self.notices.hold(&request.topic, request.queue_id, notice, false) {
            Ok(()) => {
                self.watch(&request);
                self.alarm_at(deadline, ctx);
            }
            Err(notice) => note(notice, None),
        }
    }

    /// The queues that a request concerns.
    fn keys(&self, request: &PopRequest) -> Vec<QueueKey> {
        let sources = self.sources(&request.topic);
        let mut keys = Vec::new();
        for (mark, topic, queues) in sources {
            let is_own = mark == gantry_codec::pop::TopicMark::Normal;
            match u32::try_from(request.queue_id) {
                Ok(queue) if is_own => keys.push((topic, queue)),
                _ if !is_own && request.in_order => {}
                _ => keys.extend((0..queues).map(|queue| (topic.clone(), queue))),
            }
        }
        keys
    }

    fn has_more(&mut self, request: &PopRequest) -> bool {
        let now = self.now();
        let attempt = request.attempt.as_deref();
        self.keys(request).iter().any(|key| {
            let queue = self.queue(key, request.begins_at_end);
            queue.is_some_and(|queue| {
                queue.seen_end = queue.slot.range().map_or(0, |(_, end)| end);
                queue.has_more(attempt, now)
            })
        })
    }

    /// Has itself told of the next message in any queue that the request concerns; one that has come
    /// meanwhile is seen at once.
    fn watch(&mut self, request: &PopRequest) {
        let Some(own) = self.address.clone() else { return };
        let mut has_moved = false;
        for key in self.keys(request) {
            let Some(queue) = self.queue(&key, request.begins_at_end) else { continue };
            if !std::mem::replace(&mut queue.is_watched, true) {
                queue.slot.watch_once(own.arrivals.clone());
            }
            let end = queue.slot.range().map_or(0, |(_, end)| end);
            has_moved |= end > queue.seen_end;
        }
        if has_moved {
            self.stir(&request.topic);
        }
    }

    /// Something may be there for those who wait for this topic, or for the one whose retries it has.
    pub(super) fn stir(&mut self, topic: &Arc<str>) {
        let asked = asked_topic(topic, &self.name).map(Arc::from);
        for topic in std::iter::once(topic.clone()).chain(asked) {
            if !self.stirred.contains(&topic) {
                self.stirred.push(topic);
            }
        }
    }

    /// Queues whose block has ended may have something for those who wait.
    pub(super) fn stir_unblocked(&mut self, now: i64) {
        let is_free = |queue: &crate::pop::queues::PopQueue| {
            queue.order.as_ref().is_some_and(|order| order.blocked_until(now).is_none())
        };
        let free = self.queues.iter().filter(|(_, queue)| is_free(queue));
        let topics: Vec<Arc<str>> = free.map(|((topic, _), _)| topic.clone()).collect();
        topics.iter().for_each(|topic| self.stir(topic));
    }

    /// Has those look again that may find something, in the order in which they came.
    pub(super) fn serve(&mut self, ctx: &mut Ctx<Self>) {
        while let Some(topic) = self.stirred.pop() {
            for queue_id in self.waiters.queues_of(&topic) {
                while let Some(walk) = self.waiters.take_first(&topic, queue_id) {
                    if self.begin(walk, ctx) != Progress::Found {
                        break;
                    }
                }
            }
            self.serve_notices(&topic);
        }
    }

    fn serve_notices(&mut self, topic: &Arc<str>) {
        for queue_id in self.notices.queues_of(topic) {
            while let Some(notice) = self.notices.take_first(topic, queue_id) {
                if self.has_more(&notice.request) {
                    note(notice, Some(true));
                    continue;
                }
                let request = notice.request.clone();
                // There is room for one that was there before.
                let _ = self.notices.hold(topic, queue_id, notice, true);
                self.watch(&request);
                break;
            }
        }
    }

    /// Tells those whose time is over that nothing came.
    pub(super) fn expire_waiting(&mut self, now: i64) {
        for walk in self.waiters.take_where(|_, walk| walk.deadline() <= now) {
            answer(walk, PopAnswer::Nothing);
        }
        for notice in self.notices.take_where(|_, notice| notice.deadline() <= now) {
            note(notice, Some(false));
        }
    }

    /// A topic of the group, or the group itself, is deleted.
    pub(super) fn forget(&mut self, topic: Option<&Arc<str>>) {
        let name = self.name.clone();
        let goes = |of: &Arc<str>| {
            topic.is_none_or(|topic| of == topic || asked_topic(of, &name) == Some(topic))
        };
        self.queues.retain(|(of, _), _| !goes(of));
        self.saved.retain(|(of, _), _| !goes(of));
        self.is_changed = true;
        for walk in self.waiters.take_where(|of, _| goes(of)) {
            answer(walk, PopAnswer::Nothing);
        }
        for notice in self.notices.take_where(|of, _| goes(of)) {
            note(notice, Some(false));
        }
        self.keep();
    }
}
