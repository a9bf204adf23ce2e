//! Timed messages: their actor, the one that waits for the disk for it, and what the configuration says.

use std::sync::Arc;

use actix::Addr;
use gantry_storage::{JsonFile, Store, timer::TimerConfig};
use gantry_supervisor::{ChildSpec, Place, Policy, Shell};

use super::{BrokerStartError, Start};
use crate::{
    log::appender::Appender,
    timer::{
        ReturnBox, Returns, Timer, TimerFigures, TimerFlusher, TimerParts, TimerRules,
        timers::RollWindow,
    },
    topic::TopicTable,
};

const HOUR_MS: i64 = 3_600_000;

fn timer_place() -> Place {
    Place::named("timer")
}

impl Start<'_> {
    /// Starts the timers, if they are served; what others may see of them.
    pub(super) async fn start_timers(
        &self,
        store: &Arc<Store>,
        table: &Arc<TopicTable>,
        appender: &Addr<Shell<Appender>>,
    ) -> Result<Arc<TimerFigures>, BrokerStartError> {
        let (timers, figures) = (&self.config.timers, Arc::new(TimerFigures::default()));
        if !timers.timer_wheel_enable {
            return Ok(figures);
        }
        let counts_file = JsonFile::new(store.config().config_dir().join("timermetrics"));
        let flusher = {
            let (disk, file) = (self.seams.disk.clone(), counts_file.clone());
            let log = self.child_log("timer flusher");
            let spec = ChildSpec::new("timer flusher", Policy::RestartEmpty, move |_| {
                Ok(TimerFlusher::new(disk.clone(), file.clone(), log.clone()))
            });
            let place = Place::named("timer-flush");
            self.started("timer flusher", self.tree.start(spec.place(place)).await)?
        };
        let returned = Arc::new(ReturnBox::default());
        let returns = {
            let returned = returned.clone();
            let spec = ChildSpec::new("timer returns", Policy::RestartEmpty, move |_| {
                Ok(Returns(returned.clone()))
            });
            self.started("timer returns", self.tree.start(spec.place(timer_place())).await)?
        };
        let precision_ms = i64::from(timers.timer_precision_ms);
        let root = &store.config().root;
        let parts = TimerParts {
            config: TimerConfig::new(root, timers.mapped_file_size_timer_log, precision_ms),
            window: self.roll_window(),
            counts_slots: timers.timer_congest_num_each_slot < i32::MAX as u32,
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
            log: store.log().clone(),
            topics: table.clone(),
            appender: appender.clone(),
            flusher,
            returns,
            returned,
            flush_interval: timers.timer_flush_interval,
            counts_file,
            figures: figures.clone(),
            log_to: self.child_log("timer"),
        };
        let spec = ChildSpec::new("timer", Policy::RestartFromDisk, move |incarnation| {
            Timer::open(parts.clone(), incarnation)
        });
        self.started("timer", self.tree.start(spec.place(timer_place())).await)?;
        Ok(figures)
    }

    /// Timers are stored again before the file that they lie in may go.
    fn roll_window(&self) -> RollWindow {
        let timers = &self.config.timers;
        let precision_ms = i64::from(timers.timer_precision_ms);
        let kept_ms = i64::from(self.config.retention.file_reserved_time) * HOUR_MS;
        let slots = i64::from(timers.timer_roll_window_slot).min(kept_ms / 2 / precision_ms);
        RollWindow { slots: slots.max(2) }
    }

    pub(super) fn timer_rules(&self) -> TimerRules {
        let timers = &self.config.timers;
        TimerRules {
            enabled: timers.timer_wheel_enable,
            precision_ms: timers.timer_precision_ms.into(),
            max_delay_ms: i64::from(timers.timer_max_delay_sec) * 1_000,
            congest_max: timers.timer_congest_num_each_slot,
            recall: timers.recall_message_enable,
            cancels_with_topic: timers.append_topic_for_timer_delete_key,
        }
    }
}
