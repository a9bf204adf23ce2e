//! The actor that keeps the committed offsets of all groups, in memory and in `consumerOffset.json`.
//!
//! Sessions send it commits in bursts, by way of an [`OffsetsPort`](super::offsets_port::OffsetsPort);
//! everybody reads the [`OffsetView`] that it publishes. It saves the table every `flush_interval` if
//! something has changed, and in its orderly stop; the file is replaced, never torn.
//!
//! Order: whatever one sender sends is applied in the order in which it was sent, and published before
//! the message's answer goes out and before its ticket is given back.
//!
//! It writes its file on its own thread, so it has to be placed where waiting for a disk is allowed.
//! Failure policy: restart from what was published, which is younger than the file. A save that fails is
//! logged once, makes the actor degraded and is tried again; nothing is lost while the process lives.

use std::{sync::Arc, time::Duration};

use actix::Message;
use bytes::Bytes;
use gantry_codec::body::{self, ConsumerOffsetTable};
use gantry_storage::Clock;
use gantry_supervisor::{ContextExt, Ctx, Health, Logic, Receive, Reply};
use slog::{Logger, error, info};

use super::{
    configs::advance,
    offset_file::{OffsetFiles, put_offsets, take_offsets},
    offset_table::{Commit, OffsetTable, OffsetView},
    offsets_port::Ticket,
};

/// The version in the file rises once per this many commits (`consumerOffsetUpdateVersionStep`).
const COMMITS_PER_VERSION: u32 = 500;

/// What one session has gathered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CommitBurst {
    /// The commits, in the order in which they came.
    pub commits: Vec<Commit>,
    /// Given back when the commits can be read.
    pub ticket: Ticket,
}

/// The offset after everything that its sender sent before; None if there is none.
#[derive(Message)]
#[rtype(result = "Option<i64>")]
pub struct OffsetOf {
    /// The consumer group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
}

/// Set offsets by order of an administrator; the group's pulls are told (wire.md 5.8).
#[derive(Message)]
#[rtype(result = "()")]
pub struct ResetOffsets(pub Vec<Commit>);

/// A pull has been told the offset of a reset.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ResetDelivered {
    /// The consumer group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
}

/// Forget all offsets in a topic.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeleteTopicOffsets(pub Box<str>);

/// Forget all offsets of a group.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeleteGroupOffsets(pub Box<str>);

/// Give one group the offsets that another has.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CloneOffsets {
    /// The group whose offsets are taken.
    pub from: Box<str>,
    /// The group that gets them.
    pub to: Arc<str>,
    /// In these topics.
    pub topics: Vec<Arc<str>>,
}

/// All offsets, in the form of the file.
#[derive(Clone, Copy, Message)]
#[rtype(result = "Bytes")]
pub struct AllOffsets;

/// See the module's text.
pub struct Offsets {
    table: OffsetTable,
    /// The file's version, and those entries of it that are not offsets of a group in a topic.
    rest: ConsumerOffsetTable,
    commits_since_version: u32,
    unsaved: bool,
    failing: Option<String>,
    file: OffsetFiles,
    flush_interval: Duration,
    clock: Arc<dyn Clock>,
    log: Logger,
}

impl Offsets {
    /// Goes on from `view`, after the first incarnation has filled it from `file`.
    pub fn open(
        file: OffsetFiles,
        view: OffsetView,
        flush_interval: Duration,
        clock: Arc<dyn Clock>,
        log: Logger,
    ) -> Result<Self, String> {
        let mut rest = file.load()?.unwrap_or_default();
        let stored = take_offsets(&mut rest);
        let mut table = OffsetTable::new(view);
        table.fill(&stored);
        Ok(Self {
            table,
            rest,
            commits_since_version: 0,
            unsaved: false,
            failing: None,
            file,
            flush_interval,
            clock,
            log,
        })
    }

    fn changed(&mut self) {
        self.table.publish();
        self.unsaved = true;
    }

