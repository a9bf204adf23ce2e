//! How queue actors are made: the one place that knows their files, their thread and their policy.

use std::sync::Arc;

use actix::Addr;
use gantry_storage::{
    CommitLog, ConsumeQueue, ConsumeQueueConfig, ConsumeQueueView, Disk, QueueError, QueueId,
};
use gantry_supervisor::{ChildSpec, Place, Policy, Shell, Tree};
use slog::{Logger, o};

use super::{queue::Queue, view::QueueSlot};
use crate::log::dispatcher::Dispatcher;

/// Makes slots whose actors start when they are first needed.
pub struct Queues {
    /// Where queue actors are supervised.
    pub tree: Tree,
    /// The thread that they share with the dispatcher.
    pub place: Place,
    /// The files' layer.
    pub disk: Arc<dyn Disk>,
    /// Size and folder of the files.
    pub config: ConsumeQueueConfig,
    /// The log that the queues are an index of.
    pub commit_log: CommitLog,
    /// Fills gaps.
    pub dispatcher: Addr<Shell<Dispatcher>>,
    /// Parent of the actors' loggers.
    pub log: Logger,
}

impl Queues {
    /// A slot for a queue whose index holds the offsets from `min` to before `max`.
    pub fn slot(
        self: &Arc<Self>,
        topic: Arc<str>,
        id: u32,
        (min, max): (u64, u64),
    ) -> Arc<QueueSlot> {
        let queues = self.clone();
        QueueSlot::new(topic, id, (min, max), move |slot| queues.start(slot))
    }

    fn start(&self, slot: &Arc<QueueSlot>) -> Addr<Shell<Queue>> {
        let log = self.log.new(o!("actor" => "queue", "topic" => slot.topic.to_string(),
            "queue" => slot.queue_id));
        let (disk, config) = (self.disk.clone(), self.config.clone());
        let (commit_log, dispatcher) = (self.commit_log.clone(), self.dispatcher.clone());
        let (name, slot) = (format!("{}/{}", slot.topic, slot.queue_id), slot.clone());
        let child = ChildSpec::new(name, Policy::RestartFromDisk, move |incarnation| {
            let index = open(&disk, &config, &commit_log, &slot).map_err(|e| e.to_string())?;
            Ok(Queue::new(slot.clone(), index, dispatcher.clone(), incarnation > 0, log.clone()))
        });
        self.tree.spawn(child.place(self.place.clone()))
    }

    /// The queue's published index, or one opened just to be read if its actor was never needed;
    /// `None` if the queue was never written or its files cannot be read.
    pub fn view(&self, slot: &QueueSlot) -> Option<Arc<ConsumeQueueView>> {
        match slot.view() {
            None if slot.range().1 > 0 => {
                let index = open(&self.disk, &self.config, &self.commit_log, slot).ok()?;
                Some(Arc::new(index.view()))
            }
            view => view,
        }
    }
}

fn open(
    disk: &Arc<dyn Disk>,
    config: &ConsumeQueueConfig,
    log: &CommitLog,
    slot: &QueueSlot,
) -> Result<ConsumeQueue, QueueError> {
    let within = (log.min_offset(), log.max_offset());
    ConsumeQueue::open(disk.clone(), config, &slot.topic, QueueId(slot.queue_id), within)
}
