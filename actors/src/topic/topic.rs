//! The topic actor: one per topic; owns its configuration and its queues.
//!
//! The root ([`super::topics`]) decides which topics exist and keeps the file; a topic actor makes the
//! slots of its queues, starts queue actors when they are first needed, and publishes the topic's
//! view for everybody to read.
//!
//! Invariants: a queue keeps its slot for as long as the topic lives, also when the number of queues
//! is lowered; the published view is always complete.
//! Failure policy: restart from disk, that is from the view that was published last (the slots are
//! shared and live on) and the configuration in the file.

use std::sync::Arc;

use actix::{ActorContext, Addr, Message};
use gantry_codec::body::TopicConfig;
use gantry_supervisor::{Ctx, Logic, Receive, Reply, Shell};
use slog::{Logger, info};

use super::{
    queue::Queue,
    queues::Queues,
    view::{QueueSlot, TopicTable, TopicView},
};

/// No topic is given more queues; a folder's name may say anything.
const QUEUES_MAX: u32 = 65_536;

/// Take over this configuration and publish it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Configure(pub TopicConfig);

/// Delete the topic; the queues that have something to be deleted as well.
#[derive(Message)]
#[rtype(result = "Vec<Addr<Shell<Queue>>>")]
pub struct DeleteTopic;

/// Make the next handler panic; for tests of the supervision.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Panic;

/// See the module's text.
pub struct Topic {
    name: Arc<str>,
    slots: Vec<Arc<QueueSlot>>,
    table: Arc<TopicTable>,
    queues: Arc<Queues>,
    log: Logger,
}

impl Topic {
    /// The actor of the topic `name`. Queues that a published view has are taken over; others have
    /// what the store has of them.
    pub fn new(name: Arc<str>, table: Arc<TopicTable>, queues: Arc<Queues>, log: Logger) -> Self {
        let slots = table.get(&name).map(|view| view.queues.to_vec()).unwrap_or_default();
        let mut topic = Self { name, slots, table, queues, log };
        // As many as there are on disk, also if the number was lowered since.
        topic.add_slots(topic.queues.store.queue_count(&topic.name).min(QUEUES_MAX));
        topic
    }

    fn add_slots(&mut self, count: u32) {
        for id in self.slots.len() as u32..count {
            self.slots.push(self.queues.slot(self.name.clone(), id));
        }
    }

    fn publish(&mut self, config: TopicConfig) {
        let count = config.read_queue_nums.max(config.write_queue_nums).max(0) as u32;
        self.add_slots(count);
        let old = self.table.get(&self.name);
        let view = Arc::new(TopicView::new(config, self.slots.clone(), old.as_deref()));
        if let Some(old) = old {
            old.supersede();
        }
        self.table.insert(&self.name, &view);
    }

    fn delete(&mut self) -> Vec<Addr<Shell<Queue>>> {
        info!(self.log, "topic deleted"; "queues" => self.slots.len());
        if let Some(view) = self.table.get(&self.name) {
            view.supersede();
        }
        self.table.remove(&self.name);
        let mut queues = Vec::new();
        for slot in &self.slots {
            slot.retire();
            // A queue that was never written or read has neither an actor nor files. One that cannot be
            // read may have files: its actor tells why they stay.
            let has_files = || slot.range().map_or(true, |(_, max)| max > 0);
            if slot.started_actor().is_some() || has_files() {
                queues.push(slot.actor().clone());
            }
        }
        queues
    }
}

impl Logic for Topic {
    const NAME: &'static str = "topic";
}

impl Receive<Configure> for Topic {
    fn receive(&mut self, Configure(config): Configure, _: &mut Ctx<Self>) -> Reply<()> {
        self.publish(config);
        Reply::Now(())
    }
}

impl Receive<DeleteTopic> for Topic {
    fn receive(&mut self, _: DeleteTopic, ctx: &mut Ctx<Self>) -> Reply<Vec<Addr<Shell<Queue>>>> {
        ctx.stop();
        Reply::Now(self.delete())
    }
}

impl Receive<Panic> for Topic {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("panic on request in topic {}", self.name)
    }
}
