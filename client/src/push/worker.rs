//! One queue that a member owns: a task that pulls, hands messages to the handler, and says how far it is.
//!
//! Pulls and handlers run at the same time; a pull is sent while there is room in the [`Buffer`]. Without
//! order every batch is handed out as it comes, and waits for one of the consumer's permits; in order
//! the next batch follows the one before, and only while the [`Lease`] holds. Progress goes along with
//! each pull and is sent by itself when it has changed.
//!
//! How a worker ends ([`End`]) decides what becomes of messages that a handler has:
//!
//! | end | handlers that run | progress |
//! |---|---|---|
//! | hand-over, without order | are waited for, but not for long; then they go on unheard, and the next owner gets their messages too | sent before the next owner asks for it, if both are of this library |
//! | hand-over in order, stop | are waited for | sent afterwards, before the lock is given up |
//! | moved: the broker set another offset | go on unheard | not sent |

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use gantry_codec::body::{ConsumeFromWhere, MessageQueue};
use gantry_codec::properties;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::buffer::Buffer;
use super::config::{Handler, PushConfig, Verdict};
use super::lease::Lease;
use super::local_offsets::LocalOffsets;
use crate::client::{Client, QueueError};
use crate::consumer::{Filter, PullConsumer, PullRequest, PullResult, PullStatus};
use crate::message::MessageExt;

/// After a failed request to the broker.
const BACKOFF: Duration = Duration::from_secs(1);
/// How often a queue that waits for its lock or its rest looks again.
const LOOK: Duration = Duration::from_millis(50);

/// Why a worker is to end; see the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not at all.
    No,
    /// Another member gets the queue.
    HandOver,
    /// The consumer stops.
    Stop,
    /// The broker has set another offset.
    Moved,
}

/// What the workers of a consumer share.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) client: Client,
    pub(super) puller: PullConsumer,
    pub(super) config: Arc<PushConfig>,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) permits: Arc<Semaphore>,
    /// A pull has failed: the consumer should see whether it is still a member.
    pub(super) troubled: Arc<tokio::sync::Notify>,
    /// Progress, if brokers do not keep it.
    pub(super) local: Option<Arc<LocalOffsets>>,
}

impl Common {
    /// Says how far the group, or this member of it, is in a queue; whether that is kept now.
    pub(super) async fn commit(&self, queue: &MessageQueue, offset: i64) -> bool {
        let Some(local) = &self.local else {
            let group = &self.config.group;
            return self.client.commit_offset(group, queue, offset).await.is_ok();
        };
        local.set(queue, offset);
        let local = Arc::clone(local);
        // The disk is waited for elsewhere; what failed is tried again when it is due.
        tokio::task::spawn_blocking(move || local.save()).await.is_ok_and(|saved| saved.is_ok())
    }
}

/// What others may see of a worker.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) queue: MessageQueue,
    pub(super) lease: Lease,
    /// None until the queue's offset is known.
    buffer: Mutex<Option<Buffer>>,
}

impl Held {
    pub(super) fn new(queue: MessageQueue) -> Held {
        Held { queue, lease: Lease::default(), buffer: Mutex::new(None) }
    }

    fn buffer(&self) -> MutexGuard<'_, Option<Buffer>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Buffer) -> T) -> Option<T> {
        self.buffer().as_mut().map(f)
    }

    /// The lowest offset that is not done; None until the queue's offset is known.
    pub(super) fn progress(&self) -> Option<i64> {
        self.with(|buffer| buffer.progress())
    }

    /// Messages held and their bytes.
    pub(super) fn load(&self) -> (usize, usize) {
        self.with(|buffer| (buffer.len(), buffer.bytes())).unwrap_or_default()
    }
}

type Pull = Pin<Box<dyn Future<Output = Result<PullResult, QueueError>> + Send>>;
/// A batch's offsets, and its messages if they are to come again in their place.
type Handled = (Vec<i64>, Vec<MessageExt>);

/// See the module's text.
pub(super) struct Worker {
    common: Common,
    held: Arc<Held>,
    filter: Filter,
    /// The queue may have been another member's until now.
    taken_over: bool,
    end: watch::Receiver<End>,
    running: JoinSet<Handled>,
    /// Not before this.
    next_pull: Instant,
    rests_until: Instant,
    committed: Option<i64>,
    next_commit: Instant,
}

impl Worker {
    pub(super) fn new(
        common: Common,
        held: Arc<Held>,
        filter: Filter,
        taken_over: bool,
        end: watch::Receiver<End>,
    ) -> Worker {
        let now = Instant::now();
        let next_commit = now + common.config.commit_interval;
        Worker {
            common,
            held,
            filter,
            taken_over,
            end,
            running: JoinSet::new(),
            next_pull: now,
            rests_until: now,
            committed: None,
            next_commit,
        }
    }

