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

use std::{collections::HashMap, sync::Arc};

use actix::{ActorContext, Message};
use gantry_codec::body::TopicConfig;
use gantry_supervisor::{Ctx, Logic, Receive, Reply};
use slog::{Logger, info};

use super::{
    queue::DeleteQueue,
    queues::Queues,
    view::{QueueSlot, TopicTable, TopicView},
};

/// Take over this configuration and publish it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Configure(pub TopicConfig);

/// Delete the topic with its queues.
#[derive(Message)]
#[rtype(result = "()")]
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
    /// The actor of the topic `name`. Queues that a published view has are taken over; `recovered`
    /// tells the offsets of those that were found on disk, by queue.
    pub fn new(
        name: Arc<str>,
        recovered: &HashMap<u32, (u64, u64)>,
        table: Arc<TopicTable>,
        queues: Arc<Queues>,
        log: Logger,
    ) -> Self {
        let slots = table.get(&name).map(|view| view.queues.to_vec()).unwrap_or_default();
        let mut topic = Self { name, slots, table, queues, log };
        let on_disk = recovered.keys().max().map_or(0, |max| max + 1);
        topic.add_slots(on_disk, recovered);
        topic
    }

    fn add_slots(&mut self, count: u32, recovered: &HashMap<u32, (u64, u64)>) {
        for id in self.slots.len() as u32..count {
            let range = recovered.get(&id).copied().unwrap_or_default();
            self.slots.push(self.queues.slot(self.name.clone(), id, range));
        }
    }

    fn publish(&mut self, config: TopicConfig) {
        let count = config.read_queue_nums.max(config.write_queue_nums).max(0) as u32;
        self.add_slots(count, &HashMap::new());
        let view = Arc::new(TopicView::new(config, self.slots.clone()));
        if let Some(old) = self.table.get(&self.name) {
            old.supersede();
        }
        self.table.insert(&self.name, &view);
    }

    fn delete(&mut self) {
        info!(self.log, "topic deleted"; "queues" => self.slots.len());
        if let Some(view) = self.table.get(&self.name) {
            view.supersede();
        }
        self.table.remove(&self.name);
        for slot in &self.slots {
            slot.retire();
            // A queue that was never written or read has neither an actor nor files.
            if slot.started_actor().is_some() || slot.range().1 > 0 {
                slot.actor().do_send(DeleteQueue);
            }
        }
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
    fn receive(&mut self, _: DeleteTopic, ctx: &mut Ctx<Self>) -> Reply<()> {
        self.delete();
        ctx.stop();
        Reply::Now(())
    }
}

impl Receive<Panic> for Topic {
    fn receive(&mut self, _: Panic, _: &mut Ctx<Self>) -> Reply<()> {
        panic!("panic on request in topic {}", self.name)
    }
}
