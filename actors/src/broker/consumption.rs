//! What serves consumers: groups, pops, delayed messages, reads that may wait, figures for tools.

use std::{net::SocketAddr, sync::Arc};

use actix::Addr;
use gantry_storage::{DelayLevels, JsonFile, Store};
use gantry_supervisor::{ChildSpec, Place, Policy, Shell};

use super::{BrokerStartError, Start, log::dispatch_place};
use crate::{
    expiry::{Undertaker, UndertakerParts},
    group::{
        self, ControlConfig, DiagnosisSettings, GroupSettings, Limits, Surroundings,
        groups::GroupsConfig,
    },
    log::{appender::Appender, dispatcher::DispatchSignal},
    pop::{
        PopSurroundings, Pops, modes::RequestModesParts, parts::PopParts, routes::QueueRoutes,
        states::PopFiles, takeover::JavaPops,
    },
    schedule::{Schedule, ScheduleParts},
    session::{About, ColdReader, ColdReaders},
    topic::{Facts, TopicTable, Topics, facts::RetryTopicMaker},
    traffic::{Meter, Traffic},
};

impl Start<'_> {
    pub(super) async fn start_groups(
        &self,
        store: &Arc<Store>,
        facts: &Arc<Facts>,
        topics: &Addr<Shell<Topics>>,
        advertised: SocketAddr,
    ) -> Result<group::Control, BrokerStartError> {
        let (identity, groups) = (&self.config.identity, &self.config.groups);
        let settings = GroupSettings {
            control: ControlConfig {
                broker_name: identity.broker_name.as_str().into(),
                broker_addr: advertised.to_string().into(),
                server_side_reset: true,
                sql92: self.config.pull.enable_property_filter,
                serves_light_queues: self.light_queues_on(),
            },
            groups: GroupsConfig {
                auto_create: groups.auto_create_subscription_group,
                notify: groups.notify_consumer_ids_changed_enable,
                client_expiry: groups.channel_expired_timeout,
                disconnected_lock: groups.disconnected_lock,
                place: dispatch_place(),
            },
            offsets_interval: groups.flush_consumer_offset_interval,
            file_place: Place::named("metadata"),
            diagnosis: DiagnosisSettings {
                limits: Limits {
                    stuck_ms: groups.stuck_queue_seconds * 1000,
                    commit_ms: groups.missing_commit_seconds * 1000,
                },
                place: Place::named("watch"),
            },
        };
        let retry_topics = RetryTopicMaker { table: facts.topics.clone(), topics: topics.clone() };
        let around = Surroundings {
            tree: self.tree,
            config_dir: &store.config().config_dir(),
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
            facts: facts.clone(),
            retry_topics: Arc::new(retry_topics),
            log: self.log,
        };
        let started = group::start(settings, around).await;
        started.map_err(|(actor, reason)| BrokerStartError::Actor { actor, reason })
    }

    pub(super) fn pop_files(&self, store: &Store) -> PopFiles {
        let file = |name: &str| JsonFile::new(store.config().config_dir().join(name));
        PopFiles {
            states: file("popState.json"),
            orders: file("consumerOrderInfo.json"),
            disk: self.seams.disk.clone(),
        }
    }

    pub(super) async fn start_pops(
        &self,
        store: &Store,
        parts: PopParts,
        control: &group::Control,
    ) -> Result<Pops, BrokerStartError> {
        let modes = RequestModesParts {
            file: JsonFile::new(store.config().config_dir().join("messageRequestMode.json")),
            disk: self.seams.disk.clone(),
            log: self.child_log("request modes"),
        };
        // Read once here, so that a file that cannot be read is told as such.
        modes.load()?;
        let mut client = self.seams.client.clone();
        client.namesrv.clone_from(&self.config.registration.namesrv_addr);
        let around = PopSurroundings {
            tree: self.tree,
            files: self.pop_files(store),
            modes,
            file_place: Place::named("metadata"),
            place: dispatch_place(),
            routes: QueueRoutes::new(client, parts.broker_name.clone()),
            log: self.log,
        };
        let (facts, states) = (parts.facts.clone(), parts.states.clone());
        let pops = Pops::start(parts, control.clone(), around).await?;
        // Nobody is served yet, so this thread may read.
        let java = JavaPops {
            cluster: &self.config.identity.broker_cluster_name,
            facts: &facts,
            log: store.log(),
            offsets: control.offsets(),
            log_to: self.log,
        };
        java.take_over(&pops, &states);
        Ok(pops)
    }

    pub(super) async fn start_about(
        &self,
        dispatched: &Arc<DispatchSignal>,
    ) -> Result<About, BrokerStartError> {
        let (traffic, clock) = (Arc::new(Traffic::default()), self.seams.clock.clone());
        let counted = traffic.clone();
        let spec = ChildSpec::new("meter", Policy::RestartEmpty, move |_| {
            Ok(Meter::new(counted.clone(), clock.clone()))
        });
        self.started("meter", self.tree.start(spec).await)?;
        Ok(About {
            effective: self.config.effective.clone(),
            started_ms: self.seams.clock.now_ms(),
            traffic,
            dispatched: dispatched.clone(),
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
        })
    }

    /// More than one, so that one slow read does not hold up all others.
    pub(super) async fn start_cold_readers(&self) -> Result<ColdReaders, BrokerStartError> {
        let tree = self.tree.pool("cold");
        let mut readers = Vec::new();
        for number in 0..self.seams.cores.clamp(2, 8) {
            let spec =
                ChildSpec::new(format!("cold reader {number}"), Policy::RestartEmpty, |_| {
                    Ok(ColdReader)
                });
            let started = tree.start(spec.place(Place::numbered("cold", number))).await;
            readers.push(self.started("cold reader", started)?);
        }
        Ok(ColdReaders::new(readers))
    }

    /// After the topics and the appender, and before those who have orders for it.
    pub(super) async fn start_undertaker(
        &self,
        store: &Arc<Store>,
        table: &Arc<TopicTable>,
        topics: &Addr<Shell<Topics>>,
        appender: &Addr<Shell<Appender>>,
    ) -> Result<Addr<Shell<Undertaker>>, BrokerStartError> {
        let parts = UndertakerParts {
            topics: table.clone(),
            topics_root: topics.clone(),
            log: store.log().clone(),
            appender: appender.clone(),
            log_to: self.child_log("undertaker"),
        };
        let spec = ChildSpec::new("undertaker", Policy::RestartEmpty, move |_| {
            Ok(Undertaker::new(parts.clone()))
        });
        self.started("undertaker", self.tree.start(spec.place(dispatch_place())).await)
    }

    pub(super) async fn start_schedule(
        &self,
        store: &Arc<Store>,
        table: &Arc<TopicTable>,
        levels: &DelayLevels,
        appender: &Addr<Shell<Appender>>,
    ) -> Result<(), BrokerStartError> {
        let parts = ScheduleParts {
            levels: levels.clone(),
            topics: table.clone(),
            log: store.log().clone(),
            appender: appender.clone(),
            clock: self.seams.clock.clone(),
            disk: self.seams.disk.clone(),
            file: JsonFile::new(store.config().config_dir().join("delayOffset.json")),
            save_interval: self.config.topics.flush_delay_offset_interval,
            log_to: self.child_log("schedule"),
        };
        let spec = ChildSpec::new("schedule", Policy::RestartFromDisk, move |_| {
            Schedule::open(parts.clone())
        });
        self.started("schedule", self.tree.start(spec.place(dispatch_place())).await)?;
        Ok(())
    }
}
