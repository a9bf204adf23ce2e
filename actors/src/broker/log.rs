//! The log's actors: who writes, flushes, gives files, makes queues and index of it, and removes old files.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix::Addr;
use gantry_conf::FlushDiskType;
use gantry_storage::{DelayLevels, Index, PhysicalOffset, Store, mappings_max};
use gantry_supervisor::{ChildSpec, Place, Policy, Shell, Tree, Verdict};
use slog::warn;

use super::{BrokerStartError, LogActors, Start};
use crate::{
    group,
    log::{
        allocator::Allocator,
        appender::{Appender, AppenderParts},
        checkpointer::Checkpointer,
        cleaner::{Cleaner, CleanerParts},
        dispatcher::{DispatchSignal, DispatchTargets, Dispatcher, LogAdvanced},
        flusher::{FlushQueue, FlushWatch, Flusher},
        key_index::{KeyIndex, KeyIndexParts},
        preparer::{PIECE_BYTES, Preparer},
        state::LogState,
    },
    timer::TimerFigures,
    topic::{Facts, OpenQueue, TopicTable},
};

/// How long the end of a start-up dispatch is waited for before the ports open.
const CATCH_UP_STEP: Duration = Duration::from_millis(1);

impl Start<'_> {
    /// Before the log's actors as well: the indexer stops after them and has everything.
    pub(super) fn start_index(
        &self,
        store: &Arc<Store>,
        dispatched: &Arc<DispatchSignal>,
    ) -> Result<KeyIndex, BrokerStartError> {
        let parts = KeyIndexParts {
            tree: self.tree,
            store,
            disk: &self.seams.disk,
            clock: &self.seams.clock,
            dispatched,
            log: self.child_log("indexer"),
        };
        Ok(KeyIndex::start(&self.config.index, parts)?)
    }

    pub(super) async fn start_log(
        &self,
        store: &Arc<Store>,
        targets: DispatchTargets,
        levels: &DelayLevels,
        advertised: SocketAddr,
        signal: Arc<DispatchSignal>,
    ) -> Result<LogActors, BrokerStartError> {
        let tree = self.tree.subtree("log");
        let state = Arc::new(LogState::default());
        fail_stop(&tree, &state);
        let dispatcher = {
            let (log, levels) = (store.log().clone(), levels.clone());
            let (signal, logger) = (signal.clone(), self.child_log("dispatcher"));
            let targets = targets.clone();
            let spec = ChildSpec::new("dispatcher", Policy::RestartFromDisk, move |incarnation| {
                let (log, targets, levels) = (log.clone(), targets.clone(), levels.clone());
                let (signal, logger) = (signal.clone(), logger.clone());
                Ok(Dispatcher::new(log, targets, levels, signal, incarnation.into(), logger))
            });
            tree.spawn(spec.place(dispatch_place()))
        };
        let flush_queue = Arc::new(FlushQueue::default());
        let flusher = self.start_flusher(&tree, store, &flush_queue, &state).await?;
        let allocator = {
            let (disk, config) = (self.seams.disk.clone(), store.log().config().clone());
            let logger = self.child_log("allocator");
            let spec = ChildSpec::new("allocator", Policy::RestartEmpty, move |_| {
                Ok(Allocator::new(disk.clone(), config.clone(), logger.clone()))
            });
            self.started("allocator", tree.start(spec.place(Place::named("files"))).await)?
        };
        if self.config.flush.flush_disk_type == FlushDiskType::SyncFlush {
            self.start_preparer(&tree, store);
        }
        let parts = AppenderParts {
            log: store.log().clone(),
            clock: self.seams.clock.clone(),
            store_host: advertised,
            sync_flush: self.config.flush.flush_disk_type == FlushDiskType::SyncFlush,
            dispatcher: dispatcher.clone(),
            signal: signal.clone(),
            flusher,
            flush_queue,
            allocator,
            state: state.clone(),
            metrics: self.metrics.clone(),
            light: targets.light,
            log_to: self.child_log("appender"),
        };
        let spec = ChildSpec::new("appender", Policy::RestartFromDisk, move |incarnation| {
            let tail = parts.log.tail().ok_or("the log's tail is still in use")?;
            Ok(Appender::new(parts.clone(), tail, incarnation.into()))
        });
        let appender =
            self.started("appender", tree.start(spec.place(self.appender_place())).await)?;
        Ok(LogActors { state, signal, dispatcher, appender })
    }

    pub(super) fn start_preparer(&self, tree: &Tree, store: &Arc<Store>) {
        let (log, disk) = (store.log().clone(), self.seams.disk.clone());
        let logger = self.child_log("preparer");
        let spec = ChildSpec::new("preparer", Policy::RestartEmpty, move |_| {
            let preparer = log.preparer(disk.clone(), PIECE_BYTES);
            Ok(Preparer::new(preparer, logger.clone()))
        });
        tree.spawn(spec.place(Place::named("files")));
    }

    /// Queues are mapped when they are used, which may be long from now.
    pub(super) fn warn_of_mappings(&self, queues: u64) {
        // Some are left for the log, the index, and what a second file of a queue takes.
        let max = mappings_max().map_or(u64::MAX, |max| max / 10 * 9);
        if queues > max {
            warn!(self.log, "not all queues can be in use at a time; raise vm.max_map_count";
                "queues" => queues, "at_a_time" => max);
        }
    }

    pub(super) async fn start_flusher(
        &self,
        tree: &Tree,
        store: &Arc<Store>,
        queue: &Arc<FlushQueue>,
        state: &Arc<LogState>,
    ) -> Result<Addr<Shell<Flusher>>, BrokerStartError> {
        let (timeout, watched) = (self.live.flush_timeout.clone(), queue.clone());
        let logger = self.child_log("flush watch");
        let watch = ChildSpec::new("flush watch", Policy::RestartEmpty, move |_| {
            Ok(FlushWatch::new(watched.clone(), timeout.clone(), logger.clone()))
        });
        self.started("flush watch", tree.start(watch.place(dispatch_place())).await)?;
        let pace = self.live.flush_pace.clone();
        let (log, queue, state) = (store.log().clone(), queue.clone(), state.clone());
        let metrics = self.metrics.clone();
        let logger = self.child_log("flusher");
        let spec = ChildSpec::new("flusher", Policy::FailStop, move |_| {
            let (queue, state, metrics) = (queue.clone(), state.clone(), metrics.clone());
            Ok(Flusher::new(log.clone(), queue, state, pace.clone(), metrics, logger.clone()))
        });
        self.started("flusher", tree.start(spec.place(Place::named("flush"))).await)
    }

    /// Makes checkpoints from now on: until here, queues are behind the log.
    pub(super) async fn start_checkpointer(
        &self,
        store: &Arc<Store>,
        actors: &LogActors,
    ) -> Result<(), BrokerStartError> {
        let (store, signal) = (store.clone(), actors.signal.clone());
        let (dispatcher, log) = (actors.dispatcher.clone(), self.child_log("checkpointer"));
        let period = self.config.flush.flush_interval_consume_queue;
        let spec = ChildSpec::new("checkpointer", Policy::RestartEmpty, move |_| {
            let (store, signal) = (store.clone(), signal.clone());
            Ok(Checkpointer::new(store, signal, dispatcher.clone(), period, log.clone()))
        });
        let spec = spec.place(Place::named("checkpoint"));
        self.started("checkpointer", self.tree.start(spec).await)?;
        Ok(())
    }

    /// Has the dispatcher begin, and waits until every queue has what the log has: offsets continue
    /// where they were, and consumers find what was there.
    pub(super) async fn catch_up(
        &self,
        store: &Arc<Store>,
        table: &TopicTable,
        actors: &LogActors,
    ) {
        actors.dispatcher.do_send(LogAdvanced);
        while actors.signal.position() < store.log().max_offset() {
            tokio::time::sleep(CATCH_UP_STEP).await;
        }
        for topic in table.all().values() {
            for queue in topic.queues.iter().filter_map(|slot| slot.started_actor()) {
                // Answered behind the entries. A queue that just failed reads them again by itself.
                let _ = queue.send(OpenQueue).await;
            }
        }
    }

    pub(super) async fn start_cleaner(
        &self,
        store: &Arc<Store>,
        facts: &Arc<Facts>,
        control: &group::Control,
        actors: &LogActors,
        index: Option<Index>,
        timers: Arc<TimerFigures>,
    ) -> Result<Addr<Shell<Cleaner>>, BrokerStartError> {
        let parts = CleanerParts {
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
            log: store.log().clone(),
            state: actors.state.clone(),
            signal: actors.signal.clone(),
            topics: facts.topics.clone(),
            queues: facts.queues.clone(),
            index,
            offsets: control.offsets().clone(),
            retention: self.live.retention.clone(),
            timers,
            log_to: self.child_log("cleaner"),
        };
        // Recovery has the queues begin where the log does; a predecessor may have left off anywhere.
        let found = store.report().log_min;
        let spec = ChildSpec::new("cleaner", Policy::RestartEmpty, move |incarnation| {
            let trimmed_to = if incarnation == 0 { found } else { PhysicalOffset(0) };
            Ok(Cleaner::new(parts.clone(), trimmed_to))
        });
        self.started("cleaner", self.tree.start(spec.place(Place::named("cleaner"))).await)
    }
}

pub(super) fn store_signal(store: &Store) -> Arc<DispatchSignal> {
    Arc::new(DispatchSignal::new(store.report().dispatch_from, store.log().max_offset()))
}

pub(super) fn dispatch_place() -> Place {
    Place::named("dispatch")
}

/// A child of the log that is beyond its budget ends writing for good; reads go on.
pub(super) fn fail_stop(tree: &Tree, state: &Arc<LogState>) {
    let state = state.clone();
    tree.on_escalate(move |escalation| {
        state.fail(&format!("the {} has failed: {}", escalation.child, escalation.exit));
        Verdict::Leave
    });
}
