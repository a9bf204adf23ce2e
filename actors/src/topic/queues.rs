//! How queue actors are made: the one place that knows their files, their thread and their policy.

use std::sync::Arc;

use actix::Addr;
use gantry_storage::{ConsumeQueueView, QueueId, QueueOffset, Store};
use gantry_supervisor::{ChildSpec, Place, Policy, Shell, Tree};
use slog::{Logger, error, o};

use super::{
    queue::Queue,
    view::{QueueSlot, QueueSource},
};
use crate::log::dispatcher::Dispatcher;

/// Makes slots whose actors start when they are first needed.
pub struct Queues {
    /// Where queue actors are supervised.
    pub tree: Tree,
    /// The thread that they share with the dispatcher.
    pub place: Place,
    /// Has the queues' files.
    pub store: Arc<Store>,
    /// Fills gaps.
    pub dispatcher: Addr<Shell<Dispatcher>>,
    /// Parent of the actors' loggers.
    pub log: Logger,
}

impl Queues {
    /// A slot for a queue that nobody has looked at yet.
    pub fn slot(self: &Arc<Self>, topic: Arc<str>, id: u32) -> Arc<QueueSlot> {
        QueueSlot::new(topic, id, self.clone())
    }

    /// The queue's published index, or one opened just to be read if its actor was never needed;
    /// `None` if the queue was never written or its files cannot be read.
    pub fn view(&self, slot: &QueueSlot) -> Option<Arc<ConsumeQueueView>> {
        match slot.view() {
            None if slot.range().is_ok_and(|(_, max)| max > 0) => {
                let view = self.store.queue_view(&slot.topic, QueueId(slot.queue_id));
                Some(Arc::new(view.ok()?))
            }
            view => view,
        }
    }
}

impl QueueSource for Queues {
    fn range(&self, slot: &QueueSlot) -> Result<(u64, u64), String> {
        let range = self.store.queue_range(&slot.topic, QueueId(slot.queue_id));
        range.map(|(min, max)| (min.0, max.0)).map_err(|e| {
            error!(self.log, "queue cannot be opened"; "topic" => &*slot.topic,
                "queue" => slot.queue_id, "error" => %e);
            e.to_string()
        })
    }

    fn trimmed(&self) {
        self.store.queue_was_trimmed();
    }

    fn start(&self, slot: &Arc<QueueSlot>) -> Addr<Shell<Queue>> {
        let log = self.log.new(o!("actor" => "queue", "topic" => slot.topic.to_string(),
            "queue" => slot.queue_id));
        let (store, dispatcher) = (self.store.clone(), self.dispatcher.clone());
        let (name, slot) = (format!("{}/{}", slot.topic, slot.queue_id), slot.clone());
        let child = ChildSpec::new(name, Policy::RestartFromDisk, move |incarnation| {
            // The cleaner may have had it begin later than its files say while nobody had it open.
            let min = slot.known_min();
            let index = store.open_queue(&slot.topic, QueueId(slot.queue_id));
            let mut index = index.map_err(|e| e.to_string())?;
            index.raise_min(QueueOffset(min)).map_err(|e| e.to_string())?;
            Ok(Queue::new(slot.clone(), index, dispatcher.clone(), incarnation > 0, log.clone()))
        });
        self.tree.spawn(child.place(self.place.clone()))
    }
}