    /// Consumes until told to end.
    pub(super) async fn run(mut self) {
        if self.begin().await {
            self.consume().await;
        }
        let end = *self.end.borrow();
        self.finish(end).await;
    }

    /// Finds out where to begin; false when it was told to end before.
    async fn begin(&mut self) -> bool {
        let config = Arc::clone(&self.common.config);
        if self.taken_over && !config.orderly {
            tokio::select! {
                biased;
                _ = self.end.changed() => return false,
                () = sleep(config.hand_over * 2) => {}
            }
        }
        loop {
            let first = tokio::select! {
                biased;
                _ = self.end.changed() => return false,
                first = first_offset(&self.common, &self.held.queue) => first,
            };
            if let Ok(first) = first {
                let buffer = Buffer::new(first, config.held_messages_max, config.held_bytes_max);
                *self.held.buffer() = Some(buffer);
                return true;
            }
            tokio::select! {
                _ = self.end.changed() => return false,
                () = sleep(BACKOFF) => {}
            }
        }
    }

    async fn consume(&mut self) {
        let mut pull: Option<Pull> = None;
        loop {
            self.start_handlers();
            if pull.is_none() && self.may_pull() {
                pull = Some(self.pull());
            }
            let answered = async {
                match pull.as_mut() {
                    Some(pull) => pull.await,
                    None => std::future::pending().await,
                }
            };
            let wake = self.wake();
            tokio::select! {
                biased;
                _ = self.end.changed() => return,
                Some(handled) = self.running.join_next() => self.handled(handled),
                answer = answered => {
                    pull = None;
                    self.pulled(answer);
                }
                () = sleep_until(wake) => {}
            }
            self.commit_when_due().await;
        }
    }

    /// When to look again if nothing happens.
    fn wake(&self) -> Instant {
        let waits = self.common.config.orderly && self.held.load().0 > 0 && self.running.is_empty();
        let look = if waits { Instant::now() + LOOK } else { self.next_commit };
        let pull = Some(self.next_pull).filter(|at| *at > Instant::now());
        look.min(self.next_commit).min(pull.unwrap_or(self.next_commit))
    }

    fn may_pull(&self) -> bool {
        let now = Instant::now();
        let locked = !self.common.config.needs_lock() || self.held.lease.holds(now);
        locked && now >= self.next_pull && self.held.with(|b| b.has_room()).unwrap_or(false)
    }

    fn pull(&mut self) -> Pull {
        let offset = self.held.with(|buffer| buffer.next()).unwrap_or(0);
        // Progress of nothing would be taken for the wish to begin at 0.
        let told = self.held.progress().filter(|progress| *progress > 0);
        let commit = told.filter(|_| self.common.local.is_none());
        self.committed = commit.or(self.committed);
        let request = PullRequest {
            filter: self.filter.clone(),
            commit,
            ..PullRequest::new(self.held.queue.clone(), offset).held(self.common.config.hold)
        };
        let puller = self.common.puller.clone();
        Box::pin(async move { puller.pull(&request).await })
    }

    fn pulled(&mut self, answer: Result<PullResult, QueueError>) {
        let Ok(result) = answer else {
            self.next_pull = Instant::now() + BACKOFF;
            self.committed = None;
            self.common.troubled.notify_one();
            return;
        };
        self.held.with(|buffer| match result.status {
            PullStatus::OffsetMoved => buffer.restart(result.next_begin_offset),
            _ => buffer.put(result.messages, result.next_begin_offset),
        });
    }

    fn start_handlers(&mut self) {
        let now = Instant::now();
        loop {
            if self.common.config.orderly {
                let busy = !self.running.is_empty() || now < self.rests_until;
                if busy || self.common.config.needs_lock() && !self.held.lease.holds(now) {
                    return;
                }
            }
            let count = self.common.config.batch_max.max(1);
            let batch = self.held.with(|buffer| buffer.take(count)).unwrap_or_default();
            if batch.is_empty() {
                return;
            }
            let work = Work {
                common: self.common.clone(),
                held: Arc::clone(&self.held),
                end: self.end.clone(),
            };
            self.running.spawn(work.run(batch));
        }
    }

    fn handled(&mut self, handled: Result<Handled, JoinError>) {
        // A handler's panic is caught within, and nobody aborts these tasks: else the runtime is ending.
        let Ok((offsets, again)) = handled else { return };
        if !again.is_empty() {
            self.rests_until = Instant::now() + self.common.config.suspend;
        }
        self.held.with(|buffer| {
            buffer.done(&offsets);
            buffer.give_back(again);
        });
    }