    fn count_commits(&mut self, commits: usize) {
        self.commits_since_version += u32::try_from(commits).unwrap_or(u32::MAX);
        if self.commits_since_version >= COMMITS_PER_VERSION {
            self.commits_since_version = 0;
            advance(&mut self.rest.data_version, self.clock.now_ms());
        }
    }

    fn content(&self) -> ConsumerOffsetTable {
        let mut content = self.rest.clone();
        put_offsets(&mut content, self.table.view());
        content
    }

    fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        match self.file.save(&self.content()) {
            Ok(()) => {
                self.unsaved = false;
                if self.failing.take().is_some() {
                    info!(self.log, "offsets can be saved again");
                }
            }
            Err(reason) => {
                if self.failing.as_ref() != Some(&reason) {
                    error!(self.log, "offsets cannot be saved"; "reason" => &reason);
                }
                self.failing = Some(reason);
            }
        }
    }
}

impl Logic for Offsets {
    const NAME: &'static str = "offsets";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.every(self.flush_interval, |me, _| me.save());
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.save();
    }

    fn health(&self) -> Health {
        match &self.failing {
            Some(reason) => Health::Degraded(format!("offsets cannot be saved: {reason}")),
            None => Health::Up,
        }
    }
}

impl Receive<CommitBurst> for Offsets {
    fn receive(&mut self, burst: CommitBurst, _: &mut Ctx<Self>) -> Reply<()> {
        let mut taken = 0;
        for commit in &burst.commits {
            taken += usize::from(self.table.commit(commit));
        }
        if taken > 0 {
            self.changed();
            self.count_commits(taken);
        }
        drop(burst.ticket);
        Reply::Now(())
    }
}

impl Receive<OffsetOf> for Offsets {
    fn receive(&mut self, query: OffsetOf, _: &mut Ctx<Self>) -> Reply<Option<i64>> {
        self.table.view().get(&query.group, &query.topic, query.queue_id).into()
    }
}

impl Receive<ResetOffsets> for Offsets {
    fn receive(&mut self, ResetOffsets(orders): ResetOffsets, _: &mut Ctx<Self>) -> Reply<()> {
        for order in &orders {
            self.table.reset(order);
        }
        self.changed();
        Reply::Now(())
    }
}

impl Receive<ResetDelivered> for Offsets {
    fn receive(&mut self, fact: ResetDelivered, _: &mut Ctx<Self>) -> Reply<()> {
        self.table.reset_delivered(&fact.group, &fact.topic, fact.queue_id);
        Reply::Now(())
    }
}

impl Receive<DeleteTopicOffsets> for Offsets {
    fn receive(
        &mut self,
        DeleteTopicOffsets(topic): DeleteTopicOffsets,
        _: &mut Ctx<Self>,
    ) -> Reply<()> {
        self.table.delete_topic(&topic);
        self.changed();
        info!(self.log, "offsets of a topic deleted"; "topic" => &*topic);
        Reply::Now(())
    }
}

impl Receive<DeleteGroupOffsets> for Offsets {
    fn receive(
        &mut self,
        DeleteGroupOffsets(group): DeleteGroupOffsets,
        _: &mut Ctx<Self>,
    ) -> Reply<()> {
        self.table.delete_group(&group);
        self.changed();
        info!(self.log, "offsets of a group deleted"; "group" => &*group);
        Reply::Now(())
    }
}

impl Receive<CloneOffsets> for Offsets {
    fn receive(&mut self, order: CloneOffsets, _: &mut Ctx<Self>) -> Reply<()> {
        for topic in &order.topics {
            self.table.clone_offsets(&order.from, &order.to, topic);
        }
        self.changed();
        Reply::Now(())
    }
}

impl Receive<AllOffsets> for Offsets {
    fn receive(&mut self, _: AllOffsets, _: &mut Ctx<Self>) -> Reply<Bytes> {
        Bytes::from(body::to_json(&self.content())).into()
    }
}