    async fn commit_when_due(&mut self) {
        let now = Instant::now();
        if now >= self.next_commit {
            self.next_commit = now + self.common.config.commit_interval;
            self.commit().await;
        }
    }

    async fn commit(&mut self) {
        let Some(progress) = self.held.progress() else { return };
        if progress > 0 && self.committed != Some(progress) {
            // What failed is tried again when it is due.
            let told = self.common.commit(&self.held.queue, progress).await;
            self.committed = told.then_some(progress);
        }
    }

    /// Whether the group is further in this queue than we are.
    async fn is_behind(&self) -> bool {
        if self.common.local.is_some() {
            return false;
        }
        let (group, queue) = (&self.common.config.group, &self.held.queue);
        let known = self.common.client.consumer_offset(group, queue).await;
        known.ok().flatten() > self.held.progress()
    }

    async fn finish(&mut self, end: End) {
        let config = Arc::clone(&self.common.config);
        if end != End::Moved {
            let brief = end == End::HandOver && !config.orderly;
            let limit = if brief { config.hand_over } else { config.stop_timeout };
            let drained = async {
                while let Some(handled) = self.running.join_next().await {
                    self.handled(handled);
                }
            };
            // Who takes longer is left alone; its messages come again elsewhere.
            let _ = tokio::time::timeout(limit, drained).await;
        }
        self.running.detach_all();
        match end {
            End::Moved => {}
            // Who was frozen or cut off learns late that another member has the queue, which is further.
            End::HandOver if !config.orderly && self.is_behind().await => {}
            _ => {
                self.committed = None;
                self.commit().await;
            }
        }
    }
}

/// One batch on its way through the handler.
struct Work {
    common: Common,
    held: Arc<Held>,
    end: watch::Receiver<End>,
}

impl Work {
    async fn run(self, mut batch: Vec<MessageExt>) -> Handled {
        let permit = self.common.permits.acquire().await;
        let ended = *self.end.borrow() != End::No;
        if permit.is_err() || ended {
            // Never begun; the next owner gets them.
            return (Vec::new(), batch);
        }
        let retry_topic = self.common.config.retry_topic();
        let offsets = batch.iter().map(|message| message.queue_offset).collect();
        let copies: Vec<_> =
            batch.iter().map(|message| as_first_sent(message, &retry_topic)).collect();
        let handled = AssertUnwindSafe(async { self.common.handler.handle(copies).await });
        match handled.catch_unwind().await.unwrap_or(Verdict::Again) {
            Verdict::Done => (offsets, Vec::new()),
            // Brokers would bring it to any member.
            Verdict::Again if self.common.local.is_some() => (offsets, Vec::new()),
            Verdict::Again if self.common.config.orderly => {
                batch.iter_mut().for_each(|message| message.reconsume_times += 1);
                (Vec::new(), batch)
            }
            Verdict::Again => {
                self.send_back(&batch).await;
                (offsets, Vec::new())
            }
        }
    }

    /// Until the broker has them all, or the queue is another's.
    async fn send_back(&self, batch: &[MessageExt]) {
        for message in batch {
            let (config, queue) = (&self.common.config, &self.held.queue);
            let client = &self.common.client;
            while client.send_back(&config.group, queue, message, config.tries_max).await.is_err() {
                if matches!(*self.end.borrow(), End::HandOver | End::Moved) {
                    return;
                }
                sleep(BACKOFF).await;
            }
        }
    }
}

/// A message of the retry topic with the topic that it was sent to.
fn as_first_sent(message: &MessageExt, retry_topic: &str) -> MessageExt {
    let mut message = message.clone();
    if *message.topic == *retry_topic
        && let Some(topic) = message.property(properties::RETRY_TOPIC).map(Box::from)
    {
        message.topic = topic;
    }
    message
}

/// Where the group goes on, or begins.
async fn first_offset(common: &Common, queue: &MessageQueue) -> Result<i64, QueueError> {
    let (client, config) = (&common.client, &common.config);
    if let Some(local) = &common.local {
        if let Some(offset) = local.get(queue) {
            return Ok(offset);
        }
    } else if let Some(offset) = client.consumer_offset(&config.group, queue).await? {
        return Ok(offset);
    }
    match config.start {
        // Whoever is to be tried again is never passed over.
        _ if queue.topic == config.retry_topic() => Ok(0),
        ConsumeFromWhere::FirstOffset => client.min_offset(queue).await,
        _ => client.max_offset(queue).await,
    }
}
